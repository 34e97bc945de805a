"""The file of the figures, ``results/robustness.json``: one object a measurement."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.records.assembly import read_json
from benchmarks.records.store import write_text


def store(path: Path, name: str, measured: dict[str, object]) -> None:
    """Put a measurement into a file of figures, beside the others."""
    write_text(path, json.dumps({**read_json(path), name: measured}, indent=1, sort_keys=True) + "\n")
