"""Control: post-training INT8 in every linear layer of what another method found and trained."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.api import Candidate, Lab, Method, Skip, TaskInfo
from supernet.quantization.precisions import STATIC, uniform_int8


class Int8Uniform(Method):
    """Control: NAS, then INT8 in every linear layer, the strongest sequential baseline of a joint search.

    Nothing is trained or searched, no layer falls back to float32, and dynamic ranges need no calibration.
    Networks that are deployed in static INT8 are left to ``uniform-int8``. It is charged the full cost of the
    run that it follows; ``supershaper+int8-uniform`` follows another one.
    """

    name = "int8-uniform"
    summary = "control: HAT's networks as exported, every linear layer in INT8 afterwards"
    follows = "hat"
    inherits = True

    def supports(self, task: TaskInfo) -> Skip | None:
        return super().supports(task) or static_instead(task)

    def search(self, lab: Lab) -> Iterable[Candidate]:
        if not lab.given:
            raise RuntimeError("the followed run proposed nothing with this seed: nothing to quantise")
        for i, (limit, architecture) in enumerate(lab.given):
            net = lab.inherit(i)
            policy = uniform_int8(net.export(architecture))
            yield lab.candidate(net, architecture, policy, origin="int8", target=limit)


def static_instead(task: TaskInfo) -> Skip | None:
    """Return the reason if a task's networks are deployed in static INT8, else None."""
    settings = task.settings
    if settings.get("deployed_int8") != STATIC or STATIC not in settings.get("precisions", ()):
        return None
    return Skip(
        f"networks of {task.name} {task.tier} are deployed in static INT8, whose ranges take training batches"
        " that no followed run leaves tokens for: uniform-int8 reserves them"
    )
