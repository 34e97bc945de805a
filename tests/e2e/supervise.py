"""Searches of given methods on the tiny task under the supervisor, without scoring; outcomes as JSON lines.

Usage: ``supervise.py FOLDER [--bare] FILE:CLASS ...``; ``--bare`` runs them without isolation. A method that
inherits gets the weights of the method that it follows, which is named before it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks import registry
from benchmarks.hardware.profiles import Profile
from benchmarks.records.spec import RunSpec
from benchmarks.runs.executor import Executor, wait_any
from benchmarks.runs.job import SearchJob, leader_artifacts
from benchmarks.runs.supervisor import SupervisedSearch
from benchmarks.tasks import get_task


def main() -> None:
    home = Path(sys.argv[1]).resolve()
    bare = "--bare" in sys.argv
    words = [word for word in sys.argv[2:] if word != "--bare"]
    task = get_task("tiny-repeat")
    tier = task.tier("smoke", "cpu")
    prepared = task.prepare(tier, home / "cache", None, print)
    executor, outcomes = Executor(), {}
    for word in words:
        ref = registry.find(word)
        spec = RunSpec(
            suite="tiny",
            task=task.name,
            tier="smoke",
            method=ref.name,
            method_version=ref.version,
            method_sha256=ref.sha256,
            profile="undeclared",
            seed=1,
            budget={kind: float(amount) for kind, amount in tier.budget.items()},
            options={},
            space=tier.space,
            settings_sha256=tier.sha256,
        )
        runs = home / "tiny-smoke" / "runs"
        folder = runs / ref.name
        folder.mkdir(parents=True, exist_ok=True)
        artifacts = None
        if ref.inherits:
            leader = outcomes[ref.follows]
            artifacts = leader_artifacts(runs / ref.follows, leader["candidates"], leader["ledger"]["totals"])
        job = SearchJob(
            folder=folder,
            spec=spec,
            source=ref.source,
            prepared=replace(prepared, sealed=None),
            limits=tuple((share, 100 * share) for share in tier.limits),
            reference_ms=100.0,
            device="cpu",
            jobs=1,
            checkpoint_seconds=0.0,
            method_sha256=ref.sha256,
            leader_artifacts=artifacts,
        )
        hidden = [home, prepared.sealed.parent, Path.home()]
        search = SupervisedSearch(executor, job, None, hidden, isolated=not bare)
        while search.worker.running:
            wait_any([search.worker], 0.25)
            search.poll()
        search.poll()
        outcome = outcomes[ref.name] = search.ended()
        log = (folder / "log.txt").read_text(errors="replace")
        print(json.dumps({"method": ref.name, "outcome": outcome, "log": log[-4000:]}), flush=True)


if __name__ == "__main__":
    assert Profile
    main()
