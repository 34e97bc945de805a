"""Training recipes and search spaces of the tables of ``simq/tabular/data``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.records.canonical import JsonObject
from supernet.space import SearchSpace, layered_space, resnet_space
from supernet.train import Recipe

SEED = 1
"""Default seed of a supernet; tables of other seeds are named after theirs, such as ``simq-vit-s2``."""
TEXT_TOKENS = 16384
"""Tokens of a batch of text."""


@dataclass(frozen=True)
class TableRecipe:
    """Data and training of one table.

    Attributes:
        name: of the table.
        task: task of the images; empty for sentences.
        units: numbers of images for searches and held out; sentences: all there are.
        batch: images or sentences that are evaluated at once.
        recipe: of the supernet's training.
        tokens: of the supernet's training, all passes counted.
        pretraining: recipe and tokens of each stage on masked words: the largest network alone, then the
            supernet.
        teacher: key of the table whose supernet's largest network teaches; empty: labels do.
        starts: whether the supernet starts from a trained encoder (``SourceOptions.start_from``), and
            sentences are encoded in its word pieces (InstaTune, Sridhar et al., 2023).
    """

    name: str
    task: str
    units: tuple[int, int]
    batch: int
    recipe: Recipe
    tokens: float
    pretraining: tuple[tuple[Recipe, float], ...] = ()
    teacher: str = ""
    starts: bool = False


def _recipe(rate: float, batch: int, decay: float = 0.05, smoothing: float = 0.1) -> Recipe:
    """Return AdamW with a cosine schedule, as all tables are trained."""
    return Recipe(
        rate, 0.08, "cosine", weight_decay=decay, label_smoothing=smoothing, batch_tokens=batch, clip_norm=1.0
    )


# Batches of 1,024 images made too few updates: at equal passes a ViT learns more from a quarter of that.
RECIPES = {
    "vit": TableRecipe("simq-vit", "vision-cifar10", (1000, 1000), 1000, _recipe(1e-3, 256 * 65), 1.8e9),
    "resnet": TableRecipe(
        "simq-resnet", "vision-cifar10-resnet", (1000, 1000), 500, _recipe(2e-3, 192 * 65), 780e6
    ),
    "text": TableRecipe(
        "simq-text",
        "",
        (0, 0),
        700,
        _recipe(3e-4, TEXT_TOKENS),
        65e6,
        pretraining=(
            (_recipe(1e-3, TEXT_TOKENS, 0.01, 0.0), 600e6),
            (_recipe(1e-3, TEXT_TOKENS, 0.01, 0.0), 720e6),
        ),
    ),
    # On labels the largest ViT is overfitted: its loss is above that of the best of the table.
    "vit-kd": TableRecipe(
        "simq-vit-kd",
        "vision-cifar10",
        (5000, 5000),
        1000,
        _recipe(1e-3, 256 * 65, smoothing=0.0),
        9e9,
        teacher="resnet",
    ),
    # MiniLM-L6 (Wang et al., 2020): 6 layers of width 384, heads of 32 channels, 30,522 word pieces.
    "minilm": TableRecipe("simq-minilm", "", (0, 0), 700, _recipe(1e-4, TEXT_TOKENS), 65e6, starts=True),
    "vl": TableRecipe("simq-vl", "vl-fashion-mosaics", (1500, 1500), 1500, _recipe(1e-3, 256 * 45), 1.1e9),
}
"""Key on the command line -> recipe."""
_TINY_TASKS = {
    "vit": "vision-digits",
    "vit-kd": "vision-digits",
    "resnet": "vision-digits-resnet",
    "vl": "vl-fashion-mosaics",
}


def recipe_of(key: str, *, seed: int = SEED, tokens: float | None = None, tiny: bool = False) -> TableRecipe:
    """Return the recipe of a table.

    Args:
        key: of ``RECIPES``.
        seed: of the supernet.
        tokens: of the supernet's training; None: the recipe's.
        tiny: small enough for a test; such a table measures nothing of interest.
    """
    chosen = RECIPES[key]
    if tiny:
        chosen = replace(
            chosen,
            task=_TINY_TASKS.get(key, ""),
            units=(20, 16),
            batch=16,
            recipe=replace(chosen.recipe, batch_tokens=512),
            tokens=1e4,
            pretraining=tuple((replace(r, batch_tokens=512), 5e3) for r, _ in chosen.pretraining),
        )
    if tokens is not None:
        chosen = replace(chosen, tokens=tokens)
    return chosen if seed == SEED else replace(chosen, name=f"{chosen.name}-s{seed}")


def space_of(key: str, name: str, tiny: bool) -> SearchSpace:
    """Return the architecture space of a table.

    With precisions most have 22,608 points in three precisions a layer, or 24,000 in two a block; that of
    ``minilm`` is too large for a table of all its points.
    """
    if key == "resnet":
        shape: JsonObject = {"stages": (1, 1, 1), "widths": (128, 256, 512), "stem_width": 32}
        shape |= {"expand": (20, 35), "width": (65, 80, 100)}
        if tiny:
            shape |= {
                "stages": (1, 1),
                "widths": (32, 64),
                "expand": (35,),
                "width": (65, 100),
                "stem_width": 16,
            }
        return resnet_space(name, deeper=1, stem_stride=1, alike=True, stem=(1,), **shape)
    if key == "minilm":
        small: JsonObject = {"layers": (1, 2), "heads": (1, 2), "ffn": (32, 64), "hidden": 32, "head_dim": 16}
        full = {"layers": (4, 5, 6), "heads": (6, 12), "ffn": (768, 1536), "hidden": 384, "head_dim": 32}
        return layered_space(name, **(small if tiny else full))
    key = key.partition("-")[0]
    ffn = {"vit": (256, 1024), "text": (256, 768), "vl": (128, 512)}[key]
    patch = {"vit": 2 if tiny else 4, "vl": 8 if tiny else 14}.get(key)
    constants = ({"patch": patch} if patch else {}) | ({"experts": 2} if key == "vl" else {})
    if tiny:
        return layered_space(
            name, layers=(1, 2), heads=(1, 2), ffn=(32, 64), hidden=32, head_dim=32, **constants
        )
    return layered_space(name, layers=(2, 3, 4), heads=(2, 4), ffn=ffn, hidden=256, **constants)
