"""Processor shares of other programs, and those of a run's own processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.hardware import load
from benchmarks.hardware.load import MachineLoad, OtherLoad, TreeSeconds

BURN = "import time\nwhile time.process_time() < {:g}: pass\n"


def test_one_line_warns_of_other_programs():
    told = MachineLoad(cpus=2, used=1.9, ready=2.0).line(threads=2)
    assert told == (
        "load: 2 cores, other programs use 1.9 of them: expect about twice the time;"
        " latencies will be marked as disturbed"
    )
    assert "expect about 4 times the time" in MachineLoad(2, 2.0, 6.0).line(threads=2)
    assert "expect the usual time" in MachineLoad(8, 3.0, 3.0).line(threads=2)
    assert MachineLoad(2, 0.1, 0.1).line(threads=2) == "load: 2 cores, other programs use 0.1 of them"


def test_work_is_as_slow_as_processors_are_shared():
    assert MachineLoad(2, 0.0, 0.0).slowdown(2) == 1
    assert MachineLoad(2, 2.0, 2.0).slowdown(2) == 2
    assert MachineLoad(2, 2.0, 2.0).slowdown(1) == 1.5
    assert MachineLoad(2, 2.0, 2.0).slowdown(16) == 2, "never more threads than processors"
    assert MachineLoad(64, 30.0, 30.0).slowdown(2) == 1


def test_a_busy_loop_is_seen():
    before = load.measure_load(samples=2, every=0.1)
    loop = subprocess.Popen([sys.executable, "-c", BURN.format(60)])
    try:
        seen = load.measure_load(samples=5, every=0.1)
    finally:
        loop.kill()
        loop.wait()
    assert seen.ready >= max(0.5, seen.used) and seen.used > 0.2
    assert before.cpus == seen.cpus >= 1


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_worker_with_cores_and_a_gpu_of_its_own_sees_the_load_of_its_cores(monkeypatch: pytest.MonkeyPatch):
    before = os.sched_getaffinity(0)
    mine, theirs = sorted(before)[:2]
    loop = subprocess.Popen([sys.executable, "-c", BURN.format(60)])
    try:
        os.sched_setaffinity(loop.pid, {theirs})
        os.sched_setaffinity(0, {mine})
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        others = OtherLoad()
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        everywhere = OtherLoad()
        assert (others._cores, everywhere._cores) == ((mine,), ())
        time.sleep(1.0)
        assert everywhere.read() - others.read() > 0.5
    finally:
        os.sched_setaffinity(0, before)
        loop.kill()
        loop.wait()


def test_the_load_of_a_confined_worker_is_stated_of_its_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(load, "cores_apart", lambda: (0,))
    monkeypatch.setattr(load, "_ready", lambda: 50.0)
    seen = load.measure_load(samples=2, every=0.05)
    assert seen.cpus == 1 and seen.ready == seen.used <= 1.2


def test_without_a_load_file_no_thread_counts(tmp_path: Path):
    assert load._ready(tmp_path / "none") == 0
    (tmp_path / "loadavg").write_text("0.20 0.18 0.12 5/80 11206\n")
    assert load._ready(tmp_path / "loadavg") == 4


def test_processor_seconds_are_those_of_children_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(load, "CHILDREN_EVERY_S", 0.0)
    tree = TreeSeconds()
    before = tree.read()
    subprocess.run([sys.executable, "-c", BURN.format(0.3)], check=True)
    ended = tree.read()
    assert ended - before >= 0.28
    code = BURN.format(0.3) + "print('burnt', flush=True)\nimport sys\nsys.stdin.read()\n"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline()
    running = tree.read()
    assert running - ended >= 0.28
    child.communicate()
    assert 0 <= tree.read() - running < 0.28, "counted once, also when it has ended"
