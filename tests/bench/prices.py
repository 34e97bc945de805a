"""Prices of counted latencies, fitted to the clock: ``python -m tests.bench.prices TASK TIER``.

Random networks of a tier's space, its largest and its smallest are timed in turns in ONNX Runtime, in float32
on one core: where launches are cheap, width is paid for. Prices are fitted to half of them, by least squares
of relative errors, for operators (some by name, the rest together) and for multiply-accumulates, none below
zero. Errors are of the other half. The shares of the reference by depth are where limits may stand: within a
depth, by counted latencies, which are all that a search sees.

The prices of the tiers ``front`` come from it, on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import spearmanr

from benchmarks.measurement.operator_counter import OperatorCounter
from benchmarks.measurement.workload import Workload
from benchmarks.tasks import Prepared, get_task
from supernet.cost import cost
from supernet.quantization.onnx_translator import OnnxTranslator

WARM_UP = 2
"""Rounds that are not counted."""
OWN = ("linear", "scaled_dot_product_attention")
"""Operators with a price of their own."""
QUANTILES = (0, 0.25, 0.5, 0.75, 1)


def measure(name: str, tier_name: str, networks: int, rounds: int) -> list[dict[str, Any]]:
    """Count and time networks; return depth, calls by operator, multiply-accumulates and ms of each."""
    task: Any = get_task(name)
    tier = task.tier(tier_name, "cpu")
    family = task.family(tier, Prepared(Path(), None, {}, tier.vocab, tier.vocab))
    workload, rng = Workload.of(tier.workload), np.random.default_rng(0)
    drawn = [family.space.sample(rng) for _ in range(networks)]
    drawn += [family.space.smallest(), family.space.largest()]
    torch.manual_seed(0)
    served, rows = [], []
    source = workload.source("cpu")
    for architecture in drawn:
        module = family.build(architecture).requires_grad_(False).eval()
        with torch.inference_mode(), OperatorCounter() as launches:
            workload.run(module, source)
        counted = cost(family, architecture, source_len=workload.source_len, target_len=workload.target_len)
        depth = architecture.to_dict().get("decoder_layers", 0)
        rows.append({"depth": depth, "calls": dict(launches.calls), "macs": counted.macs})
        served.append(OnnxTranslator(module))
    times = np.zeros((rounds, len(served)))
    for number in range(-WARM_UP, rounds):
        for at, translator in enumerate(served):
            began = time.perf_counter()
            translator.forced_steps(source.numpy(), workload.steps, workload.beam)
            if number >= 0:
                times[number, at] = 1e3 * (time.perf_counter() - began)
    for row, ms in zip(rows, np.median(times, 0), strict=True):
        row["ms"] = float(ms)
    return rows


def amounts(rows: list[dict[str, Any]], own: tuple[str, ...]) -> NDArray[np.float64]:
    """Return launches without a price of their own, those with one, and millions of MACs of each network."""
    table = []
    for row in rows:
        named = [row["calls"].get(f"aten.{name}", 0) for name in own]
        table.append([sum(row["calls"].values()) - sum(named), *named, row["macs"] / 1e6])
    return np.array(table, dtype=float)


def fit(rows: list[dict[str, Any]], own: tuple[str, ...]) -> dict[str, Any]:
    """Return prices, the error on networks that they were not fitted to, and shares of the largest one."""
    table, ms = amounts(rows, own), np.array([row["ms"] for row in rows])
    fitted = np.arange(len(rows)) % 2 == 0
    prices, _ = nnls(table[fitted] / ms[fitted, None], np.ones(fitted.sum()))
    counted = table @ prices
    errors = np.abs(counted / ms - 1)[~fitted]
    shares = {}
    for depth in sorted({row["depth"] for row in rows}):
        at = [i for i, row in enumerate(rows) if row["depth"] == depth]
        shares[str(depth)] = {
            kind: [round(float(q), 3) for q in np.quantile(values[at] / values[-1], QUANTILES)]
            for kind, values in (("counted", counted), ("timed", ms))
        }
    return {
        "operator_us": 1e3 * prices[0],
        "operators_us": dict(zip(own, (1e3 * prices[1:-1]).tolist(), strict=True)),
        "macs_per_us": 1e3 / prices[-1] if prices[-1] else None,
        "mean_error": float(errors.mean()),
        "rank_correlation": float(spearmanr(counted, ms).statistic),
        "shares": shares,
    }


def main() -> None:
    """Measure, fit and print JSON."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("task")
    parser.add_argument("tier")
    parser.add_argument("--networks", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    rows = measure(options.task, options.tier, options.networks, options.rounds)
    found = {
        "task": options.task,
        "ms": [statistics.median(row["ms"] for row in rows), rows[-1]["ms"]],
        "one_price": fit(rows, ()),
        "own_prices": fit(rows, OWN),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
