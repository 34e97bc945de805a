"""``supernet-bench import``: a network from a checkpoint of fairseq or HAT, without executing the file."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.api import UsageError
from benchmarks.cli.arguments import add_json
from benchmarks.cli.console import print_json

if TYPE_CHECKING:
    from torch import nn


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument("kind", choices=("fairseq", "hat"), help="program that wrote the checkpoint")
    command.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="file, read without executing anything"
    )
    command.add_argument(
        "--to", required=True, type=Path, metavar="FOLDER", help="new folder for the exported network"
    )
    command.add_argument(
        "--config",
        type=Path,
        metavar="YAML",
        help="HAT's file of a sub-network (default: as the checkpoint was trained)",
    )
    command.add_argument(
        "--data",
        type=Path,
        metavar="DATA-BIN",
        help="data-bin: its dictionaries must fit, and the loss on its valid split is printed",
    )
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Write a checkpoint's network as an exported sub-network; return 0.

    Raises:
        UsageError: the checkpoint cannot be read or its network cannot be represented.
    """
    from supernet.cost import cost
    from supernet.interop import hat
    from supernet.interop.fairseq import checkpoint
    from supernet.interop.fairseq.databin import dictionaries, languages

    if options.config is not None and options.kind != "hat":
        raise UsageError(
            f"--config {options.config} names a sub-network of HAT's: supernet-bench import hat ..."
        )
    require_new_folder(options.to)
    try:
        vocab = tuple(map(len, dictionaries(options.data))) if options.data else ()
        pair = languages(options.data) if options.data else None
        if options.kind == "hat":
            imported = hat.network(options.checkpoint, options.config, vocab, pair)
        else:
            imported = checkpoint.network(options.checkpoint, vocab, pair)
        positions = imported.family.config.max_positions
        loss = _validation_loss(imported.network(), positions, options.data) if options.data else None
        sha256 = imported.save(options.to)
    except ValueError as error:
        raise UsageError(str(error)) from None
    counts = cost(imported.family, imported.architecture, source_len=30, target_len=30)
    config = imported.family.config
    if options.json:
        print_json(
            {
                "folder": str(options.to),
                "weights_sha256": sha256,
                "architecture": imported.architecture.to_dict(),
                "share": config.share,
                "source_vocab": config.source_vocab,
                "target_vocab": config.target_vocab,
                "params": counts.params,
                "params_body": counts.params_body,
                "valid_loss": loss,
            }
        )
        return 0
    body = f"{counts.params_body:,} without embedding tables and output layer"
    print(f"architecture  {imported.architecture.key()}")
    print(f"vocabulary    {config.source_vocab} and {config.target_vocab}, tables shared: {config.share}")
    print(f"parameters    {counts.params:,} ({body})")
    if loss is not None:
        bits = f"{loss / math.log(2):.4f} bits: fairseq's nll_loss"
        print(f"valid loss    {loss:.4f} nats a target token ({bits})")
    print(f"written to    {options.to}")
    return 0


def require_new_folder(folder: Path) -> None:
    """Check that a folder to be written is absent or empty.

    Raises:
        UsageError: it holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--to {folder} exists and is not empty: name a new folder")


def _validation_loss(module: nn.Module, positions: int, folder: Path) -> float:
    """Return the loss on the validation split of a data-bin, in nats a target token."""
    from benchmarks.tasks.mt import EVALUATION_TOKENS, synthetic
    from supernet.data.sentence_pairs import PairData
    from supernet.interop.fairseq.databin import read_split

    sources, targets = read_split(folder, "valid")
    most = min(positions, EVALUATION_TOKENS["cpu"]) - 1  # one for the end of sentence
    for side, sentences in (("source", sources), ("target", targets)):
        for number, sentence in enumerate(sentences, start=1):
            if len(sentence) > most:
                raise ValueError(
                    f"{folder}: {side} sentence {number} of valid has {len(sentence)} tokens, and at most"
                    f" {most} fit here: leave it out (a cut by length, then fairseq-preprocess)"
                )
    return float(synthetic.evaluate(module, PairData(sources, targets), "cpu").loss)
