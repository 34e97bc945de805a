"""Texts of a ``Table``: its cells, captions and footnotes, as frames of texts that any format can show."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import pandas as pd

from benchmarks.analysis import attachment_columns
from benchmarks.analysis.comparisons import MOST_PAIRS
from benchmarks.analysis.number_format import NONE, Row, interval, measured, number, sig
from benchmarks.analysis.table import Table
from benchmarks.records.text import sanitize
from benchmarks.stats import paired_bleu
from benchmarks.stats.quantiles import DISTURBED
from benchmarks.stats.rounding import p_text


def mark(source: int) -> str:
    """Return the mark of one of a table's energy sources, by its number: never the same for two."""
    return "*" * (source + 1) if source < 4 else f"*{source + 1}"


def _joules(row: Row) -> str:
    return " ".join([measured(row, "joules", "sig", 1e-3), *map(mark, row["energy_sources"])])


def _limit(row: Row) -> str:
    """Return the limit; a share without its milliseconds, which would be those of another session."""
    return NONE if row["limit"] is None else str(row["limit"])


def _share_of(key: str) -> Callable[[Row], str]:
    return lambda row: number(row[key], ".0f", 100)


Column = tuple[str, Callable[[Row], str]]


def counts_updates(table: Table) -> bool:
    """Return whether any run of a table has its updates counted; records of before have none."""
    return any(row["updates"] == row["updates"] for row in table.each)


def columns(table: Table) -> dict[str, Column]:
    """Return short key -> (heading, cell of a row), in the order shown."""
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
        "tokens": ("tokens %", _share_of("tokens")),
        "evaluations": ("evals %", _share_of("evaluations")),
        "probes": ("probes %", _share_of("probes")),
        "updates": ("updates", lambda r: sig(r["updates"])),
        "seconds": ("s", lambda r: measured(r, "seconds", "sig")),
        "joules": ("kJ", _joules),
        "seeds": ("seeds", lambda r: r["seeds"] or NONE),
        "origin": ("weights", lambda r: r["origin"] or NONE),
        "precision": ("precision", lambda r: r["precision"] or NONE),
    }
    if not table.lowered:
        del shown["precision"]
    if "chrf" not in table.units.metrics:
        del shown["chrf"]  # of translations
    if not counts_updates(table):
        del shown["updates"]
    if "verified" in table.rows:
        shown["verified"] = ("verified", lambda r: r["verified"])
    shown |= {
        title: (title, partial(attachment_columns.runtime_cell, column))
        for title, column in table.elsewhere.items()
    }
    return shown


TEXTS = ("method", "limit", "seeds", "origin", "precision", "status", "verified")
"""Short keys of columns of words."""


def cells(table: Table) -> pd.DataFrame:
    """Return the main table as texts, one column per heading."""
    shown = {head: [cell(line) for line in table.each] for head, cell in columns(table).values()}
    return pd.DataFrame(shown, dtype=object)


def paired_differences(table: Table) -> pd.DataFrame:
    """Return the paired differences from the baseline as texts."""
    names = {"quality": table.metric_name}
    return pd.DataFrame(
        [
            {
                "method": line["method"],
                "difference in": names.get(line["what"], line["what"]),
                "limit": line["limit"],
                f"minus {table.baseline} [95 %]": interval(line, ".2f"),
                "paired seeds": str(line["pairs"]),
                "p": p_text(line["p"]),
                "p (Holm)": p_text(line["p_holm"]),
                "verdict": line["verdict"],
            }
            for line in table.comparisons.to_dict("records")
        ]
    )


PAIRED_NOTE = (
    "p: paired t-test. A line of a claim is tested at the seeds stated for it, with Holm over the claim's"
    " family and a level of 0.025 for each of two looks (`CLAIMS.md`). All other lines are exploratory: Holm"
    " over them, and no number of seeds was stated beforehand."
)
SENTENCES_NOTE = (
    "Over test sentences, one trained network each: is this network better than that one, also on other"
    " sentences? Training noise is left out: it is no evidence about the methods. Interval: paired"
    f" bootstrap, {paired_bleu.RESAMPLES:,} resamples; p: paired approximate randomisation,"
    f" {paired_bleu.TRIALS:,}"
    " trials (both as sacreBLEU's but where that understates p: ties, few sentences); Holm over all lines, of"
    f" which a table has at most {MOST_PAIRS}."
)


SECOND_RUNS_NOTE = (
    "Published runs that were run again from their record alone (`supernet-bench verify`), with an answer for"
    " quality and one for latency. One run that does not reproduce outweighs those that do. *Under other"
    " code*: within its interval, though code that makes numbers has changed since the record's commit."
)


def sentence_differences(table: Table) -> pd.DataFrame:
    """Return the differences of single networks from the baseline's over the test sentences, as texts."""
    return pd.DataFrame(
        [
            {
                "method": line["method"],
                "limit": line["limit"],
                "seed": str(line["seed"]),
                "sentences": f"{line['sentences']:,}",
                f"{table.metric_name} minus {table.baseline} [95 %]": interval(line, ".2f"),
                "p": p_text(line["p"]),
                "p (Holm)": p_text(line["p_holm"]),
            }
            for line in table.sentences.to_dict("records")
        ]
    )


def second_runs(table: Table) -> pd.DataFrame:
    """Return the verdicts of second runs as texts."""
    return pd.DataFrame(
        [
            {
                "method": sanitize(line["method"], 60),
                "seed": str(line["seed"]),
                "record": line["record"],
                "verdict": line["answer"],
                "date": line["date"],
                "machine": line["machine"],
                "what differed": line["differing"],
                "because": "; ".join(line["reasons"]) or NONE,
            }
            for line in table.verdicts
        ]
    )


def emissions(table: Table) -> pd.DataFrame:
    """Return the emissions under the declared carbon intensity as texts."""
    return pd.DataFrame(
        [
            {
                "method": sanitize(line.method, 60),
                "kJ, as above": sig(line.joules / 1e3),
                "kJ x PUE": sig(line.joules_with_pue / 1e3),
                "g CO2e": sig(line.grams_co2e),
            }
            for line in table.emissions
        ]
    )


def emissions_note(table: Table) -> str:
    """Return the origin of the emissions; empty if nothing was declared."""
    if table.carbon is None:
        return ""
    return (
        f"Not measured: kJ of the search, times {table.carbon.text}, as declared for this report. No record"
        " holds these figures, and no run is compared by them."
    )


def caption(table: Table) -> str:
    """Return task, tier, profile and allowance in one line."""
    shared = table.shared
    budget = " | ".join(f"{shared[k]} {k.split('.')[1]}" for k in shared if k.startswith("budget."))
    ruleset = f" - {shared['ruleset']} tuning" if "ruleset" in shared else ""
    return (
        f"{shared['task']} - tier {shared['tier']} - profile {shared['profile']}{ruleset}"
        f" - allowance a run: {budget}"
    )


INTERVAL_NOTES = {
    "s": "one network: the 95 % interval is {sentences} and leaves out the spread between seeds",
    "t": "one network: the 95 % interval is a bootstrap over its timings and leaves out the spread between"
    " seeds",
    "f": "one network: the 95 % interval is over its fine-tuning seeds and leaves out the spread between"
    " searches",
}
"""Mark behind an interval -> note; ``number_format.OVER`` sets the marks."""
_MARK = re.compile(r"\] ([stf])(?=$|,)")


def _marks(table: Table) -> set[str]:
    """Return the marks behind intervals of a table and of its test sets."""
    texts = {cell(line) for _, cell in columns(table).values() for line in table.each}
    for scores in table.scores if table.detailed else ():
        texts |= {str(text) for column in scores.frame for text in scores.frame[column]}
    return {letter for text in texts for letter in _MARK.findall(text)}


def footnotes(table: Table) -> list[str]:
    """Return the footnotes of the main table: a note for each mark in it, and for no other."""
    shown = {source for row in table.each for source in row["energy_sources"]}
    texts = [f"{mark(i)} energy: {source}" for i, source in enumerate(table.sources) if i in shown]
    interval_kind = (
        "Wilson's" if "|ci:wilson" in table.signatures.get(table.metric_name, "") else "a bootstrap"
    )
    over = f"{interval_kind} over test {table.units.item}s"
    marked = _marks(table)
    texts += [f"{k}: {text.format(sentences=over)}." for k, text in INTERVAL_NOTES.items() if k in marked]
    limits = "" if table.bound_elsewhere else ", as limits are"
    texts.append(
        "tokens, evals, probes: per cent of the allowance spent; s: seconds of search; x ref: times the"
        f" latency of the space's largest network, timed in the same session{limits}. Milliseconds of rows"
        " that were timed on other days or beside other programs do not compare; x ref does."
    )
    if counts_updates(table):
        texts.append(UPDATES)
    if any(run.inherits for run in table.runs):
        texts.append(
            "Tokens, evals, probes, s and kJ of a run that takes over another's weights include the other's;"
            " a dash where that run is not in this table."
        )
    free = sorted({table.named[run.id] for run in table.followers if not run.inherits})
    if free:
        texts.append(
            f"{', '.join(free)}: architectures from another run, whose search is in none of these costs."
        )
    texts.append(
        "Figures are means over the row's seeds; brackets hold 95 % intervals. Parameters, MACs and MB of"
        " weights, tokens, evals and probes are counted, not measured, and have none."
    )
    if table.elsewhere:
        load = attachment_columns.most_disturbed(table.elsewhere.values())
        busy = f" Other programs took up to {load:.1f} processors meanwhile." if load > DISTURBED else ""
        texts.append(OTHER_RUNTIMES + busy)
    return texts + table.notes


UPDATES = (
    "updates: steps of the optimiser in all trainings of a run, by the tier's recipe. A step on several"
    " sub-networks pays its tokens once for each, so that equal tokens are fewer updates."
)
OTHER_RUNTIMES = (
    "ms (RUNTIME VERSION, PRECISION): median of the exported network in that runtime on one thread, and how"
    " many times the median of the same network in PyTorch (fp32, one thread, in turns) that is; compared"
    " with no other column."
)
