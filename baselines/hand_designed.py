"""Controls: BERT's own proportions at every size, as an engineer would choose them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product
from typing import Any

from baselines.teacher import missing_teacher
from benchmarks.api import Candidate, Lab, Method, Skip, TaskInfo
from supernet.elastic import PRECISIONS
from supernet.pipeline import train
from supernet.space import Architecture, homogeneous_space
from supernet.train import Objective, SinglePath
from supernet.train.distill import LogitDistillation

BASE = 12 / 768
"""Layers for each unit of width in BERT-base."""
DEEPEST = 24


class HandDesigned(Method):
    """Control: for each target the BERT shape with the depth-to-width ratio nearest BERT-base's.

    Heads are as wide as the teacher's, the feed-forward 4 times as wide as the network. Each network is
    trained alone on an even split of all tokens.
    """

    name = "hand-designed"
    suite = "bert"
    from_nothing = True
    summary = "control: BERT's own proportions at each size, trained alone"

    def supports(self, task: TaskInfo) -> Skip | None:
        return super().supports(task) or missing_teacher(task)

    def search(self, lab: Lab) -> Iterable[Candidate]:
        objective, share = self.training(lab)
        with lab.phase("search"):
            chosen = [(limit, proportioned(lab, limit)) for limit in lab.limits]
        feasible = [(limit, architecture) for limit, architecture in chosen if architecture is not None]
        if not feasible:
            raise RuntimeError(f"no BERT shape of at most {DEEPEST} layers meets {chosen[0][0]}")
        for i, (limit, architecture) in enumerate(feasible):
            with lab.phase("train"):
                fresh = lab.supernet(only=architecture)
                net = train(
                    lab, fresh, SinglePath(), share / len(feasible), f"train-{i}", objective=objective
                )
                yield lab.candidate(net, architecture, origin="scratch", target=limit)

    def training(self, lab: Lab) -> tuple[Objective | None, float]:
        """Return the training objective (None for labels) and the share of the tokens for training."""
        return None, 1.0


class HandDesignedDistilled(HandDesigned):
    """Control: the same networks under NAS-BERT's loss, half labels and half teacher logits.

    The teacher is charged. It is the fair control of distilling methods at equal size and cost.
    """

    name = "hand-designed-kd"
    follows = "teacher"
    inherits = True
    summary = "control: BERT's own proportions, trained as NAS-BERT's winners are"

    def training(self, lab: Lab) -> tuple[Objective | None, float]:
        teacher = load_teacher(lab)
        return LogitDistillation(teacher), lab.budget.left("tokens") / lab.budget.total("tokens")


def load_teacher(lab: Lab) -> Any:
    """Return the teacher as a module in the training precision; its cost is charged to this run."""
    net = lab.inherit()
    module = net.export(net.space.largest())
    return module.to(lab.device, PRECISIONS[lab.recipe.precision])


def proportioned(lab: Lab, limit: Any) -> Architecture | None:
    """Return the BERT shape that meets ``limit`` and is nearest to BERT-base in layers per unit of width.

    For a latency it is the largest shape of nearly those proportions, found by probes from above. None if no
    shape meets the limit.
    """
    shapes = [(abs(math.log(a["layers"] / a["width"] / BASE)), -lab.size(a), a) for a in bert_shapes(lab)]
    if isinstance(limit, (int, float)):
        shapes = [shape for shape in shapes if shape[0] <= math.log(1.5)]
        shapes.sort(key=lambda shape: shape[1])
    else:
        shapes.sort(key=lambda shape: shape[:2])
    return next((a for _, _, a in shapes if lab.fits(a, limit)), None)


def bert_shapes(lab: Lab) -> Iterable[Architecture]:
    """Yield every multiple of the head width, up to the teacher's width, at every depth."""
    head, widest = (lab.task.settings["teacher"][name] for name in ("head_dim", "width"))
    for heads, layers in product(range(1, widest // head + 1), range(1, DEEPEST + 1)):
        width = heads * head
        space = homogeneous_space(
            f"bert-L{layers}-H{width}",
            width=(width,),
            heads=(heads,),
            ffn_tenths=(40,),
            layers=(layers,),
            head_dim=head,
        )
        yield space.largest()
