"""Latency under a policy as a sum over layers: a table of (shape, precision), fitted to measured policies.

A prior for searches, not a measurement: reported latencies are timed. Each layer's time is its multiply-adds
times a rate per precision, corrected by ridge regression, whose strength minimises the leave-one-out error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from supernet.quantization.precisions import Policy, check

Layers = Mapping[str, tuple[int, ...]]
"""Name of a layer -> shape of its weight."""
Measured = tuple[Layers, Policy, float]
"""Layers of a network with the shapes of their weights, a policy, milliseconds."""
RATE = {"fp32": 1.0, "bf16": 0.5, "int8": 0.35, "int8s": 0.35, "w4": 1.0}
"""Time of a layer before any measurement, relative to its time in fp32."""
STRENGTHS = tuple(10.0**power for power in range(-4, 4))
"""Candidate ridge strengths."""
FEWEST = 4
"""Fewest measured networks of a fit."""


class OperatorTable:
    """Latency table of one machine, one runtime and one workload.

    Args:
        measured: at least ``FEWEST`` networks, of one architecture or of several.

    Attributes:
        constant: milliseconds that belong to no layer.
        error: leave-one-out error, median over the measured networks, as a share of their latency.

    Raises:
        ValueError: too few networks, a latency that is not positive, or a policy for other layers.
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
        fits = [_ridge(x, ms, strength) for strength in STRENGTHS]
        weights, residuals = min(fits, key=lambda fit: float(np.median(np.abs(fit[1]) / ms)))
        self.constant = float(weights[0])
        self._rate = float(weights[1]) / self._scale
        self._more = {key: float(x) / self._scale for key, x in zip(self._keys, weights[2:], strict=True)}
        self.error = float(np.median(np.abs(residuals) / ms))

    def __call__(self, layers: Layers, policy: Policy | None = None) -> float:
        """Return the predicted milliseconds of a network under a policy; unmeasured shapes are estimated by
        size.

        Raises:
            ValueError: the policy does not fit these layers.
        """
        check(policy or {}, layers)
        each = (self.layer(shape, (policy or {}).get(name, "fp32")) for name, shape in layers.items())
        return self.constant + sum(each)

    def layer(self, shape: Sequence[int], precision: str) -> float:
        """Return the milliseconds that a layer with a weight of this shape adds."""
        rate = self._rate + self._more.get((tuple(shape), precision), 0.0)
        return math.prod(shape) * RATE[precision] * rate

    def state(self) -> dict[str, Any]:
        """Return the fitted numbers as plain JSON types."""
        more = [[list(shape), precision, value] for (shape, precision), value in self._more.items()]
        return {"constant": self.constant, "rate": self._rate, "more": more, "error": self.error}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the table of a ``state``."""
        table = cls.__new__(cls)
        table.constant, table._rate = float(state["constant"]), float(state["rate"])
        table._more = {(tuple(shape), str(word)): float(value) for shape, word, value in state["more"]}
        table.error = float(state["error"])
        return table

    def _row(self, work: Mapping[tuple[tuple[int, ...], str], float]) -> list[float]:
        shares = [work.get(key, 0.0) / self._scale for key in self._keys]
        return [1.0, sum(work.values()) / self._scale, *shares]


def _work(layers: Layers, policy: Policy) -> dict[tuple[tuple[int, ...], str], float]:
    """Return (shape, precision) -> multiply-adds a position of all such layers, times the precision's
    rate."""
    check(policy, layers)
    work: dict[tuple[tuple[int, ...], str], float] = {}
    for name, shape in layers.items():
        key = tuple(shape), policy.get(name, "fp32")
        work[key] = work.get(key, 0.0) + math.prod(shape) * RATE[key[1]]
    return work


def _ridge(
    x: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    y: np.ndarray[tuple[int], np.dtype[np.float64]],
    strength: float,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Return weights, the first two without penalty, and leave-one-out residuals."""
    penalty = np.full(x.shape[1], strength)
    penalty[:2] = 1e-9
    inverse = np.linalg.pinv(x.T @ x + np.diag(penalty))
    weights = inverse @ x.T @ y
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    return weights, (y - x @ weights) / np.maximum(1 - leverage, 1e-6)
