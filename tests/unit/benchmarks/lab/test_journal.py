"""Answers are kept in order, a cut line costs one answer, a damaged one is noticed."""

from pathlib import Path

import pytest

from benchmarks.lab.journal import CorruptFileError, Journal, ReplayDivergedError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def fill(path: Path) -> None:
    with Journal(path) as journal:
        assert journal.replay("evaluate", "a") is None
        journal.record("evaluate", "a", loss=1.5)
        journal.record("probe", "b", ms=3.0)
        journal.record("candidate", "c", index=0)
        journal.record_proposal(0, 0)


def test_a_resumed_run_gets_its_answers_in_order(path: Path):
    fill(path)
    with Journal(path) as journal:
        assert journal.replay("evaluate", "a")["loss"] == 1.5
        assert journal.replay("probe", "b")["ms"] == 3.0
        assert journal.replay("candidate", "c")["index"] == 0
        journal.record_proposal(0, 0)
        assert journal.replay("evaluate", "new") is None
        journal.record("evaluate", "new", loss=float("nan"))
        assert [e["index"] for e in journal.candidates(1)] == [0] and journal.candidates(0) == []
    assert len(path.read_text().splitlines()) == 5


@pytest.mark.parametrize(("call", "key"), [("evaluate", "b"), ("probe", "a")])
def test_another_question_under_a_number_is_divergence(path: Path, call: str, key: str):
    fill(path)
    with Journal(path) as journal, pytest.raises(ReplayDivergedError, match=r"call 0 was evaluate\(a\)"):
        journal.replay(call, key)


def test_another_proposal_is_divergence(path: Path):
    fill(path)
    with Journal(path) as journal, pytest.raises(ReplayDivergedError, match="proposal 0"):
        journal.record_proposal(0, 1)


def test_a_line_cut_short_is_dropped_and_the_file_goes_on(path: Path):
    fill(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with Journal(path) as journal:
        assert journal.proposed == []
        journal.next_call = 3
        journal.record_proposal(0, 0)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("line", [b"\x00\x00", b"[]", b'{"call": "evaluate"}', b"{", b"\xff\xfe"])
def test_a_damaged_line_is_noticed(path: Path, line: bytes):
    fill(path)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], line, *lines[1:]]) + b"\n")
    with pytest.raises(CorruptFileError, match="journal.jsonl, line 2"):
        Journal(path)


def test_probes_are_listed_by_the_number_of_their_call(path: Path):
    with Journal(path) as journal:
        journal.record("evaluate", "a", loss=1.5)
        journal.record("probe", "b", ms=3.0)
        journal.record("energy", "c", joules=0.5)
        journal.record("probe", "b", ms=2.0)
        assert [tuple(probe) for probe in journal.probes()] == [(1, "b", 3.0), (2, "c", 0.5), (3, "b", 2.0)]
    with Journal(path) as journal:
        assert [probe[0] for probe in journal.probes()] == [1, 2, 3], "answers of an earlier session count"


def test_an_answer_is_on_disk_at_once(path: Path):
    with Journal(path) as journal:
        journal.record("evaluate", "a", loss=1.5)
        assert path.read_text().count("\n") == 1, "a killed process loses no answer"


def test_the_file_is_closed_at_the_end(path: Path):
    with Journal(path) as journal:
        journal.record("evaluate", "a", loss=1.5)
    with pytest.raises((ValueError, AssertionError)):
        journal.record("evaluate", "b", loss=1.5)
    assert path.read_text().count("\n") == 1
