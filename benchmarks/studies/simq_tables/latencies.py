"""Fit the operator latencies of tables on this machine: ``NAME.latency.json`` beside ``NAME.npz``.

``python -m tests.bench.latencies --weights FOLDER``: of every table with a supernet ``NAME.safetensors`` in
the folder, random points are exported, written out under their policies, gated, and timed in ONNX Runtime:
one thread on one core, all of them in turns with the largest network in float32, a new input every round.
The table is fitted to some of them; its error is that for the others, which it has not seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.hardware import profiles
from benchmarks.measurement.process_time import RoundTimes, time_networks
from benchmarks.measurement.serving import check_served
from benchmarks.measurement.tracing import random_inputs, trace_network
from simq.genome import Genomes, JointSpace
from simq.tabular import latency, table
from supernet import supernet_file
from supernet.quantization.latency_model import OperatorTable
from supernet.quantization.onnx_runtime import Ort, version

FITTED, HELD_OUT, ROUNDS = 96, 32, 25
"""Points that the table is fitted to; others; inferences of each."""
GATED = 16
"""Samples that a point is compared with fp32 on before it is timed."""
LARGEST_ERROR = 0.08
"""Median over the points held out, above which a table is no prior."""


def drawn(space: JointSpace, count: int) -> Genomes:
    """The largest network in float32, then ``count`` different points: depths alike often, all else at
    random."""
    rng = np.random.default_rng(0)
    largest = space.space.largest()
    policy = {layer: "fp32" for unit in space.units for layer in unit.layers}
    found = {space.encode(largest, policy).tobytes(): space.encode(largest, policy)}
    while len(found) <= count:
        genome = space.canonical(space.sample(1, rng))[0]
        found.setdefault(genome.tobytes(), genome)
    return np.stack(list(found.values()))


def timed(net: Any, space: JointSpace, genomes: Genomes, rounds: int) -> tuple[RoundTimes, RoundTimes]:
    """All points in turns, the first one the anchor; twice, for the error of measuring.

    Raises:
        MeasurementRejectedError: one does not pass a gate.
    """
    net.statistics_batches.clear()  # no latency depends on statistics, which take long to estimate
    generator = torch.Generator().manual_seed(0)
    some = random_inputs(net.family, GATED, generator)
    served = []
    for genome in genomes:
        architecture, policy = space.decode(genome)
        plain = net.export(architecture)
        served.append(Ort(trace_network(plain, [x[:2] for x in some]), policy))
        check_served(served[-1], plain, [[x[i : i + 1] for x in some] for i in range(GATED)])

    def fresh(_: int) -> tuple[torch.Tensor, ...]:
        return random_inputs(net.family, 1, generator)

    return time_networks(served, fresh, rounds), time_networks(served, fresh, rounds)


def fit(net: Any, space: JointSpace, counts: tuple[int, int, int]) -> tuple[OperatorTable, dict[str, Any]]:
    """The fitted table, and what is to be said of it."""
    fitted, held_out, rounds = counts
    genomes = drawn(space, fitted + held_out)
    first, second = timed(net, space, genomes, rounds)
    decoded = [space.decode(genome) for genome in genomes[1:]]
    ratios, again = first.least(), second.least()
    measured = [
        (latency.layer_shapes(net.family, arch), policy, float(ratio))
        for (arch, policy), ratio in zip(decoded, ratios, strict=True)
    ]
    operators = OperatorTable(measured[:fitted])
    errors = [abs(operators(layers, policy) / ratio - 1) for layers, policy, ratio in measured[fitted:]]
    about = {
        "unit": "of the largest network in fp32",
        "anchor_ms": round(float(first.ms[0].min()), 3),
        "fitted": fitted,
        "held_out": held_out,
        "median_error": round(float(np.median(errors)), 5),
        "largest_error": round(float(max(errors)), 5),
        "error_of_a_second_measurement": round(float(np.median(np.abs(again / ratios - 1))), 5),
        "measured_from": round(float(ratios.min()), 4),
        "measured_to": round(float(ratios.max()), 4),
    }
    return operators, about


def main(words: list[str] | None = None) -> int:
    """Write the file of every table whose error is small enough; 1 where one is not."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--weights", type=Path, required=True, help="folder of NAME.safetensors")
    options.add_argument("--tables", type=Path, default=table.TABLES, help="folder of NAME.npz")
    options.add_argument("--fitted", type=int, default=FITTED)
    options.add_argument("--held-out", type=int, default=HELD_OUT)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    args = options.parse_args(words)
    profile, failed = profiles.matching() or "undeclared", False
    torch.set_num_threads(1)
    for path in sorted(args.tables.glob("*.npz")):
        file = args.weights / f"{path.stem}.safetensors"
        if not file.is_file():
            print(f"{path.stem}: no {file}, left out")
            continue
        net, _ = supernet_file.load(file)
        operators, about = fit(net, table.read_table(path).space, (args.fitted, args.held_out, args.rounds))
        signature = f"lat:min|clk:cpu|n:{args.rounds}|b:1|thr:1|rt:{version()}|prof:{profile}"
        error = about["median_error"]
        print(
            f"{path.stem}: median error {100 * error:.1f} % of {args.held_out} policies held out, largest"
            f" {100 * about['largest_error']:.1f} %; a second measurement"
            f" {100 * about['error_of_a_second_measurement']:.1f} %",
            flush=True,
        )
        if error > LARGEST_ERROR:
            print(f"{path.stem}: more than {100 * LARGEST_ERROR:g} %, not written", flush=True)
            failed = True
            continue
        latency.write_latencies(
            path, operators, net.family, {"table": path.stem, "signature": signature, **about}
        )
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
