"""The latency predictor on made-up devices whose true latency is known."""

import numpy as np
import pytest

from supernet.predict import LatencyPredictor, features
from supernet.space import Architecture, Choice, SearchSpace, get_space


def true_latency(arch: Architecture) -> float:
    """A device of the plain kind: every layer costs a constant and its matrix products."""
    enc, dec = arch["encoder_embed_dim"], arch["decoder_embed_dim"]
    encoder = sum(0.3 + enc * ffn / 1e5 for ffn in arch["encoder_ffn"])
    decoder = sum(
        5 + dec * ffn / 3e4 + 0.8 * {-1: 1, 1: 2, 2: 3}[source]
        for ffn, source in zip(arch["decoder_ffn"], arch["decoder_cross_source"], strict=True)
    )
    return 4 + encoder + decoder


def sample(space: SearchSpace, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    archs = [space.sample(rng) for _ in range(n)]
    return features(space, archs), np.array([true_latency(arch) for arch in archs])


def mape(predicted: np.ndarray, truth: np.ndarray) -> float:
    return float(100 * np.mean(np.abs(predicted / truth - 1)))


@pytest.mark.parametrize("name", ["hat-space1", "multi30k-xs", "mt-smoke"])
@pytest.mark.parametrize(("n", "bound"), [(40, 4.0), (200, 2.0)])
def test_few_clean_samples_are_enough(name: str, n: int, bound: float) -> None:
    space = get_space(name)
    x, y = sample(space, n, 1)
    new_x, new_y = sample(space, 500, 2)
    predictor = LatencyPredictor.for_space(space).fit(x, y)
    assert mape(predictor.predict(new_x), new_y) < bound
    assert predictor.loo_mape < 2 * bound


def test_never_much_worse_than_depth_alone_in_heavy_noise() -> None:
    space = get_space("hat-space0")
    depth = [choice.name for choice in space.choices].index("decoder_layers")
    new_x, new_y = sample(space, 1000, 99)
    ours, alone = [], []
    for seed in range(8):
        x, y = sample(space, 60, seed)
        noisy = y * np.random.default_rng(seed).lognormal(0, 0.2, len(y))
        ours.append(mape(LatencyPredictor.for_space(space).fit(x, noisy).predict(new_x), new_y))
        line = np.polyfit(x[:, depth], noisy, 1)
        alone.append(mape(np.polyval(line, new_x[:, depth]), new_y))
    assert np.mean(ours) < 1.02 * np.mean(alone)


def test_slow_outliers_do_not_drag_the_typical_prediction_along() -> None:
    space = get_space("multi30k-xs")
    x, y = sample(space, 200, 3)
    spoilt = y.copy()
    spoilt[::20] *= 4
    new_x, new_y = sample(space, 500, 4)
    squares = np.linalg.lstsq(np.c_[np.ones(len(x)), x], spoilt, rcond=None)[0]
    plain = mape(np.c_[np.ones(len(new_x)), new_x] @ squares, new_y)
    ours = mape(LatencyPredictor.for_space(space).fit(x, spoilt).predict(new_x), new_y)
    assert ours < 0.8 * plain


def test_fitting_twice_gives_the_same_numbers() -> None:
    space = get_space("mt-smoke")
    x, y = sample(space, 50, 0)
    first, second = (LatencyPredictor.for_space(space).fit(x, y).predict(x) for _ in range(2))
    assert np.array_equal(first, second)


def test_order_and_unit_of_the_samples_do_not_matter() -> None:
    space = get_space("mt-smoke")
    x, y = sample(space, 60, 0)
    order = np.random.default_rng(1).permutation(len(y))
    base = LatencyPredictor.for_space(space).fit(x, y).predict(x)
    shuffled = LatencyPredictor.for_space(space).fit(x[order], y[order]).predict(x)
    scaled = LatencyPredictor.for_space(space).fit(x * 7, y * 1000).predict(x * 7)
    assert np.allclose(shuffled, base, rtol=1e-4)
    assert np.allclose(scaled, base * 1000, rtol=1e-4)


def test_leave_one_out_error_is_that_of_leaving_one_out() -> None:
    space = get_space("mt-smoke")
    x, y = sample(space, 80, 5)
    noisy = y * np.random.default_rng(0).lognormal(0, 0.05, len(y))
    whole = LatencyPredictor.for_space(space).fit(x, noisy)
    errors = []
    for i in range(len(y)):
        keep = np.arange(len(y)) != i
        errors.append(
            float(LatencyPredictor.for_space(space).fit(x[keep], noisy[keep]).predict(x[i])[0] - noisy[i])
        )
    assert whole.loo_rmse == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=0.1)


@pytest.mark.parametrize("constant", ["all", "depth"])
def test_features_that_do_not_vary_are_no_trouble(constant: str) -> None:
    space = get_space("mt-smoke")
    x, y = sample(space, 30, 0)
    x = np.ones_like(x) if constant == "all" else np.where(np.arange(x.shape[1]) == 5, 1.0, x)
    predicted = LatencyPredictor.for_space(space).fit(x, y).predict(x)
    assert np.isfinite(predicted).all()
    if constant == "all":
        assert np.ptp(predicted) < 1e-6
        assert 0.9 * np.median(y) < predicted[0] < 1.1 * np.mean(y)


def test_a_space_without_depth_gets_a_quadratic_model() -> None:
    space = SearchSpace("widths", [Choice(f"w{i}", (120, 240, 480, 768)) for i in range(6)])
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(300)]
    y = np.array([5 + sum(a[f"w{i}"] * a[f"w{(i + 1) % 6}"] for i in range(6)) / 1e5 for a in archs])
    x = features(space, archs)
    predictor = LatencyPredictor.for_space(space).fit(x[:150], y[:150])
    assert predictor.depths == ()
    assert mape(predictor.predict(x[150:]), y[150:]) < 1.0


def test_predictions_are_positive_far_outside_the_samples() -> None:
    space = get_space("hat-space0")
    x, y = sample(space, 20, 0)
    assert LatencyPredictor.for_space(space).fit(x, y).predict(x * -3).min() > 0


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.ones((4, 2)), np.ones(4), "at least 8"),
        (np.ones((9, 2)), np.ones(8), r"\(9, 2\) and \(8,\)"),
        (np.ones(9), np.ones(9), "are needed"),
        (np.ones((9, 2)), np.zeros(9), "positive"),
        (np.full((9, 2), np.nan), np.ones(9), "finite"),
        (np.ones((9, 2)), np.full(9, np.nan), "finite"),
    ],
)
def test_bad_samples_are_refused(x: np.ndarray, y: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LatencyPredictor().fit(x, y)


def test_prediction_needs_a_fit_and_the_same_features() -> None:
    with pytest.raises(ValueError, match="call fit first"):
        LatencyPredictor().predict(np.ones((1, 3)))
    fitted = LatencyPredictor().fit(np.random.default_rng(0).random((20, 3)), np.arange(1.0, 21.0))
    with pytest.raises(ValueError, match=r"\[n, 3\]"):
        fitted.predict(np.ones((1, 4)))
