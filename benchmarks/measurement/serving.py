"""What serves an exported network under a policy: torch, or ONNX Runtime where the tier's workload says so.

A tier's ``workload.runtime`` decides for all of its networks, the reference included, so that two runtimes
are never compared; the signature of a latency names the one that is not torch (``rt:ort-1.32.0``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from benchmarks.measurement import parity
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.measurement.workload import Workload
from supernet.quantization.onnx_runtime import KERNELS, Ort, traced_encoder
from supernet.quantization.precisions import Policy, check, quantize, units


def serve(
    plain: nn.Module,
    policy: Policy | None,
    workload: Workload,
    device: str = "cpu",
    threads: int | None = None,
) -> nn.Module:
    """``plain`` as it is timed: under the policy, in the workload's runtime.

    Args:
        threads: of ONNX Runtime, fixed from here on; by default as many as torch has now.

    Raises:
        ValueError: the policy is none for this network and runtime, or the machine cannot run it.
    """
    if workload.runtime == "torch":
        return quantize(plain, policy) if policy else plain.to(device)
    if device != "cpu":
        raise ValueError(f"runtime ort serves on the processor, and this profile is {device}")
    if workload.steps:
        raise ValueError("runtime ort serves encoders and classifiers: decoding step by step is torch's")
    return _graph(plain.cpu(), policy, workload, threads)


def _graph(plain: nn.Module, policy: Policy | None, workload: Workload, threads: int | None) -> Ort:
    """What the workload runs of ``plain``, under what the policy says of that: encoders leave their heads."""
    check(policy or {}, units(plain))
    traced = _traced(plain, workload)
    body = {name: precision for name, precision in (policy or {}).items() if name in traced.layers}
    return Ort(traced, body, threads=threads or torch.get_num_threads())


def _traced(plain: nn.Module, workload: Workload) -> Any:
    if not workload.image:
        return traced_encoder(plain, workload.source_len)
    from supernet.quantization.onnx_trace import trace

    given = [x.repeat(2, *[1] * (x.dim() - 1)) for x in workload.inputs(workload.source("cpu"))]
    names = ("pixels", "tokens")[: len(given)]
    axes = {name: {0: "batch"} for name in (*names, "output")}
    return trace(plain, given, names=(names, ("output",)), axes=axes)


def scoring_module(
    plain: nn.Module, policy: Policy | None, workload: Workload, threads: int | None = None
) -> nn.Module:
    """``plain`` as it is scored: like ``serve``, but also for what encoders are not timed on, their heads.

    Those run in torch, under the same policy; an encoder in ONNX Runtime is asked sample by sample, as it is
    deployed, because ranges over a batch would be others.

    Raises:
        ValueError: as ``serve``.
    """
    if workload.runtime == "torch":
        return quantize(plain, policy) if policy else plain
    answers = _graph(plain, policy, workload, threads).one_by_one()
    if workload.image:
        return answers
    rest = {name: p for name, p in (policy or {}).items() if name not in answers.traced.layers}
    made: Any = quantize(plain, rest)
    made.encode = answers.encode
    whole: nn.Module = made
    return whole


def serve_checked(
    plain: nn.Module, policy: Policy | None, workload: Workload, threads: int | None = None
) -> nn.Module:
    """What ``serve`` gives, after the gates of ``benchmarks.measurement.parity``.

    Raises:
        MeasurementRejectedError: it is not what it claims to be, or this machine cannot run it.
    """
    try:
        made = serve(plain, policy, workload, threads=threads)
    except ValueError as error:
        raise MeasurementRejectedError(str(error)) from None
    if isinstance(made, Ort):
        check_graph(made, plain, workload)
    elif policy:
        parity.check(made, plain, policy, workload)
    return made


def check_graph(made: Ort, plain: nn.Module, workload: Workload) -> float:
    """The gates for a network in ONNX Runtime: outputs near those of ``plain`` in torch, as
    ``parity.MAX_DISTANCE`` has it; as many low-precision kernels run as the policy makes due, and no fewer
    products than the graph has; the input is left as it was.

    Returns:
        the distance of the outputs.

    Raises:
        MeasurementRejectedError: one of them is not met.
    """
    source = workload.source("cpu")
    return check_served(
        made, plain, [workload.inputs(source)], lambda net, *given: workload.run(net, given[0])
    )


def check_served(
    made: Ort,
    plain: nn.Module,
    samples: Sequence[Sequence[torch.Tensor]],
    run: Callable[..., torch.Tensor] = lambda net, *given: net(*given),
) -> float:
    """The gates of ``check_graph`` on some samples.

    Args:
        samples: inputs of one row each. Of a single one a classifier may say next to nothing, which is far
            from anything else.
        run: ``(network, *inputs) -> output``.

    Returns:
        the distance of the outputs to all of them.

    Raises:
        MeasurementRejectedError: one of the gates is not met.
    """
    kept = [[x.clone() for x in inputs] for inputs in samples]
    with torch.inference_mode():
        expected = torch.cat([run(plain, *inputs) for inputs in kept])
        kept = [[x.clone() for x in inputs] for inputs in samples]
        found = torch.cat([run(made, *inputs) for inputs in samples])
    pairs = [pair for both in zip(samples, kept, strict=True) for pair in zip(*both, strict=True)]
    if not all(torch.equal(x, y) for x, y in pairs):
        raise MeasurementRejectedError("in ONNX Runtime, it changed its input")
    ran = made.executed(*samples[0])
    for precision, calls in made.due().items():
        seen = sum(ran.get(kind, 0) for kind in KERNELS[precision])
        if seen != calls:
            raise MeasurementRejectedError(
                f"in ONNX Runtime, {seen} {precision} kernels ran where its policy makes it {calls}"
            )
    products, due = sum(ran.get(kind, 0) for kind in PRODUCTS), len(made.traced.calls)
    if products < due:
        raise MeasurementRejectedError(
            f"in ONNX Runtime, {products} products ran where the graph has {due} layers"
        )
    return parity.near(found, expected)


PRODUCTS = (
    *(kind for kinds in KERNELS.values() for kind in kinds),
    *("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Conv", "FusedConv", "NhwcFusedConv"),
)
"""Operators of which one runs for each layer, whatever the optimiser fuses."""
