"""Work measured from outside: processor seconds and threads of a process and all below it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from benchmarks.runs import process_tree
from benchmarks.runs.process_tree import ProcessTree, added, descendants

BUSY = """
import subprocess, sys, time
if len(sys.argv) > 1:
    end = time.process_time() + 1
    while time.process_time() < end: pass
else:
    children = [subprocess.Popen([sys.executable, __file__, "x"]) for _ in range(3)]
    for child in children: child.wait()
    time.sleep(60)
"""


def test_children_count_while_they_run_and_when_they_have_ended(tmp_path):
    file = tmp_path / "busy.py"
    file.write_text(BUSY)
    process = subprocess.Popen([sys.executable, str(file)])
    try:
        tree = ProcessTree(process.pid)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if tree.cpu_seconds() >= 3 and descendants(process.pid) == [process.pid]:
                break
            time.sleep(0.1)
        work = tree.close()
        assert 3 <= work["cpu_seconds"] < 20 and work["threads"] >= 2
        assert descendants(process.pid) == [process.pid], "the children have ended"
    finally:
        process.kill()
        process.wait()


def test_a_process_that_has_ended_has_no_work():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    tree = ProcessTree(process.pid)
    tree.sample()
    work = tree.close()
    assert (work["cpu_seconds"], work["threads"]) == (0.0, 0)
    assert tree.close(1.5)["cpu_seconds"] == 1.5, "the kernel's last sum counts"


def test_sessions_add_up_but_threads_at_once():
    first = {"cpu_seconds": 2.0, "threads": 5, "wall_seconds": 3.0}
    second = {"cpu_seconds": 1.5, "threads": 2, "wall_seconds": 1.0, "gpu_seconds": 4.0}
    total = {"cpu_seconds": 3.5, "threads": 5, "wall_seconds": 4.0, "gpu_seconds": 4.0}
    assert added(first, second) == total  # type: ignore[arg-type]
    assert added({}, first) == first  # type: ignore[arg-type]


NESTED = """
import subprocess, sys, time
depth = int(sys.argv[1])
child = subprocess.Popen([sys.executable, "-S", __file__, str(depth - 1)]) if depth else None
end = time.process_time() + (0 if depth else 3)
while time.process_time() < end: pass
time.sleep(60)
"""


@pytest.mark.parametrize("are_listed", [True, False])
def test_children_of_children_count_on_every_kernel(tmp_path, monkeypatch, are_listed):
    """The innermost process alone is busy; some kernels list no children."""
    if not are_listed:
        monkeypatch.setattr(process_tree, "_lists_children", lambda: False)
    file = tmp_path / "nested.py"
    file.write_text(NESTED)
    process = subprocess.Popen([sys.executable, "-S", str(file), "2"])
    tree = ProcessTree(process.pid)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and tree.cpu_seconds() < 3:
            time.sleep(0.05)
        assert tree.cpu_seconds() >= 3
    finally:
        for pid in reversed(descendants(process.pid)):
            os.kill(pid, 9)
        process.wait()
        tree.close()


def test_trees_share_a_reading_of_the_gpus(monkeypatch):
    calls = []
    monkeypatch.setattr(process_tree, "_busy_share", lambda handle: calls.append(handle) or 0.25)
    gpus = process_tree._Gpus()
    gpus._handles, now = ["first", "second"], [100.0]
    monkeypatch.setattr(process_tree.time, "perf_counter", lambda: now[0])
    assert [gpus.busy() for _ in range(20)] == [0.5] * 20
    assert calls == ["first", "second"]
    now[0] += process_tree.EVERY_S
    assert gpus.busy() == 0.5 and len(calls) == 4


def test_threads_that_run_are_counted_once_each():
    busy = "import time\nend = time.time() + 30\nwhile time.time() < end: pass"
    process = subprocess.Popen([sys.executable, "-c", busy])
    tree = ProcessTree(process.pid)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and tree.cpu_seconds() < 0.2:
            tree.sample()
        assert tree.close()["threads"] == 1
    finally:
        process.kill()
        process.wait()
