"""Latency tables of the user's: a CSV in HAT's or SuperShaper's columns, or of any numbers and latencies."""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.api import UsageError
from benchmarks.latency_tables.tables import FAMILIES, Array, LatencyTable, TableFamily, TableProfile
from benchmarks.tasks.folders.lines import Report, read_lines, shown
from supernet.space import SearchSpace

LATENCY = {"latency_ms": 1.0, "ms": 1.0, "latency_s": 1e3, "seconds": 1e3}
"""Name of the column of latencies -> milliseconds of its unit."""
SPREAD = {"latency_std_ms": 1.0, "latency_std_s": 1e3}
"""Name of the column of deviations over repeats, likewise; it may be absent."""


def read(path: Path) -> LatencyTable:
    """Return the table in a CSV file, plain or packed.

    Columns other than latency and its deviation are numeric features of the architecture, in any space.

    Raises:
        UsageError: the file is no such table; names file and line.
    """
    lines = read_lines(path, Report())
    reader = csv.reader(lines)
    try:
        rows = [*reader]
    except csv.Error as error:
        raise UsageError(
            f"'{path}', line {reader.line_num}: {error}: numbers with commas between them are needed"
        ) from None
    head = [cell.strip() for cell in rows[0]] if rows else []
    name = re.sub(r"[^a-z0-9.-]+", "-", path.name.split(".")[0].lower()).strip("-") or "table"
    content = "\n".join(lines).encode()
    profile = TableProfile(
        name=f"own-{name}",
        device=name,
        task="",
        tokens=0,
        stem=name,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        family=FAMILIES["hat"],
    )
    figures = _figures(path, rows, head)
    for family in FAMILIES.values():
        if head == family.header.split(","):
            return _checked(LatencyTable(replace(profile, family=family), *family.read(figures)), path)
    return _checked(_general(profile, head, figures, path), path)


def _figures(path: Path, rows: list[list[str]], head: list[str]) -> Array:
    """Return the numbers below the first line ``[rows, columns]``."""
    figures = np.empty((max(0, len(rows) - 1), len(head)))
    kept = 0
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            if len(row) != len(head):
                raise ValueError
            figures[kept] = [float(cell) for cell in row]
            if not np.isfinite(figures[kept]).all():
                raise ValueError
        except ValueError:
            raise UsageError(
                f"'{path}', line {number}: {shown(','.join(row))} is not {len(head)} finite numbers"
            ) from None
        kept += 1
    return figures[:kept]


def _general(profile: TableProfile, head: list[str], figures: Array, path: Path) -> LatencyTable:
    latency = [column for column in head if column in LATENCY]
    if len(latency) != 1:
        raise UsageError(
            f"'{path}', line 1: its columns are {shown(','.join(head))}: one of {', '.join(LATENCY)} is"
            " needed, and a number of the architecture in every other one"
        )
    features = [column for column in head if column not in LATENCY and column not in SPREAD]
    if not features or len(set(head)) != len(head):
        raise UsageError(f"'{path}', line 1: columns of the architecture are needed, each of its own name")
    ms = figures[:, head.index(latency[0])] * LATENCY[latency[0]]
    spread = [figures[:, head.index(c)] * scale for c, scale in SPREAD.items() if c in head]
    x = figures[:, [head.index(column) for column in features]]
    size = _strongest(x, ms)
    family = TableFamily(
        by="own",
        space=_no_space,
        encodings=(),
        header=",".join(head),
        read=lambda rows: (rows, rows[:, 0], rows[:, 0]),
        size=(features[size], size),
        mean_of=1,
        prefix="",
        original="{stem}.csv",
        url=None,
        licence="",
        signature="lat:mean",
    )
    return LatencyTable(replace(profile, family=family), x, ms, spread[0] if spread else np.zeros(len(ms)))


def _strongest(features: Array, ms: Array) -> int:
    """Return the column whose correlation with latency is greatest; of several the first."""
    spread = features.std(axis=0)
    strength = [
        abs(float(np.corrcoef(features[:, i], ms)[0, 1])) if spread[i] > 0 and ms.std() > 0 else 0.0
        for i in range(features.shape[1])
    ]
    return int(np.argmax(strength)) if strength else 0


def _no_space() -> SearchSpace:
    raise UsageError("a latency table of your own has no search space")


def _checked(table: LatencyTable, path: Path) -> LatencyTable:
    if len(table.ms) and not (table.ms > 0).all():
        number = int(np.flatnonzero(table.ms <= 0)[0]) + 2
        raise UsageError(f"'{path}', line {number}: a latency is above zero")
    return table
