"""Fake quantisation against the real runtimes, against numpy, and against itself in other batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from supernet.bert import BertConfig, family_of
from supernet.families import image_family
from supernet.quantization import fake_quantize
from supernet.quantization.fake_quantize import FakeQuantized, levels
from supernet.quantization.precisions import PRECISIONS, STATIC, choices, policy_bytes, quantize, units
from supernet.quantization.rounding import GROUP, stored_bytes, w4_grid, w8_grid
from supernet.space import get_space
from tests.processor import VNNI, needs_vnni

WORDS = 120
seeds = st.integers(0, 2**32 - 1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


KINDS = ("bert-smoke", "vit-smoke", "resnet-smoke", "vl-smoke")


def inputs(kind: str) -> tuple[Tensor, ...]:
    """Return six samples of a network's input."""
    x = network(kind)[1]
    text = torch.randint(5, WORDS, (6, 7), generator=generator(1))
    return (x, text) if kind == "vl-smoke" else (x,)


def network(kind: str) -> tuple[nn.Module, Tensor]:
    """A network whose outputs differ by more than chance, and six samples."""
    torch.manual_seed(5)
    space = get_space(kind)
    if kind.startswith("bert"):
        module = family_of(space)(space, BertConfig(WORDS)).build(space.largest())
        return module.eval(), torch.randint(5, WORDS, (6, 10), generator=generator())
    words, side = ({"vocab": WORDS, "text": 7}, 32) if kind == "vl-smoke" else ({}, 8)
    module = image_family(space, 10, image=side, channels=1, **words).build(space.largest())
    return module.eval(), torch.randn(6, 1, side, side, generator=generator())


DYNAMIC = tuple(precision for precision in PRECISIONS if precision != STATIC)
"""Precisions that need no ranges; the others are in test_onnx_static.py."""


def drawn(module: nn.Module, seed: int, among: tuple[str, ...] = DYNAMIC) -> dict[str, str]:
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in units(module).items():
        found[name] = str(rng.choice([one for one in choices(shape) if one in among]))
    return found


@needs_vnni
@pytest.mark.parametrize("kind", KINDS)
def test_fifty_policies_agree_with_onnx_runtime(kind: str) -> None:
    """The gate: the same class for 99.5 % of items, outputs within 1 % of their length."""
    pytest.importorskip("onnx", reason="needs the extra onnx")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from benchmarks.measurement.tracing import trace_network
    from supernet.quantization.onnx_runtime import Ort

    (module, _), given = network(kind), inputs(kind)
    policies = [drawn(module, seed, ("fp32", "int8", "w4")) for seed in range(50)]
    found = FakeQuantized(module, runtime="ort")(policies, *given)
    written = trace_network(module, [x[:2] for x in given])
    real = torch.stack([Ort(written, policy).one_by_one()(*given) for policy in policies])
    with torch.no_grad():
        moved = (real - module(*given)).norm()
    assert (found - real).norm() <= 0.01 * real.norm() and (found - real).norm() < 0.2 * moved
    assert (found.argmax(-1) == real.argmax(-1)).float().mean() >= 0.995


@pytest.mark.parametrize("kind", ["bert-smoke", "vit-smoke", "resnet-smoke"])
def test_fake_quantisation_agrees_with_torchs_layers_on_one_sample(kind: str) -> None:
    module, x = network(kind)
    policies = [drawn(module, seed) for seed in range(6)]
    found = FakeQuantized(module)(policies, x[:1])
    with torch.no_grad():
        real = torch.stack([quantize(module, policy)(x[:1]) for policy in policies])
    assert (found - real).norm() <= 0.02 * real.norm()


def is_halfway(quotients: np.ndarray) -> bool:
    """Return whether a quotient of float32 numbers up to 255 may be rounded either way."""
    return bool((np.abs(quotients - np.floor(quotients) - 0.5) < 1e-4).any())


@settings(max_examples=60)
@given(seeds, st.sampled_from(["int8", "w4"]), st.integers(1, 4), st.floats(1e-3, 1e3))
def test_a_layer_by_hand(seed: int, precision: str, rows: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(5, 2 * GROUP)).astype(np.float32)
    x = (size * rng.normal(rng.normal(), size=(rows, 3, 2 * GROUP))).astype(np.float32)
    layer = nn.Linear(2 * GROUP, 5)
    layer.weight.data = torch.from_numpy(weight)
    found = FakeQuantized(layer)([{"": precision}], torch.from_numpy(x))[0].numpy()
    for sample, said in zip(x, found, strict=True):
        if precision == "int8":
            low, high = min(sample.min(), 0), max(sample.max(), 0)
            step = (high - low) / np.float32(255)
            zero = np.rint(-low / step)
            # Halfway between two steps the last bit of a quotient decides, which nothing prescribes.
            assume(not any(map(is_halfway, (sample / step, -low / step))))
            seen = (np.clip(np.rint(sample / step) + zero, 0, 255) - zero) * np.float64(step)
            unit = np.abs(weight).max(1, keepdims=True) / 127
            used = np.rint(weight / unit) * unit
        else:
            seen = sample
            parts = weight.reshape(5, 2, GROUP)
            unit = np.abs(parts).max(2, keepdims=True) / 7
            used = (np.rint(parts / unit) * unit).reshape(5, -1)
        expected = seen @ used.T + layer.bias.detach().numpy()
        np.testing.assert_allclose(said, expected, rtol=1e-3, atol=3e-4 * size * 8)


@pytest.mark.parametrize("whole", [True, False])
def test_int8_products_are_sums_of_whole_numbers(whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit what int32 sums of the kernels' own numbers give; in float32, where sums may pass 2^24,
    within the rounding of as many additions, in whatever order a processor takes them."""
    if whole and not fake_quantize.exact_products():
        pytest.skip("this processor's int8 products overflow")
    monkeypatch.setattr(fake_quantize, "exact_products", lambda: whole)
    layer = nn.Linear(1024, 48)
    x = torch.rand(3, 5, 1024, generator=generator(2)) + torch.tensor([0.0, -0.4, -1.0])[:, None, None]
    x[0], layer.weight.data[0] = 1.0, 1.0  # all numbers at the ends of their ranges
    found = FakeQuantized(layer)([{"": "int8"}], x)[0].numpy()
    numbers, unit = w8_grid(layer.weight.detach().numpy())
    centred, step = (part.numpy() for part in levels(x))
    sums = (centred.astype(np.int64) @ numbers.T.astype(np.int64)).astype(np.float32)
    expected = sums * (step * unit) + layer.bias.detach().numpy()
    if whole:
        assert np.array_equal(found, expected)
    np.testing.assert_allclose(found, expected, rtol=2e-6 if whole or VNNI else 1024 * 2.0**-24, atol=2e-6)


@pytest.mark.parametrize("precision", DYNAMIC)
def test_the_first_places_alone_have_the_outputs_they_have_among_all(precision: str) -> None:
    layer, x = nn.Linear(2 * GROUP, 9), torch.randn(4, 6, 2 * GROUP, generator=generator(1))
    fake = FakeQuantized(layer)
    fake.pad(torch.arange(6)[None, :, None] < torch.tensor([6, 3, 2, 5])[:, None, None])
    with torch.inference_mode():
        net = fake.select([{"": precision}])
        torch.testing.assert_close(net(x, 2), net(x)[:, :2])


def test_as_many_samples_as_suit_the_device_run_at_once() -> None:
    module, x = network("vit-smoke")
    seen: list[int] = []
    x = x.repeat(fake_quantize.ROWS["cpu"] // len(x) + 1, 1, 1, 1)

    def call(net: nn.Module, given: Tensor) -> Tensor:
        seen.append(len(given))
        return net(given)  # type: ignore[no-any-return]

    policies = [drawn(module, seed) for seed in range(3)]
    found = FakeQuantized(module)(policies, x, call=call)
    rest = len(x) - fake_quantize.ROWS["cpu"]
    assert rest > 0 and seen == [fake_quantize.ROWS["cpu"], rest] * 3
    at_once = FakeQuantized(module)(policies, x, rows=10**6)
    torch.testing.assert_close(found, at_once, rtol=2e-3, atol=2e-3 * float(found.abs().max()))


@settings(max_examples=30)
@given(seeds)
def test_levels_are_whole_numbers_that_hold_every_value(seed: int) -> None:
    x = torch.randn(3, 4, 7, generator=generator(seed)) * 10 ** (seed % 5) + seed % 3
    numbers, step = levels(x)
    assert torch.equal(numbers, numbers.round()) and bool(
        ((numbers.amax((1, 2)) - numbers.amin((1, 2))) <= 255).all()
    )
    assert bool(((numbers * step - x).abs() <= step * 0.51).all())
    assert torch.equal(levels(torch.zeros(2, 3))[0], torch.zeros(2, 3))


@settings(max_examples=10)
@given(seeds, st.sampled_from(["bert-smoke", "vit-smoke", "resnet-smoke"]))
@example(3429, "bert-smoke")
@example(10541, "bert-smoke")
def test_batches_and_neighbours_change_nothing(seed: int, kind: str) -> None:
    module, x = network(kind)
    fake, policies = FakeQuantized(module), [drawn(module, seed + i) for i in range(3)]
    order = torch.randperm(len(x), generator=generator(seed))
    whole = fake(policies, x)
    largest = float(whole.abs().max())

    def agree(found: torch.Tensor, expected: torch.Tensor) -> None:
        # Sums in another order move single values over the edge between two levels.
        apart = (found - expected).abs() / largest
        assert float((apart > 2e-3).float().mean()) < 5e-3
        assert float(apart.max()) < 2e-2

    agree(fake(policies, x[order]), whole[:, order])
    agree(fake(policies, x, rows=5), whole)
    # Each sample by itself, under more policies: of one sample's values a single edge moves a large share.
    policies = [drawn(module, seed + i) for i in range(30)]
    alone = [torch.cat([fake([policy], x[i : i + 1])[0] for i in range(len(x))]) for policy in policies]
    agree(torch.stack(alone), fake(policies, x))


def test_all_fp32_is_the_network_itself() -> None:
    for kind in ("bert-smoke", "vit-smoke", "resnet-smoke"):
        module, x = network(kind)
        with torch.no_grad():
            expected = module(x)
        fake = FakeQuantized(module)
        assert torch.equal(fake([None], x)[0], expected)
        assert torch.equal(fake([dict.fromkeys(units(module), "fp32")], x)[0], expected)


@settings(max_examples=20)
@given(seeds, st.sampled_from(["bert-smoke", "vit-smoke", "resnet-smoke"]))
def test_bytes_add_up_and_order_as_bits_do(seed: int, kind: str) -> None:
    module, _ = network(kind)
    policy, shapes = drawn(module, seed), units(module)
    each = policy_bytes(module, policy)
    for name, layer in lowered_layers(module, policy).items():
        bias = 0 if module.get_submodule(name).bias is None else 4 * shapes[name][0]
        assert layer.bytes == each[name] + bias
    for shape in shapes.values():
        ordered = [
            stored_bytes(one, shape) for one in ("w4", "int8", "bf16", "fp32") if one in choices(shape)
        ]
        assert ordered[-1] == 4 * int(np.prod(shape)) and ordered[0] < ordered[-1]


def lowered_layers(module: nn.Module, policy: dict[str, str]) -> dict[str, Any]:
    low = {name: precision for name, precision in policy.items() if precision != "fp32"}
    made = quantize(module, low)
    return {name: made.get_submodule(name) for name in low}


def test_grids_have_their_number_of_levels() -> None:
    weight = np.random.default_rng(0).normal(size=(6, 2 * GROUP)).astype(np.float32)
    numbers, step = w8_grid(weight)
    assert (
        np.abs(numbers).max() == 127 and np.abs(numbers * step[:, None] - weight).max() <= step.max() * 0.501
    )
    numbers, step = w4_grid(weight)
    apart = np.abs(numbers.reshape(6, 2, GROUP) * step[..., None] - weight.reshape(6, 2, GROUP))
    assert np.abs(numbers).max() == 7 and bool((apart <= step[..., None] * 0.501).all())
    assert not w8_grid(np.zeros((2, 3), np.float32))[0].any()


def test_the_rounding_is_that_of_torchs_quantiser() -> None:
    weight = torch.randn(64, 300, generator=generator(9))
    numbers, step = w8_grid(weight.numpy())
    zero = torch.zeros(64, dtype=torch.long)
    torchs = torch.quantize_per_channel(weight, torch.from_numpy(step).double(), zero, 0, torch.qint8)
    assert np.array_equal(torchs.int_repr().numpy(), numbers)


def test_policies_that_cannot_be() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 10))
    fake = FakeQuantized(net)
    x = torch.randn(2, 1, 4, 4)
    with pytest.raises(
        ValueError, match="'2': w4 shares steps among 32 inputs, and 16 are no multiple of 32"
    ):
        fake([{"2": "w4"}], x)
    with pytest.raises(ValueError, match="'0': w4 is for linear layers.*choose one of fp32, bf16, int8"):
        fake([{"0": "w4"}], x)
    with pytest.raises(ValueError, match="no precision 'int4', choose one of fp32, bf16, int8, w4"):
        fake([{"0": "int4"}], x)
    with pytest.raises(ValueError, match=r"'head'.*nearest name"):
        fake([{"head": "int8"}], x)
    with pytest.raises(ValueError, match="no policies"):
        fake([], x)
