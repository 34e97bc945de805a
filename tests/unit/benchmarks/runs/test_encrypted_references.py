"""Encrypted test splits: unreadable meanwhile, the same afterwards, and readable for scoring alone."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.runs import encrypted_references as references
from benchmarks.scoring.references import references_digest
from benchmarks.tasks import Prepared

SECRET = "the quick brown reference"


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Data with a split, labels of fine-tuning beside it, and no folder of shared memory."""
    monkeypatch.setattr(references, "_memory", lambda: tmp_path / "memory")
    monkeypatch.setattr(references, "hide_memory", lambda: None)  # for good: it is the tests' own process
    (tmp_path / "memory").mkdir()
    sealed = tmp_path / "cache/sealed/mt-1"
    for folder in (
        sealed,
        sealed.with_name("finetune-rte-1"),
        sealed.with_name("other-2"),
        tmp_path / "open",
    ):
        folder.mkdir(parents=True)
        (folder / "test.txt").write_text(SECRET)
    return Prepared(tmp_path / "open", sealed, {}, 5, 5)


def holding(top: Path) -> list[str]:
    return sorted(p.parent.name for p in top.rglob("*") if p.is_file() and SECRET in p.read_text("latin-1"))


def test_the_split_is_readable_for_scoring_alone_and_the_same_afterwards(prepared: Prepared, tmp_path: Path):
    before = references_digest(prepared.sealed)
    with references.encrypted({"mt": prepared, "none": Prepared(tmp_path, None, {}, 1, 1)}) as packed:
        assert set(packed) == {"mt"} and holding(tmp_path) == ["open", "other-2"]
        assert packed["mt"].key.hex() not in repr(packed) and "key" not in repr(packed)
        handed = pickle.loads(pickle.dumps(packed["mt"]))
        with references.readable(prepared, handed) as readable:
            assert readable.sealed is not None and references_digest(readable.sealed) == before
            assert (readable.sealed.parent / "finetune-rte-1/test.txt").read_text() == SECRET
            assert os.stat(readable.sealed.parent.parent).st_mode & 0o077 == 0
        assert holding(tmp_path) == ["open", "other-2"]
    assert holding(tmp_path) == ["finetune-rte-1", "mt-1", "open", "other-2"]
    assert references_digest(prepared.sealed) == before and not list((tmp_path / "memory").iterdir())


def test_a_changed_file_is_refused(prepared: Prepared):
    with references.encrypted({"mt": prepared}) as packed:
        file = packed["mt"].file
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(UsageError, match="were changed"), references.readable(prepared, packed["mt"]):
            pass
        file.write_bytes(content)


def test_a_split_that_another_command_has_taken_is_one_message(prepared: Prepared):
    with (
        references.encrypted({"mt": prepared}),
        pytest.raises(UsageError, match="type the command again"),
        references.encrypted({"mt": prepared}),
    ):
        pass


def test_without_encryption_nothing_changes(prepared: Prepared):
    with references.readable(prepared, None) as readable:
        assert readable is prepared


def test_folders_of_killed_commands_are_removed(prepared: Prepared, tmp_path: Path):
    for name in (f"{references.PREFIX}{2**30}-x", f"{references.PREFIX}{os.getpid()}-x", "other"):
        (tmp_path / "memory" / name).mkdir()
    references.remove_stale()
    left = {path.name for path in (tmp_path / "memory").iterdir()}
    assert left == {f"{references.PREFIX}{os.getpid()}-x", "other"}
