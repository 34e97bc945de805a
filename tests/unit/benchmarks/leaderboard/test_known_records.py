"""A large board made from an index of known records is that made from the records themselves."""

import importlib
import json
import os
import shutil
import sys

import pytest

from benchmarks.api import InvalidRecordError
from benchmarks.leaderboard import build, index_files, known_records, tables
from benchmarks.leaderboard.site import run_files
from benchmarks.records import integrity, store, valid_contents
from tests.fake_records import fake, many, publish, run_again

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder of results with 130 records and the board made of them without an index."""
    folder = tmp_path_factory.mktemp("made")
    many(folder / "records", 128, methods=6, seeds=10, sentences=60)
    store.write(folder / "records", fake("hat"))  # one that claims look at
    hostile = fake("mos-layer", message="</script>\u202e\n\x1b[1m", status="failed")
    store.write(folder / "records", hostile)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "DETAILED", 100)
        patch.setattr("benchmarks.leaderboard.known_records.known_records", lambda _: None)
        build.build(folder)
    return folder


@pytest.fixture
def results(made, tmp_path, monkeypatch):
    """Return a copy of it in which boards are large, made by one process in pieces of 100 records."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(valid_contents, "_OPEN", {})
    monkeypatch.setattr(build, "DETAILED", 100)
    monkeypatch.setattr(build, "AT_ONCE", run_files.RUNS_A_FILE)
    monkeypatch.setattr(build, "usable_cpus", lambda: 1)
    shutil.copytree(made / "records", tmp_path / "results" / "records")
    return tmp_path / "results"


def contents(folder):
    """Return the bytes of every generated file."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not {"records", "local", "verified"} & set(path.relative_to(folder).parts[:1])
    }


def index(results):
    """Return the files of the index."""
    return sorted((results / "local" / "index").iterdir())


def again(monkeypatch, results, parsed=None, tabled=None):
    """Build again as another command would; note which records are parsed and which tables are made."""
    with monkeypatch.context() as patch:
        patch.setattr(valid_contents, "_OPEN", {})
        check, board = store.check, tables._board
        if parsed is not None:
            patch.setattr(store, "check", lambda path, *rest: parsed.append(path) or check(path, *rest))
        if tabled is not None:
            patch.setattr(tables, "_board", lambda *given: tabled.append(given) or board(*given))
        build.build(results)
    return contents(results)


def test_a_second_rendering_parses_no_record_and_writes_the_same(results, made, monkeypatch):
    build.build(results)
    assert contents(results) == contents(made)
    before, parsed, tabled = index(results), [], []
    assert again(monkeypatch, results, parsed, tabled) == contents(made)
    assert not parsed and not tabled and index(results) == before and len(before) > 2


def test_records_that_come_go_or_change_are_read_and_no_others(results, made, monkeypatch):
    build.build(results)
    paths = store.paths(results / "records")
    paths[40].unlink()
    new = store.write(results / "records", fake("hat", 2))
    record = json.loads(paths[110].read_text())
    record["candidates"][0]["valid"]["loss"] += 0.5
    paths[110].write_text(json.dumps(integrity.seal(record)))
    parsed = []
    second = again(monkeypatch, results, parsed)
    assert sorted(parsed) == sorted([paths[110], new])
    shutil.rmtree(results / "local")
    assert second == again(monkeypatch, results) != contents(made)


def test_a_record_that_was_changed_after_writing_is_refused_again(results, monkeypatch):
    build.build(results)
    path = store.paths(results / "records")[50]
    path.write_text(path.read_text().replace('"seed": ', '"seed":  1', 1))
    with pytest.raises(InvalidRecordError, match="changed after writing"):
        again(monkeypatch, results)


def test_a_known_record_in_another_place_is_refused(results, monkeypatch):
    build.build(results)
    path = store.paths(results / "records")[50]
    path.rename(path.parent.parent / "hat" / path.name) if (path.parent.parent / "hat").mkdir() is None else 0
    with pytest.raises(InvalidRecordError, match="belongs in"):
        again(monkeypatch, results)


def test_a_verdict_beside_a_known_record_is_shown(results, made, monkeypatch):
    build.build(results)
    record = next(r for r in map(store.load, store.paths(results / "records")) if r["status"] == "done")
    publish(results, run_again(record))
    assert again(monkeypatch, results) != contents(made)
    shutil.rmtree(results / "local")
    assert again(monkeypatch, results) == contents(results)


def hostile_files(results):
    """Yield one change of the index after the other."""
    parquet = importlib.import_module("pyarrow.parquet")
    files = index(results)
    kept = {path: path.read_bytes() for path in files}
    for path in (files[0], results / "local" / "index" / known_records.CATALOGUE):
        for data in (
            b"",
            b"PAR1" * 9,
            b"\x80\x04cos\nsystem\n",
            kept[path][:-9],
            kept[path][:200] + b"x" * 99,
        ):
            yield path, data
    # A well-formed index of somebody else's, with figures of their own.
    shard = next(path for path in files if path.name != known_records.CATALOGUE)
    table = parquet.read_table(shard)
    own = table.column("own").to_pylist()
    altered = [text.replace(b"0.4", b"0.9") for text in own]
    place = table.schema.get_field_index("own")
    import pyarrow

    parquet.write_table(
        table.set_column(place, table.schema.field(place), pyarrow.array(altered, pyarrow.binary())), shard
    )
    data = shard.read_bytes()
    shard.write_bytes(kept[shard])
    yield shard, data


def test_an_index_that_others_wrote_or_that_is_damaged_changes_nothing(results, made, monkeypatch):
    build.build(results)
    known = contents(made)
    for path, data in hostile_files(results):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        assert again(monkeypatch, results) == known, (path.name, data[:20])
        assert all(file.read_bytes() != data for file in index(results)), "it is written anew"


def test_a_form_that_does_not_fit_is_made_again(results, made, monkeypatch):
    build.build(results)
    read, parsed = index_files.read, []

    def wrong(path, columns):
        rows = read(path, columns)
        return [row | {"own": b"[1, 2]"} if "own" in row else row for row in rows]

    monkeypatch.setattr(index_files, "read", wrong)
    assert again(monkeypatch, results, parsed) == contents(made) and len(parsed) == 130


@pytest.mark.parametrize("path", [b"../../out.js", b"/tmp/out.js", b"\xff"])
def test_tables_with_files_elsewhere_are_made_again(results, made, monkeypatch, path):
    build.build(results)
    read, tabled = index_files.read, []

    def wrong(file, columns):
        rows = read(file, columns)
        return [*rows[:1], rows[1] | {"path": path}, *rows[2:]] if "path" in columns and rows else rows

    monkeypatch.setattr(index_files, "read", wrong)
    assert again(monkeypatch, results, tabled=tabled) == contents(made) and len(tabled) >= 3
    assert not list(results.parent.rglob("out.js"))


@pytest.mark.parametrize("data", [b"[1]", b'[{"order": 1}]', b"[" * 9999, b'[{"site": null}]'])
def test_tables_of_another_form_are_made_again(results, made, monkeypatch, data):
    build.build(results)
    read = index_files.read

    def wrong(file, columns):
        rows = read(file, columns)
        return [rows[0] | {"data": data}, *rows[1:]] if "path" in columns and rows else rows

    monkeypatch.setattr(index_files, "read", wrong)
    assert again(monkeypatch, results) == contents(made)


def test_an_index_that_leads_elsewhere_costs_no_file_there(results, made, monkeypatch, tmp_path):
    theirs = tmp_path / "documents"
    theirs.mkdir()
    (theirs / "letter.txt").write_text("dear")
    (theirs / "figures.parquet").write_text("mine")
    (results / "local").mkdir()
    (results / "local" / "index").symlink_to(theirs)
    os.mkfifo(theirs / known_records.CATALOGUE)
    assert again(monkeypatch, results) == contents(made)
    assert (theirs / "letter.txt").read_text() == "dear" and (
        theirs / "figures.parquet"
    ).read_text() == "mine"


def test_tables_of_a_folder_are_made_again_for_it_alone(results, made, monkeypatch):
    build.build(results)
    folder = store.paths(results / "records")[-1].parents[1]
    store.paths(folder)[-1].unlink()
    tabled, parsed = [], []
    assert again(monkeypatch, results, parsed, tabled) != contents(made)
    assert {run.facts["profile"] for given in tabled for run in given[1].runs} == {folder.name} and not parsed
    after = contents(results)
    shutil.rmtree(results / "local")
    assert again(monkeypatch, results) == after
    (results / "people.toml").write_text(
        f'[[run]]\nby = "Zo\u00eb"\nrecords = ["{store.paths(folder)[0].stem}"]\n', "utf-8"
    )
    named = again(monkeypatch, results)
    shutil.rmtree(results / "local")
    assert named == again(monkeypatch, results) != after


def test_other_code_reads_every_record_again(results, made, monkeypatch):
    build.build(results)
    parsed = []
    monkeypatch.setattr(index_files, "rules", lambda: b"other")
    assert again(monkeypatch, results, parsed) == contents(made) and len(parsed) == 130


def test_without_pyarrow_and_without_a_place_for_it_there_is_no_index(results, made, monkeypatch):
    (results / "local").write_text("a file where the folder would be")
    assert again(monkeypatch, results) == contents(made)
    (results / "local").unlink()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    build.build(results)
    assert not (results / "local").exists()


def test_check_takes_nothing_from_the_index(results, monkeypatch):
    build.build(results)
    monkeypatch.setattr(index_files, "read", lambda *_: pytest.fail("read the index"))
    assert build.check(results) == []


def test_the_index_is_smaller_than_the_records(results):
    build.build(results)
    size = sum(path.stat().st_size for path in index(results))
    assert size < 0.3 * sum(path.stat().st_size for path in store.paths(results / "records"))


def test_records_that_depend_on_other_code_are_not_kept(monkeypatch):
    record = fake("hat")
    assert known_records.is_kept(record)
    assert not known_records.is_kept(record | {"declared": {"profile": {}}})
    monkeypatch.setattr(known_records, "_foreign_tasks", lambda: frozenset((record["spec"]["task"],)))
    assert not known_records.is_kept(record)
