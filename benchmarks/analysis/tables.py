"""The comparison as data: one row per method and limit, means over seeds, through pandas.

``build`` turns records into a ``Table``; ``report.formats`` turns a ``Table`` into text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.analysis import attachment_columns as besides
from benchmarks.analysis import caveats, comparisons, footnotes, row_intervals, row_status
from benchmarks.analysis.attachment_columns import Beside
from benchmarks.comparability import grouping, run_summary
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.records import (
    selection,
)
from benchmarks.records.record import Record
from benchmarks.records.selection import Axis
from benchmarks.records.text import sanitize
from benchmarks.stats import intervals, quantities

ROW_SEEDS = 3
"""Finished seeds that make a row; with fewer it is provisional."""

METRICS = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "bleu_tok_lc": "BLEU (tokenised, lower-cased)",
    "mlm_accuracy": "MLM accuracy %",
    "accuracy": "accuracy %",
}
BASELINES = (*footnotes.REFERENCES, "hat-sandwich", "scratch", "random-search")
"""Methods that the others are compared with, unless one is named: the first that has runs."""
SHARED_MEANS = (
    "chrf",
    "valid_loss",
    "p50",
    "p90",
    "ratio",
    "params",
    "macs",
    "bytes",
    "peak_bytes",
)


@dataclass(frozen=True)
class Table:
    """Everything that a comparison shows, as data.

    ``rows``: one line per (method, limit), best first within a limit; shares are fractions, sizes
    bytes, times milliseconds or seconds; intervals are those of ``report.spread``. Rows that are not
    ``compared`` are of earlier origins, under their method's own row, and of stopped runs, last.
    ``comparisons``: paired over seeds against ``baseline``. ``axis``: what quality is traded against.
    ``volumes``: hypervolume per run. ``verdicts``: of second runs
    (``report.standing``). ``elsewhere``: latencies in other runtimes, a column each (``report.beside``).
    ``runs``: those that count, one per method and seed; ``named``: their ids' labels
    (``comparable.labels``); ``lines``: their headline candidates (``runs.headlines``). ``obstacles``: why
    runs are not compared; ``before``: what those that a run follows had spent (``runs.before``).
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
    runs: list[RunSummary]
    named: dict[str, str]
    lines: pd.DataFrame
    axis: Axis
    obstacles: dict[str, str]
    before: dict[str, tuple[float, float]]

    @cached_property
    def sets(self) -> pd.DataFrame:
        """One line per (method, limit, test set, metric); made when asked for, as large boards never ask."""
        return _sets(self.lines)

    @cached_property
    def notices(self) -> list[str]:
        """Why its rows rank no methods, if they do not."""
        return caveats.notices(self.shared["task"], self.shared["tier"], self.lines)

    @property
    def detailed(self) -> bool:
        """True if the runs' records are within reach; those of large boards are not."""
        return all(run.record is not None for run in self.runs)

    @cached_property
    def compared(self) -> pd.DataFrame:
        """The ``lines`` that may be compared, ranked and drawn: products of comparable runs."""
        return self.lines[self.lines["compared"]]

    @cached_property
    def sentences(self) -> pd.DataFrame:
        """Single networks against the baseline's over the test sentences; made when asked for."""
        return comparisons.over_sentences(self.compared, self.baseline, self.metric)

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
    from benchmarks.claims import judge

    every = [run_summary.summarize(record, keep=True, measured=judge.measured(record)) for record in records]
    return of_runs(every, baseline, beside)


def of_runs(
    every: Sequence[RunSummary], baseline: str | None = None, beside: Mapping[str, Beside] | None = None
) -> Table:
    """``build`` from runs whose records need not be within reach; then nobody may ask for what needs them."""
    from benchmarks.claims import judge

    grouping.require_comparable(every)
    latest = grouping.latest(every)
    named = grouping.labels(latest)
    obstacles, before = grouping.obstacles(latest), run_summary.spent_by_leaders(every)
    counted = [run for run in latest if run.status != "failed"]
    metric = grouping.metric_of(counted or latest)
    lines = run_summary.headlines(counted, named, metric, obstacles)
    costs = _costs(latest, named, before)
    sources = sorted(set(costs["source"].dropna()))
    table = row_intervals.with_intervals(_means(lines, costs, sources, obstacles), lines, costs, metric)
    _leave_costs_to_products(table)
    verdicts = {name: there.verdicts for name, there in (beside or {}).items()}
    if beside is not None:
        table["verified"] = row_status.column(table, latest, named, verdicts)
    elsewhere, recipes = besides.columns(counted, named, beside or {}, obstacles)
    compared = lines[lines["compared"]]
    facts = latest[0].facts
    axis = selection.axis(lines["limit"], facts["task"], facts["tier"])
    volumes = comparisons.volumes_of(compared, axis)
    methods = sorted(set(compared["method"]))
    default = {run.method: named[run.id] for run in counted if not run.options}
    wanted = [baseline, *(default.get(name) for name in (baseline or "", *BASELINES))]
    baseline = next((m for m in wanted if m in methods), methods[0] if methods else None)
    return Table(
        shared={**facts, **latest[-1].facts},
        metric=metric,
        rows=table,
        comparisons=comparisons.compare(compared, volumes, baseline, judge.compared(every, named)),
        volumes=volumes,
        baseline=baseline,
        signatures=_signatures(lines, metric) | recipes,
        sources=sources,
        troubles=footnotes.troubles(latest, named, obstacles, superseded=len(every) - len(latest)),
        notes=footnotes.notes(table, latest) + footnotes.untimed(lines),
        verdicts=row_status.told(latest, named, verdicts),
        elsewhere=elsewhere,
        runs=latest,
        named=named,
        lines=lines,
        axis=axis,
        obstacles=obstacles,
        before=before,
    )


def _leave_costs_to_products(table: pd.DataFrame) -> None:
    """Take a run's costs out of the rows of its earlier origins: they paid for its product, too."""
    earlier = ~table["compared"] & ~table["stopped"]
    sides = [f"{name}_{side}" for name in row_intervals.SPENT for side in ("low", "high")]
    table.loc[earlier, [*run_summary.SPENT, *sides]] = np.nan
    table["energy_sources"] = [
        [] if other else sources for other, sources in zip(earlier, table["energy_sources"], strict=True)
    ]


def _costs(
    latest: Sequence[RunSummary], named: dict[str, str], before: Mapping[str, tuple[float, float]]
) -> pd.DataFrame:
    """One line per run: what its search spent; seconds and joules with those of a run whose weights it took,
    as tokens, evaluations and probes are charged for them."""
    texts = [(named[run.id], run.seed, run.id, run.energy_source) for run in latest]
    frame = pd.DataFrame(texts, columns=["of", "seed", "run", "source"], dtype=object)
    spent = np.array([run.spent for run in latest], dtype=np.float64)
    spent[:, -2:] += [before[run.id] if run.inherits else (0.0, 0.0) for run in latest]
    return pd.concat([frame, pd.DataFrame(spent, columns=list(run_summary.SPENT))], axis=1)


def _means(
    lines: pd.DataFrame, costs: pd.DataFrame, sources: list[str], obstacles: Mapping[str, str]
) -> pd.DataFrame:
    """One row per method and limit, and one for each method that has no candidate."""
    tried: dict[str, list[int]] = {}
    for i, method in enumerate(costs["of"]):
        tried.setdefault(method, []).append(i)
    parts: dict[tuple[str, selection.Limit], list[int]] = {}
    for i, key in enumerate(zip(lines["method"], lines["limit"], strict=True)):
        parts.setdefault(key, []).append(i)
    ordered = sorted(parts)
    seeds = list(costs["seed"])
    reasons = [obstacles.get(run, "") for run in costs["run"]]
    energy = [None if s is None or s != s else sources.index(s) for s in costs["source"]]
    place = {key: i for i, key in enumerate(zip(costs["of"], seeds, strict=True))}
    run = [place[key] for key in zip(lines["of"], lines["seed"], strict=True)]
    spent, origins = costs[list(run_summary.SPENT)].to_numpy(), list(lines["origin"])
    of, compared = list(lines["of"]), list(lines["compared"])
    averaged = ["quality", *SHARED_MEANS]
    over = _over(lines)
    figures = np.column_stack([lines[averaged].to_numpy(), spent[run], over])
    means = _averages(figures, [parts[key] for key in ordered])

    found: list[dict[str, Any]] = []
    for (method, limit), mean in zip(ordered, means.tolist(), strict=True):
        part = parts[method, limit]
        there = sorted(seeds[run[i]] for i in part)
        first = part[0]
        row: dict[str, Any] = {"method": method, "of": of[first], "limit": limit, "n": len(part)}
        row |= {"seeds": " ".join(map(str, there)), "compared": compared[first]}
        row |= dict(zip((*averaged, *run_summary.SPENT, "over"), mean, strict=True))
        row["energy_sources"] = sorted({s for i in part if (s := energy[run[i]]) is not None})
        row["limit_share"] = limit.value if limit.rank == 1 else None
        row["limit_ms"] = limit.value if limit.rank == 2 else None
        row["origin"] = _counted([origins[i] for i in part])
        row["stopped"] = bool(reasons[run[first]])
        ended = [(seeds[i], reasons[i]) for i in tried[of[first]]]
        found.append(row | {"status": _status(ended, there, row["over"], stopped=row["stopped"])})
    without = sorted(set(tried) - set(of))
    for method, mean in zip(without, _averages(spent, [tried[m] for m in without]).tolist(), strict=True):
        ended = [(seeds[i], reasons[i]) for i in tried[method]]
        row = {"method": method, "of": method, "limit": None, "n": 0, "seeds": ""}
        row |= {"compared": False, "stopped": True}
        row["status"] = _status(ended, (), np.nan)
        row["energy_sources"] = sorted({s for i in tried[method] if (s := energy[i]) is not None})
        found.append(row | dict(zip(run_summary.SPENT, mean, strict=True)) | {"origin": ""})
    figures_of = ["quality", "limit_share", "limit_ms", *SHARED_MEANS, *run_summary.SPENT, "over"]
    return _best_first(found, figures_of)


def _averages(figures: intervals.Array, parts: Sequence[Sequence[int]]) -> intervals.Array:
    """Means ``[parts, columns]`` over rows of ``figures``; NaN is left out, and the mean of nothing."""
    if not parts:
        return np.empty((0, figures.shape[1]))
    starts = np.cumsum([0, *map(len, parts[:-1])])
    picked = figures[np.concatenate(parts)]
    there = ~np.isnan(picked)
    sums = np.add.reduceat(np.where(there, picked, 0.0), starts, axis=0)
    with np.errstate(invalid="ignore"):
        means: intervals.Array = sums / np.add.reduceat(there.astype(np.int64), starts, axis=0)
    return means


def _best_first(found: list[dict[str, Any]], figures: list[str]) -> pd.DataFrame:
    """The rows by limit, best quality first and under each those of its earlier origins; then stopped runs;
    those without a limit or a candidate last."""
    texts = ["method", "of", "limit", "n", "seeds", "compared", "stopped"]
    texts += ["energy_sources", "origin", "status"]
    own = {(row["of"], row["limit"]): row["quality"] for row in found if row["compared"]}

    def order(row: dict[str, Any]) -> Any:
        limit, key = row["limit"], (row["of"], row["limit"])
        quality = float(own.get(key, row.get("quality")) or math.nan)
        unknown = math.isnan(quality)
        at = (limit is None, limit is not None and limit.rank == 0, limit.value if limit is not None else 0)
        rank = 0.0 if unknown else -quality
        return *at, row["stopped"], unknown, rank, row["of"], not row["compared"], row["method"]

    ordered: list[dict[str, Any]] = sorted(found, key=order)
    frame = pd.DataFrame(ordered, columns=[*texts, *figures], dtype=object)
    return frame.astype(dict.fromkeys(figures, "float64") | {"compared": bool, "stopped": bool})


def _counted(words: list[str]) -> str:
    names = sorted(set(words))
    return names[0] if len(names) == 1 else ", ".join(f"{name} {words.count(name)}" for name in names)


def _seeds(numbers: Any) -> str:
    named = " ".join(str(s) for s in sorted(numbers))
    return f"seed{'s' if len(named.split()) > 1 else ''} {named}"


def _over(lines: pd.DataFrame) -> intervals.Array:
    """By what share of its limit each latency, or number of parameters, lies above it.

    Of a limit that is a share of the reference network's latency, by the ratio to that network in the
    scoring's own session: milliseconds of two sessions differ by what the machine did meanwhile.
    """
    share = np.array([limit.value if limit.rank == 1 else np.nan for limit in lines["limit"]], dtype=float)
    by_ms = (lines["p50"] / lines["limit_ms"]).to_numpy(dtype=float)
    most = np.array([1e6 * x.value if x.rank == 3 else np.nan for x in lines["limit"]], dtype=float)
    by_size = lines["params"].to_numpy(dtype=float) / most
    timed = np.where(np.isnan(share), by_ms, lines["ratio"].to_numpy(dtype=float) / share)
    over: intervals.Array = np.where(np.isnan(most), timed, by_size) - 1
    return over


def _status(
    ended: Sequence[tuple[int, str]], seeds: Sequence[int], over: float, *, stopped: bool = False
) -> str:
    """Caveats of the row, in words.

    Args:
        ended: seed of every run of the method, and why it is not compared, if it is not.
        seeds: those with a candidate in this row.
        over: share by which its latency is above the limit; NaN where there is none.
        stopped: whether the row is of runs that are not compared.
    """
    if stopped:
        reasons = dict.fromkeys(reason for seed, reason in ended if seed in seeds)
        return f"not compared: {_seeds(seeds)}: {'; '.join(reasons)}"
    told, n = [], len(seeds)
    if 0 < n < ROW_SEEDS:
        told.append(f"provisional ({n} seed{'s' if n > 1 else ''})")
    elif n:
        told.append(f"{n} seeds")
    failed = [seed for seed, reason in ended if reason.startswith("failed")]
    if failed:
        told.append(f"failed: {_seeds(failed)}")
    cut = [seed for seed, reason in ended if reason and seed not in failed]
    if cut:
        told.append(f"not compared: {_seeds(cut)}")
    missing = {seed for seed, reason in ended if not reason} - set(seeds)
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
                if selection.tuned(figure):
                    over = intervals.interval(figure["values"], quantities.of_metric(metric))
                    figure = {**figure, "low": over.low, "high": over.high}
                flat.append(
                    {"method": line["method"], "limit": line["limit"], "set": sanitize(name, 40)}
                    | {
                        "metric": sanitize(metric, 40),
                        "signature": sanitize(figure["signature"]),
                    }
                    | {"value": figure["value"], "low": figure.get("low"), "high": figure.get("high")}
                    | {"own": "fine-tunings" if selection.tuned(figure) else "sentences"}
                )
    keys, figures = ["method", "limit", "set", "metric"], ["value", "low", "high"]
    frame = pd.DataFrame(flat, columns=[*keys, "signature", "own", *figures])
    frame = frame.astype(dict.fromkeys(figures, "float64"))
    grouped: Any = frame.groupby(keys, sort=False)
    found: pd.DataFrame = grouped.agg(
        value=("value", "mean"), n=("value", "count"), low=("low", "mean"), high=("high", "mean"),
        signature=("signature", lambda texts: "  and  ".join(sorted(set(texts)))), own=("own", "first"),
    )  # fmt: skip
    parts = [
        row_intervals.of_means(part.rename(columns={"value": "quality"}), keys, ["quality"], str(metric))
        for metric, part in frame.groupby("metric", sort=False)
    ]
    over_seeds = pd.concat(parts) if parts else pd.DataFrame(columns=["quality_low", "quality_high"])
    several = found["n"] > 1
    found["interval"] = np.where(several, "seeds", found.pop("own"))
    for side in ("low", "high"):
        found[side] = over_seeds[f"quality_{side}"].reindex(found.index).where(several, found[side])
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
        shown = {sanitize(text) for text in texts}
        if name == "latency":
            # The number of timed inferences differs from candidate to candidate: one line with its range.
            shown = {re.sub(r"\|n:\d+", "|n:{n}", text) for text in shown}
        told[sanitize(name, 60)] = "  and  ".join(sorted(shown))
    if timed:
        n = f"{min(timed)}-{max(timed)}" if min(timed) < max(timed) else str(timed[0])
        told["latency"] = told["latency"].replace("{n}", n)
    return told
