"""Write down held-out data of tables: ``NAME.items.safetensors``, which ``simq-fronts`` asks networks.

``python -m tests.bench.items --cache FOLDER --out FOLDER --data-dir DIR``: first the items of the tables'
columns ``held_loss`` and ``held_hits``, then others of the test split, at equal distances and mixed, up to
5,000: images lie by their class there, and any number of items is to be like all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from benchmarks.studies.simq_tables.build import KINDS, SEED, of_images, of_sentences, tiny
from supernet.data.images import ImageBatch, Images
from supernet.export import write_atomically

ITEMS = 5000
"""Of a table, at most."""


def others(test: Images, count: int) -> list[ImageBatch]:
    """What ``test.spread(count)`` leaves of the split, so much that there are ``ITEMS`` in all."""
    rest = np.setdiff1d(np.arange(len(test)), np.arange(count) * len(test) // count)
    more = min(ITEMS - count, len(rest))
    kept = rest[np.arange(more) * len(rest) // max(more, 1)]
    index = torch.from_numpy(np.random.default_rng(SEED).permutation(kept))
    return [test.batch(part) for part in torch.split(index, 1000)]


def main(words: list[str] | None = None) -> None:
    """Of some tables or all."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; default all")
    options.add_argument("--data-dir", type=Path)
    options.add_argument("--cache", type=Path, required=True)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--tiny", action="store_true")
    args = options.parse_args(words)
    args.device, args.seed = "cpu", SEED
    for key in args.kinds or KINDS:
        kind = tiny(key, KINDS[key]) if args.tiny else KINDS[key]
        made = (of_images if kind.task else of_sentences)(key, kind, args)
        held = [*made.held_out, *(others(made.test, kind.units[1]) if made.test else [])]
        labels = torch.cat([batch.labels for batch in held])
        tensors = {"labels": labels.long().contiguous()}
        for i in range(len(held[0].inputs)):
            parts = [batch.inputs[i] for batch in held]
            widest = max(x.shape[-1] for x in parts)
            whole = torch.cat([F.pad(x, (0, widest - x.shape[-1])) for x in parts])
            tensors[f"inputs{i}"] = whole.contiguous()
        if len(tensors) == 2 and not tensors["inputs0"].is_floating_point():
            # Sentences lie by their length: mix them, so that any number of them is like all.
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
            tensors = {name: x[order].contiguous() for name, x in tensors.items()}
        args.out.mkdir(parents=True, exist_ok=True)
        path = args.out / f"{kind.name}.items.safetensors"
        write_atomically(path, lambda name, made=tensors: save_file(made, name))
        print(f"wrote {path}, {len(labels)} items, {path.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
