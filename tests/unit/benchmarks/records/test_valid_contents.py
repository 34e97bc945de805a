"""Valid contents of record files that are kept between commands."""

import json
import shutil

import pytest

from benchmarks.api import InvalidRecordError
from benchmarks.records import integrity, store, valid_contents
from tests.fake_records import many


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder of records, made once."""
    folder = tmp_path_factory.mktemp("made") / "records"
    many(folder, 3, methods=3, seeds=1, sentences=100)
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """Return a folder of records under a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(valid_contents, "_OPEN", {})
    shutil.copytree(made, tmp_path / "records")
    return tmp_path / "records"


def test_a_second_reading_checks_nothing_and_gets_the_same(folder, monkeypatch):
    first = store.load_all(folder)
    assert len(first) == 3 and len(valid_contents.list_file().read_text().split()) == 3
    monkeypatch.setattr(valid_contents, "_OPEN", {})  # another process
    monkeypatch.setattr(integrity, "intact", None)
    assert store.load_all(folder) == first


def test_a_file_changed_by_one_byte_is_checked_again(folder):
    store.load_all(folder)
    path = store.paths(folder)[0]
    text = path.read_text()
    record = json.loads(text)
    record["spec"]["seed"] += 1
    path.write_text(json.dumps(record))
    with pytest.raises(InvalidRecordError, match="changed after writing"):
        store.load(path)
    path.write_text(text)
    store.load(path)
    path.write_text(text + "x")
    with pytest.raises(InvalidRecordError, match="not JSON"):
        store.load(path)


def test_a_known_content_under_another_name_is_refused(folder):
    store.load_all(folder)
    path = store.paths(folder)[0]
    other = path.rename(path.with_name("0123456789abcdef.json"))
    with pytest.raises(InvalidRecordError, match="not the file's name"):
        store.load(other)


def test_an_invalid_file_is_never_noted(folder):
    path = store.paths(folder)[0]
    path.write_text(path.read_text().replace('"seed": ', '"seed": 1'))
    store.load_all(folder, [])
    assert valid_contents.content_digest(path.read_bytes()) not in valid_contents.contents()
    assert len(valid_contents.list_file().read_text().split()) == 2


def test_other_rules_have_a_list_of_their_own(folder, monkeypatch):
    before = valid_contents.list_file()
    monkeypatch.setattr(valid_contents, "rules", lambda: "0" * 16)
    assert valid_contents.list_file() != before and not valid_contents.contents()._known


def test_a_list_that_is_too_long_is_begun_anew_and_a_torn_line_harms_nothing(folder, monkeypatch):
    store.load_all(folder)
    file = valid_contents.list_file()
    file.write_bytes(b"torn" + file.read_bytes())
    assert len(valid_contents.CheckedContents(file)._known & {*file.read_bytes().split()}) == 3
    monkeypatch.setattr(valid_contents, "LARGEST", 10)
    assert not valid_contents.CheckedContents(file)._known and not file.exists()


def test_a_cache_that_cannot_be_written_stops_no_reading(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(store.load_all(folder)) == 3
