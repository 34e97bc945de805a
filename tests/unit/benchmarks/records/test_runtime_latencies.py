"""Published latencies in other runtimes: a stranger's files until checked, then columns of the board."""

from __future__ import annotations

import json

import pytest

from benchmarks.analysis.table import build_table
from benchmarks.api import InvalidRecordError
from benchmarks.cli.main import main
from benchmarks.leaderboard import build
from benchmarks.records import integrity, runtime_latencies, store
from benchmarks.report import texts
from benchmarks.report.plots import gallery
from tests.fake_records import fake, study, timed_elsewhere

EVIL = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    monkeypatch.setattr(gallery, "images", lambda *_: {})


@pytest.fixture
def results(tmp_path):
    for record in study(("hat", "scratch"), 2, limits=(0.5,)):
        store.write(tmp_path / "records", record)
    return tmp_path


def only(results, method="hat", seed=1):
    found = store.load_all(results / "records")
    return next(r for r in found if r["spec"]["method"] == method and r["spec"]["seed"] == seed)


def publish(results, made):
    return runtime_latencies.LATENCIES.write(results, made)


def forged(made, **changes):
    """A latency that was changed and sealed anew; ``latency`` adds to it."""
    copy = json.loads(json.dumps(made))
    copy["latency"] |= changes.pop("latency", {})
    return integrity.with_seal(copy | changes)


def test_the_board_has_a_column_for_each_runtime_and_precision(results):
    publish(results, timed_elsewhere(only(results), ms=2.0))
    publish(results, timed_elsewhere(only(results, seed=2), ms=4.0))
    publish(results, timed_elsewhere(only(results, "scratch"), ms=1.0, policy="int8"))
    publish(results, timed_elsewhere(only(results), ms=9.0, profile="cpu-2core-avx2.v1"))
    board = json.loads(build.build(results)["leaderboard.json"].read_text())
    (group,) = board["groups"]
    named = [row["method"] for row in group["rows"]]
    told = {title: dict(zip(named, column, strict=True)) for title, column in group["elsewhere"].items()}
    assert list(told) == [
        "ms (ONNX Runtime 1.32.0, fp32)",
        "ms (ONNX Runtime 1.32.0, fp32, on cpu-2core-avx2.v1)",
        "ms (ONNX Runtime 1.32.0, int8)",
    ]
    both = told["ms (ONNX Runtime 1.32.0, fp32)"]
    assert both["scratch"] is None
    assert (both["hat"]["ms"], both["hat"]["runs"], both["hat"]["interval"]) == (3.0, 2, "seeds")
    assert both["hat"]["ms_low"] < 2 and both["hat"]["ms_high"] > 4 and both["hat"]["ratio"] == 0.5
    one = told["ms (ONNX Runtime 1.32.0, int8)"]["scratch"]
    assert (one["ms"], one["ms_low"], one["ms_high"], one["of"]) == (1.0, 0.95, 1.05, 2)
    text = (results / "LEADERBOARD.md").read_text()
    assert "ms (ONNX Runtime 1.32.0, fp32) |" in text and "rt:ort-1.32.0" in text
    assert "1.00 \\[0.95, 1.05\\] t, 0.50 x PyTorch (1 of 2 runs)" in text
    assert build.check(results) == []
    mixed = {row["method"]: row["p50"] for row in group["rows"]}
    assert mixed == {row["method"]: row["p50"] for row in _bare(results)["groups"][0]["rows"]}
    assert not [x for x in texts.cells(build_table([fake()])) if "Runtime" in x], "a local table has none"


def _bare(results):
    """The board without what lies beside the records."""
    (results / "runtimes").rename(results / "elsewhere")
    return json.loads(build.build(results)["leaderboard.json"].read_text())


def test_the_newest_latency_counts(results):
    publish(results, timed_elsewhere(only(results), ms=2.0, day="2026-02-01"))
    publish(results, timed_elsewhere(only(results), ms=3.0, day="2026-02-02"))
    board = json.loads(build.build(results)["leaderboard.json"].read_text())
    (column,) = board["groups"][0]["elsewhere"].values()
    text = (results / "LEADERBOARD.md").read_text()
    assert "compared with no other column" in text and "processors meanwhile" not in text
    publish(results, timed_elsewhere(only(results, "scratch"), load=1.2))
    build.build(results)
    assert "Other programs took up to 1.2 processors meanwhile" in (results / "LEADERBOARD.md").read_text()
    assert sorted(x["ms"] for x in column if x) == [3.0]


def broken(record):
    made = timed_elsewhere(record)
    return {
        "changed after writing": made | {"latency": made["latency"] | {"p50": 1.5}},
        "belongs in runtimes": forged(made, record="0" * 16),
        "no candidate 7": forged(made, candidate=7),
        "another network": forged(made, weights_sha256="0" * 64),
        "deployed without": forged(made, policy="deployed"),
        "outside its own interval": forged(made, latency={"p50_low": 3.0, "p50_high": 3.1}),
        "is not the median": forged(made, latency={"pytorch_p50": 9.0}),
        "rt is 'ort-1.32.0'": forged(made, runtime="ctranslate2-4.8.5"),
        "prof is 'cpu-2core-avx512.v1'": forged(made, profile="nvidia-h200.v1"),
        "n is '64', due is 65": forged(made, latency={"n": 65}),
        "below the median": forged(made, latency={"p90": 1.0}),
        "no ISO time": forged(made, provenance=made["provenance"] | {"ended": "then"}),
        "does not match": forged(made, runtime=EVIL),
    }


WRONG = sorted(broken(fake(limits=(0.5,))))


@pytest.mark.parametrize("said", WRONG)
def test_a_latency_that_is_not_in_order_stops_the_build(results, capsys, said):
    made = broken(only(results))[said]
    path = results / "runtimes" / only(results)["id"] / f"{made['seal'][:16]}.json"
    store.write_text(path, json.dumps(made))
    with pytest.raises(InvalidRecordError, match=said) as caught:
        build.build(results)
    assert str(path) in str(caught.value) and not (results / "site").exists()
    assert main(["validate", str(results / "runtimes"), "--results", str(results)]) == 1
    told = capsys.readouterr().out
    assert str(path) in told and (said in told or "no published record" in told)


def test_validate_takes_good_ones_and_names_the_others(results, capsys):
    record = only(results)
    publish(results, timed_elsewhere(record))
    assert main(["validate", str(results / "runtimes"), "--results", str(results)]) == 0
    assert capsys.readouterr().out == "1 file: ready to be published\n"
    good = timed_elsewhere(record, ms=3.0)
    dirty = {**good["provenance"], "dirty_sha256": "0" * 64}
    for made, said in (
        (forged(good, provenance=dirty), "provenance.dirty_sha256: made with changes"),
        (forged(good, provenance={**good["provenance"], "machine": {}}), "machine: lacks"),
        (forged(good, record_seal="0" * 64), "record_seal: of an earlier version"),
        (forged(good, record="0" * 16), "record: no published record"),
    ):
        path = publish(results, made)
        assert main(["validate", str(path), "--results", str(results)]) == 1
        assert said in capsys.readouterr().out
        path.unlink()


def test_texts_of_a_latency_are_shown_as_text(results):
    made = timed_elsewhere(only(results))
    checks = [{"what": EVIL, "value": "\u202e" + EVIL, "signature": EVIL}]
    publish(results, forged(made, checks=checks))
    build.build(results)
    pages = b"".join(p.read_bytes() for p in (results / "site").rglob("*.js"))
    assert EVIL.encode() not in pages and "\u202e".encode() not in pages and b"alert(1)" in pages
