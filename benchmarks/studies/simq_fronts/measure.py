"""Points of tables as what they are deployed as: ONNX files, run and timed in ONNX Runtime.

A table's supernet lies in a folder as ``NAME.safetensors`` (``supernet.supernet_file``) and the held-out
data as
``NAME.items.safetensors``: ``inputs0``, ``inputs1`` where there are two, and ``labels``. Files of one
architecture and policy are made once, gated, and asked item by item, as they are deployed; sentences without
their padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.api import UsageError
from benchmarks.measurement import process_time
from benchmarks.measurement.serving import check_served
from benchmarks.measurement.tracing import trace_network
from supernet import supernet_file
from supernet.quantization.onnx_runtime import Ort, opened

Array = NDArray[np.float64]
PAD = 0
GATED = 16
"""Items that a point is compared with fp32 on."""


@dataclass(frozen=True)
class Point:
    """A network of a table under a policy, measured.

    Attributes:
        losses, hits: of every held-out item ``[items]``: nats, and whether the likeliest class is right.
        size: bytes of its ONNX file.
        graph: the file.
        apart: distance of its outputs from those in fp32, as ``benchmarks.measurement.parity`` has it.
    """

    losses: Array
    hits: Array
    size: int
    graph: bytes
    apart: float


@dataclass(frozen=True)
class Items:
    """Held-out items, each of one row."""

    inputs: tuple[Tensor, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, ...]:
        found = tuple(x[i : i + 1] for x in self.inputs)
        if len(found) == 1 and not found[0].is_floating_point():
            found = (found[0][:, : int((found[0] != PAD).sum())],)
        return found


def weights(folder: Path, name: str) -> Path:
    """The file of a table's supernet.

    Raises:
        UsageError: it is not there.
    """
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise UsageError(
            f"'{path}' is not there: the supernet of a table is made with it, by python -m"
            " tests.bench.tabulate --cache FOLDER --out FOLDER"
        )
    return path


def check(folder: Path, head: Mapping[str, Any]) -> None:
    """Whether the supernet in the folder is the one that a table was made with.

    Raises:
        UsageError: it is another, or there is none.
    """
    from safetensors import safe_open

    path = weights(folder, str(head["name"]))
    with safe_open(path, "pt") as file:
        found = (file.metadata() or {}).get("weights_sha256")
    if found != head.get("weights_sha256"):
        raise UsageError(
            f"'{path}' is not the supernet of table {head['name']}, whose weights are"
            f" {str(head.get('weights_sha256'))[:12]}...: take the file that was written with the table"
        )


@lru_cache(maxsize=4)
def items(folder: Path, name: str, most: int) -> Items:
    """The first ``most`` held-out items of a table.

    Raises:
        UsageError: they are not there.
    """
    from safetensors.torch import load_file

    path = folder / f"{name}.items.safetensors"
    if not path.is_file():
        raise UsageError(
            f"'{path}' is not there: python -m tests.bench.items --cache FOLDER --out '{folder}' writes the"
            " held-out data of tables"
        )
    found = load_file(path)
    inputs = tuple(found[key][:most] for key in sorted(found) if key.startswith("inputs"))
    return Items(inputs, found["labels"][:most])


@lru_cache(maxsize=1)
def _network(path: Path) -> Any:
    return supernet_file.load(path)[0]


def measured(folder: Path, name: str, most: int, asked: tuple[dict[str, Any], dict[str, str]]) -> Point:
    """One architecture and policy: exported, written out, gated, and asked every item.

    Raises:
        MeasurementRejectedError: it does not pass a gate.
    """
    torch.set_num_threads(1)
    net, held = _network(weights(folder, name)), items(folder, name, most)
    architecture, policy = asked
    plain = net.export(net.space.architecture(architecture))
    width = max(held.inputs[0].shape[-1], 2)
    two = tuple(x[:2, :width] if x.dim() == 2 else x[:2] for x in held.inputs)
    served = Ort(trace_network(plain, two), policy)
    apart = check_served(served, plain, [held[i] for i in range(min(GATED, len(held)))])
    with torch.inference_mode():
        logits = torch.cat([served(*held[i]) for i in range(len(held))])
    losses = torch.nn.functional.cross_entropy(logits, held.labels, reduction="none")
    hits = logits.argmax(-1) == held.labels
    return Point(
        losses.double().numpy(), hits.double().numpy(), len(served.graph), bytes(served.graph), apart
    )


def network(graph: bytes) -> Callable[..., Any]:
    """An ONNX file, to be called with tensors; one thread."""
    session = opened(graph)
    names = [given.name for given in session.get_inputs()]

    def run(*inputs: Tensor) -> Any:
        return session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})

    return run


def timed(anchor: Point, points: Sequence[Point], held: Items, rounds: int) -> process_time.RoundTimes:
    """Points in turns with the anchor, another held-out item every round."""
    served = [network(point.graph) for point in (anchor, *points)]
    return process_time.time_networks(served, lambda i: held[i % len(held)], rounds)


def bfloat16(
    folder: Path, name: str, most: int, asked: tuple[dict[str, Any], dict[str, str]], rounds: int
) -> tuple[Point, process_time.RoundTimes]:
    """A network with all layers of the policy in bfloat16, by torch's kernels, for ONNX Runtime has none; in
    turns with itself in fp32, also in torch. Its size is that of its weights."""
    from supernet.quantization.precisions import quantize

    torch.set_num_threads(1)
    net, held = _network(weights(folder, name)), items(folder, name, most)
    architecture, policy = asked
    plain = net.export(net.space.architecture(architecture))
    low = quantize(plain, dict.fromkeys(policy, "bf16"))
    with torch.inference_mode():
        logits = torch.cat([low(*held[i]) for i in range(len(held))])
        apart = float((logits[:8] - torch.cat([plain(*held[i]) for i in range(min(8, len(held)))])).norm())
        apart /= max(float(logits[:8].norm()), math.ulp(1.0))
    losses = torch.nn.functional.cross_entropy(logits, held.labels, reduction="none").double().numpy()
    hits = (logits.argmax(-1) == held.labels).double().numpy()
    from supernet.cost import weight_bytes

    size = weight_bytes(net.family, architecture, dict.fromkeys(policy, "bf16"))
    found = process_time.time_networks([plain, low], lambda i: held[i % len(held)], rounds)
    return Point(losses, hits, size, b"", apart), found
