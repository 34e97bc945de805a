"""Latency and energy of one inference: the only place where they are measured.

The timed network is the one that would be deployed: the exported sub-network with baked weights, in
evaluation mode without autograd, in one stated precision, warmed up, synchronised, on the declared threads.
It runs eagerly: on a GPU the step-by-step decoder is bound by kernel launches, which PyTorch deploys too.
Timed rounds alternate with a frozen reference network, so that the ratio of the two medians survives a
machine that drifts. One timing at a time has the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from benchmarks.hardware import profiles, threads
from benchmarks.hardware.energy import PROBE_SECONDS, EnergyMeter
from benchmarks.hardware.load import OtherLoad
from benchmarks.hardware.timing_lock import exclusive
from benchmarks.measurement.interleaved import (
    Timeable,
    TimedNetwork,
    TimedRequest,
    quiesced,
    summarize,
    time_interleaved,
)
from benchmarks.measurement.workload import Workload
from benchmarks.records.canonical import JsonView
from benchmarks.records.record import InferenceEnergy, Latency
from benchmarks.records.runtime_latencies import RuntimeLatency
from benchmarks.stats.quantiles import median, ratio
from supernet.quantization import precisions

PROTOCOL = "0.1"
"""Version of this protocol; part of every signature."""
PROBE_ROUNDS = 10
"""Inferences of a probe."""


def probe_latency(
    module: nn.Module,
    workload: Workload | JsonView,
    device: str,
    beside: nn.Module | None = None,
) -> float:
    """Return the median milliseconds of ten inferences after warm-up: enough for a search, not for a claim.

    Args:
        workload: one inference, or a tier's table of it.
        device: ``cpu`` or ``cuda``.
        beside: a network to alternate with. The result is then the ratio to its median: on a machine that
            drifts, two processes time the same network up to twice as slow, but agree on ratios.

    Takes ``exclusive`` itself where the caller has not.
    """
    networks = [module] if beside is None else [module, beside]
    timed = [TimedNetwork(network, Workload.of(workload), device, "fp32") for network in networks]
    with exclusive(), quiesced(threads.declared()), torch.inference_mode():
        for network in timed:
            network.warm_up()
        times = [[network.ms() for network in timed] for _ in range(PROBE_ROUNDS)]
    medians = np.median(np.array(times), axis=0)
    return float(medians[0] if beside is None else medians[0] / medians[1])


def measure_latency(
    module: nn.Module,
    reference: nn.Module,
    workload: Workload | JsonView,
    device: str,
    profile: profiles.Profile,
    *,
    precision: str = "fp32",
    plain: nn.Module | None = None,
    min_n: int = 64,
    min_seconds: float = 0.0,
    max_seconds: float = 600.0,
) -> Latency:
    """Time ``module`` interleaved with ``reference``, both warmed up.

    Args:
        workload: one inference, or a tier's table of it.
        device: ``cpu`` or ``cuda``.
        profile: declared hardware; its threads are set.
        precision: ``fp32`` (true float32 products, no TF32), ``bf16`` or ``fp16``. It holds for all networks,
            except for layers of ``module`` that a policy has quantised.
        plain: of a quantised ``module`` the same network in float32, to be interleaved with both.
        min_n: fewest rounds; below 64 there is no p90.
        min_seconds: fewest seconds of timed rounds.
        max_seconds: seconds after which timing ends with fewer rounds (but at least 8) and so without a p90.

    Raises:
        MeasurementRejectedError: the module changed its input or gave outputs that are not finite.
    """
    workload = Workload.of(workload)
    networks = [module, reference] if plain is None else [module, reference, plain]
    timed = [TimedNetwork(network, workload, device, precision) for network in networks]
    times, conditions = time_interleaved(
        timed, profile.threads, min_n=min_n, min_seconds=min_seconds, max_seconds=max_seconds
    )
    percentiles = summarize(times)
    recipe: dict[str, object] = {"search": "no", "prec": precision, **precisions.recipe(timed[0].module)}
    recipe["mode"] = "eager" if workload.runtime == "torch" else "graph"
    recipe |= {"thr": conditions.threads, "prof": profile.name}
    figures: Latency = {
        "p50": percentiles.p50,
        "p90": percentiles.p90,
        "p90_bound": percentiles.p90_bound,
        "n": percentiles.n,
        "ratio": percentiles.ratio,
        "ratio_low": percentiles.ratio_low,
        "ratio_high": percentiles.ratio_high,
        "reference_p50": percentiles.beside_p50,
        "waited_seconds": conditions.waited_seconds,
        "others_cpu": conditions.others_cpu,
        "attempts": conditions.attempts,
        "signature": _signature(percentiles.p90, percentiles.n, workload, recipe),
    }
    if plain is not None:
        centre, low, high = ratio(times[0], times[2])
        figures["fp32_p50"] = float(np.median(times[2]))
        figures["fp32_ratio"], figures["fp32_ratio_low"], figures["fp32_ratio_high"] = centre, low, high
    return figures


def measure_runtime_latency(
    serve: Callable[[], object],
    recipe: Mapping[str, object],
    module: nn.Module,
    workload: Workload | JsonView,
    profile: profiles.Profile,
    *,
    min_n: int = 64,
    max_seconds: float = 600.0,
) -> RuntimeLatency:
    """Time another runtime on the workload, interleaved with the same network in PyTorch.

    Both run on one thread of the processor, because their thread pools spin against each other. The figure
    has the runtime in its signature and is compared with no figure of ``measure_latency``.

    Args:
        serve: one request of the workload, to a runtime that was loaded with one thread.
        recipe: computation of the runtime, for the signature: ``rt``, its name and version, such as
            ``ctranslate2-4.8.5``; ``prec``; ``search``, ``yes`` if it chooses tokens and reorders beams,
            which PyTorch's side never does.
        module: the exported network, float32.
        workload: one inference, or a tier's table of it.
        profile: declared hardware, for the signature.
        min_n: fewest rounds.
        max_seconds: seconds after which timing ends with fewer rounds.

    Raises:
        MeasurementRejectedError: as ``time_interleaved``.
    """
    workload = Workload.of(workload)
    timed: list[Timeable] = [TimedRequest(serve), TimedNetwork(module, workload, "cpu", "fp32")]
    times, conditions = time_interleaved(timed, 1, min_n=min_n, max_seconds=max_seconds)
    percentiles = summarize(times)
    _, low, high = median(times[0])
    computed = {"mode": "graph", "thr": conditions.threads, "prof": profile.name}
    recipe = {"search": "no", **recipe, **computed}
    return {
        "p50": percentiles.p50,
        "p90": percentiles.p90,
        "p90_bound": percentiles.p90_bound,
        "n": percentiles.n,
        "ratio": percentiles.ratio,
        "ratio_low": percentiles.ratio_low,
        "ratio_high": percentiles.ratio_high,
        "pytorch_p50": percentiles.beside_p50,
        "p50_low": low,
        "p50_high": high,
        "waited_seconds": conditions.waited_seconds,
        "others_cpu": conditions.others_cpu,
        "attempts": conditions.attempts,
        "signature": _signature(percentiles.p90, percentiles.n, workload, recipe),
    }


def _signature(p90: float | None, n: int, workload: Workload, recipe: Mapping[str, object]) -> str:
    """Return how a latency was measured: workload, ``recipe``, version of the protocol."""
    fields = {
        "lat": "p50" if p90 is None else "p90",
        "n": n,
        "b": 1,
        "beam": workload.beam,
        "len": workload.source_len,
        "steps": workload.steps,
        **({"img": f"{workload.channels}x{workload.image}"} if workload.image else {}),
        **({"txt": workload.text} if workload.text else {}),
        **recipe,
        "v": PROTOCOL,
    }
    return "|".join(f"{key}:{value}" for key, value in fields.items())


def measure_energy(
    module: nn.Module,
    workload: Workload | JsonView,
    device: str,
    profile: profiles.Profile,
    *,
    precision: str = "fp32",
    seconds: float = 2.0,
    patience: float = PROBE_SECONDS,
) -> InferenceEnergy:
    """Meter the whole machine's energy for one sentence of the workload, batch 1, over a block of many.

    The figure is mean power over the block times the time of one sentence, so the meter's own start and stop
    are no part of it.

    Args:
        workload: one inference, or a tier's table of it.
        device: ``cpu`` or ``cuda``.
        profile: declared hardware; its threads are set, its watts are the meter's.
        precision: as for ``measure_latency``.
        seconds: length of the block.
        patience: seconds that the meter may look at the hardware first.
    """
    timed = TimedNetwork(module, Workload.of(workload), device, precision)
    meter = EnergyMeter(profile)
    meter.ready(patience)
    with exclusive(), quiesced(profile.threads), torch.inference_mode():
        timed.warm_up()
        meter.start()
        others, began, sentences = OtherLoad(), time.perf_counter(), 0
        while sentences == 0 or time.perf_counter() - began < seconds:
            timed.ms()
            sentences += 1
        passed, load = time.perf_counter() - began, others.read()
        read = meter.stop()
    joules = None
    if read["joules"] is not None and read["covered_seconds"] > 0:
        joules = read["joules"] / read["covered_seconds"] * passed / sentences
    return {
        "joules_per_sentence": joules,
        "source": read["source"],
        "sentences": sentences,
        "seconds": round(passed, 3),
        "others_cpu": load,
    }
