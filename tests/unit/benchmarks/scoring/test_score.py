from __future__ import annotations

import fcntl
import json
import math
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import stage, tasks
from benchmarks.hardware import energy, timing_lock
from benchmarks.hardware.profiles import Profile
from benchmarks.measurement import interleaved, latency
from benchmarks.measurement.workload import reference_network
from benchmarks.records import store
from benchmarks.scoring import score
from benchmarks.scoring.score import score_run
from supernet import export
from supernet.decode import translate
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space

WORKLOAD = {"source_len": 5, "steps": 3, "beam": 2, "energy_seconds": 0.0}


class FakeTask:
    """Translates two sentences; ``spoil`` may change what comes of the n-th scoring."""

    def __init__(self) -> None:
        self.calls = 0
        self.spoil: Callable[[int, dict[str, Any]], None] = lambda n, found: None
        self.made = Seq2SeqFamily(get_space("mt-smoke"), Seq2SeqConfig(40, 40))

    def tier(self, name: str, device: str) -> Any:
        return types.SimpleNamespace(name=name, workload=WORKLOAD)

    def family(self, tier: Any, prepared: Any) -> Seq2SeqFamily:
        return self.made

    def score(self, module: Any, prepared: Any, tier: Any, device: str, precision: str) -> dict[str, Any]:
        self.calls += 1
        out = translate(module, [[4, 5, 6], [7]], beam=2, device=device)
        figure = {"value": float(len(out[0].tokens)), "low": 0.0, "high": 99.0, "signature": "length"}
        found = {"test": {"test": {"bleu": figure}}, "sentences_sha256": "0" * 64, "test_loss": 1.5}
        self.spoil(self.calls, found)
        return found


class SilentMeter:
    def __init__(self, profile: Profile | None = None) -> None:
        pass

    def ready(self, seconds: float = 0.0) -> bool:
        return True

    def start(self) -> None:
        pass

    def stop(self) -> dict[str, Any]:
        return {"joules": 1.0, "source": "fake", "covered_seconds": 1.0}


TIME_ROUNDS = interleaved.time_rounds
FEW = 4
"""Timed rounds of most tests here, which look at no latency."""


def time_few(timed: Any, min_n: int, *seconds: float) -> tuple[list[list[float]], float]:
    return TIME_ROUNDS(timed, min(min_n, FEW), *seconds)[0], 0.0


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeTask:
    made = FakeTask()
    monkeypatch.setattr(tasks, "get_task", lambda name: made)
    monkeypatch.setattr(score, "EnergyMeter", SilentMeter)
    monkeypatch.setattr(latency, "EnergyMeter", SilentMeter)
    monkeypatch.setattr(interleaved, "time_rounds", time_few)
    (tmp_path / "locks").mkdir()
    monkeypatch.setenv(timing_lock.FOLDER_VARIABLE, str(tmp_path / "locks"))
    return made


@pytest.fixture
def run(task: FakeTask, tmp_path: Path) -> Path:
    """A finished search with three candidates, the first and the last of one architecture."""
    rng = np.random.default_rng(0)
    space = task.made.space
    chosen = [space.largest(), space.sample(rng)]
    chosen.append(chosen[0])
    proposed = []
    torch.manual_seed(1)
    folder = tmp_path / "run"
    for index, architecture in enumerate(chosen):
        digest = export.save(
            folder / "candidates" / f"{index:02d}",
            task.made.build(architecture),
            task.made.spec(),
            architecture,
        )
        proposed.append(
            {
                "index": index,
                "architecture": architecture.to_dict(),
                "policy": None,
                "origin": "inherited",
                "limit_ms": None,
                "weights_sha256": digest,
                "valid": {"loss": 2.0},
            }
        )
    (folder / "spec.json").write_text(json.dumps({"task": "fake", "tier": "t", "profile": "undeclared"}))
    (folder / "search.json").write_text(json.dumps({"status": "done", "candidates": proposed}))
    return folder


def scored(run: Path, digests: dict[str, str] | None = None) -> dict[str, Any]:
    said: list[str] = []
    prepared = types.SimpleNamespace(digests=digests or {"data": "1"})
    result = score_run(run, prepared=prepared, device="cpu", say=said.append)
    assert json.loads((run / "score.json").read_text()) == result
    assert not (run / "score.partial.json").exists()
    return result


def proposed(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "search.json").read_text())["candidates"]
    return found


def weights(run: Path, index: int) -> Path:
    return run / "candidates" / f"{index:02d}" / "model.safetensors"


def test_every_candidate_gets_all_fields_of_a_record(
    run: Path, task: FakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interleaved, "time_rounds", TIME_ROUNDS)
    result = scored(run)
    assert [entry["failed"] for entry in result["candidates"]] == [None] * 3
    assert result["message"] == ""
    assert set(result["harness_seconds"]) >= {"load", "score", "measure"}
    schema = json.loads((Path(store.__file__).parent / "schema" / "record-1.json").read_text())
    for made, entry in zip(proposed(run), result["candidates"], strict=True):
        jsonschema.validate({**made, **entry}, {"$defs": schema["$defs"], "$ref": "#/$defs/candidate"})
        assert entry["test_loss"] == 1.5
        assert entry["cost"]["params"] > 0 and entry["memory"]["peak_bytes"] > entry["cost"]["bytes"]
        assert entry["latency"]["n"] >= 64 and "|prof:undeclared|" in entry["latency"]["signature"]
        assert entry["energy"]["source"] == "fake"
    first, other, last = result["candidates"]
    assert first["latency"] == last["latency"] != other["latency"]
    assert first["cost"]["params"] > other["cost"]["params"]


def test_the_steps_of_a_scoring_are_reported_as_they_are_done(
    run: Path, tuned: TunedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, int, str]] = []
    write = stage._write

    def kept(within: float, more: str) -> None:
        write(within, more)
        if stage._open.path is not None:
            seen.append(tuple(json.loads((run / stage.PROGRESS).read_text())["progress"]))

    monkeypatch.setattr(stage, "_write", kept)
    monkeypatch.setattr(stage, "EVERY_S", 0.0)
    spoil = tuned.spoil
    tuned.spoil = lambda n, found: (stage.note(1, 2, "sentences"), spoil(n, found))  # type: ignore[assignment]
    scored(run)
    shares = [done / parts for done, parts, _ in seen]
    assert shares == sorted(shares) and {parts for _, parts, _ in seen} == {7}
    labels = [label for _, _, label in seen]
    assert "candidate 2 of 3: test split, 1 of 2 sentences" in labels and "candidate 1 of 3: timing" in labels
    assert labels[-1] == "fine-tuning 2 of 2 on two"
    assert not (run / stage.PROGRESS).exists()
    stage.note(1, 2, "outside of a scoring")
    assert not (run / stage.PROGRESS).exists()


def test_a_task_that_notes_its_steps_lets_timings_come_first(
    run: Path, task: FakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[int] = []

    def wait(settle: object = None) -> None:
        paused.append(task.calls)
        time.sleep(0.05)

    monkeypatch.setattr(timing_lock, "timing_requested", lambda: True)
    monkeypatch.setattr(timing_lock, "yield_to_timing", wait)
    task.spoil = lambda n, found: [stage.note(step, 3, "batches") for step in range(3)]  # type: ignore[assignment]
    seconds = scored(run)["harness_seconds"]
    # Before a candidate as well: that wait comes while the calls are those of the candidates before.
    assert [paused.count(call) for call in range(4)] == [1, 4, 4, 3]
    assert seconds["timing lock"] >= 12 * 0.05 and seconds["score"] < 9 * 0.05, "waits are no scoring"
    stage.note(1, 2, "outside of a scoring")
    assert len(paused) == 12


def test_a_network_is_timed_and_metered_in_one_pause_of_the_machine(
    run: Path, task: FakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    wait = timing_lock._wait

    def counted(file: int, kind: int) -> None:
        taken.append(kind)
        wait(file, kind)

    monkeypatch.setattr(timing_lock, "_wait", counted)
    candidates = scored(run)["candidates"]
    assert len({entry["latency"]["ratio"] for entry in candidates}) == 2, "two networks, three candidates"
    assert taken.count(fcntl.LOCK_EX) == 2 * 2, "gate and machine, once a network"
    assert all(entry["latency"]["waited_seconds"] >= 0 for entry in candidates)


def test_a_scoring_that_was_cut_off_goes_on(run: Path, task: FakeTask) -> None:
    def cut(n: int, found: dict[str, Any]) -> None:
        if n == 2:
            raise KeyboardInterrupt

    task.spoil = cut
    with pytest.raises(KeyboardInterrupt):
        scored(run)
    assert not (run / "score.json").exists()
    kept = json.loads((run / "score.partial.json").read_text())["candidates"]
    task.spoil = lambda n, found: None
    result = scored(run)
    assert task.calls == 4  # one, the one that was cut off, and two more
    assert result["candidates"][0] == kept[0]


def test_other_weights_or_data_are_scored_anew(run: Path, task: FakeTask) -> None:
    def cut(n: int, found: dict[str, Any]) -> None:
        if n == 3:
            raise KeyboardInterrupt

    task.spoil = cut
    with pytest.raises(KeyboardInterrupt):
        scored(run)
    task.spoil = lambda n, found: None
    scored(run, {"data": "2"})
    assert task.calls == 6
    (run / "score.partial.json").write_text("{ not json")
    scored(run)
    assert task.calls == 9


def test_a_failure_is_tried_again(run: Path, task: FakeTask) -> None:
    def trouble(n: int, found: dict[str, Any]) -> None:
        if n == 2:
            raise MemoryError("no room")
        if n == 3:
            raise KeyboardInterrupt

    task.spoil = trouble
    with pytest.raises(KeyboardInterrupt):
        scored(run)
    task.spoil = lambda n, found: None
    assert [entry["failed"] for entry in scored(run)["candidates"]] == [None] * 3
    assert task.calls == 5


def expect_only_the_second_to_fail(run: Path, reason: str) -> None:
    result = scored(run)
    first, second, third = result["candidates"]
    assert first["failed"] is None and third["failed"] is None
    assert reason in second["failed"]
    assert result["message"] == f"candidate 1: {second['failed']}"
    assert "test" not in second and "latency" not in second


def test_exchanged_weights_are_noticed(run: Path, task: FakeTask) -> None:
    entries = proposed(run)
    entries[1]["weights_sha256"] = "f" * 64
    (run / "search.json").write_text(json.dumps({"candidates": entries}))
    expect_only_the_second_to_fail(run, "are not those that the search proposed")


@pytest.mark.parametrize("damage", ["truncated", "altered", "missing", "garbage"])
def test_damaged_weights_are_noticed(run: Path, task: FakeTask, damage: str) -> None:
    path = weights(run, 1)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {"truncated": content[:-7], "altered": content[:-1] + b"x", "garbage": b"garbage"}[damage]
        )
    expect_only_the_second_to_fail(run, "candidates/01" if damage != "missing" else "not an exported")


def test_weights_that_are_no_numbers(run: Path, task: FakeTask) -> None:
    entries = proposed(run)
    module, about = export.load(run / "candidates" / "01")
    next(iter(module.parameters())).data[0, 0] = math.nan
    entries[1]["weights_sha256"] = export.save(
        run / "candidates" / "01", module, about["spec"], about["architecture"]
    )
    (run / "search.json").write_text(json.dumps({"candidates": entries}))
    expect_only_the_second_to_fail(run, "not finite")


def test_finite_weights_whose_outputs_are_no_numbers(run: Path, task: FakeTask) -> None:
    entries = proposed(run)
    module, about = export.load(run / "candidates" / "01")
    for parameter in module.parameters():
        parameter.data.fill_(3e38)
    entries[1]["weights_sha256"] = export.save(
        run / "candidates" / "01", module, about["spec"], about["architecture"]
    )
    (run / "search.json").write_text(json.dumps({"candidates": entries}))
    expect_only_the_second_to_fail(run, "not finite")


def test_an_architecture_outside_the_space(run: Path, task: FakeTask) -> None:
    entries = proposed(run)
    entries[1]["architecture"]["encoder_embed_dim"] = 17
    (run / "search.json").write_text(json.dumps({"candidates": entries}))
    expect_only_the_second_to_fail(run, "encoder_embed_dim")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_figures_that_are_no_numbers(run: Path, task: FakeTask, bad: float) -> None:
    def spoil(n: int, found: dict[str, Any]) -> None:
        if n == 2:
            found["test"]["test"]["bleu"]["low"] = bad

    task.spoil = spoil
    expect_only_the_second_to_fail(run, f"its test test bleu low is {bad}")


def test_a_task_that_raises(run: Path, task: FakeTask, capsys: pytest.CaptureFixture[str]) -> None:
    def spoil(n: int, found: dict[str, Any]) -> None:
        if n == 2:
            raise KeyError("x" * 1000)

    task.spoil = spoil
    expect_only_the_second_to_fail(run, "KeyError: 'xxx")
    assert "Traceback" in capsys.readouterr().err
    assert all(len(entry["failed"] or "") <= 500 for entry in scored(run)["candidates"])


def test_the_reference_network_is_always_the_same_one() -> None:
    family = Seq2SeqFamily(get_space("mt-smoke"), Seq2SeqConfig(40, 40))
    before = torch.get_rng_state()
    one: nn.Module = reference_network(family)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    two = reference_network(family)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not one.training and not any(p.requires_grad for p in one.parameters())
    assert sum(p.numel() for p in one.parameters()) == sum(
        p.numel() for p in family.build(family.space.largest()).parameters()
    )


def test_the_meter_of_a_run_is_the_real_one() -> None:
    assert score.EnergyMeter is energy.EnergyMeter is latency.EnergyMeter


class TunedTask(FakeTask):
    """Also fine-tunes, on two tasks; ``fault`` may stop the n-th of them."""

    def __init__(self) -> None:
        super().__init__()
        self.tuned: list[str] = []
        self.fault: Callable[[int], None] = lambda n: None

    def tier(self, name: str, device: str) -> Any:
        return types.SimpleNamespace(name=name, workload=WORKLOAD, finetune={"tasks": ["one", "two"]})

    def finetune(
        self, module: Any, prepared: Any, tier: Any, name: str, device: str, pause: Any
    ) -> dict[str, Any]:
        pause(lambda: None)
        self.tuned.append(name)
        self.fault(len(self.tuned))
        return {"accuracy": {"value": 50.0, "values": [49.0, 51.0], "deviation": 1.4, "signature": "x"}}


@pytest.fixture
def tuned(run: Path, monkeypatch: pytest.MonkeyPatch) -> TunedTask:
    """Two candidates without a limit, the second better by validation, and one with a limit."""
    made = TunedTask()
    monkeypatch.setattr(tasks, "get_task", lambda name: made)
    entries = proposed(run)
    entries[1]["valid"]["loss"], entries[2]["limit_ms"] = 1.0, 3.0
    (run / "search.json").write_text(json.dumps({"candidates": entries}))
    return made


def test_the_best_at_each_limit_are_fine_tuned(run: Path, tuned: TunedTask) -> None:
    result = scored(run)
    assert [list(entry["test"]) for entry in result["candidates"]] == [
        ["test"], ["test", "one", "two"], ["test", "one", "two"]
    ]  # fmt: skip
    assert "finetune" in result["harness_seconds"] and result["message"] == ""
    schema = json.loads((Path(store.__file__).parent / "schema" / "record-1.json").read_text())
    for made, entry in zip(proposed(run), result["candidates"], strict=True):
        jsonschema.validate({**made, **entry}, {"$defs": schema["$defs"], "$ref": "#/$defs/candidate"})


def test_fine_tuning_that_was_cut_off_goes_on_where_it_was(run: Path, tuned: TunedTask) -> None:
    def cut(n: int) -> None:
        if n == 2:
            raise KeyboardInterrupt

    tuned.fault = cut
    with pytest.raises(KeyboardInterrupt):
        scored(run)
    tuned.fault = lambda n: None
    scored(run)
    assert tuned.calls == 3, "nothing is scored twice"
    assert tuned.tuned == ["one", "two", "two", "one", "two"]


def test_failed_fine_tuning_is_reported_and_tried_again(run: Path, tuned: TunedTask) -> None:
    def trouble(n: int) -> None:
        if n == 2:
            raise MemoryError("no room")

    tuned.fault = trouble
    first, second, third = scored(run)["candidates"]
    told = [c["failed"] for c in (first, second, third)]
    assert sorted(map(str, told)) == ["None", "None", "fine-tuning: MemoryError: no room"]
    assert all("test" in entry["test"] for entry in (first, second, third)), "what was scored is kept"
