"""The static site of the leaderboard: pages that never change, and data files that they load by script tag.

No page holds a text of a record: every such text is in a data file and enters the page as a text node. So
the site works from ``file://`` under a policy without inline scripts. A table's rows stand in one file; all
runs, with their provenance, in files of a hundred, loaded when a row's page asks for one.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.analysis import attachment_columns, row_intervals, test_sets
from benchmarks.analysis.tables import METRICS, Table
from benchmarks.claims import hypotheses
from benchmarks.comparability.run_summary import Headline, RunSummary, labelled
from benchmarks.leaderboard import claims_page
from benchmarks.leaderboard.site import data_files, run_files
from benchmarks.records.canonical import canonical
from benchmarks.report import text_formats
from benchmarks.stats import intervals, quantities
from benchmarks.verification import verdict_files

PAGES = (
    "index.html", "row.html", "claims.html", "style.css", "common.js", "chart.js", "overview.js", "row.js",
    "claims.js", "D3-LICENSE.txt",
)  # fmt: skip
CHARTS = "d3.v5.min.js"
"""The charting library, as the package mpld3 ships it."""

_FIGURES = ("limit_ms", "limit_share", "valid_loss", "p50", "p90", "ratio", "params", "macs", "bytes",
            "peak_bytes", "tokens", "evaluations", "probes", "seconds", "joules")  # fmt: skip


def write_pages(
    folder: Path,
    entries: Iterable[Mapping[str, Any]],
    records: int,
    judged: Sequence[hypotheses.ClaimVerdict],
) -> None:
    """Write what does not depend on one table alone: pages, library, the list of tables, the claims."""
    web = Path(__file__).parent / "web"
    folder.mkdir(parents=True, exist_ok=True)
    for name in PAGES:
        (folder / name).write_bytes((web / name).read_bytes())
    (folder / CHARTS).write_bytes(_library())
    listed = sorted(entries, key=lambda entry: (entry["title"], entry["id"]))
    data_files.write(folder / "data" / "index.js", "index", {"tables": listed, "records": records})
    told = [
        {**v.to_dict()["claim"], "verdict": v.verdict, "n": v.n, "records": v.records, "command": v.command}
        | {
            "shown": claims_page.effect(v),
            "said": claims_page.said(v),
            "decide": claims_page.without_command(v),
        }
        | {"evidence": claims_page.evidence(v)}
        for v in judged
    ]
    shown = {"papers": hypotheses.papers(), "claims": told, "rules": claims_page.RULES}
    data_files.write(folder / "data" / "claims.js", "claims", shown)


def _library() -> bytes:
    from importlib.util import find_spec

    there = find_spec("mpld3")
    assert there is not None and there.origin is not None, "a dependency of this package is not installed"
    return (Path(there.origin).parent / "js" / CHARTS).read_bytes()


def write_table(
    folder: Path, group: Sequence[RunSummary], table: Table, title: str, name: str,
    pictures: Mapping[str, tuple[bytes, str]] | None = None, brief: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Write one table's data, pictures and downloads into the site; return its entry in the list of tables.

    Args:
        folder: of the site.
        group: every run of the table, also those that do not count.
        table: of ``tables.of_runs``.
        title: any text.
        name: of its files, without an ending.
        pictures: what it shows -> SVG and the words for those who cannot see it.
        brief: without the scores on each test set, which stand in the runs' files all the same.
    """
    alike = {**group[0].facts, **group[-1].facts}
    identity = hashlib.sha256(canonical(alike)).hexdigest()[:12]
    lines = _rows(table)
    downloads = _downloads(folder, table, f"{name}-{identity[:6]}", brief)
    shown = {
        "id": identity, "title": title, "shared": table.shared, "metric": table.metric,
        "metrics": {m: METRICS.get(m, m) for m in _metrics(lines, table.metric)}, "rows": lines,
        "notices": table.notices, "notes": text_formats.footnotes(table), "troubles": table.troubles[:200],
        "signatures": table.signatures, "axis": _axis(table),
        "comparisons": text_formats.comparisons(table).to_dict("records"), "downloads": downloads,
        "elsewhere": list(table.elsewhere), "runs_a_file": run_files.RUNS_A_FILE,
        "sets": {} if brief else _sets(table),
        "pictures": _pictures(folder, f"{name}-{identity[:6]}", pictures or {}),
    }  # fmt: skip
    data_files.write(folder / "data" / f"{identity}.js", "table", shown)
    return {
        "id": identity, "title": title, "runs": len(table.runs), "rows": len(lines),
        "allowance": text_formats.caption(table).split("allowance a run: ")[-1],
        "methods": len(set(table.named.values())),
        **{k: table.shared[k] for k in ("task", "tier", "profile", "space")},
    }  # fmt: skip


def _axis(table: Table) -> dict[str, Any]:
    """What the plot draws quality against."""
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


def _rows(table: Table) -> list[dict[str, Any]]:
    """The table's rows as plain data; every metric of the deciding test set with its interval."""
    found: dict[tuple[str, str], list[tuple[Headline, int]]] = {}
    by_method: dict[str, list[int]] = {}
    for run in table.runs:
        method = table.named[run.id]
        by_method.setdefault(method, []).append(run.place)
        for label, head in labelled(run, method, run.id in table.obstacles) if run.status != "failed" else ():
            found.setdefault((label, str(head.limit)), []).append((head, run.place))
    lines = []
    for row in table.each:
        limit = None if row["limit"] is None else str(row["limit"])
        there = found.get((row["method"], limit or ""), [])
        line = {k: row[k] for k in ("method", "status", "origin", "seeds", "n")} | {"limit": limit}
        line |= {"compared": bool(row["compared"]), "over": row["over"]}
        line |= {k: row[k] for k in _FIGURES} | {"verified": row.get("verified", verdict_files.NOT_YET)}
        line["spans"] = {
            name: [row[f"{name}_low"], row[f"{name}_high"], row.get(f"{name}_interval", "seeds")]
            for name in (*row_intervals.MEASURED, *row_intervals.SPENT)
            if row[f"{name}_low"] == row[f"{name}_low"]
        }
        line["elsewhere"] = {
            title: attachment_columns.cell(column, row)
            for title, column in table.elsewhere.items()
            if attachment_columns.figure_of(column, row)
        }
        line["scores"] = _scores([head for head, _ in there])
        line["runs"] = [place for _, place in there] or by_method.get(str(row["of"]), [])
        line["sources"] = [table.sources[i] for i in row["energy_sources"]]
        lines.append({str(k): v for k, v in line.items()})
    return lines


def _scores(heads: Sequence[Headline]) -> dict[str, list[Any]]:
    metrics = sorted({metric for head in heads for metric, _ in head.recipes})
    return {metric: _over([head.score(metric) for head in heads], metric) for metric in metrics}


def _over(scores: Sequence[tuple[float, float, float]], metric: str) -> list[Any]:
    """``[mean, low, high, what the interval is over]``: seeds, or the one run's sentences."""
    there = [score for score in scores if score[0] == score[0]]
    if len(there) > 1:
        interval = intervals.interval([value for value, _, _ in there], quantities.of_metric(metric))
        return [interval.mean, interval.low, interval.high, "seeds"]
    return [*there[0], "sentences"] if there else [None, None, None, ""]


def _sets(table: Table) -> dict[str, Any]:
    """Metric -> its name on each test set, its signature, and a text for each row of the table and set."""
    found = {}
    for one in test_sets.scores(table):
        lines = one.frame.to_dict("records")
        cells = {(line["method"], line["limit"]): [line[name] for name in one.sets] for line in lines}
        keys = zip(table.rows["method"], table.rows["limit"], strict=True)
        texts = [cells.get((method, str(limit))) for method, limit in keys]
        found[one.metric] = {
            "name": one.name.removesuffix(","), "sets": one.sets, "rows": texts,
            "signature": "; ".join([one.signature, *one.notes]),
        }  # fmt: skip
    return found


def _metrics(lines: Sequence[Mapping[str, Any]], first: str) -> list[str]:
    return sorted({m for line in lines for m in line["scores"]}, key=lambda m: (m != first, m))


def _pictures(folder: Path, name: str, pictures: Mapping[str, tuple[bytes, str]]) -> dict[str, Any]:
    found = {}
    for what, (drawn, alternative) in pictures.items():
        path = folder / "plots" / f"{name}-{what}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn)
        found[what] = {"path": path.relative_to(folder).as_posix(), "alternative": alternative}
    return found


def _downloads(folder: Path, table: Table, name: str, brief: bool) -> dict[str, str]:
    """The table as CSV, LaTeX and, where pyarrow is installed, Parquet; format -> path in the site."""
    text = text_formats.csv(table)
    files: dict[str, bytes] = {"csv": text.encode(), "tex": text_formats.latex(table, not brief).encode()}
    if not brief:
        files["test_sets.csv"] = text_formats.sets_csv(table).encode()
    try:
        import pyarrow.csv as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        pass
    else:
        written = io.BytesIO()
        parquet.write_table(arrow.read_csv(io.BytesIO(text.encode())), written)
        files["parquet"] = written.getvalue()
    (folder / "downloads").mkdir(parents=True, exist_ok=True)
    for kind, data in files.items():
        (folder / "downloads" / f"{name}.{kind}").write_bytes(data)
    return {kind: f"downloads/{name}.{kind}" for kind in files}
