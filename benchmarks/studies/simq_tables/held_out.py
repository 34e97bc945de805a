"""Write held-out data of tables as ``NAME.items.safetensors``, on which study ``simq-fronts`` evaluates.

The items of the tables' columns ``held_loss`` and ``held_hits`` come first, then others of the test split at
equal distances and shuffled, up to 5,000. Images lie in the split by class, and any number of first items
should represent all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from benchmarks.studies.simq_tables.recipes import SEED, recipe_of
from benchmarks.studies.simq_tables.sources import SourceOptions, prepare_source
from benchmarks.tasks.datasets import Say
from supernet.data.images import ImageBatch, Images
from supernet.export import write_atomically

ITEMS = 5000
"""Largest number of items of a table."""


def write_held_out(keys: Sequence[str], options: SourceOptions, out: Path, say: Say) -> None:
    """Write the held-out data of some tables.

    Args:
        keys: of ``RECIPES``.
    """
    for key in keys:
        recipe = recipe_of(key, tiny=options.tiny)
        source = prepare_source(key, recipe, options, say)
        batches = [*source.held_out, *(other_items(source.test, recipe.units[1]) if source.test else [])]
        tensors = {"labels": torch.cat([batch.labels for batch in batches]).long().contiguous()}
        for i in range(len(batches[0].inputs)):
            parts = [batch.inputs[i] for batch in batches]
            width = max(x.shape[-1] for x in parts)
            tensors[f"inputs{i}"] = torch.cat(
                [F.pad(x, (0, width - x.shape[-1])) for x in parts]
            ).contiguous()
        count = len(tensors["labels"])
        if len(tensors) == 2 and not tensors["inputs0"].is_floating_point():
            # Sentences lie by their length: shuffle them, so that any number of them is like all.
            order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
            tensors = {name: x[order].contiguous() for name, x in tensors.items()}
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{recipe.name}.items.safetensors"
        write_atomically(path, partial(save_file, tensors))
        say(f"wrote {path}, {count} items, {path.stat().st_size:,} bytes")


def other_items(test: Images, count: int) -> list[ImageBatch]:
    """Return items outside ``test.spread(count)``, as many as make ``ITEMS`` in all."""
    rest = np.setdiff1d(np.arange(len(test)), np.arange(count) * len(test) // count)
    more = min(ITEMS - count, len(rest))
    kept = rest[np.arange(more) * len(rest) // max(more, 1)]
    index = torch.from_numpy(np.random.default_rng(SEED).permutation(kept))
    return [test.batch(part) for part in torch.split(index, 1000)]
