"""Plan of runs: task x method x seed as content-hashed specifications, with the records that exist.

No torch and no method code: planning the same command a second time costs milliseconds.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import identity
from benchmarks.api import BUDGETED_KINDS, InvalidRecordError, Need, OptionValues, UsageError
from benchmarks.options import checked, typed
from benchmarks.records import store
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.records.record import Record
from benchmarks.records.spec import EXTERNAL, SELF, TRIALS, RunSpec, tuning_trials
from benchmarks.registry import MethodRef, find, started
from benchmarks.suggestions import suggest
from benchmarks.tasks import Task, TierSettings


@dataclass(frozen=True)
class Folders:
    """Folders of a suite's results on this machine: ``DIR/<suite>-<tier>``."""

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
    def site(self) -> Path:
        """Pages about all records of the store; replaced as a whole by each report."""
        return self.home / "site"

    @property
    def runs(self) -> Path:
        """Folder of unfinished runs' files, and of all logs."""
        return self.home / "runs"

    @property
    def cache(self) -> Path:
        """Prepared data, shared by all suites."""
        return self.results / "cache"


@dataclass(eq=False)
class PlannedRun:
    """One run of the plan."""

    spec: RunSpec
    method: MethodRef
    first: PlannedRun | None = None
    """Run that this one follows."""
    state: str = "new"
    """``done`` (a finished record is there), ``failed`` or ``stopped`` by its seconds (both are run again),
    ``partial``, ``new``."""
    load: Callable[[], Record] | None = None
    """Function that reads its record; None while there is none. Memory has no room for all of a long plan."""
    declared_profile: JsonView | None = None
    """Profile that its record declares; None for one of the program's own."""
    estimate: float | None = None
    """Remaining seconds; None if unknown."""
    last_token: tuple[float, float] | None = None
    """Estimated shares of its seconds and of its allowance of tokens at its last token; None if unknown."""
    basis: str = ""
    """Source of the estimate."""

    @property
    def name(self) -> str:
        """Method with the options that are not at their default: ``mos-neuron experts=4``."""
        return " ".join([self.spec.method, *(f"{k}={typed(v)}" for k, v in self.spec.options.items())])

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.name} seed {self.spec.seed}"

    @property
    def record(self) -> Record | None:
        """Its record, read anew; None while there is none."""
        return self.load() if self.load is not None else None

    def enter(self, record: Record, load: Callable[[], Record]) -> None:
        """Note that the run has a record, which ``load`` reads, and its state."""
        self.load, self.state = load, state_of(record)
        self.declared_profile = record.get("declared", {}).get("profile")


@dataclass
class Plan:
    """Runs in an order in which each one's ``follows`` comes before it."""

    folders: Folders
    profile: str
    device: str
    runs: list[PlannedRun] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def pending(self) -> list[PlannedRun]:
        """Runs that are not done yet."""
        return [run for run in self.runs if run.state != "done"]

    @property
    def seconds(self) -> float | None:
        """Estimate of what is left, one run at a time; None where any part is unknown."""
        estimates = [run.estimate for run in self.pending]
        return math.fsum(e for e in estimates if e is not None) if None not in estimates else None

    def to_dict(self) -> JsonObject:
        """Return the plan as ``--json`` prints it."""
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
class PlanRequest:
    """Selection of runs: the arguments of a plan."""

    tasks: Sequence[Task]
    tier: str
    methods: Sequence[MethodRef]
    seeds: Sequence[int]
    profile: str
    device: str
    budget_scale: float = 1.0
    options: Mapping[str, OptionValues] = field(default_factory=dict)
    """Method -> option -> value, as text or typed."""
    sweeps: Mapping[str, Sequence[OptionValues]] = field(default_factory=dict)
    """Method -> sets of options, each of which is a run of its own; ``options`` replaces values in all."""
    ruleset: str = SELF
    code: Mapping[str, str] = field(default_factory=dict)
    """Task -> digest of its code; ``data``: task -> digest of its data."""
    data: Mapping[str, str] = field(default_factory=dict)


UPDATES = 6
"""Least updates of a run that --budget-scale makes short: one for a supernet of three passes from half of its
tokens, and as many for its winner. With fewer, networks are scored as they were initialised."""
MOST_SEEDS = 10_000
"""Most seeds of a plan."""
LARGEST_SEED = 2**32 - 1
"""Largest seed, NumPy's own."""
LARGEST = 1e15
"""Largest allowance: whole numbers up to here are exact in floating point."""


MOST_RUNS = 100_000
"""Most runs of a plan, which half a minute lays out."""


def require_few(**factors: int) -> None:
    """Refuse a plan with more runs than ``MOST_RUNS``.

    Args:
        factors: word for the things of a kind that a plan combines -> their number.

    Raises:
        UsageError: their product is too large.
    """
    if (count := math.prod(factors.values())) > MOST_RUNS:
        product = " x ".join(f"{number:,} {word}" for word, number in factors.items() if number > 1)
        raise UsageError(
            f"a plan of {count:,} runs ({product}): at most {MOST_RUNS:,}\n"
            "split it into several: fewer --seeds, --methods, tasks or values of options"
        )


def scale_budget(budget: Mapping[str, float], factor: float) -> dict[str, float]:
    """Return a budget ``factor`` times as large; countable kinds are rounded up to whole numbers.

    Raises:
        UsageError: a factor or an allowance that is not a positive number, or that leaves nothing of one.
    """
    own = "the tier's own allowance is --budget-scale 1"
    if not (math.isfinite(factor) and factor > 0):
        raise UsageError(f"--budget-scale {factor:g}: a budget must be above zero; {own}")
    out: dict[str, float] = {}
    for kind in BUDGETED_KINDS:
        amount = budget.get(kind, 0)
        if not (math.isfinite(amount) and amount > 0):
            raise UsageError(
                f"budget of {amount:g} {kind}: each kind needs one above zero ({', '.join(BUDGETED_KINDS)})"
            )
        if not 1e-6 <= amount * factor <= LARGEST:
            few = "next to nothing" if amount * factor < 1 else "more than can be counted"
            raise UsageError(f"--budget-scale {factor:g} makes {few} of {amount:g} {kind}; {own}")
        out[kind] = round(amount * factor, 6) if kind == "seconds" else math.ceil(amount * factor - 1e-9)
    return out


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of a text: ``3`` means 1 to 3, ``2,5`` those two, ``7,`` the single seed 7.

    Raises:
        UsageError: the text is neither a count nor distinct seeds, or a number is too large.
    """
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if "," not in text and numbers and numbers[0] > MOST_SEEDS:
        single = f"; a single seed is --seeds {text.strip()}," if numbers[0] <= LARGEST_SEED else ""
        raise UsageError(f"--seeds {text}: at most {MOST_SEEDS:,} seeds{single}")
    if numbers and max(numbers) > LARGEST_SEED:
        raise UsageError(f"--seeds {text}: a seed is at most {LARGEST_SEED:,}")
    seeds = numbers if "," in text else list(range(1, numbers[0] + 1)) if numbers else []
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise UsageError(f"--seeds '{text}': a count such as 3 (seeds 1 to 3), or distinct seeds: 1,4 or 7,")
    return seeds


def lay_out(request: PlanRequest, folders: Folders) -> Plan:
    """Lay out every run and look up what is done.

    Raises:
        UsageError: options for a method that is not run, or that its method does not declare so, a circle of
            ``follows``, a budget that is none or below what a method needs.
    """
    plan = Plan(folders, request.profile, request.device)
    layout = _Layout(request, folders)
    for task in request.tasks:
        # Seeds outermost: a command that is cut short leaves whole comparisons.
        for seed in request.seeds:
            for method in request.methods:
                for run in layout.runs(task, method, seed, ()):
                    layout.append(plan, run)
    used = {run.spec.method for run in layout.known.values()}
    for name in request.options:
        if name not in used:
            raise UsageError(
                f"--option {name}.NAME: '{name}' is not among this run's methods. {suggest(name, used)}\n"
                f"they are: {' '.join(sorted(used))}"
            )
    _require_affordable(request, plan)
    return plan


def parent_of(tier: TierSettings) -> str | None:
    """Return the method whose network all supernets of a tier start from; None if they start untrained."""
    parent = getattr(tier, "settings", {}).get("parent")
    return None if parent is None else str(parent)


def _require_affordable(request: PlanRequest, plan: Plan) -> None:
    """Refuse a plan whose allowances are below what a method needs to work at all.

    Raises:
        UsageError: naming each method and kind of allowance, and a scale that is enough for the whole plan.
    """
    tiers = {task.name: task.tier(request.tier, request.device) for task in request.tasks}
    short, scale = [], request.budget_scale
    if scale < 1:
        for name in {run.spec.task for run in plan.pending}:
            tier = tiers[name]
            least = UPDATES * int(tier.recipe.get("batch_tokens", 1)) * int(tier.recipe.get("accumulate", 1))
            has = scale_budget(tier.budget, scale)["tokens"]
            if has < least <= tier.budget["tokens"]:
                short.append(f"{name} needs {least:,} tokens and has {has:,g}: {UPDATES} updates")
                scale = max(scale, sufficient_scale(tier.budget, "tokens", least))
    for run in {(run.spec.task, run.spec.method): run for run in plan.pending}.values():
        tier = tiers[run.spec.task]
        for need, least in _needs(run.method, tier):
            has = scale_budget(tier.budget, request.budget_scale)[need.kind]
            if has < least:
                short.append(f"{run.spec.method} needs {least} {need.kind} and has {has:g}: {need.why}")
            scale = max(scale, sufficient_scale(tier.budget, need.kind, least))
    if short:
        lines = "\n".join(dict.fromkeys(short))
        raise UsageError(
            f"--budget-scale {request.budget_scale:g} is too little for {request.tier}:\n{lines}\n"
            f"enough for all of this plan: --budget-scale {scale:g}"
        )


def _needs(method: MethodRef, tier: TierSettings) -> list[tuple[Need, int]]:
    """Return the needs of a method in a tier, with the amounts."""
    limits = len(getattr(tier, "limits", ()))
    targets = limits + len(getattr(tier, "windows", ()))
    needed = []
    for need in method.needs:
        least = need.least.get(tier.space, 0) if isinstance(need.least, Mapping) else need.least
        if least and (limits or not need.timed):
            needed.append((need, least * (max(targets, 1) if need.each else 1)))
    return needed


def sufficient_scale(budget: Mapping[str, float], kind: str, least: int) -> float:
    """Return the smallest scale, of two digits, that leaves ``least`` of a countable kind."""
    exact = max((least - 1) / budget[kind], 1e-6)
    step = 10.0 ** (math.floor(math.log10(exact)) - 1)
    counts = itertools.count(math.floor(exact / step))
    factors = (float(f"{count * step:.3g}") for count in counts)
    return next(factor for factor in factors if math.ceil(budget[kind] * factor - 1e-9) >= least)


class _Layout:
    """Runs of one request by their id, each made once.

    Attributes:
        known: id -> run.
    """

    def __init__(self, request: PlanRequest, folders: Folders) -> None:
        self.request = request
        self._store, self._runs, self._substrate = folders.store, folders.runs, identity.substrate()
        self.known: dict[str, PlannedRun] = {}
        self._appended: set[str] = set()
        self._asked = {method.name for method in request.methods}
        self._tiers = {task.name: task.tier(request.tier, request.device) for task in request.tasks}
        self._budgets: dict[str, dict[str, float]] = {}
        self._options: dict[str, list[JsonObject]] = {}
        self._leaders: dict[tuple[str, str, int], list[PlannedRun]] = {}

    def runs(self, task: Task, method: MethodRef, seed: int, chain: tuple[str, ...]) -> list[PlannedRun]:
        """Return the runs of a method, one for each of its sets of options and each run that it follows.

        Raises:
            UsageError: the methods of ``chain``, which lead here, follow one another in a circle.
        """
        key = task.name, method.name, seed
        if key in self._leaders:
            return self._leaders[key]
        if method.name in chain:
            raise UsageError(f"methods follow one another in a circle: {' -> '.join((*chain, method.name))}")
        method = started(method, parent_of(self._tiers[task.name]))
        leaders: Sequence[PlannedRun | None] = [None]
        if method.follows is not None:
            leader = (
                method.leader
                or next((m for m in self.request.methods if m.name == method.follows), None)
                or find(method.follows)
            )
            leaders = self.runs(task, leader, seed, (*chain, method.name))
        runs = [
            self._run(task, method, seed, options, first)
            for first in leaders
            for options in self._variants(method)
        ]
        self._leaders[key] = runs
        return runs

    def _variants(self, method: MethodRef) -> list[JsonObject]:
        """Return the sets of options of a method: those of its sweep, or the one of the command."""
        if method.name not in self._options:
            given = self.request.options.get(method.name, {})
            self._options[method.name] = [
                checked(method.name, method.options, {**swept, **given})
                for swept in self.request.sweeps.get(method.name) or [{}]
            ]
        return self._options[method.name]

    def _run(
        self, task: Task, method: MethodRef, seed: int, options: JsonObject, first: PlannedRun | None
    ) -> PlannedRun:
        request, tier = self.request, self._tiers[task.name]
        tuned = request.ruleset == EXTERNAL
        if task.name not in self._budgets:
            scale = request.budget_scale * (TRIALS if tuned else 1)
            self._budgets[task.name] = scale_budget(tier.budget, scale)
        spec = RunSpec(
            suite=task.suite,
            task=task.name,
            tier=request.tier,
            method=method.name,
            method_version=method.version,
            method_sha256=method.sha256,
            profile=request.profile,
            seed=seed,
            budget=self._budgets[task.name],
            options=options,
            space=tier.space,
            settings_sha256=tier.sha256,
            follows=first.spec.id if first else None,
            ruleset=request.ruleset,
            trials=tuning_trials(method, options) if tuned else (),
            task_sha256=request.code.get(task.name),
            data_sha256=request.data.get(task.name),
            substrate_sha256=self._substrate,
        )
        if spec.id in self.known:
            return self.known[spec.id]
        run = self.known[spec.id] = PlannedRun(spec, method, first)
        read_state(run, self._store, self._runs)
        return run

    def append(self, plan: Plan, run: PlannedRun) -> None:
        """Append a run after the one it follows, which is of the plan too, whatever its state."""
        if run.spec.id in self._appended:
            return
        self._appended.add(run.spec.id)
        if run.first is not None:
            leader = run.first.spec.method
            self.append(plan, run.first)
            why = "starts from" if run.method.starts else "follows"
            note = f"{run.spec.method} {why} {leader}: its runs are added to the plan"
            if leader not in self._asked and note not in plan.notes:
                plan.notes.append(note)
        plan.runs.append(run)


def state_of(record: Record) -> str:
    """Return the state of a run that has a record."""
    if record["status"] == "failed":
        return "failed"
    return "stopped" if store.stopped_by_seconds(record) else "done"


def read_state(run: PlannedRun, store_folder: Path, runs: Path) -> None:
    """Set the state of a run, and its record if it has one, from what is on disk.

    A run that failed or that its seconds stopped is run again; so is one whose record cannot be read.
    """
    spec = run.spec
    path = f"{store_folder}/{spec.task}/{spec.profile}/{spec.method}/{spec.id}.json"
    if os.path.exists(path):
        try:
            record = store.load(Path(path))
        except InvalidRecordError:
            run.state = "unreadable"
            return
        run.enter(record, partial(store.load, Path(path)))
    elif os.path.exists(f"{runs}/{spec.id}/spec.json"):
        run.state = "partial"
