"""The conformance suite: runs of one method that the checks compare. No torch.

The method is run a few times on a tiny budget, in processes of its own under an
``instrumented_lab.InstrumentedLab``: undisturbed; with the same seed under another PYTHONHASHSEED and other
global random states; with another seed; killed twice and resumed; with every charge refused from half-way on.
Latency is modelled by multiply-adds there, so that equal seeds repeat to the last bit. ``checks.judge`` reads
the results.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from benchmarks import class_facts, code_files, registry
from benchmarks.api import OptionValues, UsageError
from benchmarks.conformance.observations import LIMIT_MS, Instrumentation, Observations
from benchmarks.records.assembly import SEARCH_FILE, outcome_digest, read_json
from benchmarks.records.record import SearchOutcome
from benchmarks.records.spec import EXTERNAL, TRIALS, RunSpec, tuning_trials
from benchmarks.records.text import sanitize
from benchmarks.registry import MethodRef
from benchmarks.runs import worker
from benchmarks.runs.executor import Executor, wait_any
from benchmarks.runs.heartbeat import JOURNAL
from benchmarks.runs.job import (
    LabFactory,
    LeaderArtifacts,
    LeaderCandidate,
    SearchJob,
    leader_artifacts,
    leader_candidates,
)
from benchmarks.runs.supervisor import SupervisedSearch
from benchmarks.tasks import Prepared, Task

AT_A_TIME = 2
"""Runs at once, one thread each."""
SEED, OTHER_SEED = 1, 2
PATIENCE = 4.0
"""Times the seconds of the undisturbed run that a run with refused charges may take."""
KILLS = ((0.35, 0.34), (0.8, 0.67))
"""Points at which a run is killed: shares of its tokens and of its calls, whichever comes first."""

UNDISTURBED = "undisturbed"
LAB = "benchmarks.conformance.instrumented_lab:instrument"
"""Factory of the instrumented Lab, for ``runs.job.LabFactory``."""


class Session(NamedTuple):
    """One session of a run; ``hashed``: under another PYTHONHASHSEED."""

    search: SearchJob
    hashed: bool


@dataclass
class FinishedRun:
    """Outcome of one run, its calls of the Lab as ``(call, key)``, and the instrumented Lab's observations.

    ``observed`` is None if the run never had a Lab, or did not close it; ``private`` is that of
    ``Observations`` all the same. ``crashed``: its process ended without an outcome.
    """

    outcome: SearchOutcome
    calls: list[tuple[str, str]] = field(default_factory=list)
    observed: Observations | None = None
    interruptions: int = 0
    private: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    crashed: bool = False

    @property
    def well(self) -> bool:
        """True if the run ended by itself with something proposed."""
        return bool(self.outcome["status"] == "done")

    @property
    def digest(self) -> str:
        """Digest as a record's, of the search alone."""
        return outcome_digest(self.outcome)

    def total(self, kind: str) -> float:
        """Return the amount of one kind that the ledger has charged."""
        return float(self.outcome["ledger"]["totals"].get(kind, 0.0))


@dataclass
class Runs:
    """All runs of a method. Runs that were not made, because a run before them failed, are None."""

    undisturbed: FinishedRun
    budget: Mapping[str, float]
    perturbed: FinishedRun | None = None
    """The same seed, another PYTHONHASHSEED, other global random states."""
    repeated: FinishedRun | None = None
    """As ``undisturbed``; made only if ``perturbed`` differs, as are the next two."""
    rehashed: FinishedRun | None = None
    """The same seed and global random states, another PYTHONHASHSEED."""
    traced: FinishedRun | None = None
    """Traced line by line for touches of global random state."""
    reseeded: FinishedRun | None = None
    """Another seed."""
    resumed: FinishedRun | None = None
    """Killed twice and resumed."""
    refused: FinishedRun | None = None
    """Every charge refused from half-way on."""
    tuned: FinishedRun | None = None
    """Under external tuning, if the method declares trials."""
    imports: Mapping[str, str] = field(default_factory=dict)
    """Modules of the harness that the method imports -> file."""


def run_suite(
    ref: MethodRef,
    task: Task,
    tier_name: str,
    prepared: Prepared,
    home: Path,
    options: OptionValues,
    executor: Executor,
) -> Runs:
    """Run the method as often as the checks need.

    Args:
        ref: the method.
        task: a ``benchmarks.tasks.Task``; it is run on the processor, in its tier ``tier_name``.
        prepared: the task's data, sealed test split included.
        home: a folder for the runs; its content is removed.
        options: options of the method.
        executor: runs all processes but those under another hash seed.

    Raises:
        UsageError: the method does not apply to the task.
    """
    suite = _Suite(ref, task, tier_name, prepared, home, options, executor)
    if ref.inherits and ref.follows:
        leader = registry.find(ref.follows)
        lead = _Suite(leader, task, tier_name, prepared, home / "leader", {}, executor)
        (run,) = lead.run_chains({UNDISTURBED: [lead.job(UNDISTURBED)]}).values()
        suite.follow(run, lead.home / UNDISTURBED)
    first = suite.run_chains(
        {UNDISTURBED: [suite.job(UNDISTURBED)], "perturbed": [suite.job("perturbed", hashed=True)]}
    )
    undisturbed, perturbed = first[UNDISTURBED], first["perturbed"]
    runs = Runs(undisturbed, suite.spec.budget, imports=_imports(ref.source))
    if not undisturbed.well:
        return runs
    runs.perturbed = perturbed
    tokens, calls = undisturbed.total("tokens"), len(undisturbed.calls)
    asked = sum(call != "candidate" for call, _ in undisturbed.calls)
    # In the middle of what the method spends: of its search, or where it has none of its training.
    refuse = {"calls": max(1, calls // 2)} if asked > 1 else {"tokens": tokens / 2}
    kills = [
        ({"tokens": share * tokens} if tokens else {}) | {"calls": max(1, int(part * calls))}
        for share, part in KILLS
    ]
    patience = max(15.0, PATIENCE * undisturbed.total("seconds"))
    chains = {
        "reseeded": [suite.job("reseeded", seed=OTHER_SEED)],
        "resumed": [suite.job("resumed", kill=kill) for kill in (*kills, None)],
        "refused": [suite.job("refused", refuse=refuse, seconds=patience)],
    }
    if ref.trials:
        chains["tuned"] = [suite.job("tuned", tuned=True)]
    differs = perturbed.digest != undisturbed.digest
    if differs:
        chains["repeated"] = [suite.job("repeated")]
        chains["rehashed"] = [suite.job("rehashed", hashed=True, salt=())]
    if differs or (undisturbed.observed is not None and undisturbed.observed.moved):
        chains["traced"] = [suite.job("traced", trace=True)]
    for name, run in suite.run_chains(chains).items():
        setattr(runs, name, run)
    return runs


class _Suite:
    """Jobs of one method's runs, and their execution."""

    def __init__(
        self,
        ref: MethodRef,
        task: Task,
        tier_name: str,
        prepared: Prepared,
        home: Path,
        options: OptionValues,
        executor: Executor,
    ) -> None:
        self.home, self.prepared, self.executor, self.ref = home, prepared, executor, ref
        usual = os.environ["PYTHONHASHSEED"]
        self.hashed = Executor(hash_seed="1" if usual != "1" else "2")
        tier = task.tier(tier_name, "cpu")
        self.spec = RunSpec(
            suite=task.suite,
            task=task.name,
            tier=tier_name,
            method=ref.name,
            method_version=ref.version,
            method_sha256=ref.sha256,
            profile="undeclared",
            seed=SEED,
            budget={kind: float(amount) for kind, amount in tier.budget.items()},
            options=dict(options),
            space=tier.space,
            settings_sha256=tier.sha256,
        )
        self.limits = tuple((share, share * LIMIT_MS) for share in getattr(tier, "limits", ()))
        self.targets = [ms for _, ms in self.limits] + [list(w) for w in getattr(tier, "windows", ())]
        self.leader_candidates = self._stand_ins() if ref.follows else ()
        self.leader_artifacts: LeaderArtifacts | None = None
        self.files = [str(path) for path in code_files.sources(ref.source).values()]

    def job(
        self,
        name: str,
        *,
        seed: int = SEED,
        hashed: bool = False,
        salt: tuple[str, ...] | None = None,
        trace: bool = False,
        kill: Mapping[str, float] | None = None,
        refuse: Mapping[str, float] | None = None,
        seconds: float | None = None,
        tuned: bool = False,
    ) -> Session:
        """Return one session of one run, for ``worker.search``."""
        budget = dict(self.spec.budget) | ({"seconds": seconds} if seconds else {})
        spec = replace(self.spec, seed=seed, budget=budget)
        if tuned:
            budget = {kind: TRIALS * amount for kind, amount in budget.items()}
            trials = tuning_trials(self.ref, {})
            spec = replace(spec, budget=budget, options={}, ruleset=EXTERNAL, trials=trials)
        sealed = str(self.prepared.sealed.resolve()) if self.prepared.sealed else ""
        instrumentation: Instrumentation = {
            "salt": ("another",) if hashed and salt is None else (salt or ()),
            "sealed": hashlib.sha256(sealed.encode()).hexdigest(),
            "files": self.files,
            "trace": trace,
            "kill": kill,
            "refuse": refuse,
        }
        job = SearchJob(
            folder=self.home / name,
            spec=spec,
            source=self.ref.source,
            prepared=replace(self.prepared, sealed=None),
            limits=self.limits,
            reference_ms=LIMIT_MS,
            device="cpu",
            jobs=AT_A_TIME,
            checkpoint_seconds=0.0,
            leader_candidates=self.leader_candidates,
            leader_artifacts=self.leader_artifacts,
            lab=LabFactory(LAB, instrumentation, salt=instrumentation["salt"]),
        )
        return Session(job, hashed)

    def follow(self, leader: FinishedRun, folder: Path) -> None:
        """Hand the method the candidates and weights of a run of the method that it inherits from.

        Args:
            leader: that run.
            folder: its folder.

        Raises:
            UsageError: that run failed.
        """
        if not leader.well:
            message = sanitize(leader.outcome["message"], 200)
            raise UsageError(
                f"{self.ref.name} takes the weights of {self.ref.follows}, which failed: {message}\n"
                f"check that method first: supernet-bench test-method {self.ref.follows}"
            )
        outcome = leader.outcome
        self.leader_candidates = leader_candidates(outcome["candidates"])
        self.leader_artifacts = leader_artifacts(folder, outcome["candidates"], outcome["ledger"]["totals"])

    def _stand_ins(self) -> tuple[LeaderCandidate, ...]:
        """Draw random architectures in place of those of the run that the method follows."""
        import numpy as np

        from supernet.space import get_space

        space, rng = get_space(self.spec.space), np.random.default_rng(SEED)
        return tuple(LeaderCandidate(target, space.sample(rng).to_dict()) for target in self.targets)

    def run_chains(self, chains: Mapping[str, Sequence[Session]]) -> dict[str, FinishedRun]:
        """Run chains of sessions, ``AT_A_TIME`` chains at once.

        Raises:
            UsageError: the method does not apply to the task.
        """
        waiting, finished = list(chains), dict[str, FinishedRun]()
        active: dict[str, tuple[SupervisedSearch, int]] = {}
        try:
            while waiting or active:
                while waiting and len(active) < AT_A_TIME:
                    name = waiting.pop(0)
                    folder = self.home / name
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir(parents=True)
                    active[name] = self._start(chains[name][0]), 1
                wait_any([search.worker for search, _ in active.values()], 0.1)
                for name, (search, sessions) in list(active.items()):
                    search.poll()
                    if search.worker.running:
                        continue
                    killed = search.worker.exitcode == -9 and not (search.folder / SEARCH_FILE).exists()
                    if killed and sessions < len(chains[name]):
                        active[name] = self._start(chains[name][sessions]), sessions + 1
                        continue
                    del active[name]
                    finished[name] = self._finish(search, sessions - 1)
        finally:
            for search, _ in active.values():
                search.kill()
                search.worker.join(5)
        return {name: finished[name] for name in chains}

    def _start(self, job: Session) -> SupervisedSearch:
        executor = self.hashed if job.hashed else self.executor
        hidden = [self.home] if self.prepared.sealed is None else [self.home, self.prepared.sealed]
        return SupervisedSearch(executor, job.search, None, hidden)

    def _finish(self, search: SupervisedSearch, interruptions: int) -> FinishedRun:
        outcome = search.ended()
        if outcome is None:
            reason = read_json(search.folder / worker.SKIPPED).get("reason", "it was interrupted")
            raise UsageError(
                f"{self.ref.name} does not apply to {self.spec.task}: {reason}\n"
                "name a task and tier that it applies to: --task TASK --tier TIER (supernet-bench list tasks)"
            )
        observed = Observations.read(search.folder / "scratch")
        complete = observed if observed is not None and observed.complete else None
        private = observed.private if observed is not None else {}
        calls = _calls(search.folder)
        return FinishedRun(outcome, calls, complete, interruptions, private, search.crashed)


def _calls(folder: Path) -> list[tuple[str, str]]:
    """Return the calls of the Lab that a run journaled, in order, as ``(call, key)``."""
    lines = (folder / JOURNAL).read_text().splitlines() if (folder / JOURNAL).exists() else []
    entries = [json.loads(line) for line in lines]
    return [(entry["call"], entry["key"]) for entry in entries if entry["call"] != "yield"]


def _imports(source: str) -> dict[str, str]:
    """Return the modules of the harness, but the api, that a method's files import -> file name."""
    modules: dict[str, str] = {}
    for path in code_files.sources(source).values():
        for name in class_facts.imports(path):
            parts = name.split(".")
            if parts[0] == "benchmarks" and parts[1:2] not in ([], ["api"]):
                modules.setdefault(".".join(parts[:2]), path.name)
    return modules
