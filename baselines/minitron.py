"""Minitron (Sreenivas et al. 2024): prune a trained network by activations, then distil it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
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

READERS = ("attention.qkv.weight", "cross.q.weight", "feed_forward.fc1.weight")
"""Weights whose columns are channels of their side."""
WRITERS = ("attention.out", "cross.out", "feed_forward.fc2")
"""Linear layers whose rows, and biases, are channels of their side."""
POSITIONS = 64
"""Positions by which places of channels are compared; few sentences are longer."""


class Minitron(Method):
    """Train the largest network, rank neurons, channels and layers by activations, slice, distil.

    Neurons of every layer and channels of the states are ranked by their mean activation over a calibration
    set (section 2.2 of 2408.11796), decoder layers by how little they turn their input (block importance). Of
    the shapes within a limit the largest are pruned, distilled briefly and compared; the best is distilled
    on, from the teacher's logits alone. Both sides keep one width, as they share a table of words, and the
    teacher's heads, which change no parameter here.
    """

    name = "minitron"
    version = "2"
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
    """Importance of a network's parts.

    Attributes:
        neurons: feed-forward -> of each neuron, the norm over sentences of its mean activation.
        layers: of each decoder layer, one minus the mean cosine of its input and output.
        channels: side -> of each channel of the states, the same norm over the outputs of all its layers.
    """

    neurons: dict[str, Tensor] = field(default_factory=dict)
    layers: list[float] = field(default_factory=list)
    channels: dict[str, Tensor] = field(default_factory=dict)


def calibrate(lab: Lab, net: SuperNet, share: float) -> Importance:
    """Measure the importance of the largest network's parts on ``share`` of the tokens, resumable.

    Each batch is charged a whole pass, though it is a forward pass alone.
    """
    checkpoint = lab.checkpoint("calibration")
    batches = lab.train_batches(share)
    if state := checkpoint.load():
        return Importance(dict(state["neurons"]), list(state["layers"]), dict(state["channels"]))
    rank = measure_importance(net.activate(net.space.largest()).eval(), batches)
    checkpoint.save({"neurons": rank.neurons, "layers": rank.layers, "channels": rank.channels})
    return rank


@torch.no_grad()
def measure_importance(model: Any, batches: Iterable[Any]) -> Importance:
    """Measure importance over calibration batches; padding counts for nothing."""
    squares: dict[str, Tensor] = {}
    turned: list[float] = [0.0] * len(model.decoder)
    masks: dict[str, Tensor] = {}
    positions = 0.0

    def count(side: str, name: str, output: Tensor) -> None:
        real = masks[side][..., None]
        mean = (output.float() * real).sum(1) / real.sum(1).clamp(min=1)
        squares[name] = squares.get(name, torch.zeros_like(mean[0])) + mean.square().sum(0)

    def neurons(side: str, name: str) -> Any:
        return lambda _module, _inputs, output: count(side, name, F.relu(output))

    def channels(side: str) -> Any:
        return lambda _module, _inputs, output: count(side, side, output)

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
                stack.callback(block.register_forward_hook(channels(side)).remove)
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
    norms = {name: s.sqrt() for name, s in squares.items()}
    of_sides = {side: norms.pop(side) for side in ("encoder", "decoder")}
    return Importance(norms, [x / positions for x in turned], of_sides)


def pruned_shapes(space: SearchSpace) -> Iterator[Architecture]:
    """Yield the shapes that pruning of the largest network reaches: one width of both sides, one feed-forward
    width for each, and fewer decoder layers."""
    largest = space.largest()
    wide = [set(space.choice(f"{side}_embed_dim").options) for side in ("encoder", "decoder")]
    inner = [space.choice(f"{side}_ffn").options for side in ("encoder", "decoder")]
    widths = sorted(wide[0] & wide[1], reverse=True)
    for width, encoder, decoder, depth in product(widths, *inner, space.choice("decoder_layers").options):
        fields = dict(largest)
        for name, value in largest.items():
            if space.choice(name).depth == "decoder_layers":
                fields[name] = value[:depth]
        fields["encoder_embed_dim"] = fields["decoder_embed_dim"] = width
        fields["decoder_layers"] = depth
        fields["encoder_ffn"] = (encoder,) * largest["encoder_layers"]
        fields["decoder_ffn"] = (decoder,) * depth
        yield space.architecture(fields)


def prune(lab: Lab, teacher: SuperNet, architecture: Architecture, rank: Importance) -> SuperNet:
    """Return a network of this shape with the teacher's most important layers, channels and neurons."""
    student = lab.supernet(only=architecture)
    weights = teacher.source.bake(teacher.space.largest())
    model: Any = teacher.model
    places = channel_places(
        rank, architecture["encoder_embed_dim"], model.positions.cpu(), model.config.share == "all"
    )
    student.source.adopt(pruned_weights(weights, student.source.shapes, architecture, rank, places))
    net: SuperNet = student
    return net


def channel_places(rank: Importance, width: int, table: Tensor, is_shared: bool) -> dict[str, Tensor]:
    """Return side -> the teacher's channel at each of a student's ``width`` places.

    The most important channels are kept. Positions are tied to places, so a channel stays at its own where
    the student has that, and else goes where positions are most like its own.

    Args:
        rank: of the teacher's parts.
        width: of the student's states.
        table: positions ``[length, teacher's width]``.
        is_shared: whether both sides share a table of words, and so their channels.
    """
    importance = rank.channels
    if is_shared:
        both = torch.stack(list(importance.values())).square().sum(0)
        importance = dict.fromkeys(importance, both)
    near = table[:POSITIONS].double().T
    places = {}
    for side, values in importance.items():
        kept = values.cpu().argsort(descending=True, stable=True)[:width].sort().values
        # Sums of squares by products would hide how far slow waves are apart.
        exact = "donot_use_mm_for_euclid_dist"
        apart = torch.cdist(near[kept], near[:width], compute_mode=exact)
        rows, columns = linear_sum_assignment(apart.numpy())
        order = torch.empty(width, dtype=torch.long)
        order[torch.as_tensor(columns)] = kept[torch.as_tensor(rows)]
        places[side] = order
    return places


def pruned_weights(
    weights: Mapping[str, Tensor],
    names: Iterable[str],
    architecture: Architecture,
    rank: Importance,
    places: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Return the teacher's tensors under a student's names: layers chosen, neurons in order of importance,
    channels at their places."""
    kept = kept_layers(rank.layers, architecture["decoder_layers"])
    out: dict[str, Tensor] = {}
    for name in names:
        side, _, rest = name.partition(".")
        source = name
        if side == "decoder":
            number, _, tail = rest.partition(".")
            source = f"decoder.{kept[int(number)]}.{tail}"
        tensor = weights[source]
        for axis, of_side in channel_axes(name).items():
            place = places[of_side].to(tensor.device)
            if "embedding" in name:
                # Words are scaled by the root of the width. Where the table gives the logits, too, they grow
                # by that factor, for part of what the channels that are gone added to them.
                tensor = tensor * (tensor.shape[axis] / len(place)) ** 0.5
            tensor = tensor.index_select(axis, place)
        block, feed_forward, part = source.partition(".feed_forward.")
        if feed_forward:
            order = rank.neurons[block].argsort(descending=True, stable=True).to(tensor.device)
            tensor = tensor[:, order] if part == "fc2.weight" else tensor
            tensor = tensor[order] if part.startswith("fc1.") else tensor
        out[name] = tensor
    return out


def channel_axes(name: str) -> dict[int, str]:
    """Return axis -> side of the channels along it, of one of a translator's tensors."""
    first, _, rest = name.partition(".")
    if first not in ("encoder", "decoder"):
        return {1: "encoder" if first == "source_embedding" else "decoder"}
    part = rest.partition(".")[2]
    if part == "cross.kv.weight":
        return {1: "encoder"}
    if part in READERS:
        return {1: first}
    layer = part.rpartition(".")[0]
    return {0: first} if layer in WRITERS or layer.endswith("_norm") else {}


def kept_layers(importance: Sequence[float], count: int) -> list[int]:
    """Return the ``count`` most important layers in the order in which they run."""
    return sorted(sorted(range(len(importance)), key=lambda i: (-importance[i], i))[:count])
