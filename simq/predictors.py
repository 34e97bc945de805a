"""Predictors of an objective from features of genomes: the public code's, and one that knows its doubt.

``published`` is LINAS as coded: ridge regressions and support vector regressions over two grids of strengths,
the one with the least relative error in fivefold cross-validation. It gives what scikit-learn's
``GridSearchCV`` gives, but shares factorisations and kernels over a grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from sklearn.model_selection import KFold
from sklearn.svm import SVR

from simq.genome import Array

RIDGES = np.arange(1, 101) / 10
"""Strengths of the public grid."""
BOXES = np.arange(1.0, 101.0)
"""Values of C of the public grid."""
FEW_BOXES = np.array([1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0])
"""Seven of them, for studies of many runs: the whole grid takes minutes a run of 400 measurements."""
FOLDS = 5


def published(x: Array, y: Array, boxes: Array = BOXES) -> Callable[[Array], Array]:
    """LINAS' predictor fitted to features ``[n, k]`` and one objective ``[n]``.

    Columns that are zero in all of ``x`` are not used: the public code knows the values it has seen.
    """
    seen = x.any(axis=0)
    x = x[:, seen]
    scale = 10.0 ** (math.floor(math.log10(np.abs(y).max())) - 1) if np.abs(y).max() > 0 else 1.0
    y = y / scale
    gamma = 1 / max(x.shape[1], 1)
    kernel = np.exp(-gamma * squares(x, x))
    ridge_error, box_error = np.zeros(len(RIDGES)), np.zeros(len(boxes))
    for train, test in KFold(FOLDS).split(x):
        weights, bias = ridge(x[train], y[train], RIDGES)
        ridge_error += relative(y[test], weights @ x[test].T + bias[:, None])
        inside, across = kernel[np.ix_(train, train)], kernel[np.ix_(test, train)]
        guessed = [box(inside, y[train], c).predict(across) for c in boxes]
        box_error += relative(y[test], np.array(guessed))
    if ridge_error.min() <= box_error.min():
        weights, bias = ridge(x, y, RIDGES[[int(ridge_error.argmin())]])
        return lambda new: scale * (new[:, seen] @ weights[0] + bias[0])
    model = box(kernel, y, boxes[int(box_error.argmin())])
    return lambda new: scale * model.predict(np.exp(-gamma * squares(new[:, seen], x)))


def ridge(x: Array, y: Array, strengths: Array) -> tuple[Array, Array]:
    """Weights ``[s, k]`` and biases ``[s]`` of the ridge regression at each strength."""
    mean, level = x.mean(axis=0), y.mean()
    left, values, right = np.linalg.svd(x - mean, full_matrices=False)
    shrunk = values / (values**2 + strengths[:, None])
    weights = (shrunk * (left.T @ (y - level))) @ right
    return weights, level - weights @ mean


def box(kernel: Array, y: Array, c: float) -> SVR:
    """A support vector regression without a tube, on a kernel of its training rows."""
    model = SVR(kernel="precomputed", C=c, epsilon=0.0)
    model.random_state = 0  # else it draws, for nothing, from NumPy's global state
    return model.fit(kernel, y)


def relative(y: Array, guessed: Array) -> Array:
    """Mean relative error of each row of ``guessed`` ``[s, n]``."""
    error: Array = (np.abs(guessed - y) / np.maximum(np.abs(y), np.finfo(float).eps)).mean(axis=1)
    return error


def squares(a: Array, b: Array) -> Array:
    """Squared distances ``[n, m]``."""
    both: Array = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
    return np.maximum(both, 0)


class GaussianProcess:
    """A Gaussian process whose mean is linear in the options, with interactions on top.

    Its covariance is a linear kernel plus a squared exponential over the features, with noise; length, share
    of the linear part and noise are those of a grid under which the data are most likely. No random numbers.
    """

    LENGTHS = (0.15, 0.3, 0.6, 1.2)
    """Squared, in units of the mean squared distance of the data."""
    LINEAR = (0.1, 0.5, 0.9)
    NOISE = (1e-6, 1e-3, 1e-2, 1e-1)

    def __init__(self, x: Array, y: Array) -> None:
        self._x, self._centre = x, x.mean(axis=0)
        self._level, self._spread = float(y.mean()), float(y.std()) or 1.0
        target = (y - self._level) / self._spread
        apart, inner = squares(x, x), (x - self._centre) @ (x - self._centre).T
        self._apart = float(apart.mean()) or 1.0
        self._inner = float(np.trace(inner)) / len(x) or 1.0
        best = -math.inf
        for length in self.LENGTHS:
            near = np.exp(-apart / (2 * length * self._apart))
            for linear in self.LINEAR:
                covariance = linear * inner / self._inner + (1 - linear) * near
                for noise in self.NOISE:
                    likely, factor, weights = _fitted(covariance, noise, target)
                    if likely > best:
                        best, self._factor, self._weights = likely, factor, weights
                        self.length, self.linear, self.noise = length, linear, noise

    def covariance(self, a: Array, b: Array) -> Array:
        """Prior covariance ``[n, m]`` between two sets of features, in units of the data's deviation."""
        near = np.exp(-squares(a, b) / (2 * self.length * self._apart))
        inner = (a - self._centre) @ (b - self._centre).T / self._inner
        return self.linear * inner + (1 - self.linear) * near

    def mean(self, x: Array) -> Array:
        """Posterior mean ``[n]``."""
        return self._level + self._spread * (self.covariance(x, self._x) @ self._weights)

    def mean_and_deviation(self, x: Array) -> tuple[Array, Array]:
        """Posterior mean and standard deviation, both ``[n]``, noise left out."""
        across = self.covariance(x, self._x)
        known = solve_triangular(self._factor[0], across.T, lower=True, check_finite=False)
        own = self.linear * ((x - self._centre) ** 2).sum(axis=1) / self._inner + (1 - self.linear)
        variance = np.maximum(own - (known**2).sum(axis=0), 0)
        return self._level + self._spread * (across @ self._weights), self._spread * np.sqrt(variance)

    def draws(self, x: Array, count: int, rng: np.random.Generator) -> Array:
        """Joint samples of the posterior ``[count, n]``."""
        across = self.covariance(x, self._x)
        known = solve_triangular(self._factor[0], across.T, lower=True, check_finite=False)
        left = self.covariance(x, x) - known.T @ known
        root = np.linalg.cholesky(left + 1e-6 * np.eye(len(x)))
        normal = rng.standard_normal((count, len(x)))
        return self._level + self._spread * (across @ self._weights + normal @ root.T)


def _fitted(covariance: Array, noise: float, target: Array) -> tuple[float, tuple[Array, bool], Array]:
    """Log likelihood, factor and weights; the scale of the covariance is the likeliest one."""
    try:
        factor = cho_factor(covariance + noise * np.eye(len(target)), lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return -math.inf, (covariance, True), target
    weights = cho_solve(factor, target, check_finite=False)
    scale = max(float(target @ weights) / len(target), 1e-300)
    likely = -0.5 * len(target) * math.log(scale) - float(np.log(np.diag(factor[0])).sum())
    return likely, (factor[0], True), weights
