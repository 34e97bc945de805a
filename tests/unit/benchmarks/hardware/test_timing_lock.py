"""Nobody works while somebody times, and nobody waits for ever."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing as mp
import os
import threading
import time
from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.cli.main import main
from benchmarks.hardware import file_lock, timing_lock
from benchmarks.runs import execution


@pytest.fixture(autouse=True)
def own_locks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(timing_lock.FOLDER_VARIABLE, str(tmp_path))


def work(log: Path, stop: Path) -> None:
    with timing_lock.working(), log.open("a", buffering=1) as out:
        while not stop.exists():
            timing_lock.yield_to_timing()
            out.write(f"work {time.monotonic()}\n")
            time.sleep(0.002)


def lines(logs: list[Path]) -> list[int]:
    return [log.read_text().count("\n") if log.exists() else 0 for log in logs]


def wait_for_work(logs: list[Path]) -> None:
    """Return once every worker has worked since the call."""
    before = lines(logs)
    while not all(now > then for now, then in zip(lines(logs), before, strict=True)):
        time.sleep(0.002)


def test_workers_stand_still_while_another_process_times(tmp_path: Path) -> None:
    logs, stop = [tmp_path / f"{i}.log" for i in range(2)], tmp_path / "stop"
    context = mp.get_context("fork")
    workers = [context.Process(target=work, args=(log, stop)) for log in logs]
    for worker in workers:
        worker.start()
    spans = []
    for _ in range(3):
        wait_for_work(logs)
        with timing_lock.exclusive():
            began = time.monotonic()
            time.sleep(0.05)
            spans.append((began, time.monotonic()))
    wait_for_work(logs)
    stop.touch()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    for log in logs:
        times = [float(line.split()[1]) for line in log.read_text().splitlines()]
        assert not [t for t in times for a, b in spans if a < t < b]


def test_a_worker_may_time_and_goes_on_working() -> None:
    with timing_lock.working():
        with timing_lock.exclusive() as waited, timing_lock.exclusive() as again:
            assert waited >= 0.0 and again == 0.0
        assert timing_lock.timing_requested(), "its share is taken again at the next breath"
        timing_lock.yield_to_timing()
        assert not timing_lock.timing_requested()


def test_a_timing_does_not_wait_for_itself() -> None:
    with timing_lock.working(), timing_lock.exclusive():
        assert not timing_lock.timing_requested()
        timing_lock.yield_to_timing()  # would wait for ever


def test_outside_of_work_nothing_waits_for_timing() -> None:
    assert not timing_lock.timing_requested()
    timing_lock.yield_to_timing()


def test_jobs_with_temporary_folders_of_their_own_share_the_locks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders = set()
    for job in "ab":
        monkeypatch.setenv("TMPDIR", str(tmp_path / job))
        monkeypatch.delenv(timing_lock.FOLDER_VARIABLE, raising=False)
        opened = timing_lock._open_lock("supernet-bench-test.lock")
        folders.add(os.readlink(f"/proc/self/fd/{opened}"))
        os.close(opened)
    (path,) = folders
    Path(path).unlink()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_one_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UsageError, match="set SUPERNET_BENCH_LOCKS to a writable folder"):
        timing_lock._open_lock(timing_lock.MACHINE)
    with (tmp_path / "lock").open("w") as file, pytest.raises(UsageError, match="locks.*--results DIR"):
        file_lock.lock(file)
    with pytest.raises(UsageError, match="without locks"), execution.exclusive(tmp_path):
        pass
    assert main(["doctor", "--results", str(tmp_path)]) == 1


@pytest.mark.parametrize("name", [timing_lock.GATE, timing_lock.MACHINE])
def test_a_lock_that_somebody_keeps_is_named_with_its_holder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing_lock, "PATIENCE_S", 0.05)
    holder = os.open(tmp_path / name, os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    release = threading.Timer(0.6, os.close, [holder])
    release.start()
    with timing_lock.exclusive() as waited:
        assert waited > 0.3
    release.join()
    said = capsys.readouterr().err
    assert said.count("timing lock:") == 1  # once, however often it looks
    assert str(tmp_path / name) in said and f"process {os.getpid()} " in said
    assert timing_lock.FOLDER_VARIABLE in said
