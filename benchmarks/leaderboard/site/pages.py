"""The static site of the leaderboard: pages that never change, and data files that they load by script tag.

No page holds a text of a record: every such text is in a data file and enters the page as a text node. So
the site works from ``file://`` under a policy without inline scripts. A table's rows stand in one file; all
runs, with their provenance, in files of a hundred, loaded when a row's page asks for one.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from benchmarks.analysis import attachment_columns, row_intervals
from benchmarks.analysis.attachment_columns import NOT_VERIFIED
from benchmarks.analysis.table import Table
from benchmarks.claims import hypotheses
from benchmarks.leaderboard import claims_page
from benchmarks.leaderboard.site import data_files, run_files
from benchmarks.report import data_formats, latex, texts

PAGES = (
    "index.html", "row.html", "claims.html", "style.css", "common.js", "chart.js", "overview.js", "row.js",
    "claims.js", "D3-LICENSE.txt",
)  # fmt: skip
CHARTS = "d3.v5.min.js"
"""The charting library, as the package mpld3 ships it."""

_FIGURES = ("limit_ms", "limit_share", "valid_loss", "p50", "p90", "ratio", "params", "macs", "bytes",
            "peak_bytes", "tokens", "evaluations", "probes", "seconds", "joules")  # fmt: skip


class TableEntry(TypedDict):
    """Entry of a table in the site's list of tables."""

    id: str
    title: str
    runs: int
    rows: int
    allowance: str
    methods: int
    task: str
    tier: str
    profile: str
    space: str


class Picture(TypedDict):
    """An SVG file of the site, with a text for those who cannot see it."""

    path: str
    alternative: str


class TestSetTexts(TypedDict):
    """One metric on each test set: its heading, recipe, and a list of texts for each row of the table."""

    name: str
    sets: list[str]
    rows: list[list[str] | None]
    signature: str


def write_pages(
    folder: Path, entries: Iterable[TableEntry], records: int, judged: Sequence[hypotheses.ClaimVerdict]
) -> None:
    """Write the files that all tables share: pages, library, the list of tables, the claims."""
    web = Path(__file__).parent / "web"
    folder.mkdir(parents=True, exist_ok=True)
    for name in PAGES:
        (folder / name).write_bytes((web / name).read_bytes())
    (folder / CHARTS).write_bytes(_library())
    listed = sorted(entries, key=lambda entry: (entry["title"], entry["id"]))
    data_files.write(folder / "data" / "index.js", "index", {"tables": listed, "records": records})
    claims = [
        {**v.to_dict()["claim"], "verdict": v.verdict, "n": v.n, "records": v.records, "command": v.command}
        | {
            "shown": claims_page.effect(v),
            "verdict_with_reason": claims_page.verdict_with_reason(v),
            "decide": claims_page.without_command(v),
        }
        | {"evidence": claims_page.evidence(v)}
        for v in judged
    ]
    shown = {"papers": hypotheses.papers(), "claims": claims, "rules": claims_page.RULES}
    data_files.write(folder / "data" / "claims.js", "claims", shown)


def _library() -> bytes:
    from importlib.util import find_spec

    package = find_spec("mpld3")
    assert package is not None and package.origin is not None, "a dependency of this package is not installed"
    return (Path(package.origin).parent / "js" / CHARTS).read_bytes()


def write_table(
    folder: Path, table: Table, identity: str, title: str, name: str,
    pictures: Mapping[str, tuple[bytes, str]] | None = None, brief: bool = False,
) -> TableEntry:  # fmt: skip
    """Write one table's data, pictures and downloads into the site; return its entry in the list of tables.

    Args:
        folder: of the site.
        table: to show.
        identity: 12 hex digits, the same for the same facts.
        title: any text.
        name: of its files, without an ending.
        pictures: name -> SVG and a text for those who cannot see it.
        brief: without the scores on each test set, which stand in the runs' files all the same.
    """
    lines = _rows(table)
    file_name = f"{name}-{identity[:6]}"
    downloads = _downloads(folder, table, file_name, brief)
    shown = {
        "id": identity, "title": title, "shared": table.shared, "metric": table.metric,
        "metrics": {m: table.quantity(m).name for m in _metrics(table)}, "rows": lines,
        "notices": table.notices, "notes": texts.footnotes(table), "troubles": table.failures[:200],
        "signatures": table.signatures, "axis": _axis(table),
        "comparisons": texts.paired_differences(table).to_dict("records"), "downloads": downloads,
        "elsewhere": list(table.elsewhere), "runs_a_file": run_files.RUNS_A_FILE,
        "sets": {} if brief else _sets(table),
        "pictures": _pictures(folder, file_name, pictures or {}),
    }  # fmt: skip
    data_files.write(folder / "data" / f"{identity}.js", "table", shown)
    shared = table.shared
    return {
        "id": identity, "title": title, "runs": len(table.runs), "rows": len(lines),
        "allowance": texts.caption(table).split("allowance a run: ")[-1],
        "methods": len(set(table.named.values())),
        "task": shared["task"], "tier": shared["tier"], "profile": shared["profile"],
        "space": shared["space"],
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


def _rows(table: Table) -> list[dict[str, object]]:
    """Return the table's rows as plain data; every metric of the deciding test set with its interval."""
    lines = []
    for row, details in zip(table.each, table.details, strict=True):
        limit = None if row["limit"] is None else str(row["limit"])
        line: dict[str, object] = {k: row[k] for k in ("method", "status", "origin", "seeds", "n")}
        line |= {"limit": limit, "compared": bool(row["compared"]), "over": row["over"]}
        line |= {k: row[k] for k in _FIGURES} | {"verified": row.get("verified", NOT_VERIFIED)}
        line["spans"] = {
            name: [row[f"{name}_low"], row[f"{name}_high"], row.get(f"{name}_interval", "seeds")]
            for name in (*row_intervals.MEASURED, *row_intervals.SPENT)
            if row[f"{name}_low"] == row[f"{name}_low"]
        }
        line["elsewhere"] = {
            title: attachment_columns.runtime_cell(column, row)
            for title, column in table.elsewhere.items()
            if attachment_columns.figure_of_row(column, row)
        }
        line["scores"], line["runs"] = details.scores, details.places
        line["sources"] = [table.sources[i] for i in row["energy_sources"]]
        lines.append(line)
    return lines


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


def _metrics(table: Table) -> list[str]:
    """Return all metrics of the deciding test set, the deciding one first."""
    metrics = {metric for details in table.details for metric in details.scores}
    return sorted(metrics, key=lambda metric: (metric != table.metric, metric))


def _pictures(folder: Path, name: str, pictures: Mapping[str, tuple[bytes, str]]) -> dict[str, Picture]:
    written: dict[str, Picture] = {}
    for kind, (drawn, alternative) in pictures.items():
        path = folder / "plots" / f"{name}-{kind}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn)
        written[kind] = {"path": path.relative_to(folder).as_posix(), "alternative": alternative}
    return written


def _downloads(folder: Path, table: Table, name: str, brief: bool) -> dict[str, str]:
    """Write the table as CSV, LaTeX and, where pyarrow is installed, Parquet; return format -> path."""
    text = data_formats.csv(table)
    files: dict[str, bytes] = {"csv": text.encode(), "tex": latex.latex(table, not brief).encode()}
    if not brief:
        files["test_sets.csv"] = data_formats.sets_csv(table).encode()
    try:
        import pyarrow.csv as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        pass
    else:
        buffer = io.BytesIO()
        parquet.write_table(arrow.read_csv(io.BytesIO(text.encode())), buffer)
        files["parquet"] = buffer.getvalue()
    (folder / "downloads").mkdir(parents=True, exist_ok=True)
    for kind, data in files.items():
        (folder / "downloads" / f"{name}.{kind}").write_bytes(data)
    return {kind: f"downloads/{name}.{kind}" for kind in files}
