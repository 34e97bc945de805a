"""Supernets of Transformers and residual networks: elastic models, training, search and export of
sub-networks.

The order in which to read: ``space`` (search spaces and architectures), ``model_family`` and one file a model
(``seq2seq``, ``bert``, ``vit``, ...), ``weights`` (the source of a sub-network's weights), ``elastic`` (the
supernet), ``train``, ``search``, ``export``. Nothing here depends on budgets, records or the rest of the
project.
"""

from __future__ import annotations

import importlib
from typing import Any

_PLACES = {
    "Architecture": "space", "SearchSpace": "space", "get_space": "space",
    "ModelFamily": "model_family", "from_spec": "families", "family_of": "families",
    "Seq2SeqConfig": "seq2seq", "Seq2SeqFamily": "seq2seq", "BertConfig": "bert", "BertFamily": "bert",
    "ViTConfig": "vit", "ViTFamily": "vit", "ResNetConfig": "resnet", "ResNetFamily": "resnet",
    "SharedSlices": "weights", "WeightSource": "weights", "SuperNet": "elastic",
    "Recipe": "train", "Sandwich": "train", "SinglePath": "train", "Trainer": "train", "Batch": "train",
    "PlainBatches": "data.plain_batches", "Evolution": "search", "random_search": "search",
    "LatencyPredictor": "predict", "translate": "decode", "save": "export", "load": "export",
}  # fmt: skip
"""Public name -> its module, which is imported when the name is first used."""

__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'supernet' has no attribute {name!r}")
    return getattr(importlib.import_module(f"supernet.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]
