"""Published verdicts: a stranger's files until they are checked, then a column and a list."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks.analysis.table import build_table
from benchmarks.api import InvalidRecordError
from benchmarks.cli.main import main
from benchmarks.leaderboard import build
from benchmarks.records import attachments, integrity, runtime_latencies, store
from benchmarks.report import texts
from benchmarks.report.plots import gallery
from benchmarks.verification import compare, verdict_files
from tests.fake_records import fake, publish, run_again, study, timed_elsewhere

EVIL = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    monkeypatch.setattr(gallery, "images", lambda *_: {})


@pytest.fixture
def results(tmp_path):
    for record in study(("hat", "scratch"), 2, limits=(0.5, 0.8)):
        store.write(tmp_path / "records", record)
    return tmp_path


def only(results, method="hat", seed=1):
    found = store.load_all(results / "records")
    return next(r for r in found if r["spec"]["method"] == method and r["spec"]["seed"] == seed)


def forged(verdict, **changes):
    """A verdict that was changed and sealed anew."""
    made = json.loads(json.dumps(verdict | changes))
    return integrity.with_seal(made)


def test_the_board_shows_verdicts_of_second_runs(results):
    publish(results, run_again(only(results)))
    publish(results, run_again(only(results, "scratch", 2), quality=9.0))
    board = json.loads(build.build(results)["leaderboard.json"].read_text())
    told = {row["method"]: row["verified"] for row in board["groups"][0]["rows"]}
    assert told == {
        "hat": "quality reproduces; latency reproduces: 1 of 2 runs, 2026-02-03",
        "scratch": "quality does not reproduce; latency reproduces: 1 of 2 runs, 2026-02-03",
    }
    text = (results / "LEADERBOARD.md").read_text()
    assert "| quality reproduces; latency reproduces: 1 of 2 runs, 2026-02-03 |" in text
    assert "## Run again" in text
    assert "| quality does not reproduce; latency reproduces | 2026-02-03 |" in text
    assert "quality at limit" in text
    assert build.check(results) == []
    assert "verified" not in texts.cells(build_table([fake()])), "a local table has no such column"


def test_the_newest_verdict_that_answers_counts_and_one_failure_outweighs(results):
    record = only(results)
    good, bad = run_again(record, "2026-02-03"), run_again(record, "2026-02-01", quality=9.0)
    open_ = run_again(record, "2026-02-09", profile="undeclared", fingerprint="x")
    slow = run_again(record, "2026-02-02", ratio=3.0)
    assert [(v["quality"], v["latency"]) for v in (good, bad, open_, slow)] == [
        ("reproduces", "reproduces"),
        ("does not reproduce", "reproduces"),
        ("reproduces", "cannot tell"),
        ("reproduces", "does not reproduce"),
    ]
    files = [publish(results, v) for v in (good, bad, open_)]
    found = verdict_files.VERDICTS.of_record(record, files)
    assert [attachments.date(v) for v in found] == ["2026-02-09", "2026-02-03", "2026-02-01"]
    both = "quality reproduces; latency reproduces: 1 of 2 runs, 2026-02-09"
    assert verdict_files.row_status([found, []]) == both  # each part by the newest that answers it
    one = "quality does not reproduce; latency reproduces: 3 of 3 runs, 2026-02-03"
    assert verdict_files.row_status([[bad], [good], [open_]]) == one
    late = "quality reproduces; latency does not reproduce: 2 of 2 runs, 2026-02-09"
    assert verdict_files.row_status([[slow], [open_]]) == late
    assert (
        verdict_files.row_status([[open_]])
        == "quality reproduces; latency cannot tell: 1 of 1 run, 2026-02-09"
    )
    assert verdict_files.row_status([[], []]) == "self-reported"
    code = [("substrate", "a" * 64, "b" * 64)]
    under = run_again(record, "2026-02-10", code=code)
    told = "quality reproduces under other code; latency reproduces: 1 of 1 run, 2026-02-10"
    assert verdict_files.row_status([[under]]) == told


def at(verdict, time, fingerprint="m"):
    """The verdict of a run that ended at this time on this machine."""
    provenance = verdict["provenance"]
    machine = provenance["machine"] | {"fingerprint": fingerprint}
    return forged(verdict, provenance=provenance | {"ended": time, "machine": machine})


@pytest.mark.parametrize("part", ["quality", "latency"])
@pytest.mark.parametrize(
    ("against", "favour", "machine", "answer"),
    [
        ("2026-07-01T20:00:00+00:00", "2026-07-01T08:00:00+00:00", "m", compare.NO),
        ("2026-07-01T08:00:00+00:00", "2026-07-01T20:00:00+00:00", "m", compare.YES),
        ("2026-07-02T01:00:00+00:00", "2026-07-02T09:00:00+14:00", "m", compare.NO),
        ("2026-07-02T09:00:00+14:00", "2026-07-02T01:00:00+00:00", "m", compare.YES),
        ("2026-07-02T01:00:00", "2026-07-02T00:30:00+00:00", "m", compare.NO),
        ("2026-07-01T20:00:00+00:00", "2026-07-03T08:00:00+00:00", "other", compare.NO),
        ("2026-07-01T20:00:00+00:00", "2026-07-03T08:00:00+00:00", None, compare.NO),
    ],
)
def test_a_verdict_against_a_row_stands_until_its_machine_withdraws_it(
    results, part, against, favour, machine, answer
):
    record = only(results)
    fault = {"quality": {"quality": 9.0}, "latency": {"ratio": 3.0}}[part]
    for trial in range(6):  # of other seals, which decide nothing
        bad = at(run_again(record, **fault), against)
        good = at(run_again(record, quality=trial / 1000), favour, machine)
        listed = verdict_files.VERDICTS.of_record(record, [publish(results, v) for v in (bad, good)])
        assert verdict_files.answer_of(verdict_files.deciding_verdict(listed, part), part) == answer
        assert f"{part} {answer}" in verdict_files.row_status([listed])


def test_a_machine_without_a_fingerprint_withdraws_no_verdict(results):
    record = only(results)
    bad = at(run_again(record, quality=9.0), "2026-07-01T08:00:00+00:00", None)
    good = at(run_again(record), "2026-07-02T08:00:00+00:00", None)
    listed = verdict_files.VERDICTS.of_record(record, [publish(results, v) for v in (bad, good)])
    assert verdict_files.deciding_verdict(listed, "quality")["seal"] == bad["seal"]


@pytest.mark.parametrize("time", ["2099-01-01T00:00:00+00:00", "9999-12-31T23:59:59"])
def test_an_attachment_from_the_future_is_refused(results, capsys, time):
    latency = timed_elsewhere(only(results))
    provenance = latency["provenance"] | {"ended": time}
    for kind, made in (
        (verdict_files.VERDICTS, at(run_again(only(results)), time)),
        (runtime_latencies.LATENCIES, integrity.with_seal(latency | {"provenance": provenance})),
    ):
        path = kind.path(results, made)
        store.write_text(path, json.dumps(made))
        with pytest.raises(InvalidRecordError, match=r"field provenance\.ended: .* is in the future"):
            kind.load(path)
        assert main(["validate", str(path), "--results", str(results)]) == 1
        assert "is in the future by this machine's clock" in capsys.readouterr().out


def test_a_verdict_of_version_1_is_read_with_an_answer_for_each_part(results):
    record = only(results)
    for changes, quality, latency in (
        ({}, "reproduces", "reproduces"),
        ({"quality": 9.0}, "does not reproduce", "reproduces"),
        ({"ratio": 9.0}, "reproduces", "does not reproduce"),
        ({"profile": "undeclared"}, "reproduces", "cannot tell"),
    ):
        made = run_again(record, **changes)
        answer = compare.answer([check["holds"] for check in made["checks"]])
        old = {k: v for k, v in made.items() if k not in ("quality", "latency", "code", "seal")}
        old |= {"schema": "supernet-bench/verify/1", "answer": answer}
        read = verdict_files.VERDICTS.load(publish(results, integrity.with_seal(old)))
        assert (read["quality"], read["latency"], read["code"]) == (quality, latency, [])


def test_a_verdict_on_an_earlier_version_of_a_record_is_not_shown(results):
    record = only(results)
    publish(results, forged(run_again(record), record_seal="0" * 64))
    board = json.loads(build.build(results)["leaderboard.json"].read_text())
    assert {row["verified"] for row in board["groups"][0]["rows"]} == {"self-reported"}


def broken(record):
    made = run_again(record, quality=9.0)
    good = run_again(record)
    checks = [c | {"holds": True} for c in made["checks"]]
    wrong = [c | {"published": 1.0, "now": 1.0, "low": 0.0, "high": 2.0} for c in good["checks"]]
    fewer = [c for c in good["checks"] if c["limit"] == good["checks"][0]["limit"]]
    other = [c | {"limit": "9 x ref"} for c in good["checks"]]
    unbounded = [c | {"now": 999.0, "low": None, "high": None} for c in good["checks"]]
    below = [c | {"now": 999.0, "high": None} for c in good["checks"]]
    above = [c | {"now": -999.0, "low": None} for c in good["checks"]]
    against = [c | {"low": None, "high": None} for c in made["checks"]]
    return {
        ", against": forged(made, checks=checks, quality="reproduces"),
        "True, but 999 was held against no interval": forged(good, checks=unbounded),
        "999 was held against no interval": forged(good, checks=below),
        "-999 was held against no interval": forged(good, checks=above),
        "False, but .* was held against no interval": forged(made, checks=against),
        "not every check holds": forged(made, quality="reproduces"),
        "a check does not hold": forged(made, quality="cannot tell"),
        "without a check": forged(good, latency="does not reproduce"),
        "but the results are identical": forged(good, quality="does not reproduce", reasons=["x"]),
        "which may be the reason": forged(made, code=[{"part": "task", "published": "a", "now": "b"}]),
        "the record has": forged(good, checks=wrong),
        "figures of the record were not checked": forged(good, checks=fewer),
        "the record has no quality at limit 9 x ref": forged(good, checks=other),
        "no ISO time": forged(good, provenance=good["provenance"] | {"ended": EVIL}),
        "changed after writing": good | {"digest": "0" * 64},
        "Additional properties": forged(good, more=1),
        "is too long": forged(good, reasons=["x"] * 501),
        "is greater than the maximum": forged(good, checks=[c | {"high": 10**400} for c in good["checks"]]),
        "no published record": forged(good, record="0" * 16),
    }


WRONG = sorted(broken(fake(limits=(0.5,))))


@pytest.mark.parametrize("said", WRONG)
def test_a_verdict_that_is_not_in_order_stops_the_build(results, capsys, said):
    path = publish(results, broken(only(results))[said])
    with pytest.raises(InvalidRecordError, match=said) as caught:
        build.build(results)
    assert str(path) in str(caught.value) and not (results / "site").exists()
    assert main(["validate", str(results / "verified"), "--results", str(results)]) == 1
    assert re.search(said, capsys.readouterr().out)


def test_validate_takes_good_verdicts_and_names_stale_ones(results, capsys):
    publish(results, run_again(only(results)))
    assert main(["validate", str(results / "verified"), "--results", str(results)]) == 0
    assert capsys.readouterr().out == "1 file: ready to be published\n"
    publish(results, forged(run_again(only(results)), record_seal="0" * 64))
    assert main(["validate", str(results / "verified"), "--results", str(results)]) == 1
    assert "record_seal: of an earlier version" in capsys.readouterr().out


def test_a_file_not_named_as_a_verdict_is_refused(results):
    store.write_text(results / "verified" / "note.txt", "hello")
    with pytest.raises(InvalidRecordError, match="not named as a verdict"):
        build.build(results)
    (results / "verified" / "note.txt").unlink()
    path = publish(results, run_again(only(results)))
    path.rename(path.with_name("0" * 16 + ".json"))
    with pytest.raises(InvalidRecordError, match="belongs in verified"):
        build.build(results)
    path.with_name("0" * 16 + ".json").write_bytes(b" " * (attachments.LARGEST + 1))
    with pytest.raises(InvalidRecordError, match="larger than"):
        build.build(results)


def test_texts_of_a_verdict_are_shown_as_text(results):
    made = run_again(only(results), fingerprint="x")
    made["provenance"]["machine"] |= {"cpu": f"{EVIL}\x1b[31m\u202e"}
    made["differences"].append({"field": f"{EVIL} | *x*", "published": None, "now": EVIL})
    publish(results, forged(made, reasons=[f"{EVIL}\n| a | b |"]))
    text = build.build(results)["LEADERBOARD.md"].read_text()
    assert "<script" not in text.replace("\\<script", "") and "\x1b" not in text and "\u202e" not in text
    assert "another kind of machine: \\<script" in text and "\\*x\\*" in text
    data = "".join(p.read_text() for p in (results / "site" / "data").iterdir())
    assert "<script" not in data and "\\u003cscript" in data
