"""Writes of a contained process to /proc: the names of its threads, and nothing of the kernel's."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from pathlib import Path

import pytest

from benchmarks.runs import isolation
from benchmarks.runs.guard import MEANS_VARIABLE, guard
from benchmarks.runs.isolation import View, program_paths
from benchmarks.runs.landlock import NAME as LANDLOCK

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")


def tries(out: Path) -> None:
    """Write to files of /proc, and leave the result of each try in ``out``."""
    thread = Path(f"/proc/self/task/{os.getpid()}/comm")
    names = ("/proc/sys/kernel/hostname", "/proc/sys/vm/swappiness", "/proc/sysrq-trigger", "/proc/irq/x")
    done: dict[str, object] = {}
    for path in (thread, *map(Path, names)):
        try:
            path.write_text("worker")
            done[str(path)] = path.read_text().strip()
        except OSError as error:
            done[str(path)] = error.errno
    done["thread"] = done.pop(str(thread))
    out.write_text(json.dumps(done))


@pytest.mark.parametrize("means", [*(",".join(m) for m in isolation.ATTEMPTS), LANDLOCK])
def test_threads_have_names_and_the_kernel_no_settings(
    means: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Error 304 of CUDA, at its start, is a thread that it cannot name."""
    monkeypatch.setenv(MEANS_VARIABLE, means)
    before = Path("/proc/sys/kernel/hostname").read_text()
    out = tmp_path / "out.json"
    view = View(writable=(tmp_path,), shown=program_paths()).resolved()
    receiving, sending = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=guard, args=(lambda: tries(out), view, sending))
    process.start()
    assert receiving.poll(60)
    stated = json.loads(receiving.recv_bytes())["isolation"]
    process.join(60)
    if stated != means:
        pytest.skip(f"this system has no isolation by {means}")
    found = json.loads(out.read_text())
    assert found.pop("thread") == "worker"
    assert all(isinstance(error, int) for error in found.values()), found
    assert Path("/proc/sys/kernel/hostname").read_text() == before
