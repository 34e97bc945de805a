"""The index of all records: each record in it once, with the figures that tables have."""

import sys

import pytest

from benchmarks.analysis import data_frames
from benchmarks.comparability import run_summary
from benchmarks.leaderboard.record_index import COLUMNS, FILE, RecordIndex, table_of
from benchmarks.records import store
from tests.fake_records import fake, study


def index_of(folder, groups):
    """Return the index of some groups of records as a data frame."""
    pandas = pytest.importorskip("pandas")
    with RecordIndex(folder) as index:
        for records in groups:
            index.add([table_of([run_summary.summarize(record, keep=False)]) for record in records])
    return pandas.read_parquet(folder / FILE)


def test_the_index_has_every_record_and_the_figures_of_the_frame(tmp_path):
    pytest.importorskip("pyarrow")
    records = [*study(("hat", "mos-neuron"), 2), fake("hat", profile="nvidia-h200.v1")]
    for record in records:
        store.write(tmp_path / "records", record)
    kept = store.load_all(tmp_path / "records")
    table = index_of(tmp_path, [kept[:2], kept[2:], []])
    assert list(table.columns) == list(COLUMNS)
    assert {*table["path"]} == {store.place(record) for record in kept}
    frame = data_frames.frame(kept)
    heads = frame[frame["headline"]].sort_values(["method", "profile", "seed", "candidate"])
    table = table.sort_values(["method", "profile", "seed", "candidate"])
    assert len(table) == len(heads) > len(kept)
    for column in (
        "task",
        "limit",
        "quality",
        "quality_low",
        "latency_ratio",
        "parameters",
        "macs",
        "origin",
    ):
        assert table[column].tolist() == heads[column].tolist(), column


def test_a_run_without_a_candidate_has_a_row(tmp_path):
    pytest.importorskip("pyarrow")
    record = fake("hat", status="failed")
    record["candidates"] = []
    table = index_of(tmp_path, [[record]])
    assert table["status"].tolist() == ["failed"] and table["limit"].isna().all()


def test_without_pyarrow_no_index_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with RecordIndex(tmp_path) as index:
        index.add([table_of([run_summary.summarize(fake("hat"), keep=False)])])
    assert not (tmp_path / FILE).exists()
