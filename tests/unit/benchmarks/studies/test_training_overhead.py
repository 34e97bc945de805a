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
from benchmarks.claims import hypotheses
from benchmarks.cli.main import main
from benchmarks.hardware import profiles
from benchmarks.records.study_files import study_module, to_files
from benchmarks.studies.supernets import KINDS, Setting
from benchmarks.studies.training_overhead import measure, study
from benchmarks.tasks import get_task
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
        "numbers": dict.fromkeys(seconds, 4_000_000), "others_cpu": [0.0] * 6,
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
    fewer = facts(**{"mos-layer": factors})
    fewer["seconds"] = {kind: values[:3] for kind, values in fewer["seconds"].items()}
    assert {row.verdict for row in study.overheads(fewer)} == {"-", "interim, 3 builds"}


def test_the_claim_asks_for_pairs_and_the_margin_that_the_study_has() -> None:
    claim = next(claim for claim in hypotheses.claims() if claim.id == "mos-overhead")
    assert (claim.margin, claim.n, claim.unit) == (study.MARGIN, study.BUILDS, "%")
    for pair in claim.pairs:
        place, _, kinds = pair.partition(": ")
        name, tier, _, profile = place.split()
        assert get_task(name).tier(tier, profiles.get(profile).device) and set(kinds.split(" - ")) <= set(
            KINDS
        )


class Clocked:
    """Supernet whose updates take as long as asked, on a clock that all share."""

    def __init__(self, name: str, seconds: float, log: list[tuple[str, int]], clock: SimpleNamespace) -> None:
        self.name, self.seconds, self.log, self.clock = name, seconds, log, clock

    def rehearse(self, groups: Sequence[list[Batch]]) -> None:
        self.clock.now += 100
        self.log.append((f"rehearsed {self.name}", id(groups)))

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
    blocks = [log[i : i + 6] for i in range(0, len(log), 6)]
    each = [block[3:] for block in blocks]
    for turn, block, trained in zip(turns, blocks, each, strict=True):
        assert {number for _, number in block} == {id(turn)}
        assert sorted(name for name, _ in block[:3]) == ["rehearsed a", "rehearsed b", "rehearsed c"]
        assert sorted(name for name, _ in trained) == ["a", "b", "c"]
    orders = [[name for name, _ in trained] for trained in each]
    assert len(set(map(tuple, orders))) > 2
    assert all(second == first[::-1] for first, second in zip(orders[::2], orders[1::2], strict=True))


@pytest.mark.parametrize("is_cuda", [False, True])
def test_a_rehearsal_makes_the_updates_that_are_timed_next(is_cuda: bool) -> None:
    """On a GPU it records their graphs; the architectures of an update follow from its number."""
    net = object.__new__(measure.TrainedSupernet)
    updates: list[int] = []

    def update(group: list[Batch], done: float) -> None:
        updates.append(net.trainer.updates)
        net.trainer.updates += 1

    net.trainer = SimpleNamespace(  # type: ignore[assignment]
        flat=SimpleNamespace(is_cuda=is_cuda), updates=7, update=update, look=lambda loss: None
    )
    net.rehearse([[], []])
    net.train([[], []])
    assert updates == ([7, 8] if is_cuda else []) + [7, 8] and net.trainer.updates == 9


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
    kinds = ("sandwich", "hat", "mos-neuron")
    path = measure.measure(prepare, folder, "cpu", [].append, kinds, 1)
    first = json.loads(path.read_text())
    assert measure.measure(prepare, folder, "cpu", [].append, kinds, 2) == path
    assert path.name == "mt-synthetic-en-de.check.cpu-2core-avx512.v1.json"
    assert drawn["sandwich"] == drawn["hat"] == drawn["mos-neuron"] and len(drawn["hat"]) == 2 * 7
    timed = json.loads(path.read_text())
    assert np.shape([*timed["seconds"].values()]) == (3, 2, 3) and len(timed["others_cpu"]) == 2
    assert all(builds[:1] == first["seconds"][kind] for kind, builds in timed["seconds"].items())
    assert timed["numbers"]["mos-neuron"] > timed["numbers"]["sandwich"] == timed["numbers"]["hat"]
    before = path.read_bytes()
    assert (
        measure.measure(prepare, folder, "cpu", [].append, kinds, 2) == path and path.read_bytes() == before
    )
    with pytest.raises(UsageError, match="other builds than 1 of each"):
        measure.measure(prepare, folder, "cpu", [].append, kinds, 1)
    path.write_text(json.dumps({**first, "written": {"commit": "b" * 40, "dirty_sha256": None}}))
    with pytest.raises(UsageError, match="another commit, or of local changes: move it away"):
        measure.measure(prepare, folder, "cpu", [].append, kinds, 2)
    path.write_text(json.dumps(timed))
    assert main(["study", "training-overhead", "--results", str(tmp_path)]) == 0
    assert "mos-neuron" in capsys.readouterr().out
    kept = json.loads((tmp_path / "studies" / "training-overhead.json").read_text())
    pair = "mt-synthetic-en-de check on cpu-2core-avx512.v1: mos-neuron - sandwich"
    assert len(kept["paired"][pair]["values"]) == 2 and kept["paired"][pair]["unit"] == "%"


def test_machines_and_tasks_stand_side_by_side(tmp_path: Path) -> None:
    for profile in ("cpu-2core-avx512.v1", "nvidia-h200.v1"):
        timed = facts(profile, **{"mos-layer": [1.01, 1.02, 1.03, 1.04, 1.05, 1.06]})
        (tmp_path / f"{profile}.json").write_text(json.dumps({**timed, "others_cpu": [0.0, 0.9]}))
    outcome = study.run(tmp_path)
    assert [row[1] for row in outcome.rows] == ["cpu-2core-avx512.v1"] * 2 + ["nvidia-h200.v1"] * 2
    assert outcome.notes[0].startswith("Disturbed") and "nvidia-h200.v1" in outcome.notes[0]
    assert set(to_files("training-overhead", outcome, None, None)) == {"md", "json", "png", "svg"}


def test_a_folder_without_measurements_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="training-overhead-measure --data-dir DIR"):
        study.run(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"torch": None, "written": 5},
        {"seconds": {"sandwich": [[1.0]], "mos-9": [[1.1]]}, "numbers": {"sandwich": 1, "mos-9": 1}},
        {"seconds": {"sandwich": [[0.0]], "mos-layer": [[0.0]]}},
        {"seconds": {"sandwich": [[1.0], [2.0]], "mos-layer": [[1.1], [2.2]]}},
        {
            "seconds": {"sandwich": [[1.0], [2.0]], "hat": [[0.4], [0.9]]},
            "numbers": {"sandwich": 1, "hat": 1},
        },
        {"seconds": {"hat": [[1.0]]}},
        {"others_cpu": []},
    ],
)
def test_a_file_that_the_page_cannot_use_is_one_message(tmp_path: Path, change: dict) -> None:
    (tmp_path / "x.json").write_text(json.dumps({**facts(**{"mos-layer": [1.1] * 5 + [1.2]}), **change}))
    with pytest.raises(UsageError, match="x.json has no measurements"), np.errstate(all="ignore"):
        study.run(tmp_path)


def test_two_files_of_one_machine_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps(facts(**{"mos-layer": [1.1] * 5 + [1.2]})))
    with pytest.raises(UsageError, match="b.json .*another file is of mt-x small"):
        study.run(tmp_path)


def test_a_task_that_no_study_trains_is_refused_before_its_data_is_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "training-overhead-measure", "--task", "vision-digits", "--tier", "smoke"]
    places = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    assert main([*words, *places]) == 2
    assert "of translation and of encoders alone" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_machine_without_a_declared_profile_is_refused_before_data_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(device: str) -> Setting:
        raise AssertionError("nothing is to be prepared")

    for name, says in ((None, "matches none"), ("nvidia-h200.v1", "nvidia-h200.v1, of cuda")):
        monkeypatch.setattr(profiles, "matching", lambda name=name: name)
        with pytest.raises(UsageError, match=says):
            measure.measure(prepare, tmp_path, "cpu", lambda line: None)
