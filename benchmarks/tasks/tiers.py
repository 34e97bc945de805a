"""What a task's TOML file says of a tier, resolved for one kind of device."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.registry import unknown

UNDIGESTED = ("budget", "seeds_default", "throughput")
"""Settings that a run's spec states by itself, or that change nothing in it."""


@dataclass(frozen=True)
class Tier:
    """The numbers of one task and tier on one kind of device; the TOML file says what each means."""

    space: str
    vocab: int
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    recipe: Mapping[str, Any]
    budget: Mapping[str, float]
    settings: Mapping[str, Any]
    limits: tuple[float, ...]
    workload: Mapping[str, int]
    seeds_default: int
    throughput: float | None
    name: str
    sha256: str
    """Of all of the above that decides what one run does, its budget aside: two runs with equal digests
    and budgets do the same."""
    decode: Mapping[str, Any] = field(default_factory=dict)
    """Of translation."""
    windows: tuple[tuple[int, int], ...] = ()
    """Deployment targets that are sizes: fewest and most parameters."""
    counted: Mapping[str, float] = field(default_factory=dict)
    """Prices of ``benchmarks.measurement.counted``, where searches are told counted latencies; empty:
    they are timed."""
    finetune: Mapping[str, Any] = field(default_factory=dict)
    """What encoders are fine-tuned on, and how (``benchmarks.tasks.finetuning.Settings``); empty: nothing."""


def tier_names(file: Path, task: str) -> tuple[str, ...]:
    """The tiers that a file has of a task, smallest first."""
    return tuple(_tables(file)[task])


def read_tier(file: Path, task: str, tier: str, device: str) -> Tier:
    """The settings of a task's tier on a kind of device (``cpu``, ``cuda``).

    A tier lies over the file's ``[all]``; a table ``{cpu = ..., cuda = ...}`` has a value for each kind of
    device, at any place.

    Raises:
        UsageError: the task has no such tier.
    """
    known = tier_names(file, task)
    if tier not in known:
        raise unknown(f"tier of {task}", tier, known, f"choose one: --tier {known[0]}")
    tables = _tables(file)
    table = _on(device, _merged(tables["all"], tables[task][tier], {"name": tier}))
    table["limits"] = tuple(table.get("limits", ()))
    decisive = {key: value for key, value in table.items() if key not in UNDIGESTED}
    text = json.dumps({"task": task, **decisive}, sort_keys=True)
    table["windows"] = tuple((int(low), int(high)) for low, high in table.get("windows", ()))
    return Tier(**{"throughput": None} | table, sha256=hashlib.sha256(text.encode()).hexdigest())


@cache
def _tables(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _merged(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Tables laid over one another, the last on top."""
    out: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            below = out.get(key)
            out[key] = (
                _merged(below if isinstance(below, Mapping) else {}, value)
                if isinstance(value, Mapping)
                else value
            )
    return out


def _on(device: str, value: Any) -> Any:
    """``value`` with every table that has a value for each kind of device replaced by that of ``device``."""
    if not isinstance(value, Mapping):
        return value
    return (
        _on(device, value[device]) if device in value else {k: _on(device, part) for k, part in value.items()}
    )
