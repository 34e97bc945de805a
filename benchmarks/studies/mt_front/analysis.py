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
"""Tasks that were planned."""
SEEDS, SESSIONS = 6, 2
"""Paired seeds, and sessions in which all winners are timed anew, from which on the rule applies."""
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


def compare(sessions: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, ClaimFigure]:
    """Return comparison -> differences in hypervolume, means over sessions, with p once the rule applies.

    A session's p is Student's, after Holm over its family, which must be there with all seeds. The largest of
    all sessions' counts, from ``SESSIONS`` on, and is 1 where their means have unlike signs; claims wait for
    it. Of a comparison without all seeds the last session stands.
    """
    figures: dict[str, ClaimFigure] = {}
    for family in (COMPARED, CONTINUED):
        planned = [f"{task}: {method} - {other}" for task in TASKS for method, other in family]
        tested = [_corrected(session, planned) for session in sessions]
        for name in planned:
            several = [list(session[name]) for session in sessions if name in session]
            if not several:
                continue
            count = len(several[-1])
            alike = [v for v in several if len(v) == count] if count >= SEEDS else several[-1:]
            means = [float(np.mean(values)) for values in zip(*alike, strict=True)]
            figures[name] = {"values": means, "unit": "BLEU x latency ratio"}
            p_values = [p[name] for p in tested if name in p]
            if len(p_values) >= SESSIONS:
                agreed = len({float(np.sign(np.mean(values))) for values in alike}) == 1
                figures[name]["p"] = max(p_values) if agreed else 1.0
            else:
                figures[name]["interim"] = f"{len(p_values)} of {SESSIONS} sessions with all runs"
    return figures


def _corrected(session: Mapping[str, Sequence[float]], planned: Sequence[str]) -> dict[str, float]:
    """Return the corrected p values of a family in one session; none before all its runs are there."""
    if any(len(session.get(name, [])) < SEEDS for name in planned):
        return {}
    tests = {name: intervals.t_test(session[name]) for name in planned}
    return intervals.holm({name: p for name, p in tests.items() if p is not None})


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
    ``counted`` and ``knee`` hypervolumes of counted latencies and to ``KNEE``, ``bleu_alone`` and
    ``latency_alone`` what the other's hypervolume gains by that part of ours (``exchanged``). None of them
    was registered. Comparisons of ``EXPLORED`` are here alone, with the hypervolume itself as ``volume``.
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
    for name, by_part in exchanged(points, COMPARED + CONTINUED + EXPLORED).items():
        by_name[name] |= by_part
    return by_name


def exchanged(
    points: Sequence[FrontPoint], pairs: Sequence[tuple[str, str]]
) -> dict[str, dict[str, list[float]]]:
    """Return comparison -> gain in the other's hypervolume by our BLEU or our latencies alone, over seeds.

    Winners are paired by limit. The two gains do not add up to the difference.
    """
    runs: dict[tuple[str, str, int], dict[float, FrontPoint]] = {}
    for point in points:
        runs.setdefault((point.task, point.method, point.seed), {})[point.limit] = point
    by_name: dict[str, dict[str, list[float]]] = {}
    for task, other, seed in sorted(runs):
        theirs = runs[task, other, seed]
        for method in (ours for ours, name in pairs if name == other and (task, ours, seed) in runs):
            ours = runs[task, method, seed]
            mixed = {
                "bleu_alone": [replace(p, bleu=ours[limit].bleu) for limit, p in theirs.items()],
                "latency_alone": [replace(p, ratio=ours[limit].ratio) for limit, p in theirs.items()],
            }
            (plain,) = hypervolumes(list(theirs.values())).values()
            for part, winners in mixed.items():
                (volumes,) = hypervolumes(winners).values()
                parts = by_name.setdefault(f"{task}: {method} - {other}", {})
                parts.setdefault(part, []).append(volumes[seed] - plain[seed])
    return by_name
