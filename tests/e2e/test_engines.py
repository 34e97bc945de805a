"""Workers that Ray starts: an actor killed in mid-run is started again, and its run is charged once."""

from __future__ import annotations

import json
import subprocess
import time

import psutil
import pytest

from tests.e2e.test_resume import same_result
from tests.e2e.test_work import STUDY

pytestmark = pytest.mark.slow
RAY = "backend: ray\nworkers: 2\ncpus: 1\n"
START_S, END_S = 240, 600


def actors(driver: int) -> list[psutil.Process]:
    """Return the processes of the actors of a driver that started its own cluster."""
    below = psutil.Process(driver).children(recursive=True)
    return [process for process in below if "ray::RayWorker" in " ".join(process.cmdline())]


def test_a_ray_actor_that_is_killed_in_mid_run_goes_on(environment, command, tmp_path):
    pytest.importorskip("ray", reason="needs the extra ray, which the environment of nox leaves out: 80 MB")
    from benchmarks.records.store import load_all

    found = {}
    for name in ("undisturbed", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "study.yml").write_text(STUDY)
        (folder / "ray.yml").write_text(RAY)
        own = {**environment, "TINY_SLOW": "0.2" if name == "killed" else "0", "RAY_USAGE_STATS_ENABLED": "0"}
        words = ["work", "study.yml", "--idle", "1s"]
        if name == "killed":
            words = ["run", "-C", "study.yml", "--parallel-config", "ray.yml"]
        with (folder / "output.txt").open("w") as output:
            driver = subprocess.Popen([*command, *words], cwd=folder, env=own, stdout=output, stderr=output)
        if name == "killed":
            _kill_one_when_both_work(driver, folder)
        assert driver.wait(END_S) == 0, (folder / "output.txt").read_text()
        records = load_all(folder / "results" / "tiny-smoke" / "records")
        assert len(records) == 2, (folder / "output.txt").read_text()
        found[name] = {record["spec"]["seed"]: record for record in records}
    for seed, record in found["killed"].items():
        same_result(record, found["undisturbed"][seed])


def _kill_one_when_both_work(driver, folder):
    """Kill one of two actors once each of them has trained for a while."""
    working, deadline = set(), time.monotonic() + START_S
    while len(working) < 2 and time.monotonic() < deadline:
        assert driver.poll() is None, (folder / "output.txt").read_text()
        time.sleep(0.1)
        for path in folder.glob("results/*/runs/*/heartbeat.json"):
            state = json.loads(path.read_text() or "{}")
            if state.get("ledger", {}).get("totals", {}).get("tokens", 0) > 300:
                working.add(path)
    alive = actors(driver.pid)
    assert len(working) == len(alive) == 2, (folder / "output.txt").read_text()
    alive[0].kill()
