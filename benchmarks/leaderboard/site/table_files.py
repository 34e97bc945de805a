"""Data files of a table: its first file as columns, the other figures of its rows in parts, the rest below.

The first file has what the first screen shows, about 110 bytes a row, so that a table of ten thousand rows is
read at once. The parts are loaded when a column of theirs is chosen, or for the one row that is opened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from benchmarks.analysis import attachment_columns, row_intervals
from benchmarks.analysis.attachment_columns import NOT_VERIFIED
from benchmarks.analysis.number_format import Row
from benchmarks.analysis.row_details import RowDetails
from benchmarks.analysis.table import Table
from benchmarks.leaderboard.people import People
from benchmarks.leaderboard.site import data_files, run_files
from benchmarks.report import texts
from benchmarks.report.method_styles import method_styles

ROWS_A_FILE = 2000
"""Rows in one part."""
MOST_DIFFERENCES = 2000
"""Paired differences that the site shows; ``leaderboard.json`` has all."""

_TEXTS = ("method", "limit", "status", "verified", "authors", "run_by")
_FIRST = ("limit_ms", "limit_share", "over", "ratio", "params", "seconds", "n")
_FIRST_SPANS = ("ratio", "seconds")
_REST = (
    "valid_loss", "p50", "p90", "macs", "bytes", "peak_bytes", "tokens", "evaluations", "probes", "updates",
    "joules",
)  # fmt: skip


class TestSetTexts(TypedDict):
    """One metric on each test set: its heading, recipe, and a list of texts for each row of the table."""

    name: str
    sets: list[str]
    rows: list[list[str] | None]
    signature: str


def write_rows(folder: Path, table: Table, identity: str, people: People) -> dict[str, object]:
    """Write the parts of a table's rows; return its first file's ``core``, columns with texts by number."""
    rows = [_texts(*pair) for pair in zip(table.each, people.of_rows(table), strict=True)]
    strings = {name: sorted({str(row[name]) for row in rows if row[name] is not None}) for name in _TEXTS}
    places = {name: {text: i for i, text in enumerate(values)} for name, values in strings.items()}
    columns: dict[str, list[object]] = {
        name: [None if row[name] is None else places[name][str(row[name])] for row in rows] for name in _TEXTS
    }
    columns |= {name: [_short(row[name]) for row in table.each] for name in _FIRST}
    columns["compared"] = [int(bool(row["compared"])) for row in table.each]
    columns |= {f"span.{name}": [_span(row, name) for row in table.each] for name in _FIRST_SPANS}
    columns[f"score.{table.metric}"] = [_score(details, table.metric) for details in table.details]
    pairs = list(zip(table.each, table.details, strict=True))
    for number, first in enumerate(range(0, len(pairs), ROWS_A_FILE)):
        name = f"{identity}-more-{number}"
        rest = [_rest(table, row, details) for row, details in pairs[first : first + ROWS_A_FILE]]
        data_files.write(folder / "data" / f"{name}.js", "more", {"id": name, "rows": rest})
    styles = method_styles(strings["method"])
    looks = [
        [look.colour_number, look.marker_number, look.fill]
        for look in map(styles.__getitem__, strings["method"])
    ]
    return {"n": len(rows), "strings": strings, "columns": columns, "looks": looks}


def _texts(row: Row, people: tuple[str, str]) -> dict[str, object]:
    own = {k: row[k] for k in ("method", "status")} | {"verified": row.get("verified", NOT_VERIFIED)}
    own["limit"] = None if row["limit"] is None else str(row["limit"])
    return own | dict(zip(("authors", "run_by"), people, strict=True))


def _short(value: object) -> object:
    """Return a figure to seven digits, and a whole one as such.

    With fewer, the page would now and then round a figure to a tie, and that to another one than the board's.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        shorter = float(f"{value:.7g}")
        return int(shorter) if shorter == int(shorter) else shorter
    return value


def _span(row: Row, name: str) -> list[object] | None:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return None if low != low else [_short(low), _short(high), row.get(f"{name}_interval", "seeds")]


def _score(details: RowDetails, metric: str) -> list[object] | None:
    score = details.scores.get(metric)
    return None if score is None else [_short(value) for value in score]


def _rest(table: Table, row: Row, details: RowDetails) -> dict[str, object]:
    """Return the figures of one row that its table's first file has not."""
    spans = (*row_intervals.MEASURED, *row_intervals.SPENT)
    elsewhere = {
        title: attachment_columns.runtime_cell(column, row)
        for title, column in table.elsewhere.items()
        if attachment_columns.figure_of_row(column, row)
    }
    return {
        **{name: _short(row[name]) for name in _REST},
        "spans": {name: span for name in spans if name not in _FIRST_SPANS and (span := _span(row, name))},
        "scores": {metric: _score(details, metric) for metric in details.scores if metric != table.metric},
        "elsewhere": elsewhere, "origin": row["origin"], "precision": row["precision"],
        "seeds": row["seeds"], "runs": details.places,
        "sources": [table.sources[i] for i in row["energy_sources"]],
    }  # fmt: skip


def below(
    table: Table, downloads: dict[str, str], pictures: Mapping[str, object], brief: bool
) -> dict[str, object]:
    """Return the parts below a table's first screen: test sets, differences, notes and pictures."""
    differences = table.comparisons.head(MOST_DIFFERENCES) if brief else table.comparisons
    left_out = len(table.comparisons) - len(differences)
    notes = texts.footnotes(table)
    if left_out:
        notes.append(f"{left_out:,} more paired differences stand in leaderboard.json.")
    return {
        "notes": notes, "troubles": table.failures[:200], "signatures": table.signatures,
        "comparisons": texts.paired_differences(table)[: len(differences)].to_dict("records"),
        "downloads": downloads, "pictures": pictures, "sets": {} if brief else _sets(table),
    }  # fmt: skip


def _sets(table: Table) -> dict[str, TestSetTexts]:
    """Return, by metric, its texts on each test set."""
    keys = [
        (method, str(limit)) for method, limit in zip(table.rows["method"], table.rows["limit"], strict=True)
    ]
    by_metric: dict[str, TestSetTexts] = {}
    for scores in table.scores:
        lines = scores.frame.to_dict("records")
        cells = {(line["method"], line["limit"]): [line[name] for name in scores.sets] for line in lines}
        by_metric[scores.metric] = {
            "name": scores.name.removesuffix(","),
            "sets": scores.sets,
            "rows": [cells.get(key) for key in keys],
            "signature": "; ".join([scores.signature, *scores.notes]),
        }
    return by_metric


def metrics(table: Table) -> list[str]:
    """Return all metrics of the deciding test set, the deciding one first."""
    names: Sequence[str] = sorted({metric for details in table.details for metric in details.scores})
    return sorted(names, key=lambda metric: (metric != table.metric, metric))


def first_file(table: Table, identity: str, title: str, core: dict[str, object]) -> dict[str, object]:
    """Return the first file of a table."""
    return {
        "id": identity, "title": title, "shared": table.shared, "metric": table.metric,
        "metrics": {m: table.quantity(m).name for m in metrics(table)}, "core": core,
        "rows_a_file": ROWS_A_FILE, "runs_a_file": run_files.RUNS_A_FILE, "notices": table.notices,
        "axis": _axis(table), "elsewhere": list(table.elsewhere), "lowered": table.lowered,
        "updates": texts.counts_updates(table),
        "loss_unit": table.units.loss_unit,
    }  # fmt: skip


def _axis(table: Table) -> dict[str, str | float]:
    """Return scale, unit and label of the plot's horizontal axis."""
    words = {
        "ratio": (
            "p50 latency, times the reference's",
            "x reference",
            "latency as a ratio to the reference network",
        ),
        "params": ("parameters, millions", "M parameters", "parameters"),
    }
    name, unit, label = words[table.axis.figure]
    return {"key": table.axis.figure, "scale": table.axis.scale, "name": name, "unit": unit, "label": label}
