"""Training: recipes, samplings of architectures, objectives, and the trainer that runs them."""

from supernet.objective import TEACHER_COST, Batch, Labels, Objective, soft_loss, token_loss
from supernet.train.recipe import Recipe, Sampling, Sandwich, SinglePath, StatelessSampling
from supernet.train.trainer import CheckpointStore, Stream, Trainer

__all__ = [
    "TEACHER_COST",
    "Batch",
    "CheckpointStore",
    "Labels",
    "Objective",
    "Recipe",
    "Sampling",
    "Sandwich",
    "SinglePath",
    "StatelessSampling",
    "Stream",
    "Trainer",
    "soft_loss",
    "token_loss",
]
