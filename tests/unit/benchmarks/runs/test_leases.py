"""Leases: one owner a run, taken over from the dead alone, on any file system."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.runs import leases
from benchmarks.runs.leases import Leases


def worker(home: Path, lease_s: float = 60.0) -> Leases:
    return Leases(home, {"profile": "undeclared"}, lease_s)


def elsewhere(home: Path, name: str) -> None:
    """Let a worker's file say that it works on another machine."""
    path = home / "workers" / f"{name}.json"
    state = json.loads(path.read_text())
    state["place"]["boot"] = "another"
    path.write_text(json.dumps(state))


def test_one_worker_has_a_run_until_it_ends(tmp_path):
    with worker(tmp_path) as a, worker(tmp_path) as b:
        assert a.take("r") and a.holds("r")
        b.refresh()
        assert not b.take("r") and not b.ended("r")
        a.end("r", "done")
        b.refresh()
        assert b.ended("r") and not b.take("r")


def test_a_run_given_back_is_free(tmp_path):
    with worker(tmp_path) as a, worker(tmp_path) as b:
        assert a.take("r")
        a.end("r", leases.FREE)
        b.refresh()
        assert b.take("r")
        a.refresh()
        assert not a.take("r")


def test_a_stale_view_never_gives_two_owners(tmp_path):
    with worker(tmp_path) as a, worker(tmp_path) as b, worker(tmp_path) as c:
        assert a.take("r")
        a.end("r", leases.FREE)
        for other in (b, c):
            other.refresh()
        assert b.take("r")
        assert not c.take("r"), "c has not seen that b was faster"
        assert b.holds("r") and c.known["r"].worker == b.worker


def test_runs_of_a_worker_that_ends_are_given_back(tmp_path):
    with worker(tmp_path) as a:
        assert a.take("r") and a.take("s")
        a.end("s", "failed")
    with worker(tmp_path) as b:
        assert b.take("r") and not b.take("s")
        b.allow_again(["s"])
        assert b.take("s")


def test_a_failed_run_is_repeated_once_by_one_worker(tmp_path):
    with worker(tmp_path) as a:
        assert a.take("r")
        a.end("r", "failed")
        with worker(tmp_path) as b, worker(tmp_path) as c:
            b.allow_again(["r"])
            c.allow_again(["r"])
            assert b.take("r")
            b.end("r", "failed")
            c.refresh()
            assert c.ended("r") and not c.take("r")


def test_silence_of_a_lease_is_death_by_the_observers_clock(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(leases, "_now", lambda: now[0])
    with worker(tmp_path) as a, worker(tmp_path) as b:
        assert a.take("r")
        elsewhere(tmp_path, a.worker)
        b.refresh()
        for _ in range(3):
            b.refresh()
            assert not b.take("r")
            now[0] += 19.0
        path = tmp_path / "workers" / f"{a.worker}.json"
        state = json.loads(path.read_text())
        path.write_text(json.dumps(state | {"beat": 99}))
        b.refresh()
        assert not b.take("r"), "it has beaten"
        now[0] += 59.0
        b.refresh()
        assert not b.take("r")
        now[0] += 2.0
        b.refresh()
        assert b.take("r")
        assert not a.holds("r") and a.lost()
        assert not a.lost(), "told once"


def test_a_lease_without_its_worker_ends_after_its_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(leases, "_now", lambda: now[0])
    with worker(tmp_path) as a:
        (tmp_path / "claims" / "r.1.json").write_text("")
        a.refresh()
        assert not a.take("r")
        now[0] += leases.LEASE_S + 1
        a.refresh()
        assert a.take("r")


def test_without_hard_links(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links")))
    with worker(tmp_path) as a, worker(tmp_path) as b:
        assert a.take("r") and not b.take("r")
        assert not [name for name in os.listdir(tmp_path / "claims") if name.startswith(".")]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"worker": 3}', '{"state": "gone"}', "[" * 10_000])
def test_a_damaged_lease_or_worker_counts_as_at_work(tmp_path, text):
    with worker(tmp_path) as a:
        (tmp_path / "claims" / "r.1.json").write_text(text)
        (tmp_path / "workers" / "x.json").write_text(text)
        a.refresh()
        assert a.known["r"].state == leases.HELD and not a.take("r")
        assert list(leases.read_workers(tmp_path)) == [a.worker]


def _work(home: Path, log: Path, count: int) -> None:
    """Do ``count`` jobs of 2 ms, with others; a job that is done is one line."""
    random.seed(os.getpid())
    with worker(home) as mine:
        while True:
            mine.refresh()
            remaining = [f"run{n}" for n in range(count) if not mine.ended(f"run{n}")]
            if not remaining:
                return
            taken = [run for run in random.sample(remaining, len(remaining))[:8] if mine.take(run)]
            for run in taken:
                # A worker that is killed behind `open` leaves an empty file.
                if not (log / run).exists() or not (log / run).stat().st_size:
                    time.sleep(0.002)
                    handle = os.open(log / run, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
                    os.write(handle, b"x")
                    os.close(handle)
                mine.end(run, "done")


def test_four_workers_under_kills_lose_and_repeat_nothing(tmp_path):
    home, log, count = tmp_path / "home", tmp_path / "log", 150
    log.mkdir()
    context = multiprocessing.get_context("fork")
    start = lambda: context.Process(target=_work, args=(home, log, count))  # noqa: E731
    processes = [start() for _ in range(4)]
    for process in processes:
        process.start()
    rng, kills, deadline = random.Random(0), 0, time.monotonic() + 60
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.03)
        victim = rng.randrange(4)
        if kills < 25 and processes[victim].is_alive():
            os.kill(processes[victim].pid, signal.SIGKILL)
            processes[victim].join()
            kills += 1
            processes[victim] = start()
            processes[victim].start()
    done = {path.name: path.read_bytes() for path in log.iterdir()}
    assert done == {f"run{n}": b"x" for n in range(count)} and kills


@pytest.mark.parametrize(
    ("cores", "gpus", "refused"), [([2], ["1"], False), ([1], ["1"], True), ([2], ["0"], True)]
)
def test_a_worker_with_another_timing_lock_has_its_own_part_of_the_machine(tmp_path, cores, gpus, refused):
    about = {"lock": "a", "cores": [0, 1], "gpus": ["0"]}
    with Leases(tmp_path, about, lease_s=1.0):
        leases.refuse_rivals(tmp_path, about)  # the same lock: they take turns
        with pytest.raises(UsageError, match="another timing lock") if refused else nullcontext():
            leases.refuse_rivals(tmp_path, {"lock": "b", "cores": cores, "gpus": gpus})
    leases.refuse_rivals(tmp_path, {**about, "lock": "b"})  # that worker has left
