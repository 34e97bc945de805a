"""Supervision of one search: its clock is this session's, whatever earlier ones left behind."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from benchmarks.records.assembly import SEARCH_FILE, read_json
from benchmarks.runs.heartbeat import HEARTBEAT
from benchmarks.runs.supervisor import START_S, SupervisedSearch
from benchmarks.runs.worker import STOPPED_CODE

ALLOWANCE = {"tokens": 100.0, "evaluations": 10.0, "probes": 5.0, "seconds": 60.0}


class Idle:
    """Executor and its process at once: a search that sends what the test gives it, and never ends itself."""

    def __init__(self) -> None:
        ours, self.search = Pipe()
        self.channel, self.pid, self.exitcode = ours, psutil.Process().pid, None
        self.signals: list[int] = []

    def start_guarded(self, *_: object) -> Idle:
        return self

    def signal(self, number: int) -> None:
        self.signals.append(number)

    def report(self) -> dict[str, object]:
        return {"isolation": "none", "cpu_seconds": 0.0}

    def send(self, *messages: Sequence[object]) -> None:
        """Send messages, wait for the answers of those that have one, and close the pipe."""
        for message in messages:
            self.search.send_bytes(json.dumps(message).encode())
            if message[0] != "charge":
                assert json.loads(self.search.recv_bytes()) == "booked"
        self.search.close()


def supervised(folder: Path, process: Idle, spent: Mapping[str, float] | None = None) -> SupervisedSearch:
    """Return a search of no process, which inherits from a run that spent ``spent``; None: from none."""
    leader = None if spent is None else {"candidates": [], "spent": spent}
    spec = SimpleNamespace(budget=ALLOWANCE)
    job = SimpleNamespace(folder=folder, spec=spec, device="cpu", jobs=1, leader_artifacts=leader)
    return SupervisedSearch(process, job, None, isolated=False)  # type: ignore[arg-type]


def beat_of(at: float, clock: float) -> dict[str, object]:
    """Return what an earlier session of a search left, ``at`` its machine's monotonic clock then."""
    ledger = {"entries": [], "totals": {"tokens": 5.0, "seconds": clock}, "share": {}, "timeline": []}
    times = {"clock": clock, "active": clock, "active_before": 0.0, "lost": 0.0, "off": {}, "cpu": 1.0}
    rest = {"pause": "", "stopped_by": None, "phase": "train", "progress": [1, 2, ""], "proposals": 0}
    return {"at": at, **times, **rest, "search_log": [], "messages": ["old"], "ledger": ledger}


@pytest.mark.parametrize("at", [0.0, 1e9], ids=["before the machine started", "in this clock's future"])
def test_a_heartbeat_from_before_a_reboot_is_not_this_sessions(tmp_path: Path, at: float) -> None:
    (tmp_path / HEARTBEAT).write_text(json.dumps(beat_of(at, clock=59.9)))
    process, began = Idle(), time.monotonic()
    search = supervised(tmp_path, process)
    assert search.poll() == [] and search.beat == {} and not process.signals
    process.search.send_bytes(json.dumps(["charge", "tokens", 7]).encode())
    limit = time.monotonic() + 10
    while not search.beat and time.monotonic() < limit:
        search.poll()
    assert search.beat["ledger"]["totals"]["tokens"] == 7
    assert search.beat["clock"] < 10 and not process.signals
    assert search.beat["active_before"] == pytest.approx(59.9)
    process.search.close()
    search.close()
    assert began <= read_json(tmp_path / HEARTBEAT)["at"] <= time.monotonic()


@pytest.mark.parametrize(("code", "crashed"), [(1, True), (-9, True), (0, False)])
def test_a_process_that_ends_without_an_outcome_has_crashed(tmp_path: Path, code: int, crashed: bool) -> None:
    process = Idle()
    search = supervised(tmp_path, process)
    if not crashed:
        process.search.send_bytes(json.dumps(["end", "failed", "ValueError: no", False]).encode())
        assert process.search.poll(10)
    process.search.close()
    process.exitcode = code
    outcome = search.ended()
    assert outcome is not None and outcome["status"] == "failed" and search.crashed == crashed


def test_a_search_that_never_reports_is_ended_and_an_old_heartbeat_does_not_excuse_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / HEARTBEAT).write_text(json.dumps(beat_of(time.monotonic(), clock=1.0)))
    process = Idle()
    search = supervised(tmp_path, process)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + START_S + 1)
    search.poll()
    assert process.signals == [signal.SIGTERM]
    process.search.close()
    assert search.ended() is not None
    assert "did not begin within 600 s" in read_json(tmp_path / SEARCH_FILE)["message"]


CANDIDATE = {"n": 0, "call": "candidate", "key": "a", "index": 0, "valid": {"loss": 1.0, "metrics": {}}}


@pytest.mark.parametrize(
    ("status", "leader", "trained", "ends", "tokens"),
    [
        ("done", 30.0, 50, "done", 80),
        ("budget", 30.0, 50, "budget", 80),
        ("failed", 30.0, 50, "failed", 50),
        ("done", 70.0, 50, "failed", 120),
        ("done", None, 50, "done", 50),
    ],
)
def test_a_search_pays_for_given_weights_that_it_did_not_inherit(
    tmp_path: Path, status: str, leader: float | None, trained: float, ends: str, tokens: float
) -> None:
    process = Idle()
    search = supervised(tmp_path, process, None if leader is None else {"tokens": leader})
    messages = (
        ["charge", "tokens", trained],
        ["call", CANDIDATE],
        ["yield", 0, 0],
        ["end", status, "", False],
    )
    process.send(*messages)
    outcome = search.ended()
    assert outcome is not None and outcome["status"] == ends
    assert outcome["ledger"]["totals"]["tokens"] == tokens
    assert ("whose weights it was given" in outcome["message"]) == (tokens > 100)
    paid = [
        e["amount"]
        for e in outcome["ledger"]["entries"]
        if (e["phase"], e["kind"]) == ("inherited", "tokens")
    ]
    assert paid == ([tokens - trained] if tokens > trained else [])


def test_a_search_that_will_go_on_is_not_charged_for_given_weights(tmp_path: Path) -> None:
    process = Idle()
    search = supervised(tmp_path, process, {"tokens": 1000.0})
    process.send(["call", CANDIDATE], ["yield", 0, 0])
    process.exitcode = STOPPED_CODE  # type: ignore[assignment]
    assert search.ended() is None and search.books.ledger.spent("tokens") == 0
