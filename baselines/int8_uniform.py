"""Control: post-training INT8 in every linear layer of what another method found and trained."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.api import Candidate, Lab, Method
from supernet.quantization.precisions import uniform_int8


class Int8Uniform(Method):
    """Control: NAS, then INT8 in every linear layer, the strongest sequential baseline of a joint search.

    Nothing is trained or searched, no layer falls back to float32, and dynamic ranges need no calibration. It
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
            policy = uniform_int8(net.export(architecture))
            yield lab.candidate(net, architecture, policy, origin="int8", target=limit)
