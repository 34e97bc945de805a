"""Supernet of all joint searches: trained once a task, tier and seed, and charged to every search in it."""

from __future__ import annotations

import math
from collections.abc import Iterable

from benchmarks.api import Candidate, Lab, Method, UsageError
from supernet.elastic import FORWARD_COST, SuperNet
from supernet.pipeline import train
from supernet.quantization.calibration import count_passes
from supernet.quantization.precisions import STATIC, deployed_precisions
from supernet.train import Sandwich

RANGE_BATCHES = 4
"""Training batches kept for activation ranges of networks without batch norms."""


class JointSupernet(Method):
    """Supernet under the sandwich rule (Yu and Huang 2019) with in-place distillation, on all tokens.

    It proposes the largest network in float32 and searches for no limit. The weights of all other networks
    are leading slices of that one's, so the export is the complete supernet. Networks with batch norms
    recalibrate their statistics on training batches, and where static INT8 is deployed its activation ranges;
    the tokens that a search needs for this are reserved.
    """

    name = "joint-supernet"
    suite = "simq"
    summary = "the supernet of the joint searches and its largest network; who searches in it is charged"

    def search(self, lab: Lab) -> Iterable[Candidate]:
        net = lab.supernet()
        share = 1 - reserved_tokens(lab, net) / lab.budget.total("tokens")
        if share < 0.1:
            raise UsageError(
                f"{lab.budget.total('tokens'):g} tokens do not train this supernet: {1 - share:.0%} of them"
                " go to statistics and ranges of the networks that a search evaluates\n"
                f"{scale_advice(lab, net)}"
            )
        with lab.phase("supernet"):
            train(lab, net, Sandwich(distill=True), share, "supernet")
        yield lab.candidate(net, net.space.largest(), origin="inherited")


def scale_advice(lab: Lab, net: SuperNet) -> str:
    """Return advice on an allowance that is large enough; part of the statistics' cost grows with it."""
    tokens, evaluations = (lab.budget.total(kind) for kind in ("tokens", "evaluations"))
    batches = kept_batch_count(lab, net) * lab.recipe.batch_tokens
    each = FORWARD_COST * passes_each(lab, net)
    fixed = batches * (1 + each * (len(lab.limits) + 1))
    # 0.9 s tokens >= fixed + s each evaluations batches; one evaluation more where they are rounded up
    growing = 0.9 * tokens - each * evaluations * batches
    if growing <= 0:
        return "no --budget-scale helps, for evaluations grow with it: take another tier"
    times = math.ceil(10 * (fixed + each * batches) / growing) / 10
    return f"give {times:g} times as much, with --budget-scale"


def reserved_tokens(lab: Lab, net: SuperNet) -> float:
    """Return the tokens for statistics and ranges of all networks of this run and of one search in it.

    It is 0 for networks without batch norms where no static INT8 is deployed.
    """
    number = passes_each(lab, net) * (lab.budget.total("evaluations") + len(lab.limits) + 1)
    return float(kept_batch_count(lab, net) * lab.recipe.batch_tokens * (1 + FORWARD_COST * number))


def is_static(lab: Lab, net: SuperNet) -> bool:
    """Return whether this task's runtime deploys these networks in static INT8."""
    return STATIC in deployed_precisions(net.family.deployed_int8, lab.precisions)


def kept_batch_count(lab: Lab, net: SuperNet) -> int:
    """Return the training batches that searches keep, for batch norms and for ranges of static INT8."""
    return net.statistics_batch_count or RANGE_BATCHES * is_static(lab, net)


def passes_each(lab: Lab, net: SuperNet) -> int:
    """Return the passes over the kept batches that a network costs: batch-norm recalibration, calibration."""
    return bool(net.statistics_batch_count) + count_passes(net.ranges) * is_static(lab, net)


def tokens_each(lab: Lab, net: SuperNet) -> float:
    """Return the tokens that one network's statistics and ranges cost over the batches that ``net`` keeps."""
    return net.statistics_cost + net.calibration_cost * is_static(lab, net)


def affordable_networks(lab: Lab, net: SuperNet) -> int:
    """Return the networks that a search can evaluate on the tokens that are left, beside one for each limit.

    It is the evaluations left where statistics and ranges cost nothing.
    """
    each = tokens_each(lab, net)
    if not each:
        return int(lab.budget.left("evaluations"))
    return max(0, int(lab.budget.left("tokens") / each) - len(lab.limits))


def inherit_supernet(lab: Lab) -> SuperNet:
    """Return the supernet of the run that this one follows, charged to this run."""
    net, inherited = lab.supernet(), lab.inherit()
    net.source.adopt(inherited.source.bake(inherited.space.largest()))
    if count := kept_batch_count(lab, net):
        # Half a batch more: a share is compared with sums of tokens.
        tokens = (count + 0.5) * lab.recipe.batch_tokens
        net.keep_batches(lab.train_batches(tokens / lab.budget.total("tokens")), count)
    net.model.eval()
    return net
