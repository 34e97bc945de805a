"""Predictors against scikit-learn's own."""

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVR

from simq.searchers.predictors import (
    RIDGE_STRENGTHS,
    SVR_STRENGTHS,
    Covariances,
    GaussianProcess,
    _likelihood,
    fit_published_predictor,
    squared_distances,
    support_vector_path,
)

RNG = np.random.default_rng(0)


def data(count: int = 40, bend: float = 0.0):
    x = RNG.integers(0, 2, size=(count, 12)).astype(float)
    y = 30 + x @ RNG.random(12) + bend * np.prod(x[:, :2] - 0.5, axis=1)
    return x, y


def test_the_published_predictor_is_that_of_a_grid_search() -> None:
    new = data()[0]
    for bend in (0.0, 30.0):
        x, y = data(bend=bend)
        scale = 10.0 ** (np.floor(np.log10(np.abs(y).max())) - 1)
        searches = [
            GridSearchCV(Ridge(), {"alpha": RIDGE_STRENGTHS}, scoring="neg_mean_absolute_percentage_error"),
            GridSearchCV(
                SVR(gamma="auto", epsilon=0.0),
                {"C": SVR_STRENGTHS},
                scoring="neg_mean_absolute_percentage_error",
            ),
        ]
        best = max((s.fit(x, y / scale) for s in searches), key=lambda s: s.best_score_)
        assert np.allclose(
            fit_published_predictor(x, y, SVR_STRENGTHS)(new), scale * best.predict(new), rtol=2e-3
        )


def test_the_published_predictor_ignores_unseen_values() -> None:
    x, y = data()
    x[:, 3] = 0
    new = x[:5].copy()
    new[:, 3] = 1
    model = fit_published_predictor(x, y, SVR_STRENGTHS)
    assert (model(new) == model(x[:5])).all()


def test_the_gaussian_process_is_the_one_of_scikit_learn() -> None:
    x, y = data(bend=3.0)
    ours = GaussianProcess(x, y)
    centred, spread = x - x.mean(axis=0), y.std()
    kernel = (
        ConstantKernel(ours.linear / ours._squared_norm) * DotProduct(sigma_0=0)
        + ConstantKernel(1 - ours.linear) * RBF(np.sqrt(ours.length * ours._squared_distance))
        + WhiteKernel(ours.noise)
    )
    theirs = GaussianProcessRegressor(kernel, optimizer=None, alpha=0).fit(centred, (y - y.mean()) / spread)
    new = data()[0]
    mean, deviation = theirs.predict(new - x.mean(axis=0), return_std=True)
    ours_mean, ours_deviation = ours.mean_and_deviation(new)
    assert np.allclose(ours_mean, y.mean() + spread * mean, rtol=1e-6)
    assert np.allclose(ours.mean(new), ours_mean)
    assert np.allclose(ours_deviation**2, spread**2 * (deviation**2 - ours.noise), atol=1e-6)


def test_samples_have_the_posterior_s_moments() -> None:
    x, y = data(bend=3.0)
    model, new = GaussianProcess(x, y), data(8)[0]
    drawn = model.draws(new, 4000, np.random.default_rng(1))
    mean, deviation = model.mean_and_deviation(new)
    assert np.allclose(drawn.mean(axis=0), mean, atol=5 * deviation.max() / 60 + 1e-2)
    assert np.allclose(drawn.std(axis=0), deviation, rtol=0.1, atol=5e-3 * y.std())


def test_a_constant_objective_is_predicted() -> None:
    x, _ = data()
    assert np.allclose(GaussianProcess(x, np.full(len(x), 3.0)).mean(x), 3.0)


def test_support_vectors_are_those_of_libsvm_to_its_tolerance() -> None:
    for bend in (0.0, 30.0):
        x, y = data(80, bend)
        x[1] = x[0]  # an equal row: the kernel is singular
        kernel = np.exp(-squared_distances(x, x) / x.shape[1])
        for c, (weights, bias) in zip(
            SVR_STRENGTHS, support_vector_path(kernel, y, SVR_STRENGTHS), strict=True
        ):
            theirs = SVR(kernel="precomputed", C=c, epsilon=0.0, tol=1e-6).fit(kernel, y)
            assert np.abs(weights).max() <= c * (1 + 1e-8) and abs(weights.sum()) < 1e-6
            assert np.allclose(kernel @ weights + bias, theirs.predict(kernel), atol=1e-4)


def test_climbing_the_noise_finds_the_likeliest_of_the_whole_grid() -> None:
    for bend in (0.0, 3.0, 30.0):
        x, y = data(60, bend)
        among, target = Covariances(x), (y - y.mean()) / y.std()
        grid = {
            (length, linear, noise): _likelihood(*among.factor(length, linear, noise), target)
            for length in GaussianProcess.LENGTHS
            for linear in GaussianProcess.LINEAR
            for noise in GaussianProcess.NOISE
        }
        ours = GaussianProcess(among, y)
        assert (ours.length, ours.linear, ours.noise) == max(grid, key=lambda at: grid[at])
