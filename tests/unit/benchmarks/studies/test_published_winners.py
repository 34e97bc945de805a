"""Records that studies of published winners load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from benchmarks.api import UsageError
from benchmarks.hardware import profiles
from benchmarks.records import integrity, store
from benchmarks.records.record import Record
from benchmarks.runs.plan import scale_budget
from benchmarks.studies import cpu_latency, published_winners
from benchmarks.studies.mt_front import study as mt_front
from benchmarks.studies.published_winners import OmittedRecords, load_present, method_name
from benchmarks.tasks import get_task
from tests import ROOT
from tests.fake_records import LIMITS, fake


@pytest.fixture(autouse=True)
def settings_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take all records for records of today's settings, and this machine for a declared one."""
    monkeypatch.setattr(published_winners, "has_former_settings", lambda spec: False)
    monkeypatch.setattr(profiles, "matching", lambda: "cpu-2core-avx512.v1")


def made(
    ended: str = "2026-01-01",
    source: str = "a",
    scale: float = 1.0,
    changes: Mapping[str, Any] = MappingProxyType({}),
    limits: Sequence[float | None] = LIMITS,
    **options: str,
) -> dict[str, Any]:
    """A run with some options; another source makes it another run of the same method and seed."""
    record = fake(limits=limits)
    spec = record["spec"] | {"options": options, "method_sha256": source * 64} | changes
    tier = get_task(spec["task"]).tier(spec["tier"], profiles.get(spec["profile"]).device)
    spec["budget"] = scale_budget(tier.budget, scale)
    ends = record["provenance"] | {"ended": f"{ended}T00:00:00+00:00"}
    return integrity.seal(record | {"spec": spec, "provenance": ends})


def load(folder: Path, *records: dict[str, Any]) -> tuple[list[Record], OmittedRecords]:
    for record in records:
        store.write(folder, record)
    return load_present(folder, lambda record: True, "none")


def test_a_run_that_was_made_twice_counts_once_and_other_options_are_other_methods(tmp_path: Path) -> None:
    later = made("2026-01-02")
    first, inherit, scratch = made(source="b"), made(after="inherit"), made(after="scratch")
    records, omitted = load(tmp_path, first, later, inherit, scratch)
    assert [method_name(record) for record in records] == ["hat", "hat after=inherit", "hat after=scratch"]
    assert records[0]["id"] == later["id"] and omitted == OmittedRecords() and not omitted.notes


@pytest.mark.parametrize(
    ("scale", "changes"), [(0.05, {}), (2.0, {}), (1.0, {"ruleset": "external", "trials": [{}]})]
)
def test_records_of_another_allowance_are_left_out_and_counted(
    tmp_path: Path, scale: float, changes: Mapping[str, Any]
) -> None:
    own, other = made("2026-01-01"), made("2026-01-02", scale=scale, changes=changes)
    records, omitted = load(tmp_path, own, other)
    assert [record["id"] for record in records] == [own["id"]] and omitted == OmittedRecords(unequal=1)
    assert omitted.notes == ["1 records of another allowance than the tier's own, or tuned, are left out."]
    with pytest.raises(UsageError, match="all 1 records .* without --budget-scale and --ruleset"):
        load(tmp_path / "alone", other)


def test_a_drift_of_the_machine_is_no_difference_between_methods() -> None:
    """Networks of two methods take as long, on a machine that grows slower within each round."""
    networks: Any = {f"{method} {n}": method for method in ("first", "second") for n in range(100)}
    clock, orders = [0], list[str]()

    def timed(network: Any) -> float:
        clock[0] += 1
        orders.append(network)
        return 1 + 0.2 * (clock[0] % 200) / 200

    random = np.random.default_rng(1)
    timings = published_winners.time_in_rounds(networks, 3, timed, random, lambda line: None)
    assert all(len(values) == 3 for values in timings.values()) and len(timings) == 200
    rounds = [orders[i : i + 200] for i in (0, 200, 400)]
    assert all(those.count("first") == 100 for those in rounds) and rounds[0] != rounds[1] != rounds[2]
    means = [np.mean([timings[key] for key, method in networks.items() if method == name]) for name in
             ("first", "second")]  # fmt: skip
    assert abs(means[0] - means[1]) < 0.02, "0.1 in the order of the records"


def test_records_of_two_profiles_of_a_task_are_refused_by_name(tmp_path: Path) -> None:
    here, elsewhere = made(), made(changes={"profile": "nvidia-h200.v1"})
    with pytest.raises(UsageError, match="searched on cpu-2core-avx512.v1 and nvidia-h200.v1: a method's"):
        load(tmp_path, here, elsewhere)
    other_task = made(changes={"profile": "nvidia-h200.v1", "task": "mt-libreoffice-en-de"})
    assert len(load(tmp_path / "tasks", here, other_task)[0]) == 2, "each task has a profile"


def test_records_without_a_network_to_time_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records without a limit, and records whose winners are in INT8 already."""
    monkeypatch.setattr(mt_front, "TIER", "small")
    store.write(tmp_path, made(limits=[None]))
    monkeypatch.setattr(published_winners, "has_own_allowance", lambda record: True)
    monkeypatch.setattr(cpu_latency, "_is_published", lambda record: True)
    int8 = ROOT / "results" / "records" / "bert-enwiki" / "nvidia-h100.v1" / "hand-designed+int8-uniform"
    for study, folder in ((mt_front, tmp_path), (cpu_latency, int8)):
        with pytest.raises(UsageError, match="no record in .* has a network to time"):
            study.run(folder, print)
