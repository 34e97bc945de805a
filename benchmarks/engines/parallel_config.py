"""Parallel configurations (``--parallel-config slurm.yml``): on which engine workers start, and how many.

The form is benchopt's: ``backend`` and ``slurm_*`` keys, which are passed on unread.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks import registry, suggestions
from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.records.text import ascii_excerpt
from benchmarks.runs import leases
from benchmarks.runs.plan import Plan, PlannedRun
from benchmarks.runs.yaml_file import compose, pairs
from benchmarks.suggestions import suggest

BACKENDS = ("local", "submitit", "script", "k8s", "ray")
EXAMPLE = "write  backend: submitit  and one key a line, such as  slurm_partition: gpu"
OVERRIDES = 'write  overrides: {nas-bert: {slurm_time: "08:00:00"}}'
SETUP = "a list of lines, such as  slurm_setup: [module load cuda]"
PARAMETERS = "options of sbatch, such as  slurm_additional_parameters: {account: abc}"
SLURM_KEY = re.compile(r"slurm_\w[\w-]*", re.ASCII)
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
COMMON = ("backend", "cluster", "address", "overrides")
"""Keys that all workers share, which no override has."""
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
        slurm: ``slurm_*`` keys without their prefix; those that are empty or false are left out.
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
        value: int | None = self.slurm.get("array_parallelism")
        return value


@dataclass(frozen=True)
class WorkerGroup:
    """Workers with equal resources.

    Attributes:
        methods: whose runs they make; empty: all.
        seconds: estimate of their runs, one at a time; None if unknown.
        again: some of their runs have ended before and are to be made again.
    """

    config: ParallelConfig
    methods: Sequence[str]
    runs: int
    count: int
    seconds: float | None
    again: bool = False

    @property
    def arguments(self) -> list[str]:
        """Arguments of ``work`` after the study."""
        until = round(self.config.hours * 3600 - MARGIN_S)
        words = ["--jobs", str(self.config.jobs), "--until", f"{until}s"]
        if "data_dir" in self.config.other:
            words += ["--data-dir", str(self.config.other["data_dir"])]
        words += ["--retry-failed"] * self.again
        return words + (["--methods", ",".join(self.methods)] if self.methods else [])


@dataclass(frozen=True)
class _Entry:
    """A key of a file, and its value."""

    path: Path
    name: str
    key: yaml.Node
    node: yaml.Node

    def error(self, problem: str) -> UsageError:
        """Return the error of this key."""
        return UsageError(f"{self.path}:{self.key.start_mark.line + 1}: {self.name}: {problem}")

    def entries(self, example: str) -> Iterator[_Entry]:
        """Yield the entries of a value that is a mapping."""
        return _entries(self.path, self.node, example)

    def construct(self) -> object:
        """Return the value as YAML has it.

        Raises:
            UsageError: it cannot be read.
        """
        try:
            value: object = yaml.SafeLoader("").construct_object(self.node, deep=True)
            repr(value)  # a number of more than 4,300 digits has no text, and is no value
        except (yaml.YAMLError, ValueError, RecursionError):
            raise self.error("cannot be read") from None
        return value


def _entries(path: Path, node: yaml.Node | None, example: str) -> Iterator[_Entry]:
    return (_Entry(path, *pair) for pair in pairs(path, node, example))


def read(path: Path) -> ParallelConfig:
    """Return the parallel configuration at ``path``.

    Raises:
        UsageError: it cannot be read, or has an unknown key or a wrong value, with the line.
    """
    values: JsonObject = {}
    overrides: dict[str, JsonView] = {}
    for entry in _entries(path, compose(path, EXAMPLE), EXAMPLE):
        if entry.name == "overrides":
            overrides = {own.name: _override(own) for own in entry.entries(OVERRIDES)}
            continue
        values[entry.name] = _value(entry)
        if entry.name == "backend" and values["backend"] not in BACKENDS:
            near = suggest(str(values["backend"]), BACKENDS)
            problem = f"no backend {ascii_excerpt(values['backend'])}. {near}".rstrip()
            raise entry.error(f"{problem}\nallowed: {' '.join(BACKENDS)}")
    if "backend" not in values:
        raise UsageError(f"{path}:1: no backend: {EXAMPLE}\nallowed: {' '.join(BACKENDS)}")
    config = _make(path, values, overrides)
    for own_values in overrides.values():
        _merge(config, own_values)  # refuses too short a time
    return config


def _override(method: _Entry) -> JsonObject:
    """Return the keys of one method's workers.

    Raises:
        UsageError: a wrong key or value, or a key that all workers share.
    """
    own: JsonObject = {}
    for entry in method.entries(OVERRIDES):
        if entry.name in COMMON:
            raise entry.error(f"all workers share it: write it outside the overrides of {method.name}")
        own[entry.name] = _value(entry)
    return own


def _value(entry: _Entry) -> object:
    """Return the value of a key.

    Raises:
        UsageError: no such key, or a value of another kind.
    """
    name = entry.name
    if SLURM_KEY.fullmatch(name):
        return _slurm_value(entry)
    if name not in OWN:
        near = suggest(name, OWN)
        raise entry.error(f"no such key. {near}".rstrip() + f"\nknown: {' '.join((*OWN, 'slurm_*'))}")
    value = entry.construct()
    if not isinstance(value, OWN[name]) or isinstance(value, bool):
        raise entry.error(f"{ascii_excerpt(value)} is of the wrong kind")
    if isinstance(value, int | float) and not 0 < value <= MOST:
        shown = value if abs(value) < 1e15 else "a number of more than 15 digits"
        raise entry.error(f"{shown}: above zero, at most {MOST:,}")
    return value


def _slurm_value(entry: _Entry) -> object:
    """Return the value of a ``slurm_*`` key; None if it is empty or false.

    Raises:
        UsageError: a value of another kind than its key has.
    """
    value = entry.construct()
    if value is None:
        return None
    if entry.name == "slurm_setup":
        if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
            raise entry.error(f"{ascii_excerpt(value)}: {SETUP}")
        return value
    if entry.name == "slurm_additional_parameters":
        if not isinstance(value, dict):
            raise entry.error(f"{ascii_excerpt(value)}: {PARAMETERS}")
        parameters = {part.name: _scalar(part) for part in entry.entries(PARAMETERS)}
        return {name: part for name, part in parameters.items() if part is not None}
    scalar = _scalar(entry)
    if entry.name == "slurm_array_parallelism" and scalar is not None:
        if type(scalar) is not int or not 0 < scalar <= MOST:
            raise entry.error(
                f"{ascii_excerpt(scalar)}: a whole number above zero, at most {MOST:,}, such as 16"
            )
    return scalar


def _scalar(entry: _Entry) -> str | int | None:
    """Return true, a whole number, or the text of the file; None if it is empty or false.

    YAML 1.1 reads more as numbers than Slurm does: 10:00:00 to the base 60, 010 to the base 8.

    Raises:
        UsageError: a list, a mapping, or a text that would end its directive's line.
    """
    if not isinstance(entry.node, yaml.ScalarNode):
        raise entry.error(f"one value, such as  {entry.name}: ...")
    value = entry.construct()
    if value is None or value is False:
        return None
    text = str(entry.node.value)
    if len(f"{entry.name}{text}.".splitlines()) > 1:
        raise entry.error("one line")
    return value if value is True or (isinstance(value, int) and str(value) == text) else text


def _make(path: Path, values: JsonView, overrides: Mapping[str, JsonView]) -> ParallelConfig:
    """Return the configuration of checked values.

    Raises:
        UsageError: its time is too short for a worker.
    """
    slurm = {
        name.removeprefix("slurm_"): value
        for name, value in values.items()
        if name.startswith("slurm_") and value is not None
    }
    named = ("backend", "jobs", "workers", "hours")
    name = "slurm_time" if "time" in slurm else "hours"
    hours = _slurm_hours(path, slurm["time"]) if "time" in slurm else float(values.get("hours", HOURS))
    if hours * 3600 < 2 * MARGIN_S:
        raise UsageError(
            f"{path}: {name}: {values[name]!r}: a worker needs at least {2 * MARGIN_S / 60:g} minutes"
        )
    return ParallelConfig(
        path,
        values["backend"],
        values.get("jobs", 1),
        values.get("workers"),
        hours,
        slurm,
        {k: v for k, v in values.items() if k in OWN and k not in named},
        overrides,
    )


def _merge(config: ParallelConfig, own: JsonView) -> ParallelConfig:
    """Return the configuration of the workers of a method that has keys of its own.

    Raises:
        UsageError: its time is too short for a worker.
    """
    base = {"backend": config.backend, "jobs": config.jobs, "hours": config.hours}
    base |= {"workers": config.workers} if config.workers else {}
    slurm = {f"slurm_{name}": value for name, value in config.slurm.items()}
    if "hours" in own:
        slurm.pop("slurm_time", None)
    return _make(config.path, {**base, **slurm, **config.other, **own}, {})


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
    return seconds / 3600


def require_methods(config: ParallelConfig, plans: Iterable[Plan]) -> None:
    """Refuse overrides of methods that exist nowhere, neither in the plans nor installed.

    Raises:
        UsageError: there is no such method.
    """
    known = {*registry.installed(), *(run.spec.method for plan in plans for run in plan.runs)}
    for method in config.overrides:
        if method not in known:
            error = suggestions.unknown("method", method, known, "list them: supernet-bench list methods")
            raise UsageError(f"{config.path}: overrides: {error}")


def groups(config: ParallelConfig, plan: Plan) -> list[WorkerGroup]:
    """Return the workers that a plan's pending runs need: one group for all, and one for each override."""
    pending, ended = plan.pending, _ended_before(plan)
    groups = []
    for method, own in config.overrides.items():
        runs = [run for run in pending if run.spec.method == method]
        if runs:
            groups.append(_group(_merge(config, own), [method], runs, ended))
    others = [run for run in pending if run.spec.method not in config.overrides]
    if others:
        methods = sorted({run.spec.method for run in others}) if groups else []
        groups.insert(0, _group(config, methods, others, ended))
    return groups


def _ended_before(plan: Plan) -> set[str]:
    """Return the runs that have ended without a result, which workers leave unless they are to retry them."""
    known = leases.read_leases(plan.folders.home)
    return {run for run, lease in known.items() if lease.state in leases.ENDED and lease.state != "done"}


def _group(
    config: ParallelConfig, methods: Sequence[str], runs: Sequence[PlannedRun], ended: Collection[str]
) -> WorkerGroup:
    estimates = [run.estimate for run in runs]
    seconds = None if None in estimates else math.fsum(e for e in estimates if e is not None)
    most = math.ceil(len(runs) / config.jobs)
    slot = (config.hours * 3600 - MARGIN_S) * config.jobs
    wanted = most if seconds is None else math.ceil(SPARE * seconds / slot)
    count = config.workers or max(1, min(wanted, most))
    again = any(run.spec.id in ended for run in runs)
    return WorkerGroup(config, methods, len(runs), count, seconds, again)
