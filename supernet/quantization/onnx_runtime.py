"""Exported networks in ONNX Runtime, on the processor, under a precision policy.

``Ort`` replaces the PyTorch network: it encodes, or returns logits. Needs the extra ``onnx``.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from supernet.quantization.calibration import LayerRange, Ranges, stored_ranges
from supernet.quantization.fake_quantize import FakeQuantized
from supernet.quantization.onnx_static import Static, fused_sums
from supernet.quantization.onnx_trace import Traced, needed, trace
from supernet.quantization.precisions import STATIC, Policy, Served, lowered, needs_ranges
from supernet.quantization.rounding import LARGEST, REDUCED

NAME = "ort"
"""Name of the runtime in options and signatures."""
KERNELS = {
    "int8": (
        *("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulInteger", "ConvInteger"),
        *("QLinearMatMul", "QGemm"),
    ),
    "w4": ("MatMulNBits",),
    "int8s convolution": ("QLinearConv",),
}
"""Precision -> operators of which one runs for each of its layers, whatever the optimiser fuses.

``int8`` includes linear layers in ``int8s``, whose kernel is the same."""
SUMS = ("QLinearAdd",)
"""Operators of residual sums between rounded tensors."""
DISABLED_OPTIMIZERS = ("WeightBiasQuantization",)
"""Optimizers that sessions leave out: they would quantise float32 layers between rounded tensors."""


def version() -> str:
    """Return name and version of the runtime, for signatures."""
    return f"{NAME}-{needed('onnxruntime').__version__}"


def recipe(layers: Iterable[str], policy: Policy | None) -> dict[str, str]:
    """Return the arithmetic of networks whose ``layers`` are under ``policy``: ``rt``, ``prec``, and an entry
    for each precision except fp32."""
    used = sorted({(policy or {}).get(name, "fp32") for name in layers})
    how = {"int8": "w8c-a8t", "w4": "w4g32-a8g32"}
    if STATIC in used:
        how[STATIC] = f"w{8 if largest_weight() == LARGEST else 7}c-a8t-static"
    return {"rt": version(), "prec": "+".join(used)} | {name: how[name] for name in used if name in how}


@cache
def check_machine() -> None:
    """Refuse int8 on processors whose integer products overflow (x86 without VNNI adds pairs in 16 bits).

    Raises:
        ValueError: they overflow, or ONNX Runtime is not installed.
    """
    if not _exact("int8", LARGEST):
        raise ValueError(
            "int8 products of ONNX Runtime overflow on this processor (no VNNI): fp32, w4 and int8s are right"
            " here"
        )


@cache
def largest_weight() -> int:
    """Return the largest magnitude of ``int8s`` weights whose products are exact on this machine.

    ``LARGEST``; or ``REDUCED``, which is 7 bits, on x86 processors without VNNI.

    Raises:
        ValueError: neither is exact, or ONNX Runtime is not installed.
    """
    for largest in (LARGEST, REDUCED):
        if _exact(STATIC, largest):
            return largest
    raise ValueError("int8 products of ONNX Runtime are wrong on this processor: take fp32 or w4")


def _exact(precision: str, largest: int) -> bool:
    """Return whether the runtime's products of the largest numbers are exact."""
    net = nn.Linear(64, 32, bias=False)
    nn.init.constant_(net.weight, float(largest))
    x = torch.full((1, 4, 64), 255.0)
    static = Static({"": LayerRange(0.0, 255.0, 0.0, 1.0)}, largest)
    traced = trace(net, [x.repeat(2, 1, 1)], fold=True)
    products = Ort(traced, {"": precision}, static=static, checked=True)(x)
    return bool((products - 64 * largest * 255).abs().max() < 1)


def on_this_machine(ranges: Ranges) -> Static:
    """Return ranges with weights as large as this machine's products allow."""
    return Static(ranges, largest_weight())


def imitate(module: nn.Module, policy: Policy) -> nn.Module:
    """Return an exported network as this runtime computes it under a policy, in torch.

    Static layers take the ranges that the export has (``supernet.quantization.calibration.store_ranges``).
    """
    ranges = stored_ranges(module)
    largest = largest_weight() if ranges else LARGEST
    return FakeQuantized(module, runtime=NAME, ranges=ranges or None, largest=largest).select([policy])


def open_session(graph: bytes, threads: int = 1, profile: str | None = None) -> Any:
    """Open an ONNX file as a session of the runtime, on ``threads`` threads.

    Args:
        profile: prefix of the profile's file; None: no profiling.
    """
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that spin between calls would take the processor from whatever is timed in turns with this.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return runtime.InferenceSession(
        graph, options, providers=["CPUExecutionProvider"], disabled_optimizers=DISABLED_OPTIMIZERS
    )


class Ort(Served):
    """A traced network under a policy, called with tensors; single-threaded by default.

    Args:
        static: ranges of the layers in ``int8s``; ``on_this_machine`` makes them.
        int8_words: embedding tables are in int8.

    Raises:
        ValueError: ONNX Runtime is not installed, has no such kernel, or computes wrongly on this machine.
    """

    def __init__(
        self,
        traced: Traced,
        policy: Policy | None = None,
        *,
        static: Static | None = None,
        int8_words: bool = False,
        threads: int = 1,
        checked: bool = False,
    ) -> None:
        super().__init__()
        self.policy = lowered(policy) or {}
        if "int8" in self.policy.values() and not checked:
            check_machine()
        self.traced, self.threads = traced, threads
        self.graph = traced.under(self.policy, static, int8_words=int8_words)
        self.session = self._session()
        self.inputs = [given.name for given in self.session.get_inputs()]

    def _session(self, profile: str | None = None) -> Any:
        return open_session(self.graph, self.threads, profile)

    def infer(self, *inputs: Tensor) -> Tensor:
        given = {name: x.numpy() for name, x in zip(self.inputs, inputs, strict=True)}
        y: Tensor = torch.from_numpy(self.session.run(None, given)[0])
        return y

    def due(self) -> dict[str, int]:
        """Return the key of ``KERNELS`` -> number of the graph's layers that must run in it."""
        counts = dict.fromkeys(KERNELS, 0)
        for name in self.traced.calls:
            precision = self.policy.get(name, "fp32")
            if precision == STATIC:
                precision = "int8" if len(self.traced.layers[name]) == 2 else "int8s convolution"
            if precision in counts:
                counts[precision] += 1
        return counts

    def due_sums(self) -> int:
        """Return the number of residual sums that must run in int8."""
        if not needs_ranges(self.policy):
            return 0
        return fused_sums(needed().load_from_string(self.graph))

    def executed(self, *inputs: Tensor) -> dict[str, int]:
        """Return operator -> number of its runs for these inputs, from the runtime's own profile."""
        with tempfile.TemporaryDirectory() as folder:
            session = self._session(os.path.join(folder, "run"))
            session.run(None, {name: x.numpy() for name, x in zip(self.inputs, inputs, strict=True)})
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        counts: dict[str, int] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                kind = event["args"]["op_name"]
                counts[kind] = counts.get(kind, 0) + 1
        return counts

    def recipe(self) -> dict[str, str]:
        """Return the arithmetic of the network, for the signatures of its figures."""
        return recipe(self.traced.layers, self.policy)


def encoder(module: nn.Module, policy: Policy | None = None, *, length: int = 8, threads: int = 1) -> Ort:
    """Return the encoder of an exported network in ONNX Runtime (``encode``: token ids to states).

    Raises:
        ValueError: as ``Ort``, or the policy names a layer that encoding does not run.
    """
    return Ort(traced_encoder(module, length), policy, threads=threads)


def traced_encoder(module: nn.Module, length: int = 8, *, fold: bool = False) -> Traced:
    """Trace the encoder of an exported network, to be written out under many policies.

    Args:
        fold: fold batch norms, as static int8 needs.
    """
    tokens = torch.full((2, length), 4)
    axes = {"tokens": {0: "b", 1: "t"}}
    return trace(module, [tokens], call=lambda net, *given: net.encode(*given), axes=axes, fold=fold)
