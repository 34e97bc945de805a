"""Rows of a table: means over seeds per method and limit, what they cost, their order and their status."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from benchmarks.analysis import row_intervals
from benchmarks.analysis.number_format import Row
from benchmarks.comparability import run_summary
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.records import selection
from benchmarks.stats.intervals import Array
from benchmarks.stats.quantities import Quantity

ROW_SEEDS = 3
"""Finished seeds that make a row; with fewer it is provisional."""
TOLERANCE = 0.005
"""Share by which a row's latency or size may lie above its limit and keep it."""
SHARED_MEANS = ("chrf", "valid_loss", "p50", "p90", "ratio", "params", "macs", "bytes", "peak_bytes")
"""Figures of networks that a row averages beside the deciding one."""


def build_rows(
    lines: pd.DataFrame,
    costs: pd.DataFrame,
    sources: list[str],
    obstacles: Mapping[str, str],
    quality: Quantity,
    bounded: bool = True,
) -> pd.DataFrame:
    """Return one row per method and limit with intervals, and one for each method that has no candidate.

    Args:
        lines: of ``run_summary.headlines``.
        costs: of ``run_costs``.
        sources: energy sources; rows refer to them by number.
        obstacles: record id -> why that run is not compared.
        quality: quantity of the deciding metric.
        bounded: whether limits bound the latencies of these rows.
    """
    means = _means(lines, costs, sources, obstacles, bounded)
    rows = row_intervals.with_intervals(means, lines, costs, quality)
    # A run's costs stand in its product's row alone, not in those of its earlier origins as well.
    earlier = (rows["method"] != rows["of"]) & ~rows["stopped"]
    sides = [f"{name}_{side}" for name in row_intervals.SPENT for side in ("low", "high")]
    rows.loc[earlier, [*run_summary.SPENT, *sides]] = np.nan
    rows["energy_sources"] = [
        [] if other else numbers for other, numbers in zip(earlier, rows["energy_sources"], strict=True)
    ]
    return rows


def run_costs(
    latest: Sequence[RunSummary], named: Mapping[str, str], before: Mapping[str, tuple[float, float]]
) -> pd.DataFrame:
    """Return one line per run with what its search spent.

    Seconds and joules include those of a run whose weights it took, as tokens, evaluations and probes are
    charged for them.
    """
    texts = [(named[run.id], run.seed, run.id, run.energy_source) for run in latest]
    frame = pd.DataFrame(texts, columns=["of", "seed", "run", "source"], dtype=object)
    spent = np.array([run.spent for run in latest], dtype=np.float64)
    spent[:, -2:] += [before[run.id] if run.inherits else (0.0, 0.0) for run in latest]
    return pd.concat([frame, pd.DataFrame(spent, columns=list(run_summary.SPENT))], axis=1)


def _means(
    lines: pd.DataFrame, costs: pd.DataFrame, sources: list[str], obstacles: Mapping[str, str], bounded: bool
) -> pd.DataFrame:
    """Return one row per method and limit, and one for each method that has no candidate."""
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
    precisions = list(lines["precision"])
    of, compared, learnt = list(lines["of"]), list(lines["compared"]), list(lines["learnt"])
    averaged = ["quality", *SHARED_MEANS]
    over = _shares_over_limit(lines) if bounded else np.full(len(lines), np.nan)
    figures = np.column_stack([lines[averaged].to_numpy(), spent[run], over])
    means = _averages(figures, [parts[key] for key in ordered])

    rows: list[dict[str, object]] = []
    for (method, limit), mean in zip(ordered, means.tolist(), strict=True):
        part = parts[method, limit]
        own_seeds = sorted(seeds[run[i]] for i in part)
        first = part[0]
        row: dict[str, object] = {"method": method, "of": of[first], "limit": limit, "n": len(part)}
        row |= {"seeds": " ".join(map(str, own_seeds)), "compared": compared[first]}
        row |= dict(zip((*averaged, *run_summary.SPENT, "over"), mean, strict=True))
        row["energy_sources"] = sorted({s for i in part if (s := energy[run[i]]) is not None})
        row["limit_share"] = limit.value if limit.rank == 1 else None
        row["limit_ms"] = limit.value if limit.rank == 2 else None
        row["origin"] = _counted_names([origins[i] for i in part])
        row["precision"] = _counted_names([precisions[i] for i in part])
        stopped = bool(reasons[run[first]])
        ended = [(seeds[i], reasons[i]) for i in tried[of[first]]]
        idle = [seeds[run[i]] for i in part if not learnt[i]] if method == of[first] else []
        elsewhere = not bounded and limit.rank > 0
        status = status_text(ended, own_seeds, mean[-1], stopped=stopped, idle=idle, elsewhere=elsewhere)
        rows.append(row | {"stopped": stopped, "status": status})
    without = sorted(set(tried) - set(of))
    for method, mean in zip(without, _averages(spent, [tried[m] for m in without]).tolist(), strict=True):
        ended = [(seeds[i], reasons[i]) for i in tried[method]]
        row = {"method": method, "of": method, "limit": None, "n": 0, "seeds": ""}
        row |= {"compared": False, "stopped": True}
        row["status"] = status_text(ended, (), np.nan)
        row["energy_sources"] = sorted({s for i in tried[method] if (s := energy[i]) is not None})
        rows.append(row | dict(zip(run_summary.SPENT, mean, strict=True)) | {"origin": "", "precision": ""})
    figure_names = ["quality", "limit_share", "limit_ms", *SHARED_MEANS, *run_summary.SPENT, "over"]
    return _best_first(rows, figure_names)


def _averages(figures: Array, parts: Sequence[Sequence[int]]) -> Array:
    """Return means ``[parts, columns]`` over rows of ``figures``; NaN is left out, NaN if nothing is left."""
    if not parts:
        return np.empty((0, figures.shape[1]))
    starts = np.cumsum([0, *map(len, parts[:-1])])
    picked = figures[np.concatenate(parts)]
    known = ~np.isnan(picked)
    sums = np.add.reduceat(np.where(known, picked, 0.0), starts, axis=0)
    with np.errstate(invalid="ignore"):
        means: Array = sums / np.add.reduceat(known.astype(np.int64), starts, axis=0)
    return means


def _best_first(rows: Sequence[Row], figures: list[str]) -> pd.DataFrame:
    """Order rows by limit, best quality first and under each those of its earlier origins.

    Rows that are not ranked follow, then stopped runs; rows without a limit or a candidate come last.
    """
    texts = ["method", "of", "limit", "n", "seeds", "compared", "stopped"]
    texts += ["energy_sources", "origin", "precision", "status"]
    products = [row for row in rows if row["method"] == row["of"] and row["limit"] is not None]
    own = {(row["of"], row["limit"]): row["quality"] for row in products}
    idle = {(row["of"], row["limit"]) for row in products if not row["compared"]}

    def order(row: Row) -> tuple[bool | float | str, ...]:
        limit, key = row["limit"], (row["of"], row["limit"])
        quality = float(own.get(key, row.get("quality")) or math.nan)
        unknown = math.isnan(quality)
        at = (limit is None, limit is not None and limit.rank == 0, limit.value if limit is not None else 0)
        rank = 0.0 if unknown else -quality
        return (
            *at,
            row["stopped"],
            key in idle,
            unknown,
            rank,
            row["of"],
            row["method"] != row["of"],
            row["method"],
        )

    ordered = sorted(rows, key=order)
    frame = pd.DataFrame(ordered, columns=[*texts, *figures], dtype=object)
    return frame.astype(dict.fromkeys(figures, "float64") | {"compared": bool, "stopped": bool})


def _counted_names(words: list[str]) -> str:
    names = sorted(set(words))
    return names[0] if len(names) == 1 else ", ".join(f"{name} {words.count(name)}" for name in names)


def _shares_over_limit(lines: pd.DataFrame) -> Array:
    """Return by what share of its limit each latency, or number of parameters, lies above it.

    Under a limit that is a share of the reference network's latency, the ratio to that network in the
    scoring's own session counts: milliseconds of two sessions differ by what the machine did meanwhile.
    """
    share = np.array([limit.value if limit.rank == 1 else np.nan for limit in lines["limit"]], dtype=float)
    by_ms = (lines["p50"] / lines["limit_ms"]).to_numpy(dtype=float)
    most = np.array([1e6 * x.value if x.rank == 3 else np.nan for x in lines["limit"]], dtype=float)
    by_size = lines["params"].to_numpy(dtype=float) / most
    timed = np.where(np.isnan(share), by_ms, lines["ratio"].to_numpy(dtype=float) / share)
    over: Array = np.where(np.isnan(most), timed, by_size) - 1
    return over


def _seeds(numbers: Iterable[int]) -> str:
    named = " ".join(str(s) for s in sorted(numbers))
    return f"seed{'s' if len(named.split()) > 1 else ''} {named}"


def status_text(
    ended: Sequence[tuple[int, str]],
    seeds: Sequence[int],
    over: float,
    *,
    stopped: bool = False,
    idle: Sequence[int] = (),
    elsewhere: bool = False,
) -> str:
    """Return the caveats of a row, in words.

    Args:
        ended: seed of every run of the method, and why it is not compared; empty if it is.
        seeds: those with a candidate in this row.
        over: share by which its latency is above the limit; NaN without one.
        stopped: true for a row of runs that are not compared.
        idle: those whose network has learnt little but word frequencies.
        elsewhere: true if its limit bounds the latency of another runtime.
    """
    if stopped:
        reasons = dict.fromkeys(reason for seed, reason in ended if seed in seeds)
        return f"not compared: {_seeds(seeds)}: {'; '.join(reasons)}"
    caveats, n = [], len(seeds)
    if 0 < n < ROW_SEEDS:
        caveats.append(f"provisional ({n} seed{'s' if n > 1 else ''})")
    elif n:
        caveats.append(f"{n} seeds")
    failed = [seed for seed, reason in ended if reason.startswith("failed")]
    if failed:
        caveats.append(f"failed: {_seeds(failed)}")
    cut = [seed for seed, reason in ended if reason and seed not in failed]
    if cut:
        caveats.append(f"not compared: {_seeds(cut)}")
    missing = {seed for seed, reason in ended if not reason} - set(seeds)
    if missing:
        caveats.append(f"no candidate: {_seeds(missing)}")
    if idle:
        caveats.append(
            f"not ranked: {_seeds(idle)} within {selection.LEARNT_FROM[1]:g} nats of word frequencies"
        )
    if over > TOLERANCE:
        caveats.append(f"over its limit by {over:.0%}")
    if elsewhere:
        caveats.append("limit of another runtime")
    return "; ".join(caveats)
