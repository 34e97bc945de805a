"""DynaBERT (Hou et al., NeurIPS 2020): a teacher rewired by importance, distilled into widths and depths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.teacher import TaughtMethod
from benchmarks.api import Candidate, Lab, Need, Option
from supernet.data.masked_text import MaskedBatch
from supernet.elastic import PRECISIONS
from supernet.objective import soft_loss, token_loss
from supernet.pipeline import limit_tests, reachable_limits, train
from supernet.space import Architecture, SearchSpace, homogeneous_space
from supernet.train import TEACHER_COST
from supernet.train.recipe import StatelessSampling

QUARTERS = (1, 2, 3, 4)
"""Width multipliers in quarters: of heads and of feed-forward neurons (section 2.1)."""
DEPTHS = (0.5, 0.75, 1.0)
"""Depth multipliers (section 2.2)."""


class DynaBERT(TaughtMethod):
    """Width- and depth-adaptive training of one network, whose sub-networks are used without retraining.

    Heads and neurons of the teacher are put in order of importance, so that narrow sub-networks keep the most
    important (section 2.1). First all widths learn from the teacher's logits and hidden states, then depths
    from the width-adaptive network's (section 2.2). Of the sub-networks within a target that with the lowest
    loss is taken. The paper fine-tunes in both stages; here both learn masked words.
    """

    name = "dynabert"
    summary = "DynaBERT: heads and neurons rewired by importance, distilled into widths, then depths"
    options = (
        Option("hidden", float, 0.1, low=0.0, high=10.0, help="weight of hidden states beside logits"),
        Option("calibration", float, 0.02, low=0.001, high=0.1, help="share of the tokens for importance"),
    )
    needs = (Need("evaluations", 12, why="one for each of four widths at three depths"),)

    def search(self, lab: Lab) -> Iterable[Candidate]:
        teacher = lab.inherit()
        largest = teacher.space.largest()
        space = adaptive_space(lab.task.settings["teacher"])
        limits = reachable_limits(lab, space)
        calibration = lab.options["calibration"]
        with lab.phase("calibration"):
            rank = calibrate(lab, teacher.export(largest), calibration)
        share = lab.budget.left("tokens") / lab.budget.total("tokens") / 2
        with lab.phase("supernet"):
            net = lab.supernet(space=space)
            net.source.adopt(rewired(teacher.source.bake(largest), rank, space.constants["head_dim"]))
            for stage, sampling in (("width", Widths()), ("depth", Depths())):
                # The rewired teacher computes what the teacher does, so its states are comparable.
                guide = net.export(space.largest()).to(lab.device, PRECISIONS[lab.recipe.precision])
                objective = StateDistillation(guide.eval(), lab.options["hidden"])
                net = train(lab, net, sampling, share, stage, objective=objective)
        with lab.phase("search"):
            ranked = [(lab.evaluate(net, a).loss, a.key(), a) for a in adaptive(space)]
        allowed = limit_tests(lab, space)
        for limit in limits:
            fits = allowed(limit)([a for _, _, a in ranked])
            feasible = [entry for entry, ok in zip(ranked, fits, strict=True) if ok]
            if not feasible:
                lab.say(f"no width and depth of the teacher meets {limit}")
                continue
            yield lab.candidate(net, min(feasible)[2], origin="inherited", target=limit)


def adaptive_space(shape: Mapping[str, Any]) -> SearchSpace:
    """Return the space of the teacher's quarters of width and its depths.

    Args:
        shape: ``width``, ``heads``, ``head_dim`` and ``layers`` of the teacher.
    """
    return homogeneous_space(
        "dynabert",
        width=(shape["width"],),
        heads=sorted({max(1, shape["heads"] * q // 4) for q in QUARTERS}),
        ffn_tenths=[10 * q for q in QUARTERS],
        layers=sorted({max(1, round(d * shape["layers"])) for d in DEPTHS}),
        head_dim=shape["head_dim"],
    )


def adaptive(space: SearchSpace, depths: Iterable[int] | None = None) -> list[Architecture]:
    """Return the sub-networks of equal width multipliers for heads and neurons, largest first."""
    largest = space.largest()
    shapes = []
    for layers in sorted(depths or space.choice("layers").options, reverse=True):
        for quarter in reversed(QUARTERS):
            heads = max(1, largest["heads"] * quarter // 4)
            fields = {**largest, "heads": heads, "ffn_tenths": 10 * quarter, "layers": layers}
            shapes.append(space.architecture(fields))
    return shapes


@dataclass(frozen=True)
class Widths(StatelessSampling):
    """Every width at full depth in each update (section 2.1)."""

    passes: int = len(QUARTERS)
    distill: bool = False

    def draw(self, space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
        return adaptive(space, [space.largest()["layers"]])


@dataclass(frozen=True)
class Depths(StatelessSampling):
    """One width, drawn uniformly, at each of three depths in each update.

    The paper takes all widths at all depths, four times the passes.
    """

    passes: int = len(DEPTHS)
    distill: bool = False

    def draw(self, space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
        quarter = int(rng.integers(len(QUARTERS)))
        depths = sorted(space.choice("layers").options, reverse=True)
        chosen = [adaptive(space, [layers])[quarter] for layers in depths]
        return (chosen * self.passes)[: self.passes]


@dataclass(frozen=True)
class StateDistillation:
    """Cross-entropy to the teacher's logits, and squared error to its states after each shared layer."""

    teacher: Any
    hidden: float
    teacher_cost: ClassVar[float] = TEACHER_COST

    def __call__(self, model: Any, batch: MaskedBatch, teacher_output: Any) -> tuple[Tensor, Any]:
        if teacher_output is None:
            with torch.no_grad():
                teacher_output = logits_and_states(self.teacher, batch)
        logits, states = logits_and_states(model, batch)
        goal, goals = teacher_output
        apart = sum(F.mse_loss(x.float(), goals[name].float()) for name, x in states.items())
        return soft_loss(logits, goal) + self.hidden * len(batch.labels) * apart, teacher_output

    def weight(self, batch: MaskedBatch) -> int:
        return len(batch.labels)


def logits_and_states(model: Any, batch: MaskedBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """Return logits ``[N, V]`` of the masked places, and states ``[B, T, width]`` by name of the layer."""
    x = model.embedding(batch.shown, None)
    states = {"embedding": x}
    for stage in model.plan.stages:
        x = model.run(x, stages=[stage])
        if stage.kind == "feed_forward":
            states[stage.name] = x
    places = x.flatten(0, 1).index_select(0, batch.places)
    return model.head(places, model.embedding.word.weight), states


@dataclass
class Importance:
    """Importance by name of the operation: of each channel of an attention's context or of each neuron."""

    channels: dict[str, Tensor] = field(default_factory=dict)


def calibrate(lab: Lab, module: Any, share: float) -> Importance:
    """Measure the importance of the teacher's heads and neurons on ``share`` of the tokens, resumable."""
    checkpoint = lab.checkpoint("calibration")
    batches = lab.train_batches(share)
    if state := checkpoint.load():
        return Importance(dict(state["channels"]))
    rank = measure_importance(module.to(lab.device), batches)
    checkpoint.save({"channels": rank.channels})
    return rank


def measure_importance(module: Any, batches: Iterable[MaskedBatch]) -> Importance:
    """Return the first-order change of the loss when a channel is removed, summed over batches in magnitude.

    It is the sum over tokens of activation times gradient (section 2.1).
    """
    rank, inputs = Importance(), {}
    module.requires_grad_(True)
    handles = []
    for name, op in module.ops.items():
        last = op.out if hasattr(op, "out") else op.fc2

        def keep(_module: Any, given: tuple[Tensor, ...], name: str = name) -> None:
            given[0].retain_grad()
            inputs[name] = given[0]

        handles.append(last.register_forward_pre_hook(keep))
    for batch in batches:
        inputs.clear()
        token_loss(module(*batch.inputs), batch.labels, 0.0).backward()
        for name, x in inputs.items():
            change = (x * x.grad).flatten(0, -2).sum(0).detach()
            rank.channels[name] = rank.channels.get(name, torch.zeros_like(change)) + _per_head(
                change, module.ops[name]
            )
        module.zero_grad(set_to_none=True)
    for handle in handles:
        handle.remove()
    module.requires_grad_(False)
    if not rank.channels:
        raise ValueError("no batch for calibration: give it a larger share of the tokens")
    return rank


def _per_head(change: Tensor, op: Any) -> Tensor:
    """Return the magnitude of a change: of a whole head for each of its channels, or of a neuron."""
    if not hasattr(op, "heads"):
        return change.abs()
    heads = change.unflatten(0, (op.heads, -1)).sum(1).abs()
    return heads.repeat_interleave(len(change) // op.heads)


def rewired(weights: Mapping[str, Tensor], rank: Importance, head_dim: int) -> dict[str, Tensor]:
    """Return the teacher's tensors with heads and neurons in order of importance; what it computes stays."""
    out: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        _, _, rest = name.partition("ops.")
        operation, _, part = rest.partition(".")
        if operation not in rank.channels or part.startswith("norm"):
            out[name] = tensor
            continue
        order = order_of(rank.channels[operation], head_dim if "attention" in operation else 1)
        order = order.to(tensor.device)
        if part in ("out.weight", "fc2.weight"):
            tensor = tensor[:, order]
        elif not part.startswith(("out.", "fc2.")):
            tensor = tensor[order]
        out[name] = tensor
    return out


def order_of(importance: Tensor, block: int) -> Tensor:
    """Return the channels in order of importance, the most important first, in blocks that stay together."""
    blocks = importance.unflatten(0, (-1, block)).sum(1).argsort(descending=True, stable=True)
    return (blocks[:, None] * block + torch.arange(block, device=blocks.device)).flatten()
