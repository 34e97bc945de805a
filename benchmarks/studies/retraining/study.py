"""Training that inherited weights save: the same network trained on from supernets, and from nothing.

The measurements come from ``supernet-bench study NAME-measure``; the studies compute from them alone.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject
from benchmarks.records.study_files import StudyOutcome
from benchmarks.stats.intervals import t_interval
from benchmarks.stats.rounding import finite_within
from benchmarks.studies.interval_text import interval_text
from benchmarks.studies.retraining import amortization
from benchmarks.studies.retraining.plan import (
    NOTHING,
    PARENT,
    REGISTERED,
    UNITS,
    Curves,
    RetrainingPlan,
    missing,
    network_label,
    read_plan,
    share_label,
)
from benchmarks.tasks.datasets import Say

CONTROL = "sandwich"
"""Start that mixtures are compared with: plain sharing under the rule of sampling that trains them."""

REFERENCES = {NOTHING: "training from nothing", PARENT: "training on of the network cut from the parent"}
"""Reference of a plan -> its words."""
SCORES = {"bleu": "BLEU of all test sets pooled", "accuracy": "Masked words of the test text predicted right"}
"""Metric of a plan -> its words."""
Points = Mapping[tuple[str, int], list[list[JsonObject]]]
"""(Start, number of a network) -> points of each seed at each share, as a file has them."""


def run_study(study: str, folder: Path | None, say: Say = lambda line: None) -> StudyOutcome:
    """Run a study over the measurements in ``folder``, by default the one of its name.

    Raises:
        UsageError: there are none, or some are missing.
    """
    from benchmarks.report.plots.style import render
    from benchmarks.studies.retraining import plot

    plan, points = read_points(study, folder or Path(study))
    curves = curves_of(plan, points)
    needed = {
        reference: {key: share_to_match(plan, curves, *key, reference) for key in curves}
        for reference in plan.references
    }
    paying = amortization.break_evens(plan, curves)
    aims = amortization.aims_of(plan)
    rows = [
        [
            network_label(plan, network),
            start,
            *_levels(scores),
            *(_matches(plan, needed[reference][start, network]) for reference in plan.references),
            *(
                amortization.text(paying[start, network][share_label(aim)]) if start != NOTHING else "–"
                for aim in aims
            ),
        ]
        for (start, network), scores in curves.items()
    ]
    facts: JsonObject = {
        "study": study,
        "plan": plan.to_dict(),
        "points": {f"{start}-{network}": seeds for (start, network), seeds in points.items()},
    }
    for reference, shares in needed.items():
        name = "share_to_match" if reference == NOTHING else f"share_to_match_{reference}"
        facts[name] = {f"{start}-{network}": share for (start, network), share in shares.items()}
    facts["break_even"] = {
        f"{start}-{network}": {
            share: {unit: asdict(number) for unit, number in units.items()} for share, units in each.items()
        }
        for (start, network), each in paying.items()
    }
    unit = UNITS[plan.metric]
    references = " or ".join(REFERENCES[reference] for reference in plan.references)
    return StudyOutcome(
        title="How much training do inherited weights save?",
        question=f"After which share of the updates of {references} is the same network as good, if it starts"
        " from the weights that it inherits from a supernet?",
        rule=f"a start matches a reference ({references}) after a share of the updates where, at this share"
        f" and at all larger ones, the 95 % interval of its {unit} minus the reference's after all updates,"
        f" paired by seed, lies above -{plan.margin:g}; tested from the largest share down to the first that"
        " fails.",
        columns=(
            "network",
            "start",
            *(f"{unit} after {share_label(share)}" for share in plan.shares),
            *(f"matches training from {reference} after" for reference in plan.references),
            *map(amortization.heading, aims),
        ),
        rows=rows,
        notes=[
            *_explanations(plan),
            *_unfinished(study, plan),
            *against_control(plan, curves),
            *seconds(plan, points),
        ],
        facts={name: finite_within(value) for name, value in facts.items()},
        pictures=render(lambda: plot.draw(plan, curves)),
    )


def curves_of(plan: RetrainingPlan, points: Points) -> dict[tuple[str, int], list[list[float]]]:
    """Return the scores that the plan judges."""
    return {key: [[p[plan.metric] for p in seed] for seed in seeds] for key, seeds in points.items()}


def share_to_match(
    plan: RetrainingPlan, curves: Curves, start: str, network: int, reference: str = NOTHING
) -> float | None:
    """Return the least share at which a start matches a reference; None if it never does."""
    aim = [seed[-1] for seed in curves[reference, network]]
    least = None
    for at in reversed(range(len(plan.shares))):
        if start == reference and at == len(plan.shares) - 1:
            least = plan.shares[at]  # itself
            continue
        ours = [seed[at] for seed in curves[start, network]]
        interval = t_interval([a - b for a, b in zip(ours, aim, strict=True)])
        if interval.low is None or interval.low <= -plan.margin:
            break
        least = plan.shares[at]
    return least


def against_control(plan: RetrainingPlan, curves: Curves) -> list[str]:
    """Return a sentence for each mixture, and for each network of it: its score minus plain sharing's."""
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
            f"{share_label(share)}: {interval_text([a[at] - b[at] for a, b in pairs], '+.2f')}"
            for at, share in enumerate(plan.shares)
        ]
        lines.append(f"{network_label(plan, network)}, {start} minus {CONTROL}, {'; '.join(cells)}.")
    return lines


def mean_difference(plan: RetrainingPlan, curves: Curves, start: str) -> list[float]:
    """Return a start's score minus plain sharing's for each seed, as a mean over networks and shares."""
    return [
        statistics.fmean(
            curves[start, network][seed][at] - curves[CONTROL, network][seed][at]
            for network in range(len(plan.architectures))
            for at in range(len(plan.shares))
        )
        for seed in range(plan.seeds)
    ]


def seconds(plan: RetrainingPlan, points: Points) -> list[str]:
    """Return a sentence for each network: updates and mean seconds of a training on all of them."""
    lines = []
    for network in range(len(plan.architectures)):
        from_nothing = [seed[-1] for seed in points[NOTHING, network]]
        mean = sum(p["seconds"] for p in from_nothing) / len(from_nothing)
        updates = ", ".join(f"{n:,}" for n in sorted({p["updates"] for p in from_nothing}))
        lines.append(
            f"{network_label(plan, network)}: all updates are {updates}, {mean:.0f} s from nothing, beside"
            " others."
        )
    return lines


def read_points(study: str, folder: Path) -> tuple[RetrainingPlan, Points]:
    """Return the plan of a folder of measurements, and (start, network) -> seeds -> points.

    Raises:
        UsageError: no measurements, or a curve is missing.
    """
    command = f"supernet-bench study {study}-measure --out {folder} --data-dir DIR"
    if not (folder / "plan.json").is_file():
        raise UsageError(f"{folder} has no measurements of study {study}: {command}")
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


def _levels(scores: list[list[float]]) -> list[str]:
    return [interval_text(at, ".1f", 0, 100) for at in zip(*scores, strict=True)]


def _matches(plan: RetrainingPlan, share: float | None) -> str:
    if plan.seeds < 2:
        return "not judged"
    return "no share" if share is None else share_label(share)


def _explanations(plan: RetrainingPlan) -> list[str]:
    """Return sentences on the scores, the rates, the parent and the cost of the starts."""
    lines = [
        f"{SCORES[plan.metric]}, mean over seeds with 95 % t-intervals; each share is a training of its own"
        " with a whole schedule of rates. Seeds pair: one seed has the same batches from every start.",
        "Trained on from weights that are given, the rate is the tier's for winners that go on"
        " (`continue_rate`).",
    ]
    if plan.parent:
        lines.append(
            f"All starts but {NOTHING} begin from a plain network, one a seed, trained on"
            f" {plan.parent / 1e6:g} M token passes beforehand; {PARENT} is that network cut to size, which"
            " no supernet has trained."
        )
    lines.append(
        "Break-even: for N networks the costs of a supernet, and of the parent that it begins from, shared,"
        f" and a network's own are together no more than those of training it from {NOTHING} to this quality,"
        " by means over seeds: from the share of the updates on from which a start keeps it, curves straight"
        " between two shares. In token passes one of the largest network counts as one of any; MACs are those"
        " of forward passes without the output layer, and without the mixing of experts. Intervals:"
        " percentile bootstrap over seeds, 95 %, which is too narrow for so few. Outside the rule, and first"
        " computed when the curves of translation had been seen; supernets had equal updates, not the fewest"
        " that would do; a search's own cost is not in it."
    )
    return lines


def _unfinished(study: str, plan: RetrainingPlan) -> list[str]:
    """Return a sentence where the registered plan has more seeds than are measured."""
    registered = read_plan(REGISTERED[study])
    if not plan.grows_into(registered) or plan.seeds == registered.seeds:
        return []
    rest = " One seed has no interval, so that nothing is judged." if plan.seeds == 1 else ""
    return [
        f"Measured so far: {plan.seeds} of {registered.seeds} seeds.{rest} The others:"
        f" `supernet-bench study {study}-measure --data-dir DIR`."
    ]
