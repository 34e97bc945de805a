"""The heartbeat of a run, and the outcome of a search that is written from what the run left on disk."""

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.lab.journal import Journal
from benchmarks.records.assembly import SEARCH_FILE
from benchmarks.runs import heartbeat
from benchmarks.runs.heartbeat import (
    HEARTBEAT,
    JOURNAL,
    PROGRESS,
    Heartbeat,
    elapsed,
    read_heartbeat,
    read_scoring,
    write_outcome,
)

ALLOWANCE = 20.0


def ledger(seconds: float) -> dict[str, Any]:
    return {
        "entries": [
            {"phase": "supernet", "kind": "tokens", "amount": 5},
            {"phase": "supernet", "kind": "seconds", "amount": seconds},
        ],
        "totals": {"tokens": 5, "seconds": seconds},
        "share": {"tokens": 0.5, "seconds": seconds / ALLOWANCE},
        "timeline": [],
    }


def leave(folder: Path, **state: Any) -> None:
    """Write the last heartbeat of a run that took 4 seconds."""
    beat = {"at": 100.0, "clock": 4.0, "pause": "", "phase": "retrain", "proposals": 0, "ledger": ledger(4.0)}
    (folder / HEARTBEAT).write_text(json.dumps(beat | state))


def propose(folder: Path, *entries: dict[str, Any]) -> None:
    with Journal(folder / JOURNAL) as journal:
        for order, entry in enumerate(entries):
            journal.record("candidate", f"key {order}", index=order, valid={"loss": 1.0}, **entry)
            journal.record_proposal(order, order)


def test_a_heartbeat_is_there_at_once_beats_by_itself_and_ends_with_a_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.01)
    state, beats = {"n": 0}, threading.Event()

    def read() -> dict[str, int]:
        if threading.current_thread().name == "heartbeat":
            beats.set()
        return dict(state)

    began, others = time.monotonic(), set(threading.enumerate())
    heart = Heartbeat(tmp_path, read)
    first = read_heartbeat(tmp_path)
    assert first["n"] == 0 and began <= first["at"] <= time.monotonic()
    assert beats.wait(30), "the thread never wrote"
    state["n"] = 7
    heart.close()
    assert read_heartbeat(tmp_path)["n"] == 7 and read_heartbeat(tmp_path)["at"] >= first["at"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [HEARTBEAT]
    assert set(threading.enumerate()) <= others


def test_the_thread_of_a_heartbeat_ends_with_the_process(tmp_path: Path):
    others = set(threading.enumerate())
    heart = Heartbeat(tmp_path, dict)
    (thread,) = set(threading.enumerate()) - others
    assert thread.daemon, "a run that forgets to close would never end"
    heart.close()


def test_the_thread_ends_with_the_folder_of_its_run(tmp_path: Path):
    others = set(threading.enumerate())
    heart = Heartbeat(tmp_path, dict)
    (thread,) = set(threading.enumerate()) - others
    shutil.rmtree(tmp_path)
    thread.join(30)
    assert not thread.is_alive()
    assert heart.path == tmp_path / HEARTBEAT


@pytest.mark.parametrize("text", [None, "", "[1, 2]", '"text"', '{"at": 1', "\udcff"])
def test_no_readable_heartbeat_is_an_empty_one(tmp_path: Path, text: str | None):
    if text is not None:
        (tmp_path / HEARTBEAT).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read_heartbeat(tmp_path) == {}


@pytest.mark.parametrize(
    ("pause", "now", "seconds"), [("", 106.5, 10.5), ("score", 106.5, 4.0), ("", 99.0, 4.0), ("", 100.0, 4.0)]
)
def test_the_clock_runs_on_after_the_last_beat_unless_it_was_paused(pause: str, now: float, seconds: float):
    assert elapsed({"clock": 4.0, "pause": pause, "at": 100.0}, now) == seconds


@pytest.mark.parametrize("amount", [0.25, 1.0])
def test_fractions_of_a_second_are_charged(tmp_path: Path, amount: float):
    leave(tmp_path)
    kept = write_outcome(tmp_path, "budget", "stopped", seconds=4.0 + amount)["ledger"]
    assert kept["entries"][-1]["amount"] == amount and kept["totals"]["seconds"] == 4.0 + amount


def test_the_progress_of_a_scoring_is_read_from_its_own_file(tmp_path: Path):
    assert read_scoring(tmp_path) == {}
    (tmp_path / PROGRESS).write_text('{"at": 1.5, "progress": [1, 2, ""]}')
    assert read_scoring(tmp_path) == {"at": 1.5, "progress": [1, 2, ""]}


def test_seconds_that_the_supervisor_saw_and_the_run_did_not_are_booked_to_the_open_phase(tmp_path: Path):
    leave(tmp_path)
    outcome = write_outcome(tmp_path, "budget", "stopped", seconds=10.0)
    kept = outcome["ledger"]
    assert kept["entries"][2:] == [{"phase": "retrain", "kind": "seconds", "amount": 6.0}]
    assert kept["totals"] == {"tokens": 5, "seconds": 10.0}
    assert kept["share"] == {"tokens": 0.5, "seconds": 10.0 / ALLOWANCE}
    assert outcome["stopped_by"] == "seconds"


@pytest.mark.parametrize("seconds", [0.0, 3.0, 4.0])
def test_seconds_that_the_run_had_booked_are_not_booked_again(tmp_path: Path, seconds: float):
    leave(tmp_path)
    assert write_outcome(tmp_path, "done", "", seconds=seconds)["ledger"] == {
        **ledger(4.0),
        "harness_seconds": {},
        "lost_seconds": 0.0,
    }


def test_time_off_the_account_is_kept_beside_it(tmp_path: Path):
    leave(tmp_path, off={"export": 2.5}, lost=1.5, cpu=3.14159, search_log=["a line"])
    outcome = write_outcome(tmp_path, "done", "well")
    kept = outcome["ledger"]
    assert (kept["harness_seconds"], kept["lost_seconds"]) == ({"export": 2.5}, 1.5)
    assert kept["cpu_seconds"] == {"search": 3.142} and outcome["search_log"] == ["a line"]
    assert (outcome["status"], outcome["message"]) == ("done", "well")
    leave(tmp_path, lost=-0.25)
    assert write_outcome(tmp_path, "done", "")["ledger"]["lost_seconds"] == 0.0
    assert "cpu_seconds" not in write_outcome(tmp_path, "done", "")["ledger"]


def test_a_run_that_left_nothing_has_an_empty_outcome(tmp_path: Path):
    outcome = write_outcome(tmp_path, "failed", "killed", seconds=9.0)
    assert outcome == json.loads((tmp_path / SEARCH_FILE).read_text())
    assert outcome == {
        "status": "failed",
        "message": "killed",
        "ledger": {
            "entries": [], "totals": {}, "share": {}, "timeline": [], "harness_seconds": {},
            "lost_seconds": 0.0,
        },
        "candidates": [],
        "search_log": [],
    }  # fmt: skip


def test_candidates_are_those_of_the_journal_as_far_as_the_last_beat_counts(tmp_path: Path):
    full = {
        "architecture": {"a": 1}, "policy": None, "origin": "inherited", "limit_ms": 2.0, "limit_share": 0.5,
        "weights_sha256": "ab", "spent": {"tokens": 3},
    }  # fmt: skip
    propose(tmp_path, full, {"trial": 2, "window": [1, 2], "space": {"name": "own"}}, full)
    leave(tmp_path, proposals=2)
    first, second = write_outcome(tmp_path, "done", "")["candidates"]
    assert first == {"index": 0, "valid": {"loss": 1.0}, **full}
    assert second["index"] == 1 and second["architecture"] is None
    assert (second["trial"], second["window"], second["space"]) == (2, [1, 2], {"name": "own"})


@pytest.mark.parametrize(
    ("line", "message", "expected"),
    [
        ("no json\n", "cut", "cut; journal.jsonl, line 1: not a journal entry"),
        ('{"call": "yield", "index": 5}\n', "", "5"),
    ],
)
def test_a_damaged_journal_makes_a_failed_outcome_without_candidates(
    tmp_path: Path, line: str, message: str, expected: str
):
    (tmp_path / JOURNAL).write_text(line)
    leave(tmp_path, proposals=1, stopped_by="tokens")
    outcome = write_outcome(tmp_path, "budget", message)
    assert (outcome["status"], outcome["message"], outcome["candidates"]) == ("failed", expected, [])
    assert "stopped_by" not in outcome
