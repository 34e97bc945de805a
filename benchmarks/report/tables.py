"""The comparison as data: one row per method and latency limit, means over seeds, through pandas.

``build`` turns records into a ``Table``; ``report.formats`` turns a ``Table`` into text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import stats
from benchmarks.percentiles import DISTURBED
from benchmarks.records import Record
from benchmarks.report import comparisons, rows, spread, standing

ROW_SEEDS = 3
"""Finished seeds that make a row; with fewer it is provisional."""

METRICS = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "bleu_tok_lc": "BLEU (tokenised, lower-cased)",
    "mlm_accuracy": "MLM accuracy %",
    "accuracy": "accuracy %",
}
SHARED_MEANS = (
    "chrf",
    "valid_loss",
    "p50",
    "p90",
    "ratio",
    "limit_ms",
    "params",
    "macs",
    "bytes",
    "peak_bytes",
)
CURRENCIES = ("tokens", "evaluations", "probes")


@dataclass(frozen=True)
class Table:
    """Everything that a comparison shows, as data.

    ``rows``: one line per (method, limit), best first within a limit; shares are fractions, sizes
    bytes, times milliseconds or seconds; intervals are those of ``report.spread``. ``comparisons``: paired
    over seeds against ``baseline``. ``volumes``: hypervolume per run. ``verdicts``: of second runs
    (``report.standing``). ``runs``: the records that count, one per method and seed; ``lines``: their
    headline candidates (``rows.headlines``).
    """

    shared: dict[str, str]
    metric: str
    rows: pd.DataFrame
    comparisons: pd.DataFrame
    volumes: pd.DataFrame
    baseline: str | None
    signatures: dict[str, str]
    sources: list[str]
    troubles: list[str]
    notes: list[str]
    verdicts: list[dict[str, Any]]
    runs: list[Record]
    lines: pd.DataFrame

    @cached_property
    def sets(self) -> pd.DataFrame:
        """One line per (method, limit, test set, metric); made when asked for, as large boards never ask."""
        return _sets(self.lines)

    @cached_property
    def sentences(self) -> pd.DataFrame:
        """Single networks against the baseline's over the test sentences; made when asked for."""
        return comparisons.over_sentences(self.lines, self.baseline, self.metric)

    @property
    def metric_name(self) -> str:
        """The deciding metric as people write it."""
        return METRICS.get(self.metric, self.metric)


def build(
    records: Sequence[Record], baseline: str | None = None, verdicts: standing.Verdicts | None = None
) -> Table:
    """Average, compare and annotate records of one group.

    Args:
        records: at least one, all of one task, tier, profile, allowance and data.
        baseline: the method that the others are compared with; default ``hat``, else the first.
        verdicts: of second runs of published records; without it the table has no column for them.

    Raises:
        UsageError: the records must not share a table; the message lists what differs.
    """
    rows.require_comparable(records)
    runs = rows.latest(records)
    named = rows.labels(runs)
    counted = [r for r in runs if r["status"] != "failed"]
    lines = rows.headlines(counted)
    costs = _costs(runs, named)
    sources = sorted(set(costs["source"].dropna()))
    table = spread.with_intervals(_means(lines, costs, sources), lines, costs)
    if verdicts is not None:
        table["verified"] = standing.column(table, runs, verdicts)
    volumes = comparisons.volumes_of(lines, runs[0]["spec"]["task"])
    methods = sorted(set(lines["method"]))
    if baseline not in methods:
        baseline = "hat" if "hat" in methods else (methods[0] if methods else None)
    return Table(
        shared=rows.facts(runs[0]) | rows.facts(runs[-1]),
        metric=rows.metric_of(counted),
        rows=table,
        comparisons=comparisons.compare(lines, volumes, baseline),
        volumes=volumes,
        baseline=baseline,
        signatures=_signatures(lines, rows.metric_of(counted)),
        sources=sources,
        troubles=_troubles(runs, named, superseded=len(records) - len(runs)),
        notes=_notes(table, runs) + _untimed(lines),
        verdicts=standing.told(runs, verdicts or {}),
        runs=runs,
        lines=lines,
    )


def _costs(runs: Sequence[Record], named: dict[str, str]) -> pd.DataFrame:
    """One line per run: what its search spent."""
    lines = []
    for record in runs:
        ledger, energy = record["ledger"], record["energy"] or {}
        lines.append(
            {"method": named[record["id"]], "seed": record["spec"]["seed"], "status": record["status"]}
            | {kind: ledger["share"].get(kind, 0.0) for kind in CURRENCIES}
            | {"seconds": ledger["totals"].get("seconds"), "joules": energy.get("joules")}
            | {"source": rows.plain(energy["source"], 120) if energy.get("joules") is not None else None}
        )
    frame = pd.DataFrame(lines)
    return frame.astype(dict.fromkeys((*CURRENCIES, "seconds", "joules"), "float64"))


COSTS = (*CURRENCIES, "seconds", "joules")


def _means(lines: pd.DataFrame, costs: pd.DataFrame, sources: list[str]) -> pd.DataFrame:
    """One row per method and limit, and one for each method that has no candidate."""
    runs: dict[str, list[int]] = {}
    for i, method in enumerate(costs["method"]):
        runs.setdefault(method, []).append(i)
    parts: dict[tuple[str, rows.Limit], list[int]] = {}
    for i, key in enumerate(zip(lines["method"], lines["limit"], strict=True)):
        parts.setdefault(key, []).append(i)
    ordered = sorted(parts)
    seeds, status = list(costs["seed"]), list(costs["status"])
    energy = [None if s is None or s != s else sources.index(s) for s in costs["source"]]
    place = {key: i for i, key in enumerate(zip(costs["method"], seeds, strict=True))}
    run = [place[key] for key in zip(lines["method"], lines["seed"], strict=True)]
    spent, origins = costs[list(COSTS)].to_numpy(), list(lines["origin"])
    averaged = ["quality", "low", "high", *SHARED_MEANS]
    over = _over(lines)
    figures = np.column_stack([lines[averaged].to_numpy(), spent[run], over])
    means = _averages(figures, [parts[key] for key in ordered])

    found: list[dict[str, Any]] = []
    for (method, limit), mean in zip(ordered, means.tolist(), strict=True):
        part = parts[method, limit]
        there = sorted(seeds[run[i]] for i in part)
        row: dict[str, Any] = {"method": method, "limit": limit, "n": len(part)}
        row["seeds"] = " ".join(map(str, there))
        row |= dict(zip((*averaged, *COSTS, "over"), mean, strict=True)) | {"interval": "sentences"}
        scores = figures[part, 0]
        if np.count_nonzero(scores == scores) > 1:
            interval = stats.t_interval(scores[scores == scores].tolist())
            row |= {"low": interval.low, "high": interval.high, "interval": "seeds"}
        row["energy_sources"] = sorted({s for i in part if (s := energy[run[i]]) is not None})
        row["limit_share"] = limit.value if limit.rank == 1 else None
        row["origin"] = _counted([origins[i] for i in part])
        ended = [(seeds[i], status[i]) for i in runs[method]]
        found.append(row | {"status": _status(ended, there, row["over"])})
    without = sorted(set(runs) - {method for method, _ in ordered})
    for method, mean in zip(without, _averages(spent, [runs[m] for m in without]).tolist(), strict=True):
        ended = [(seeds[i], status[i]) for i in runs[method]]
        row = {"method": method, "limit": None, "n": 0, "seeds": "", "status": _status(ended, (), np.nan)}
        row["energy_sources"] = sorted({s for i in runs[method] if (s := energy[i]) is not None})
        found.append(row | dict(zip(COSTS, mean, strict=True)) | {"interval": "", "origin": ""})
    return _best_first(found, [*averaged[:3], "limit_share", *averaged[3:], *COSTS, "over"])


def _averages(figures: stats.Array, parts: Sequence[Sequence[int]]) -> stats.Array:
    """Means ``[parts, columns]`` over rows of ``figures``; NaN is left out, and the mean of nothing."""
    if not parts:
        return np.empty((0, figures.shape[1]))
    starts = np.cumsum([0, *map(len, parts[:-1])])
    picked = figures[np.concatenate(parts)]
    there = ~np.isnan(picked)
    sums = np.add.reduceat(np.where(there, picked, 0.0), starts, axis=0)
    with np.errstate(invalid="ignore"):
        means: stats.Array = sums / np.add.reduceat(there.astype(np.int64), starts, axis=0)
    return means


def _best_first(found: list[dict[str, Any]], figures: list[str]) -> pd.DataFrame:
    """The rows by limit, best quality first; those without a limit or a candidate last."""
    columns = ["method", "limit", "n", "seeds", "interval", "energy_sources", "origin", "status", *figures]
    frame = pd.DataFrame(found, columns=columns).astype(dict.fromkeys(figures, "float64"))
    order = [
        (x is None, x is not None and x.rank == 0, x.value if x is not None else 0) for x in frame["limit"]
    ]
    frame["order"] = order
    frame = frame.sort_values(
        ["order", "quality", "method"], ascending=[True, False, True], na_position="last"
    )
    return frame.drop(columns="order").reset_index(drop=True)


def _counted(words: list[str]) -> str:
    names = sorted(set(words))
    return names[0] if len(names) == 1 else ", ".join(f"{name} {words.count(name)}" for name in names)


def _seeds(numbers: Any) -> str:
    named = " ".join(str(s) for s in sorted(numbers))
    return f"seed{'s' if len(named.split()) > 1 else ''} {named}"


def _over(lines: pd.DataFrame) -> stats.Array:
    """By what share of its limit each latency lies above it.

    Of a limit that is a share of the reference network's latency, by the ratio to that network in the
    scoring's own session: milliseconds of two sessions differ by what the machine did meanwhile.
    """
    share = np.array([limit.value if limit.rank == 1 else np.nan for limit in lines["limit"]], dtype=float)
    by_ms = (lines["p50"] / lines["limit_ms"]).to_numpy(dtype=float)
    over: stats.Array = np.where(np.isnan(share), by_ms, lines["ratio"].to_numpy(dtype=float) / share) - 1
    return over


def _status(ended: Sequence[tuple[int, str]], seeds: Sequence[int], over: float) -> str:
    """What a reader must know before using the row, in words.

    Args:
        ended: seed and status of every run of the method.
        seeds: those with a candidate in this row.
        over: share by which its latency is above the limit; NaN where there is none.
    """
    told, n = [], len(seeds)
    if 0 < n < ROW_SEEDS:
        told.append(f"provisional ({n} seed{'s' if n > 1 else ''})")
    elif n:
        told.append(f"{n} seeds")
    for status, words in (("failed", "failed"), ("budget", "stopped at the budget")):
        hit = [seed for seed, how in ended if how == status]
        if hit:
            told.append(f"{words}: {_seeds(hit)}")
    missing = {seed for seed, how in ended if how != "failed"} - set(seeds)
    if missing:
        told.append(f"no candidate: {_seeds(missing)}")
    if over > 0.005:
        told.append(f"over its limit by {over:.0%}")
    return "; ".join(told)


def _sets(lines: pd.DataFrame) -> pd.DataFrame:
    """Every metric on every test set: mean over seeds and its interval, the recorded one with one seed."""
    flat = []
    for line in lines.to_dict("records"):
        for name, metrics in (line["candidate"].get("test") or {}).items():
            for metric, figure in metrics.items():
                flat.append(
                    {"method": line["method"], "limit": line["limit"], "set": rows.plain(name, 40)}
                    | {"metric": rows.plain(metric, 40), "signature": rows.plain(figure["signature"])}
                    | {"value": figure["value"], "low": figure.get("low"), "high": figure.get("high")}
                    | {"own": "fine-tunings" if rows.tuned(figure) else "sentences"}
                )
    keys, figures = ["method", "limit", "set", "metric"], ["value", "low", "high"]
    frame = pd.DataFrame(flat, columns=[*keys, "signature", "own", *figures])
    frame = frame.astype(dict.fromkeys(figures, "float64"))
    grouped: Any = frame.groupby(keys, sort=False)
    found: pd.DataFrame = grouped.agg(
        value=("value", "mean"), n=("value", "count"), low=("low", "mean"), high=("high", "mean"),
        signature=("signature", lambda texts: "  and  ".join(sorted(set(texts)))), own=("own", "first"),
    )  # fmt: skip
    over_seeds = spread.of_means(frame, keys, ["value"])
    several = found["n"] > 1
    found["interval"] = np.where(several, "seeds", found.pop("own"))
    for side in ("low", "high"):
        found[side] = over_seeds[f"value_{side}"].where(several, found[side])
    return pd.DataFrame(found.reset_index())


def _signatures(lines: pd.DataFrame, metric: str) -> dict[str, str]:
    """Each figure's recipe; where candidates were measured by different ones, all of them."""
    found: dict[str, set[str]] = {}
    timed: list[int] = []
    for candidate in lines["candidate"]:
        scores = (candidate.get("test") or {}).get(rows.deciding_set(candidate) or "", {})
        for name in sorted(scores, key=lambda m: m != metric):
            found.setdefault(METRICS.get(name, name), set()).add(scores[name]["signature"])
        if candidate.get("latency"):
            found.setdefault("latency", set()).add(candidate["latency"]["signature"])
            timed.append(candidate["latency"]["n"])
        if candidate.get("memory"):
            found.setdefault("peak memory", set()).add(candidate["memory"]["source"])
    told = {}
    for name, texts in found.items():
        shown = {rows.plain(text) for text in texts}
        if name == "latency":
            # The number of timed inferences differs from candidate to candidate: one line with its range.
            shown = {re.sub(r"\|n:\d+", "|n:{n}", text) for text in shown}
        told[rows.plain(name, 60)] = "  and  ".join(sorted(shown))
    if timed:
        n = f"{min(timed)}-{max(timed)}" if min(timed) < max(timed) else str(timed[0])
        told["latency"] = told["latency"].replace("{n}", n)
    return told


def _troubles(runs: Sequence[Record], named: dict[str, str], superseded: int) -> list[str]:
    told = [
        f"{named[r['id']]}, seed {r['spec']['seed']}: {r['status']}: {rows.plain(r['message'])}"
        for r in runs
        if r["status"] != "done"
    ]
    if superseded:
        told.append(f"{superseded} earlier record(s) of the same method and seed are left out")
    return told


def _untimed(lines: pd.DataFrame) -> list[str]:
    """Why rows have no latency, memory and energy, each reason once with its methods."""
    found: dict[str, set[str]] = {}
    for method, candidate in zip(lines["method"], lines["candidate"], strict=True):
        if candidate.get("not_measured"):
            found.setdefault(rows.plain(candidate["not_measured"]), set()).add(rows.plain(method, 60))
    return [
        f"Not timed: {', '.join(sorted(methods))}: {reason}." for reason, methods in sorted(found.items())
    ]


def _notes(table: pd.DataFrame, runs: Sequence[Record]) -> list[str]:
    told = []
    if (table["interval"] == "seeds").any():
        told.append("Intervals are 95 % t-intervals over seeds.")
    if (table["interval"] == "sentences").any():
        told.append(
            "s: one seed only; the 95 % interval is a bootstrap over test sentences and leaves out"
            " the spread between seeds. t: the same over the timings of that one network. The other figures"
            " of one seed have nothing to take an interval over."
        )
    told.append(
        "Each row is the candidate with the best validation score at that limit, scored once on the sealed"
        " test split."
    )
    own = sum(sum(r["ledger"].get("harness_seconds", {}).values()) for r in runs)
    spent = sum(r["ledger"]["totals"].get("seconds", 0) for r in runs)
    if own:
        told.append(f"Harness scoring and timing, off the clock: {own / (own + spent):.0%} of all run time.")
    timed = [c.get("latency") or {} for r in runs for c in r["candidates"]]
    load = max((entry.get("others_cpu") or 0.0 for entry in timed), default=0.0)
    if load > DISTURBED:
        told.append(
            f"Some timings were disturbed: other programs took up to {load:.1f} processors meanwhile."
        )
    if (table["n"] < stats.SIGNIFICANT_FROM).any():
        told.append(f"No claim of significance is made below {stats.SIGNIFICANT_FROM} paired seeds.")
    tier = runs[0]["spec"]["tier"]
    if tier in ("smoke", "check"):
        told.append(
            f"This is a {tier} run: it shows that the pipeline works and says nothing about the methods."
        )
    return told
