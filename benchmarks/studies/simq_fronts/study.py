"""Speed and size of jointly searched networks against uniform INT8, measured with real kernels.

On tables (``simq_search``) searches find fronts of loss and predicted latency, and of loss and bytes. Points
of these fronts, and uniform precisions to compare them with, are exported with the table's trained supernet,
written as ONNX files, and run in ONNX Runtime: latency in turns with the largest network in fp32, bytes of
the file, loss and accuracy on items that no search saw. A search's predictions decide which points are
measured and nothing else. ``fronts_judge`` judges what was measured, from the study's file alone.
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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.api import UsageError
from benchmarks.records.studies import Outcome
from benchmarks.registry import arena
from benchmarks.studies.simq_search.study import nondominated
from benchmarks.tasks.datasets import Say

SUMMARY = "joint fronts of tables against uniform INT8, measured in ONNX Runtime on held-out data"
READS = "weights"
AXES = {"faster": "latency", "smaller": "bytes"}
"""What is asked -> the second objective of the search that answers it."""
SEARCHES = ("linas", "arch-then-quant")
MARGIN = 0.005
"""Accuracy, half a point, that a network at no loss may surely not lose. Fixed before any candidate was
judged by it; the rule before it asked for no significant difference, which few items never show."""
LEVEL = 0.95
"""One-sided confidence of each verdict, over all candidates of a table and axis together."""
PAPER = {"faster": 4.80, "smaller": 3.44}
RULE = (
    "a network is at no loss where its accuracy minus that of the largest network in uniform INT8 lies above"
    f" -{100 * MARGIN:g} points, one-sided {LEVEL:.0%}, over all held-out items that were evaluated; it is"
    " worse where that lies below, and undecided where the items cannot tell. Candidates are all measured"
    " networks that are faster (smaller) than that one and whose {quality} on the search's own data is not"
    " above its. That choice is made on other items, but the best of them is chosen on the items that judge"
    " it, so verdicts hold after Holm over the candidates of a table and axis. The answer is the fastest"
    " (smallest) candidate at no loss. The true ratio lies between that one's (1 where none is) and the"
    " ceiling: INT8 of the largest network over the cheapest network of the whole space."
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
    """Points of a front that are measured, at equal distances, besides those that are no worse than INT8 on
    the search's own data, which all are; of a sequential search there are those alone."""
    rounds: int = 64
    jobs: int = 0


@dataclass(frozen=True)
class Chosen:
    """The networks to be measured on one table; places are rows of the table.

    Attributes:
        fronts: (search, axis, seed) -> places on its front; the search ``int8`` is over all networks in
            uniform INT8.
        largest: precision -> place.
    """

    fronts: Mapping[tuple[str, str, int], Sequence[int]]
    largest: Mapping[str, int]

    @property
    def places(self) -> list[int]:
        """All of them, each once."""
        some = [*self.fronts.values(), list(self.largest.values())]
        return sorted({place for places in some for place in places})


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
    from benchmarks.hardware import profiles
    from benchmarks.studies.simq_fronts import report
    from supernet.quantization.onnx_runtime import version

    for path in paths:
        if not arena().latency(path):
            raise UsageError(
                f"table {path.stem} has no latencies: python -m tests.bench.latencies --weights '{folder}'"
            )
    profile = profiles.matching() or "undeclared"
    about = {
        "signature": f"lat:p50|clk:cpu|n:{plan.rounds}|b:1|thr:1|rt:{version()}|prof:{profile}",
        "quality": plan.quality, "profile": profile, "seeds": plan.seeds, "evaluations": plan.evaluations,
        "inner": plan.inner, "shown": plan.shown, "rounds": plan.rounds,
    }  # fmt: skip
    return report.outcome(about, [family(path, folder, plan, say) for path in paths])


def family(path: Path, folder: Path, plan: Plan, say: Say) -> dict[str, Any]:
    """Search one table and measure what was found: the facts of the study's file."""
    from benchmarks.studies.simq_fronts import measure

    place = arena()
    head = place.head(path)
    measure.check(folder, head)
    chosen = choose(path, plan)
    say(f"{head['name']}: {len(chosen.places)} networks to measure")
    networks = dict(zip(chosen.places, place.networks(path, chosen.places), strict=True))
    ask = partial(measure.measured, folder, path.stem, plan.items)
    jobs = plan.jobs or len(os.sched_getaffinity(0))
    if jobs > 1:
        # Not by fork: kernels' threads do not survive it.
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            points = dict(zip(networks, pool.map(ask, networks.values()), strict=True))
    else:
        points = {at: ask(network) for at, network in networks.items()}
    held = measure.items(folder, path.stem, plan.items)
    say(f"{head['name']}: timing")
    anchor, base = chosen.largest["fp32"], points[chosen.largest["int8"]]
    rest = [at for at in points if at != anchor]
    times = measure.timed(points[anchor], [points[at] for at in rest], held, plan.rounds)
    ratio = {at: times.median(i) for i, at in enumerate([anchor, *rest])}
    low, turns = measure.bfloat16(folder, path.stem, plan.items, networks[anchor], plan.rounds)
    total = int(head["held_out_labels"])
    claimed = place.whole(path, ("held_hits",))[:, 0]
    apart = [abs(float(points[at].hits[:total].mean()) - claimed[at] / total) for at in points]
    kept = ("name", "task", "commit", "recipe", "points", "weights_sha256", "held_out")
    return described(path, {
        "table": {key: head[key] for key in kept if key in head},
        "items": len(held),
        "anchor_ms": short(float(np.median(times.ms[0]))),
        "latency": dict(place.latency(path)),
        "largest_error_of_accuracy": None if len(held) < total else short(float(np.max(apart))),
        "bf16_in_torch": {
            "accuracy": short(float(low.hits.mean())), "times_fp32": short(1 / turns.median(1)[0]),
            "bytes": float(low.size),
        },
        "largest": dict(chosen.largest),
        "fronts": [
            {"search": search, "axis": axis, "seed": seed, "places": list(places)}
            for (search, axis, seed), places in chosen.fronts.items()
        ],
        "points": [
            {
                "place": at, "architecture": networks[at][0], "policy": networks[at][1],
                "ratio": [short(x) for x in ratio[at]], "bytes": point.size,
                "accuracy": short(float(point.hits.mean())), "loss": short(float(point.losses.mean())),
                "accuracy_above_int8": against(point.hits, base.hits),
                "loss_above_int8": against(point.losses, base.losses), "apart": short(point.apart),
            }
            for at, point in points.items()
        ],
    }, plan.quality)  # fmt: skip


def described(path: Path, facts: dict[str, Any], quality: str) -> dict[str, Any]:
    """Return the facts of one table with those that follow from the table alone: each point's quality on the
    search's own data and predicted latency, and the ceilings of the space."""
    place = arena()
    whole = place.whole(path, (quality, "latency", "bytes"))
    base = whole[facts["largest"]["int8"]]
    alone = [place.within(path, ("fp32", "int8")), np.arange(len(whole))]
    ceilings = {
        axis: [short(base[column] / whole[some, column].min()) for some in alone]
        for axis, column in (("faster", 1), ("smaller", 2))
    }
    points = [
        point | {"searched": short(whole[point["place"], 0]), "predicted": short(whole[point["place"], 1])}
        for point in facts["points"]
    ]
    known = {"searched_int8": short(base[0]), "ceilings": ceilings, "words": place.words(path)}
    return facts | {"points": points} | known


def choose(path: Path, plan: Plan) -> Chosen:
    """Return the points of a table that are measured."""
    place = arena()
    largest = place.largest(path)
    uniform = place.uniform(path)["int8"]
    fronts: dict[tuple[str, str, int], list[int]] = {}
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
            shown = 0 if key[0] in place.planned else min(plan.shown, len(front))
            apart = np.unique(np.linspace(0, len(front) - 1, shown).round().astype(int))
            fronts[key] = [*(int(at) for at in good), *(int(at) for at in front[apart])]
    return Chosen(fronts, largest)


def against(ours: NDArray[np.float64], base: NDArray[np.float64]) -> list[float]:
    """Return the mean of the paired difference over items and its standard error."""
    apart = ours - base
    return [short(float(apart.mean())), short(float(apart.std(ddof=1)) / math.sqrt(len(apart)))]


def short(value: float) -> float:
    """Return six significant digits."""
    return float(f"{value:.6g}")
