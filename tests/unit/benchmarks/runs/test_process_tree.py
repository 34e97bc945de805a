"""Work measured from outside: processor seconds and threads of a process and all below it."""

from __future__ import annotations

import subprocess
import sys
import time

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
