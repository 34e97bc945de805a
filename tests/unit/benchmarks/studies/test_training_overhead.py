"""The overhead study: its statistic, its rule, the turns, and a run on two kinds of tiny supernets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.api import UsageError
from benchmarks.cli.main import main
from benchmarks.hardware import profiles
from benchmarks.records.study_files import study_module, to_files
from benchmarks.studies.supernets import KINDS, Setting
from benchmarks.studies.training_overhead import measure, study
from supernet.objective import Batch

TURNS = 5


def facts(profile: str = "cpu-2core-avx512.v1", **factors: Sequence[float]) -> dict:
    """Return invented timings: each build as slow as chance has it, kinds by a factor a build."""
    rng = np.random.default_rng(1)
    plain = rng.uniform(0.5, 2.0, size=(6, TURNS))
    seconds = {"sandwich": plain, **{kind: plain * np.array(f)[:, None] for kind, f in factors.items()}}
    return {
        "task": "mt-x", "tier": "small", "space": "multi30k-xs", "profile": profile, "precision": "fp32",
        "torch": "2.13.0", "seconds": {kind: v.tolist() for kind, v in seconds.items()},
        "numbers": dict.fromkeys(seconds, 4_000_000), "peak_bytes": {}, "others_cpu": 0.0,
        "written": {"commit": "a" * 40, "dirty_sha256": None},
    }  # fmt: skip


def test_the_overhead_of_a_build_is_the_planted_one_however_turns_differ() -> None:
    factors = [1.01, 1.02, 1.03, 1.04, 1.05, 1.06]
    rows = {row.kind: row for row in study.overheads(facts(**{"mos-neuron": factors, "hat": [0.3] * 6}))}
    assert rows["mos-neuron"].percent == pytest.approx([1, 2, 3, 4, 5, 6])
    assert rows["hat"].percent == pytest.approx([-70] * 6) and rows["hat"].verdict == "-"
    assert rows["sandwich"].percent == (0,) * 6 and rows["sandwich"].verdict == "-"


@pytest.mark.parametrize(
    ("middle", "verdict"), [(1.05, "hardly more"), (1.2, "more"), (1.1, "undecided"), (0.9, "hardly more")]
)
def test_the_verdict_follows_from_the_interval_over_builds(middle: float, verdict: str) -> None:
    factors = [middle + 0.005 * i for i in (-3, -2, -1, 1, 2, 3)]
    rows = {row.kind: row for row in study.overheads(facts(**{"mos-layer": factors}))}
    assert rows["mos-layer"].verdict == verdict


class Clocked:
    """Supernet whose updates take as long as asked, on a clock that all share."""

    def __init__(self, name: str, seconds: float, log: list[tuple[str, int]], clock: SimpleNamespace) -> None:
        self.name, self.seconds, self.log, self.clock = name, seconds, log, clock

    def train(self, groups: Sequence[list[Batch]]) -> None:
        self.log.append((self.name, id(groups)))
        self.clock.now += self.seconds


def test_a_turn_trains_all_on_the_same_batches_in_an_order_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, log = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock.now)
    nets = {name: Clocked(name, s, log, clock) for name, s in (("a", 1.0), ("b", 2.0), ("c", 4.0))}
    turns: list[list[list[Batch]]] = [[] for _ in range(8)]
    found = measure.timed_turns(nets, turns, np.random.default_rng(0))
    assert found == {"a": [1.0] * 8, "b": [2.0] * 8, "c": [4.0] * 8}
    each = [log[i : i + 3] for i in range(0, len(log), 3)]
    for turn, trained in zip(turns, each, strict=True):
        assert {number for _, number in trained} == {id(turn)}
        assert sorted(name for name, _ in trained) == ["a", "b", "c"]
    assert len({tuple(name for name, _ in trained) for trained in each}) > 2


def test_every_kind_is_one_that_studies_train() -> None:
    assert set(measure.KINDS) <= set(KINDS) and measure.KINDS[0] == study.PLAIN
    assert study_module("training-overhead") is study


def test_tiny_supernets_are_timed_on_the_same_random_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: dict[str, list[str]] = {}
    create = measure.TrainedSupernet.__init__

    def watched(self: measure.TrainedSupernet, setting: Setting, kind: str, seed: int) -> None:
        create(self, setting, kind, seed)
        draw = self.trainer.sampling.draw

        def kept(space, rng):
            found = draw(space, rng)
            drawn.setdefault(kind, []).append(found[len(found) // 2].key())
            return found

        self.trainer.sampling = SimpleNamespace(draw=kept, distill=False, passes=3)

    monkeypatch.setattr(measure.TrainedSupernet, "__init__", watched)
    monkeypatch.setattr(profiles, "matching", lambda: "cpu-2core-avx512.v1")
    monkeypatch.setitem(measure.AMOUNTS, "cpu", measure.Amount(1, 3, 2))
    prepare = partial(Setting.prepared_for, "mt-synthetic-en-de", "check", tmp_path / "cache", None)
    folder = tmp_path / study.FOLDER
    path = measure.measure(prepare, folder, "cpu", lambda line: None, ("sandwich", "hat", "mos-neuron"), 2)
    assert path.name == "mt-synthetic-en-de.check.cpu-2core-avx512.v1.json"
    assert drawn["sandwich"] == drawn["hat"] == drawn["mos-neuron"] and len(drawn["hat"]) == 2 * 7
    found = json.loads(path.read_text())
    assert np.shape([*found["seconds"].values()]) == (3, 2, 3)
    assert found["numbers"]["mos-neuron"] > found["numbers"]["sandwich"] == found["numbers"]["hat"]
    assert main(["study", "training-overhead", "--results", str(tmp_path)]) == 0
    assert "mos-neuron" in capsys.readouterr().out
    kept = json.loads((tmp_path / "studies" / "training-overhead.json").read_text())
    pair = "mt-synthetic-en-de check on cpu-2core-avx512.v1: mos-neuron - sandwich"
    assert len(kept["paired"][pair]["values"]) == 2 and kept["paired"][pair]["unit"] == "%"


def test_machines_and_tasks_stand_side_by_side(tmp_path: Path) -> None:
    for profile in ("cpu-2core-avx512.v1", "nvidia-h200.v1"):
        found = facts(profile, **{"mos-layer": [1.01, 1.02, 1.03, 1.04, 1.05, 1.06]})
        (tmp_path / f"{profile}.json").write_text(json.dumps({**found, "others_cpu": 0.9}))
    outcome = study.run(tmp_path)
    assert [row[1] for row in outcome.rows] == ["cpu-2core-avx512.v1"] * 2 + ["nvidia-h200.v1"] * 2
    assert outcome.notes[0].startswith("Disturbed") and "nvidia-h200.v1" in outcome.notes[0]
    assert set(to_files("training-overhead", outcome, None, None)) == {"md", "json", "png", "svg"}


def test_folders_without_measurements_are_one_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="training-overhead-measure --data-dir DIR"):
        study.run(tmp_path)
    (tmp_path / "x.json").write_text('{"seconds": {"hat": [[1.0]]}}')
    with pytest.raises(UsageError, match="x.json has no measurements"):
        study.run(tmp_path)


def test_a_machine_without_a_declared_profile_is_refused_before_data_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(device: str) -> Setting:
        raise AssertionError("nothing is to be prepared")

    for name, says in ((None, "matches none"), ("nvidia-h200.v1", "nvidia-h200.v1, of cuda")):
        monkeypatch.setattr(profiles, "matching", lambda name=name: name)
        with pytest.raises(UsageError, match=says):
            measure.measure(prepare, tmp_path, "cpu", lambda line: None)
