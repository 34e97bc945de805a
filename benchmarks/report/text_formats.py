"""A ``Table`` as text: cells for people, and as Markdown, CSV, JSON and LaTeX.

Every text is escaped for where it goes; ``records.text.sanitize`` has taken control characters out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import pandas as pd

from benchmarks.analysis import attachment_columns, row_status, test_sets
from benchmarks.analysis.comparisons import MOST_PAIRS
from benchmarks.analysis.number_format import NONE, Row, interval, item, measured, number, sig
from benchmarks.analysis.tables import Table
from benchmarks.records.selection import Limit, results_version
from benchmarks.records.text import sanitize
from benchmarks.report.latex import tabular
from benchmarks.stats import paired_bleu
from benchmarks.stats.quantiles import DISTURBED

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet may take for the start of a formula, full-width forms included."""


def mark(source: int) -> str:
    """Mark of one of a table's energy sources, by its number: never the same for two."""
    return "*" * (source + 1) if source < 4 else f"*{source + 1}"


def _joules(row: Row) -> str:
    return " ".join([measured(row, "joules", "sig", 1e-3), *map(mark, row["energy_sources"])])


def _limit(row: Row) -> str:
    """A share of the reference's latency stands alone: its milliseconds would be those of another session
    than the row's."""
    return NONE if row["limit"] is None else str(row["limit"])


def _loads(key: str) -> Callable[[Row], str]:
    return lambda row: number(row[key], ".0f", 100)


Column = tuple[str, Callable[[Row], str]]


def columns(table: Table) -> dict[str, Column]:
    """Short key -> (heading, cell of a row), in the order shown."""
    shown: dict[str, Column] = {
        "method": ("method", lambda r: sanitize(r["method"], 60)),
        "limit": ("limit", _limit),
        "quality": (f"{table.metric_name} [95 %]", interval),
        "status": ("status", lambda r: r["status"]),
        "chrf": ("chrF", lambda r: measured(r, "chrf", ".1f")),
        "loss": ("valid loss", lambda r: measured(r, "valid_loss", ".3f")),
        "ratio": ("x ref", lambda r: measured(r, "ratio", ".2f")),
        "p50": ("p50 ms", lambda r: measured(r, "p50", "sig")),
        "p90": ("p90 ms", lambda r: measured(r, "p90", "sig")),
        "params": ("params M", lambda r: number(r["params"], ".2f", 1e-6)),
        "macs": ("MMACs", lambda r: sig(r["macs"] / 1e6)),
        "bytes": ("MB", lambda r: number(r["bytes"], ".1f", 1e-6)),
        "peak": ("peak MB", lambda r: measured(r, "peak_bytes", ".1f", 1e-6)),
        "tokens": ("tokens %", _loads("tokens")),
        "evaluations": ("evals %", _loads("evaluations")),
        "probes": ("probes %", _loads("probes")),
        "seconds": ("s", lambda r: measured(r, "seconds", "sig")),
        "joules": ("kJ", _joules),
        "seeds": ("seeds", lambda r: r["seeds"] or NONE),
        "origin": ("weights", lambda r: r["origin"] or NONE),
    }
    if table.metric != "bleu":
        del shown["chrf"]  # of translations
    if "verified" in table.rows:
        shown["verified"] = ("verified", lambda r: r["verified"])
    shown |= {
        title: (title, partial(attachment_columns.cell, column)) for title, column in table.elsewhere.items()
    }
    return shown


TEXTS = ("method", "limit", "seeds", "origin", "status", "verified")
"""Columns that are left-aligned."""


def cells(table: Table) -> pd.DataFrame:
    """The main table as texts, one column per heading."""
    return pd.DataFrame({head: [cell(line) for line in table.each] for head, cell in columns(table).values()})


def comparisons(table: Table) -> pd.DataFrame:
    """Paired differences from the baseline as texts."""
    names = {"quality": table.metric_name}
    return pd.DataFrame(
        [
            {
                "method": line["method"],
                "difference in": names.get(line["what"], line["what"]),
                "limit": line["limit"],
                f"minus {table.baseline} [95 %]": interval(line, ".2f"),
                "paired seeds": str(line["pairs"]),
                "p": number(line["p"], ".4f"),
                "p (Holm)": number(line["p_holm"], ".4f"),
                "verdict": line["verdict"],
            }
            for line in table.comparisons.to_dict("records")
        ]
    )


PAIRED = (
    "p: paired t-test. A line of a claim is tested at the seeds stated for it, with Holm over the claim's"
    " family and a level of 0.025 for each of two looks (`CLAIMS.md`). All other lines are exploratory: Holm"
    " over them, and no number of seeds was stated beforehand."
)
OVER_SENTENCES = (
    "Over test sentences, one trained network each: is this network better than that one, whatever sentences"
    " are drawn? It says nothing about training noise, and so nothing about the methods. Interval: paired"
    f" bootstrap, {paired_bleu.RESAMPLES:,} resamples; p: paired approximate randomisation,"
    f" {paired_bleu.TRIALS:,}"
    " trials (both as sacreBLEU's but where that understates p: ties, few sentences); Holm over all lines, of"
    f" which a table has at most {MOST_PAIRS}."
)


RUN_AGAIN = (
    "Published runs that were run again from their record alone (`supernet-bench verify`), with an answer for"
    " quality and one for latency. One run that does not reproduce outweighs those that do. *Under other"
    " code*: within its interval, though code that makes numbers has changed since the record's commit."
)


def over_sentences(table: Table) -> pd.DataFrame:
    """Differences of single networks from the baseline's over the test sentences, as texts."""
    return pd.DataFrame(
        [
            {
                "method": line["method"],
                "limit": line["limit"],
                "seed": str(line["seed"]),
                "sentences": f"{line['sentences']:,}",
                f"{table.metric_name} minus {table.baseline} [95 %]": interval(line, ".2f"),
                "p": number(line["p"], ".4f"),
                "p (Holm)": number(line["p_holm"], ".4f"),
            }
            for line in table.sentences.to_dict("records")
        ]
    )


def caption(table: Table) -> str:
    """Task, tier, profile and allowance in one line."""
    shared = table.shared
    budget = " | ".join(f"{shared[k]} {k.split('.')[1]}" for k in shared if k.startswith("budget."))
    ruleset = f" - {shared['ruleset']} tuning" if "ruleset" in shared else ""
    return (
        f"{shared['task']} - tier {shared['tier']} - profile {shared['profile']}{ruleset}"
        f" - allowance a run: {budget}"
    )


LETTERS = {
    "s": "one network: the 95 % interval is {sentences} and leaves out the spread between seeds",
    "t": "one network: the 95 % interval is a bootstrap over its timings and leaves out the spread between"
    " seeds",
    "f": "one network: the 95 % interval is over its fine-tuning seeds and leaves out the spread between"
    " searches",
}
"""Mark behind an interval -> note; ``figures.OVER`` sets the marks."""
_LETTER = re.compile(r"\] ([stf])(?=$|,)")


def _marked(table: Table) -> set[str]:
    """The marks behind intervals of a table and of its test sets."""
    frames = [cells(table), *((s.frame for s in test_sets.scores(table)) if table.detailed else ())]
    texts = {str(text) for frame in frames for column in frame for text in frame[column]}
    return {letter for text in texts for letter in _LETTER.findall(text)}


def footnotes(table: Table) -> list[str]:
    """All that must stand under the main table: a note for each mark that is there, and for no other."""
    shown = {source for row in table.each for source in row["energy_sources"]}
    told = [f"{mark(i)} energy: {source}" for i, source in enumerate(table.sources) if i in shown]
    one = item(table.shared["task"])
    over = f"Wilson's over test {one}s" if one == "image" else f"a bootstrap over test {one}s"
    marked = _marked(table)
    told += [f"{k}: {text.format(sentences=over)}." for k, text in LETTERS.items() if k in marked]
    told.append(
        "tokens, evals, probes: per cent of the allowance spent; s: seconds of search; x ref: times the"
        " latency of the space's largest network, timed in the same session, as limits are."
    )
    if any(run.inherits for run in table.runs):
        told.append(
            "Tokens, evals, probes, s and kJ of a run that takes over another's weights include the other's;"
            " a dash where that run is not in this table."
        )
    free = sorted({table.named[run.id] for run in table.runs if run.follows and not run.inherits})
    if free:
        told.append(
            f"{', '.join(free)}: architectures from another run, whose search is in none of these costs."
        )
    told.append(
        "Figures are means over the row's seeds; brackets hold 95 % intervals. Parameters, MACs and MB of"
        " weights, tokens, evals and probes are counted, not measured, and have none."
    )
    if table.elsewhere:
        load = attachment_columns.disturbed(table.elsewhere.values())
        busy = f" Other programs took up to {load:.1f} processors meanwhile." if load > DISTURBED else ""
        told.append(ELSEWHERE + busy)
    return told + table.notes


ELSEWHERE = (
    "ms (RUNTIME VERSION, PRECISION): median of the exported network in that runtime on one thread, and how"
    " many times the median of the same network in PyTorch (fp32, one thread, in turns) that is; compared"
    " with no other column."
)


def md(text: str) -> str:
    """Markdown that shows ``text`` and nothing else."""
    for mark in "\\`*_[]<>|#~$":
        text = text.replace(mark, "\\" + mark)
    return text.replace("&", "&amp;")


def _md_table(frame: pd.DataFrame) -> str:
    left = {"method", "limit", "seeds", "weights", "status", "difference in", "verdict", "verified"}
    left |= {"record", "date", "machine", "what differed", "because"}
    lines = ["| " + " | ".join(md(h) for h in frame.columns) + " |"]
    lines.append("|" + "|".join(" :-- " if h in left else " --: " for h in frame.columns) + "|")
    lines += [
        "| " + " | ".join(md(cell) for cell in row) + " |" for row in frame.itertuples(index=False, name=None)
    ]
    return "\n".join(lines)


def markdown(table: Table, title: str, level: int = 1) -> str:
    """The whole comparison as Markdown: table, footnotes, signatures, differences, each test set."""
    head = "#" * level
    parts = [f"{head} {md(sanitize(title))}", md(caption(table))]
    if table.notices:
        first, *reasons = table.notices
        parts.append("\n".join([f"> **{md(first)}**", ">", *(f"> - {md(reason)}" for reason in reasons)]))
    parts.append(_md_table(cells(table)))
    parts.append("\n".join(f"- {md(note)}" for note in footnotes(table)))
    if table.troubles:
        parts += [f"{head}# Runs that did not end well", "\n".join(f"- {md(t)}" for t in table.troubles)]
    if table.verdicts:
        parts += [f"{head}# Run again", RUN_AGAIN, _md_table(row_status.frame(table.verdicts))]
    if len(table.comparisons):
        parts += [
            f"{head}# Against {md(str(table.baseline))}, paired over seeds",
            PAIRED,
            _md_table(comparisons(table)),
        ]
    if len(table.sentences):
        parts += [
            f"{head}# Against {md(str(table.baseline))}, over test sentences, one trained network each",
            md(OVER_SENTENCES),
            _md_table(over_sentences(table)),
        ]
    for one in test_sets.scores(table):
        how = f"Brackets as above; made as `{one.signature.replace('`', chr(39))}`."
        parts += [f"{head}# {md(one.name)} on each test set", how, _md_table(one.frame)]
        parts += [md(note) for note in one.notes]
    if table.signatures:
        lines = [f"- {md(k)}: `{v.replace('`', chr(39))}`" for k, v in table.signatures.items()]
        parts += [f"{head}# How each figure was made", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.6g}")
    return str(value) if isinstance(value, Limit) else value


def _plain_rows(lines: list[dict[Any, Any]]) -> list[dict[str, Any]]:
    return [{str(k): _rounded(v) for k, v in line.items()} for line in lines]


def _line(figure: attachment_columns.Figure | None) -> dict[str, Any] | None:
    return None if figure is None else {name: _rounded(value) for name, value in figure.items()}


def as_json(table: Table, only: Collection[str] = ()) -> dict[str, Any]:
    """The comparison for scripts: six significant digits, null for what was not measured.

    ``only``: the fields wanted; the others are not computed. Default: all.
    """
    fields: dict[str, Callable[[], Any]] = {
        "shared": lambda: table.shared,
        "metric": lambda: table.metric,
        "rows": lambda: _plain_rows(table.each),
        "test_sets": lambda: _plain_rows(table.sets.drop(columns="signature").to_dict("records")),
        "baseline": lambda: table.baseline,
        "comparisons": lambda: _plain_rows(table.comparisons.to_dict("records")),
        "sentences": lambda: _plain_rows(table.sentences.to_dict("records")),
        "hypervolume": lambda: {
            "version": results_version(),
            "axis": table.axis.name,
            "reference": _reference(table),
            "runs": _plain_rows(table.volumes.to_dict("records")),
        },
        "verdicts": lambda: table.verdicts,
        "elsewhere": lambda: {
            title: [_line(attachment_columns.figure_of(column, row)) for row in table.each]
            for title, column in table.elsewhere.items()
        },
        "signatures": lambda: table.signatures,
        "energy_sources": lambda: table.sources,
        "troubles": lambda: table.troubles,
        "notices": lambda: table.notices,
        "notes": lambda: table.notes,
    }
    return {name: made() for name, made in fields.items() if not only or name in only}


def _reference(table: Table) -> dict[str, float] | None:
    """The frozen point of the hypervolume; parameters in millions."""
    axis = table.axis
    if axis.reference is None:
        return None
    name = "latency_ratio" if axis.figure == "ratio" else "parameters_millions"
    return {"quality": axis.reference[0], name: axis.reference[1]}


def json_text(value: Any) -> str:
    """JSON as this project writes it into files."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def csv(table: Table) -> str:
    """Plain figures, one row per method and limit; texts cannot start a spreadsheet formula."""
    frame = table.rows.drop(columns="energy_sources").copy()
    frame["energy_source"] = [
        "; ".join(table.sources[i] for i in row) for row in table.rows["energy_sources"]
    ]
    for title, column in table.elsewhere.items():
        figures = [attachment_columns.figure_of(column, row) or {} for row in table.each]
        parts = {"": "ms", " low": "ms_low", " high": "ms_high", " x PyTorch": "ratio"}
        for part, key in parts.items():
            frame[title + part] = [figure.get(key, math.nan) for figure in figures]
    for name in ("method", "origin", "status", "energy_source"):
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
    """Plain figures, one row per method, limit, test set and metric."""
    frame = table.sets.copy()
    for name in ("method", "set", "metric", "signature"):
        frame[name] = ["'" + t if t.startswith(FORMULA) else t for t in frame[name]]
    for name in ("value", "low", "high"):
        frame[name] = [_rounded(float(v)) for v in frame[name]]
    return frame.to_csv(index=False, lineterminator="\n")


def latex(table: Table, each_set: bool = True) -> str:
    """Booktabs tables of the main columns and of the deciding metric on each test set, for a paper."""
    shown = columns(table)
    kept = [
        shown[k][0]
        for k in (
            "method",
            "limit",
            "quality",
            "chrf",
            "ratio",
            "p50",
            "params",
            "macs",
            "seconds",
            "joules",
            "status",
        )
        if k in shown
    ]
    scores = test_sets.scores(table)[:1] if each_set else []
    notes = [caption(table), *table.notices, *footnotes(table)]
    notes += [f"second table: {one.name} on each test set: {one.signature}" for one in scores]
    frames = [cells(table)[kept], *(one.frame for one in scores)]
    texts = [tabular(frame) for frame in frames]
    return "".join(f"% {line}\n" for line in notes) + "\n".join(texts)
