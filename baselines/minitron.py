"""Minitron (Sreenivas et al. 2024): prune a trained network by activations, then distil it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.api import Candidate, Lab, Method, Need, Option
from supernet.data.sentence_pairs import PAD
from supernet.elastic import PRECISIONS, SuperNet
from supernet.pipeline import limit_tests, train
from supernet.predict import MINIMUM_SAMPLES
from supernet.search import InfeasibleError
from supernet.space import Architecture, SearchSpace
from supernet.train import SinglePath
from supernet.train.distill import LogitDistillation


class Minitron(Method):
    """Train the largest network, rank feed-forward neurons and layers by activations, slice, distil.

    Neurons of every layer are ranked by their mean activation over a calibration set (section 2.2 of
    2408.11796), decoder layers by how little they turn their input (block importance). Of the shapes within a
    limit the largest are pruned, distilled briefly and compared; the best is distilled on, from the teacher's
    logits alone. Widths and heads stay the teacher's: sinusoidal positions tie a channel to its place, and
    heads change no parameter here.
    """

    name = "minitron"
    suite = "mt"
    summary = "Minitron: activation-ranked pruning of one trained network, then logit distillation"
    options = (
        Option("teacher", float, 0.5, low=0.05, high=0.9, help="share of the tokens for the teacher"),
        Option("candidates", int, 3, low=1, high=16, help="shapes that are pruned and compared for a limit"),
        Option(
            "light", float, 0.2, low=0.01, high=0.5, help="share of a limit's tokens for comparing shapes"
        ),
        Option("calibration", float, 0.02, low=0.001, high=0.1, help="share of the tokens for calibration"),
    )
    needs = (
        Need("probes", MINIMUM_SAMPLES, timed=True, why="the samples of its latency predictor"),
        Need("evaluations", 1, each=True, why="the comparison of pruned shapes"),
    )

    def search(self, lab: Lab) -> Iterable[Candidate]:
        teacher, calibration = lab.options["teacher"], lab.options["calibration"]
        largest = lab.space.largest()
        with lab.phase("teacher"):
            net = train(lab, lab.supernet(only=largest), SinglePath(), teacher, "teacher")
        with lab.phase("calibration"):
            rank = calibrate(lab, net, calibration)
        objective = LogitDistillation(
            net.export(net.space.largest()).to(lab.device, PRECISIONS[lab.recipe.precision]), share=1.0
        )
        allowed_under = limit_tests(lab, lab.space)
        each = int(lab.budget.left("evaluations")) // len(lab.limits)
        own = (1 - teacher - calibration) / len(lab.limits)
        for i, limit in enumerate(lab.limits):
            with lab.phase("prune"):
                shapes = list(pruned_shapes(lab.space))
                fits = [a for a, ok in zip(shapes, allowed_under(limit)(shapes), strict=True) if ok]
                if not fits:
                    raise InfeasibleError(f"no pruned shape of {largest.key()} meets {limit}")
                fits.sort(key=lambda a: (-lab.size(a), a.key()))
                fits = fits[: max(1, min(lab.options["candidates"], each))]
                light = lab.options["light"] * own / len(fits) if len(fits) > 1 else 0.0
                students: list[tuple[float, Architecture, SuperNet]] = []
                for j, architecture in enumerate(fits):
                    student = prune(lab, net, architecture, rank)
                    if light:
                        name = f"light-{i}-{j}"
                        student = train(lab, student, SinglePath(), light, name, 0.5, objective)
                    loss = lab.evaluate(student, architecture).loss
                    students.append((loss, architecture, student))
                _, best, student = min(students, key=lambda x: (x[0], x[1].key()))
            with lab.phase("distil"):
                rest = own - light * len(fits)
                trained = train(lab, student, SinglePath(), rest, f"distil-{i}", objective=objective)
                yield lab.candidate(trained, best, origin="distilled", target=limit)


@dataclass
class Importance:
    """Importance of a network's parts, by name of the layer.

    ``neurons``: of each neuron of a feed-forward, the norm over sentences of its mean activation. ``layers``:
    of each decoder layer, one minus the mean cosine of its input and output.
    """

    neurons: dict[str, Tensor] = field(default_factory=dict)
    layers: list[float] = field(default_factory=list)


def calibrate(lab: Lab, net: SuperNet, share: float) -> Importance:
    """Measure the importance of the largest network's parts on ``share`` of the tokens, resumable.

    Each batch is charged a whole pass, though it is a forward pass alone.
    """
    checkpoint = lab.checkpoint("calibration")
    batches = lab.train_batches(share)
    if state := checkpoint.load():
        return Importance(dict(state["neurons"]), list(state["layers"]))
    rank = measure_importance(net.activate(net.space.largest()).eval(), batches)
    checkpoint.save({"neurons": rank.neurons, "layers": rank.layers})
    return rank


@torch.no_grad()
def measure_importance(model: Any, batches: Iterable[Any]) -> Importance:
    """Measure importance over calibration batches; padding counts for nothing."""
    squares: dict[str, Tensor] = {}
    turned: list[float] = [0.0] * len(model.decoder)
    masks: dict[str, Tensor] = {}
    positions = 0.0

    def neurons(side: str, name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Tensor) -> None:
            real = masks[side][..., None]
            mean = (F.relu(output).float() * real).sum(1) / real.sum(1).clamp(min=1)
            squares[name] = squares.get(name, torch.zeros_like(mean[0])) + mean.square().sum(0)

        return hook

    def layer(index: int) -> Any:
        def hook(_module: Any, inputs: Any, output: Tensor) -> None:
            cosine = F.cosine_similarity(inputs[0].float(), output.float(), dim=-1)
            turned[index] += float(((1 - cosine) * masks["decoder"]).sum())

        return hook

    with ExitStack() as stack:
        for side in ("encoder", "decoder"):
            for i, block in enumerate(getattr(model, side)):
                name = f"{side}.{i}"
                handle = block.feed_forward.fc1.register_forward_hook(neurons(side, name))
                stack.callback(handle.remove)
        for i, block in enumerate(model.decoder):
            stack.callback(block.register_forward_hook(layer(i)).remove)
        for drawn in batches:
            batch = drawn.padded()
            masks.update(encoder=batch.source != PAD, decoder=batch.target_out != PAD)
            masks.update({side: mask.float() for side, mask in masks.items()})
            positions += float(masks["decoder"].sum())
            model(*batch.inputs)
    if not positions:
        raise ValueError("no batch for calibration: give it a larger share of the tokens")
    return Importance({n: s.sqrt() for n, s in squares.items()}, [x / positions for x in turned])


def pruned_shapes(space: SearchSpace) -> Iterator[Architecture]:
    """Yield the shapes that pruning of the largest network reaches: one feed-forward width for each side, and
    fewer decoder layers."""
    largest = space.largest()
    widths = [space.choice(f"{side}_ffn").options for side in ("encoder", "decoder")]
    for encoder, decoder, depth in product(*widths, space.choice("decoder_layers").options):
        fields = dict(largest)
        for name, value in largest.items():
            if space.choice(name).depth == "decoder_layers":
                fields[name] = value[:depth]
        fields["decoder_layers"] = depth
        fields["encoder_ffn"] = (encoder,) * largest["encoder_layers"]
        fields["decoder_ffn"] = (decoder,) * depth
        yield space.architecture(fields)


def prune(lab: Lab, teacher: SuperNet, architecture: Architecture, rank: Importance) -> SuperNet:
    """Return a network of this shape with the teacher's most important layers and neurons."""
    student = lab.supernet(only=architecture)
    weights = teacher.source.bake(teacher.space.largest())
    student.source.adopt(pruned_weights(weights, student.source.shapes, architecture, rank))
    net: SuperNet = student
    return net


def pruned_weights(
    weights: Mapping[str, Tensor], names: Iterable[str], architecture: Architecture, rank: Importance
) -> dict[str, Tensor]:
    """Return the teacher's tensors under a student's names: layers chosen, neurons in order of importance."""
    kept = kept_layers(rank.layers, architecture["decoder_layers"])
    out: dict[str, Tensor] = {}
    for name in names:
        side, _, rest = name.partition(".")
        source = name
        if side == "decoder":
            number, _, tail = rest.partition(".")
            source = f"decoder.{kept[int(number)]}.{tail}"
        tensor = weights[source]
        block, feed_forward, part = source.partition(".feed_forward.")
        if feed_forward:
            order = rank.neurons[block].argsort(descending=True, stable=True).to(tensor.device)
            tensor = tensor[:, order] if part == "fc2.weight" else tensor
            tensor = tensor[order] if part.startswith("fc1.") else tensor
        out[name] = tensor
    return out


def kept_layers(importance: Sequence[float], count: int) -> list[int]:
    """Return the ``count`` most important layers in the order in which they run."""
    return sorted(sorted(range(len(importance)), key=lambda i: (-importance[i], i))[:count])
