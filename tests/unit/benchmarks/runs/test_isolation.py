"""Writes of a contained process to /proc: the names of its threads, and nothing of the kernel's."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.runs import isolation
from benchmarks.runs.executor import Executor
from benchmarks.runs.guard import MEANS_VARIABLE, guard
from benchmarks.runs.isolation import View, program_paths
from benchmarks.runs.landlock import NAME as LANDLOCK
from benchmarks.runs.supervisor import isolation_here

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


def means_here(view: View, run: Callable[[], None] = lambda: None) -> str:
    """Return the means by which a process that runs something is isolated."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=guard, args=(run, view, sending))
    process.start()
    assert receiving.poll(60)
    stated: str = json.loads(receiving.recv_bytes())["isolation"]
    process.join(60)
    return stated


def leads(out: Path) -> None:
    """Leave the paths of a hidden folder that are in containers of this process in ``out``."""
    held: list[str] = []
    for thing in gc.get_objects():
        if isinstance(thing, dict | list | tuple):
            # As stored: a lazy dictionary of a library, asked for its values, would import them all.
            stored = dict.values(thing) if isinstance(thing, dict) else thing
            paths = [value for value in stored if isinstance(value, Path)]
            held += [str(path) for path in paths if path.name == "out-of-sight"]
    out.write_text(json.dumps(held))


@pytest.mark.parametrize("means", [*(",".join(m) for m in isolation.ATTEMPTS), LANDLOCK, "none"])
def test_no_container_of_a_search_has_the_path_of_a_hidden_folder(
    means: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MEANS_VARIABLE, means)
    hidden, own = tmp_path / "out-of-sight", tmp_path / "own"
    hidden.mkdir(), own.mkdir()
    view = View((own,), (hidden,), program_paths()).resolved()
    means_here(view, lambda: leads(own / "held.json"))
    assert json.loads((own / "held.json").read_text()) == []


@pytest.mark.parametrize("means", [*(",".join(m) for m in isolation.ATTEMPTS), LANDLOCK])
def test_threads_have_names_and_the_kernel_no_settings(
    means: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Error 304 of CUDA, at its start, is a thread that it cannot name."""
    monkeypatch.setenv(MEANS_VARIABLE, means)
    before = Path("/proc/sys/kernel/hostname").read_text()
    out = tmp_path / "out.json"
    view = View(writable=(tmp_path,), shown=program_paths()).resolved()
    stated = means_here(view, lambda: tries(out))
    if stated != means:
        pytest.skip(f"this system has no isolation by {means}")
    found = json.loads(out.read_text())
    assert found.pop("thread") == "worker"
    assert all(isinstance(error, int) for error in found.values()), found
    assert Path("/proc/sys/kernel/hostname").read_text() == before


def looks_home(out: Path) -> None:
    """Leave in ``out`` what the home folder holds, and whether it can be written."""
    home = Path(os.path.expanduser("~"))
    found = sorted(path.name for path in home.iterdir())
    (home / "own").write_text("x")
    out.write_text(json.dumps(found))


@pytest.mark.parametrize("means", [",".join(m) for m in isolation.ATTEMPTS])
@pytest.mark.parametrize("where", ["home", "."], ids=["beside the run", "above the run"])
def test_a_home_below_a_folder_that_is_private_anyway_is_empty_and_writable(
    means: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's home, or a tester's, lies in /tmp; the whole isolation was given up for it."""
    home, run = tmp_path / where, tmp_path / "run"
    for folder in (home, run):
        folder.mkdir(exist_ok=True)
    (home / "secret").write_text("x")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv(MEANS_VARIABLE, means)
    if not home.resolve().is_relative_to("/tmp"):
        pytest.skip("temporary folders do not lie in /tmp here")
    out = run / "out.json"
    view = View(writable=(run,), shown=program_paths()).resolved()
    stated = means_here(view, lambda: looks_home(out))
    if stated != means:
        monkeypatch.setenv("HOME", "/")
        assert means_here(view) != means, "isolated under another home, and not under this one"
        pytest.skip(f"this system has no isolation by {means}")
    assert json.loads(out.read_text()) == (["run"] if where == "." else [])


def test_the_isolation_of_a_machine_is_that_of_its_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Landlock alone was given to searches and read as none before them."""
    monkeypatch.setenv(MEANS_VARIABLE, LANDLOCK)
    given = means_here(View((tmp_path,), (), program_paths()).resolved())
    assert isolation_here(Executor()) == given
