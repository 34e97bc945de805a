"""The README of an exported model: what it is, what was measured, where it comes from. Every text of a record
is escaped: a record may be a stranger's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.export.source import Delivery
from benchmarks.records.record import Candidate
from benchmarks.records.selection import direct
from benchmarks.records.text import sanitize
from benchmarks.report.table_markup import escape_markdown
from benchmarks.runs.repeat import repeat_command

Row = tuple[str, str, str]
"""Name, figure, signature."""
LOADING = {
    "huggingface": """\
```python
import supernet.interop.huggingface.automodels  # registers these networks with the auto classes
from transformers import {auto}

model = {auto}.from_pretrained(".").eval()  # AutoTokenizer reads the vocabulary beside it, if any
```""",
    "ctranslate2": """\
```python
from pathlib import Path
from sentencepiece import SentencePieceProcessor
from supernet.interop import ctranslate2

subwords = SentencePieceProcessor(model_file="vocabulary.model")
translator = ctranslate2.load(Path("."))
ctranslate2.translate(translator, [subwords.encode("a sentence", out_type=str)])
```""",
    "onnx": """\
```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")  # of a translator: encoder.onnx, step.onnx
[(x.name, x.shape) for x in session.get_inputs()]
```""",
    "fairseq": "`fairseq-generate DATA-BIN --path checkpoint.pt`, over data of `supernet-bench export-data`",
}
"""How each kind of folder is read."""


def card(
    delivery: Delivery, target: str, checks: Sequence[Row], licence: str, auto: str = "AutoModel"
) -> str:
    """A model card as Markdown, with the few fields in front of it that model hubs read.

    Args:
        delivery: what was exported.
        target: to which runtime.
        checks: what was found when the copy was compared with the original, and timed.
        licence: of the data that the weights were trained on, in words.
        auto: the auto class of transformers that reads it.
    """
    record, candidate = delivery.record, delivery.candidate
    spec, made = record["spec"], record["provenance"]
    front = ["---", "license: other", "tags: [supernet-bench]", "library_name: " + LIBRARIES[target], "---"]
    parts = [
        "\n".join(front),
        f"# {escape_markdown(sanitize(spec['method'], 80))} on {escape_markdown(sanitize(spec['task'], 80))}",
        f"One sub-network that {escape_markdown(sanitize(spec['method'], 80))} found, exported by"
        f" supernet-bench from record `{sanitize(record['id'], 16)}`, candidate {candidate['index']}.",
        LOADING[target].format(auto=auto),
        "## Figures",
        "Of the record, on its own machine and in PyTorch:",
        table(_measured(candidate)),
        "Of this copy, on the machine that exported it:",
        table(checks),
        "## Network",
        table([(key, _short(value), "") for key, value in candidate["architecture"].items()]),
        "## Provenance",
        table(
            [
                ("task, tier, seed", f"{spec['task']}, {spec['tier']}, {spec['seed']}", ""),
                ("profile", str(spec["profile"]), ""),
                ("commit", str(made.get("commit")), ""),
                ("weights", f"sha256 {candidate['weights_sha256']}", ""),
                *((f"data: {name}", f"sha256 {value}", "") for name, value in made["data"].items()),
                ("run again", repeat_command(record), ""),
            ]
        ),
        "## Licence",
        "The program is MIT-licensed. The weights were trained on data with terms of their own:"
        f" {escape_markdown(sanitize(licence))}.",
    ]
    return "\n\n".join(parts) + "\n"


LIBRARIES = {
    "huggingface": "transformers",
    "ctranslate2": "ctranslate2",
    "onnx": "onnxruntime",
    "fairseq": "fairseq",
}


def table(rows: Sequence[Row]) -> str:
    """Name, figure and signature, escaped; "none" where there are no rows."""
    if not rows:
        return "none"
    lines = ["| what | value | signature |", "| :-- | :-- | :-- |"]
    lines += ["| " + " | ".join(escape_markdown(sanitize(cell, 300)) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _measured(candidate: Candidate) -> list[Row]:
    """Quality on every test set, latency, size."""
    found: list[Row] = []
    for name, scores in direct(candidate):
        for metric, score in scores.items():
            span = f" [{_figure(score.get('low'))}, {_figure(score.get('high'))}]"
            found.append((f"{metric} on {name}", _figure(score["value"]) + span, str(score["signature"])))
    latency = candidate.get("latency") or {}
    for name, value in (("p50", latency.get("p50")), ("p90", latency.get("p90"))):
        if value is not None:
            found.append((f"latency {name}, ms", _figure(value), str(latency.get("signature"))))
    cost = candidate.get("cost") or {}
    found += [(part, str(count), "") for part, count in cost.items() if isinstance(count, int | float)]
    return found


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "none"


def _short(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
