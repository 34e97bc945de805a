"""Tables: every point is there, and each figure is that of the network it stands for, built and run alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from simq.genome import JointSpace
from simq.table import Table, Tabulated, points, read, write
from simq.tabulate import fill, layer_space
from supernet.bert import BertConfig, LayeredBert
from supernet.cost import weight_bytes
from supernet.elastic import SuperNet
from supernet.fakequant import FakeQuantized
from supernet.images import ImageBatch
from supernet.masked import masked
from supernet.space import SearchSpace, layered_space
from supernet.vit import ViTConfig, ViTFamily
from supernet.weights import SharedSlices


def supernet(kind: str) -> tuple[SuperNet, JointSpace, list]:
    generator = torch.Generator().manual_seed(0)
    extra = {"patch": 2} if kind == "vit" else {}
    space: SearchSpace = layered_space(
        kind, layers=(1, 2), heads=(1, 2), ffn=(32, 64), hidden=32, head_dim=32, **extra
    )
    if kind == "vit":
        family = ViTFamily(space, ViTConfig(4, 4, 1))
        images = torch.randn(10, 1, 4, 4, generator=generator)
        batches = [ImageBatch(images, torch.randint(4, (10,), generator=generator), 5)]
    else:
        family = LayeredBert(space, BertConfig(40, max_positions=8))
        rows = torch.randint(5, 40, (10, 8), generator=generator)
        batches = [masked(rows, 40, generator)]
    return SuperNet(family, SharedSlices(family, generator, "cpu")), layer_space(family), batches


@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_each_figure_is_that_of_the_network_alone(kind: str, tmp_path: Path) -> None:
    net, space, batches = supernet(kind)
    table = fill(net, space, batches, {"name": kind}, held_out=0.5)
    assert len(table.points) == space.size() == 12 + 144
    genomes = space.sample(12, np.random.default_rng(0))
    cut = round(len(batches[0].labels) * 0.5)
    for genome in genomes:
        architecture, policy = space.decode(genome)
        alone = FakeQuantized(net.export(architecture)).select([policy])
        with torch.no_grad():
            logits = alone(*batches[0].inputs)
        loss = F.cross_entropy(logits, batches[0].labels, reduction="none")
        hits = (logits.argmax(-1) == batches[0].labels).numpy()
        row = table.rows(["loss", "held_loss", "hits", "held_hits", "bytes"], genome[None])[0]
        assert np.allclose(row[:2], [loss[:cut].mean(), loss[cut:].mean()], atol=1e-5)
        assert row[2:4].tolist() == [hits[:cut].sum(), hits[cut:].sum()]
        assert row[4] == weight_bytes(net.family, architecture, policy)
    assert len(np.unique(table.columns["loss"])) > 100  # precisions do change what a network says


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    net, space, batches = supernet("vit")
    table = fill(net, space, batches, {"name": "t", "commit": "abc"})
    write(table, tmp_path / "t.npz")
    again = read(tmp_path / "t.npz")
    assert again.head["commit"] == "abc" and (again.points == table.points).all()
    span = np.ptp(table.columns["loss"])
    assert np.abs(again.columns["loss"] - table.columns["loss"]).max() <= span / 65_535
    for name in ("hits", "held_hits", "bytes", "macs"):
        assert (again.columns[name] == table.columns[name]).all()
    assert set(again.uniform) == {"fp32", "int8", "w4"} and len(again.uniform["w4"]) == 4 + 16
    assert (tmp_path / "t.npz").stat().st_size < 8000


def test_an_evaluator_answers_for_any_genome() -> None:
    net, space, batches = supernet("vit")
    table = fill(net, space, batches, {"name": "t"})
    ask = Tabulated(table, ("loss", "bytes"))
    genomes = space.sample(200, np.random.default_rng(0))
    assert (ask(genomes) == ask(space.canonical(genomes))).all()
    assert (ask(table.points) == table.whole(("loss", "bytes"))).all()
    with pytest.raises(ValueError, match="no 'watts'.*loss"):
        Tabulated(table, ("watts",))


def test_points_are_all_and_each_once() -> None:
    _, space, _ = supernet("bert")
    every = points(space)
    assert len(set(space.keys(every))) == len(every) == space.size()


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    net, space, batches = supernet("vit")
    table = fill(net, space, batches, {"name": "t"})
    with pytest.raises(ValueError, match="column loss"):
        Table(table.head, {"loss": table.columns["loss"][:-1]})
    with pytest.raises(ValueError, match="version 9"):
        Table(table.head | {"version": 9}, table.columns)
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(ValueError, match="no table"):
        read(tmp_path / "other.npz")


def test_the_command_that_makes_tables(tmp_path: Path) -> None:
    from tests.bench.tabulate import main

    main(
        [
            "vit",
            "--tiny",
            "--device",
            "cpu",
            "--cache",
            str(tmp_path),
            "--out",
            str(tmp_path),
            "--commit",
            "abc",
        ]
    )
    table = read(tmp_path / "simq-vit.npz")
    assert table.head["commit"] == "abc" and len(table.head["weights_sha256"]) == 64
    assert len(table.points) == 12 + 144 and table.head["labels"] == 12
