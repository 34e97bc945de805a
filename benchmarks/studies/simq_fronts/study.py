"""Speed and size of jointly searched networks against uniform INT8, measured with real kernels.

Searches on tables (``simq_search``) yield fronts of loss and predicted latency, and of loss and bytes. Points
of these fronts, and uniform precisions to compare them with, are exported from the table's supernet, written
as ONNX files, and run in ONNX Runtime: latency interleaved with the largest network in fp32, bytes of the
file, loss and accuracy on items that no search saw. A search's predictions only select the points to
measure. ``judge`` derives all verdicts from the study's file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.api import UsageError
from benchmarks.records.study_files import StudyOutcome
from benchmarks.stats.rounding import six_digits
from benchmarks.studies.simq_fronts import measure
from benchmarks.studies.simq_fronts.facts import (
    AXES,
    TableFacts,
    add_table_facts,
    paired_difference,
)
from benchmarks.studies.simq_fronts.rejudge import rejudge as rejudge
from benchmarks.studies.simq_fronts.report import About, outcome
from benchmarks.tasks.datasets import Say
from simq.pareto import front
from simq.searchers.search import SEQUENTIAL
from simq.tabular.latency import load_table
from simq.tabular.search import search_table
from simq.tabular.table import Table, shipped_tables

SUMMARY = "joint fronts of tables against uniform INT8, measured in ONNX Runtime on held-out data"
READS = "weights"
SEARCHES = ("linas", "arch-then-quant")


@dataclass(frozen=True)
class FrontsPlan:
    """Amounts of work; tests use less than the defaults.

    Attributes:
        quality: objective besides latency or bytes: ``loss`` or ``error``.
        inner: predictions between two batches of a search.
        items: held-out items of each network, at most; those of the table first.
        shown: points of a front that are measured, at equal distances. All points that are no worse than INT8
            on the search's own data are measured besides; of a sequential search those alone.
        rounds: timed inferences of each network.
        jobs: processes; 0: as many as there are cores.
    """

    quality: str = "loss"
    seeds: int = 10
    evaluations: int = 400
    population: int = 50
    inner: int = 2_000
    items: int = 5000
    shown: int = 6
    rounds: int = 64
    jobs: int = 0


@dataclass(frozen=True)
class Selection:
    """Networks to be measured on one table, as rows of the table.

    Attributes:
        fronts: (search, axis, seed) -> rows on its front; the search ``int8`` is over all networks in
            uniform INT8.
        largest: precision -> row of the largest network.
    """

    fronts: Mapping[tuple[str, str, int], Sequence[int]]
    largest: Mapping[str, int]

    @property
    def places(self) -> list[int]:
        """All selected rows, each once, ascending."""
        groups = [*self.fronts.values(), list(self.largest.values())]
        return sorted({place for places in groups for place in places})


def run(folder: Path, say: Say = lambda line: None, plan: FrontsPlan | None = None) -> StudyOutcome:
    """Run the study over the shipped tables whose supernets are in ``folder``.

    Raises:
        UsageError: no supernet is there, or a table has no latencies.
    """
    paths = [path for path in shipped_tables().values() if (folder / f"{path.stem}.safetensors").is_file()]
    if not paths:
        raise UsageError(
            f"no supernet of a table in '{folder}': --weights names the folder of NAME.safetensors, which"
            " supernet-bench study simq-tables build writes beside NAME.npz"
        )
    return study(paths, folder, plan or FrontsPlan(), say)


def study(
    paths: Sequence[Path], folder: Path, plan: FrontsPlan, say: Say = lambda line: None
) -> StudyOutcome:
    """Run the study over some tables."""
    from benchmarks.hardware import profiles
    from supernet.quantization.onnx_runtime import version

    for path in paths:
        if not load_table(path).latency_model:
            raise UsageError(
                f"table {path.stem} has no latencies: supernet-bench study simq-tables latencies --weights"
                f" '{folder}'"
            )
    profile = profiles.matching() or "undeclared"
    about: About = {
        "signature": f"lat:p50|clk:cpu|n:{plan.rounds}|b:1|thr:1|rt:{version()}|prof:{profile}",
        "quality": plan.quality, "profile": profile, "seeds": plan.seeds, "evaluations": plan.evaluations,
        "inner": plan.inner, "shown": plan.shown, "rounds": plan.rounds,
    }  # fmt: skip
    return outcome(about, [measure_table(path, folder, plan, say) for path in paths])


def measure_table(path: Path, folder: Path, plan: FrontsPlan, say: Say) -> TableFacts:
    """Search one table, measure the selected networks and return the facts of the study's file."""
    table = load_table(path)
    head = table.head
    measure.check_supernet(folder, head)
    selection = select_networks(table, plan)
    say(f"{table.name}: {len(selection.places)} networks to measure")
    networks = {place: decode(table, place) for place in selection.places}
    measure_point = partial(measure.measure_point, folder, path.stem, plan.items)
    jobs = plan.jobs or len(os.sched_getaffinity(0))
    if jobs > 1:
        # Not by fork: kernels' threads do not survive it.
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            points = dict(zip(networks, pool.map(measure_point, networks.values()), strict=True))
    else:
        points = {place: measure_point(network) for place, network in networks.items()}
    held_out = measure.load_items(folder, path.stem, plan.items)
    say(f"{table.name}: timing")
    anchor, base = selection.largest["fp32"], points[selection.largest["int8"]]
    others = [place for place in points if place != anchor]
    times = measure.time_points(points[anchor], [points[place] for place in others], held_out, plan.rounds)
    ratios = {place: times.median(i) for i, place in enumerate([anchor, *others])}
    bf16, bf16_times = measure.measure_bfloat16(folder, path.stem, plan.items, networks[anchor], plan.rounds)
    total = int(head["held_out_labels"])
    table_hits = table.values(("held_hits",))[:, 0]
    errors = [abs(float(points[place].hits[:total].mean()) - table_hits[place] / total) for place in points]
    kept = ("name", "task", "commit", "recipe", "points", "weights_sha256", "held_out")
    facts: TableFacts = {
        "table": {key: head[key] for key in kept if key in head},
        "items": len(held_out),
        "anchor_ms": six_digits(float(np.median(times.ms[0]))),
        "latency": dict(table.latency_model),
        "largest_error_of_accuracy": (
            None if len(held_out) < total else six_digits(float(np.max(errors)))
        ),
        "bf16_in_torch": {
            "accuracy": six_digits(float(bf16.hits.mean())),
            "times_fp32": six_digits(1 / bf16_times.median(1)[0]),
            "bytes": float(bf16.size),
        },
        "largest": dict(selection.largest),
        "fronts": [
            {"search": search, "axis": axis, "seed": seed, "places": list(places)}
            for (search, axis, seed), places in selection.fronts.items()
        ],
        "points": [
            {
                "place": place, "architecture": networks[place][0], "policy": networks[place][1],
                "ratio": [six_digits(x) for x in ratios[place]], "bytes": point.size,
                "accuracy": six_digits(float(point.hits.mean())),
                "loss": six_digits(float(point.losses.mean())),
                "accuracy_above_int8": paired_difference(point.hits, base.hits),
                "loss_above_int8": paired_difference(point.losses, base.losses),
                "apart": six_digits(point.apart),
            }
            for place, point in points.items()
        ],
    }  # fmt: skip
    return add_table_facts(path, facts, plan.quality)


def decode(table: Table, place: int) -> measure.Network:
    """Return architecture and policy of a row of a table."""
    architecture, policy = table.space.decode(table.points[place].tolist())
    return architecture.to_dict(), policy


def select_networks(table: Table, plan: FrontsPlan) -> Selection:
    """Search a table on both axes and select the points of the fronts that are measured."""
    largest = table.largest
    fronts: dict[tuple[str, str, int], list[int]] = {}
    for axis, second in AXES.items():
        objectives = (plan.quality, second)
        values = table.values(objectives)
        orders = {("int8", axis, 0): table.uniform["int8"]}
        for search in SEARCHES:
            for seed in range(1, plan.seeds + 1):
                orders[search, axis, seed] = search_table(
                    table, objectives, search, plan.evaluations, seed, plan.population, plan.inner
                )
        for key, order in orders.items():
            places = np.unique(order[front(values[order])])
            places = places[np.argsort(values[places, 1])]
            no_worse = places[values[places, 0] <= values[largest["int8"], 0]]
            shown = 0 if key[0] in SEQUENTIAL else min(plan.shown, len(places))
            spread = np.unique(np.linspace(0, len(places) - 1, shown).round().astype(int))
            fronts[key] = [*(int(place) for place in no_worse), *(int(place) for place in places[spread])]
    return Selection(fronts, largest)
