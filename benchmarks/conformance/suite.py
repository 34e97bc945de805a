"""The conformance suite: what every method must do, tried for real on a tiny budget. No torch.

The method is run a few times in processes of its own under a ``checkedlab.CheckedLab``: once as it is;
with the same seed under another PYTHONHASHSEED and other global random states; with another seed;
killed twice and resumed; with every charge refused from half-way on. Latency is modelled by
multiply-adds there, so that equal seeds can do equal things to the last bit. ``judge`` reads what
the runs have left.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import registry
from benchmarks.api import UsageError
from benchmarks.records import selection
from benchmarks.records.assembly import SEARCH_FILE, outcome_digest, read_json
from benchmarks.records.record import SearchOutcome
from benchmarks.records.spec import EXTERNAL, TRIALS, RunSpec, tuning_trials
from benchmarks.records.text import sanitize
from benchmarks.registry import MethodRef
from benchmarks.runs import worker
from benchmarks.runs.executor import Executor, wait_any
from benchmarks.runs.heartbeat import JOURNAL
from benchmarks.runs.supervisor import Search

AT_A_TIME = 2
"""Runs at once, one thread each."""
SEED, OTHER_SEED = 1, 2
CHECKS_FILE = "checks.json"
LIMIT_MS = 100.0
"""Modelled latency of the reference network; see ``checkedlab``."""
PATIENCE = 4.0
"""A run whose charges are refused may take this many times what the whole one took."""

Job = dict[str, Any]


@dataclass
class Ended:
    """What one run has left: its outcome, the calls it made of the Lab, what the watch saw."""

    outcome: SearchOutcome
    calls: list[tuple[str, str]] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)
    interruptions: int = 0

    @property
    def well(self) -> bool:
        """It ended by itself with something proposed."""
        return bool(self.outcome["status"] == "done")

    @property
    def digest(self) -> str:
        """As a record's, of the search alone."""
        return outcome_digest(self.outcome)

    def total(self, kind: str) -> float:
        """What the ledger says of one kind."""
        return float(self.outcome["ledger"]["totals"].get(kind, 0.0))


@dataclass
class Runs:
    """All that ``judge`` needs. Those that were not made, because a run before them failed, are None."""

    whole: Ended
    budget: Mapping[str, float]
    same: Ended | None = None
    """The same seed, another PYTHONHASHSEED, other global random states."""
    again: Ended | None = None
    """As ``whole``; made only where ``same`` differs, as are the next two."""
    hashed: Ended | None = None
    """The same seed and global states, another PYTHONHASHSEED."""
    traced: Ended | None = None
    """Watched line by line for touches of global random state."""
    other: Ended | None = None
    """Another seed."""
    resumed: Ended | None = None
    refused: Ended | None = None
    tuned: Ended | None = None
    """Under external tuning, where the method declares trials."""
    imports: Mapping[str, str] = field(default_factory=dict)
    """Modules of the harness that the method imports -> file."""


def examine(
    ref: MethodRef,
    task: Any,
    tier_name: str,
    prepared: Any,
    home: Path,
    options: Mapping[str, Any],
    executor: Executor,
) -> Runs:
    """Run the method as often as the checks need.

    Args:
        task: a ``benchmarks.tasks.Task``; it is run on the processor, in its tier ``tier_name``.
        prepared: the task's data, sealed test split included.
        home: a folder for the runs; what it holds is removed.
        executor: of all runs but those under another hash seed.

    Raises:
        UsageError: the method does not take the task.
    """
    suite = _Suite(ref, task, tier_name, prepared, home, options, executor)
    if ref.inherits and ref.follows:
        leader = registry.find(ref.follows)
        lead = _Suite(leader, task, tier_name, prepared, home / "leader", {}, executor)
        suite.follow(lead.together({"whole": [lead.job("whole")]})["whole"], lead.home / "whole")
    found = suite.together({"whole": [suite.job("whole")], "same": [suite.job("same", hashed=True)]})
    whole, same = found["whole"], found["same"]
    runs = Runs(whole, suite.spec.budget, imports=_imports(ref.source))
    if whole.well:
        runs.same = same
        tokens, calls = whole.total("tokens"), len(whole.calls)
        asked = sum(call != "candidate" for call, _ in whole.calls)
        # In the middle of what the method spends: of its search, or where it has none of its training.
        refuse = {"calls": max(1, calls // 2)} if asked > 1 else {"tokens": tokens / 2}
        kills = [
            ({"tokens": share * tokens} if tokens else {}) | {"calls": max(1, int(part * calls))}
            for share, part in KILLS
        ]
        patience = max(15.0, PATIENCE * whole.total("seconds"))
        chains = {
            "other": [suite.job("other", seed=OTHER_SEED)],
            "resumed": [suite.job("resumed", kill=kill) for kill in (*kills, None)],
            "refused": [suite.job("refused", refuse=refuse, seconds=patience)],
        }
        if ref.trials:
            chains["tuned"] = [suite.job("tuned", tuned=True)]
        if same.digest != whole.digest:
            chains["again"] = [suite.job("again")]
            chains["hashed"] = [suite.job("hashed", hashed=True, salt=())]
        if whole.seen["moved"] or same.digest != whole.digest:
            chains["traced"] = [suite.job("traced", trace=True)]
        for name, ended in suite.together(chains).items():
            setattr(runs, name, ended)
    return runs


KILLS = ((0.35, 0.34), (0.8, 0.67))
"""Where a run is killed: at a share of its tokens or of its calls of the Lab, whichever comes first."""


class _Suite:
    """Makes and runs jobs."""

    def __init__(
        self,
        ref: MethodRef,
        task: Any,
        tier_name: str,
        prepared: Any,
        home: Path,
        options: Mapping[str, Any],
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
        self.limits = tuple((share, share * LIMIT_MS) for share in tier.limits)
        self.targets = [ms for _, ms in self.limits] + [list(w) for w in getattr(tier, "windows", ())]
        self.given: list[tuple[Any, Any, Any]] = self._given() if ref.follows else []
        self.left: dict[str, Any] | None = None
        self.files = [str(path) for path in registry.sources(ref.source).values()]

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
    ) -> Job:
        """One session of one run, for ``worker.search``."""
        budget = dict(self.spec.budget) | ({"seconds": seconds} if seconds else {})
        spec = replace(self.spec, seed=seed, budget=budget)
        if tuned:
            budget = {kind: TRIALS * amount for kind, amount in budget.items()}
            trials = tuning_trials(self.ref, {})
            spec = replace(spec, budget=budget, options={}, ruleset=EXTERNAL, trials=trials)
        sealed = str(self.prepared.sealed.resolve()) if self.prepared.sealed else ""
        return {
            "folder": str(self.home / name),
            "spec": spec.to_dict(),
            "source": self.ref.source,
            "prepared": replace(self.prepared, sealed=None),
            "limits": self.limits,
            "reference_ms": LIMIT_MS,
            "given": self.given,
            "left": self.left,
            "device": "cpu",
            "jobs": AT_A_TIME,
            "checkpoint_seconds": 0.0,
            "hashed": hashed,
            "lab": "benchmarks.conformance.instrumented_lab:watching",
            "checks": {
                "salt": ("another",) if hashed and salt is None else (salt or ()),
                "sealed": hashlib.sha256(sealed.encode()).hexdigest(),
                "files": self.files,
                "trace": trace,
                "kill": kill,
                "refuse": refuse,
            },
        }

    def follow(self, leader: Ended, folder: Path) -> None:
        """Give the method what a run of the one that it inherits from has left.

        Raises:
            UsageError: that run left nothing.
        """
        if not leader.well:
            said = sanitize(leader.outcome["message"], 200)
            raise UsageError(f"{self.ref.name} takes the weights of {self.ref.follows}, which failed: {said}")
        chosen = selection.headline_candidates(leader.outcome["candidates"]).values()
        self.given = [(c.get("window") or c["limit_ms"], c["architecture"], c.get("space")) for c in chosen]
        kept = [(str(folder / "candidates" / f"{c['index']:02d}"), c["weights_sha256"]) for c in chosen]
        self.left = {"candidates": kept, "spent": leader.outcome["ledger"]["totals"]}

    def _given(self) -> list[tuple[Any, Any, Any]]:
        """Architectures drawn at random stand in for those of the run that the method follows."""
        import numpy as np

        from supernet.space import get_space

        space, rng = get_space(self.spec.space), np.random.default_rng(SEED)
        return [(target, space.sample(rng).to_dict(), None) for target in self.targets]

    def together(self, chains: Mapping[str, Sequence[Job]]) -> dict[str, Ended]:
        """Run chains of sessions, ``AT_A_TIME`` chains at once.

        Raises:
            UsageError: the method does not take the task.
        """
        waiting, found = list(chains), dict[str, Ended]()
        active: dict[str, tuple[Search, int]] = {}
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
                    search.look()
                    if search.worker.running:
                        continue
                    killed = search.worker.exitcode == -9 and not (search.folder / SEARCH_FILE).exists()
                    if killed and sessions < len(chains[name]):
                        active[name] = self._start(chains[name][sessions]), sessions + 1
                        continue
                    del active[name]
                    found[name] = self._ended(search, sessions - 1)
        finally:
            for search, _ in active.values():
                search.kill()
                search.worker.join(5)
        return {name: found[name] for name in chains}

    def _start(self, job: Job) -> Search:
        executor = self.hashed if job["hashed"] else self.executor
        return Search(executor, Path(job["folder"]), job, None)

    def _ended(self, search: Search, interruptions: int) -> Ended:
        outcome = search.ended()
        if outcome is None:
            reason = read_json(search.folder / worker.SKIPPED).get("reason", "it was interrupted")
            raise UsageError(
                f"{self.ref.name} does not take {self.spec.task}: {reason}\n"
                "name a task and tier that it takes: --task TASK --tier TIER (supernet-bench list tasks)"
            )
        return Ended(outcome, _calls(search.folder), read_json(search.folder / CHECKS_FILE), interruptions)


def _calls(folder: Path) -> list[tuple[str, str]]:
    """What the method asked of the Lab, in order."""
    lines = (folder / JOURNAL).read_text().splitlines() if (folder / JOURNAL).exists() else []
    entries = [json.loads(line) for line in lines]
    return [(entry["call"], entry["key"]) for entry in entries if entry["call"] != "yield"]


def _imports(source: str) -> dict[str, str]:
    """Modules of the harness, the api aside, that a method's files import -> file name."""
    found: dict[str, str] = {}
    for path in registry.sources(source).values():
        for name in registry.imports(path):
            parts = name.split(".")
            if parts[0] == "benchmarks" and parts[1:2] not in ([], ["api"]):
                found.setdefault(".".join(parts[:2]), path.name)
    return found
