"""Latency under a policy as a sum over layers: a table of (shape, precision), fitted to measured policies.

A prior for searches and no measurement: what is reported is timed. Each layer's time is its multiply-adds
times a rate per precision, corrected by as much as the measurements bear (ridge regression; how much is
chosen by their leave-one-out error).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from supernet.quantization.precisions import Policy, check

Layers = Mapping[str, tuple[int, ...]]
Measured = tuple[Layers, Policy, float]
"""Layers of a network with the shapes of their weights, a policy, milliseconds."""
RATE = {"fp32": 1.0, "bf16": 0.5, "int8": 0.35, "w4": 1.0}
"""Time of a layer before anything is measured, of its time in fp32."""
STRENGTHS = tuple(10.0**power for power in range(-4, 4))
FEWEST = 4


class OperatorTable:
    """Fitted to networks measured on one machine, in one runtime, on one workload.

    Args:
        measured: at least ``FEWEST``; of one architecture or of several.

    Attributes:
        constant: milliseconds of what no layer accounts for.
        error: leave-one-out, median over the measured networks, as a share of their latency.

    Raises:
        ValueError: too few, a latency that is not positive, or a policy for other layers.
    """

    def __init__(self, measured: Sequence[Measured]) -> None:
        if len(measured) < FEWEST:
            raise ValueError(f"a table is fitted to {FEWEST} measured networks or more, not {len(measured)}")
        ms = np.array([value for _, _, value in measured])
        if not (np.isfinite(ms).all() and (ms > 0).all()):
            raise ValueError(f"latencies must be positive numbers, got {sorted(map(float, ms))[0]}")
        works = [_work(layers, policy) for layers, policy, _ in measured]
        self._keys = sorted({key for work in works for key in work})
        self._scale = float(np.mean([sum(work.values()) for work in works])) or 1.0
        x = np.array([self._row(work) for work in works])
        found = [_ridge(x, ms, strength) for strength in STRENGTHS]
        weights, left = min(found, key=lambda one: float(np.median(np.abs(one[1]) / ms)))
        self.constant = float(weights[0])
        self._rate = float(weights[1]) / self._scale
        self._more = {key: float(x) / self._scale for key, x in zip(self._keys, weights[2:], strict=True)}
        self.error = float(np.median(np.abs(left) / ms))

    def __call__(self, layers: Layers, policy: Policy | None = None) -> float:
        """Milliseconds of a network under a policy; shapes that were never measured go by their size.

        Raises:
            ValueError: the policy is none for these layers.
        """
        check(policy or {}, layers)
        each = (self.layer(shape, (policy or {}).get(name, "fp32")) for name, shape in layers.items())
        return self.constant + sum(each)

    def layer(self, shape: Sequence[int], precision: str) -> float:
        """Milliseconds that a layer with a weight of this shape adds."""
        rate = self._rate + self._more.get((tuple(shape), precision), 0.0)
        return math.prod(shape) * RATE[precision] * rate

    def state(self) -> dict[str, Any]:
        """All that a prediction takes, as plain JSON types."""
        more = [[list(shape), precision, value] for (shape, precision), value in self._more.items()]
        return {"constant": self.constant, "rate": self._rate, "more": more, "error": self.error}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The table that ``state`` was taken of."""
        made = cls.__new__(cls)
        made.constant, made._rate = float(state["constant"]), float(state["rate"])
        made._more = {(tuple(shape), str(word)): float(value) for shape, word, value in state["more"]}
        made.error = float(state["error"])
        return made

    def _row(self, work: Mapping[tuple[tuple[int, ...], str], float]) -> list[float]:
        shares = [work.get(key, 0.0) / self._scale for key in self._keys]
        return [1.0, sum(work.values()) / self._scale, *shares]


def _work(layers: Layers, policy: Policy) -> dict[tuple[tuple[int, ...], str], float]:
    """(Shape, precision) -> multiply-adds of all such layers, a position, times the precision's rate."""
    check(policy, layers)
    found: dict[tuple[tuple[int, ...], str], float] = {}
    for name, shape in layers.items():
        key = tuple(shape), policy.get(name, "fp32")
        found[key] = found.get(key, 0.0) + math.prod(shape) * RATE[key[1]]
    return found


def _ridge(
    x: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    y: np.ndarray[tuple[int], np.dtype[np.float64]],
    strength: float,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Weights, the first two without penalty, and leave-one-out residuals."""
    penalty = np.full(x.shape[1], strength)
    penalty[:2] = 1e-9
    inverse = np.linalg.pinv(x.T @ x + np.diag(penalty))
    weights = inverse @ x.T @ y
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    return weights, (y - x @ weights) / np.maximum(1 - leverage, 1e-6)
