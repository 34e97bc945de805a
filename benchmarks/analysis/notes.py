"""Texts about a whole table: notices that forbid ranking its methods, footnotes, failures and signatures."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypedDict

import pandas as pd

from benchmarks.comparability import flags, run_summary
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.records.selection import LEARNT_FROM
from benchmarks.records.text import sanitize
from benchmarks.stats import intervals, quantities
from benchmarks.stats.quantiles import DISTURBED

REFERENCES = ("hat", "uniform-int8")
"""Methods that others are compared with where they have runs."""


OTHER_RUNTIME = (
    "Limits bound latencies counted at the prices of another runtime, as shares of the reference's; those of"
    " this table were timed in PyTorch, and none is over its limit or within it."
)
"""Footnote of a table whose limits are of another runtime (``selection.limits_are_of_another_runtime``)."""
REPRODUCED = (
    "Self-reported: figures of the submitter's machine. Rows whose record was run again and reproduced are"
    " marked; docs/integrity.md explains both."
)
"""Footnote of a table with verdicts of second runs."""


class _Notice(TypedDict, total=False):
    """An entry of ``notices.toml``."""

    task: str
    tier: str
    profile: str
    until: str
    reasons: list[str]
    unigram: float
    near: float


@cache
def _entries() -> list[_Notice]:
    text = Path(__file__).with_name("notices.toml").read_text("utf-8")
    return list(tomllib.loads(text)["notice"])


def notices(task: str, tier: str, profile: str, lines: pd.DataFrame) -> list[str]:
    """Return why the rows of a table rank no methods, the conclusion first; empty where nothing is known.

    Args:
        task: of the table.
        tier: of the table.
        profile: of the table.
        lines: of ``run_summary.headlines``.
    """
    texts = []
    for entry in _entries():
        if (entry["task"], entry["tier"], entry["profile"]) == (task, tier, profile):
            texts.append(f"Not a ranking of methods until {entry['until']}.")
            texts += [*_near_unigram(entry, lines), *entry["reasons"]]
    return texts


def _near_unigram(entry: _Notice, lines: pd.DataFrame) -> list[str]:
    """Count the networks that have learnt hardly more than word frequencies, by their validation loss."""
    losses = lines.dropna(subset=["valid_loss"])
    if "unigram" not in entry or losses.empty:
        return []
    level, near = float(entry["unigram"]), float(entry["near"])
    low = losses[losses["valid_loss"] >= level - near]
    text = (
        f"Word frequencies alone have a validation loss of {level:.2f} nats; {len(low)} of {len(losses)}"
        f" networks of this table are within {near:g} of it or above"
    )
    ends = losses.groupby("origin", sort=True)["valid_loss"].agg(["min", "max"])
    spans = "; ".join(
        f"{origin} {ends.loc[origin, 'min']:.2f} to {ends.loc[origin, 'max']:.2f}" for origin in ends.index
    )
    ranges = f"Validation losses by origin of weights, lowest to highest network: {spans}."
    if low.empty:
        return [text + ".", ranges]
    counts = low.groupby("method", sort=True)["seed"].nunique()
    named = ", ".join(f"{method} ({n} seed{'s' if n > 1 else ''})" for method, n in counts.items())
    return [f"{text}: {named}.", ranges]


def failures(
    latest: Sequence[RunSummary], named: Mapping[str, str], obstacles: Mapping[str, str], superseded: int
) -> list[str]:
    """Return a line for each run that is not compared, with the reason, and the count of records left out."""
    texts = [
        f"{named[run.id]}, seed {run.seed}: {obstacles[run.id]}" for run in latest if run.id in obstacles
    ]
    if superseded:
        texts.append(f"{superseded} earlier record(s): of a run that was made again, the later one counts")
    return texts


def flagged(latest: Sequence[RunSummary], named: Mapping[str, str]) -> list[str]:
    """Return a line for each flag on a run."""
    marked = flags.flags(latest)
    return [
        f"Flagged: {sanitize(named[run.id], 60)}, seed {run.seed}: {text}."
        for run in latest
        for text in marked.get(run.id, ())
    ]


def untimed(lines: pd.DataFrame) -> list[str]:
    """Return why rows have no latency, memory and energy, each reason once with its methods."""
    methods_of: dict[str, set[str]] = {}
    for method, head in zip(lines["method"], lines["headline"], strict=True):
        if head.untimed:
            methods_of.setdefault(head.untimed, set()).add(sanitize(method, 60))
    return [
        f"Not timed: {', '.join(sorted(methods))}: {reason}."
        for reason, methods in sorted(methods_of.items())
    ]


def _origin_names(origins: str) -> list[str]:
    """Return the names in ``inherited 2, retrained 1``."""
    return [part.split(" ")[0] for part in origins.split(", ")]


def footnotes(rows: pd.DataFrame, latest: Sequence[RunSummary]) -> list[str]:
    """Return the footnotes about the whole table."""
    texts = []
    if (rows["n"] > 1).any():
        texts.append(
            "Intervals are 95 % t-intervals over seeds around the mean, those of times, ratios, losses, bytes"
            " and energy on a log scale and those of percentages on a logit scale, so that none leaves the"
            " range of its figure; none is shown where seeds do not differ. Differences: plain t-intervals."
        )
    texts.append(
        "Each row is, of the networks that a run proposed last at that limit (its product), the one with the"
        " best validation score, scored once on the sealed test split."
    )
    own_rows = rows["method"] == rows["of"]
    if (own_rows & ~rows["compared"] & ~rows["stopped"]).any():
        texts.append(
            f"Not ranked, and in no plot or test: rows with a network that predicts masked words less than"
            f" {LEARNT_FROM[1]:g} nats better than their frequencies do. The order of such networks is noise."
        )
    earlier = ~own_rows & ~rows["stopped"]
    if earlier.any():
        origins = sorted({origin for part in rows["origin"][earlier] for origin in _origin_names(part)})
        texts.append(
            f"Rows named after a comma ({', '.join(origins)}): networks that the run above them proposed"
            " before its product; shown, not compared, in no plot; their cost is in the row above."
        )
    own = sum(run.harness_seconds for run in latest)
    spent = sum(s for run in latest if not math.isnan(s := run.spent[run_summary.SPENT.index("seconds")]))
    if own:
        texts.append(f"Harness scoring and timing, off the clock: {own / (own + spent):.0%} of all run time.")
    load = max((run.others_cpu for run in latest), default=0.0)
    if load > DISTURBED:
        texts.append(
            f"Some timings were disturbed: other programs took up to {load:.1f} processors meanwhile."
        )
    if (rows["n"][rows["compared"]] < intervals.SIGNIFICANT_FROM).any():
        texts.append(f"No claim of significance is made below {intervals.SIGNIFICANT_FROM} paired seeds.")
    products = {str(name).removesuffix(" (default options)") for name in rows["of"][rows["compared"]]}
    if len(products) > 1 and not products & set(REFERENCES):
        texts.append(f"None of {', '.join(REFERENCES)} has a comparable run here to compare with.")
    texts += [note for note in [flags.isolation_note(latest)] if note]
    tier = latest[0].facts["tier"]
    if tier in ("smoke", "check"):
        texts.append(
            f"This is a {tier} run: it shows that the pipeline works and is no evidence about the methods."
        )
    return texts


def signatures(lines: pd.DataFrame, metric: str) -> dict[str, str]:
    """Return each figure's recipe; where candidates were measured by different ones, all of them."""
    recipes_of: dict[str, set[str]] = {}
    timed = [head.timed for head in lines["headline"] if head.latency is not None]
    for recipes, latency, memory in dict.fromkeys(
        (h.recipes, h.latency, h.memory) for h in lines["headline"]
    ):
        for name, signature in sorted(recipes, key=lambda recipe: recipe[0] != metric):
            recipes_of.setdefault(quantities.of_metric(name).name, set()).add(signature)
        if latency is not None:
            recipes_of.setdefault("latency", set()).add(latency)
        if memory is not None:
            recipes_of.setdefault("peak memory", set()).add(memory)
    texts = {}
    for name, recipes in recipes_of.items():
        shown = {sanitize(text) for text in recipes}
        if name == "latency":
            # The number of timed inferences differs from candidate to candidate: one line with its range.
            shown = {re.sub(r"\|n:\d+", "|n:{n}", text) for text in shown}
        texts[sanitize(name, 60)] = "  and  ".join(sorted(shown))
    if timed:
        n = f"{min(timed)}-{max(timed)}" if min(timed) < max(timed) else str(timed[0])
        texts["latency"] = texts["latency"].replace("{n}", n)
    return texts
