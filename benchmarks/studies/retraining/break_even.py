"""Break-even of a retraining study: networks from which a supernet costs less than training each alone.

Costs are token passes, the work that does not depend on a machine. A supernet's passes are shared by all
networks taken from it; each is then trained on until it has the quality that training alone reaches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.studies.break_even import DRAWS, LEVEL, SEED, BreakEven, targets
from benchmarks.studies.retraining.plan import NOTHING, PARENT, Curves, RetrainingPlan, share_label

AIMS = (0.5, 1.0)
"""Shares of the updates after which training alone has the quality asked for, if a plan has them."""


def aims_of(plan: RetrainingPlan) -> list[float]:
    """Return the shares of training alone whose quality is asked for."""
    return [share for share in AIMS if share in plan.shares]


def shared_passes(plan: RetrainingPlan, start: str) -> float:
    """Return the token passes of a supernet, and of the parent that it starts from."""
    if start == PARENT:
        return plan.parent
    from benchmarks.studies.supernets import KINDS

    _, sampling = KINDS[start]
    return plan.parent + sampling.passes * plan.tokens


def break_even(plan: RetrainingPlan, curves: Curves, start: str, network: int, aim: float) -> BreakEven:
    """Return the number of networks from which a start costs less than training alone, at equal quality.

    The quality is that of training alone after ``aim`` of the updates, by means over seeds. A start has it
    from where its curve, straight between two shares, first reaches it. The interval is a bootstrap over
    seeds, which pair both curves, so that it has the luck of supernets too.
    """
    scores = np.array([curves[start, network], curves[NOTHING, network]])
    shared, at = shared_passes(plan, start), plan.shares.index(aim)

    def number(means: np.ndarray) -> float:
        share = share_to_reach(plan.shares, means[0].tolist(), float(means[1, at]))
        return targets(aim * plan.tokens, shared, share * plan.tokens)

    low = high = None
    if plan.seeds > 1:
        rng = np.random.default_rng(SEED)
        drawn = [number(scores[:, rng.integers(plan.seeds, size=plan.seeds)].mean(1)) for _ in range(DRAWS)]
        ends = (1 - LEVEL) / 2, (1 + LEVEL) / 2
        # Between infinite numbers no quantile can be interpolated.
        low, high = (float(x) for x in np.quantile(drawn, ends, method="nearest"))
    return BreakEven(number(scores.mean(1)), low, high, "exact")


def share_to_reach(shares: Sequence[float], quality: Sequence[float], aim: float) -> float:
    """Return the least share of the updates at which a curve reaches a quality; infinite if it never does."""
    curve = list(zip(shares, quality, strict=True))
    if curve[0][1] >= aim:
        return curve[0][0]
    for (less, low), (more, high) in zip(curve, curve[1:], strict=False):
        if low < aim <= high:
            return less + (aim - low) / (high - low) * (more - less)
    return math.inf


def heading(aim: float) -> str:
    """Return the heading of the numbers for one aim."""
    return f"breaks even with training alone, at its quality after {share_label(aim)}, at"
