"""Sampled tables: their files keep the precisions of each unit, which bytes and latencies count."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simq.genome import JointSpace
from simq.tabular.build import costs, layer_space, linear_space
from simq.tabular.latency import layer_shapes, predict
from simq.tabular.sampled import (
    KIND,
    MIN_POINTS,
    SampledTable,
    build_sampled,
    draw_points,
    read_sampled,
    write_sampled,
)
from simq.tabular.table import describe_space, space_from_head
from supernet.cost import weight_bytes
from supernet.data.images import ImageBatch
from supernet.elastic import SuperNet
from supernet.quantization.latency_model import OperatorTable
from supernet.space import layered_space
from supernet.vit import ViTConfig, ViTFamily
from supernet.weights import SharedSlices

ALPHABETS = [("fp32", "int8", "w4"), ("w4", "int8"), ("w4", "bf16", "fp32")]


def family() -> ViTFamily:
    """Return a small family whose patch embedding, of 4 inputs, has no w4."""
    space = layered_space("vit", layers=(1, 2), heads=(1, 2), ffn=(32, 64), hidden=32, head_dim=32, patch=2)
    return ViTFamily(space, ViTConfig(4, 4, 1))


def sampled(space: JointSpace, count: int = 40) -> SampledTable:
    """Return a table of random points with made-up losses."""
    rng = np.random.default_rng(0)
    genomes = draw_points(space, count, rng)
    columns = {"loss": rng.uniform(1, 2, count), "hits": rng.integers(0, 9, count)}
    return SampledTable(describe_space(space) | {"kind": KIND, "name": "t"}, genomes, columns)


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_sampled_file_keeps_the_precisions_of_each_unit(alphabet: tuple[str, ...], tmp_path: Path) -> None:
    space = linear_space(family(), alphabet)
    assert min(map(len, space.unit_precisions)) < len(alphabet), "a unit supports fewer precisions"
    table = sampled(space)
    write_sampled(table, tmp_path / "t.npz")
    again = read_sampled(tmp_path / "t.npz")
    assert again.space.unit_precisions == space.unit_precisions and again.space.units == space.units
    assert again.space.size() == again.head["points"] == space.size()
    for genome in table.genomes.tolist():
        assert again.space.decode(genome) == space.decode(genome)


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_costs_and_latencies_are_those_of_each_decoded_policy(alphabet: tuple[str, ...]) -> None:
    vit = family()
    space = linear_space(vit, alphabet)
    genomes = draw_points(space, 40, np.random.default_rng(1))
    decoded = [space.decode(genome) for genome in genomes.tolist()]
    assert costs(vit, space, genomes)["bytes"].tolist() == [weight_bytes(vit, *point) for point in decoded]
    rng = np.random.default_rng(2)
    measured = [(layer_shapes(vit, arch), policy, float(rng.uniform(1, 2))) for arch, policy in decoded]
    operators = OperatorTable(measured)
    expected = [operators(layer_shapes(vit, arch), policy) for arch, policy in decoded]
    assert predict(operators, vit, space, genomes) == pytest.approx(expected)


def former(space: JointSpace) -> dict[str, Any]:
    """Return the head of a space as it was before units kept their precisions."""
    head = describe_space(space)
    return head | {"units": [{k: v for k, v in u.items() if k != "precisions"} for u in head["units"]]}


def test_head_of_a_former_table_gives_every_unit_the_alphabet() -> None:
    space = space_from_head(former(linear_space(family(), ("fp32", "int8"))))
    assert all(unit.precisions is None for unit in space.units)
    assert set(space.unit_precisions) == {("fp32", "int8")}


def test_former_table_whose_units_had_fewer_precisions_is_refused() -> None:
    space = linear_space(family(), ("w4", "int8"))
    with pytest.raises(ValueError, match=f"a table of {space.size():,} points .* must be built again"):
        space_from_head(former(space))


def untrained(scale: float = 1.0) -> tuple[SuperNet, list[ImageBatch]]:
    """Return an untrained supernet with weights times ``scale``, and a batch of random images."""
    generator = torch.Generator().manual_seed(0)
    vit = family()
    net = SuperNet(vit, SharedSlices(vit, generator, "cpu"))
    net.source.flat.data.mul_(scale)
    images = torch.randn(6, 1, 4, 4, generator=generator)
    return net, [ImageBatch(images, torch.randint(4, (6,), generator=generator), 5)]


@pytest.mark.parametrize("count", [1, 2, 4, MIN_POINTS - 1])
def test_too_few_points_for_a_surrogate_are_refused(count: int) -> None:
    net, batches = untrained()
    space = linear_space(net.family)
    with pytest.raises(ValueError, match=f"a sampled table of {count} points: at least {MIN_POINTS}"):
        build_sampled(net, space, batches, batches, {"name": "t"}, count, 1)
    with pytest.raises(ValueError, match=f"at least {MIN_POINTS}"):
        SampledTable(
            describe_space(space) | {"kind": KIND}, space.sample(count, np.random.default_rng(0)), {}
        )
    table = build_sampled(net, space, batches, batches, {"name": "t"}, MIN_POINTS, 1)
    assert np.isfinite([*table.head["surrogate"].values()]).all()


def test_more_points_than_the_space_has_are_refused() -> None:
    space = layer_space(family(), ("fp32", "int8"))
    with pytest.raises(
        ValueError, match=f"a sample of {space.size() + 1} points: .* of {space.size()} in all"
    ):
        draw_points(space, space.size() + 1, np.random.default_rng(0))


def test_sampled_losses_that_are_not_finite_are_refused() -> None:
    net, batches = untrained(1e30)
    with pytest.raises(ValueError, match="column loss is nan at point .* not finite"):
        build_sampled(net, linear_space(net.family), batches, batches, {"name": "t"}, MIN_POINTS, 1)
