"""Parallel configurations (``--parallel-config slurm.yml``): on which engine workers start, and how many.

The form is benchopt's: ``backend`` and ``slurm_*`` keys, which are passed on unread.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.records.text import ascii_excerpt
from benchmarks.runs.plan import Plan, PlannedRun
from benchmarks.runs.yaml_file import compose, pairs
from benchmarks.suggestions import suggest

BACKENDS = ("local", "submitit", "script", "k8s", "ray")
EXAMPLE = "write  backend: submitit  and one key a line, such as  slurm_partition: gpu"
OWN: Mapping[str, type | tuple[type, ...]] = {
    "backend": str,
    "jobs": int,
    "workers": int,
    "cluster": str,
    "hours": (int, float),
    "max_array_size": int,
    "overrides": dict,
    "data_dir": str,
    "image": str,
    "claim": str,
    "mount": str,
    "gpus": int,
    "cpus": (int, float),
    "memory": str,
    "address": str,
}
"""Keys that are not Slurm's, with the types of their values."""
MOST = 1_000_000
"""Largest number of a configuration, whatever it counts."""
HOURS, MARGIN_S = 4.0, 300.0
"""Default hours of a worker, and seconds before its end at which it saves."""
SPARE = 1.15
"""Workers for each one that the estimate asks for: estimates err, and machines fail."""
ARRAY = 1000
"""Default largest job array, Slurm's own ``MaxArraySize``."""


@dataclass(frozen=True)
class ParallelConfig:
    """A parallel configuration that has been read.

    Attributes:
        jobs: runs at a time on one worker's machine.
        workers: number of workers; None: as many as the plan's estimate asks for.
        hours: that a worker has.
        slurm: ``slurm_*`` keys without their prefix.
        other: remaining keys, of one backend.
        overrides: method -> keys that its workers have in place of these.
    """

    path: Path
    backend: str
    jobs: int = 1
    workers: int | None = None
    hours: float = HOURS
    slurm: JsonView = field(default_factory=dict)
    other: JsonView = field(default_factory=dict)
    overrides: Mapping[str, JsonView] = field(default_factory=dict)

    @property
    def parallelism(self) -> int | None:
        """Largest number of workers at a time; None: the engine decides."""
        value = self.slurm.get("array_parallelism")
        return value if isinstance(value, int) and value > 0 else None


@dataclass(frozen=True)
class WorkerGroup:
    """Workers with equal resources.

    Attributes:
        methods: whose runs they make; empty: all.
        seconds: estimate of their runs, one at a time; None if unknown.
    """

    config: ParallelConfig
    methods: Sequence[str]
    runs: int
    count: int
    seconds: float | None

    @property
    def arguments(self) -> list[str]:
        """Arguments of ``work`` after the study."""
        until = max(60, round(self.config.hours * 3600 - MARGIN_S))
        words = ["--jobs", str(self.config.jobs), "--until", f"{until}s"]
        if "data_dir" in self.config.other:
            words += ["--data-dir", str(self.config.other["data_dir"])]
        return words + (["--methods", ",".join(self.methods)] if self.methods else [])


def read(path: Path) -> ParallelConfig:
    """Return the parallel configuration at ``path``.

    Raises:
        UsageError: it cannot be read, or has an unknown key or a wrong value, with the line.
    """
    values: JsonObject = {}
    lines: dict[str, int] = {}
    for name, key, node in pairs(path, compose(path, EXAMPLE), EXAMPLE):
        lines[name] = key.start_mark.line + 1
        try:
            # 10:00:00 without quotes is a number to the base 60 in YAML 1.1.
            timed = name == "slurm_time" and isinstance(node, yaml.ScalarNode)
            values[name] = node.value if timed else yaml.SafeLoader("").construct_object(node, deep=True)
            repr(values[name])  # a number of more than 4,300 digits has no text, and is no value
        except (yaml.YAMLError, ValueError, RecursionError):
            raise UsageError(f"{path}:{lines[name]}: {name} cannot be read") from None
    _check(path, lines, values)
    if values.get("backend") not in BACKENDS:
        line, word = lines.get("backend", 1), values.get("backend")
        fault = f"no backend '{word}'" if word else "no backend"
        near = suggest(str(word), BACKENDS)
        raise UsageError(f"{path}:{line}: {fault}. {near}".rstrip() + f"\nallowed: {' '.join(BACKENDS)}")
    overrides = values.pop("overrides", {})
    for method, own in overrides.items():
        if not isinstance(own, dict):
            raise UsageError(f"{path}:{lines['overrides']}: overrides: {{{method}: {{slurm_time: ...}}}}")
        _check(path, dict.fromkeys(own, lines["overrides"]), own)
    return _make(path, values, overrides)


def _check(path: Path, lines: Mapping[str, int], values: JsonView) -> None:
    for name, value in values.items():
        where = f"{path}:{lines[name]}: "
        if name.startswith("slurm_"):
            continue
        if name not in OWN:
            near = suggest(name, OWN)
            known = " ".join((*OWN, "slurm_*"))
            raise UsageError(f"{where}no key '{name}'. {near}".rstrip() + f"\nknown: {known}")
        if not isinstance(value, OWN[name]) or isinstance(value, bool):
            raise UsageError(f"{where}{name}: {ascii_excerpt(value)} is of the wrong kind")
        if isinstance(value, int | float) and not 0 < value <= MOST:
            shown = value if abs(value) < 1e15 else "a number of more than 15 digits"
            raise UsageError(f"{where}{name}: {shown}: above zero, at most {MOST:,}")


def _make(path: Path, values: JsonView, overrides: JsonView) -> ParallelConfig:
    slurm = {name.removeprefix("slurm_"): v for name, v in values.items() if name.startswith("slurm_")}
    named = ("backend", "jobs", "workers", "hours")
    hours = _slurm_hours(path, slurm["time"]) if "time" in slurm else values.get("hours", HOURS)
    return ParallelConfig(
        path,
        values["backend"],
        values.get("jobs", 1),
        values.get("workers"),
        float(hours),
        slurm,
        {k: v for k, v in values.items() if k in OWN and k not in named},
        overrides,
    )


def _slurm_hours(path: Path, value: object) -> float:
    """Return the hours of Slurm's forms: minutes, ``minutes:seconds``, ``[days-]hours:minutes:seconds``.

    Raises:
        UsageError: the value has another form.
    """
    text = str(value)
    match = re.fullmatch(r"(?:(\d{1,6})-)?(\d{1,6})(?::(\d{1,6}))?(?::(\d{1,6}))?", text, re.ASCII)
    if not match:
        raise UsageError(f'{path}: slurm_time: {ascii_excerpt(text)}: write it in quotes, such as "04:00:00"')
    days, *rest = (int(part) if part else None for part in match.groups())
    first, second, third = (part or 0 for part in rest)
    if days is not None or rest[2] is not None:
        seconds = (days or 0) * 86400 + first * 3600 + second * 60 + third
    else:
        seconds = first * 60 + second
    if seconds < 2 * MARGIN_S:
        raise UsageError(
            f"{path}: slurm_time: {text!r}: a worker needs at least {2 * MARGIN_S / 60:g} minutes"
        )
    return seconds / 3600


def groups(config: ParallelConfig, plan: Plan) -> list[WorkerGroup]:
    """Return the workers that a plan's pending runs need: one group for all, and one for each override."""
    special = {method: own for method, own in config.overrides.items()}
    pending = plan.pending
    groups = []
    for method, own in special.items():
        runs = [run for run in pending if run.spec.method == method]
        if runs:
            slurm = {f"slurm_{name}": value for name, value in config.slurm.items()}
            base = {"backend": config.backend, "jobs": config.jobs, "hours": config.hours}
            base |= {"workers": config.workers} if config.workers else {}
            merged = _make(config.path, {**base, **slurm, **config.other, **own}, {})
            groups.append(_group(merged, [method], runs))
    others = [run for run in pending if run.spec.method not in special]
    if others:
        methods = sorted({run.spec.method for run in others}) if groups else []
        groups.insert(0, _group(config, methods, others))
    return groups


def _group(config: ParallelConfig, methods: Sequence[str], runs: Sequence[PlannedRun]) -> WorkerGroup:
    estimates = [run.estimate for run in runs]
    seconds = None if None in estimates else math.fsum(e for e in estimates if e is not None)
    most = math.ceil(len(runs) / config.jobs)
    slot = max(60.0, config.hours * 3600 - MARGIN_S) * config.jobs
    wanted = most if seconds is None else math.ceil(SPARE * seconds / slot)
    count = config.workers or max(1, min(wanted, most))
    return WorkerGroup(config, methods, len(runs), count, seconds)
