"""Index of all published records as one Parquet file of the site: a row a headline candidate.

Queries over a hundred thousand records need not read gigabytes of JSON. It is written a folder at a time, so
that a board of any size needs the memory of its largest folder.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from benchmarks.comparability.run_summary import FIGURES, SPENT, Headline, RunSummary

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetWriter

FILE = "records.parquet"
"""Name of the file in the site's folder."""
COLUMNS = {
    "record": "string", "path": "string", "task": "string", "tier": "string", "profile": "string",
    "method": "string", "source": "string", "options": "string", "seed": "int64", "follows": "string",
    "status": "string", "message": "string", "ended": "string", "tokens": "double",
    "search_seconds": "double", "joules": "double", "candidate": "int32", "limit": "string",
    "origin": "string", "metric": "string", "quality": "double", "quality_low": "double",
    "quality_high": "double", "valid_loss": "double", "latency_ms": "double", "latency_ratio": "double",
    "parameters": "double", "macs": "double", "bytes": "double",
}  # fmt: skip
"""Column -> type; those that ``data_frames.frame`` has as well mean the same."""
_FIGURES = {
    "valid_loss": "valid_loss", "latency_ms": "p50", "latency_ratio": "ratio", "parameters": "params",
    "macs": "macs", "bytes": "bytes",
}  # fmt: skip


class RecordIndex:
    """Context manager that writes the index; it writes none where pyarrow is not installed.

    Args:
        site: folder of the site.
    """

    def __init__(self, site: Path) -> None:
        self._path = site / FILE
        self._writer: ParquetWriter | None = None

    def __enter__(self) -> RecordIndex:
        try:
            pyarrow = importlib.import_module("pyarrow")
            parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            return self
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._schema = pyarrow.schema(list(COLUMNS.items()))
        self._table = pyarrow.Table
        self._writer = parquet.ParquetWriter(self._path, self._schema, compression="zstd")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, runs: Sequence[RunSummary]) -> None:
        """Append the rows of some runs as one row group."""
        if self._writer is not None and runs:
            rows = [row for run in runs for row in _rows(run)]
            self._writer.write_table(self._table.from_pylist(rows, schema=self._schema))


def _rows(run: RunSummary) -> Iterator[dict[str, object]]:
    """Return one row a headline candidate; one without a candidate for a run that has none."""
    facts = run.facts
    about: dict[str, object] = {
        "record": run.id,
        "path": f"{facts['task']}/{facts['profile']}/{run.method}/{run.id}.json",
        **{name: facts[name] for name in ("task", "tier", "profile")},
        "method": run.method,
        "source": run.source,
        "options": json.dumps(run.options, sort_keys=True),
        "seed": run.seed if abs(run.seed) < 2**63 else None,
        "follows": run.follows or None,
        "status": run.status,
        "message": run.message or None,
        "ended": run.ended,
        "tokens": run.tokens,
        "search_seconds": _number(run.spent[SPENT.index("seconds")]),
        "joules": _number(run.spent[SPENT.index("joules")]),
        "metric": run.metric,
    }
    for head in run.headlines:
        yield about | _candidate(head, run.metric)
    if not run.headlines:
        yield about


def _candidate(head: Headline, metric: str | None) -> dict[str, object]:
    low_to_high = head.score(metric) if metric is not None else (math.nan,) * 3
    figures = {column: _number(head.figures[FIGURES.index(name)]) for column, name in _FIGURES.items()}
    scores = zip(("quality", "quality_low", "quality_high"), map(_number, low_to_high), strict=True)
    return {
        "candidate": head.number,
        "limit": str(head.limit),
        "origin": head.origin,
        **dict(scores),
        **figures,
    }


def _number(value: float) -> float | None:
    """Return a figure; None if it is lacking."""
    return None if math.isnan(value) else value
