"""Records and tables as data frames and Parquet, and the names that methods import."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import supernet_bench
from benchmarks import api
from benchmarks.analysis import data_frames, parquet
from benchmarks.api import UsageError
from benchmarks.records import folders, release, store
from supernet_bench import results
from tests import ROOT
from tests.fake_records import fake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for method in ("hat", "mine"):
        for seed in (1, 2, 3):
            store.write(tmp_path / "pub" / "records", fake(method, seed))
    store.write(tmp_path / "pub" / "records", fake("hat", 1, profile="nvidia-h100.v1"))
    return tmp_path / "pub"


def test_the_public_names_are_those_of_the_interface() -> None:
    for name in supernet_bench.__all__:
        assert getattr(supernet_bench, name) is getattr(api, name)


def test_one_row_a_candidate_with_its_figures(folder: Path) -> None:
    frame, kept = results.frame(folder), results.records(folder)
    assert [*frame.columns] == [*data_frames.COLUMNS]
    assert len(frame) == sum(len(record["candidates"]) for record in kept)
    for record in kept:
        rows = frame[frame["id"] == record["id"]]
        for candidate in record["candidates"]:
            (row,) = rows[rows["candidate"] == candidate["index"]].to_dict("records")
            assert row["quality"] == candidate["test"]["pooled"]["bleu"]["value"]
            assert row["latency_ratio"] == candidate["latency"]["ratio"]
            assert row["seconds"] == record["ledger"]["totals"]["seconds"]
    assert frame["headline"].any() and frame["headline"].dtype == bool


def test_a_failed_run_has_a_row_without_figures() -> None:
    failed = {**fake("hat", 1), "status": "failed", "candidates": []}
    (row,) = data_frames.frame([failed]).to_dict("records")
    assert row["status"] == "failed" and pd.isna(row["quality"]) and not row["headline"]


def test_a_table_by_its_task_and_profile(folder: Path) -> None:
    table = results.table(profile="cpu-2core-avx512.v1", folder=folder)
    assert {*table["method"]} >= {"hat", "mine"}
    assert table[table["method"] == "mine"]["n"].tolist()[0] == 3
    with pytest.raises(UsageError, match=r"2 tables are of[\s\S]*nvidia-h100\.v1"):
        results.table(folder=folder)
    with pytest.raises(UsageError, match="0 tables"):
        results.table(task="none", folder=folder)
    assert len(results.tables(folder)) == 2


def test_a_record_by_the_start_of_its_id(folder: Path) -> None:
    first = results.records(folder)[0]
    assert results.record(first["id"][:12], folder) == first
    for id in ("", "zz"):
        with pytest.raises(UsageError, match="records begin with"):
            results.record(id, folder)


def test_parquet_comes_with_a_description_of_every_column(folder: Path, tmp_path: Path) -> None:
    written = results.export(tmp_path / "out", folder)
    assert [path.name for path in written] == ["candidates.parquet", "tables.parquet", "croissant.json"]
    described = json.loads(written[-1].read_text())
    assert described["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert described["version"] == f"{parquet.SCHEMA}.0.0"
    files = {entry["@id"]: entry for entry in described["distribution"]}
    for path in written[:-1]:
        assert files[path.name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    sets = {entry["name"]: entry for entry in described["recordSet"]}
    for name in ("candidates", "tables"):
        content = pd.read_parquet(tmp_path / "out" / f"{name}.parquet")
        assert [field["source"]["extract"]["column"] for field in sets[name]["field"]] == [*content.columns]
        assert all(field["source"]["fileObject"]["@id"] == f"{name}.parquet" for field in sets[name]["field"])
        assert all(field["description"] not in ("", field["name"]) for field in sets[name]["field"])
    again = pd.read_parquet(tmp_path / "out" / "candidates.parquet")
    assert again["quality"].tolist() == results.frame(folder)["quality"].tolist()
    with pytest.raises(UsageError, match="is not empty"):
        results.export(tmp_path / "out", folder)


def test_the_reference_reader_of_croissant_reads_as_pandas_does(folder: Path, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip(
        "mlcroissant", reason="validates the description: pip install mlcroissant"
    )
    results.export(tmp_path / "out", folder)
    described = mlcroissant.Dataset(jsonld=tmp_path / "out" / "croissant.json")
    issues = described.metadata.ctx.issues
    assert (issues.errors, issues.warnings) == (set(), set())
    for name in ("candidates", "tables"):
        expected = pd.read_parquet(tmp_path / "out" / f"{name}.parquet")
        rows = list(described.records(name))
        assert len(rows) == len(expected) > 0
        for row, (_, other) in zip(rows, expected.iterrows(), strict=True):
            for column, value in other.items():
                read = row[f"{name}/{column}"]
                read = read.decode() if isinstance(read, bytes) else read
                assert (read is None or read != read) if pd.isna(value) else read == value, column


def test_every_column_of_a_table_is_explained_by_its_quantity(folder: Path) -> None:
    columns = parquet.all_tables(results.records(folder)).columns
    assert {*parquet.TABLE_COLUMNS} <= {*columns}
    assert parquet.meaning("p50_high") == (
        "upper end of the 95 % interval: mean over seeds of median latency, ms"
    )
    assert parquet.meaning("ratio_interval").startswith("what the interval of ratio is over")


def test_a_projects_own_benchmarks_is_not_executed(tmp_path: Path) -> None:
    for name in ("benchmarks", "supernet"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not to be executed')\n")
    code = f"import sys; sys.path.append({str(ROOT)!r})\nfrom supernet_bench import Method, Option\n"
    code += "class Mine(Method):\n    name = 'mine'\n    options = (Option('a', int, 1, help='b'),)\n"
    code += "    def search(self, lab): return ()\nprint(Mine().supports.__self__.name)\n"
    code += "try:\n    from supernet_bench import results\nexcept ImportError as error:\n    print(error)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env={"PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mine\nanother package named 'benchmarks' comes before")


def test_a_method_of_the_public_name_is_one(tmp_path: Path) -> None:
    from benchmarks import registry

    text = "from {} import Method\nclass Mine(Method):\n    name = 'mine'\n    def search(self, lab): ...\n"
    refs = []
    for module in ("supernet_bench", "benchmarks.api"):
        path = tmp_path / module.replace(".", "_") / "mine.py"
        path.parent.mkdir()
        path.write_text(text.format(module))
        refs.append(registry.find(f"{path}:Mine"))
    assert refs[0].name == "mine" and refs[0].sha256 == refs[1].sha256


def test_records_that_came_with_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    packed = tmp_path / "published.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("records/t/p/m/0.json", "{}")
    monkeypatch.setattr(release, "PACKED", packed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = folders.published_results()
    assert (place / "records/t/p/m/0.json").read_text() == "{}" and tmp_path / "cache" in place.parents
    assert folders.published_results() == place
    assert release.unpack(Path("results")) == (1, 0)
    assert folders.published_results() == folders.PUBLISHED
    mine = {"local/a": "1", "records/t/p/m/0.json": "2", "studies/b": "3"}  # as runs and studies leave them
    for name, text in mine.items():
        (tmp_path / "used" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "used" / name).write_text(text)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("studies/c", "")
    for _ in range(2):
        assert release.unpack(Path("used")) == (2, 1)
        kept = {path.relative_to("used").as_posix() for path in Path("used").rglob("*") if path.is_file()}
        assert kept == {*mine, "studies/c"}
        assert all((tmp_path / "used" / name).read_text() == text for name, text in mine.items())
    with pytest.raises(UsageError, match="is no folder"):
        release.unpack(packed)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../evil", "{}")
    with pytest.raises(UsageError, match="is not ours"):
        release.unpack(Path("other"))
    assert not (tmp_path / "evil").exists() and not Path("other").exists()
    packed.write_bytes(b"no zip")
    with pytest.raises(UsageError, match="cannot be unpacked"):
        release.unpack(Path("other"))
    packed.unlink()
    with pytest.raises(UsageError, match="a clone has them"):
        release.unpack(Path("other"))
