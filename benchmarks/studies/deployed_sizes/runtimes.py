"""Runtimes of study ``deployed-sizes``: a network in each precision that a runtime has, ready to be timed.

Torch alone and Inductor compile nothing into files; ONNX Runtime and OpenVINO run the same ONNX files.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.measurement import parity
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.measurement.serving import check_served
from benchmarks.studies.deployed_sizes.networks import SizedNetwork
from supernet.quantization import openvino_runtime
from supernet.quantization.calibration import calibrate
from supernet.quantization.folding import fold_batch_norms
from supernet.quantization.onnx_runtime import Ort, on_this_machine
from supernet.quantization.onnx_runtime import version as ort_version
from supernet.quantization.onnx_static import Static
from supernet.quantization.onnx_trace import Traced
from supernet.quantization.openvino_runtime import OpenVino
from supernet.quantization.precisions import STATIC, quantize, units

Call = Callable[[Tensor], object]
CALIBRATED_ON, GATED = 8, 2
"""Samples that ranges come from, and samples that a network is compared with float32 on."""
INT8_PRODUCTS = ("onednn::qlinear", "onednn::qconv")
"""Beginnings of the names of Inductor's products in whole numbers."""
PLAIN = "fp32"
"""Precision that all others of a runtime are compared with."""


@dataclass(frozen=True)
class Built:
    """A network in one precision: its call, and bytes of its file (0 if it has none)."""

    call: Call
    size: int = 0


@dataclass(frozen=True)
class Runtime:
    """Builders of a runtime's precisions, float32 first.

    Attributes:
        name: with its version, for signatures.
        builders: precision -> network and threads to what is timed; each passes its gates first, and raises
            ``MeasurementRejectedError`` or ``ValueError`` otherwise.
    """

    name: str
    builders: Mapping[str, Callable[[SizedNetwork, int], Built]]


def runtimes() -> tuple[list[Runtime], list[str]]:
    """Return the runtimes that are installed, and the pip packages of those that are not."""
    installed = [_torch(), _onnx_runtime()]
    absent = []
    if importlib.util.find_spec("openvino"):
        installed.append(_openvino())
    else:
        absent.append("openvino")
    if importlib.util.find_spec("torchao"):
        installed.append(_inductor())
    else:
        absent.append("torchao")
    return installed, absent


def _torch() -> Runtime:
    def bf16(network: SizedNetwork, threads: int) -> Built:
        return _near(network, quantize(network.module, dict.fromkeys(units(network.module), "bf16")))

    version = torch.__version__.partition("+")[0]
    return Runtime(f"torch-{version}", {PLAIN: lambda network, _: Built(network.module), "bf16": bf16})


def _onnx_runtime() -> Runtime:
    def under(precision: str) -> Callable[[SizedNetwork, int], Built]:
        def build(network: SizedNetwork, threads: int) -> Built:
            traced, static = _traced(network, precision)
            policy = dict.fromkeys(traced.layers, precision) if precision != PLAIN else {}
            served = Ort(
                traced, policy, static=static, int8_words=precision in ("int8", STATIC), threads=threads
            )
            check_served(served, network.module, _samples(network))
            return Built(served, len(served.graph))

        return build

    return Runtime(ort_version(), {name: under(name) for name in (PLAIN, "int8", STATIC, "w4")})


def _openvino() -> Runtime:
    def under(precision: str) -> Callable[[SizedNetwork, int], Built]:
        def build(network: SizedNetwork, threads: int) -> Built:
            traced, static = _traced(network, precision)
            policy = dict.fromkeys(traced.layers, precision) if precision != PLAIN else {}
            served = OpenVino(traced, policy, static=static, threads=threads)
            check_served(served, network.module, _samples(network))
            return Built(served, len(served.graph))

        return build

    return Runtime(openvino_runtime.version(), {name: under(name) for name in openvino_runtime.PRECISIONS})


def _inductor() -> Runtime:
    """Return torch's compiler with frozen weights; static int8 by torchao's PT2E for x86."""

    def plain(network: SizedNetwork, threads: int) -> Built:
        return _near(network, _compiled(network.module, network))

    def bf16(network: SizedNetwork, threads: int) -> Built:
        return _near(network, _compiled(_Autocast(network.module), network))

    def static(network: SizedNetwork, threads: int) -> Built:
        pt2e: Any = importlib.import_module("torchao.quantization.pt2e.quantize_pt2e")
        x86: Any = importlib.import_module("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
        quantizer = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
        with torch.no_grad():
            # Its quantiser expects parameters where ours computes the statistics of batch norms.
            folded = fold_batch_norms(network.module)
            exported = torch.export.export(folded, (network.inputs(1),)).module()
            prepared = pt2e.prepare_pt2e(exported, quantizer)
            for sample in network.samples(CALIBRATED_ON):
                prepared(sample)
            converted = pt2e.convert_pt2e(prepared)
        built = _near(network, _compiled(converted, network))
        executed, due = _int8_kernels(built.call, network.inputs(1)), len(network.traced().calls)
        if executed < due:
            raise MeasurementRejectedError(f"in Inductor, {executed} int8 kernels ran for {due} layers")
        return built

    version = torch.__version__.partition("+")[0]
    return Runtime(f"inductor-{version}", {PLAIN: plain, "bf16": bf16, STATIC: static})


@contextmanager
def _frozen() -> Iterator[None]:
    """Let Inductor take weights as constants, which its int8 kernels need."""
    import torch._inductor.config as settings

    with settings.patch(freezing=True):
        yield


class _Autocast(nn.Module):
    """A network whose products are in bfloat16; frozen, its weights are cast once."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            y: Tensor = self.module(x)
        return y


def _compiled(module: nn.Module, network: SizedNetwork) -> Call:
    """Return a compiled network, called once so that nothing is compiled while it is timed."""
    compiled: Call = torch.compile(module)
    # Made outside: a tensor of inference mode is compiled for anew, and later without frozen weights.
    sample = network.inputs(1)
    with _frozen(), torch.inference_mode():
        compiled(sample)

    def call(x: Tensor) -> object:
        with torch._dynamo.config.patch(error_on_recompile=True):
            return compiled(x)

    return call


def _int8_kernels(call: Call, sample: Tensor) -> int:
    """Return the number of int8 products that a call executes, from torch's own profile."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled, torch.inference_mode():
        call(sample)
    return sum(event.count for event in profiled.key_averages() if event.key.startswith(INT8_PRODUCTS))


def _near(network: SizedNetwork, call: Call) -> Built:
    """Check outputs on the gate's samples against float32.

    Raises:
        MeasurementRejectedError: they are farther apart than ``parity.MAX_DISTANCE``.
    """
    samples = network.samples(GATED)
    with torch.inference_mode():
        expected = torch.cat([network.module(x) for x in samples])
        outputs = torch.cat([torch.as_tensor(call(x)).float() for x in samples])
    parity.check_distance(outputs, expected)
    return Built(call)


def _samples(network: SizedNetwork) -> list[tuple[Tensor]]:
    return [(x,) for x in network.samples(GATED)]


def _traced(network: SizedNetwork, precision: str) -> tuple[Traced, Static | None]:
    """Return the traced network, and for static int8 the ranges of its layers."""
    if precision != STATIC:
        return network.traced(), None
    ranges = calibrate(network.module, [(x,) for x in network.samples(CALIBRATED_ON)])
    return network.traced(fold=True), on_this_machine(ranges)
