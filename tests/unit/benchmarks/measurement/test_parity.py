"""Checks of quantised networks before they are timed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from torch import Tensor

from benchmarks.measurement import memory, parity, serving
from benchmarks.measurement.interleaved import MeasurementRejectedError
from supernet.quantization import precisions
from supernet.quantization.precisions import Int8Linear, uniform_int8
from tests.unit.supernet.quantization.int8_networks import (
    ENCODER,
    Spoilt,
    bert,
    garbage,
    spoilt,
)


def test_memory_counts_packed_weights() -> None:
    _, module = bert()
    made = precisions.quantize(module, uniform_int8(module))
    plain, low = (memory.measure_peak_memory(m, ENCODER, "cpu")["peak_bytes"] for m in (module, made))
    saved = sum(p.numel() * 4 for p in module.parameters()) - sum(p.numel() * 4 for p in made.parameters())
    assert plain - low == pytest.approx(saved - precisions.packed_bytes(made), rel=0.2)


def test_outputs_that_are_garbage_are_refused() -> None:
    _, module = bert()
    policy = uniform_int8(module)
    with pytest.raises(
        MeasurementRejectedError, match=r"its outputs are \d\.\d\d of their length from those in fp32"
    ):
        parity.check_quantized(spoilt(module, garbage), module, policy, ENCODER)

    def nothing(made: Any) -> None:
        encode = made.encode
        made.encode = lambda tokens: encode(tokens) * float("nan")

    with pytest.raises(MeasurementRejectedError, match="outputs are nan"):
        parity.check_quantized(spoilt(module, nothing), module, policy, ENCODER)


def test_layers_that_run_in_float32_or_twice_are_refused() -> None:
    _, module = bert()
    policy = uniform_int8(module)
    due = len(policy) - 1  # the head is no part of what classifiers read

    def fall_back(made: Any) -> None:
        made.ops["0_attention"].q = copy.deepcopy(module.ops["0_attention"].q)

    def twice(made: Any) -> None:
        inner = made.ops["0_attention"].q
        made.ops["0_attention"].q = Spoilt(inner, lambda y: y, lambda x: (inner(x), x)[1])

    for spoil, ran in ((fall_back, due - 1), (twice, due + 1)):
        with pytest.raises(
            MeasurementRejectedError, match=f"linear_dynamic {ran} times where its policy makes it {due}$"
        ):
            parity.check_quantized(spoilt(module, spoil), module, policy, ENCODER)
    partly = {name: "int8" for name in list(policy)[:3]}
    with pytest.raises(MeasurementRejectedError, match=f"{due} times where its policy makes it 3"):
        parity.check_quantized(precisions.quantize(module, policy), module, partly, ENCODER)


def test_a_changed_input_is_refused() -> None:
    _, module = bert()
    policy = uniform_int8(module)
    made: Any = precisions.quantize(module, policy)
    encode = made.encode

    def overwriting(tokens: Tensor) -> Tensor:
        out: Tensor = encode(tokens)
        tokens.fill_(5)
        return out

    made.encode = overwriting
    with pytest.raises(MeasurementRejectedError, match="changed its input"):
        parity.check_quantized(made, module, policy, ENCODER)


def test_a_policy_that_cannot_be_deployed_is_refused() -> None:
    _, module = bert()
    with pytest.raises(MeasurementRejectedError, match="no linear layer"):
        serving.serve_checked(module, {"head": "int8"}, ENCODER)
    assert isinstance(serving.serve_checked(module, {"head.dense": "int8"}, ENCODER).head.dense, Int8Linear)
