"""Training that inherited weights save: the same network trained on from supernets, and from nothing.

The measurements come from ``supernet-bench study mt-retraining-measure``; the study computes from them alone.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject
from benchmarks.records.study_files import StudyOutcome
from benchmarks.stats.intervals import t_interval
from benchmarks.stats.rounding import finite_within
from benchmarks.studies.interval_text import interval_text
from benchmarks.studies.mt_retraining.plan import NOTHING, REGISTERED, RetrainingPlan, missing, read_plan
from benchmarks.tasks.datasets import Say

SUMMARY = "how much training inherited weights save; from mt-retraining-measure"
READS = "retraining"
FOLDER = "mt-retraining"
"""Folder of the measurements under the results folder."""
CONTROL = "sandwich"
"""Start that mixtures are compared with: plain sharing under the rule of sampling that trains them."""
NOTES = (
    "BLEU of all test sets pooled, mean over seeds with 95 % t-intervals; each share is a training of its own"
    " with a whole schedule of rates. Seeds pair: one seed has the same batches from every start.",
    "Trained on from a supernet, the rate is the tier's for winners that go on (`continue_rate`).",
    "What the supernet itself cost is not in these figures: study break-even has it.",
)

Curves = Mapping[tuple[str, int], list[list[float]]]
"""(Start, number of a network) -> BLEU of each seed at each share."""


def run(folder: Path | None, say: Say = lambda line: None) -> StudyOutcome:
    """Run the study over the measurements in ``folder``.

    Raises:
        UsageError: there are none, or some are missing.
    """
    from benchmarks.report.plots.style import render
    from benchmarks.studies.mt_retraining import plot

    plan, points = read_points(folder or Path(FOLDER))
    curves = {key: [[p["bleu"] for p in seed] for seed in seeds] for key, seeds in points.items()}
    needed = {key: share_to_match(plan, curves, *key) for key in curves}
    rows = [
        [_network(plan, network), start, *_levels(bleu), _matches(plan, needed[start, network])]
        for (start, network), bleu in curves.items()
    ]
    facts: JsonObject = {
        "study": "mt-retraining",
        "plan": plan.to_dict(),
        "points": {f"{start}-{network}": seeds for (start, network), seeds in points.items()},
        "share_to_match": {f"{start}-{network}": share for (start, network), share in needed.items()},
    }
    return StudyOutcome(
        title="How much training do inherited weights save?",
        question="After which share of the updates of training from nothing is the same network as good, if"
        " it starts from the weights that it inherits from a supernet?",
        rule="a start matches training from nothing after a share of the updates where, at this share and at"
        " all larger ones, the 95 % interval of its BLEU minus that from nothing after all updates, paired"
        f" by seed, lies above -{plan.margin:g}; tested from the largest share down to the first that fails.",
        columns=("network", "start", *(f"BLEU after {_percent(s)}" for s in plan.shares), "matches after"),
        rows=rows,
        notes=[*NOTES, *_unfinished(plan), *against_control(plan, curves), *seconds(plan, points)],
        facts={name: finite_within(value) for name, value in facts.items()},
        pictures=render(lambda: plot.draw(plan, curves)),
    )


def share_to_match(plan: RetrainingPlan, curves: Curves, start: str, network: int) -> float | None:
    """Return the least share at which a start matches training from nothing; None if it never does."""
    from_nothing = [seed[-1] for seed in curves[NOTHING, network]]
    least = None
    for at in reversed(range(len(plan.shares))):
        if start == NOTHING and at == len(plan.shares) - 1:
            least = plan.shares[at]  # itself
            continue
        ours = [seed[at] for seed in curves[start, network]]
        interval = t_interval([a - b for a, b in zip(ours, from_nothing, strict=True)])
        if interval.low is None or interval.low <= -plan.margin:
            break
        least = plan.shares[at]
    return least


def against_control(plan: RetrainingPlan, curves: Curves) -> list[str]:
    """Return a sentence for each mixture, and for each network of it: BLEU minus plain sharing's."""
    lines = []
    for start in plan.starts if CONTROL in plan.starts else ():
        if start.startswith("mos-"):
            means = interval_text(mean_difference(plan, curves, start), "+.2f")
            lines.append(
                f"{start} minus {CONTROL}, mean over networks and shares, outside the rule: {means}."
            )
    for start, network in curves:
        if not start.startswith("mos-") or CONTROL not in plan.starts:
            continue
        pairs = list(zip(curves[start, network], curves[CONTROL, network], strict=True))
        cells = [
            f"{_percent(share)}: {interval_text([a[at] - b[at] for a, b in pairs], '+.2f')}"
            for at, share in enumerate(plan.shares)
        ]
        lines.append(f"{_network(plan, network)}, {start} minus {CONTROL}, {'; '.join(cells)}.")
    return lines


def mean_difference(plan: RetrainingPlan, curves: Curves, start: str) -> list[float]:
    """Return a start's BLEU minus plain sharing's for each seed, as a mean over networks and shares."""
    return [
        statistics.fmean(
            curves[start, network][seed][at] - curves[CONTROL, network][seed][at]
            for network in range(len(plan.architectures))
            for at in range(len(plan.shares))
        )
        for seed in range(plan.seeds)
    ]


def seconds(plan: RetrainingPlan, points: Mapping[tuple[str, int], list[list[JsonObject]]]) -> list[str]:
    """Return a sentence for each network: updates and mean seconds of a training on all of them."""
    lines = []
    for network in range(len(plan.architectures)):
        from_nothing = [seed[-1] for seed in points[NOTHING, network]]
        mean = sum(p["seconds"] for p in from_nothing) / len(from_nothing)
        updates = ", ".join(f"{n:,}" for n in sorted({p["updates"] for p in from_nothing}))
        lines.append(
            f"{_network(plan, network)}: all updates are {updates}, {mean:.0f} s from nothing, beside others."
        )
    return lines


def read_points(folder: Path) -> tuple[RetrainingPlan, dict[tuple[str, int], list[list[JsonObject]]]]:
    """Return the plan of a folder of measurements, and (start, network) -> seeds -> points.

    Raises:
        UsageError: no measurements, or a curve is missing.
    """
    command = f"supernet-bench study mt-retraining-measure --out {folder} --data-dir DIR"
    if not (folder / "plan.json").is_file():
        raise UsageError(f"{folder} has no measurements of the retraining study: {command}")
    plan = read_plan(folder / "plan.json")
    if absent := missing(plan, folder):
        names = ", ".join(curve.name for curve in absent[:4])
        raise UsageError(f"{folder}: {len(absent)} curves are missing ({names}): {command}")
    points: dict[tuple[str, int], list[list[JsonObject]]] = {}
    for network in range(len(plan.architectures)):
        for start in (NOTHING, *plan.starts):
            points[start, network] = []
    for curve in plan.curves():
        facts = json.loads((folder / f"{curve.name}.json").read_text(encoding="utf-8"))
        points[curve.start, curve.network].append(facts["points"])
    return plan, points


def _network(plan: RetrainingPlan, number: int) -> str:
    layers = plan.architectures[number]["decoder_layers"]
    return f"{layers} decoder layer{'' if layers == 1 else 's'}"


def _levels(bleu: list[list[float]]) -> list[str]:
    return [interval_text(at, ".1f", 0, 100) for at in zip(*bleu, strict=True)]


def _matches(plan: RetrainingPlan, share: float | None) -> str:
    if plan.seeds < 2:
        return "not judged"
    return "no share" if share is None else _percent(share)


def _unfinished(plan: RetrainingPlan) -> list[str]:
    """Return a sentence where the registered plan has more seeds than are measured."""
    registered = read_plan(REGISTERED)
    if not plan.grows_into(registered) or plan.seeds == registered.seeds:
        return []
    rest = " One seed has no interval, so that nothing is judged." if plan.seeds == 1 else ""
    return [
        f"Measured so far: {plan.seeds} of {registered.seeds} seeds.{rest} The others:"
        " `supernet-bench study mt-retraining-measure --data-dir DIR`."
    ]


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
