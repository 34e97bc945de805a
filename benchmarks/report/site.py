"""The static site of the leaderboard: pages that never change, and data files that they load by script tag.

No page holds a text of a record: every such text is in a data file and enters the page as a text node. So
the site works from ``file://`` under a policy without inline scripts. A table's rows stand in one file; all
runs, with their provenance, in files of a hundred, loaded when a row's page asks for one.
"""

from __future__ import annotations

import hashlib
import io
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from benchmarks import claims, stats, verified
from benchmarks import records as store
from benchmarks.records import Record
from benchmarks.report import formats, rows, sets, spread, standing, verdicts
from benchmarks.report.runs import Headline, Run
from benchmarks.report.tables import METRICS, Table

RUNS_A_FILE = 100
PAGES = (
    "index.html", "row.html", "claims.html", "style.css", "common.js", "chart.js", "overview.js", "row.js",
    "claims.js", "D3-LICENSE.txt",
)  # fmt: skip
CHARTS = "d3.v5.min.js"
"""The charting library, as the package mpld3 ships it."""

_TEXT_LIMIT, _FILE_LIMIT = 2000, 2**21
_DEEPEST = 100
"""Levels of nested data; no method of ours has more than ten."""
_EXACT = 2**53
"""Whole numbers up to here are the same in a browser."""
_CANDIDATE = ("index", "origin", "architecture", "policy", "weights_sha256", "test", "valid", "latency",
              "memory", "cost")  # fmt: skip
_FIGURES = ("limit_ms", "limit_share", "valid_loss", "p50", "p90", "ratio", "params", "macs", "bytes",
            "peak_bytes", "tokens", "evaluations", "probes", "seconds", "joules")  # fmt: skip


def write_pages(
    folder: Path, entries: Iterable[Mapping[str, Any]], records: int, judged: Sequence[claims.Verdict]
) -> None:
    """Write what does not depend on one table alone: pages, library, the list of tables, the claims."""
    web = Path(__file__).parent / "web"
    folder.mkdir(parents=True, exist_ok=True)
    for name in PAGES:
        (folder / name).write_bytes((web / name).read_bytes())
    (folder / CHARTS).write_bytes(_library())
    listed = sorted(entries, key=lambda entry: (entry["title"], entry["id"]))
    _write(folder / "data" / "index.js", "index", _text({"tables": listed, "records": records}))
    told = [
        {**v.to_dict()["claim"], "verdict": v.verdict, "n": v.n, "records": v.records, "command": v.command}
        | {"shown": verdicts.effect(v), "said": verdicts.said(v), "decide": verdicts.without_command(v)}
        for v in judged
    ]
    shown = {"papers": claims.papers(), "claims": told, "rules": verdicts.RULES}
    _write(folder / "data" / "claims.js", "claims", _text(shown))


def _library() -> bytes:
    from importlib.util import find_spec

    there = find_spec("mpld3")
    assert there is not None and there.origin is not None, "a dependency of this package is not installed"
    return (Path(there.origin).parent / "js" / CHARTS).read_bytes()


def _write(path: Path, kind: str, text: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = text.replace(b"<", b"\\u003c")
    path.write_bytes(b"supernetBench." + kind.encode() + b"(" + text + b");\n")


def _text(value: Any) -> bytes:
    """JSON of what is shown, cleaned: texts may be hostile."""
    return orjson.dumps(_clean(value))


def _text_of_runs(value: Any) -> bytes:
    """The same of a file of runs, figures to all digits: most have nothing to clean, which is soon seen."""
    try:
        text = orjson.dumps(value)
    except TypeError:  # numbers of more than 64 bits, data nested too deep
        return _text(value)
    odd = any(mark in text for mark in (b"\\", b"\x7f", b"  ", b'" ', b' "'))
    return text if text.isascii() and not odd and len(text) <= _FILE_LIMIT else _text(value)


@lru_cache(maxsize=4096)
def _name(key: str) -> str:
    return rows.plain(key, 200)


def _clean(value: Any, inside: int = 0) -> Any:
    """Hostile texts without control and direction characters, figures to six digits, NaN as null."""
    if isinstance(value, str):
        return rows.plain(value, _TEXT_LIMIT)
    if isinstance(value, float):
        return float(f"{value:.6g}") if -1e300 < value < 1e300 else None
    if isinstance(value, dict | list | tuple) and inside > _DEEPEST:
        return "..."
    if isinstance(value, dict):
        return {_name(k): _clean(v, inside + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v, inside + 1) for v in value]
    if isinstance(value, int) and not -_EXACT <= value <= _EXACT:
        return _clean(float(value))
    return value


def write_table(
    folder: Path, group: Sequence[Run], table: Table, title: str, name: str,
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
    identity = hashlib.sha256(store.canonical(alike)).hexdigest()[:12]
    lines = _rows(table)
    downloads = _downloads(folder, table, f"{name}-{identity[:6]}", brief)
    shown = {
        "id": identity, "title": title, "shared": table.shared, "metric": table.metric,
        "metrics": {m: METRICS.get(m, m) for m in _metrics(lines, table.metric)}, "rows": lines,
        "notes": formats.footnotes(table), "troubles": table.troubles[:200], "signatures": table.signatures,
        "comparisons": formats.comparisons(table).to_dict("records"), "downloads": downloads,
        "runs_a_file": RUNS_A_FILE, "sets": {} if brief else _sets(table),
        "pictures": _pictures(folder, f"{name}-{identity[:6]}", pictures or {}),
    }  # fmt: skip
    _write(folder / "data" / f"{identity}.js", "table", _text(shown))
    return {
        "id": identity, "title": title, "runs": len(table.runs), "rows": len(lines),
        "allowance": formats.caption(table).split("allowance a run: ")[-1],
        "methods": len(set(table.named.values())),
        **{k: table.shared[k] for k in ("task", "tier", "profile", "space")},
    }  # fmt: skip


def _rows(table: Table) -> list[dict[str, Any]]:
    """The table's rows as plain data; every metric of the deciding test set with its interval."""
    found: dict[tuple[str, str], list[tuple[Headline, int]]] = {}
    by_method: dict[str, list[int]] = {}
    for run in table.runs:
        method = table.named[run.id]
        by_method.setdefault(method, []).append(run.place)
        for head in run.headlines if run.status != "failed" else ():
            found.setdefault((method, str(head.limit)), []).append((head, run.place))
    lines = []
    for row in table.rows.to_dict("records"):
        limit = None if row["limit"] is None else str(row["limit"])
        there = found.get((row["method"], limit or ""), [])
        line = {k: row[k] for k in ("method", "status", "origin", "seeds", "n")} | {"limit": limit}
        line |= {k: row[k] for k in _FIGURES} | {"verified": row.get("verified", verified.NOT_YET)}
        line["spans"] = {
            name: [row[f"{name}_low"], row[f"{name}_high"], row.get(f"{name}_interval", "seeds")]
            for name in (*spread.MEASURED, *spread.SPENT)
            if row[f"{name}_low"] == row[f"{name}_low"]
        }
        line["scores"] = _scores([head for head, _ in there])
        line["runs"] = [place for _, place in there] or by_method.get(str(row["method"]), [])
        line["sources"] = [table.sources[i] for i in row["energy_sources"]]
        lines.append({str(k): v for k, v in line.items()})
    return lines


def _scores(heads: Sequence[Headline]) -> dict[str, list[Any]]:
    metrics = sorted({metric for head in heads for metric, _ in head.recipes})
    return {metric: _over([head.score(metric) for head in heads]) for metric in metrics}


def _over(scores: Sequence[tuple[float, float, float]]) -> list[Any]:
    """``[mean, low, high, what the interval is over]``: seeds, or the one run's sentences."""
    there = [score for score in scores if score[0] == score[0]]
    if len(there) > 1:
        interval = stats.t_interval([value for value, _, _ in there])
        return [interval.mean, interval.low, interval.high, "seeds"]
    return [*there[0], "sentences"] if there else [None, None, None, ""]


def _sets(table: Table) -> dict[str, Any]:
    """Metric -> its name on each test set, its signature, and a text for each row of the table and set."""
    found = {}
    for one in sets.scores(table):
        lines = one.frame.to_dict("records")
        cells = {(line["method"], line["latency limit"]): [line[name] for name in one.sets] for line in lines}
        keys = zip(table.rows["method"], table.rows["limit"], strict=True)
        texts = [cells.get((method, str(limit))) for method, limit in keys]
        found[one.metric] = {"sets": one.sets, "signature": one.signature, "rows": texts}
    return found


def _metrics(lines: Sequence[Mapping[str, Any]], first: str) -> list[str]:
    return sorted({m for line in lines for m in line["scores"]}, key=lambda m: (m != first, m))


def write_runs(folder: Path, first: int, records: Sequence[Record], verdicts: standing.Verdicts) -> None:
    """Write the pages' data of up to ``RUNS_A_FILE`` records.

    Args:
        folder: of the site.
        first: number of the first of them among all records of the leaderboard; starts a file.
        records: those of this file, in order.
        verdicts: of second runs of any records.
    """
    file = f"runs-{first // RUNS_A_FILE}"
    part = [_run(record, verdicts.get(record["id"], ())) for record in records]
    _write(folder / "data" / f"{file}.js", "runs", _text_of_runs({"id": file, **_pooled(part)}))


def _run(record: Record, verdicts: Sequence[verified.Stored]) -> dict[str, Any]:
    """One run with its whole provenance, what second runs said, and the commands that make it again."""
    path = Path("results") / "records" / store.relative_path(record)
    made, spec = record["provenance"], record["spec"]
    headline = [
        {"limit": str(limit)} | {k: c.get(k) for k in _CANDIDATE}
        for limit, c in rows.by_limit(record["candidates"]).items()
    ]
    return {
        "id": record["id"], "status": record["status"],
        "message": rows.plain(record["message"], _TEXT_LIMIT),
        "path": path.as_posix(), "digest": record["digest"], "seal": record["seal"], "spec": spec,
        "totals": record["ledger"]["totals"], "energy": record["energy"], "candidates": headline,
        "made": {k: v for k, v in made.items() if k not in ("command", "started", "ended")},
        "started": made.get("started"), "ended": made.get("ended"),
        "command": shlex.join(str(word) for word in made.get("command") or ()),
        "again": shlex.join(_again(spec)),
        "verify": shlex.join(["supernet-bench", "verify", path.as_posix()]),
        "verdicts": [standing.texts(one, made["machine"].get("fingerprint")) for one in verdicts],
    }  # fmt: skip


def _again(spec: Mapping[str, Any]) -> list[str]:
    """The command that makes a run like this one."""
    words = ["supernet-bench", "run", spec["suite"], "--task", spec["task"], "--tier", spec["tier"]]
    words += ["--methods", spec["method"], "--profile", spec["profile"], "--seeds", f"{spec['seed']},"]
    for name, value in sorted(spec["options"].items()):
        words += ["--option", f"{spec['method']}.{name}={value}"]
    return words


def _pooled(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs of one file, provenance that several share standing there once."""
    pool: dict[bytes, int] = {}
    kept = []
    for run in runs:
        made = run.pop("made")
        text = store.canonical(made)
        if text not in pool:
            pool[text] = len(pool)
            kept.append(made)
        run["made"] = pool[text]
    return {"runs": runs, "made": kept}


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
    text = formats.csv(table)
    files: dict[str, bytes] = {"csv": text.encode(), "tex": formats.latex(table, not brief).encode()}
    if not brief:
        files["test_sets.csv"] = formats.sets_csv(table).encode()
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
