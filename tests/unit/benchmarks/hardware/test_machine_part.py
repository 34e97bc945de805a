"""Parts of a machine: workers with GPUs and cores of their own need no common timing lock."""

from __future__ import annotations

import os

import pytest

from benchmarks.hardware.machine_part import are_apart, cores_apart, machine_part

FIRST = {"cores": [0, 1], "gpus": ["0"]}


@pytest.mark.parametrize(
    ("other", "apart"),
    [
        ({"cores": [2, 3], "gpus": ["1"]}, True),
        ({"cores": [1, 2], "gpus": ["1"]}, False),
        ({"cores": [2, 3], "gpus": ["1", "0"]}, False),
        ({"cores": [2, 3], "gpus": ["GPU-5f"]}, False),  # it may be GPU 0
        ({"cores": [2, 3], "gpus": []}, False),  # all GPUs, or timings on processors
        ({"cores": [], "gpus": ["1"]}, False),
        ({}, False),  # of an earlier version
    ],
)
def test_parts_are_apart_with_cores_and_gpus_of_their_own(
    other: dict[str, list[object]], apart: bool
) -> None:
    assert are_apart(FIRST, other) is are_apart(other, FIRST) is apart
    assert not are_apart(other, other)


def test_uuids_are_compared_with_uuids() -> None:
    assert are_apart({"cores": [0], "gpus": ["GPU-1"]}, {"cores": [1], "gpus": ["GPU-2"]})


def test_a_process_names_its_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 3")
    assert machine_part() == {"cores": sorted(os.sched_getaffinity(0)), "gpus": ["1", "3"]}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert machine_part()["gpus"] == []


def test_a_process_confined_to_cores_and_gpus_is_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4, 5})
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert cores_apart() == (4, 5)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert cores_apart() == (), "it has all of them"
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert cores_apart() == (), "timings on processors share the memory of all cores"
