"""Uniform INT8 with accuracy-driven fallback to fp32, as deployment tools do it: a control."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from benchmarks.api import BudgetExhausted, Candidate, Lab, Need, Option
from simq.archive import Archive
from simq.lab_evaluator import LabEvaluator, best_within_limit
from simq.methods import JointSearch
from simq.shared_supernet import tokens_each
from supernet.space import Architecture


class UniformInt8Fallback(JointSearch):
    """Control: INT8 networks whose most sensitive layers return to fp32.

    Half of the evaluations search architectures in INT8, as ``uniform-int8`` does. Then layers of each
    limit's best network return to fp32, those whose INT8 costs most validation loss first, until the loss is
    within ``tolerance`` of the same network's in fp32, or the evaluations are spent.

    The cost of a layer is the change of the loss with that layer alone in fp32, on as much validation data as
    half of the limit's evaluations allow. The limit is met in INT8; the fallback may exceed it.
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

    def propose(self, lab: Lab, net: Any, evaluator: LabEvaluator, archive: Archive) -> Iterable[Candidate]:
        tolerance = lab.options["tolerance"]
        each = lab.budget.left("evaluations") / len(lab.limits)
        tokens = tokens_each(lab, net)
        for number, limit in enumerate(lab.limits if len(archive.rows) else ()):
            index = best_within_limit(evaluator, archive, limit)
            architecture, policy = evaluator.space.decode(archive.genomes[index])
            with lab.phase("fallback"):
                policy = fall_back(
                    lab,
                    net,
                    architecture,
                    policy,
                    tolerance,
                    each,
                    tokens=tokens,
                    reserved=tokens * (len(lab.limits) - number),
                )
            yield lab.candidate(net, architecture, policy, origin="inherited", target=limit)


def fall_back(
    lab: Lab,
    net: Any,
    architecture: Architecture,
    policy: dict[str, str],
    tolerance: float,
    each: float,
    *,
    tokens: float = 0.0,
    reserved: float = 0.0,
) -> dict[str, str]:
    """Return the policy with as many layers in fp32 as the tolerance needs, or the best one evaluated.

    Args:
        policy: all INT8; it is returned if not even its own loss could be evaluated.
        tolerance: share of the fp32 loss by which the network may be worse.
        each: evaluations that the fallback may spend.
        tokens: cost of an evaluation in tokens, however small its share of the validation data.
        reserved: tokens that are left for the candidates.
    """
    lowest: tuple[float, dict[str, str]] = (math.inf, policy)
    spent = lab.budget.spent("evaluations")

    def remaining() -> float:
        return each - (lab.budget.spent("evaluations") - spent)

    def affordable() -> bool:
        return not tokens or lab.budget.left("tokens") >= tokens + reserved

    try:
        if not affordable():
            return policy
        allowed = lab.evaluate(net, architecture).loss * (1 + tolerance)
        if not affordable():
            return policy
        loss = lab.evaluate(net, architecture, policy=policy).loss
        if loss <= allowed or remaining() <= 0:
            return policy
        lowest = loss, policy
        share = min(1.0, remaining() / 2 / len(policy))
        costs: dict[str, float] = {}
        for name in policy:
            if not affordable():
                break
            fallen = policy | {name: "fp32"}
            costs[name] = lab.evaluate(net, architecture, share=share, policy=fallen).loss
        now = policy
        for name in sorted(costs, key=lambda name: (costs[name], name)):
            if remaining() < 1 or not affordable():
                break
            now = now | {name: "fp32"}
            loss = lab.evaluate(net, architecture, policy=now).loss
            lowest = min(lowest, (loss, now), key=lambda pair: pair[0])
            if loss <= allowed:
                return now
    except BudgetExhausted as over:
        lab.say(f"fallback ends: {over}")
        return lowest[1]
    lab.say(f"fallback: {lowest[0]:.4f} is the least loss found, not {allowed:.4f}")
    return lowest[1]
