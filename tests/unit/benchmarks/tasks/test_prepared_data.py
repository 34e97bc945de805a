"""Prepared folders: addressed by what they are made from, made once, read as seldom as possible."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tasks.prepared_data import INFO, RawData, read_info, write_info

Lines = dict[str, str]


class Source:
    """Raw data that counts how often it is read."""

    def __init__(self, **lines: str) -> None:
        self.lines: Lines = {"train": "a", "test": "b"} | lines
        self.reads = 0

    def __call__(self) -> Lines:
        self.reads += 1
        return self.lines


def prepare(
    source: Source, cache: Path, said: list[str] | None = None, **changes: Any
) -> tuple[Path, Path, Any]:
    fields = {"declared": {"file": "0" * 64}, "settings": {"seed": 1}, "reproducible": True} | changes
    inputs = fields.pop("inputs", {"code": "1"})
    raw: RawData[Lines] = RawData(
        name="mine-smoke",
        reader=source,
        cache=cache,
        say=[].append if said is None else said.append,
        **fields,
    )

    def write_open(lines: Lines, folder: Path) -> None:
        (folder / "train.txt").write_text(lines["train"])
        write_info(folder, {"size": len(lines["train"])})

    return raw.folders(
        inputs,
        lambda lines: lines,
        lambda lines, f: (f / "test.txt").write_text(lines["test"]) and None,
        write_open,
    )


def test_the_test_split_lies_elsewhere_and_raw_data_is_read_once(tmp_path: Path):
    source, said = Source(), list[str]()
    folder, sealed, info = prepare(source, tmp_path, said)
    assert info == {"size": 1} == read_info(folder) == json.loads((folder / INFO).read_text())
    assert folder.parent == tmp_path / "prepared" and sealed.parent == tmp_path / "sealed"
    assert folder.name == sealed.name and folder.name.startswith("mine-smoke-")
    assert (folder / "train.txt").read_text() == "a" and not (folder / "test.txt").exists()
    assert (sealed / "test.txt").read_text() == "b" and not (sealed / "train.txt").exists()
    assert source.reads == 1 and said == [f"mine-smoke: prepared in {folder}"]


def test_prepared_data_is_reused_silently_and_without_reading(tmp_path: Path):
    first = prepare(Source(), tmp_path)
    source, said = Source(), list[str]()
    assert prepare(source, tmp_path, said) == first
    assert (source.reads, said) == (0, [])


def test_only_the_part_that_was_altered_is_made_again(tmp_path: Path):
    folder, sealed, _ = prepare(Source(), tmp_path)
    (sealed / "test.txt").write_text("forged")
    source, said = Source(), list[str]()
    prepare(source, tmp_path, said)
    assert (sealed / "test.txt").read_text() == "b" and source.reads == 1 and said == []


@pytest.mark.parametrize(
    "changes",
    [{"declared": {"file": "1" * 64}}, {"settings": {"seed": 2}}, {"inputs": {"code": "2"}}, {"inputs": {}}],
)
def test_anything_else_that_it_is_made_from_gives_another_folder(tmp_path: Path, changes: dict[str, Any]):
    folder, sealed, _ = prepare(Source(), tmp_path)
    other, other_sealed, _ = prepare(Source(), tmp_path, **changes)
    assert other != folder and other_sealed != sealed and folder.is_dir()


def test_data_of_a_foreign_reader_is_identified_by_its_content(tmp_path: Path):
    """Its code may change without a word, so that it is read each time."""
    first, _, _ = prepare(Source(), tmp_path, reproducible=False)
    source = Source()
    again, _, _ = prepare(source, tmp_path, reproducible=False)
    assert again == first and source.reads == 1
    changed, _, _ = prepare(Source(test="c"), tmp_path, reproducible=False)
    assert changed != first
    trusted, _, _ = prepare(Source(), tmp_path)
    assert prepare(Source(test="c"), tmp_path)[0] == trusted
