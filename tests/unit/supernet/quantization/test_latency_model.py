"""The table of operator latencies: recovers sums, falls back on sizes, says how wrong it is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from supernet.quantization.latency_model import RATE, OperatorTable
from supernet.quantization.precisions import PRECISIONS

LAYERS = {f"l{i}": (64, 64) if i % 3 else (256, 64) for i in range(12)}


def drawn(rng: np.random.Generator, layers: dict[str, tuple[int, ...]] = LAYERS) -> dict[str, str]:
    return {name: str(rng.choice(["fp32", "int8", "w4"])) for name in layers}


def truth(layers: dict[str, tuple[int, ...]], policy: dict[str, str]) -> float:
    """Something additive that is not proportional to multiply-adds."""
    cost = {"fp32": 1.0, "int8": 0.6, "w4": 1.3}
    return 0.4 + sum(cost[policy[n]] * (0.05 if s[0] == 64 else 0.11) for n, s in layers.items())


def test_a_sum_of_operator_latencies_is_recovered() -> None:
    rng = np.random.default_rng(0)
    policies = [drawn(rng) for _ in range(40)]
    table = OperatorTable([(LAYERS, p, truth(LAYERS, p)) for p in policies])
    held_out = [drawn(rng) for _ in range(20)]
    errors = [abs(table(LAYERS, p) / truth(LAYERS, p) - 1) for p in held_out]
    assert max(errors) < 0.01 and table.error < 0.01


def test_noise_is_not_learnt() -> None:
    rng = np.random.default_rng(1)
    policies = [drawn(rng) for _ in range(16)]
    noisy = [(LAYERS, p, truth(LAYERS, p) * float(rng.normal(1, 0.05))) for p in policies]
    table = OperatorTable(noisy)
    errors = [abs(table(LAYERS, p) / truth(LAYERS, p) - 1) for p in (drawn(rng) for _ in range(50))]
    assert np.median(errors) < 0.06 and 0.005 < table.error < 0.2


def test_shapes_never_seen_go_by_their_size() -> None:
    rng = np.random.default_rng(2)
    measured = [
        (LAYERS, p, 1 + sum(64 * LAYERS[n][0] * RATE[q] for n, q in p.items()) / 1e5)
        for p in map(lambda _: drawn(rng), range(20))
    ]
    table = OperatorTable(measured)
    more = LAYERS | {"new": (128, 128)}
    assert table(more) - table(LAYERS) == pytest.approx(128 * 128 / 1e5, rel=0.05)


def test_every_precision_has_a_rate() -> None:
    assert set(RATE) == set(PRECISIONS)


def test_impossible_fits_are_refused() -> None:
    with pytest.raises(ValueError, match="4 measured networks or more, not 1"):
        OperatorTable([(LAYERS, {}, 1.0)])
    with pytest.raises(ValueError, match="positive"):
        OperatorTable([(LAYERS, {}, 0.0)] * 5)
    with pytest.raises(ValueError, match="nearest name"):
        OperatorTable([(LAYERS, {}, float(i + 1)) for i in range(5)])(LAYERS, {"l99": "int8"})


def test_a_table_comes_back_from_its_state() -> None:
    rng = np.random.default_rng(3)
    policies = [drawn(rng) for _ in range(12)]
    table = OperatorTable([(LAYERS, p, truth(LAYERS, p)) for p in policies])
    again = OperatorTable.from_state(json.loads(json.dumps(table.state())))
    assert [again(LAYERS, p) for p in policies] == [table(LAYERS, p) for p in policies]
    assert again.error == table.error and again.layer((999, 3), "int8") == table.layer((999, 3), "int8") > 0
