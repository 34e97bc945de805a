"""Tools of the speed benches: the rates of this machine, throughput, ratios of interleaved arms, notes."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from supernet.elastic import PRECISIONS, SuperNet
from supernet.train import Recipe, Sampling, Trainer

TOGETHER = {"cuda": 16, "cpu": 4}
"""Updates between two waits for the device; training waits for a GPU every 50."""
ROUNDS = 7
"""Seconds of the arms of a comparison, one after the other."""


@dataclass
class Rates:
    """Rates of the device: multiply-adds x 2 a second, bytes a second, launches a second."""

    matrix: float
    copy: float
    launch: float


def clock(device: torch.device, work: Callable[[], Any], repeat: int) -> float:
    """Median seconds of ``work`` over ``repeat`` timed calls after two untimed ones."""
    for _ in range(2):
        work()
    times = []
    for _ in range(repeat):
        settle(device)
        start = time.perf_counter()
        work()
        settle(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def settle(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def matrix_rate(device: torch.device, precision: str) -> float:
    """Multiply-adds x 2 a second, on random data."""
    n = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(n, n, device=device, dtype=PRECISIONS[precision]) for _ in range(2))
    return 2 * n**3 / clock(device, lambda: a @ b, 10)


def rates(device: torch.device, precision: str) -> Rates:
    """Measured in this run."""
    size = 2**30 if device.type == "cuda" else 2**25
    x, y = (torch.ones(size, device=device, dtype=torch.uint8) for _ in range(2))
    copy = 2 * size / clock(device, lambda: y.copy_(x), 10)
    tiny = torch.zeros(8, device=device)

    def many() -> None:
        for _ in range(1000):
            tiny.add_(1)

    return Rates(matrix_rate(device, precision), copy, 1000 / clock(device, many, 5))


def trainer(
    family: Any, source: Any, sampling: Sampling, recipe: Recipe, device: torch.device, **objective: Any
) -> Trainer:
    """A trainer with a network of its own, in training mode and in the recipe's precision."""
    net = SuperNet(family, source(family, torch.Generator().manual_seed(0), str(device)))
    net.precision(recipe.precision)
    net.model.train()
    return Trainer(net, recipe, sampling, 0, **objective)


def throughput(
    steps: Trainer, stream: Iterator[Any], device: torch.device, seconds: float
) -> tuple[float, float]:
    """Tokens a second (each counted once an update) and seconds an update."""
    settle(device)
    start, tokens, updates = time.perf_counter(), 0, 0
    together = TOGETHER[device.type]
    while time.perf_counter() - start < seconds or updates < 4:
        for _ in range(together):
            batch = next(stream)
            steps.update([batch], 0.5)
            tokens += batch.tokens
            updates += 1
        settle(device)
    spent = time.perf_counter() - start
    return tokens / spent, spent / updates


def interleaved(
    arms: Mapping[str, tuple[Trainer, Iterator[Any]]],
    device: torch.device,
    seconds: float,
    warm_up: float,
) -> dict[str, list[float]]:
    """Seconds an update of every arm in each of ``ROUNDS``: a machine that drifts moves all arms alike."""
    for steps, stream in arms.values():
        throughput(steps, stream, device, warm_up)
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(ROUNDS):
        for name, (steps, stream) in arms.items():
            times[name].append(throughput(steps, stream, device, seconds)[1])
    return times


def over(times: Mapping[str, list[float]], name: str, base: str) -> dict[str, float]:
    """Arm ``name`` over arm ``base``: the median ratio of paired rounds with its range."""
    ratios = sorted(a / b for a, b in zip(times[name], times[base], strict=True))
    return {
        f"{base}_ms": statistics.median(times[base]) * 1e3,
        "ms": statistics.median(times[name]) * 1e3,
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
    }


@dataclass
class Notes:
    """The lines of a bench, printed as they come."""

    device: torch.device
    path: Path | None = None
    """Rewritten with every line, so that a run that is cut short leaves what it measured."""
    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, **line: Any) -> None:
        """One more line."""
        self.lines.append(line)
        print(
            " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in line.items()),
            flush=True,
        )
        if self.path:
            self.write(self.path)

    def write(self, path: Path) -> None:
        """All lines, with what they were measured on."""
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "lines": self.lines,
        }
        path.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def options(about: str | None, arguments: Iterable[str] | None = None) -> argparse.Namespace:
    """The command line of a speed bench; sets the threads to the cores this process may use."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--out", type=Path, help="folder for the JSON file of each bench")
    args = parser.parse_args(None if arguments is None else list(arguments))
    args.device = torch.device(args.device)
    if args.device.type == "cpu":
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    return args
