"""Amortization in a retraining study: networks from which a supernet costs no more than training each alone.

A supernet's cost is shared by all networks taken from it; each is then trained on until it has the quality
that training alone reaches. Costs are counted in two units, of which neither depends on a machine: token
passes, as budgets are, where a pass of the largest network is one like any other's; and multiplications.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from benchmarks.studies.break_even import DRAWS, LEVEL, SEED, BreakEven, targets
from benchmarks.studies.retraining.plan import NOTHING, PARENT, Curves, RetrainingPlan, share_label

if TYPE_CHECKING:
    from benchmarks.tasks.tiers import Tier
    from supernet.model_family import ModelFamily
    from supernet.space import Architecture

AIMS = (0.5, 1.0)
"""Shares of the updates after which training alone has the quality asked for, if a plan has them."""
UPDATES = 200
"""Updates that are drawn for the mean multiplications of one."""
BreakEvens = Mapping[tuple[str, int], Mapping[str, Mapping[str, BreakEven]]]
"""(Start, number of a network) -> label of an aim -> unit of costs -> break-even."""


@dataclass(frozen=True)
class Costs:
    """Costs of a start in one unit.

    Attributes:
        shared: its supernet's, and those of the parent that it begins from.
        alone: of training each of the plan's networks on all updates.
    """

    shared: float
    alone: tuple[float, ...]


def aims_of(plan: RetrainingPlan) -> list[float]:
    """Return the shares of training alone whose quality is asked for."""
    return [share for share in AIMS if share in plan.shares]


def costs_of(plan: RetrainingPlan) -> dict[str, dict[str, Costs]]:
    """Return start -> unit -> costs: token passes, and their MACs without the output layer."""
    from benchmarks.measurement.workload import Workload
    from benchmarks.studies.supernets import KINDS, kind_of
    from benchmarks.tasks import Prepared, get_task
    from supernet.cost import cost

    task = get_task(plan.task)
    tier = task.tier(plan.tier, "cpu")
    # Vocabularies size the output layer alone, which is left out.
    data = Prepared(Path(), None, {}, source_vocab=8, target_vocab=8)
    setting = kind_of(task)(task, cast("Tier", tier), data, "cpu", plan.space)
    workload = Workload.of(tier.workload)
    tokens = workload.steps or workload.source_len

    def macs(family: ModelFamily, architecture: Architecture) -> float:
        """Return the MACs of one token of the target, or of an encoder's text."""
        counted = cost(
            family, architecture, source_len=workload.source_len, target_len=workload.target_len
        ).macs_body
        return counted / tokens

    family = setting.family()
    alone = [macs(family, family.space.architecture(values)) for values in plan.architectures]
    before = 0.0
    if plan.parent:
        plain = setting.parent_family()
        before = macs(plain, plain.space.largest())
    costs = {}
    for start in plan.starts:
        passes, update = 0, 0.0
        if start != PARENT:
            sampling, rng = KINDS[start][1], np.random.default_rng(SEED)
            drawn = [sampling.draw(family.space, rng) for _ in range(UPDATES)]
            passes = sampling.passes
            update = float(np.mean([sum(macs(family, each) for each in trained) for trained in drawn]))
        shared = plan.parent + passes * plan.tokens, plan.parent * before + update * plan.tokens
        costs[start] = {
            "token passes": Costs(shared[0], (plan.tokens,) * len(alone)),
            "MACs": Costs(shared[1], tuple(plan.tokens * each for each in alone)),
        }
    return costs


def break_evens(plan: RetrainingPlan, curves: Curves) -> BreakEvens:
    """Return (start, network) -> label of an aim -> unit -> break-even, of all starts but from nothing."""
    costs = costs_of(plan)
    return {
        (start, network): {
            share_label(aim): {
                unit: break_even(plan, curves, start, network, aim, each)
                for unit, each in costs[start].items()
            }
            for aim in aims_of(plan)
        }
        for start, network in curves
        if start != NOTHING
    }


def break_even(
    plan: RetrainingPlan, curves: Curves, start: str, network: int, aim: float, costs: Costs
) -> BreakEven:
    """Return the number of networks from which a start costs no more than training alone, at equal quality.

    The quality is that of training alone after ``aim`` of the updates, by means over seeds. A start has it
    from the share on from which its curve, straight between two shares, stays at or above it. The interval is
    a percentile bootstrap over seeds, which pair both curves, so that it has the luck of supernets too.
    """
    scores = np.array([curves[start, network], curves[NOTHING, network]])
    at, alone = plan.shares.index(aim), costs.alone[network]

    def number(means: np.ndarray) -> float:
        share = share_to_keep(plan.shares, means[0].tolist(), float(means[1, at]))
        return targets(aim * alone, costs.shared, share * alone)

    low = high = None
    if plan.seeds > 1:
        rng = np.random.default_rng(SEED)
        drawn = [number(scores[:, rng.integers(plan.seeds, size=plan.seeds)].mean(1)) for _ in range(DRAWS)]
        ends = (1 - LEVEL) / 2, (1 + LEVEL) / 2
        # Between infinite numbers no quantile can be interpolated.
        low, high = (float(x) for x in np.quantile(drawn, ends, method="nearest"))
    return BreakEven(number(scores.mean(1)), low, high, "exact")


def share_to_keep(shares: Sequence[float], quality: Sequence[float], aim: float) -> float:
    """Return the share of the updates from which a curve keeps a quality; infinite if it ends below it."""
    below = [i for i, value in enumerate(quality) if value < aim]
    if not below:
        return shares[0]
    if below[-1] == len(quality) - 1:
        return math.inf
    last = below[-1]
    part = (aim - quality[last]) / (quality[last + 1] - quality[last])
    return shares[last] + part * (shares[last + 1] - shares[last])


def heading(aim: float) -> str:
    """Return the heading of the numbers for one aim."""
    return f"networks to break even with training alone, at its quality after {share_label(aim)}"


def text(numbers: Mapping[str, BreakEven]) -> str:
    """Return the numbers in all units."""
    return "; ".join(f"{number} in {unit}" for unit, number in numbers.items())
