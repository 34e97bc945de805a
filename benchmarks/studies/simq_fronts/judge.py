"""Verdicts on measured fronts: which networks lose no accuracy, and the bounds of what they save.

Everything follows from the facts of a table in the study's file (``simq_fronts.family``), so that a published
file can be judged again without its machine. Standard errors are those of paired differences over items where
the file has them. Where it has not, they are bounded by the two accuracies alone: two networks differ on at
most ``min(p + q, 2 - p - q)`` of all items.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.stats import intervals
from benchmarks.studies.simq_fronts.study import LEVEL, MARGIN

Facts = Mapping[str, Any]
AT_NO_LOSS, WORSE, UNDECIDED = "at no loss", "worse", "undecided"
WITHDRAWN = {
    ("simq-resnet", "faster"): "its INT8 has convolutions with ranges of each input, the wrong baseline for"
    " speed; not tested until static INT8",
    ("simq-text", "smaller"): "its INT8 keeps the table of words in fp32, the wrong baseline for size; not"
    " tested until exports have int8 words",
}
"""Table and axis -> the reason why no ratio to INT8 is published."""


@dataclass(frozen=True)
class Judged:
    """A candidate of one table and axis.

    Attributes:
        times: faster (smaller) than the largest network in INT8; for latency the lower end of its interval is
            ``least``, for bytes the same figure.
        difference, error: accuracy minus that network's, and the standard error of that.
        bounded: the error is a bound and no estimate.
        verdict: one of ``AT_NO_LOSS``, ``WORSE``, ``UNDECIDED``, after Holm.
    """

    place: int
    times: float
    least: float
    difference: float
    error: float
    bounded: bool
    verdict: str

    @property
    def resolved(self) -> float:
        """Half width of the one-sided interval without correction, in accuracy."""
        return quantile() * self.error


@dataclass(frozen=True)
class Answer:
    """What is known of one table and axis.

    Attributes:
        candidates: the cheapest first.
        low, high: bounds of the largest ratio of a network at no loss.
        estimate: the largest ratio of a candidate whose estimated difference is above the margin; it is
            chosen on the items that judge it, and so optimistic.
    """

    candidates: Sequence[Judged]
    low: float
    high: float
    estimate: float


def quantile() -> float:
    """Return the normal quantile of ``LEVEL``."""
    from scipy.stats import norm

    return float(norm.ppf(LEVEL))


def points(facts: Facts) -> dict[int, Facts]:
    """Return the measured points of a table by place."""
    return {point["place"]: point for point in facts["points"]}


def ratio(facts: Facts, place: int, axis: str) -> tuple[float, float]:
    """Return how many times faster (smaller) than the largest network in INT8 a point is, and the least that
    the timings allow."""
    found = points(facts)
    base, mine = found[facts["largest"]["int8"]], found[place]
    if axis == "smaller":
        return base["bytes"] / mine["bytes"], base["bytes"] / mine["bytes"]
    return base["ratio"][0] / mine["ratio"][0], base["ratio"][1] / mine["ratio"][2]


def w4(point: Facts) -> bool:
    """Return whether some layer has weights of four bits."""
    return "w4" in point["policy"].values()


def candidates(facts: Facts, axis: str) -> list[int]:
    """Return the places that can answer, the cheapest first.

    W4 layers were timed with float32 sums in the published file, so that their latencies answer nothing.
    """
    base = facts["largest"]["int8"]
    good = [
        place
        for place, point in points(facts).items()
        if place != base
        and point["searched"] <= facts["searched_int8"]
        and ratio(facts, place, axis)[0] > 1
        and not (axis == "faster" and w4(point))
    ]
    return sorted(good, key=lambda place: -ratio(facts, place, axis)[0])


def error(facts: Facts, point: Facts) -> tuple[float, bool]:
    """Return the standard error of a point's accuracy minus that of INT8, and whether it is a bound."""
    known = point["accuracy_above_int8"][1]
    if known is not None:
        return float(known), False
    mine, base = point["accuracy"], points(facts)[facts["largest"]["int8"]]["accuracy"]
    discordant = min(mine + base, 2 - mine - base)
    return math.sqrt((discordant - (mine - base) ** 2) / facts["items"]), True


def judge(facts: Facts, axis: str) -> Answer:
    """Judge all candidates of a table and axis."""
    from scipy.stats import norm

    places = candidates(facts, axis)
    found = {place: points(facts)[place] for place in places}
    errors = {place: error(facts, point) for place, point in found.items()}
    # An error of zero: the same answers on every item.
    above = {
        place: (point["accuracy_above_int8"][0] + MARGIN) / max(errors[place][0], 1e-12)
        for place, point in found.items()
    }
    kept = intervals.holm({str(place): float(norm.sf(z)) for place, z in above.items()})
    lost = intervals.holm({str(place): float(norm.cdf(z)) for place, z in above.items()})
    judged = []
    for place in places:
        verdict = UNDECIDED
        if kept[str(place)] < 1 - LEVEL:
            verdict = AT_NO_LOSS
        elif lost[str(place)] < 1 - LEVEL:
            verdict = WORSE
        difference = found[place]["accuracy_above_int8"][0]
        judged.append(Judged(place, *ratio(facts, place, axis), difference, *errors[place], verdict))
    seen = [ratio(facts, place, axis)[0] for place in points(facts)]
    return Answer(
        judged,
        max([1.0, *(one.least for one in judged if one.verdict == AT_NO_LOSS)]),
        max(facts["ceilings"][axis][1], *seen),
        max([1.0, *(one.times for one in judged if one.difference > -MARGIN)]),
    )
