"""Fit the latency model of tables on this machine: ``NAME.latency.json`` beside ``NAME.npz``.

Random points of a table are exported under their policies, checked by the gates, and timed in ONNX Runtime:
one thread on one core, interleaved with the largest network in float32, on a new input every round. The model
is fitted to some of them; its error is that on the others.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.api import UsageError
from benchmarks.hardware import profiles
from benchmarks.measurement.process_time import RoundTimes, time_networks
from benchmarks.measurement.serving import check_served
from benchmarks.measurement.tracing import random_inputs, trace_network
from benchmarks.records.canonical import JsonObject
from benchmarks.studies.simq_fronts.measure import read_supernet
from benchmarks.tasks.datasets import Say
from simq.genome import Genomes, JointSpace
from simq.tabular.latency import layer_shapes, write_latencies
from simq.tabular.table import TABLES, read_arrays, read_table
from supernet.elastic import SuperNet
from supernet.quantization.latency_model import OperatorTable
from supernet.quantization.onnx_runtime import Ort, version

FITTED, HELD_OUT, ROUNDS = 96, 32, 25
"""Points that the model is fitted to, points that it is tested on, and inferences of each."""
GATED = 16
"""Samples on which a point is compared with fp32 before it is timed."""
LARGEST_ERROR = 0.08
"""Median relative error on held-out points above which a model is not written."""


def fit_tables(weights: Path, tables: Path | None, counts: tuple[int, int, int], say: Say) -> bool:
    """Fit and write the latency model of every table whose supernet is in a folder.

    All tables and supernets are read before the first network is timed.

    Args:
        weights: folder of ``NAME.safetensors``.
        tables: folder of ``NAME.npz``; None: ``simq/tabular/data``.
        counts: points fitted, points held out, and rounds.

    Returns:
        False if the error of a model was above ``LARGEST_ERROR``, so that it was not written.

    Raises:
        UsageError: no table has a supernet, a file is damaged, or a table has too few points or no fp32.
    """
    fitted, held_out, rounds = counts
    spaces = read_spaces(weights, tables or TABLES, fitted, held_out, say)
    profile, complete = profiles.matching() or "undeclared", True
    torch.set_num_threads(1)
    for path, (net, space) in spaces.items():
        operators, about = fit(net, space, fitted, held_out, rounds)
        signature = f"lat:min|clk:cpu|n:{rounds}|b:1|thr:1|rt:{version()}|prof:{profile}"
        error = about["median_error"]
        say(
            f"{path.stem}: median error {100 * error:.1f} % of {held_out} held-out policies, largest"
            f" {100 * about['largest_error']:.1f} %; a second measurement"
            f" {100 * about['error_of_a_second_measurement']:.1f} %"
        )
        if error > LARGEST_ERROR:
            say(f"{path.stem}: above {100 * LARGEST_ERROR:g} %, not written")
            complete = False
            continue
        head = {"table": path.stem, "signature": signature, **about}
        write_latencies(path, operators, net.family, head)
    return complete


def read_spaces(
    weights: Path, tables: Path, fitted: int, held_out: int, say: Say
) -> dict[Path, tuple[SuperNet, JointSpace]]:
    """Return the supernet and the space of each table to which a latency model can be fitted, by file.

    Sampled tables have no latency models and are skipped, as are tables without a supernet.

    Raises:
        UsageError: no table is left, a file is damaged, or a table has too few points or no fp32.
    """
    spaces: dict[Path, tuple[SuperNet, JointSpace]] = {}
    for path in sorted(tables.glob("*.npz")):
        file = weights / f"{path.stem}.safetensors"
        try:
            kind = read_arrays(path)[0].get("kind")
            if kind is not None or not file.is_file():
                say(f"{path.stem}: {f'a {kind} table' if kind else f'no {file}'}, skipped")
                continue
            space = read_table(path).space
        except ValueError as error:
            raise UsageError(f"{error}\nbuild it again, or move it out of {tables}") from None
        if "fp32" not in space.alphabet:
            raise UsageError(
                f"{path} has no fp32, whose largest network is the unit of latency: move it out of {tables}"
            )
        if space.size() <= fitted + held_out:
            raise UsageError(
                f"{path} has {space.size()} points, too few for --fitted {fitted} and --held-out {held_out}:"
                f" together at most {space.size() - 1}"
            )
        spaces[path] = read_supernet(file, "cpu")[0], space
    if not spaces:
        raise UsageError(
            f"no table of {tables} has its supernet in {weights}: --tables names the folder of NAME.npz,"
            " --weights that of NAME.safetensors"
        )
    return spaces


def draw_genomes(space: JointSpace, count: int) -> Genomes:
    """Return the largest network in float32, then ``count`` different points ``[1 + count, genes]``.

    Genes are uniform, so that all depths are equally frequent.

    Raises:
        ValueError: the space has no more than ``count`` points.
    """
    if space.size() <= count:
        raise ValueError(f"{count} points and the largest network: the space has {space.size()}")
    rng = np.random.default_rng(0)
    largest = space.space.largest()
    policy = {layer: "fp32" for unit in space.units for layer in unit.layers}
    genomes = {space.encode(largest, policy).tobytes(): space.encode(largest, policy)}
    while len(genomes) <= count:
        genome = space.canonical(space.sample(1, rng))[0]
        genomes.setdefault(genome.tobytes(), genome)
    return np.stack(list(genomes.values()))


def time_twice(
    net: SuperNet, space: JointSpace, genomes: Genomes, rounds: int
) -> tuple[RoundTimes, RoundTimes]:
    """Time all points interleaved, the first one the anchor; twice, for the error of measuring.

    Raises:
        MeasurementRejectedError: a point does not pass a gate.
    """
    net.statistics_batches.clear()  # no latency depends on statistics, which take long to estimate
    generator = torch.Generator().manual_seed(0)
    inputs = random_inputs(net.family, GATED, generator)
    networks = []
    for genome in genomes:
        architecture, policy = space.decode(genome.tolist())
        plain = net.export(architecture)
        networks.append(Ort(trace_network(plain, [x[:2] for x in inputs]), policy))
        check_served(networks[-1], plain, [[x[i : i + 1] for x in inputs] for i in range(GATED)])

    def fresh(_: int) -> tuple[torch.Tensor, ...]:
        return random_inputs(net.family, 1, generator)

    return time_networks(networks, fresh, rounds), time_networks(networks, fresh, rounds)


def fit(
    net: SuperNet, space: JointSpace, fitted: int, held_out: int, rounds: int
) -> tuple[OperatorTable, JsonObject]:
    """Return the fitted latency model and the facts of its file."""
    genomes = draw_genomes(space, fitted + held_out)
    first, second = time_twice(net, space, genomes, rounds)
    decoded = [space.decode(genome.tolist()) for genome in genomes[1:]]
    ratios, repeated = first.least(), second.least()
    measured = [
        (layer_shapes(net.family, architecture), policy, float(ratio))
        for (architecture, policy), ratio in zip(decoded, ratios, strict=True)
    ]
    operators = OperatorTable(measured[:fitted])
    errors = [abs(operators(shapes, policy) / ratio - 1) for shapes, policy, ratio in measured[fitted:]]
    about = {
        "unit": "of the largest network in fp32",
        "anchor_ms": round(float(first.ms[0].min()), 3),
        "fitted": fitted,
        "held_out": held_out,
        "median_error": round(float(np.median(errors)), 5),
        "largest_error": round(float(max(errors)), 5),
        "error_of_a_second_measurement": round(float(np.median(np.abs(repeated / ratios - 1))), 5),
        "measured_from": round(float(ratios.min()), 4),
        "measured_to": round(float(ratios.max()), 4),
    }
    return operators, about
