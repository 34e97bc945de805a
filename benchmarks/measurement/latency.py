"""The only place where latency, memory and energy per sentence are measured.

What is timed is what would be deployed: the exported sub-network with baked weights, in evaluation
mode without autograd, in one stated precision, warmed up, synchronised, on the declared threads,
eager (on a GPU the step-by-step decoder is bound by kernel launches; that is part of what PyTorch
deploys). Timed rounds alternate with a frozen reference network, so that the ratio of the two
medians survives a machine that drifts, and one timing at a time has the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.hardware import profiles, threads
from benchmarks.hardware.energy import EnergyMeter
from benchmarks.hardware.load import OtherLoad
from benchmarks.hardware.timing_lock import exclusive
from benchmarks.measurement.interleaved import (
    TimedNetwork,
    TimedRequest,
    quiesced,
    summarize,
    time_interleaved,
)
from benchmarks.measurement.memory import LiveBytes
from benchmarks.measurement.workload import Workload
from benchmarks.stats.quantiles import median, ratio
from supernet.quantization import precisions

PROTOCOL = "0.1"
"""Version of this protocol; part of every signature."""
PROBE_ROUNDS = 10


def probe_latency(
    module: nn.Module,
    workload: Workload | Mapping[str, Any],
    device: str,
    beside: nn.Module | None = None,
) -> float:
    """A probe, good for a search and no claim: median milliseconds of ten inferences after warm-up.

    With ``beside``, timed in turns with it: how many times its median. On a machine that drifts, two
    processes find the same network up to twice as slow, but agree on ratios.

    Takes ``exclusive`` itself where the caller has not.
    """
    timed = [
        TimedNetwork(x, Workload.of(workload), device, "fp32") for x in (module, beside) if x is not None
    ]
    with exclusive(), quiesced(threads.declared()), torch.inference_mode():
        for one in timed:
            one.warm_up()
        times = [[one.ms() for one in timed] for _ in range(PROBE_ROUNDS)]
    medians = np.median(np.array(times), axis=0)
    return float(medians[0] if beside is None else medians[0] / medians[1])


def measure_latency(
    module: nn.Module,
    reference: nn.Module,
    workload: Workload | Mapping[str, Any],
    device: str,
    profile: profiles.Profile,
    *,
    precision: str = "fp32",
    plain: nn.Module | None = None,
    min_n: int = 64,
    min_seconds: float = 0.0,
    max_seconds: float = 600.0,
) -> dict[str, Any]:
    """Time ``module`` in turns with ``reference``, both warmed up, until n and seconds are reached.

    Args:
        precision: ``fp32`` (true float32 products, no TF32), ``bf16`` or ``fp16``; of all networks, but for
            what ``supernet.quantization.precisions`` made of layers of ``module``.
        plain: of a quantised ``module`` the same network in float32, to be timed in turns with both.
        min_n: rounds, at least; below 64 there is no p90.
        min_seconds: of timed rounds, at least.
        max_seconds: after which it ends with fewer rounds (but at least 8) and so without a p90.

    Returns:
        Milliseconds ``p50``, ``p90`` (as observed; None below 64 rounds), ``p90_bound`` (MLPerf's
        early-stopping estimate: 90 % of inferences stay under it, at 99 % confidence) and
        ``reference_p50``; ``n``; ``ratio`` of the medians with ``ratio_low`` and ``ratio_high``
        (95 %); ``waited_seconds`` for the lock; ``others_cpu``: processors' worth of time that
        other processes took meanwhile; ``attempts``: where that was more than ``DISTURBED`` all rounds
        are timed anew, at most ``MAX_ATTEMPTS`` times, and the least disturbed ones count; ``signature``.
        With ``plain`` also ``fp32_p50`` and ``fp32_ratio``, ``fp32_ratio_low`` and ``fp32_ratio_high``:
        the ratio to its own float32 median.

    Raises:
        MeasurementRejectedError: the module changed its input or gave outputs that are not finite.
    """
    workload = Workload.of(workload)
    ours = TimedNetwork(module, workload, device, precision)
    timed = [
        ours,
        *(TimedNetwork(x, workload, device, precision) for x in (reference, plain) if x is not None),
    ]
    times, how = time_interleaved(
        timed, profile.threads, min_n=min_n, min_seconds=min_seconds, max_seconds=max_seconds
    )
    found = summarize(times, "reference_p50")
    recipe = {"search": "no", "prec": precision, **precisions.recipe(ours.module)}
    mode = "eager" if workload.runtime == "torch" else "graph"
    recipe |= {"mode": mode, "thr": how.pop("threads"), "prof": profile.name}
    found |= {**how, "signature": _signature(found, workload, recipe)}
    if plain is not None:
        centre, low, high = ratio(times[0], times[2])
        found |= {"fp32_p50": float(np.median(times[2]))}
        found |= {"fp32_ratio": centre, "fp32_ratio_low": low, "fp32_ratio_high": high}
    return found


def measure_runtime_latency(
    serve: Callable[[], Any],
    recipe: Mapping[str, Any],
    module: nn.Module,
    workload: Workload | Mapping[str, Any],
    profile: profiles.Profile,
    *,
    min_n: int = 64,
    max_seconds: float = 600.0,
) -> dict[str, Any]:
    """Time what another runtime needs for the workload, in turns with the same network in PyTorch.

    Both on one thread of the processor: their thread pools spin against each other. It is a figure of its
    own, with the runtime in its signature, and stands beside no figure of ``latency``.

    Args:
        serve: one request of the workload; it has been loaded with one thread.
        recipe: how the runtime computes, for the signature: ``rt``, its name and version, such as
            ``ctranslate2-4.8.5``; ``prec``; ``search``, ``yes`` where it chooses tokens and reorders beams,
            which PyTorch's side never does.
        module: the exported network, float32.

    Returns:
        As ``latency``; the reference is the same network in PyTorch: ``pytorch_p50``, and ``ratio``,
        ``ratio_low``, ``ratio_high`` to it. Also ``p50_low`` and ``p50_high`` (95 %).
    """
    workload = Workload.of(workload)
    timed: list[TimedNetwork | TimedRequest] = [
        TimedRequest(serve),
        TimedNetwork(module, workload, "cpu", "fp32"),
    ]
    times, how = time_interleaved(timed, 1, min_n=min_n, max_seconds=max_seconds)
    found = summarize(times, "pytorch_p50")
    _, found["p50_low"], found["p50_high"] = median(times[0])
    recipe = {"search": "no", **recipe, "mode": "graph", "thr": how.pop("threads"), "prof": profile.name}
    return found | {**how, "signature": _signature(found, workload, recipe)}


def _signature(found: Mapping[str, Any], workload: Workload, recipe: Mapping[str, Any]) -> str:
    """How a latency was made: what was timed, then ``recipe``, then the version of the protocol."""
    fields = {
        "lat": "p50" if found["p90"] is None else "p90",
        "n": found["n"],
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
    workload: Workload | Mapping[str, Any],
    device: str,
    profile: profiles.Profile,
    *,
    precision: str = "fp32",
    seconds: float = 2.0,
) -> dict[str, Any]:
    """Joules of the whole machine for one sentence of the workload, batch 1, over a block of many.

    Mean power over the block times the time of one sentence: what the meter takes to start and stop
    is no part of it.

    Returns:
        ``joules_per_sentence`` (None: see ``source``), ``source``, ``sentences`` and ``seconds`` of the
        block, ``others_cpu`` as ``latency`` has it.
    """
    timed = TimedNetwork(module, Workload.of(workload), device, precision)
    meter = EnergyMeter(profile)
    meter.ready()
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


def measure_peak_memory(
    module: nn.Module, workload: Workload | Mapping[str, Any], device: str, *, precision: str = "fp32"
) -> dict[str, Any]:
    """Bytes that the weights and the workload need at their height, and how they were counted."""
    timed = TimedNetwork(module, Workload.of(workload), device, precision)
    weights = _bytes([*timed.module.parameters(), *timed.module.buffers()])
    weights += precisions.packed_bytes(timed.module)
    with torch.inference_mode():
        if timed.cuda:
            timed.run()  # libraries allocate their workspaces once
            torch.cuda.synchronize()
            rest = torch.cuda.memory_allocated() - weights
            torch.cuda.reset_peak_memory_stats()
            timed.run()
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated() - rest
            source = "weights and workload, torch.cuda.max_memory_allocated"
            return {"peak_bytes": int(peak), "source": source}
        with LiveBytes() as live:
            timed.run()
    source = "weights and live tensors of the workload, counted at every operator, kernels' scratch left out"
    return {"peak_bytes": weights + _bytes([timed.source]) + live.peak, "source": source}


def _bytes(tensors: Sequence[Tensor]) -> int:
    """Of the storages behind ``tensors``, each counted once."""
    return sum({s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in tensors)}.values())
