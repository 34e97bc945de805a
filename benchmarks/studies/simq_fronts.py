"""How much faster and smaller than uniform INT8 is a network whose architecture and precisions were searched
together, at no loss of quality? Answered with real kernels.

On tables (``simq_search``) searches find fronts of loss and predicted latency, and of loss and bytes. Points
of these fronts, and uniform precisions to compare them with, are exported with the table's trained supernet,
written as ONNX files, and run in ONNX Runtime: latency in turns with the largest network in fp32, bytes of
the file, loss and accuracy on items that no search saw. What a search predicts decides which points are
measured and nothing else.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import stats
from benchmarks.api import UsageError
from benchmarks.data import Say
from benchmarks.registry import arena
from benchmarks.studies import Outcome
from benchmarks.studies.simq_search import nondominated

if TYPE_CHECKING:
    from benchmarks.studies.fronts_measure import Point

SUMMARY = "joint fronts of tables against uniform INT8, measured in ONNX Runtime on held-out data"
READS = "weights"
Array = NDArray[np.float64]
AXES = {"faster": "latency", "smaller": "bytes"}
"""What is asked -> the second objective of the search that answers it."""
SEARCHES = ("linas", "arch-then-quant")
DRAWS = 4000
MARGIN = 0.005
"""Accuracy, half a point, that a network at no loss may surely not lose. Fixed before any candidate was judged
by it; the rule before it asked for no significant difference, which few items never show."""
LEVEL = 0.95
"""One-sided confidence of each verdict, over all candidates of a table and axis together."""
PAPER = {"faster": 4.80, "smaller": 3.44}
RULE = (
    "a network is at no loss where its accuracy minus that of the largest network in uniform INT8 lies above"
    f" -{100 * MARGIN:g} points, one-sided {LEVEL:.0%}, over all held-out items that were evaluated; it is worse"
    " where that lies below, and undecided where the items cannot tell. Candidates are all measured networks"
    " whose {quality} on the search's own data is not above that network's: that choice is made on other items,"
    " but the best of them is chosen on the items that judge it, so verdicts hold after Holm over the candidates"
    " of a table and axis. The answer is the fastest (smallest) candidate at no loss. The true ratio lies"
    " between that one's (1 where none is) and the ceiling: INT8 of the largest network over the cheapest"
    " network of the whole space."
)
"""For each quality."""


@dataclass(frozen=True)
class Plan:
    """How much is run; what is less than the default is for tests."""

    quality: str = "loss"
    """What is searched for besides latency or bytes: ``loss`` or ``error``."""
    seeds: int = 10
    evaluations: int = 400
    population: int = 50
    inner: int = 2_000
    items: int = 5000
    """Held-out items of each network, at most; those of the table first."""
    shown: int = 6
    """Points of a front that are measured, at equal distances, besides candidates; of a sequential search
    there are candidates alone."""
    candidates: int = 2
    rounds: int = 64
    jobs: int = 0


@dataclass(frozen=True)
class Found:
    """What was chosen to be measured on one table; places are rows of the table.

    Attributes:
        fronts: (search, axis, seed) -> places on its front; the search ``int8`` is over all networks in
            uniform INT8.
        candidates: the same -> places that may answer, most promising first.
        largest: precision -> place.
    """

    fronts: Mapping[tuple[str, str, int], Sequence[int]]
    candidates: Mapping[tuple[str, str, int], Sequence[int]]
    largest: Mapping[str, int]

    @property
    def places(self) -> list[int]:
        """All of them, each once."""
        some = [*self.fronts.values(), *self.candidates.values(), list(self.largest.values())]
        return sorted({place for places in some for place in places})


@dataclass(frozen=True)
class Answer:
    """The network that one search with one seed answers with.

    Attributes:
        place: of the table; that of the INT8 network itself where nothing better is at no loss.
        times: how many times faster (smaller) than the largest network in INT8.
        strict: ``times`` of the answer by the stricter rule.
        accuracy, loss: held out, minus the INT8 network's.
    """

    place: int
    times: float
    strict: float
    accuracy: stats.Interval
    loss: stats.Interval


@dataclass(frozen=True)
class Family:
    """One table, measured.

    Attributes:
        points: place -> what was measured of it.
        ratio: place -> median latency over that of the largest network in fp32, with a 95 % interval.
        anchor_ms: median of that network.
        answers: (search, axis) -> one for each seed.
        networks: place -> architecture and policy.
        predicted: place -> what the table's latencies say ``ratio`` is.
        bf16: the largest network in bfloat16, in torch: accuracy, times faster than fp32 in torch, bytes.
        latency: what is known of the table's latencies.
        agreement: largest difference between measured accuracies and the table's, over the table's items; NaN
            where not all of those were asked.
    """

    head: Mapping[str, Any]
    found: Found
    points: Mapping[int, Point]
    ratio: Mapping[int, tuple[float, float, float]]
    anchor_ms: float
    items: int
    answers: Mapping[tuple[str, str], Sequence[Answer]]
    bf16: Mapping[str, float]
    latency: Mapping[str, Any]
    agreement: float
    networks: Mapping[int, tuple[dict[str, Any], dict[str, str]]]
    predicted: Mapping[int, float]

    @property
    def name(self) -> str:
        """Of the table."""
        return str(self.head["name"])


def run(folder: Path, say: Say = lambda line: None, plan: Plan | None = None) -> Outcome:
    """The study over the tables that come along and whose supernets are in the folder.

    Raises:
        UsageError: none is, or one has no latencies.
    """
    paths = [path for path in arena().tables().values() if (folder / f"{path.stem}.safetensors").is_file()]
    if not paths:
        raise UsageError(
            f"no supernet of a table in '{folder}': --weights names the folder of NAME.safetensors, which"
            " python -m tests.bench.tabulate writes beside NAME.npz"
        )
    return study(paths, folder, plan or Plan(), say)


def study(paths: Sequence[Path], folder: Path, plan: Plan, say: Say = lambda line: None) -> Outcome:
    """The study over some tables."""
    from benchmarks import profiles
    from benchmarks.studies import fronts_told

    for path in paths:
        if not arena().latency(path):
            raise UsageError(
                f"table {path.stem} has no latencies: python -m tests.bench.latencies --weights '{folder}'"
            )
    found = [family(path, folder, plan, say) for path in paths]
    return fronts_told.outcome(found, plan, profiles.matching() or "undeclared")


def family(path: Path, folder: Path, plan: Plan, say: Say) -> Family:
    """Search one table, measure what was found, and answer."""
    from benchmarks.studies import fronts_measure

    place = arena()
    head = place.head(path)
    fronts_measure.check(folder, head)
    found = chosen(path, plan)
    say(f"{head['name']}: {len(found.places)} networks to measure")
    networks = dict(zip(found.places, place.networks(path, found.places), strict=True))
    ask = partial(fronts_measure.measured, folder, path.stem, plan.items)
    jobs = plan.jobs or len(os.sched_getaffinity(0))
    if jobs > 1:
        # Not by fork: kernels' threads do not survive it.
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            points = dict(zip(networks, pool.map(ask, networks.values()), strict=True))
    else:
        points = {at: ask(network) for at, network in networks.items()}
    held = fronts_measure.items(folder, path.stem, plan.items)
    say(f"{head['name']}: timing")
    anchor = found.largest["fp32"]
    rest = [at for at in points if at != anchor]
    times = fronts_measure.timed(points[anchor], [points[at] for at in rest], held, plan.rounds)
    ratio = {at: times.median(i) for i, at in enumerate([anchor, *rest])}
    low, turns = fronts_measure.bfloat16(folder, path.stem, plan.items, networks[anchor], plan.rounds)
    slower = turns.median(1)[0]
    bf16 = {"accuracy": float(low.hits.mean()), "times_fp32": 1 / slower, "bytes": float(low.size)}
    answers = answers_of(found, points, ratio)
    claimed = place.whole(path, ("held_hits",))[:, 0]
    total = int(head["held_out_labels"])
    predicted = place.whole(path, ("latency",))[list(points), 0]
    apart = [abs(float(points[at].hits[:total].mean()) - claimed[at] / total) for at in points]
    if len(held) < total:
        apart = [math.nan]
    return Family(
        head, found, points, ratio, float(np.median(times.ms[0])), len(held), answers, bf16,
        place.latency(path), float(np.max(apart)), networks,
        dict(zip(points, predicted.tolist(), strict=True)),
    )  # fmt: skip


def answers_of(
    found: Found, points: Mapping[int, Point], ratio: Mapping[int, tuple[float, float, float]]
) -> dict[tuple[str, str], list[Answer]]:
    """(Search, axis) -> the answer of each seed."""
    base = found.largest["int8"]
    rng = np.random.default_rng(0)
    judged = {at: compared(points[at], points[base], rng) for at in points}
    answers: dict[tuple[str, str], list[Answer]] = {}
    for (search, axis, _), candidates in found.candidates.items():
        values = {
            at: ratio[at][0] if axis == "faster" else float(points[at].size) for at in (*candidates, base)
        }
        answer = answered(candidates, values, judged, base)
        answers.setdefault((search, axis), []).append(answer)
    return answers


def chosen(path: Path, plan: Plan) -> Found:
    """Which points of a table are measured."""
    place = arena()
    largest = place.largest(path)
    uniform = place.uniform(path)["int8"]
    fronts: dict[tuple[str, str, int], list[int]] = {}
    candidates: dict[tuple[str, str, int], list[int]] = {}
    for axis, second in AXES.items():
        objectives = (plan.quality, second)
        whole = place.whole(path, objectives)
        orders = {("int8", axis, 0): uniform}
        for search in SEARCHES:
            for seed in range(1, plan.seeds + 1):
                orders[search, axis, seed] = place.run(
                    path, objectives, search, plan.evaluations, seed, plan.population, plan.inner
                )
        for key, order in orders.items():
            front = np.unique(order[nondominated(whole[order])])
            front = front[np.argsort(whole[front, 1])]
            good = front[whole[front, 0] <= whole[largest["int8"], 0]]
            candidates[key] = [int(at) for at in good[: plan.candidates]]
            shown = 0 if key[0] in place.planned else min(plan.shown, len(front))
            apart = np.unique(np.linspace(0, len(front) - 1, shown).round().astype(int))
            fronts[key] = [*candidates[key], *(int(at) for at in front[apart])]
    return Found(fronts, candidates, largest)


def compared(ours: Point, base: Point, rng: np.random.Generator) -> tuple[stats.Interval, stats.Interval]:
    """Accuracy and loss minus those of the base, with paired bootstrap intervals over items."""
    return (
        stats.paired_bootstrap(ours.hits.tolist(), base.hits.tolist(), rng, draws=DRAWS),
        stats.paired_bootstrap(ours.losses.tolist(), base.losses.tolist(), rng, draws=DRAWS),
    )


def answered(
    candidates: Sequence[int],
    values: Mapping[int, float],
    judged: Mapping[int, tuple[stats.Interval, stats.Interval]],
    base: int,
) -> Answer:
    """The candidate with the least value at no loss.

    Args:
        values: place -> latency or bytes.
        judged: place -> what ``compared`` says.
        base: the INT8 network to compare with.
    """

    def least(allowed: Any) -> int:
        kept = [at for at in candidates if allowed(judged[at][0]) and values[at] < values[base]]
        return min(kept, key=lambda at: values[at], default=base)

    best = least(lambda interval: interval.high is None or interval.high >= 0)
    strict = least(lambda interval: interval.low is not None and interval.low > -MARGIN)
    return Answer(best, values[base] / values[best], values[base] / values[strict], *judged[best])
