"""Verdicts on measured fronts: which networks lose no accuracy, and bounds of what they save.

Everything follows from the facts of a table in the study's file, so that a published file can be judged again
without its machine. Standard errors are those of paired differences over items, if the file has them.
Otherwise the two accuracies alone bound them: two networks with accuracies p and q differ on at most
``min(p + q, 2 - p - q)`` of all items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.stats import intervals
from benchmarks.studies.simq_fronts.facts import PointFacts, TableFacts, points_by_place

MARGIN = 0.005
"""Accuracy, half a point, that a network at no loss may surely not lose. Fixed before any candidate was
judged by it; the rule before it asked for no significant difference, which few items never show."""
LEVEL = 0.95
"""One-sided confidence of each verdict, over all candidates of a table and axis together."""
PAPER = {"faster": 4.80, "smaller": 3.44}
"""Axis -> largest ratio that the paper reports against fully INT8 baselines."""
RULE = (
    "a network is at no loss where its accuracy minus that of the largest network in uniform INT8 lies above"
    f" -{100 * MARGIN:g} points, one-sided {LEVEL:.0%}, over all held-out items that were evaluated; it is"
    " worse where that lies below, and undecided where the items cannot tell. Candidates are all measured"
    " networks that are faster (smaller) than that one and whose {quality} on the search's own data is not"
    " above its. That choice is made on other items, but the best of them is chosen on the items that judge"
    " it, so verdicts hold after Holm over the candidates of a table and axis. The answer is the fastest"
    " (smallest) candidate at no loss. The true ratio lies between that one's (1 where none is) and the"
    " ceiling: INT8 of the largest network over the cheapest network of the whole space. Claims of the paper"
    " are judged in its alphabet, fp32 and int8; W4 is this project's addition."
)
"""Rule of decision, with a placeholder for the quality."""
AT_NO_LOSS, WORSE, UNDECIDED = "at no loss", "worse", "undecided"
WITHDRAWN = {
    ("simq-resnet", "faster"): "its INT8 has convolutions with ranges of each input, the wrong baseline for"
    " speed; not tested until static INT8",
    ("simq-text", "smaller"): "its INT8 keeps the table of words in fp32, the wrong baseline for size; not"
    " tested until exports have int8 words",
}
"""Table and axis -> the reason why no ratio to INT8 is published."""


@dataclass(frozen=True)
class JudgedNetwork:
    """A candidate of one table and axis with its verdict.

    Attributes:
        times: ratio by which it is faster (smaller) than the largest network in INT8.
        least: lower end of that ratio's interval for latency; for bytes the ratio itself.
        difference: accuracy minus that network's.
        error: standard error of the difference.
        bounded: the error is an upper bound and no estimate.
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
        return normal_quantile() * self.error


@dataclass(frozen=True)
class Answer:
    """Result for one table and axis.

    Attributes:
        candidates: the cheapest first.
        low, high: bounds of the largest ratio of a network at no loss.
        estimate: the largest ratio of a candidate whose estimated difference is above the margin; it is
            chosen on the items that judge it, and so optimistic.
    """

    candidates: Sequence[JudgedNetwork]
    low: float
    high: float
    estimate: float


def normal_quantile() -> float:
    """Return the normal quantile of ``LEVEL``."""
    from scipy.stats import norm

    return float(norm.ppf(LEVEL))


def ratio_to_int8(facts: TableFacts, place: int, axis: str) -> tuple[float, float, float]:
    """Return how many times faster (smaller) than the largest network in INT8 a point is.

    The others are the least and the greatest ratio that the timings allow.
    """
    points = points_by_place(facts)
    base, point = points[facts["largest"]["int8"]], points[place]
    if axis == "smaller":
        return (base["bytes"] / point["bytes"],) * 3
    ours, theirs = base["ratio"], point["ratio"]
    return ours[0] / theirs[0], ours[1] / theirs[2], ours[2] / theirs[1]


def has_w4(point: PointFacts) -> bool:
    """Return whether some layer has weights of four bits."""
    return "w4" in point["policy"].values()


def candidate_places(facts: TableFacts, axis: str, *, paper: bool = False) -> list[int]:
    """Return the places of the candidates of an axis, the cheapest first; with ``paper`` those without W4.

    W4 layers were timed with float32 sums in the published file, so that their latencies answer nothing.
    """
    base = facts["largest"]["int8"]
    good = [
        place
        for place, point in points_by_place(facts).items()
        if place != base
        and point["searched"] <= facts["searched_int8"]
        and ratio_to_int8(facts, place, axis)[0] > 1
        and not ((paper or axis == "faster") and has_w4(point))
    ]
    return sorted(good, key=lambda place: -ratio_to_int8(facts, place, axis)[0])


def standard_error(facts: TableFacts, point: PointFacts) -> tuple[float, bool]:
    """Return the standard error of a point's accuracy minus that of INT8, and whether it is a bound."""
    measured = point["accuracy_above_int8"][1]
    if measured is not None:
        return float(measured), False
    accuracy, base = point["accuracy"], points_by_place(facts)[facts["largest"]["int8"]]["accuracy"]
    discordant = min(accuracy + base, 2 - accuracy - base)
    return math.sqrt((discordant - (accuracy - base) ** 2) / facts["items"]), True


def judge(facts: TableFacts, axis: str, *, paper: bool = False) -> Answer:
    """Judge all candidates of a table and axis by ``RULE``; with ``paper`` in the paper's alphabet alone."""
    from scipy.stats import norm

    places = candidate_places(facts, axis, paper=paper)
    points = {place: points_by_place(facts)[place] for place in places}
    errors = {place: standard_error(facts, point) for place, point in points.items()}
    differences = {place: point["accuracy_above_int8"][0] or 0.0 for place, point in points.items()}
    # An error of zero: the same answers on every item.
    scores = {place: (differences[place] + MARGIN) / max(errors[place][0], 1e-12) for place in places}
    kept = intervals.holm({str(place): float(norm.sf(z)) for place, z in scores.items()})
    lost = intervals.holm({str(place): float(norm.cdf(z)) for place, z in scores.items()})
    judged = []
    for place in places:
        verdict = UNDECIDED
        if kept[str(place)] < 1 - LEVEL:
            verdict = AT_NO_LOSS
        elif lost[str(place)] < 1 - LEVEL:
            verdict = WORSE
        times, least, _ = ratio_to_int8(facts, place, axis)
        judged.append(JudgedNetwork(place, times, least, differences[place], *errors[place], verdict))
    ratios_of_all = [
        ratio_to_int8(facts, place, axis)[2]
        for place, point in points_by_place(facts).items()
        if not (paper and has_w4(point))
    ]
    return Answer(
        judged,
        max([1.0, *(network.least for network in judged if network.verdict == AT_NO_LOSS)]),
        max(facts["ceilings"][axis][0 if paper else 1], *ratios_of_all),
        max([1.0, *(network.times for network in judged if network.difference > -MARGIN)]),
    )
