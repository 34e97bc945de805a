"""Uniform INT8 with accuracy-driven fallback: what deployment tools do, as a baseline of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from benchmarks.api import BudgetExhausted, Candidate, Lab, Need, Option
from simq.archive import Archive
from simq.lab_evaluator import Measured, best
from simq.methods import JointSearch
from supernet.space import Architecture


class UniformInt8Fallback(JointSearch):
    """Control: architectures alone in INT8, on half of the evaluations, as ``uniform-int8`` finds them. Then,
    for each limit, layers of its best network go back to fp32, those whose INT8 costs most validation loss
    first, until the loss is within ``tolerance`` of the same network's in fp32, or the evaluations are spent.

    What a layer costs is told by the loss with that layer alone in fp32, on as much of the validation data as
    half of the limit's evaluations allow. The limit is met in INT8: what fallback costs in latency shows.
    """

    name = "uniform-int8-fallback"
    version = "2"
    summary = "control: every layer in INT8, then layers back to fp32 until the loss is within 1 % of fp32's"
    uniform = "int8"
    options = (
        *JointSearch.options,
        Option(
            "tolerance", float, 0.01, low=0, help="share of the fp32 loss by which the network may be worse"
        ),
    )
    needs = (
        *JointSearch.needs,
        Need("evaluations", 4, why="half of them search, two or more fall back"),
    )

    def evaluations(self, lab: Lab) -> int:
        return int(lab.budget.left("evaluations")) // 2

    def propose(self, lab: Lab, net: Any, evaluator: Measured, archive: Archive) -> Iterable[Candidate]:
        tolerance = lab.options["tolerance"]
        each = lab.budget.left("evaluations") / len(lab.limits)
        for limit in lab.limits if len(archive.rows) else ():
            architecture, policy = evaluator.space.decode(archive.genomes[best(evaluator, archive, limit)])
            with lab.phase("fallback"):
                policy = fallen_back(lab, net, architecture, policy, tolerance, each)
            yield lab.candidate(net, architecture, policy, origin="inherited", target=limit)


def fallen_back(
    lab: Lab, net: Any, architecture: Architecture, policy: dict[str, str], tolerance: float, each: float
) -> dict[str, str]:
    """Return the policy with as many layers back in fp32 as the tolerance takes, or the best one evaluated.

    Args:
        policy: all INT8; returned where not even its own loss could be evaluated.
        each: evaluations that the fallback may spend.
    """
    lowest: tuple[float, dict[str, str]] = (math.inf, policy)
    spent = lab.budget.spent("evaluations")

    def left() -> float:
        return each - (lab.budget.spent("evaluations") - spent)

    try:
        allowed = lab.evaluate(net, architecture).loss * (1 + tolerance)
        found = lab.evaluate(net, architecture, policy=policy).loss
        if found <= allowed or left() <= 0:
            return policy
        lowest = found, policy
        share = min(1.0, left() / 2 / len(policy))
        costs = {
            name: lab.evaluate(net, architecture, share=share, policy=policy | {name: "fp32"}).loss
            for name in policy
        }
        now = policy
        for name in sorted(costs, key=lambda name: (costs[name], name)):
            if left() < 1:
                break
            now = now | {name: "fp32"}
            found = lab.evaluate(net, architecture, policy=now).loss
            lowest = min(lowest, (found, now), key=lambda pair: pair[0])
            if found <= allowed:
                return now
    except BudgetExhausted as over:
        lab.say(f"fallback ends: {over}")
        return lowest[1]
    lab.say(f"fallback: {lowest[0]:.4f} is the least loss found, not {allowed:.4f}")
    return lowest[1]
