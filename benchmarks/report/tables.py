"""The comparison as data: one row per method and limit, means over seeds, through pandas.

``build`` turns records into a ``Table``; ``report.formats`` turns a ``Table`` into text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import stats
from benchmarks.records import Record
from benchmarks.report import beside as besides
from benchmarks.report import comparable, comparisons, notes, rows, runs, spread, standing
from benchmarks.report.beside import Beside
from benchmarks.report.runs import Run

ROW_SEEDS = 3
"""Finished seeds that make a row; with fewer it is provisional."""

METRICS = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "bleu_tok_lc": "BLEU (tokenised, lower-cased)",
    "mlm_accuracy": "MLM accuracy %",
    "accuracy": "accuracy %",
}
BASELINES = ("hat", "uniform-int8")
"""Methods that the others are compared with, unless one is named: the first that has runs."""
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


@dataclass(frozen=True)
class Table:
    """Everything that a comparison shows, as data.

    ``rows``: one line per (method, limit), best first within a limit; shares are fractions, sizes
    bytes, times milliseconds or seconds; intervals are those of ``report.spread``. ``comparisons``: paired
    over seeds against ``baseline``. ``volumes``: hypervolume per run. ``verdicts``: of second runs
    (``report.standing``). ``elsewhere``: latencies in other runtimes, a column each (``report.beside``).
    ``runs``: those that count, one per method and seed; ``named``: their ids' labels
    (``comparable.labels``); ``lines``: their headline candidates (``runs.headlines``).
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
    elsewhere: dict[str, besides.Column]
    runs: list[Run]
    named: dict[str, str]
    lines: pd.DataFrame

    @cached_property
    def sets(self) -> pd.DataFrame:
        """One line per (method, limit, test set, metric); made when asked for, as large boards never ask."""
        return _sets(self.lines)

    @cached_property
    def sentences(self) -> pd.DataFrame:
        """Single networks against the baseline's over the test sentences; made when asked for."""
        return comparisons.over_sentences(self.lines, self.baseline, self.metric)

    @cached_property
    def each(self) -> list[dict[Any, Any]]:
        """``rows``, one by one; not to be changed."""
        return self.rows.to_dict("records")

    @property
    def metric_name(self) -> str:
        """The deciding metric as people write it."""
        return METRICS.get(self.metric, self.metric)


def build(
    records: Sequence[Record], baseline: str | None = None, beside: Mapping[str, Beside] | None = None
) -> Table:
    """Average, compare and annotate records of one group.

    Args:
        records: at least one, all of one task, tier, profile, allowance and data.
        baseline: the method that the others are compared with; default the first of ``BASELINES``, else
            the first.
        beside: record id -> what lies beside published records; without it the table has no column for
            verdicts of second runs, nor for latencies in other runtimes.

    Raises:
        UsageError: the records must not share a table; the message lists what differs.
    """
    from benchmarks import claims

    every = [runs.of(record, keep=True, measured=claims.measured(record)) for record in records]
    return of_runs(every, baseline, beside)


def of_runs(
    every: Sequence[Run], baseline: str | None = None, beside: Mapping[str, Beside] | None = None
) -> Table:
    """``build`` from runs whose records need not be within reach; then nobody may ask for what needs them."""
    from benchmarks import claims

    comparable.require_comparable(every)
    latest = comparable.latest(every)
    named = comparable.labels(latest)
    counted = [run for run in latest if run.status != "failed"]
    metric = comparable.metric_of(counted or latest)
    lines = runs.headlines(counted, named, metric)
    costs = _costs(latest, named)
    sources = sorted(set(costs["source"].dropna()))
    table = spread.with_intervals(_means(lines, costs, sources), lines, costs)
    verdicts = {name: there.verdicts for name, there in (beside or {}).items()}
    if beside is not None:
        table["verified"] = standing.column(table, latest, named, verdicts)
    elsewhere, recipes = besides.columns(latest, named, beside or {})
    volumes = comparisons.volumes_of(lines, latest[0].facts["task"])
    methods = sorted(set(lines["method"]))
    if baseline not in methods:
        default = {run.method: named[run.id] for run in counted if not run.options}
        wanted = (default.get(name) for name in (baseline or "", *BASELINES))
        baseline = next((m for m in wanted if m in methods), methods[0] if methods else None)
    return Table(
        shared={**latest[0].facts, **latest[-1].facts},
        metric=metric,
        rows=table,
        comparisons=comparisons.compare(lines, volumes, baseline, claims.compared(every, named)),
        volumes=volumes,
        baseline=baseline,
        signatures=_signatures(lines, metric) | recipes,
        sources=sources,
        troubles=notes.troubles(latest, named, superseded=len(every) - len(latest)),
        notes=notes.notes(table, latest) + notes.untimed(lines),
        verdicts=standing.told(latest, named, verdicts),
        elsewhere=elsewhere,
        runs=latest,
        named=named,
        lines=lines,
    )


def _costs(latest: Sequence[Run], named: dict[str, str]) -> pd.DataFrame:
    """One line per run: what its search spent."""
    texts = [(named[run.id], run.seed, run.status, run.energy_source) for run in latest]
    frame = pd.DataFrame(texts, columns=["method", "seed", "status", "source"], dtype=object)
    spent = np.array([run.spent for run in latest], dtype=np.float64)
    return pd.concat([frame, pd.DataFrame(spent, columns=list(runs.SPENT))], axis=1)


def _means(lines: pd.DataFrame, costs: pd.DataFrame, sources: list[str]) -> pd.DataFrame:
    """One row per method and limit, and one for each method that has no candidate."""
    tried: dict[str, list[int]] = {}
    for i, method in enumerate(costs["method"]):
        tried.setdefault(method, []).append(i)
    parts: dict[tuple[str, rows.Limit], list[int]] = {}
    for i, key in enumerate(zip(lines["method"], lines["limit"], strict=True)):
        parts.setdefault(key, []).append(i)
    ordered = sorted(parts)
    seeds, status = list(costs["seed"]), list(costs["status"])
    energy = [None if s is None or s != s else sources.index(s) for s in costs["source"]]
    place = {key: i for i, key in enumerate(zip(costs["method"], seeds, strict=True))}
    run = [place[key] for key in zip(lines["method"], lines["seed"], strict=True)]
    spent, origins = costs[list(runs.SPENT)].to_numpy(), list(lines["origin"])
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
        row |= dict(zip((*averaged, *runs.SPENT, "over"), mean, strict=True)) | {"interval": "sentences"}
        scores = figures[part, 0]
        if np.count_nonzero(scores == scores) > 1:
            interval = stats.t_interval(scores[scores == scores].tolist())
            row |= {"low": interval.low, "high": interval.high, "interval": "seeds"}
        row["energy_sources"] = sorted({s for i in part if (s := energy[run[i]]) is not None})
        row["limit_share"] = limit.value if limit.rank == 1 else None
        row["origin"] = _counted([origins[i] for i in part])
        ended = [(seeds[i], status[i]) for i in tried[method]]
        found.append(row | {"status": _status(ended, there, row["over"])})
    without = sorted(set(tried) - {method for method, _ in ordered})
    for method, mean in zip(without, _averages(spent, [tried[m] for m in without]).tolist(), strict=True):
        ended = [(seeds[i], status[i]) for i in tried[method]]
        row = {"method": method, "limit": None, "n": 0, "seeds": "", "status": _status(ended, (), np.nan)}
        row["energy_sources"] = sorted({s for i in tried[method] if (s := energy[i]) is not None})
        found.append(row | dict(zip(runs.SPENT, mean, strict=True)) | {"interval": "", "origin": ""})
    return _best_first(found, [*averaged[:3], "limit_share", *averaged[3:], *runs.SPENT, "over"])


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
    frame = pd.DataFrame(found, columns=columns, dtype=object).astype(dict.fromkeys(figures, "float64"))
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
    timed = [head.timed for head in lines["headline"] if head.latency is not None]
    for recipes, latency, memory in dict.fromkeys(
        (h.recipes, h.latency, h.memory) for h in lines["headline"]
    ):
        for name, signature in sorted(recipes, key=lambda recipe: recipe[0] != metric):
            found.setdefault(METRICS.get(name, name), set()).add(signature)
        if latency is not None:
            found.setdefault("latency", set()).add(latency)
        if memory is not None:
            found.setdefault("peak memory", set()).add(memory)
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
