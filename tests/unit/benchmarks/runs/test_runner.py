"""Supervision and assembly without processes: clocks, signals, outcomes, records."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.hardware.profiles import Profile
from benchmarks.lab.journal import Journal
from benchmarks.lab.ledger import Clock, Ledger
from benchmarks.records import integrity, store
from benchmarks.records.assembly import SEARCH_FILE, assemble_record, failed_outcome, finished_search
from benchmarks.records.spec import RunSpec
from benchmarks.runs import heartbeat, supervisor, worker
from benchmarks.runs import runner as runner_module
from benchmarks.runs.heartbeat import HEARTBEAT, JOURNAL, elapsed, write_outcome
from benchmarks.runs.job import SearchJob, artifacts_of, leader_candidates, missing_leader
from benchmarks.runs.plan import Folders, Plan, PlannedRun
from benchmarks.runs.runner import ActiveRun, Runner
from tests.fake_records import fake

SPEC = {
    "suite": "mt",
    "task": "fake",
    "tier": "smoke",
    "method": "m",
    "method_version": "1",
    "method_sha256": "a" * 64,
    "profile": "undeclared",
    "seed": 1,
    "budget": {"tokens": 100, "evaluations": 10, "probes": 5, "seconds": 10},
    "options": {},
    "space": "mt-smoke",
    "settings_sha256": "b" * 64,
    "follows": None,
}
ORIGIN = {"versions": {}, "data": {}, "machine": {}, "started": "a", "ended": "b"}


class Process:
    def __init__(self) -> None:
        self.signals: list[int] = []
        self.exitcode: int | None = None
        self.running = True
        self.pid = 2**22 + 1  # of no process
        self.channel, theirs = multiprocessing.Pipe()
        theirs.close()

    def report(self) -> dict[str, Any]:
        return {"isolation": "mount,pid", "cpu_seconds": 1.25}

    def signal(self, number: int) -> None:
        self.signals.append(number)


class Executor:
    def __init__(self) -> None:
        self.process = Process()

    def start_guarded(self, target: Any, job: Any, log: Path, view: Any) -> Process:
        return self.process


class Meter:
    def __init__(self, profile: Any) -> None:
        pass

    def start(self) -> None:
        pass

    def stop(self) -> dict[str, Any]:
        return {"joules": 2.5, "source": "a fake", "kg_co2": None}


class Now:
    def __init__(self) -> None:
        self.at = time.monotonic() + 1e3

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    clock = Now()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def search(tmp_path: Path, now: Now, monkeypatch: pytest.MonkeyPatch) -> supervisor.SupervisedSearch:
    monkeypatch.setattr(supervisor, "EnergyMeter", Meter)
    spec = RunSpec(**SPEC)  # type: ignore[arg-type]
    job = SearchJob(tmp_path, spec, "a:B", None, (), 1.0, "cpu", 1, 30.0)  # type: ignore[arg-type]
    return supervisor.SupervisedSearch(Executor(), job, Profile("undeclared", "cpu", None), isolated=False)


def beat(folder: Path, now: Now, clock: float, **more: Any) -> None:
    ledger = Ledger(SPEC["budget"], Clock(lambda: clock))
    state = {"at": now.at, "clock": clock, "pause": "", "phase": "search", "proposals": 0, "messages": []}
    report = ledger.report()
    report["totals"]["seconds"], report["share"]["seconds"] = clock, clock / 10
    (folder / HEARTBEAT).write_text(json.dumps(state | {"ledger": report, "off": {}, "lost": 0.0} | more))


def report(search: supervisor.SupervisedSearch, clock: float, **more: Any) -> None:
    """Let the supervisor's books stand at so many seconds."""
    ledger = Ledger(SPEC["budget"], Clock(lambda: clock))
    state = {"clock": clock, "pause": "", "phase": "search", "proposals": 0, "messages": []}
    told = ledger.report()
    told["totals"]["seconds"], told["share"]["seconds"] = clock, clock / 10
    search.books.begun = True
    search.books.beat = lambda: {**state, "ledger": told, "off": {}, "lost": 0.0, "cpu": 0.0} | more  # type: ignore[assignment,return-value,method-assign]


def signals(search: supervisor.SupervisedSearch) -> list[int]:
    return search.worker.signals  # type: ignore[attr-defined]


def test_a_run_inside_its_time_is_left_alone(search: supervisor.SupervisedSearch, tmp_path: Path, now: Now):
    for second in range(10):
        report(search, clock=second)
        search.poll()
        now.at += 1
    assert signals(search) == []


def test_terminated_at_102_per_cent_and_killed_ten_seconds_later(search: Any, tmp_path: Path, now: Now):
    report(search, clock=10.1)
    search.poll()
    assert signals(search) == []
    report(search, clock=10.3)
    search.poll()
    assert signals(search) == [signal.SIGTERM]
    now.at += 9.9
    search.poll()
    assert signals(search) == [signal.SIGTERM]
    now.at += 0.2
    search.poll()
    assert signals(search) == [signal.SIGTERM, signal.SIGKILL]
    search.worker.exitcode = -9
    outcome = search.ended()
    assert outcome["status"] == "budget" and "102 % of its 10 seconds" in outcome["message"]


def test_waits_off_the_clock_are_bounded(search: Any, tmp_path: Path, now: Now):
    report(search, clock=1.0, pause="timing lock")
    for _ in range(3):
        now.at += 2 * supervisor.PAUSE_S
        search.poll()
    assert signals(search) == []
    report(search, clock=1.0, pause="export")
    search.poll()
    now.at += supervisor.PAUSE_S + 1
    search.poll()
    assert signals(search) == [signal.SIGTERM]


def test_a_search_with_a_forged_message_ends_at_once_and_fails(search: Any, tmp_path: Path, now: Now):
    report(search, clock=1.0)
    search.books.fault = "it charged -1 tokens"
    search.poll()
    assert signals(search) == [signal.SIGTERM, signal.SIGKILL]
    search.books.end = ("done", "")
    assert (search.ended()["status"], search.ended()["message"]) == ("failed", "it charged -1 tokens")


def test_a_search_that_prints_without_end_is_ended_and_its_log_cut(search: Any, tmp_path: Path, now: Now):
    log = tmp_path / supervisor.LOG
    with log.open("wb") as file:
        file.truncate(supervisor.LARGEST_LOG)
    search.poll()
    assert not search.worker.signals
    with log.open("ab") as file:
        file.write(b"x")
    search.poll()
    assert signal.SIGKILL in search.worker.signals
    outcome = search.ended()
    assert outcome["status"] == "failed" and "printed more than 64 MiB" in outcome["message"]
    assert log.stat().st_size < supervisor.KEPT_LOG + 100


@pytest.mark.parametrize("lines", [200_000, 10])
def test_the_log_of_an_ended_search_keeps_its_beginning_and_end(search: Any, tmp_path: Path, lines: int):
    log = tmp_path / supervisor.LOG
    text = "".join(f"line {number} of a talkative method\n" for number in range(lines))
    log.write_text(text)
    report(search, clock=1.0)
    assert search.ended()["status"] == "failed"  # its process has ended without an outcome
    kept = log.read_text()
    assert kept.startswith("line 0 of") and kept.endswith(f"line {lines - 1} of a talkative method\n")
    assert kept == text if lines == 10 else len(kept) < supervisor.KEPT_LOG + 100
    cut = len(text) - supervisor.KEPT_LOG
    assert (f"\n... {cut:,} bytes were cut out here ...\n" in kept) == (cut > 0)


@pytest.mark.parametrize(
    ("message", "hinted"),
    [("FileNotFoundError: [Errno 2] ~/mine.pt (m.py:3)", True), ("ValueError: 3 (m.py:3)", False)],
)
def test_a_failure_that_isolation_may_have_caused_names_it(search: Any, message: str, hinted: bool):
    search.books.end = ("failed", message)
    outcome = search.ended()
    assert outcome["message"].endswith("a search runs isolated, see docs/integrity.md") == hinted


def test_oversight_adds_up_over_sessions_and_the_least_isolation_counts(search: Any, tmp_path: Path):
    work = {"cpu_seconds": 3.0, "threads": 5, "wall_seconds": 1}
    first = {"isolation": "none", "sessions": 2, "work": work}
    (tmp_path / supervisor.OVERSIGHT).write_text(json.dumps(first))
    search.books.end = ("done", "")
    oversight = search.ended()["oversight"]
    assert (oversight["isolation"], oversight["sessions"]) == ("none", 3)
    assert oversight["work"]["cpu_seconds"] == 4.25 and oversight["work"]["threads"] == 5
    assert json.loads((tmp_path / supervisor.OVERSIGHT).read_text()) == oversight


def test_a_process_that_does_not_begin_is_given_up(search: Any, now: Now):
    now.at += supervisor.START_S + 1
    search.poll()
    assert signals(search) == [signal.SIGTERM]
    search.worker.exitcode = -15
    assert search.ended()["status"] == "failed"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (-9, "killed by SIGKILL, as when memory runs out"),
        (-11, "killed by SIGSEGV"),
        (3, "exit code 3"),
        (0, "exit code 0"),
    ],
)
def test_a_death_without_a_word_is_a_failure(search: Any, tmp_path: Path, now: Now, code: int, said: str):
    report(search, clock=1.0)
    search.poll()
    search.worker.exitcode = code
    outcome = search.ended()
    assert outcome["status"] == "failed" and said in outcome["message"]
    assert outcome["joules"] == {"search": 2.5} and outcome["energy"]["source"] == "a fake"


def test_a_run_that_was_asked_to_stop_has_no_outcome(search: Any, tmp_path: Path):
    search.worker.exitcode = worker.STOPPED_CODE
    assert search.ended() is None and not (tmp_path / SEARCH_FILE).exists()


def test_energy_adds_up_over_sessions_and_is_marked_when_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisor, "EnergyMeter", Meter)
    for _ in range(2):
        energy = supervisor.PhaseEnergy(tmp_path, Profile("undeclared", "cpu", None), shared=4)
        for phase in ("a", "a", "b"):
            energy.phase(phase)
        energy.close()
    assert energy.joules == {"a": 5.0, "b": 5.0}
    assert energy.total() == {
        "joules": 10.0,
        "source": "a fake; machine shared by up to 4 runs",
        "kg_co2": None,
    }


def test_candidates_of_a_killed_run_are_in_its_outcome(tmp_path: Path, now: Now):
    with Journal(tmp_path / JOURNAL) as journal:
        for index in range(2):
            journal.record(
                "candidate", f"k{index}", index=index, architecture={"a": index}, valid={"loss": 1.0}
            )
            journal.record_proposal(index, index)
    beat(tmp_path, now, clock=3.0, proposals=1)
    outcome = write_outcome(tmp_path, "budget", "cut", seconds=4.0)
    assert [c["index"] for c in outcome["candidates"]] == [0], "the second was proposed after the last word"
    assert outcome["ledger"]["totals"]["seconds"] == 4.0
    assert outcome == json.loads((tmp_path / SEARCH_FILE).read_text())


def test_an_outcome_without_anything(tmp_path: Path):
    outcome = write_outcome(tmp_path, "failed", "did not begin")
    assert outcome["candidates"] == [] and outcome["ledger"]["entries"] == []
    record = integrity.seal(assemble_record(SPEC, outcome, {}, ORIGIN))
    integrity.validate(record)


def test_an_outcome_has_the_stop_of_the_search_and_its_processor_seconds(tmp_path: Path, now: Now):
    beat(tmp_path, now, clock=3.0, stopped_by="evaluations", cpu=1.25)
    outcome = write_outcome(tmp_path, "budget", "evaluations: asked for 1, 0 left")
    assert outcome["stopped_by"] == "evaluations" and outcome["ledger"]["cpu_seconds"] == {"search": 1.25}
    assert "stopped_by" not in write_outcome(tmp_path, "done", "")
    assert write_outcome(tmp_path, "budget", "killed", seconds=12.0)["stopped_by"] == "seconds"
    scores = {"candidates": [], "harness_seconds": {}, "cpu_seconds": {"score": 2.5}, "message": ""}
    record = integrity.seal(assemble_record(SPEC, outcome, scores, ORIGIN))
    integrity.validate(record)
    assert record["ledger"]["cpu_seconds"] == {"search": 1.25, "score": 2.5}
    assert record["stopped_by"] == "evaluations"
    del record["ledger"]["cpu_seconds"]
    assert integrity.digest(record) == record["digest"], "two runs that did the same took other times"


@pytest.mark.parametrize("state", ["failed", "stopped", "done"])
def test_the_exit_code_is_0_only_where_a_comparable_run_is_left(
    state: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    from benchmarks.cli import run
    from benchmarks.runs.plan import Folders, Plan

    monkeypatch.setattr(run, "write_reports", lambda *_, **__: None)
    ledger = {"totals": {"seconds": 3600.4}, "cpu_seconds": {"search": 402.0}}

    def ended(seed: int, state: str) -> PlannedRun:
        status = {"failed": "failed", "stopped": "budget", "done": "done"}[state]
        record = {"status": status, "spec": SPEC, "ledger": ledger}
        return PlannedRun(
            SimpleNamespace(method="hat", seed=seed, options={}), None, state=state, load=lambda: record
        )  # type: ignore[arg-type]

    plan = Plan(Folders(tmp_path, "mt", "smoke"), "undeclared", "cpu", [ended(1, state), ended(2, state)])
    assert run.report(plan, as_json=False) == (0 if state == "done" else 1)
    said = capsys.readouterr().out
    assert ("nothing comparable is left" in said) is (state != "done")
    plan.runs.append(ended(3, "stopped"))
    assert run.report(plan, as_json=False) == (0 if state == "done" else 1)
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("stopped by their seconds"))
    assert "hat seed 3 (after 3,600 s, in which it had 402 s of a processor)" in line
    assert "Type the same command again" in line


def test_elapsed_counts_on_while_nothing_is_heard():
    assert elapsed({"clock": 5.0, "at": 100.0, "pause": ""}, 103.0) == 8.0
    assert elapsed({"clock": 5.0, "at": 100.0, "pause": "export"}, 103.0) == 5.0


def made(index: int, limit: float = 2.0, share: float | None = 0.5, loss: float = 1.0) -> dict[str, Any]:
    return {
        "index": index,
        "architecture": {"a": index},
        "policy": None,
        "origin": "inherited",
        "limit_ms": limit,
        "limit_share": share,
        "weights_sha256": "c" * 64,
        "spent": {"tokens": 1.0},
        "valid": {"loss": loss, "metrics": {"accuracy": 0.5}},
    }


def scored(index: int) -> dict[str, Any]:
    return {
        "index": index,
        "failed": None,
        "test": {"pooled": {"bleu": {"value": 1.0, "signature": "s"}}},
        "cost": {"params": 1, "macs": 1, "bytes": 4},
        "latency": {"p50": 1.0, "n": 64, "signature": "s"},
        "valid_bleu": 3.0,
    }


def test_a_record_joins_spec_outcome_and_score(tmp_path: Path):
    outcome = failed_outcome("") | {"status": "done", "candidates": [made(0)], "joules": {"search": 4.0}}
    outcome["ledger"] = {
        "entries": [{"phase": "search", "kind": "tokens", "amount": 1.0}],
        "totals": {"tokens": 1.0, "seconds": 2.0},
        "share": {"tokens": 0.01},
        "harness_seconds": {"export": 1.0},
    }
    scores = {"candidates": [scored(0)], "harness_seconds": {"score": 2.0}, "message": ""}
    path = store.write(tmp_path, assemble_record(SPEC, outcome, scores, ORIGIN))
    record = store.load(path)
    (candidate,) = record["candidates"]
    assert candidate["valid"] == {"loss": 1.0, "accuracy": 0.5, "bleu": 3.0}
    assert candidate["test"]["pooled"]["bleu"]["value"] == 1.0 and "failed" not in candidate
    assert record["ledger"]["totals"]["joules"] == 4.0
    assert {"phase": "search", "kind": "joules", "amount": 4.0} in record["ledger"]["entries"]
    assert record["ledger"]["harness_seconds"] == {"export": 1.0, "score": 2.0}


def test_waits_of_search_and_scoring_for_the_timing_lock_add_up():
    search = failed_outcome("x")
    search["ledger"]["harness_seconds"] = {"timing lock": 65.0, "evaluate": 2.0}
    scores = {"harness_seconds": {"timing lock": 0.5, "test split": 3.0}}
    ledger = assemble_record({}, search, scores, {})["ledger"]  # type: ignore[arg-type, typeddict-item]
    assert ledger["harness_seconds"] == {"timing lock": 65.5, "evaluate": 2.0, "test split": 3.0}
    assert search["ledger"]["harness_seconds"]["timing lock"] == 65.0


def test_a_finished_search_needs_scoring_only(tmp_path: Path):
    assert finished_search(tmp_path) is None
    for outcome, kept in (
        (failed_outcome("x"), False),
        ({"status": "done", "candidates": [made(0)]}, True),
        ({"status": "budget", "candidates": [made(0)]}, True),
        ({"status": "budget", "candidates": []}, False),
    ):
        (tmp_path / SEARCH_FILE).write_text(json.dumps(outcome))
        assert (finished_search(tmp_path) is not None) is kept
    (tmp_path / SEARCH_FILE).write_text('{"status": "do')
    assert finished_search(tmp_path) is None


def test_a_follower_is_given_the_best_of_each_limit_at_todays_limits():
    candidates = [made(0, 2.0, 0.5, 3.0), made(1, 2.0, 0.5, 1.0), made(2, 4.0, 1.0), made(3, 7.0, 0.9)]
    given = leader_candidates(candidates, [(0.5, 2.2), (1.0, 4.4)])
    expected = [(2.2, {"a": 1}, None), (4.4, {"a": 2}, None), (7.0, {"a": 3}, None)]
    assert sorted(given, key=lambda entry: entry[0]) == expected
    assert leader_candidates([], []) == ()


def test_a_follower_is_given_sizes_and_spaces_as_they_were():
    own = made(0) | {"limit_ms": None, "limit_share": None, "window": [5, 9], "space": {"name": "mine"}}
    assert leader_candidates([own], [(0.5, 2.2)]) == (([5, 9], {"a": 0}, {"name": "mine"}),)


def test_a_job_that_inherits_has_path_and_cost_of_the_weights(tmp_path: Path):
    spec = {"task": "t", "profile": "p", "method": "hat"}
    record = {"candidates": [made(0, loss=2.0), made(1)], "ledger": {"totals": {"tokens": 7.0}}}
    record |= {"spec": spec, "id": "abc"}
    leader = PlannedRun(
        SimpleNamespace(method="hat", seed=1, id="abc", options={}), None, state="done", load=lambda: record
    )  # type: ignore[arg-type]
    follower = PlannedRun(None, SimpleNamespace(inherits=True), leader)  # type: ignore[arg-type]
    place = tmp_path / "abc" / "candidates" / "01"
    assert artifacts_of(follower, tmp_path) == {
        "candidates": [(str(place), "c" * 64)],
        "spent": {"tokens": 7.0},
    }
    assert "move its record t/p/hat/abc.json away" in missing_leader(follower, tmp_path)
    place.mkdir(parents=True)
    assert missing_leader(follower, tmp_path) == ""
    stranger = PlannedRun(None, SimpleNamespace(inherits=False), leader)  # type: ignore[arg-type]
    assert artifacts_of(stranger, tmp_path) is None


def test_a_follower_needs_a_leader_with_candidates():
    leader = PlannedRun(SimpleNamespace(method="hat", seed=1, options={}), None)  # type: ignore[arg-type]
    follower = PlannedRun(None, SimpleNamespace(inherits=False), leader)  # type: ignore[arg-type]
    runs = Path("none")
    assert missing_leader(leader, runs) == ""
    assert missing_leader(follower, runs) == "hat seed 1, which it follows, has no result"
    leader.state = "stopped"
    assert missing_leader(follower, runs) == "hat seed 1, which it follows, was stopped by its seconds"
    leader.state, leader.load = "done", lambda: {"candidates": []}
    assert missing_leader(follower, runs).endswith("ended without a candidate")
    leader.load = lambda: {"candidates": [made(0)]}
    assert missing_leader(follower, runs) == ""


def test_heartbeats_are_whole(tmp_path: Path):
    count = iter(range(10**6))
    heart = heartbeat.Heartbeat(tmp_path, lambda: {"n": next(count), "filler": "x" * 10000})
    try:
        for _ in range(200):
            heart.write()
            assert len(heartbeat.read_heartbeat(tmp_path)["filler"]) == 10000
    finally:
        heart.close()
    assert heartbeat.read_heartbeat(tmp_path)["n"] >= 200


def test_a_record_that_cannot_be_written_is_a_failed_run_and_no_end_of_the_plan(tmp_path: Path, monkeypatch):
    record = fake(seed=1, tier="smoke")
    run = PlannedRun(RunSpec.of(record["spec"]), SimpleNamespace(sha256="a" * 64))  # type: ignore[arg-type]
    folders, ended = Folders(tmp_path, "mt", "smoke"), dict[str, str]()
    runner = object.__new__(Runner)
    runner.plan = Plan(folders, "undeclared", "cpu", [run])
    task = SimpleNamespace(name=run.spec.task)
    context = SimpleNamespace(task=task, prepared=SimpleNamespace(digests={}), limits=())
    runner.contexts, runner._references = {run.spec.task: context}, {run.spec.task: "b" * 64}
    runner.leases = SimpleNamespace(holds=lambda _: True, end=ended.__setitem__)
    runner._common, runner.options = record["provenance"], SimpleNamespace(jobs=1)
    runner.display = SimpleNamespace(finish=lambda *_: None)
    runner.profile = SimpleNamespace(name="undeclared")
    monkeypatch.setattr(runner_module, "run_limits", lambda context, _: context)
    monkeypatch.setattr(runner_module, "method", lambda _: {"name": "m"})
    monkeypatch.setattr(runner_module.user_declarations, "describe", lambda *_: None)
    monkeypatch.setattr(runner_module, "units_of", lambda _: SimpleNamespace(to_dict=lambda: {}))
    folder = folders.runs / run.spec.id
    folder.mkdir(parents=True)
    outcome = failed_outcome("no luck") | {"message": "\ud800" * 2**20}
    runner._record(ActiveRun(run, folder, "2026-01-01T00:00:00+00:00"), outcome)  # type: ignore[arg-type]
    assert run.state == "failed" and ended == {run.spec.id: "failed"}
    assert "its record is not valid" in run.record["message"] and len(run.record["message"]) < 2000
