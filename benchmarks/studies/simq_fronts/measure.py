"""Deployed accuracy, size and latency of points of tables: ONNX files, run and timed in ONNX Runtime.

A folder holds a table's supernet as ``NAME.safetensors`` (``supernet.supernet_file``) and its held-out data
as ``NAME.items.safetensors``: ``inputs0``, ``inputs1`` for a second input, and ``labels``. Each network is
exported once, checked by the gates, and evaluated item by item, as it is deployed; sentences without padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.api import UsageError
from benchmarks.measurement import process_time
from benchmarks.measurement.serving import check_served
from benchmarks.measurement.tracing import trace_network
from benchmarks.records.canonical import JsonObject, JsonView
from supernet import supernet_file
from supernet.elastic import SuperNet
from supernet.export import CorruptExportError
from supernet.quantization.calibration import calibrate
from supernet.quantization.onnx_runtime import Ort, on_this_machine, open_session
from supernet.quantization.precisions import STATIC, needs_ranges

Array = NDArray[np.float64]
PAD = 0
GATED = 16
"""Items on which a point is compared with fp32."""

Network = tuple[JsonObject, dict[str, str]]
"""Architecture and policy: linear layer or convolution -> precision."""


@dataclass(frozen=True)
class MeasuredPoint:
    """Measurements of one network of a table under one policy.

    Attributes:
        losses: cross-entropy in nats of every held-out item ``[items]``.
        hits: 1 for every item ``[items]`` whose likeliest class is right, else 0.
        size: bytes of its ONNX file.
        graph: the file.
        apart: distance of its outputs from those in fp32; see ``benchmarks.measurement.parity``.
    """

    losses: Array
    hits: Array
    size: int
    graph: bytes
    apart: float


@dataclass(frozen=True)
class Items:
    """Held-out items; indexing returns the inputs of one item as a batch of one row."""

    inputs: tuple[Tensor, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, ...]:
        row = tuple(x[i : i + 1] for x in self.inputs)
        if len(row) == 1 and not row[0].is_floating_point():
            row = (row[0][:, : int((row[0] != PAD).sum())],)
        return row


def supernet_path(folder: Path, name: str) -> Path:
    """Return the file of a table's supernet.

    Raises:
        UsageError: the file does not exist.
    """
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise UsageError(
            f"'{path}' is not there: a table and its supernet are made together, by supernet-bench study"
            " simq-tables build --cache FOLDER --out FOLDER"
        )
    return path


def read_supernet(path: Path, device: str) -> tuple[SuperNet, dict[str, str]]:
    """Return the supernet of a file, and the file's metadata.

    Raises:
        UsageError: the file is damaged or no supernet.
    """
    try:
        return supernet_file.load(path, device)
    except CorruptExportError as error:
        raise UsageError(
            f"{error}\nbuild its table again, supernet-bench study simq-tables build, or copy the file again"
        ) from None


def check_supernet(folder: Path, head: JsonView) -> None:
    """Check that the supernet in the folder is the one that a table was made with.

    Raises:
        UsageError: the file is missing or damaged, or belongs to another supernet.
    """
    path = supernet_path(folder, str(head["name"]))
    _, metadata = read_supernet(path, "cpu")
    digest = metadata.get("weights_sha256")
    if digest != head.get("weights_sha256"):
        raise UsageError(
            f"'{path}' is not the supernet of table {head['name']}, whose weights are"
            f" {str(head.get('weights_sha256'))[:12]}...: take the file that was written with the table"
        )


@lru_cache(maxsize=4)
def load_items(folder: Path, name: str, most: int) -> Items:
    """Return the first ``most`` held-out items of a table.

    Raises:
        UsageError: their file does not exist.
    """
    from safetensors.torch import load_file

    path = folder / f"{name}.items.safetensors"
    if not path.is_file():
        raise UsageError(
            f"'{path}' is not there: supernet-bench study simq-tables held-out --cache FOLDER --out"
            f" '{folder}' writes the held-out data of tables"
        )
    tensors = load_file(path)
    inputs = tuple(tensors[key][:most] for key in sorted(tensors) if key.startswith("inputs"))
    return Items(inputs, tensors["labels"][:most])


@lru_cache(maxsize=1)
def load_supernet(path: Path) -> SuperNet:
    """Return the supernet of a file.

    Raises:
        UsageError: the file is damaged or no supernet.
    """
    return read_supernet(path, "cpu")[0]


def measure_point(
    folder: Path, name: str, most: int, network: Network, *, int8_words: bool = False
) -> MeasuredPoint:
    """Export one architecture and policy as an ONNX file, check it, and evaluate it on every item.

    Static layers are calibrated on the training data that the supernet's file holds.

    Raises:
        UsageError: a layer is static, and the file holds none.
        MeasurementRejectedError: it does not pass a gate.
    """
    torch.set_num_threads(1)
    net, held = load_supernet(supernet_path(folder, name)), load_items(folder, name, most)
    architecture, policy = network
    plain = net.export(net.space.architecture(architecture))
    width = max(held.inputs[0].shape[-1], 2)
    two = tuple(x[:2, :width] if x.dim() == 2 else x[:2] for x in held.inputs)
    if needs_ranges(policy):
        if not net.statistics_batches:
            raise UsageError(
                f"'{supernet_path(folder, name)}' holds no training data to calibrate {STATIC} on: build the"
                " table again, with supernet-bench study simq-tables build"
            )
        ranges = calibrate(plain, [inputs for inputs, _ in net.statistics_batches], real=real_tokens)
        static = on_this_machine(ranges)
    else:
        static = None
    traced = trace_network(plain, two, fold=static is not None)
    served = Ort(traced, policy, static=static, int8_words=int8_words)
    apart = check_served(served, plain, [held[i] for i in range(min(GATED, len(held)))])
    with torch.inference_mode():
        logits = torch.cat([served(*held[i]) for i in range(len(held))])
    losses = torch.nn.functional.cross_entropy(logits, held.labels, reduction="none")
    hits = logits.argmax(-1) == held.labels
    return MeasuredPoint(
        losses.double().numpy(), hits.double().numpy(), len(served.graph), bytes(served.graph), apart
    )


def real_tokens(*inputs: Tensor) -> Tensor | None:
    """Return the places of a batch of sentences without padding ``[B, T, 1]``; None for images."""
    if len(inputs) > 1 or inputs[0].is_floating_point():
        return None
    return (inputs[0] != PAD)[..., None]


def open_graph(graph: bytes) -> Callable[..., object]:
    """Return a callable that runs an ONNX file on tensors, with one thread."""
    session = open_session(graph)
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Tensor) -> object:
        return session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})

    return run


def time_points(
    anchor: MeasuredPoint, points: Sequence[MeasuredPoint], held: Items, rounds: int
) -> process_time.RoundTimes:
    """Time points interleaved with the anchor, on another held-out item every round."""
    served = [open_graph(point.graph) for point in (anchor, *points)]
    return process_time.time_networks(served, lambda i: held[i % len(held)], rounds)


def measure_bfloat16(
    folder: Path, name: str, most: int, network: Network, rounds: int
) -> tuple[MeasuredPoint, process_time.RoundTimes]:
    """Measure a network with all layers of the policy in bfloat16, interleaved with itself in fp32.

    Both run in torch, because ONNX Runtime has no bfloat16 kernels. The size is that of the weights.
    """
    from supernet.cost import weight_bytes
    from supernet.quantization.precisions import quantize

    torch.set_num_threads(1)
    net, held = load_supernet(supernet_path(folder, name)), load_items(folder, name, most)
    architecture, policy = network
    plain = net.export(net.space.architecture(architecture))
    low = quantize(plain, dict.fromkeys(policy, "bf16"))
    with torch.inference_mode():
        logits = torch.cat([low(*held[i]) for i in range(len(held))])
        apart = float((logits[:8] - torch.cat([plain(*held[i]) for i in range(min(8, len(held)))])).norm())
        apart /= max(float(logits[:8].norm()), math.ulp(1.0))
    losses = torch.nn.functional.cross_entropy(logits, held.labels, reduction="none").double().numpy()
    hits = (logits.argmax(-1) == held.labels).double().numpy()
    size = weight_bytes(net.family, architecture, dict.fromkeys(policy, "bf16"))
    times = process_time.time_networks([plain, low], lambda i: held[i % len(held)], rounds)
    return MeasuredPoint(losses, hits, size, b"", apart), times
