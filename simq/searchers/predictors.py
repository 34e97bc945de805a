"""Predictors of an objective from features of genomes: the public code's, and one that knows its doubt.

``published`` is LINAS as coded: ridge regressions and support vector regressions over two grids of strengths,
the one with the least relative error in fivefold cross-validation. It gives what scikit-learn's
``GridSearchCV`` gives, but shares factorisations and kernels over a grid.
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
from simq.genome import Array, Genomes, Key, firsts

RIDGES = np.arange(1, 101) / 10
"""Strengths of the public grid."""
BOXES = np.arange(1.0, 101.0)
"""Values of C of the public grid."""
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
        guessed = [across @ weights + bias for weights, bias in supported(inside, y[train], boxes)]
        box_error += relative(y[test], np.array(guessed))
    if ridge_error.min() <= box_error.min():
        weights, bias = ridge(x, y, RIDGES[[int(ridge_error.argmin())]])
        return lambda new: scale * (new[:, seen] @ weights[0] + bias[0])
    least = boxes[int(box_error.argmin())]
    support, offset = supported(kernel, y, boxes[boxes >= least])[0]
    return lambda new: scale * (np.exp(-gamma * squares(new[:, seen], x)) @ support + offset)


def ridge(x: Array, y: Array, strengths: Array) -> tuple[Array, Array]:
    """Weights ``[s, k]`` and biases ``[s]`` of the ridge regression at each strength."""
    mean, level = x.mean(axis=0), y.mean()
    left, values, right = np.linalg.svd(x - mean, full_matrices=False)
    shrunk = values / (values**2 + strengths[:, None])
    weights = (shrunk * (left.T @ (y - level))) @ right
    return weights, level - weights @ mean


def supported(kernel: Array, y: Array, boxes: Array) -> list[tuple[Array, float]]:
    """Support vector regressions without a tube: weights ``[n]`` and bias at each value of C, ascending.

    The largest C is solved first, where few weights are at a bound; each further one starts from the
    bounds of the one before. Where all weights are inside, larger values of C change nothing.

    Args:
        kernel: of the training rows ``[n, n]``.
    """
    found: list[tuple[Array, float]] = []
    bounds = np.zeros(len(y), dtype=np.int64)
    for c in boxes[::-1]:
        if found and np.abs(found[-1][0]).max() <= c:
            found.append(found[-1])
            continue
        exact = _exact(kernel, y, c, bounds)
        if exact is None:
            found.append(_iterated(kernel, y, c))
            bounds = np.zeros(len(y), dtype=np.int64)
        else:
            *solution, bounds = exact
            found.append((solution[0], solution[1]))
    return found[::-1]


RIDGE = 1e-8
"""Added to a kernel's diagonal: rows can be equal. A thousandth of libsvm's tolerance at C = 100."""
EDGE = 1e-9
"""What counts as beyond a bound."""


def _exact(
    kernel: Array, y: Array, c: float, bounds: NDArray[np.int64]
) -> tuple[Array, float, NDArray[np.int64]] | None:
    """Weights, bias and which weights are at which bound (-1, 1; 0: at none); None: it went in circles.

    Primal-dual active sets (Hintermueller, Ito and Kunisch, 2002): with guessed bounds the rest is a linear
    system, whose solution says which bounds were guessed wrong.
    """
    seen: set[bytes] = set()
    while bounds.tobytes() not in seen:
        seen.add(bounds.tobytes())
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
    """The same by libsvm, to its tolerance."""
    model = SVR(kernel="precomputed", C=c, epsilon=0.0)
    model.random_state = 0  # else it draws, for nothing, from NumPy's global state
    model.fit(kernel, y)
    weights = np.zeros(len(y))
    weights[model.support_] = model.dual_coef_[0]
    return weights, float(model.intercept_[0])


def relative(y: Array, guessed: Array) -> Array:
    """Mean relative error of each row of ``guessed`` ``[s, n]``."""
    error: Array = (np.abs(guessed - y) / np.maximum(np.abs(y), np.finfo(float).eps)).mean(axis=1)
    return error


def squares(a: Array, b: Array) -> Array:
    """Squared distances ``[n, m]``."""
    both: Array = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
    return np.maximum(both, 0)


class Covariances:
    """Covariances among the rows of some features, factored: the same for whatever is predicted from them.

    Args:
        x: features ``[n, k]``.
    """

    def __init__(self, x: Array) -> None:
        self.x, self.centre = x, x.mean(axis=0)
        self._squares, self._products = squares(x, x), (x - self.centre) @ (x - self.centre).T
        self.apart = float(self._squares.mean()) or 1.0
        """Mean squared distance."""
        self.inner = float(np.trace(self._products)) / len(x) or 1.0
        """Mean squared distance from the centre."""
        self._near: dict[float, Array] = {}
        self._sums: dict[tuple[float, float], Array] = {}
        self._factors: dict[tuple[float, float, float], tuple[Array, float] | None] = {}

    def factor(self, length: float, linear: float, noise: float) -> tuple[Array, float] | None:
        """Lower Cholesky factor and half the logarithm of the determinant; None: not positive definite."""
        asked = length, linear, noise
        if asked not in self._factors:
            self._factors[asked] = self._factored(self._sum(length, linear), noise)
        return self._factors[asked]

    def _sum(self, length: float, linear: float) -> Array:
        if length not in self._near:
            self._near[length] = np.exp(-self._squares / (2 * length * self.apart))
        if (length, linear) not in self._sums:
            near = self._near[length]
            self._sums[length, linear] = linear * self._products / self.inner + (1 - linear) * near
        return self._sums[length, linear]

    @staticmethod
    def _factored(covariance: Array, noise: float) -> tuple[Array, float] | None:
        noisy = covariance.copy()
        noisy.flat[:: len(noisy) + 1] += noise
        # Symmetric: its transpose is the same matrix in the order that LAPACK overwrites.
        lower, failed = lapack.dpotrf(noisy.T, lower=1, overwrite_a=1)
        return None if failed else (lower, float(np.log(np.diag(lower)).sum()))


class GaussianProcess:
    """A Gaussian process whose mean is linear in the options, with interactions on top.

    Its covariance is a linear kernel plus a squared exponential over the features, with noise; length, share
    of the linear part and noise are those of a grid under which the data are most likely. No random numbers.

    Noise is tried from the least upwards, as long as that makes the data likelier.

    Args:
        x: features ``[n, k]``, or their covariances, which processes of several objectives share.
        y: one objective ``[n]``.
    """

    LENGTHS = (0.15, 0.3, 0.6, 1.2)
    """Squared, in units of the mean squared distance of the data."""
    LINEAR = (0.1, 0.5, 0.9)
    NOISE = (1e-6, 1e-3, 1e-2, 1e-1)

    def __init__(self, x: Array | Covariances, y: Array) -> None:
        among = x if isinstance(x, Covariances) else Covariances(x)
        self._x, self._centre, self._apart, self._inner = among.x, among.centre, among.apart, among.inner
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
        found = among.factor(self.length, self.linear, self.noise)
        assert found is not None
        self._factor = found[0]
        self._weights = lapack.dpotrs(self._factor, target, lower=1)[0]

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
        known = self._known(across)
        own = self.linear * ((x - self._centre) ** 2).sum(axis=1) / self._inner + (1 - self.linear)
        variance = np.maximum(own - (known**2).sum(axis=0), 0)
        return self._level + self._spread * (across @ self._weights), self._spread * np.sqrt(variance)

    def draws(self, x: Array, count: int, rng: np.random.Generator) -> Array:
        """Joint samples of the posterior ``[count, n]``."""
        across = self.covariance(x, self._x)
        known = self._known(across)
        left = self.covariance(x, x) - known.T @ known
        root = np.linalg.cholesky(left + 1e-6 * np.eye(len(x)))
        normal = rng.standard_normal((count, len(x)))
        return self._level + self._spread * (across @ self._weights + normal @ root.T)

    def _known(self, across: Array) -> Array:
        found: Array = lapack.dtrtrs(self._factor, across.T, lower=1)[0]
        return found


def _likelihood(lower: Array, half: float, target: Array) -> float:
    """Log likelihood but for a constant; the scale of the covariance is the likeliest one."""
    white = lapack.dtrtrs(lower, target, lower=1)[0]
    scale = max(float(white @ white) / len(target), 1e-300)
    return -0.5 * len(target) * math.log(scale) - half


class Predictions:
    """Predictions of several objectives, made once for each point.

    An objective that needs no measurement is exact and has no deviation. Each other objective has a Gaussian
    process over the measured points.

    Args:
        archive: the measured points and the evaluator.
        called: receives the number of predictions made.
    """

    def __init__(self, archive: Archive, called: Callable[[int], None] = lambda count: None) -> None:
        genes, rows = archive.genes, archive.rows
        among = Covariances(genes.features(archive.genomes))
        self._known = archive.evaluator.known
        exact = np.isfinite(self._known(archive.genomes[:1])[0])
        self.models = {i: GaussianProcess(among, rows[:, i]) for i in np.flatnonzero(~exact).tolist()}
        """Column -> its model."""
        self._genes, self._called = genes, called
        self._places: dict[Key, int] = {}
        self._told = np.zeros((0, 2, rows.shape[1]))

    def __call__(self, genomes: Genomes) -> tuple[Array, Array]:
        """Means and standard deviations, both ``[n, m]``."""
        keys = self._genes.keys(genomes)
        fresh = [i for i in firsts(keys) if keys[i] not in self._places]
        if fresh:
            self._called(len(self.models) * len(fresh))
            x = self._genes.features(genomes[fresh])
            told = np.zeros((len(fresh), 2, self._told.shape[2]))
            told[:, 0] = self._known(genomes[fresh])
            for column, model in self.models.items():
                told[:, 0, column], told[:, 1, column] = model.mean_and_deviation(x)
            self._places |= {keys[i]: at for at, i in enumerate(fresh, len(self._told))}
            self._told = np.concatenate([self._told, told])
        both = self._told[[self._places[key] for key in keys]]
        return both[:, 0], both[:, 1]

    def draws(self, genomes: Genomes, count: int, rng: np.random.Generator) -> Array:
        """Return joint samples of the posterior ``[count, n, m]``; known objectives are the same in all."""
        self._called(len(self.models) * len(genomes))
        samples = np.repeat(self._known(genomes)[None], count, axis=0)
        x = self._genes.features(genomes)
        for column, model in self.models.items():
            samples[:, :, column] = model.draws(x, count, rng)
        return samples
