"""Flags on conduct: a cost that the charges do not explain, more threads than declared."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.comparability import flags, run_summary
from tests.fake_records import fake

METHODS = ("hat", "mos-layer", "mos-neuron", "scratch")


def run(method: str, cpu: float, threads: int = 2, isolation: str = "mount,pid", **more: Any) -> Any:
    """A run of 2,000,000 charged tokens with so many processor seconds."""
    work = {"cpu_seconds": cpu, "threads": threads, "wall_seconds": cpu}
    oversight = {"isolation": isolation, "sessions": 1, "work": work}
    return run_summary.summarize(fake(method, oversight=oversight, **more), keep=False)


def flagged(*runs: Any) -> dict[str, list[str]]:
    marked = flags.flags(runs)
    return {one.method: marked[one.id] for one in runs if one.id in marked}


def test_a_cost_far_above_that_of_the_others_is_flagged():
    honest = [run(method, 100.0 + 10 * i) for i, method in enumerate(METHODS)]
    assert flagged(*honest) == {}
    assert flagged(*honest, run("random-search", 2.9 * 115)) == {}
    (text,) = flagged(*honest, run("random-search", 5 * 115))["random-search"]
    assert text.startswith("cost: 575 processor or GPU seconds for") and "5.0 times" in text


def test_too_few_others_flag_nothing():
    assert flagged(run("hat", 100.0), run("scratch", 100.0), run("mos-layer", 9e4)) == {}


def test_a_run_of_few_tokens_may_use_a_share_of_an_ordinary_runs_seconds():
    honest = [run(method, 100.0) for method in METHODS]
    cheap = honest[0].conduct._replace(tokens=0.0, seconds=59.0)
    assert flagged(*honest, run("random-search", 1.0)._replace(conduct=cheap)) == {}
    dear = cheap._replace(seconds=61.0)
    assert "random-search" in flagged(*honest, run("random-search", 1.0)._replace(conduct=dear))


@pytest.mark.parametrize(("threads", "marked"), [(2, False), (4, False), (5, True), (16, True)])
def test_more_threads_than_declared_are_flagged(threads: int, marked: bool):
    found = flagged(run("hat", 100.0, threads=threads))
    assert bool(found) == marked
    if marked:
        assert found["hat"] == [f"threads: {threads} at once, the profile declares 2"]


def test_older_records_are_read_as_not_isolated():
    old = run_summary.summarize(fake("hat"), keep=False)
    assert old.conduct.isolation == "none" and old.conduct.threads is None
    assert flags.isolation_note([old, run("scratch", 1.0)]).startswith("Isolation: none in 1 of 2 runs")
    assert flags.isolation_note([run("scratch", 1.0)]) == ""


def test_flags_stand_under_the_table_and_in_validate(tmp_path, capsys):
    from benchmarks.analysis.table import build_table
    from benchmarks.cli.main import main
    from benchmarks.records import store

    def record(method: str, cpu: float) -> Any:
        work = {"cpu_seconds": cpu, "threads": 9, "wall_seconds": cpu}
        return fake(method, oversight={"isolation": "none", "sessions": 1, "work": work})

    records = [record(method, 100.0) for method in METHODS] + [record("random-search", 1000.0)]
    notes = build_table(records).notes
    assert any(n.startswith("Flagged: random-search, seed 1: cost: 1,000") for n in notes), notes
    assert sum("threads: 9 at once" in n for n in notes) == 5
    for one in records:
        store.write(tmp_path / "records", one)
    main(["validate", str(tmp_path / "records"), "--results", str(tmp_path / "none")])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("flag: ")]
    assert len(lines) == 6 and sum("cost" in line for line in lines) == 1


def test_tokens_are_those_charged_for_training_without_inherited_ones():
    record = fake("hat")
    entries = [("supernet", "tokens", 5.0), ("inherited", "tokens", 70.0), ("search", "probes", 900.0)]
    record["ledger"]["entries"] = [dict(zip(("phase", "kind", "amount"), e, strict=True)) for e in entries]
    assert flags.conduct_of(record).tokens == 5.0
    for number, entry in enumerate(record["ledger"]["entries"]):
        entry["phase"] = f"trial {number + 9}: {entry['phase']}"
    assert flags.conduct_of(record).tokens == 5.0


def test_seconds_of_an_older_record_are_the_processors_unless_its_profile_has_a_gpu():
    record = fake("hat")
    record["ledger"]["cpu_seconds"] = {"search": 12.0}
    assert flags.conduct_of(record).seconds == 12.0
    record["spec"]["profile"] = "nvidia-h100.v1"
    assert flags.conduct_of(record).seconds is None


def test_three_other_methods_are_enough_and_three_times_their_cost_is_not_too_much():
    others = [run(method, 100.0) for method in METHODS[:3]]
    tokens = others[0].conduct.tokens
    assert flagged(*others, run("random-search", 300.0)) == {}
    assert "random-search" in flagged(*others, run("random-search", 300.1))
    assert tokens > 0 and flagged(*others[:2], run("random-search", 900.0)) == {}
