"""``supernet-bench import`` and ``export-data``: checkpoints of others in, data out as a data-bin."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

from benchmarks.api import UsageError
from benchmarks.tasks import get_task


def import_network(options: argparse.Namespace) -> int:
    """Write a checkpoint's network as an exported sub-network; nothing in the checkpoint is executed."""
    from supernet.cost import cost
    from supernet.interop import hat
    from supernet.interop.fairseq import checkpoint
    from supernet.interop.fairseq.databin import dictionaries

    if options.config is not None and options.kind != "hat":
        raise UsageError(
            f"--config {options.config} names a sub-network of HAT's: supernet-bench import hat ..."
        )
    _free(options.to)
    try:
        vocab = tuple(map(len, dictionaries(options.data))) if options.data else ()
        if options.kind == "hat":
            found = hat.network(options.checkpoint, options.config, vocab)
        else:
            found = checkpoint.network(options.checkpoint, vocab)
        loss = _loss(found.network(), options.data) if options.data else None
        sha256 = found.save(options.to)
    except ValueError as error:
        raise UsageError(str(error)) from None
    counted = cost(found.family, found.architecture, source_len=30, target_len=30)
    facts: dict[str, Any] = {
        "folder": str(options.to),
        "weights_sha256": sha256,
        "architecture": found.architecture.to_dict(),
        "share": found.family.config.share,
        "source_vocab": found.family.config.source_vocab,
        "target_vocab": found.family.config.target_vocab,
        "params": counted.params,
        "params_body": counted.params_body,
        "valid_loss": loss,
    }
    if options.json:
        print(json.dumps(facts, indent=1))
        return 0
    print(f"architecture  {found.architecture.key()}")
    print(
        f"vocabulary    {facts['source_vocab']} and {facts['target_vocab']}, tables shared: {facts['share']}"
    )
    body = f"{counted.params_body:,} without embedding tables and output layer"
    print(f"parameters    {counted.params:,} ({body})")
    if loss is not None:
        bits = f"{loss / math.log(2):.4f} bits: fairseq's nll_loss"
        print(f"valid loss    {loss:.4f} nats a target token ({bits})")
    print(f"written to    {options.to}")
    return 0


def _loss(module: Any, folder: Path) -> float:
    """Loss on the validation split of a data-bin, in nats a target token."""
    from benchmarks.tasks.mt import synthetic
    from supernet.data.sentence_pairs import PairData
    from supernet.interop.fairseq.databin import read_split

    return float(synthetic.evaluate(module, PairData(*read_split(folder, "valid")), "cpu").loss)


def export_data(options: argparse.Namespace) -> int:
    """Write a translation task's prepared data so that fairseq trains on the ids that networks here see."""
    from benchmarks.tasks import fairseq_data

    languages = fairseq_data.sides(options.task)
    task = get_task(options.task)
    tier = task.tier(options.tier, "cpu")
    _free(options.to)

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    prepared = task.prepare(tier, options.results / "cache", options.data_dir, say)
    tests = fairseq_data.export(prepared, languages, options.to)
    splits = {f"test{number or ''}": name for number, name in enumerate(tests)}
    if options.json:
        print(json.dumps({"folder": str(options.to), "languages": languages, "tests": splits}, indent=1))
        return 0
    print(f"written to {options.to}: train, valid, " + ", ".join(f"{k} ({v})" for k, v in splits.items()))
    decode = tier.decode
    words = ["fairseq-generate", str(options.to), "-s", languages[0], "-t", languages[1]]
    words += ["--path", "CHECKPOINT", "--gen-subset", "test", "--post-process", "sentencepiece"]
    words += ["--beam", str(decode["beam"]), "--lenpen", str(decode["lenpen"])]
    words += ["--max-len-a", str(decode["max_len_a"]), "--max-len-b", str(decode["max_len_b"])]
    print("decoded as here: " + shlex.join([*words, "--scoring", "sacrebleu"]))
    return 0


def _free(folder: Path) -> None:
    """Raise ``UsageError`` where a folder that is to be made is there already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--to {folder} is there already and not empty: name a new folder")
