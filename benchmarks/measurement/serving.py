"""Serving of exported networks under a policy: by torch, or the runtime that the tier's workload names.

A tier's ``workload.runtime`` decides for all of its networks, the reference included, so two runtimes are
never compared. The signature of a latency names any runtime but torch (``rt:ort-1.32.0``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from benchmarks.measurement import parity
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.measurement.workload import Workload
from supernet.quantization import openvino_runtime
from supernet.quantization.calibration import stored_ranges
from supernet.quantization.onnx_runtime import KERNELS, SUMS, Ort, imitate, on_this_machine, traced_encoder
from supernet.quantization.onnx_trace import Traced
from supernet.quantization.openvino_runtime import OpenVino
from supernet.quantization.precisions import Policy, Served, check, needs_ranges, quantize, units

NAMES: dict[type[Served], str] = {Ort: "ONNX Runtime", OpenVino: "OpenVINO"}
"""Runtime's class -> its name in messages."""


def serve(
    plain: nn.Module,
    policy: Policy | None,
    workload: Workload,
    device: str = "cpu",
    threads: int | None = None,
) -> nn.Module:
    """Return ``plain`` as it is timed: under the policy, in the workload's runtime.

    Args:
        plain: the exported network in float32.
        policy: precision of each layer by name; None for float32.
        workload: one inference; its ``runtime`` serves the network.
        device: ``cpu`` or ``cuda``.
        threads: threads of another runtime, fixed from here on; None for torch's current number.

    Raises:
        ValueError: the policy does not fit this network and runtime, or the machine cannot run it.
    """
    if workload.runtime == "torch":
        return quantize(plain, policy) if policy else plain.to(device)
    if device != "cpu":
        raise ValueError(f"runtime {workload.runtime} serves on the processor, and this profile is {device}")
    if workload.steps:
        raise ValueError(
            f"runtime {workload.runtime} serves encoders and classifiers: decoding step by step is torch's"
        )
    return _graph(plain.cpu(), policy, workload, threads)


def _graph(plain: nn.Module, policy: Policy | None, workload: Workload, threads: int | None) -> Served:
    """Return the part of ``plain`` that the workload runs, under the policy: of encoders no head."""
    check(policy or {}, units(plain))
    is_static = needs_ranges(policy)
    traced = _trace(plain, workload, is_static)
    body = {name: precision for name, precision in (policy or {}).items() if name in traced.layers}
    static = on_this_machine(stored_ranges(plain)) if is_static else None
    serve_in: type[Ort | OpenVino] = OpenVino if workload.runtime == openvino_runtime.NAME else Ort
    return serve_in(traced, body, static=static, threads=threads or torch.get_num_threads())


def _trace(plain: nn.Module, workload: Workload, fold: bool) -> Traced:
    if not workload.image:
        return traced_encoder(plain, workload.source_len, fold=fold)
    from supernet.quantization.onnx_trace import trace

    inputs = [x.repeat(2, *[1] * (x.dim() - 1)) for x in workload.inputs(workload.source("cpu"))]
    names = ("pixels", "tokens")[: len(inputs)]
    axes = {name: {0: "batch"} for name in (*names, "output")}
    return trace(plain, inputs, names=(names, ("output",)), axes=axes, fold=fold)


def scoring_module(
    plain: nn.Module, policy: Policy | None, workload: Workload, threads: int | None = None
) -> nn.Module:
    """Return ``plain`` as it is scored: like ``serve``, but with the heads that encoders are timed without.

    The heads run in torch, under the same policy. Another runtime runs an encoder sample by sample, as it is
    deployed, because activation ranges over a batch would differ.

    Raises:
        ValueError: as ``serve``.
    """
    if workload.runtime == "torch":
        return quantize(plain, policy) if policy else plain
    graph = _graph(plain, policy, workload, threads).one_by_one()
    if workload.image:
        return graph
    heads = {name: p for name, p in (policy or {}).items() if name not in graph.traced.layers}
    module: Any = imitate(plain, heads) if needs_ranges(heads) else quantize(plain, heads)
    module.encode = graph.encode
    scored: nn.Module = module
    return scored


def serve_checked(
    plain: nn.Module, policy: Policy | None, workload: Workload, threads: int | None = None
) -> nn.Module:
    """Serve ``plain`` on the processor and pass it through the gates of ``benchmarks.measurement.parity``.

    Raises:
        MeasurementRejectedError: the network fails a gate, or this machine cannot run it.
    """
    try:
        served = serve(plain, policy, workload, threads=threads)
    except ValueError as error:
        raise MeasurementRejectedError(str(error)) from None
    if isinstance(served, Served):
        check_graph(served, plain, workload)
    elif policy:
        parity.check_quantized(served, plain, policy, workload)
    return served


def check_graph(graph: Served, plain: nn.Module, workload: Workload) -> float:
    """Check a network in another runtime against ``plain`` in torch, on the workload's input.

    The gates: outputs near those of ``plain``, as ``parity.MAX_DISTANCE`` defines it; as many low-precision
    kernels as the policy implies, and no fewer products than the graph has; an unchanged input. A network
    with static layers is compared with its imitation: the workload's input is noise, most of which lies
    outside the ranges of real data, so that such a network is right to be far from float32 on it.

    Returns:
        The distance of the outputs.

    Raises:
        MeasurementRejectedError: the network fails a gate.
    """
    source = workload.source("cpu")
    expected = imitate(plain, graph.policy) if needs_ranges(graph.policy) else plain
    return check_served(
        graph, expected, [workload.inputs(source)], lambda net, *inputs: workload.run(net, inputs[0])
    )


def check_served(
    graph: Served,
    plain: nn.Module,
    samples: Sequence[Sequence[torch.Tensor]],
    run: Callable[..., torch.Tensor] = lambda net, *inputs: net(*inputs),
) -> float:
    """Check a network in another runtime by the gates of ``check_graph``, on some samples.

    Args:
        graph: the network in the other runtime.
        plain: the same network in torch, float32.
        samples: inputs of one row each. On a single one a classifier's output may be near zero, and so far
            from any other.
        run: ``(network, *inputs) -> output``.

    Returns:
        The distance of the outputs over all samples.

    Raises:
        MeasurementRejectedError: the network fails a gate.
    """
    kept = [[x.clone() for x in inputs] for inputs in samples]
    with torch.inference_mode():
        expected = torch.cat([run(plain, *inputs) for inputs in kept])
        kept = [[x.clone() for x in inputs] for inputs in samples]
        outputs = torch.cat([run(graph, *inputs) for inputs in samples])
    pairs = [pair for both in zip(samples, kept, strict=True) for pair in zip(*both, strict=True)]
    if not all(torch.equal(x, y) for x, y in pairs):
        raise MeasurementRejectedError(f"in {NAMES[type(graph)]}, it changed its input")
    _check_kernels(graph, graph.executed(*samples[0]))
    return parity.check_distance(outputs, expected)


def _check_kernels(graph: Served, ran: Mapping[str, int]) -> None:
    """Check the kernels that ran against those that the policy implies.

    Raises:
        MeasurementRejectedError: others ran, or fewer products than the graph has layers.
    """
    name, kernels = NAMES[type(graph)], KERNELS if isinstance(graph, Ort) else openvino_runtime.KERNELS
    for precision, calls in graph.due().items():
        actual = sum(ran.get(kind, 0) for kind in kernels[precision])
        if actual != calls:
            raise MeasurementRejectedError(
                f"in {name}, {actual} {precision} kernels ran where its policy makes it {calls}"
            )
    if isinstance(graph, Ort):
        sums, due_sums = sum(ran.get(kind, 0) for kind in SUMS), graph.due_sums()
        if sums != due_sums:
            raise MeasurementRejectedError(
                f"in {name}, {sums} sums ran in int8 where its policy makes it {due_sums}"
            )
        products = sum(ran.get(kind, 0) for kind in PRODUCTS)
    else:
        products = sum(n for kind, n in ran.items() if kind.startswith(openvino_runtime.PRODUCTS))
    if products < len(graph.traced.calls):
        raise MeasurementRejectedError(
            f"in {name}, {products} products ran where the graph has {len(graph.traced.calls)} layers"
        )


PRODUCTS = (
    *(kind for kinds in KERNELS.values() for kind in kinds),
    *("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Conv", "FusedConv", "NhwcFusedConv"),
)
"""ONNX Runtime's operators of which one runs for each layer, however its optimiser fuses them."""
