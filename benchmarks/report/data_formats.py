"""A ``Table`` as data for scripts and spreadsheets: JSON and CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.analysis import attachment_columns
from benchmarks.analysis.attachment_columns import RuntimeFigure
from benchmarks.analysis.number_format import Row
from benchmarks.analysis.table import Table
from benchmarks.stats.rounding import six_digits

Json = Any
"""A value that JSON can hold."""

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters that a spreadsheet may take for the start of a formula, full-width forms included."""
_TEXT_OR_LIST = (str, bool, int, list)


def _rounded(value: object) -> Json:
    """Return six significant digits of a figure, None for NaN; what JSON cannot hold becomes text."""
    if isinstance(value, float):
        return None if math.isnan(value) else six_digits(value)
    return value if value is None or isinstance(value, _TEXT_OR_LIST) else str(value)


def _plain_rows(lines: Sequence[Row]) -> list[dict[str, Json]]:
    return [{str(k): _rounded(v) for k, v in line.items()} for line in lines]


def _runtime_figure(figure: RuntimeFigure | None) -> dict[str, Json] | None:
    return None if figure is None else {name: _rounded(value) for name, value in asdict(figure).items()}


def as_json(table: Table, only: Collection[str] = ()) -> dict[str, Json]:
    """Return the comparison for scripts: six significant digits, null for what was not measured.

    Args:
        table: to show.
        only: wanted fields; the others are not computed. Default: all.
    """
    fields: Mapping[str, Callable[[], Json]] = {
        "shared": lambda: table.shared,
        "metric": lambda: table.metric,
        "rows": lambda: _plain_rows(table.each),
        "test_sets": lambda: _plain_rows(table.sets.drop(columns="signature").to_dict("records")),
        "baseline": lambda: table.baseline,
        "comparisons": lambda: _plain_rows(table.comparisons.to_dict("records")),
        "sentences": lambda: _plain_rows(table.sentences.to_dict("records")),
        "hypervolume": lambda: {
            "version": table.results_version,
            "axis": table.axis.name,
            "reference": _reference(table),
            "runs": _plain_rows(table.volumes.to_dict("records")),
        },
        "verdicts": lambda: table.verdicts,
        "elsewhere": lambda: {
            title: [_runtime_figure(attachment_columns.figure_of_row(column, row)) for row in table.each]
            for title, column in table.elsewhere.items()
        },
        "signatures": lambda: table.signatures,
        "energy_sources": lambda: table.sources,
        "troubles": lambda: table.failures,
        "notices": lambda: table.notices,
        "notes": lambda: table.notes,
    }
    if table.carbon is not None:
        fields = {**fields, "emissions": lambda: _emissions(table)}
    return {name: compute() for name, compute in fields.items() if not only or name in only}


def _emissions(table: Table) -> Json:
    """Return the emissions and their declaration."""
    assert table.carbon is not None
    rows = _plain_rows([line._asdict() for line in table.emissions])
    return {"declared": asdict(table.carbon), "rows": rows}


def _reference(table: Table) -> dict[str, float] | None:
    """Return the frozen point of the hypervolume; parameters in millions."""
    axis = table.axis
    if axis.reference is None:
        return None
    name = "latency_ratio" if axis.figure == "ratio" else "parameters_millions"
    return {"quality": axis.reference[0], name: axis.reference[1]}


def json_text(value: Json) -> str:
    """Return JSON as this project writes it into files."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def csv(table: Table) -> str:
    """Return plain figures, one row per method and limit; texts cannot start a spreadsheet formula."""
    frame = table.rows.drop(columns="energy_sources").copy()
    frame["energy_source"] = [
        "; ".join(table.sources[i] for i in row) for row in table.rows["energy_sources"]
    ]
    for title, column in table.elsewhere.items():
        figures = [attachment_columns.figure_of_row(column, row) for row in table.each]
        parts = {"": "ms", " low": "ms_low", " high": "ms_high", " x PyTorch": "ratio"}
        for part, name in parts.items():
            frame[title + part] = [math.nan if f is None else getattr(f, name) for f in figures]
    for name in ("method", "origin", "precision", "status", "energy_source"):
        frame[name] = ["'" + t if str(t).startswith(FORMULA) else t for t in frame[name]]
    units = {"quality": table.metric, "low": f"{table.metric}_low", "high": f"{table.metric}_high"}
    units |= {"interval": f"{table.metric}_interval", "over": "over_limit"}
    named = {"p50": "latency_p50_ms", "p90": "latency_p90_ms", "ratio": "latency_ratio"}
    units |= {k: f"{k}_share" for k in ("tokens", "evaluations", "probes")}
    sides = ("", "_low", "_high", "_interval")
    units |= {f"{k}{part}": f"{name}{part}" for k, name in named.items() for part in sides}
    for name in [str(column) for column in frame.select_dtypes("float")]:
        frame[name] = [_rounded(float(v)) for v in frame[name]]
    return frame.rename(columns=units).to_csv(index=False, lineterminator="\n")


def sets_csv(table: Table) -> str:
    """Return plain figures, one row per method, limit, test set and metric."""
    frame = table.sets.copy()
    for name in ("method", "set", "metric", "signature"):
        frame[name] = ["'" + t if t.startswith(FORMULA) else t for t in frame[name]]
    for name in ("value", "low", "high"):
        frame[name] = [_rounded(float(v)) for v in frame[name]]
    return frame.to_csv(index=False, lineterminator="\n")
