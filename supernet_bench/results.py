"""Records and tables as pandas: ``from supernet_bench import results``.

Without ``folder`` the published records are read: those of a clone, else those that came with the wheel.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from supernet_bench import ROOT, UsageError, is_first

if not is_first():
    raise ImportError(
        f"another package named 'benchmarks' comes before that of supernet-bench in {ROOT}\n"
        "start Python from another folder, or with -P"
    )

from benchmarks.analysis import data_frames
from benchmarks.records.record import Record

__all__ = ["export", "frame", "record", "records", "table", "tables"]


def records(folder: Path | str | None = None) -> list[Record]:
    """Return all records of a folder of results, whatever its layout.

    Raises:
        InvalidRecord: a file is damaged or was changed; names file and field.
    """
    return data_frames.records(None if folder is None else Path(folder))


def record(id: str, folder: Path | str | None = None) -> Record:
    """Return the record whose id begins with ``id``.

    Raises:
        UsageError: no record, or several.
    """
    matching = [record for record in records(folder) if record["id"].startswith(id)]
    if len(matching) != 1 or not id:
        raise UsageError(f"{len(matching)} records begin with '{id}': give an id as in frame()['id']")
    return matching[0]


def frame(folder: Path | str | None = None) -> pd.DataFrame:
    """Return one row for each candidate of each record; ``data_frames.COLUMNS`` explains the columns."""
    return data_frames.frame(records(folder))


def table(
    task: str | None = None,
    tier: str | None = None,
    profile: str | None = None,
    baseline: str | None = None,
    folder: Path | str | None = None,
) -> pd.DataFrame:
    """Return the rows of one table: a method at a limit, with means and intervals over seeds.

    Raises:
        UsageError: no table, or several, have this task, tier and profile; lists them.
    """
    return data_frames.table(records(folder), task, tier, profile, baseline)


def tables(folder: Path | str | None = None) -> pd.DataFrame:
    """Return task, tier, profile, number of methods and of runs of every table."""
    return data_frames.tables(records(folder))


def export(out: Path | str, folder: Path | str | None = None) -> list[Path]:
    """Write ``frame`` and all tables as Parquet, with a Croissant description; return the files.

    Raises:
        UsageError: pyarrow is not installed, or the folder is not empty.
    """
    from benchmarks.analysis import parquet

    return parquet.export(records(folder), Path(out))
