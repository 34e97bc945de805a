"""Workers that share a folder: killed in mid-run, one's runs end with another as if nothing had been."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

from tests.e2e.test_resume import alike

pytestmark = pytest.mark.slow
STUDY = """\
suite: tiny
methods: [tiny-good]
seeds: 2
profile: undeclared
checkpoint-seconds: 0
results: results
"""


def test_a_killed_workers_runs_end_with_another_charged_once(environment, command, tmp_path):
    from benchmarks.records.store import load_all

    found = {}
    for name, kill in (("undisturbed", False), ("killed", True)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "study.yml").write_text(STUDY)  # the command is part of a record's digest
        slow = {**environment, "TINY_SLOW": "0.2" if kill else "0"}
        words = [*command, "work", "study.yml", "--idle", "1s"]
        how = {"cwd": folder, "env": slow, "stdout": subprocess.DEVNULL}
        workers = [subprocess.Popen(words, **how) for _ in range(1 + kill)]
        if kill:
            beats, deadline = set(), time.monotonic() + 150
            while len(beats) < 2 and time.monotonic() < deadline:
                time.sleep(0.1)
                for path in folder.glob("results/*/runs/*/heartbeat.json"):
                    state = json.loads(path.read_text() or "{}")
                    if state.get("ledger", {}).get("totals", {}).get("tokens", 0) > 300:
                        beats.add(path)
            assert len(beats) == 2, "each has one run"
            workers[0].send_signal(signal.SIGKILL)
            workers.append(subprocess.Popen(words, **how))
        codes = [worker.wait(240) for worker in workers]
        assert codes == ([-9, 0, 0] if kill else [0])
        found[name] = {r["spec"]["seed"]: r for r in load_all(folder / "results" / "tiny-smoke" / "records")}
    assert set(found["killed"]) == {1, 2}
    for seed, record in found["killed"].items():
        alike(record, found["undisturbed"][seed])
