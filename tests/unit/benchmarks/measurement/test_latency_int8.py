"""Latency of int8 networks beside the same network in fp32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.hardware.profiles import Profile
from benchmarks.measurement import interleaved, latency
from supernet.quantization import precisions
from supernet.quantization.precisions import uniform_int8
from tests.unit.supernet.quantization.int8_networks import (
    ENCODER,
    bert,
    unlocked,
)


def test_a_quantised_network_is_timed_in_turns_with_itself(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(latency, "exclusive", unlocked)
    _, module = bert()
    made = precisions.quantize(module, uniform_int8(module))
    order: list[str] = []
    named = {"low": made, "reference": bert(2)[1], "plain": module}
    for name, network in named.items():
        network.register_forward_pre_hook(lambda *_: None)
        network.encode = noting(network.encode, name, order)
    found = latency.measure_latency(
        named["low"],
        named["reference"],
        ENCODER,
        "cpu",
        Profile("here", "cpu", 1),
        plain=named["plain"],
        min_n=9,
    )
    rounds = [order[i : i + 3] for i in range(1 + 3 * interleaved.WARM_UP, len(order) - 1, 3)]
    assert all(sorted(one) == ["low", "plain", "reference"] for one in rounds)
    assert {one[0] for one in rounds} == set(named)
    assert found["fp32_ratio_low"] <= found["fp32_ratio"] <= found["fp32_ratio_high"]
    assert found["fp32_ratio"] == pytest.approx(found["p50"] / found["fp32_p50"])
    bits = precisions.activation_bits()
    assert f"|prec:int8|int8:{torch.backends.quantized.engine}-w8c-a{bits}t|mode:eager|" in found["signature"]
    again = latency.measure_latency(
        module, named["reference"], ENCODER, "cpu", Profile("here", "cpu", 1), min_n=8
    )
    assert "|prec:fp32|mode:eager|" in again["signature"] and "fp32_ratio" not in again


def noting(call: Any, name: str, order: list[str]) -> Any:
    def noted(tokens: Tensor) -> Tensor:
        order.append(name)
        out: Tensor = call(tokens)
        return out

    return noted
