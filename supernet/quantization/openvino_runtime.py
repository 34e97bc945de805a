"""Exported networks in OpenVINO, on the processor: the same ONNX files as in ONNX Runtime.

Static int8 (QDQ) and float32 run as they stand; bfloat16 is a hint for all layers, on processors that have
it. OpenVINO has no kernels for the operators of dynamic int8 and of W4 in these files. Needs the extra
``openvino``, imported at first use.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from supernet.quantization.onnx_static import Static
from supernet.quantization.onnx_trace import Traced
from supernet.quantization.precisions import STATIC, Policy, Served, lowered
from supernet.quantization.rounding import LARGEST

if TYPE_CHECKING:
    from types import ModuleType

NAME = "openvino"
"""Name of the runtime in options and signatures."""
MIXED = ("fp32", STATIC)
"""Precisions of this runtime that the layers of one network may mix."""
PRECISIONS = ("fp32", "bf16", STATIC)
"""All precisions of this runtime; bf16 is one of all layers."""
PRODUCTS = ("Convolution", "FullyConnected", "MatMul")
"""Kinds of executed nodes that multiply."""
WHOLE = ("u8", "i8")
"""Types of inputs of products in whole numbers."""
KERNELS = {STATIC: tuple(f"{kind} {word}" for kind in PRODUCTS for word in WHOLE)}
"""Precision -> keys of ``OpenVino.executed`` of which one runs for each of its layers."""


def needed() -> ModuleType:
    """Import OpenVINO.

    Raises:
        ValueError: it is not installed; the message names the command that does.
    """
    try:
        return importlib.import_module("openvino")
    except ImportError:
        raise ValueError(
            "this runtime needs openvino, which is not installed:"
            " python3 -m pip install 'supernet-bench[openvino]'"
        ) from None


def version() -> str:
    """Return name and version of the runtime, for signatures."""
    return f"{NAME}-{needed().__version__.partition('-')[0]}"


class _SignalStack(ctypes.Structure):
    """Stack on which a thread's signal handlers run: ``stack_t`` of sigaltstack(2)."""

    _fields_ = (("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Keep this thread's stack for signal handlers, which OpenVINO exchanges while it compiles a network.

    It frees its own with the network, and of two networks leaves the freed one in place: a handler would run
    on memory that is gone, and Ctrl-C end the process with a segmentation fault.
    """
    libc, before = ctypes.CDLL(None), _SignalStack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)


def has_bf16() -> bool:
    """Return whether this processor computes bfloat16."""
    capabilities = needed().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities


class OpenVino(Served):
    """A traced network under a policy, called with tensors; one thread by default.

    Args:
        static: ranges of the layers in ``int8s``.

    Raises:
        ValueError: OpenVINO is not installed, a precision is not one of this runtime, bfloat16 is mixed with
            others, or the processor lacks it.
    """

    def __init__(
        self, traced: Traced, policy: Policy | None = None, *, static: Static | None = None, threads: int = 1
    ) -> None:
        super().__init__()
        self.policy = lowered(policy) or {}
        used = {self.policy.get(name, "fp32") for name in traced.layers}
        other = used - set(PRECISIONS)
        if other:
            raise ValueError(
                f"OpenVINO has no kernel for {min(other)} in these files: choose one of"
                f" {', '.join(PRECISIONS)}"
            )
        if "bf16" in used and (used != {"bf16"} or not has_bf16()):
            raise ValueError(
                "bf16 in OpenVINO is one of all layers, on processors that have it: take fp32, int8s, or the"
                " torch runtime"
            )
        self.bits = 8 if static is None or static.largest == LARGEST else 7
        self.traced, self.bf16 = traced, used == {"bf16"}
        self.graph = traced.under({} if self.bf16 else self.policy, static)
        core = needed().Core()
        with signal_stack_kept():
            self.compiled = core.compile_model(
                core.read_model(self.graph),
                "CPU",
                {
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": 1,
                    "INFERENCE_PRECISION_HINT": "bf16" if self.bf16 else "f32",
                },
            )
            self.request = self.compiled.create_infer_request()

    def infer(self, *inputs: Tensor) -> Tensor:
        results = self.request.infer([x.numpy() for x in inputs], share_inputs=True)
        return torch.from_numpy(results[self.compiled.output(0)].copy())

    def executed(self, *inputs: Tensor) -> dict[str, int]:
        """Return ``KIND TYPE`` -> number of such nodes in the compiled graph, such as ``Convolution u8``.

        The type is that in which the node computes. The graph is the same for all inputs.
        """
        counts: dict[str, int] = {}
        for node in self.compiled.get_runtime_model().get_ops():
            about = {str(key): str(getattr(x, "value", x)) for key, x in dict(node.get_rt_info()).items()}
            key = f"{about.get('layerType')} {about.get('runtimePrecision')}"
            counts[key] = counts.get(key, 0) + 1
        return counts

    def due(self) -> dict[str, int]:
        """Return the key of ``KERNELS`` -> number of the graph's layers that must run in it."""
        return {STATIC: sum(self.policy.get(name) == STATIC for name in self.traced.calls)}

    def recipe(self) -> dict[str, str]:
        """Return the arithmetic of the network, for the signatures of its figures."""
        used = sorted({self.policy.get(name, "fp32") for name in self.traced.layers})
        how = {STATIC: f"w{self.bits}c-a8t-static", "bf16": "w16-a16"}
        return {"rt": version(), "prec": "+".join(used)} | {name: how[name] for name in used if name in how}
