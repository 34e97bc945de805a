"""The method ``int8-uniform``: INT8 copies of networks that another method found."""

from __future__ import annotations

import types
from typing import Any

import pytest

from benchmarks.api import UsageError
from supernet.quantization.precisions import uniform_int8
from tests.unit.supernet.quantization.int8_networks import (
    bert,
)


def test_int8_uniform_quantises_inherited_networks() -> None:
    from baselines.int8_uniform import Int8Uniform

    _, module = bert()
    net = types.SimpleNamespace(export=lambda architecture: module, family=types.SimpleNamespace(int8="int8"))
    made = []

    class Lab:
        given = ((1.0, "a"), (2.0, "b"))
        precisions = ("fp32", "int8", "int8s", "w4")

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


@pytest.mark.parametrize("left", [600.0, 599.0])
def test_networks_that_are_deployed_statically_are_calibrated_on_unspent_tokens(left: float) -> None:
    from baselines.int8_uniform import Int8Uniform

    _, module = bert()
    kept: list[tuple[Any, int]] = []
    net = types.SimpleNamespace(
        export=lambda architecture: module,
        family=types.SimpleNamespace(int8="int8s"),
        keep_batches=lambda batches, most: kept.append((batches, most)),
    )
    lab: Any = types.SimpleNamespace(
        given=((1.0, "a"),),
        precisions=("fp32", "int8", "int8s", "w4"),
        recipe=types.SimpleNamespace(batch_tokens=100),
        budget=types.SimpleNamespace(left=lambda kind: left, total=lambda kind: 1000.0),
        inherit=lambda number: net,
        train_batches=lambda share: share,
        candidate=lambda net, architecture, policy, **more: policy,
    )
    if left < 600:  # four batches and a half, and a third of that for the passes
        with pytest.raises(UsageError, match="600 tokens of training data.* left 599: take uniform-int8"):
            list(Int8Uniform().search(lab))
        return
    assert list(Int8Uniform().search(lab)) == [uniform_int8(module, "int8s")] and kept == [(0.45, 4)]
