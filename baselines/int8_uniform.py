"""Control: post-training INT8 in every linear layer of what another method found and trained."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.api import Candidate, Lab, Method, UsageError
from supernet.elastic import FORWARD_COST, SuperNet
from supernet.quantization.precisions import INT8, STATIC, deployed_precisions, uniform_int8

CALIBRATION_BATCHES = 4
"""Training batches over which static activation ranges are taken."""


class Int8Uniform(Method):
    """Control: NAS, then INT8 in every linear layer, the strongest sequential baseline of a joint search.

    Nothing is trained or searched, and no layer falls back to float32. Dynamic ranges need no calibration;
    static ones, in which residual networks are deployed, take some of the followed run's unspent tokens. It
    is charged the full cost of the run that it follows; ``supershaper+int8-uniform`` follows another one.
    """

    name = "int8-uniform"
    summary = "control: HAT's networks as exported, every linear layer in INT8 afterwards"
    follows = "hat"
    inherits = True

    def search(self, lab: Lab) -> Iterable[Candidate]:
        if not lab.given:
            raise RuntimeError("the followed run proposed nothing with this seed: nothing to quantise")
        for i, (limit, architecture) in enumerate(lab.given):
            net = lab.inherit(i)
            kept = deployed_precisions(net.family.int8, lab.precisions)
            if STATIC in kept:
                keep_calibration_batches(lab, net)
            policy = uniform_int8(net.export(architecture), next(name for name in kept if name in INT8))
            yield lab.candidate(net, architecture, policy, origin="int8", target=limit)


def keep_calibration_batches(lab: Lab, net: SuperNet) -> None:
    """Draw the training batches over which static activation ranges are taken, charged as a pass over them.

    Raises:
        UsageError: too few tokens are left.
    """
    drawn = (CALIBRATION_BATCHES + 0.5) * lab.recipe.batch_tokens  # a share is compared with sums of tokens
    due, unspent = (1 + FORWARD_COST) * drawn, lab.budget.left("tokens")
    if unspent < due:
        raise UsageError(
            f"static INT8 takes {due:.3g} tokens of training data for its activation ranges, and the followed"
            f" run left {unspent:.3g}: take uniform-int8, whose supernet reserves them"
        )
    net.keep_batches(lab.train_batches(drawn / lab.budget.total("tokens")), CALIBRATION_BATCHES)
