"""Settings of a task's tiers, read from TOML and resolved for one kind of device."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.suggestions import unknown

Table = Mapping[str, Any]
"""A table of a TOML file, as it was read."""

UNDIGESTED = ("budget", "seeds_default", "throughput")
"""Settings outside the digest: a run's spec states them by itself, or they change nothing in a run."""


@dataclass(frozen=True)
class Tier:
    """Settings of one task and tier on one kind of device; the TOML file explains each of them."""

    space: str
    vocab: int
    data: Table
    model: Table
    recipe: Table
    budget: Mapping[str, float]
    settings: Table
    limits: tuple[float, ...]
    workload: Mapping[str, int]
    seeds_default: int
    throughput: float | None
    name: str
    sha256: str
    """Digest of all settings that determine a run, except its budget: runs with equal digests and budgets do
    the same."""
    decode: Table = field(default_factory=dict)
    """Beam search of translation tasks."""
    windows: tuple[tuple[int, int], ...] = ()
    """Fewest and most parameters of each deployment target that is a size."""
    counted: Table = field(default_factory=dict)
    """Prices of counted latencies (``benchmarks.measurement.counted.Prices``); empty: latencies are timed."""
    finetune: Table = field(default_factory=dict)
    """Tasks and recipe of fine-tuning (``benchmarks.tasks.finetuning.Settings``); empty: no fine-tuning."""


def tier_names(file: Path, task: str) -> tuple[str, ...]:
    """Return the names of a task's tiers in a file, smallest first."""
    return tuple(_tables(file)[task])


def read_tier(file: Path, task: str, tier: str, device: str) -> Tier:
    """Read the settings of a task's tier on a kind of device (``cpu``, ``cuda``).

    A tier's settings override those of the file's ``[all]``. A table
    ``{cpu = ..., cuda = ...}``, at any place, has one value for each kind of device.

    Raises:
        UsageError: the task has no such tier.
    """
    known = tier_names(file, task)
    if tier not in known:
        raise unknown(f"tier of {task}", tier, known, f"choose one: --tier {known[0]}")
    return tier_of(task, tier, device, tier_table(file, task, tier))


def tier_table(file: Path, task: str, tier: str) -> dict[str, Any]:
    """Return the settings of a task's tier for all kinds of device, over those of the file's ``[all]``.

    A tier with ``over`` lies over that tier of its task.
    """
    tables = _tables(file)
    own = dict(tables[task][tier])
    below = own.pop("over", None)
    return merged(tables["all"] if below is None else tier_table(file, task, below), own)


def tier_of(task: str, tier: str, device: str, table: Table) -> Tier:
    """Return the settings of ``table`` on a kind of device.

    Args:
        task: name of the task, which its digest covers.
        tier: name of the tier.
        device: ``cpu`` or ``cuda``.
        table: settings as ``tier_table`` returns them.
    """
    resolved: dict[str, Any] = _resolved(device, merged(table, {"name": tier}))
    resolved["limits"] = tuple(resolved.get("limits", ()))
    decisive = {key: value for key, value in resolved.items() if key not in UNDIGESTED}
    text = json.dumps({"task": task, **decisive}, sort_keys=True)
    resolved["windows"] = tuple((int(low), int(high)) for low, high in resolved.get("windows", ()))
    return Tier(**{"throughput": None} | resolved, sha256=hashlib.sha256(text.encode()).hexdigest())


@cache
def _tables(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))


def merged(*tables: Table) -> dict[str, Any]:
    """Merge tables recursively; later ones override earlier ones."""
    out: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            below = out.get(key)
            out[key] = (
                merged(below if isinstance(below, Mapping) else {}, value)
                if isinstance(value, Mapping)
                else value
            )
    return out


def _resolved(device: str, value: Any) -> Any:
    """Replace every table that has a value for each kind of device by that of ``device``."""
    if not isinstance(value, Mapping):
        return value
    return (
        _resolved(device, value[device])
        if device in value
        else {key: _resolved(device, part) for key, part in value.items()}
    )
