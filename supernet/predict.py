"""Latency predictors over architecture features.

The latency of a Transformer is close to a constant plus, for every stack whose depth is searched, depth times
a polynomial in the widths. That is the model, fitted as a ridge regression whose strength minimises the
leave-one-out error. It needs no random numbers, and about 30 samples.

Measured latencies carry noise that is skewed (a throttled or interrupted device is slow, never fast) and that
grows with the latency. So residuals are weighted by one over the square root of the predicted latency, and
the loss adds a small absolute term to the square. Squares alone are driven by the slow outliers; absolute
values alone predict the median, which lies below the mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from supernet.space import SearchSpace

Array = NDArray[np.float64]

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Candidate ridge strengths, per sample, on standardised features."""

ABSOLUTE = 0.2
"""Weight of the loss's absolute term, in units of the root-mean-square residual. Chosen on the published
latency tables, where 0.1 to 0.2 serve both kinds of error."""

MINIMUM_SAMPLES = 8
"""Fewest measured latencies of a fit."""


class LatencyPredictor:
    """Latency in milliseconds from one feature vector an architecture.

    Args:
        depths: columns of the features that hold a number of layers. Every other feature acts
            through them as well as alone; they themselves are never shrunk, so that with few or
            noisy samples the model draws near to a regression on depth.

    Attributes:
        loo_rmse: leave-one-out root-mean-square error of the last fit, in milliseconds (before the
            absolute term of the loss is added, which changes it little).
        loo_mape: leave-one-out mean absolute error relative to the measurement, in percent.
        strength: the ridge strength that was chosen.
    """

    def __init__(self, depths: Sequence[int] = ()) -> None:
        self.depths = tuple(depths)
        self.loo_rmse = self.loo_mape = self.strength = float("nan")
        self._coefficients: Array | None = None

    @classmethod
    def for_space(cls, space: SearchSpace) -> LatencyPredictor:
        """Return an unfitted predictor for ``features(space, architectures)``."""
        governors = {choice.depth for choice in space.choices}
        return cls([i for i, choice in enumerate(space.choices) if choice.name in governors])

    def fit(self, x: ArrayLike, ms: ArrayLike) -> LatencyPredictor:
        """Fit on features ``[n, k]`` and latencies ``[n]`` in milliseconds.

        Raises:
            ValueError: fewer than 8 samples, shapes that do not match, or a latency or feature
                that is not finite (latencies: and positive).
        """
        x, y = np.asarray(x, dtype=np.float64), np.asarray(ms, dtype=np.float64)
        if x.ndim != 2 or y.shape != x.shape[:1]:
            raise ValueError(f"features [n, k] and latencies [n] are needed, got {x.shape} and {y.shape}")
        if len(y) < MINIMUM_SAMPLES:
            raise ValueError(f"a latency predictor needs at least {MINIMUM_SAMPLES} samples, got {len(y)}")
        if not (np.isfinite(x).all() and np.isfinite(y).all() and (y > 0).all()):
            raise ValueError("features must be finite and latencies finite and positive")
        self._width = x.shape[1]
        self._scale = np.maximum(np.abs(x).max(axis=0), 1e-12)
        varying = [i for i in range(x.shape[1]) if np.ptp(x[:, i]) > 0]
        self._free = [i for i in varying if i in self.depths]
        self._rest = [i for i in varying if i not in self.depths]
        free, shrunk = self._expand(x)
        self._mean, self._deviation = shrunk.mean(axis=0), shrunk.std(axis=0) + 1e-9
        design = self._design(free, shrunk)
        # A trace of ridge on the free columns too: with few samples they may be collinear.
        penalty = np.r_[np.full(free.shape[1], 1e-6), np.ones(shrunk.shape[1])] * len(y)

        floor = y.min() / 2
        level = np.maximum(free @ np.linalg.lstsq(free, y, rcond=None)[0], floor)
        trials = [_leave_one_out(design, y, penalty * s, y.mean() / level) for s in STRENGTHS]
        losses = [float(np.mean(errors**2 / level)) for errors in trials]
        best = int(np.argmin(losses))
        self.strength = STRENGTHS[best]
        self.loo_rmse = float(np.sqrt(np.mean(trials[best] ** 2)))
        self.loo_mape = float(100 * np.mean(np.abs(trials[best]) / y))

        coefficients, robust = np.zeros(design.shape[1]), np.ones(len(y))
        for _ in range(50):
            before = coefficients
            weights = robust * y.mean() / level
            weights /= weights.mean()
            coefficients = _solve(design, y, penalty * self.strength, weights)
            level = np.maximum(design @ coefficients, floor)
            residual = np.abs(y - design @ coefficients) / np.sqrt(level / y.mean())
            spread = np.sqrt(np.mean(residual**2)) + 1e-12
            robust = 1 + ABSOLUTE * spread / np.maximum(residual, 0.02 * spread)
            if np.allclose(coefficients, before, rtol=1e-6, atol=1e-9 * y.mean()):
                break
        self._coefficients, self._floor = coefficients, floor
        return self

    def predict(self, x: ArrayLike) -> Array:
        """Return latencies ``[n]`` in milliseconds for features ``[n, k]`` (or one vector ``[k]``).

        Raises:
            ValueError: not fitted, or another number of features.
        """
        if self._coefficients is None:
            raise ValueError("the latency predictor was not fitted yet: call fit first")
        x = np.atleast_2d(np.asarray(x, dtype=np.float64))
        if x.ndim != 2 or x.shape[1] != self._width:
            raise ValueError(f"features [n, {self._width}] are needed, got {x.shape}")
        # Far outside the samples a polynomial may fall below zero, and a latency cannot.
        out: Array = np.maximum(self._design(*self._expand(x)) @ self._coefficients, self._floor / 5)
        return out

    def _expand(self, x: Array) -> tuple[Array, Array]:
        """Return the columns that are not shrunk (constant, depths) and those that are."""
        x = x / self._scale
        widths = x[:, self._rest]
        i, j = np.triu_indices(widths.shape[1])
        products = widths[:, i] * widths[:, j]
        columns = [widths]
        if not self._free:
            columns.append(products)
        for depth in (x[:, [d]] for d in self._free):
            columns += [depth**2, widths * depth, products * depth]
        return np.column_stack([np.ones(len(x)), x[:, self._free]]), np.column_stack(columns)

    def _design(self, free: Array, shrunk: Array) -> Array:
        return np.column_stack([free, (shrunk - self._mean) / self._deviation])


def features(space: SearchSpace, architectures: Iterable[Mapping[str, Any]]) -> Array:
    """Return the input of ``LatencyPredictor.for_space(space)``: ``[n, number of choices]``."""
    return np.stack([space.encode(arch, "aggr") for arch in architectures])


def _solve(design: Array, y: Array, penalty: Array, weights: Array) -> Array:
    weighted = design * weights[:, None]
    solution = np.linalg.solve(weighted.T @ design + np.diag(penalty), weighted.T @ y)
    return np.asarray(solution, dtype=np.float64)


def _leave_one_out(design: Array, y: Array, penalty: Array, weights: Array) -> Array:
    """Return residuals of each sample under the weighted ridge regression fitted on all others."""
    weighted = design * (weights / weights.mean())[:, None]
    hat = design @ np.linalg.solve(weighted.T @ design + np.diag(penalty), weighted.T)
    return np.asarray((y - hat @ y) / np.maximum(1 - np.diag(hat), 1e-6), dtype=np.float64)
