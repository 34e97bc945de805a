"""Plain text in a folder: documents, splits, duplicates and prepared rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import tasks
from benchmarks.api import UsageError
from benchmarks.tasks import prepare
from benchmarks.tasks.folders.documents import read, read_documents
from benchmarks.tasks.folders.lines import Report
from benchmarks.tasks.folders.sources import TaskFlags, find
from tests.unit.benchmarks.tasks.folders.sentences import pairs

DATA = {"valid": 5, "test": 6}


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_DECLARED", {})


def write(folder: Path, name: str = "news.txt") -> Path:
    folder.mkdir(exist_ok=True)
    english = [pair[0] for pair in pairs("en", "fr")]
    blocks = ["\n".join(english[i : i + 2]) for i in range(0, len(english), 2)]
    (folder / name).write_text("\n\n".join(blocks) + "\n")
    return folder


def test_documents_of_each_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n\nthree\r\n\n\n")
    expected = {"blank-lines": ["one\ntwo", "three"], "lines": ["one", "two", "three"]}
    expected["files"] = ["one\ntwo\nthree"]
    for how, documents in expected.items():
        assert read_documents(path, how, Report()) == documents
    assert read_documents(path, None, Report()) == expected["blank-lines"]
    path.write_text("one\ntwo\n")
    report = Report()
    assert read_documents(path, None, report) == ["one", "two"]
    assert report.facts == ["a.txt: each line is a document"]


def test_text_without_splits_is_split(tmp_path: Path) -> None:
    report = Report()
    texts = read(write(tmp_path / "t"), DATA, report)
    assert (len(texts.train), len(texts.valid), len(texts.tests["test"])) == (46, 5, 5)
    assert not {*texts.train} & {*texts.valid, *texts.tests["test"]}
    assert report.facts[0] == "documents: train 46, valid 5, test 5"


def test_given_splits_and_their_duplicates(tmp_path: Path) -> None:
    folder = write(tmp_path / "t", "train.txt")
    (folder / "dev.txt").write_text((folder / "train.txt").read_text()[:200])
    (folder / "test-a.txt").write_text("quite another text\n")
    report = Report()
    texts = read(folder, DATA, report)
    assert list(texts.tests) == ["test-a"]
    assert len(texts.train) == 56
    assert any(fact.startswith("duplicates: 2 of 3 documents of valid") for fact in report.facts)


@pytest.mark.parametrize(
    ("names", "splits", "train", "note"),
    [
        ("a b valid test", {}, "a b", "train: a, b, one after the other"),
        ("a b dev val test-1 eval", {}, "a b", "train: a, b, one after the other"),
        ("a valid test", {}, "a", "train: a, the only set without the name of a split"),
        ("a b held", {"valid": "held"}, "a b", "train: a, b, one after the other"),
        ("a b held valid", {"test": {"news": "held"}}, "a b", "train: a, b, one after the other"),
        ("a b test", {"test": 5}, "a b", "not used: test"),
        ("a b train valid", {}, "train", "not used: a, b"),
        ("a train valid", {"train": "a"}, "a", "not used: train"),
    ],
)
def test_training_text_is_of_files_that_no_other_split_claims(
    tmp_path: Path, names: str, splits: dict[str, object], train: str, note: str
) -> None:
    for name in names.split():
        (tmp_path / f"{name}.txt").write_text("".join(f"{name} {i}\n" for i in range(40)))
    report = Report()
    texts = read(tmp_path, {**DATA, "splits": splits}, report)
    assert {document.split()[0] for document in texts.train} == {*train.split()}
    assert note in report.facts and not any(fact.startswith("duplicates") for fact in report.facts)


def test_a_folder_without_text_or_training(tmp_path: Path) -> None:
    for name in ("valid", "test"):
        (tmp_path / f"{name}.txt").write_text("a text\n")
    with pytest.raises(UsageError, match="has no training data: none of test, valid begins with 'train'"):
        read(tmp_path, DATA, Report())
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(UsageError, match=r"has no text: \*\.txt, \*\.txt\.gz"):
        read(tmp_path, DATA, Report())
    (tmp_path / "a.txt").write_text("\n\n")
    with pytest.raises(
        UsageError, match=r"no document for train in a\.txt: 2 lines were read, none with text"
    ):
        read(tmp_path, DATA, Report())


@pytest.mark.parametrize(
    ("text", "splits", "message"),
    [
        ("one text\n", {}, "train has 1 documents: too few to draw test from"),
        ("text\n" * 50, {}, "none of the 50 documents of train can be drawn for test: equal ones stay"),
        ("one\ntwo\nthree\n", {"test": 9}, "test = 9, and train has 3 documents: too few to draw test from"),
    ],
)
def test_text_that_cannot_be_split_names_counts_and_reason(
    tmp_path: Path, text: str, splits: dict[str, object], message: str
) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(UsageError, match=message):
        read(tmp_path, {**DATA, "splits": splits}, Report())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("[check]\nvocab = 20", r"vocab = 20: single characters of the text need \d+ word pieces"),
        (
            "[check.recipe]\nbatch_tokens = 100000",
            r"the text of train fills \d+ rows of \d+ tokens, of \d+ that are needed",
        ),
        ("[check.recipe]\nbatch_tokens = 2", "batch_tokens is 2, and one row takes"),
    ],
)
def test_settings_that_the_text_does_not_fill_are_refused(
    tmp_path: Path, settings: str, message: str
) -> None:
    folder = write(tmp_path / "news")
    (folder / "task.toml").write_text(settings)
    task = find(f"mlm:{folder}", TaskFlags())
    with pytest.raises(UsageError, match=message):
        prepare(task, task.tier("check", "cpu"), tmp_path / "cache", None, lambda _: None)


def test_the_task_is_prepared_with_as_many_pieces_as_the_text_gives(tmp_path: Path) -> None:
    task: Any = find(f"mlm:{write(tmp_path / 'news')}", TaskFlags())
    assert (task.name, task.suite) == ("mlm-news", "bert")
    tier = task.tier("check", "cpu")
    ready = prepare(task, tier, tmp_path / "cache", None, lambda _: None)
    notes = task.notes(ready)
    assert any(note.startswith("vocabulary: ") for note in notes)
    assert ready.source_vocab < tier.vocab == 300
    assert len(task.training(ready)) > len(task.validation(ready)) > 0
    with pytest.raises(UsageError, match="are for text:FOLDER"):
        find(f"mlm:{tmp_path / 'news'}", TaskFlags("en", "fr"))
