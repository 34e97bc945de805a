"""Weights of a row: those beside the record of its run, or the command that makes some."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.export.source import find_candidate
from benchmarks.records import store
from benchmarks.records.folders import VARIABLE
from tests.fake_records import fake


def test_the_refusal_of_missing_weights_names_a_run_and_the_folder_of_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "own"))
    weights = b"weights of the run that is made here"
    record = fake("hat", 1)
    for candidate in record["candidates"]:
        candidate["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    place = tmp_path / "results" / "records" / store.relative_path(record)
    with pytest.raises(UsageError) as refused:
        find_candidate(record, None, place, tmp_path / "results")
    message = str(refused.value)
    assert "supernet-bench run mt --task mt-multi30k-en-de --tier small --methods hat" in message
    assert "verify" not in message, "a second run leaves no weights"
    named = re.search(r"export the record that is left in (\S+): ", message)
    assert named and Path(named[1]) == tmp_path / "own" / "mt-small" / "records"
    for candidate in record["candidates"]:
        folder = Path(named[1]).parent / "runs" / record["id"] / "candidates" / f"{candidate['index']:02d}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(weights)
    own = Path(named[1]) / store.relative_path(record)
    for path in (own, place):  # equal to the bit, they are the published row's as well
        assert find_candidate(record, None, path, tmp_path / "results").folder.parents[3] == own.parents[4]
