"""Predictors of an objective from features of genomes.

``fit_published_predictor`` is that of LINAS' public code: ridge and support vector regressions over two grids
of strengths, selected by the relative error in fivefold cross-validation. It agrees with scikit-learn's
``GridSearchCV`` to libsvm's tolerance (1e-4) and takes a hundredth of its time (0.06 s against 5.5 s for 150
points), because factorisations and kernels are shared over a grid. ``GaussianProcess`` has a predictive
uncertainty.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from sklearn.model_selection import KFold
from sklearn.svm import SVR

from simq.archive import Archive
from simq.genome import Array, Genomes, Key, unique_indices

RIDGE_STRENGTHS = np.arange(1, 101) / 10
"""Grid of ridge strengths in the public code."""
SVR_STRENGTHS = np.arange(1.0, 101.0)
"""Grid of values of C in the public code."""
FOLDS = 5
"""Folds of the cross-validation in the public code."""


def fit_published_predictor(
    x: Array, y: Array, strengths_c: Array = SVR_STRENGTHS
) -> Callable[[Array], Array]:
    """Fit LINAS' predictor to features ``[n, k]`` and one objective ``[n]``, and return it as a function.

    Columns that are zero in all of ``x`` are not used: the public code encodes only values in its data.
    """
    used = x.any(axis=0)
    x = x[:, used]
    scale = 10.0 ** (math.floor(math.log10(np.abs(y).max())) - 1) if np.abs(y).max() > 0 else 1.0
    y = y / scale
    gamma = 1 / max(x.shape[1], 1)
    kernel = np.exp(-gamma * squared_distances(x, x))
    ridge_error, svr_error = np.zeros(len(RIDGE_STRENGTHS)), np.zeros(len(strengths_c))
    for train, test in KFold(FOLDS).split(x):
        weights, bias = ridge_path(x[train], y[train], RIDGE_STRENGTHS)
        ridge_error += relative_errors(y[test], weights @ x[test].T + bias[:, None])
        inside, across = kernel[np.ix_(train, train)], kernel[np.ix_(test, train)]
        solutions = support_vector_path(inside, y[train], strengths_c)
        predictions = [across @ weights + bias for weights, bias in solutions]
        svr_error += relative_errors(y[test], np.array(predictions))
    if ridge_error.min() <= svr_error.min():
        weights, bias = ridge_path(x, y, RIDGE_STRENGTHS[[int(ridge_error.argmin())]])
        return lambda new: scale * (new[:, used] @ weights[0] + bias[0])
    least = strengths_c[int(svr_error.argmin())]
    support, offset = support_vector_path(kernel, y, strengths_c[strengths_c >= least])[0]
    return lambda new: scale * (np.exp(-gamma * squared_distances(new[:, used], x)) @ support + offset)


def ridge_path(x: Array, y: Array, strengths: Array) -> tuple[Array, Array]:
    """Return weights ``[s, k]`` and biases ``[s]`` of the ridge regression at each of ``s`` strengths."""
    mean, level = x.mean(axis=0), y.mean()
    u, values, vt = np.linalg.svd(x - mean, full_matrices=False)
    shrunk = values / (values**2 + strengths[:, None])
    weights = (shrunk * (u.T @ (y - level))) @ vt
    return weights, level - weights @ mean


def support_vector_path(kernel: Array, y: Array, strengths_c: Array) -> list[tuple[Array, float]]:
    """Return support vector regressions without a tube: weights ``[n]`` and bias at each ascending C.

    The largest C, with few weights at a bound, is solved first; each further one starts from the bounds of
    the one before. If all weights are inside their bounds, larger values of C change nothing.

    Args:
        kernel: of the training rows ``[n, n]``.
    """
    solutions: list[tuple[Array, float]] = []
    bounds = np.zeros(len(y), dtype=np.int64)
    for c in strengths_c[::-1]:
        if solutions and np.abs(solutions[-1][0]).max() <= c:
            solutions.append(solutions[-1])
            continue
        exact = _exact(kernel, y, c, bounds)
        if exact is None:
            solutions.append(_iterated(kernel, y, c))
            bounds = np.zeros(len(y), dtype=np.int64)
        else:
            *solution, bounds = exact
            solutions.append((solution[0], solution[1]))
    return solutions[::-1]


RIDGE = 1e-8
"""Constant added to a kernel's diagonal, because rows can be equal: a thousandth of libsvm's tolerance at
C = 100."""
EDGE = 1e-9
"""Tolerance beyond a bound."""


def _exact(
    kernel: Array, y: Array, c: float, bounds: NDArray[np.int64]
) -> tuple[Array, float, NDArray[np.int64]] | None:
    """Return weights, bias and the bound of each weight (-1, 1; 0 for none); None if the iteration cycles.

    Primal-dual active sets (Hintermueller, Ito and Kunisch 2002): with assumed bounds the rest is a linear
    system, whose solution shows which bounds were wrong.
    """
    visited: set[bytes] = set()
    while bounds.tobytes() not in visited:
        visited.add(bounds.tobytes())
        free = np.flatnonzero(bounds == 0)
        if not len(free):
            return None
        weights = c * bounds
        inside = kernel[np.ix_(free, free)]
        inside.flat[:: len(free) + 1] += RIDGE
        right = np.stack([y[free] - kernel[free] @ weights, np.ones(len(free))])
        factor, failed = lapack.dpotrf(inside.T, lower=1, overwrite_a=1, clean=0)
        if failed:
            return None
        solved, ones = lapack.dpotrs(factor, right.T, lower=1)[0].T
        bias = float((solved.sum() + weights.sum()) / ones.sum())
        weights[free] = solved - bias * ones
        rest = y - kernel @ weights - bias
        high = np.where(bounds == 1, rest > -EDGE, (bounds == 0) & (weights > c * (1 + EDGE)))
        low = np.where(bounds == -1, rest < EDGE, (bounds == 0) & (weights < -c * (1 + EDGE)))
        if (high == (bounds == 1)).all() and (low == (bounds == -1)).all():
            return weights, bias, bounds
        bounds = high.astype(np.int64) - low
    return None


def _iterated(kernel: Array, y: Array, c: float) -> tuple[Array, float]:
    """Return weights ``[n]`` and bias by libsvm, to its tolerance."""
    model = SVR(kernel="precomputed", C=c, epsilon=0.0)
    model.random_state = 0  # else it draws, for nothing, from NumPy's global state
    model.fit(kernel, y)
    weights = np.zeros(len(y))
    weights[model.support_] = model.dual_coef_[0]
    return weights, float(model.intercept_[0])


def relative_errors(y: Array, predicted: Array) -> Array:
    """Return the mean relative error ``[s]`` of each row of ``predicted`` ``[s, n]``."""
    error: Array = (np.abs(predicted - y) / np.maximum(np.abs(y), np.finfo(float).eps)).mean(axis=1)
    return error


def squared_distances(a: Array, b: Array) -> Array:
    """Return the squared Euclidean distances ``[n, m]`` of rows of ``a`` and ``b``."""
    both: Array = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
    return np.maximum(both, 0)


class Covariances:
    """Prior covariances among rows of features, factored once for all objectives.

    Args:
        x: features ``[n, k]``.

    Attributes:
        mean_squared_distance: over all pairs of rows.
        mean_squared_norm: squared distance of a row from the centre, on average.
    """

    def __init__(self, x: Array) -> None:
        self.x, self.centre = x, x.mean(axis=0)
        self._squared, self._products = squared_distances(x, x), (x - self.centre) @ (x - self.centre).T
        self.mean_squared_distance = float(self._squared.mean()) or 1.0
        self.mean_squared_norm = float(np.trace(self._products)) / len(x) or 1.0
        self._near: dict[float, Array] = {}
        self._sums: dict[tuple[float, float], Array] = {}
        self._factors: dict[tuple[float, float, float], tuple[Array, float] | None] = {}

    def factor(self, length: float, linear: float, noise: float) -> tuple[Array, float] | None:
        """Return the lower Cholesky factor and half the log determinant; None if not positive definite."""
        key = length, linear, noise
        if key not in self._factors:
            self._factors[key] = self._factored(self._sum(length, linear), noise)
        return self._factors[key]

    def _sum(self, length: float, linear: float) -> Array:
        if length not in self._near:
            self._near[length] = np.exp(-self._squared / (2 * length * self.mean_squared_distance))
        if (length, linear) not in self._sums:
            near = self._near[length]
            self._sums[length, linear] = (
                linear * self._products / self.mean_squared_norm + (1 - linear) * near
            )
        return self._sums[length, linear]

    @staticmethod
    def _factored(covariance: Array, noise: float) -> tuple[Array, float] | None:
        noisy = covariance.copy()
        noisy.flat[:: len(noisy) + 1] += noise
        # Symmetric: its transpose is the same matrix in the order that LAPACK overwrites.
        lower, failed = lapack.dpotrf(noisy.T, lower=1, overwrite_a=1)
        return None if failed else (lower, float(np.log(np.diag(lower)).sum()))


class GaussianProcess:
    """Gaussian process with a linear kernel plus a squared exponential over the features, and noise.

    Length scale, share of the linear part and noise maximize the marginal likelihood over a grid. Noise is
    increased as long as the likelihood grows. No random numbers are drawn.

    Args:
        x: features ``[n, k]``, or their ``Covariances``, which several objectives can share.
        y: one objective ``[n]``.
    """

    LENGTHS = (0.15, 0.3, 0.6, 1.2)
    """Squared length scales, in units of the mean squared distance of the data."""
    LINEAR = (0.1, 0.5, 0.9)
    NOISE = (1e-6, 1e-3, 1e-2, 1e-1)

    def __init__(self, x: Array | Covariances, y: Array) -> None:
        among = x if isinstance(x, Covariances) else Covariances(x)
        self._x, self._centre = among.x, among.centre
        self._squared_distance, self._squared_norm = among.mean_squared_distance, among.mean_squared_norm
        self._level, self._spread = float(y.mean()), float(y.std()) or 1.0
        target = (y - self._level) / self._spread
        best = -math.inf
        for length, linear in itertools.product(self.LENGTHS, self.LINEAR):
            before = -math.inf
            for noise in self.NOISE:
                factor = among.factor(length, linear, noise)
                likely = -math.inf if factor is None else _likelihood(*factor, target)
                if likely > best:
                    best, self.length, self.linear, self.noise = likely, length, linear, noise
                if -math.inf < likely <= before:
                    break
                before = likely
        best_factor = among.factor(self.length, self.linear, self.noise)
        assert best_factor is not None
        self._factor = best_factor[0]
        self._weights = lapack.dpotrs(self._factor, target, lower=1)[0]

    def covariance(self, a: Array, b: Array) -> Array:
        """Return the prior covariance ``[n, m]`` of two sets of features, in units of the data's variance."""
        near = np.exp(-squared_distances(a, b) / (2 * self.length * self._squared_distance))
        inner = (a - self._centre) @ (b - self._centre).T / self._squared_norm
        return self.linear * inner + (1 - self.linear) * near

    def mean(self, x: Array) -> Array:
        """Return the posterior mean ``[n]``."""
        return self._level + self._spread * (self.covariance(x, self._x) @ self._weights)

    def mean_and_deviation(self, x: Array) -> tuple[Array, Array]:
        """Return posterior mean and standard deviation without noise, both ``[n]``."""
        across = self.covariance(x, self._x)
        known = self._explained(across)
        own = self.linear * ((x - self._centre) ** 2).sum(axis=1) / self._squared_norm + (1 - self.linear)
        variance = np.maximum(own - (known**2).sum(axis=0), 0)
        return self._level + self._spread * (across @ self._weights), self._spread * np.sqrt(variance)

    def draws(self, x: Array, count: int, rng: np.random.Generator) -> Array:
        """Draw joint samples of the posterior ``[count, n]``."""
        across = self.covariance(x, self._x)
        known = self._explained(across)
        posterior = self.covariance(x, x) - known.T @ known
        root = np.linalg.cholesky(posterior + 1e-6 * np.eye(len(x)))
        normal = rng.standard_normal((count, len(x)))
        return self._level + self._spread * (across @ self._weights + normal @ root.T)

    def _explained(self, across: Array) -> Array:
        solved: Array = lapack.dtrtrs(self._factor, across.T, lower=1)[0]
        return solved


def _likelihood(lower: Array, half: float, target: Array) -> float:
    """Return the log marginal likelihood up to a constant, at the most likely scale of the covariance."""
    white = lapack.dtrtrs(lower, target, lower=1)[0]
    scale = max(float(white @ white) / len(target), 1e-300)
    return -0.5 * len(target) * math.log(scale) - half


class Predictions:
    """Cached predictions of several objectives.

    An objective that needs no measurement is exact, with deviation 0. Each other objective has a Gaussian
    process over the measured points.

    Args:
        archive: the measured points and the evaluator.
        on_predict: called with the number of predictions.
    """

    def __init__(self, archive: Archive, on_predict: Callable[[int], None] = lambda count: None) -> None:
        genes, rows = archive.genes, archive.rows
        among = Covariances(genes.features(archive.genomes))
        self._known = archive.evaluator.known
        exact = np.isfinite(self._known(archive.genomes[:1])[0])
        self.models = {i: GaussianProcess(among, rows[:, i]) for i in np.flatnonzero(~exact).tolist()}
        """Column -> Gaussian process."""
        self._genes, self._on_predict = genes, on_predict
        self._indices: dict[Key, int] = {}
        self._cache = np.zeros((0, 2, rows.shape[1]))

    def __call__(self, genomes: Genomes) -> tuple[Array, Array]:
        """Return means and standard deviations, both ``[n, m]``."""
        keys = self._genes.keys(genomes)
        fresh = [i for i in unique_indices(keys) if keys[i] not in self._indices]
        if fresh:
            self._on_predict(len(self.models) * len(fresh))
            x = self._genes.features(genomes[fresh])
            predicted = np.zeros((len(fresh), 2, self._cache.shape[2]))
            predicted[:, 0] = self._known(genomes[fresh])
            for column, model in self.models.items():
                predicted[:, 0, column], predicted[:, 1, column] = model.mean_and_deviation(x)
            self._indices |= {keys[i]: at for at, i in enumerate(fresh, len(self._cache))}
            self._cache = np.concatenate([self._cache, predicted])
        both = self._cache[[self._indices[key] for key in keys]]
        return both[:, 0], both[:, 1]

    def draws(self, genomes: Genomes, count: int, rng: np.random.Generator) -> Array:
        """Return joint samples of the posterior ``[count, n, m]``; known objectives are the same in all."""
        self._on_predict(len(self.models) * len(genomes))
        samples = np.repeat(self._known(genomes)[None], count, axis=0)
        x = self._genes.features(genomes)
        for column, model in self.models.items():
            samples[:, :, column] = model.draws(x, count, rng)
        return samples
