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

from benchmarks.api import OptionValues
from benchmarks.comparability.run_summary import FIGURES, SPENT, Headline, RunSummary

if TYPE_CHECKING:
    from pyarrow import Table
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
_FIGURES = tuple(FIGURES.index(name) for name in ("valid_loss", "p50", "ratio", "params", "macs", "bytes"))
"""Places in ``FIGURES`` of the last columns, in their order."""


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
        self._pyarrow = pyarrow
        schema = pyarrow.schema(list(COLUMNS.items()))
        self._writer = parquet.ParquetWriter(self._path, schema, compression="zstd")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, parts: Sequence[Table | None]) -> None:
        """Append some of ``table_of`` as one row group."""
        if self._writer is not None and parts:
            self._writer.write_table(self._pyarrow.concat_tables(parts).combine_chunks())


def table_of(runs: Sequence[RunSummary]) -> Table | None:
    """Return the rows of some runs; None where pyarrow is not installed."""
    try:
        pyarrow = importlib.import_module("pyarrow")
    except ImportError:
        return None
    columns = zip(*(row for run in runs for row in _rows(run)), strict=True)
    arrays = [pyarrow.array(values, kind) for values, kind in zip(columns, COLUMNS.values(), strict=True)]
    return pyarrow.Table.from_arrays(arrays, names=[*COLUMNS])


def _rows(run: RunSummary) -> list[tuple[object, ...]]:
    """Return one row, values of ``COLUMNS``, a headline candidate; one for a run that has none."""
    facts, metric = run.facts, run.metric
    place = facts["task"], facts["tier"], facts["profile"]
    about = (
        run.id, f"{place[0]}/{place[2]}/{run.method}/{run.id}.json", *place,
        run.method, run.source, _options_text(run.options), run.seed if abs(run.seed) < 2**63 else None,
        run.follows or None, run.status, run.message or None, run.ended, run.tokens,
        _number(run.spent[SPENT.index("seconds")]), _number(run.spent[SPENT.index("joules")]),
    )  # fmt: skip
    if not run.headlines:
        return [(*about, None, None, None, metric, *(None,) * (len(_FIGURES) + 3))]
    return [
        (*about, head.number, str(head.limit), head.origin, metric, *_figures(head, metric))
        for head in run.headlines
    ]


def _options_text(options: OptionValues) -> str:
    return json.dumps(options, sort_keys=True) if options else "{}"


def _figures(head: Headline, metric: str | None) -> Iterator[float | None]:
    """Yield value, low and high of the metric, then the figures of ``_FIGURES``; None where lacking."""
    for value in head.score(metric) if metric is not None else (None,) * 3:
        yield None if value is None or value != value else value
    for place in _FIGURES:
        value = head.figures[place]
        yield None if value != value else value


def _number(value: float) -> float | None:
    """Return a figure; None if it is lacking."""
    return None if math.isnan(value) else value
