"""The method ``int8-uniform``: INT8 copies of networks that another method found."""

from __future__ import annotations

import types
from typing import Any

import pytest

from benchmarks.api import TaskInfo
from benchmarks.measurement.workload import RUNTIMES
from supernet.quantization.precisions import uniform_int8
from tests.unit.supernet.quantization.int8_networks import (
    bert,
)


def test_int8_uniform_quantises_inherited_networks() -> None:
    from baselines.int8_uniform import Int8Uniform

    _, module = bert()
    net = types.SimpleNamespace(export=lambda architecture: module)
    made = []

    class Lab:
        given = ((1.0, "a"), (2.0, "b"))

        def inherit(self, number: int) -> Any:
            made.append(number)
            return net

        def candidate(self, *arguments: Any, **more: Any) -> Any:
            return arguments, more

    found = list(Int8Uniform().search(Lab()))
    assert made == [0, 1] and [more["target"] for _, more in found] == [1.0, 2.0]
    assert all(
        (net_, a, policy) == (net, arch, uniform_int8(module))
        for (net_, a, policy), arch in zip([x for x, _ in found], "ab", strict=True)
    )
    Lab.given = ()
    with pytest.raises(RuntimeError, match="nothing to quantise"):
        list(Int8Uniform().search(Lab()))


def test_networks_that_are_deployed_statically_are_left_to_uniform_int8() -> None:
    from baselines.int8_uniform import Int8Uniform

    settings: dict[str, Any] = {"precisions": RUNTIMES["ort"], "deployed_int8": "int8s"}
    skipped = Int8Uniform().supports(TaskInfo("images", "simq", "small", "accuracy", settings))
    assert skipped is not None and "deployed in static INT8" in skipped.reason
    for other in ({"precisions": RUNTIMES["torch"]}, {"deployed_int8": "int8"}):
        task = TaskInfo("images", "simq", "small", "accuracy", settings | other)
        assert Int8Uniform().supports(task) is None
    assert Int8Uniform().supports(TaskInfo("mt", "mt", "small", "bleu")) is None
