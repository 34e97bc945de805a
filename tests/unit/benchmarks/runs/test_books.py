"""The supervisor's books: what a search reports adds up, and nothing is taken back."""

from __future__ import annotations

import errno
import json
import multiprocessing
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.lab.journal import Journal
from benchmarks.runs import books as books_module
from benchmarks.runs.books import Books, ForgedMessageError
from benchmarks.runs.channel import Channel, ReportedClock, ReportedJournal, ReportedLedger
from benchmarks.runs.heartbeat import JOURNAL

ALLOWANCE = {"tokens": 100.0, "evaluations": 10.0, "probes": 5.0, "seconds": 60.0}
A, B = "a" * 64, "b" * 64


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    books = Books(tmp_path, ALLOWANCE, {})
    yield books
    books.close()


def test_charges_add_up_by_phase_and_end_at_the_allowance(books: Books):
    books.take(["charge", "tokens", 60])
    books.take(["phase", "retrain"])
    books.take(["charge", "tokens", 40])
    books.take(["phase-end"])
    books.take(["charge", "predictor_calls", 10**9])
    books.take(["charge", "updates", 0.5])
    entries = {(e["phase"], e["kind"]): e["amount"] for e in books.beat()["ledger"]["entries"]}
    assert entries["search", "tokens"] == 60 and entries["retrain", "tokens"] == 40
    assert entries["search", "updates"] == 0.5
    with pytest.raises(ForgedMessageError, match="101 tokens of 100: its ledger was changed"):
        books.take(["charge", "tokens", 1])


def test_books_and_ledger_allow_the_same_rounding(tmp_path: Path):
    for parts in range(1, 60):
        with_shares = Books(tmp_path, ALLOWANCE | {"evaluations": 1.0}, {})
        for _ in range(parts):
            with_shares.take(["charge", "evaluations", 1 / parts])
        with pytest.raises(ForgedMessageError, match="its ledger was changed"):
            with_shares.take(["charge", "evaluations", 1e-9])
        with_shares.close()


@pytest.mark.parametrize(
    "message",
    [
        None, {}, [], ["no-such"], [1], ["charge"], ["charge", "tokens", -1],
        ["charge", "tokens", float("nan")],
        ["charge", "joules", 1], ["charge", "seconds", -5], ["charge", "tokens", "1"], ["call", {}],
        ["call", {"n": 0, "call": "candidate", "key": "", "trial": [1]}],
        ["call", {"n": 0, "call": "charge", "key": ""}], ["call", {"n": 5, "call": "probe", "key": ""}],
        ["yield", 3, 0], ["yield", 0, "x"], ["save", "x", "../../etc"], ["load", "x", "../x"], ["state", []],
        ["state", {"progress": 5}], ["end", "done"], ["end", "well", "", False], ["advance", float("inf")],
        ["take", ["charge", "tokens", 1]], ["close"], ["beat"], ["_begin"],
    ],
)  # fmt: skip
def test_messages_that_no_lab_sends_are_refused(books: Books, message: Any):
    with pytest.raises(ForgedMessageError):
        books.take(message)
    assert books.ledger.spent("tokens") == 0 and books.end is None


def proposed(books: Books, trials: Sequence[int] = (0,)) -> None:
    """Report one proposed candidate of each trial."""
    for index, trial in enumerate(trials):
        entry = {"n": index, "call": "candidate", "key": "a", "index": index}
        books.take(["call", entry | ({"trial": trial} if trial else {})])
        books.take(["yield", index, index])


def inherited(books: Books) -> dict[str, float]:
    """Return what is booked for inherited weights, of each kind over all trials."""
    entries = books.beat()["ledger"]["entries"]
    paid = [e for e in entries if e["phase"].endswith("inherited") and e["kind"] != "seconds"]
    kinds = ("tokens", "evaluations", "updates")
    return {kind: sum(e["amount"] for e in paid if e["kind"] == kind) for kind in kinds}


@pytest.mark.parametrize("paid", [(), ("tokens",), ("tokens", "evaluations", "updates")])
@pytest.mark.parametrize("trials", [(0,), (1, 2), (1, 1, 3)])
def test_given_weights_are_paid_by_each_trial_with_a_proposal(
    tmp_path: Path, trials: Sequence[int], paid: Sequence[str]
):
    spent = {"tokens": 30.0, "evaluations": 2.0, "updates": 7.0, "seconds": 500.0}
    books = Books(tmp_path, ALLOWANCE, {}, leader_spent=spent)
    for trial in sorted(set(trials)):
        books.take(["phase", f"trial {trial}: inherited" if trial else "inherited"])
        for kind in paid:
            books.take(["charge", kind, spent[kind]])
        books.take(["phase-end"])
    proposed(books, trials)
    books.charge_leader()
    count = len(set(trials))
    owed = {"tokens": 30 * count, "evaluations": 2 * count, "updates": 7 * count}
    assert inherited(books) == owed and not books.fault
    assert books.ledger.spent("tokens") == 30 * count
    books.close()


def test_training_does_not_pay_for_given_weights(tmp_path: Path):
    books = Books(tmp_path, ALLOWANCE, {}, leader_spent={"tokens": 30.0})
    books.take(["charge", "tokens", 71])
    proposed(books)
    books.charge_leader()
    assert "whose weights it was given it spent 101 tokens of 100" in books.fault
    books.close()


def test_weights_cost_nothing_without_a_proposal_or_a_leader(tmp_path: Path):
    for leader_spent in ({"tokens": 30.0}, None):
        books = Books(tmp_path, ALLOWANCE, {}, leader_spent=leader_spent)
        if leader_spent is None:
            proposed(books)
        books.charge_leader()
        assert books.ledger.spent("tokens") == 0 and not books.fault
        books.close()


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    st.sampled_from(
        ["charge", "phase", "pause", "call", "yield", "save", "load", "state", "end", "skip", "x"]
    ),
)
def test_any_message_is_booked_or_refused(tmp_path_factory: pytest.TempPathFactory, content: Any, kind: str):
    books = Books(tmp_path_factory.mktemp("run"), ALLOWANCE, {})
    for message in (content, [kind, content], [kind, *(content if isinstance(content, list) else [content])]):
        try:
            books.take(message)
        except ForgedMessageError:
            continue
    books.beat()
    books.close()


def saved(folder: Path, tokens: float, digest: str) -> None:
    """A session that charges so many tokens and saves."""
    books = Books(folder, ALLOWANCE, {})
    books.take(["charge", "tokens", tokens])
    books.take(["save", "train", digest])
    books.close()


def test_a_checkpoint_of_an_earlier_session_restores_the_books(tmp_path: Path):
    saved(tmp_path, 70, A)
    books = Books(tmp_path, ALLOWANCE, {})
    books.take(["charge", "tokens", 30])
    assert books.take(["load", "train", B]) == "unknown"
    assert books.take(["load", "other", A]) == "unknown"
    assert books.take(["load", "train", A]) == "restored"
    assert books.ledger.spent("tokens") == 70
    books.close()


def test_a_checkpoint_never_takes_charges_back(tmp_path: Path):
    saved(tmp_path, 20, A)
    books = Books(tmp_path, ALLOWANCE, {})
    books.take(["charge", "tokens", 50])
    assert "cannot be taken back" in books.take(["load", "train", A])
    books.take(["save", "train", B])
    books.take(["charge", "tokens", 10])
    assert "this session saved it" in books.take(["load", "train", B])
    assert books.ledger.spent("tokens") == 60
    books.close()


def test_the_newest_states_of_a_name_are_kept(books: Books, tmp_path: Path):
    for i in range(9):
        books.take(["save", "train", f"{i:064x}"])
    files = list((tmp_path / books_module.STATES).rglob("*.json"))
    assert len(files) == books_module.KEPT and f"{8:064x}.json" in {file.name for file in files}


def test_processor_time_in_a_wait_is_on_the_account(books: Books, monkeypatch: pytest.MonkeyPatch):
    used = iter([1.0, 8.0, 8.0, 20.0])
    books.cpu = lambda: next(used)
    for reason in ("timing lock", "export"):
        books.take(["pause", reason])
        books.take(["resume"])
    assert 6.5 < books.clock.now() < 7.5, "7 s in the wait, and what an export takes is the harness's"


def test_a_search_and_its_supervisor_have_the_same_books(tmp_path: Path):
    ours, theirs = multiprocessing.Pipe()
    books = Books(tmp_path, ALLOWANCE, {})
    reader = threading.Thread(target=books.follow, args=(ours,), daemon=True)
    reader.start()
    channel = Channel(theirs)
    clock = ReportedClock(channel)
    ledger = ReportedLedger(channel, ALLOWANCE, clock, 1)
    journal = ReportedJournal(channel, tmp_path / JOURNAL)
    with ledger.in_phase("search"):
        ledger.charge("tokens", 5)
        with clock.pause("export"), clock.pause("checkpoint"):
            journal.record("candidate", "k", index=0, loss=1.5)
    journal.record_proposal(0, 0)
    channel.ask("end", "done", "well", False)
    theirs.close()
    reader.join(10)
    assert books.fault == "" and books.end == ("done", "well") and books.proposals == 1
    assert {k: v for k, v in books.ledger.totals().items() if k != "seconds"} == {
        k: v for k, v in ledger.totals().items() if k != "seconds"
    }
    assert set(books.clock.off) == {"export"}
    books.close()
    with Journal(tmp_path / JOURNAL) as again:
        assert [c["index"] for c in again.candidates(1)] == [0] and len(again) == 1


def send(connection: Connection, message: bytes) -> None:
    with suppress(OSError):
        connection.send_bytes(message)


def test_a_message_too_long_or_of_no_json_ends_the_run(tmp_path: Path):
    for number, sent in enumerate((b"x" * (books_module.LARGEST + 1), b"\xff\x00", b"[" * 10**5)):
        ours, theirs = multiprocessing.Pipe()
        folder = tmp_path / str(number)
        folder.mkdir()
        books = Books(folder, ALLOWANCE, {})
        reader = threading.Thread(target=books.follow, args=(ours,), daemon=True)
        reader.start()
        # Nobody reads the rest of a refused message.
        threading.Thread(target=send, args=(theirs, sent), daemon=True).start()
        reader.join(10)
        assert books.fault == "it sent what is no message of the Lab's"
        books.close()


def test_the_state_of_a_heartbeat_is_plain_json(books: Books):
    books.take(["state", {"progress": [1, 2, "x" * 200], "messages": ["\ud800"], "search_log": []}])
    beat = json.loads(json.dumps(books.beat()))
    assert beat["progress"] == [1.0, 2.0, "x" * 80] and beat["messages"] == ["\ud800"]


def test_a_full_disk_is_no_message_of_the_searchs(tmp_path: Path):
    books = Books(tmp_path, ALLOWANCE, {})
    books.journal.close()
    ours, theirs = Pipe()
    with suppress(OSError), open("/dev/full", "a") as books.journal._file:
        theirs.send_bytes(json.dumps(["call", {"n": 0, "call": "probe", "key": "a", "ms": 1.0}]).encode())
        books.follow(ours)
    assert books.fault == "" and books.unwritten is not None and books.unwritten.errno == errno.ENOSPC
