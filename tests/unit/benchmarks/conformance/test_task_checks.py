"""Checks of tasks: ours pass, and each broken promise is one failure of its check."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.api import Measurement, UsageError
from benchmarks.conformance.checks import FAILED, OK, OPEN
from benchmarks.conformance.task_checks import TaskTrial, check_task
from benchmarks.tasks import get_task
from benchmarks.tasks.vision import VisionTask


def verdicts(task: Any, home: Path) -> dict[str, str]:
    trial = TaskTrial(task, "check", home / "trial", None, lambda _: None)
    return {check.name: check.verdict for check in check_task(trial)}


@pytest.fixture
def digits() -> VisionTask:
    ours = get_task("vision-digits")
    assert isinstance(ours, VisionTask)
    return VisionTask(ours.name, ours.read)


@pytest.mark.parametrize("name", ["vision-digits", "mt-synthetic-en-de", "bert-synthetic-en"])
def test_a_task_of_each_kind_passes(name: str, tmp_path: Path) -> None:
    assert set(verdicts(get_task(name), tmp_path).values()) == {OK}


class Counter:
    """A number that is another at each call."""

    def __init__(self) -> None:
        self.value = 0.0

    def __call__(self) -> float:
        self.value += 1
        return self.value


def break_settings(task: Any) -> None:
    tier, count = task.tier, Counter()
    task.tier = lambda name, device: replace(tier(name, device), sha256=str(count()))


def break_units(task: Any) -> None:
    task.__class__ = type("Other", (VisionTask,), {"metric": "bleu"})


def break_data(task: Any) -> None:
    ready, count = task.prepare, Counter()
    task.prepare = lambda *a: replace(ready(*a), digests={"data": str(count())})


def break_seal(task: Any) -> None:
    ready = task.prepare

    def prepare(*arguments: Any) -> Any:
        prepared = ready(*arguments)
        return replace(prepared, folder=prepared.sealed)

    task.prepare = prepare


def break_batches(task: Any) -> None:
    make, count = task.batches, Counter()
    task.batches = lambda split, size, seed, device: make(split, size, int(count()), device)


def break_seeds(task: Any) -> None:
    make = task.batches
    task.batches = lambda split, size, seed, device: make(split, size, 0, device)


def break_evaluation(task: Any) -> None:
    count = Counter()
    task.evaluate = lambda *a: Measurement(count())


def break_sealing(task: Any) -> None:
    score, kept = task.score, {}

    def cheat(module: Any, prepared: Any, *rest: Any) -> Any:
        if prepared.sealed is None:
            return {"test": {}, "test_loss": 0.0}
        kept["x"] = score(module, prepared, *rest)
        return kept["x"]

    task.score = cheat


def break_score(task: Any) -> None:
    score = task.score

    def wrong(*arguments: Any) -> Any:
        scored = score(*arguments)
        scored["test"]["test"]["accuracy"]["value"] = 101.0
        return scored

    task.score = wrong


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (break_settings, "settings"), (break_units, "units"), (break_data, "data"), (break_seal, "data"),
        (break_batches, "batches"), (break_seeds, "batches"), (break_evaluation, "evaluation"),
        (break_sealing, "sealing"), (break_score, "score"),
    ],
)  # fmt: skip
def test_each_broken_promise_fails_its_check(
    digits: VisionTask, change: Any, check: str, tmp_path: Path
) -> None:
    change(digits)
    judged = verdicts(digits, tmp_path)
    assert [name for name, verdict in judged.items() if verdict == FAILED] == [check]


def test_data_of_the_users_that_are_refused_are_no_fault_of_the_task(
    digits: VisionTask, tmp_path: Path
) -> None:
    def refuse(*_arguments: Any) -> Any:
        raise UsageError("train has 2 images\nadd images")

    digits.prepare = refuse  # type: ignore[method-assign]
    trial = TaskTrial(digits, "check", tmp_path / "trial", None, lambda _: None)
    checks = {check.name: check for check in check_task(trial)}
    data = checks["data"]
    assert (data.verdict, data.observed) == (FAILED, "train has 2 images; add images")
    assert "this message" in data.reason and data.fix == "Mend what it names."
    others = ("networks", "batches", "evaluation", "training", "sealing", "score")
    assert {checks[name].verdict for name in others} == {OPEN}
