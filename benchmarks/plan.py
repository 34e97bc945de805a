"""What is to be run: task x method x seed as content-hashed run specs, with what is there already.

No torch and no method code: planning the same command a second time costs milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import records, rulesets
from benchmarks.api import LIMITED, InvalidRecord, UsageError
from benchmarks.registry import MethodRef, find


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides what a run does; equal specs are the same run."""

    suite: str
    task: str
    tier: str
    method: str
    method_version: str
    method_sha256: str
    profile: str
    seed: int
    budget: Mapping[str, float]
    options: Mapping[str, Any]
    space: str
    settings_sha256: str
    follows: str | None = None
    """Id of the run whose architectures this one is given."""
    ruleset: str = rulesets.SELF
    trials: Sequence[Mapping[str, Any]] = ()
    """Under external tuning: the options of every trial."""

    def to_dict(self) -> dict[str, Any]:
        """As the record has it."""
        found = asdict(self)
        if self.ruleset == rulesets.SELF:
            del found["ruleset"], found["trials"]
        return found

    @cached_property
    def id(self) -> str:
        """16 hex digits of the content hash."""
        return records.spec_id(self.to_dict())


@dataclass(frozen=True)
class Folders:
    """Where a suite's results on this machine stand: ``DIR/<suite>-<tier>``."""

    results: Path
    suite: str
    tier: str

    @property
    def home(self) -> Path:
        """Tables, plots and everything below."""
        return self.results / f"{self.suite}-{self.tier}"

    @property
    def store(self) -> Path:
        """The record store."""
        return self.home / "records"

    @property
    def runs(self) -> Path:
        """What unfinished runs need, and their logs."""
        return self.home / "runs"

    @property
    def cache(self) -> Path:
        """Prepared data, shared by all suites."""
        return self.results / "cache"


@dataclass(eq=False)
class Planned:
    """One run of the plan."""

    spec: RunSpec
    method: MethodRef
    first: Planned | None = None
    """The run that it follows."""
    state: str = "new"
    """``done`` (a finished record is there), ``failed`` or ``stopped`` by its seconds (both are run again),
    ``partial``, ``new``."""
    record: dict[str, Any] | None = None
    estimate: float | None = None
    """Seconds that it will still take; None where unknown."""
    basis: str = ""
    """Where the estimate comes from."""

    @property
    def label(self) -> str:
        """How a person calls it."""
        return f"{self.spec.method} seed {self.spec.seed}"


@dataclass
class Plan:
    """Runs in an order in which each one's ``follows`` comes before it."""

    folders: Folders
    profile: str
    device: str
    runs: list[Planned] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def pending(self) -> list[Planned]:
        """What is not done yet."""
        return [run for run in self.runs if run.state != "done"]

    @property
    def seconds(self) -> float | None:
        """Estimate of what is left, one run at a time; None where any part is unknown."""
        estimates = [run.estimate for run in self.pending]
        return math.fsum(e for e in estimates if e is not None) if None not in estimates else None

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "suite": self.folders.suite,
            "tier": self.folders.tier,
            "profile": self.profile,
            "runs": [
                {"id": run.spec.id, "state": run.state, "estimate_seconds": run.estimate, "basis": run.basis}
                | {"spec": run.spec.to_dict()}
                for run in self.runs
            ],
            "estimate_seconds": self.seconds,
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Request:
    """What was asked for, checked as far as it can be without its parts."""

    tasks: Sequence[Any]
    """``benchmarks.tasks`` objects."""
    tier: str
    methods: Sequence[MethodRef]
    seeds: Sequence[int]
    profile: str
    device: str
    budget_scale: float = 1.0
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ruleset: str = rulesets.SELF


def scaled(budget: Mapping[str, float], factor: float) -> dict[str, float]:
    """A budget ``factor`` times as large; countable kinds rounded up to whole ones.

    Raises:
        UsageError: a factor or an allowance that is not a positive number.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise UsageError(f"--budget-scale {factor:g}: a budget must be above zero, as in --budget-scale 0.1")
    out: dict[str, float] = {}
    for kind in LIMITED:
        amount = budget.get(kind, 0)
        if not (math.isfinite(amount) and amount > 0):
            raise UsageError(
                f"budget of {amount:g} {kind}: each kind needs one above zero ({', '.join(LIMITED)})"
            )
        out[kind] = round(amount * factor, 6) if kind == "seconds" else math.ceil(amount * factor - 1e-9)
    return out


def parse_seeds(text: str) -> list[int]:
    """``3`` means seeds 1 to 3; ``2,5`` those two; ``7,`` the one."""
    try:
        found = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    seeds = found if "," in text else list(range(1, found[0] + 1)) if found else []
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise UsageError(f"--seeds '{text}': a count such as 3 (seeds 1 to 3), or distinct seeds: 1,4 or 7,")
    return seeds


def build(request: Request, folders: Folders) -> Plan:
    """Lay out every run and look up what is done.

    Raises:
        UsageError: options for a method that is not run, a circle of ``follows``, a bad budget.
    """
    plan = Plan(folders, request.profile, request.device)
    known: dict[str, Planned] = {}
    for task in request.tasks:
        # Seeds outermost: a command that is cut short leaves whole comparisons.
        for seed in request.seeds:
            for method in request.methods:
                _add(plan, request, _planned(request, folders, task, method, seed, known, ()))
    used = {run.spec.method for run in known.values()}
    for name in request.options:
        if name not in used:
            raise UsageError(
                f"--option {name}.KEY: '{name}' is not among this run's methods: {' '.join(sorted(used))}"
            )
    return plan


def _planned(
    request: Request,
    folders: Folders,
    task: Any,
    method: MethodRef,
    seed: int,
    known: dict[str, Planned],
    chain: tuple[str, ...],
) -> Planned:
    """One run and, as its ``first``, the one that it follows."""
    if method.name in chain:
        raise UsageError(f"methods follow one another in a circle: {' -> '.join((*chain, method.name))}")
    first: Planned | None = None
    if method.follows is not None:
        leader = next((m for m in request.methods if m.name == method.follows), None) or find(method.follows)
        first = _planned(request, folders, task, leader, seed, known, (*chain, method.name))
    tier = task.tier(request.tier, request.device)
    options, scale = dict(request.options.get(method.name, {})), request.budget_scale
    tuned = request.ruleset == rulesets.EXTERNAL
    spec = RunSpec(
        suite=task.suite,
        task=task.name,
        tier=request.tier,
        method=method.name,
        method_version=method.version,
        method_sha256=method.sha256,
        profile=request.profile,
        seed=seed,
        budget=scaled(tier.budget, scale * (rulesets.TRIALS if tuned else 1)),
        options=options,
        space=tier.space,
        settings_sha256=tier.sha256,
        follows=first.spec.id if first else None,
        ruleset=request.ruleset,
        trials=rulesets.trials(method, options) if tuned else (),
    )
    run = known.setdefault(spec.id, Planned(spec, method, first))
    look_up(run, folders)
    return run


def _add(plan: Plan, request: Request, run: Planned) -> None:
    """Append a run after the one it follows, which a finished record may stand for."""
    if run.first is not None:
        leader, asked = run.first.spec.method, any(m.name == run.first.spec.method for m in request.methods)
        if asked or run.first.state != "done":
            _add(plan, request, run.first)
        how = (
            "taken from the records there are"
            if run.first.state == "done"
            else "its runs are added to the plan"
        )
        note = f"{run.spec.method} follows {leader}: {how}"
        if not asked and note not in plan.notes:
            plan.notes.append(note)
    if run not in plan.runs:
        plan.runs.append(run)


def state_of(record: Mapping[str, Any]) -> str:
    """Return the state of a run that has a record."""
    if record["status"] == "failed":
        return "failed"
    return "stopped" if records.stopped_by_seconds(record) else "done"


def look_up(run: Planned, folders: Folders) -> None:
    """Set ``state`` and ``record`` from what is on disk.

    A run that failed or that its seconds stopped is run again; so is one whose record cannot be read.
    """
    path = folders.store / records.relative_path({"spec": run.spec.to_dict(), "id": run.spec.id})
    if path.exists():
        try:
            record = records.load(path)
        except InvalidRecord:
            run.state = "unreadable"
            return
        run.record, run.state = record, state_of(record)
    elif (folders.runs / run.spec.id / "spec.json").exists():
        run.state = "partial"
