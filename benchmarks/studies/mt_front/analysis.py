"""Hypervolumes of winners at several limits, and comparisons of methods by them.

Quality is BLEU, cost the latency over the reference network's. All comparisons are paired by seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.records import selection
from benchmarks.records.study_files import ClaimFigure
from benchmarks.stats import intervals, pareto

COMPARED = (
    ("mos-neuron", "hat-sandwich"),
    ("mos-layer", "hat-sandwich"),
    ("mos-neuron", "hat"),
    ("hat-sandwich", "hat"),
    ("hat", "random-search"),
    ("hat-sandwich", "scratch"),
)
"""Comparisons of each task, fixed before the first record of these tiers."""
CONTINUED = (("hat-sandwich", "hat after=continue"), ("mos-neuron", "hat after=continue"))
"""Comparisons with HAT whose winners go on from inherited weights, as the others' do. They were fixed when
the first ones had been judged and before their first record, and are corrected among themselves."""
EXPLORED = tuple((method, "hat-sandwich") for method in ("minitron", "lts", "matformer", "bignas"))
"""Comparisons with baselines that spend little on a supernet, which came later and are not tested."""
TASKS = ("mt-multi30k-en-de", "mt-libreoffice-en-de")
SEEDS = 6
"""Tasks and paired seeds that were planned; the rule is applied once, when all are there."""
KNEE = (25.0, 1.0)
"""Another reference point, near the winners, which weighs their quality more."""
Key = tuple[str, str]
"""Task and method, with its options."""


@dataclass(frozen=True)
class FrontPoint:
    """One winner: its BLEU on the pooled test sets and its timing on this machine.

    ``limit`` is the share of the reference's counted latency that its search was given, ``counted`` its own;
    ``ratios`` are latencies over the reference's as timed here, one a build, and ``ratio`` their mean;
    ``on_its_device`` is the same ratio as the run's own profile measured it, ``inherited_bleu`` BLEU before
    winners were trained further: None where there is none.
    """

    task: str
    method: str
    seed: int
    limit: float
    bleu: float
    inherited_bleu: float | None
    counted: float
    ratio: float
    ratios: Sequence[float]
    ms: float
    on_its_device: float | None
    decoder_layers: int
    decoder_width: int
    parameters: int
    others_cpu: float
    signature: str


def split_incomplete(points: Sequence[FrontPoint]) -> tuple[list[FrontPoint], list[str]]:
    """Return the points of runs with a winner at every limit of their task, and names of the other runs."""
    limits: dict[str, set[float]] = {}
    runs: dict[tuple[str, str, int], list[FrontPoint]] = {}
    for point in points:
        limits.setdefault(point.task, set()).add(point.limit)
        runs.setdefault((point.task, point.method, point.seed), []).append(point)
    complete = {key: {point.limit for point in own} == limits[key[0]] for key, own in runs.items()}
    kept = [point for key, own in runs.items() if complete[key] for point in own]
    return kept, [
        f"{task}: {method} seed {seed}"
        for (task, method, seed), is_complete in complete.items()
        if not is_complete
    ]


Volumes = dict[Key, dict[int, float]]


def hypervolumes(
    points: Sequence[FrontPoint],
    cost_of: Callable[[FrontPoint], float] = lambda point: point.ratio,
    reference: tuple[float, float] | None = None,
) -> Volumes:
    """Return (task, method) -> seed -> hypervolume of its winners.

    Args:
        points: all winners.
        cost_of: latency over the reference's, of a winner.
        reference: point that the volume reaches to; None for the task's frozen one.
    """
    apart: dict[Key, dict[int, list[tuple[float, float]]]] = {}
    for point in points:
        seeds = apart.setdefault((point.task, point.method), {})
        seeds.setdefault(point.seed, []).append((point.bleu, cost_of(point)))
    return {
        key: {
            seed: pareto.hypervolume(winners, reference or selection.reference_point(key[0]))
            for seed, winners in sorted(seeds.items())
        }
        for key, seeds in apart.items()
    }


def differences(
    volumes: Mapping[Key, Mapping[int, float]], pairs: Sequence[tuple[str, str]] = COMPARED
) -> dict[str, list[float]]:
    """Return comparison -> differences over the seeds that both methods have."""
    apart = {}
    for task in dict.fromkeys(task for task, _ in volumes):
        for method, other in pairs:
            ours, theirs = (volumes.get((task, name), {}) for name in (method, other))
            if seeds := sorted(set(ours) & set(theirs)):
                apart[f"{task}: {method} - {other}"] = [ours[seed] - theirs[seed] for seed in seeds]
    return apart


def compare(volumes: Mapping[Key, Mapping[int, float]]) -> dict[str, ClaimFigure]:
    """Return comparison -> differences in hypervolume, with corrected p once its family's runs are there."""
    figures: dict[str, ClaimFigure] = {}
    for family in (COMPARED, CONTINUED):
        apart = differences(volumes, family)
        planned = [f"{task}: {method} - {other}" for task in TASKS for method, other in family]
        adjusted: dict[str, float] = {}
        if all(len(apart.get(name, [])) >= SEEDS for name in planned):
            tests = {name: intervals.t_test(values) for name, values in apart.items()}
            adjusted = intervals.holm({name: p for name, p in tests.items() if p is not None})
        for name, values in apart.items():
            figures[name] = {"values": values, "unit": "BLEU x latency ratio"}
            if name in adjusted:
                figures[name]["p"] = adjusted[name]
    return figures


def timing_errors(
    points: Sequence[FrontPoint], rng: np.random.Generator, draws: int = 200
) -> dict[str, float]:
    """Return comparison -> standard error that timing alone gives the mean difference in hypervolume.

    Seeds and methods share timings of equal networks; of those no interval over seeds has this luck. Each
    network's timing is drawn anew, with the spread of builds pooled over networks; NaN with one build.
    """
    networks = {(point.task, tuple(point.ratios)) for point in points}
    variances = [np.var(np.log(ratios), ddof=1) / len(ratios) for _, ratios in networks if len(ratios) > 1]
    error = float(np.mean(variances)) ** 0.5 if variances else float("nan")
    means: dict[str, list[float]] = {}
    for _ in range(draws):
        factors = {key: float(np.exp(rng.normal(0.0, 1.0) * error)) for key in sorted(networks)}
        drawn = [replace(p, ratio=p.ratio * factors[p.task, tuple(p.ratios)]) for p in points]
        for name, values in differences(hypervolumes(drawn), COMPARED + CONTINUED).items():
            means.setdefault(name, []).append(float(np.mean(values)))
    return {name: float(np.std(values, ddof=1)) for name, values in means.items()}


def over_limits(
    points: Sequence[FrontPoint], value_of: Callable[[FrontPoint], float | None]
) -> dict[Key, dict[int, float]]:
    """Return (task, method) -> seed -> mean of a value over the limits; winners without one are left out."""
    apart: dict[Key, dict[int, list[float]]] = {}
    for point in points:
        if (value := value_of(point)) is not None:
            apart.setdefault((point.task, point.method), {}).setdefault(point.seed, []).append(value)
    return {
        key: {seed: float(np.mean(values)) for seed, values in sorted(seeds.items())}
        for key, seeds in apart.items()
    }


def beside(points: Sequence[FrontPoint]) -> dict[str, dict[str, list[float]]]:
    """Return comparison -> what stands beside the registered hypervolume -> differences over seeds.

    ``bleu``, ``ratio`` and ``inherited`` (BLEU before winners were trained further) are means over limits,
    ``counted`` and ``knee`` hypervolumes of counted latencies and to ``KNEE``. None of them was registered.
    Comparisons of ``EXPLORED`` are here alone, with the hypervolume itself as ``volume``.
    """
    volumes = {"volume": hypervolumes(points)}
    parts = {
        "bleu": over_limits(points, lambda point: point.bleu),
        "ratio": over_limits(points, lambda point: point.ratio),
        "inherited": over_limits(points, lambda point: point.inherited_bleu),
        "counted": hypervolumes(points, lambda point: point.counted),
        "knee": hypervolumes(points, reference=KNEE),
    }
    by_name: dict[str, dict[str, list[float]]] = {}
    for pairs, shown in ((COMPARED + CONTINUED, parts), (EXPLORED, volumes | parts)):
        for part, values in shown.items():
            for name, apart in differences(values, pairs).items():
                by_name.setdefault(name, {})[part] = apart
    return by_name
