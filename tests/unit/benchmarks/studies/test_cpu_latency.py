"""The study of INT8 on a processor: what it takes from records, its rule, its pictures."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.hardware import profiles
from benchmarks.records.store import write_text
from benchmarks.records.study_files import to_files
from benchmarks.studies import cpu_latency, published_winners
from benchmarks.studies.cpu_latency import TimedWinner, verdict
from benchmarks.tasks import get_task
from benchmarks.tasks.tiers import Tier, read_tier
from supernet.cost import Cost
from tests import ROOT

RECORDS = ROOT / "results" / "records" / "bert-enwiki" / "nvidia-h100.v1"
ONE = TimedWinner("m", "3.4-4 M", 1, 10, 2.0, 1.0, 2.0, 0.5, 0.4, 0.6, 40, 10, 0.0, "lat:p50|n:128|prof:x")


def first(tmp_path: Path, *methods: str) -> Path:
    for method in methods:
        source = sorted((RECORDS / method).glob("*.json"))[0]
        target = tmp_path / "bert-enwiki" / "nvidia-h100.v1" / method / source.name
        target.parent.mkdir(parents=True)
        shutil.copy(source, target)
    return tmp_path


def test_winners_of_former_settings_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(profiles, "matching", lambda: "cpu-2core-avx512.v1")
    folder = first(tmp_path, "supershaper")
    with pytest.raises(
        UsageError, match="all 1 records .* former settings, .*: git switch --detach [0-9a-f]{40}, or"
    ):
        cpu_latency.run(folder, print)


@pytest.mark.slow
def test_published_winners_are_timed_as_in_their_records(tmp_path, monkeypatch) -> None:
    """With the tier's settings of their time: its table of positions, its workload."""
    monkeypatch.setattr(profiles, "matching", lambda: "cpu-2core-avx512.v1")
    task = get_task("bert-enwiki")

    def then(name: str, device: str) -> Tier:
        today = read_tier(task.tables, task.name, name, device)
        model, workload = today.model | {"max_positions": 32}, today.workload | {"source_len": 32}
        return replace(today, model=model, workload=workload)

    monkeypatch.setattr(task, "tier", then)
    monkeypatch.setattr(published_winners, "has_former_settings", lambda spec: False)
    monkeypatch.setattr(published_winners, "has_own_allowance", lambda record: True)
    folder = first(tmp_path, "nas-bert", "supershaper", "hand-designed+int8-uniform", "teacher")
    said: list[str] = []
    outcome = cpu_latency.run(folder, said.append)
    timings = [TimedWinner(**one) for one in outcome.facts["timings"]]
    assert {one.method for one in timings} == {"nas-bert", "supershaper"} and len(timings) == 4
    assert len(said) == 4 * cpu_latency.ROUNDS
    for one, row in zip(timings, outcome.rows, strict=False):
        low, high = (float(end) * 1e6 for end in one.limit.removesuffix(" M").split("-"))
        assert low <= one.parameters <= high, "not the network that was searched"
        assert one.int8_bytes < one.fp32_bytes and "prec:int8|" in one.signature
        assert row[-1] in ("faster", "slower", "undecided")
    assert all(picture for picture in outcome.pictures.values())


def timed(ratio: float) -> tuple[dict[str, float | str], Cost, Cost]:
    """One round of a network whose INT8 form takes ``ratio`` of 4 ms."""
    latency = {"fp32_p50": 4.0, "p50": 4 * ratio, "reference_p50": 5.0, "fp32_ratio": ratio}
    cost = Cost(params=10, params_body=5, macs=100, macs_body=50, bytes=40)
    return {**latency, "others_cpu": 0.0, "signature": "lat:p50"}, cost, replace(cost, bytes=10)


def test_equal_networks_are_timed_once_in_each_round(tmp_path, monkeypatch) -> None:
    """The interval is over rounds, so that what changes from one build to the next is in it."""
    monkeypatch.setattr(profiles, "matching", lambda: "cpu-2core-avx512.v1")
    monkeypatch.setattr(published_winners, "has_former_settings", lambda spec: False)
    monkeypatch.setattr(published_winners, "has_own_allowance", lambda record: True)
    monkeypatch.setattr(cpu_latency, "network_key", lambda record, candidate: str(candidate["index"] > 0))
    built: list[int] = []

    def time_network(record, candidate, profile):
        built.append(candidate["index"])
        return timed(0.9 if built.count(candidate["index"]) % 3 else 1.2)  # whatever the order

    monkeypatch.setattr(cpu_latency, "time_network", time_network)
    outcome = cpu_latency.run(first(tmp_path, "nas-bert", "supershaper"), print)
    timings = [TimedWinner(**one) for one in outcome.facts["timings"]]
    assert len(timings) == 4 and len(built) == 2 * cpu_latency.ROUNDS and len(set(built[:2])) == 2
    for one in timings:
        assert one.ratio == pytest.approx((4 * 0.9 + 2 * 1.2) / 6) and one.low < 0.95 and one.high > 1.05
    assert {row[-1] for row in outcome.rows} == {"undecided"}
    for name, content in to_files("cpu-latency", outcome, "0" * 40, None).items():
        write_text(tmp_path / f"cpu-latency.{name}", content)
    again = cpu_latency.rejudge(tmp_path / "cpu-latency.json")
    assert again.rows == outcome.rows and again.facts["timings"] == outcome.facts["timings"]
    assert again.notes[:-1] == outcome.notes and "Timed at commit 000000000000;" in again.notes[-1]


def test_the_published_file_judged_again_has_its_figures() -> None:
    path = ROOT / "results" / "studies" / "cpu-latency.json"
    page, again = json.loads(path.read_text("utf-8"))["page"], cpu_latency.rejudge(path)
    notes = [note for note in page["notes"] if not note.startswith("Timed at commit")]
    assert [list(row) for row in again.rows] == page["rows"] and again.notes[:-1] == notes


def test_the_verdict_needs_one_side_of_every_network() -> None:
    slow, unsure = replace(ONE, low=1.1, high=1.2), replace(ONE, low=0.9, high=1.1)
    assert verdict([ONE, ONE]) == "faster" and verdict([slow]) == "slower"
    assert verdict([ONE, slow]) == verdict([ONE, unsure]) == verdict([slow, unsure]) == "undecided"


def test_networks_that_cannot_be_timed_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(profiles, "matching", lambda: None)
    with pytest.raises(UsageError, match="this machine is none: supernet-bench doctor"):
        cpu_latency.run(tmp_path, print)
    monkeypatch.setattr(profiles, "matching", lambda: "cpu-2core-avx512.v1")
    with pytest.raises(UsageError, match="no encoders of tier small"):
        cpu_latency.run(tmp_path, print)


def test_networks_of_seeds_are_counted_once_where_they_are_equal() -> None:
    assert cpu_latency.networks_of([ONE, replace(ONE, seed=2), replace(ONE, seed=3, fp32_ms=9.0)]) == 2
