"""The supernet of all joint searches: trained once a task, tier and seed, and charged to whoever takes it."""

from __future__ import annotations

import math
from collections.abc import Iterable

from benchmarks.api import Candidate, Lab, Method, UsageError
from supernet.elastic import FORWARD_COST, SuperNet
from supernet.pipeline import train
from supernet.train import Sandwich


class JointSupernet(Method):
    """A supernet under the sandwich rule with in-place distillation, on all tokens.

    It proposes the largest network in float32 and searches for no limit. The weights of all others are
    leading parts of that one's, so that what it exports is the whole supernet. Networks with statistics of
    their own (batch norms) estimate them on training batches; for those it leaves the tokens that a search
    will need.
    """

    name = "joint-supernet"
    suite = "simq"
    summary = "the supernet of the joint searches and its largest network; who searches in it is charged"

    def search(self, lab: Lab) -> Iterable[Candidate]:
        net = lab.supernet()
        share = 1 - kept_back(lab, net) / lab.budget.total("tokens")
        if share < 0.1:
            raise UsageError(
                f"{lab.budget.total('tokens'):g} tokens do not train this supernet: {1 - share:.0%} of them"
                f" go to statistics of the networks that a search evaluates\n{larger(lab, net)}"
            )
        with lab.phase("supernet"):
            train(lab, net, Sandwich(distill=True), share, "supernet")
        yield lab.candidate(net, net.space.largest(), origin="inherited")


def larger(lab: Lab, net: SuperNet) -> str:
    """Return the advice to take an allowance that trains: some of the statistics grow with it."""
    tokens, evaluations = (lab.budget.total(kind) for kind in ("tokens", "evaluations"))
    batches = net.statistics_batch_count * lab.recipe.batch_tokens
    fixed = batches * (1 + FORWARD_COST * (len(lab.limits) + 1))
    # 0.9 s tokens >= fixed + s FORWARD evaluations batches; one evaluation more where they are rounded up
    growing = 0.9 * tokens - FORWARD_COST * evaluations * batches
    if growing <= 0:
        return "no larger --budget-scale helps, for evaluations grow with it: take another tier"
    times = math.ceil(10 * (fixed + FORWARD_COST * batches) / growing) / 10
    return f"give {times:g} times as much, with --budget-scale"


def kept_back(lab: Lab, net: SuperNet) -> float:
    """Tokens that the statistics of all networks cost that this supernet's own run and one search in it
    evaluate and export; none for networks without statistics."""
    passes = lab.budget.total("evaluations") + len(lab.limits) + 1
    return float(net.statistics_batch_count * lab.recipe.batch_tokens * (1 + FORWARD_COST * passes))


def taken_over(lab: Lab) -> SuperNet:
    """The supernet of the run that this one follows, which is charged for it."""
    net, whole = lab.supernet(), lab.inherit()
    net.source.adopt(whole.source.bake(whole.space.largest()))
    if net.statistics_batch_count:
        # Half a batch more: a share is compared with sums of tokens.
        wanted = (net.statistics_batch_count + 0.5) * lab.recipe.batch_tokens
        net.keep_batches(lab.train_batches(wanted / lab.budget.total("tokens")))
    net.model.eval()
    return net
