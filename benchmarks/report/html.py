"""One self-contained page: no script, no font and no file but itself. Every text is escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmarks.analysis import number_format, test_sets
from benchmarks.analysis.tables import Table
from benchmarks.comparability import grouping, run_summary
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize
from benchmarks.report import text_formats
from benchmarks.report.plots import performance_profiles
from benchmarks.report.text_formats import TEXTS

FIGURES = {
    "pareto": "Quality against latency",
    "hypervolume": "Hypervolume over the budget",
    "performance": "How often each method is close to the best",
    "search": "The search",
    "budget": "Budget and energy by phase",
}
"""File name -> heading, in the order of the page."""


def _environment() -> Environment:
    folder = Path(__file__).parent / "templates"
    return Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def grid(
    frame: pd.DataFrame, caption: str, left: Sequence[str], groups: Sequence[Any] = ()
) -> dict[str, Any]:
    """A frame of texts as the template wants it; the first column heads each row.

    ``groups``: one value a row; where it changes, a line is drawn.
    """
    return {
        "breaks": {i + 1 for i in range(1, len(groups)) if groups[i] != groups[i - 1]},
        "caption": caption,
        "heads": [{"text": head, "left": head in left} for head in frame.columns],
        "rows": [
            list(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False, name=None)
        ],
        "left": set(left),
    }


def _left(table: Table) -> list[str]:
    shown = text_formats.columns(table)
    return [shown[key][0] for key in TEXTS if key in shown] + ["difference in", "verdict"]


def alternative(name: str, table: Table) -> str:
    """What a figure shows, in words, for those who cannot see it."""
    best = table.rows[table.rows["compared"]].dropna(subset=["quality"])
    if name == "pareto":
        told = [
            f"{line['method']} at limit {line['limit']}: {number_format.interval(line)} {table.metric_name},"
            f" {number_format.sig(line['p50'])} ms"
            for line in best.to_dict("records")
        ]
        return "Scatter plot of test quality against latency. " + "; ".join(told) + "."
    if name == "hypervolume":
        timed = table.volumes.dropna(subset=["volume"])
        means = timed.groupby("method")["volume"].mean().sort_values(ascending=False, kind="stable")
        return (
            "Hypervolume at the end, best first: " + ", ".join(f"{m} {v:.4g}" for m, v in means.items()) + "."
        )
    if name == "performance":
        return "Performance profiles. " + " ".join(
            f"{what}: on the share of workloads where it is the best or equal, "
            + ", ".join(
                f"{m} {performance_profiles.share(f, 1.0):.0%}"
                for m, f in performance_profiles.ratios(costs).items()
            )
            + "."
            for what, costs in performance_profiles.panels(table).items()
        )
    if name == "budget":
        own = table.rows[table.rows["method"] == table.rows["of"]]
        spent = own.drop_duplicates("method").to_dict("records")
        told = [
            f"{r['method']} {number_format.number(r['tokens'], '.0f', 100)} % of the tokens,"
            f" {number_format.number(r['seconds'], '.0f')} s"
            for r in spent
        ]
        return "Stacked bars of what each method spent by phase: " + "; ".join(told) + "."
    return "Best validation loss so far of each method against the validation evaluations it has spent."


def _provenance(records: Sequence[Record]) -> list[tuple[str, str]]:
    """What the runs were made with; where they differ, every value."""
    found: dict[str, set[str]] = {}
    for record in records:
        made = record["provenance"]
        flat: dict[str, Any] = {
            "commit": made.get("commit") or "unknown",
            "uncommitted changes": made.get("dirty_sha256") or "none",
        }
        flat |= {f"version of {k}": v for k, v in made["versions"].items()}
        flat |= {f"sha256 of {k}": v for k, v in made["data"].items()}
        flat |= {f"machine: {k}": v for k, v in made["machine"].items()}
        flat |= {f"environment: {k}": v for k, v in (made.get("env") or {}).items()}
        for key, value in flat.items():
            found.setdefault(sanitize(key, 80), set()).add(sanitize(value, 160))
    return [(key, "  and  ".join(sorted(values))) for key, values in found.items()]


def _runs(records: Sequence[Record]) -> pd.DataFrame:
    named = grouping.labels(run_summary.summarize_all(records))
    return pd.DataFrame(
        [
            {
                "run": r["id"],
                "method": sanitize(named[r["id"]], 60),
                "seed": str(r["spec"]["seed"]),
                "status": r["status"],
                "candidates": str(len(r["candidates"])),
                "digest": r["digest"][:16],
                "started": sanitize(r["provenance"]["started"], 32),
            }
            for r in records
        ]
    )


def page(records: Sequence[Record], table: Table, images: Mapping[str, bytes], title: str) -> str:
    """The whole page as text.

    Args:
        records: what the table was built from.
        table: of ``tables.build``.
        images: ``pareto.svg`` ... -> bytes, as ``plots.images`` makes them.
        title: shown as the heading; any text.
    """
    left, metric = _left(table), table.metric_name
    drawn = [
        {
            "id": name,
            "heading": heading,
            "alt": alternative(name, table),
            "source": Markup("data:image/svg+xml;base64,") + base64.b64encode(images[f"{name}.svg"]).decode(),
        }
        for name, heading in FIGURES.items()
        if f"{name}.svg" in images
    ]
    against = grid(
        text_formats.comparisons(table), f"Differences from {table.baseline}, paired over seeds", left
    )
    single = grid(text_formats.over_sentences(table), text_formats.OVER_SENTENCES, left)
    main = f"{metric} and latency of each method's best network by validation at each limit, best first"
    return _environment().get_template("report.html").render(
        title=sanitize(title),
        caption=text_formats.caption(table),
        shared=table.shared,
        main=grid(text_formats.cells(table), main, left, list(table.rows["limit"])),
        footnotes=[*table.notices, *text_formats.footnotes(table)],
        troubles=table.troubles,
        figures=drawn,
        baseline=table.baseline,
        against=against if against["rows"] else None,
        single=single if single["rows"] else None,
        sets=[
            grid(
                s.frame,
                f"{s.name} on each test set, with 95 % intervals; made as {s.signature} {' '.join(s.notes)}",
                left,
            )
            for s in test_sets.scores(table)
        ],
        signatures=table.signatures,
        provenance=_provenance(records),
        runs=grid(_runs(records), "Every run of this report", [*left, "run", "digest", "started"]),
    )  # fmt: skip
