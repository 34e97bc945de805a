"""Files that a record passes on its way to a row of the leaderboard: those of docs/house.md."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.analysis.table import Table, build_from_runs
from benchmarks.comparability.run_summary import Headline, RunSummary
from benchmarks.leaderboard import tables
from benchmarks.records import store
from benchmarks.report.markdown import markdown
from tests import ROOT
from tests.fake_records import fake, summaries


def kind(value: Any, depth: int = 0) -> str:
    """``record``, ``summary`` or ``table`` if a value is one or holds some; else empty."""
    if isinstance(value, dict) and {"spec", "ledger", "candidates"} <= set(value):
        return "record"
    if isinstance(value, RunSummary | Headline):
        return "summary"
    if isinstance(value, Table):
        return "table"
    if depth < 2 and isinstance(value, list | tuple | dict) and value:
        return kind(next(iter(value.values() if isinstance(value, dict) else value)), depth + 1)
    return ""


def listed(title: str) -> set[str]:
    """Files that docs/house.md lists under a title of its section on the path of a record."""
    section = (ROOT / "docs/house.md").read_text().partition("## The path of a record to its row")[2]
    return set(re.findall(r"`(benchmarks/[\w/]+\.py)`", section.partition(title)[2].partition("\n\n")[0]))


def test_a_record_passes_the_files_of_the_page(tmp_path: Path) -> None:
    for method in ("hat", "scratch"):
        for seed in (1, 2, 3):
            store.write(tmp_path / "records", fake(method, seed))
    (tmp_path / "site").mkdir()
    source = tables.BoardSource(tmp_path, tmp_path / "site", False)
    passed: dict[str, set[str]] = {"record": set(), "summary": set(), "table": set()}

    def trace(frame: FrameType, event: str, result: Any) -> None:
        file = frame.f_code.co_filename
        if not file.startswith(f"{ROOT}/benchmarks/") or event not in ("call", "return"):
            return
        code = frame.f_code
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        given = [frame.f_locals[name] for name in names if name in frame.f_locals]
        for value in given if event == "call" else [result]:
            if what := kind(value):
                passed[what].add(file.removeprefix(f"{ROOT}/"))

    previous = sys.getprofile()
    sys.setprofile(trace)
    try:
        (part,) = tables.read_records(source, 0, store.places(tmp_path / "records")).parts
        markdown(build_from_runs(part.runs.unpack()), "a table")
    finally:
        sys.setprofile(previous)
    # Records that were found valid before are not checked again: then nothing is sealed anew.
    passed["record"] |= {"benchmarks/records/canonical.py", "benchmarks/records/integrity.py"}
    assert passed["record"] == listed("**The record**") | listed("**Beside the row**")
    assert passed["summary"] == listed("**Its summary**")
    assert passed["table"] == listed("**The table**")
    assert not passed["record"] & passed["table"], "renderers are given no record"


def test_summaries_cross_processes_packed_and_are_those_that_went_in() -> None:
    records = [fake("hat", 1), fake("scratch", 2)]
    for record in records:
        record["ledger"]["totals"]["updates"] = 500.0  # one that is missing is NaN, which equals nothing
    runs = summaries(records)
    handed_on = pickle.dumps(pickle.loads(pickle.dumps(tables.PackedRuns(runs))))
    assert handed_on == pickle.dumps(tables.PackedRuns(runs))
    assert pickle.loads(handed_on).unpack() == tables.PackedRuns(runs).unpack() == runs


def test_records_are_given_back_folder_by_folder(tmp_path: Path) -> None:
    for task in ("mt-multi30k-en-de", "mt-tatoeba-en-de"):
        for seed in (1, 2):
            store.write(tmp_path / "records", fake("hat", seed, task=task))
    source = tables.BoardSource(tmp_path, tmp_path / "site", True)
    places = store.places(tmp_path / "records")
    assert [source.path(place) for place in places] == store.paths(tmp_path / "records")
    parts = tables.read_records(source, 0, places).parts
    assert [part.folder[0] for part in parts] == ["mt-multi30k-en-de", "mt-tatoeba-en-de"]
    assert [part.first for part in parts] == [0, 2] and [len(part.contents) for part in parts] == [2, 2]
    assert [run.place for part in parts for run in part.runs.unpack()] == [0, 1, 2, 3]
