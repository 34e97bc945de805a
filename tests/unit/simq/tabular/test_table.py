"""Tables: every point is there, and each figure is that of the network it stands for, built and run alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from simq.genome import JointSpace
from simq.tabular.build import build_table, layer_space
from simq.tabular.enumerate import (
    ImageVariant,
    TransformerEnumerator,
    enumerator,
    query_key_value_layers,
    sharing_variants,
)
from simq.tabular.latency import embedding_bytes
from simq.tabular.sampled import build_sampled, read_sampled, write_sampled
from simq.tabular.search import search_table
from simq.tabular.table import (
    RestrictedEvaluator,
    Table,
    TabularEvaluator,
    enumerate_points,
    read_table,
    shipped_tables,
    write_table,
)
from supernet import supernet_file
from supernet.bert_classifier import SentenceConfig, SentenceFamily
from supernet.cost import weight_bytes
from supernet.data.images import ImageBatch
from supernet.elastic import SuperNet
from supernet.export import CorruptExportError
from supernet.quantization.fake_quantize import FakeQuantized
from supernet.resnet import ResNetConfig, ResNetFamily
from supernet.space import SearchSpace, layered_space, resnet_space
from supernet.vision_language import VLConfig, VLFamily
from supernet.vit import ViTConfig, ViTFamily
from supernet.weights import SharedSlices

KINDS = ("vit", "vl", "text", "resnet")
LABELS = 12


def supernet(kind: str) -> tuple[SuperNet, JointSpace, list]:
    """A small untrained one, its space, and two batches."""
    generator = torch.Generator().manual_seed(0)
    extra = {"vit": {"patch": 2}, "vl": {"patch": 2, "experts": 2}}.get(kind, {})
    space: SearchSpace = layered_space(
        kind, layers=(1, 2), heads=(1, 2), ffn=(32, 64), hidden=32, head_dim=32, **extra
    )
    images = torch.randn(LABELS, 1, 4, 4, generator=generator)
    texts = torch.randint(5, 40, (LABELS, 8), generator=generator)
    for i in range(LABELS):
        texts[i, 3 + i % 6 :] = 0
    family: Any
    if kind == "vit":
        family = ViTFamily(space, ViTConfig(4, 4, 1))
    elif kind == "vl":
        family = VLFamily(space, VLConfig(4, 4, 1, vocab=40, text=8))
    elif kind == "text":
        family = SentenceFamily(space, SentenceConfig(40, max_positions=8, classes=4))
        images = texts
    else:
        shape = {"widths": (32, 64), "stem_width": 16, "expand": (20, 60), "width": (65, 100)}
        space = resnet_space(kind, stages=(1, 1), deeper=1, stem_stride=1, alike=True, stem=(1,), **shape)
        family = ResNetFamily(space, ResNetConfig(4, 4, 1))
    labels = torch.randint(4, (LABELS,), generator=generator)
    batches = [
        ImageBatch(images[part], labels[part], 5, texts[part] if kind == "vl" else None)
        for part in (slice(0, 7), slice(7, None))
    ]
    net = SuperNet(family, SharedSlices(family, generator, "cpu"))
    if kind == "resnet":
        net.statistics_batches = [((torch.randn(6, 1, 4, 4, generator=generator),), 30) for _ in range(2)]
    return net, layer_space(family), batches


def alone(net: SuperNet, space: JointSpace, genome: np.ndarray, batch: ImageBatch) -> torch.Tensor:
    """Logits of the exported network; of sentences one after the other, without padding."""
    architecture, policy = space.decode(genome)
    module = FakeQuantized(net.export(architecture)).select([policy])
    with torch.no_grad():
        if net.family.kind == "bert-sentences":
            return torch.cat([module(row[row != 0][None]) for row in batch.images])
        return module(*batch.inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_each_figure_is_that_of_the_network_alone(kind: str) -> None:
    net, space, batches = supernet(kind)
    table = build_table(net, space, batches[:1], batches[1:], {"name": kind})
    assert len(table.points) == space.size() == (800 if kind == "resnet" else 12 + 144)
    for genome in space.sample(12, np.random.default_rng(0)):
        row = table.values_of(["loss", "hits", "held_loss", "held_hits", "bytes", "macs"], genome[None])[0]
        for batch, said in zip(batches, (row[:2], row[2:4]), strict=True):
            logits = alone(net, space, genome, batch)
            assert np.isclose(said[0], F.cross_entropy(logits, batch.labels), atol=1e-5)
            assert said[1] == (logits.argmax(-1) == batch.labels).sum()
        architecture, policy = space.decode(genome)
        assert row[4] == weight_bytes(net.family, architecture, policy)
        assert row[5] == sum(net.family.macs(architecture, 1, 1))
    assert len(np.unique(table.columns["loss"])) > 100  # precisions do change what a network says


def test_widths_that_share_no_weights_share_no_products() -> None:
    net, space, _ = supernet("vit")
    architecture = space.space.largest()
    narrow = space.space.architecture(architecture.to_dict() | {"heads": [1, 1]})
    halves = [ImageVariant(net.export(one), "int8", ()) for one in (narrow, architecture)]
    assert sharing_variants(halves, 2, query_key_value_layers) == [halves[1], halves[1]]
    other = net.export(narrow)
    other.layers[1].attention.v.bias.data[0] += 1  # type: ignore[index,union-attr]
    halves[0] = ImageVariant(other, "int8", ())
    assert sharing_variants(halves, 2, query_key_value_layers) == halves
    evaluate = enumerator(net, space)
    assert isinstance(evaluate, TransformerEnumerator) and all(
        len(set(mixers)) == 1 for mixers in (*evaluate.mixers, *evaluate.wideners)
    )


@pytest.mark.parametrize("alphabet", [("bf16", "int8"), ("w4", "bf16")])
@pytest.mark.parametrize("kind", ["vit", "vl", "text"])
def test_any_alphabet_is_walked(kind: str, alphabet: tuple[str, ...]) -> None:
    net, _, batches = supernet(kind)
    space = layer_space(net.family, alphabet)
    genomes, said = (list(part) for part in zip(*enumerator(net, space)(batches[0]), strict=True))
    rows = dict(zip(space.keys(np.concatenate(genomes)), torch.cat(said), strict=True))
    assert len(rows) == space.size()
    for genome in space.sample(6, np.random.default_rng(0)):
        logits = alone(net, space, genome, batches[0])
        found = rows[space.keys(genome[None])[0]][0] / len(logits)
        assert np.isclose(found, F.cross_entropy(logits, batches[0].labels), atol=2e-3)


def test_padding_of_sentences_would_change_outputs_of_int8_layers() -> None:
    net, space, batches = supernet("text")
    genome = space.uniform(space.sample(1, np.random.default_rng(1)), "int8")[0]
    architecture, policy = space.decode(genome)
    fake = FakeQuantized(net.export(architecture))
    right = alone(net, space, genome, batches[0])
    tokens = batches[0].images
    with torch.no_grad():
        module = fake.select([policy])
        assert not torch.allclose(module(tokens), right, atol=1e-6)
        fake.pad((tokens != 0)[..., None])
        assert torch.allclose(module(tokens), right, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_supernet_read_from_disk_exports_the_same_networks(kind: str, tmp_path: Path) -> None:
    net, space, batches = supernet(kind)
    supernet_file.save(tmp_path / "t.safetensors", net, {"table": "t"})
    again, about = supernet_file.load(tmp_path / "t.safetensors")
    assert about["table"] == "t" and about["weights_sha256"] == supernet_file.digest(net.source)
    assert again.family.spec() == net.family.spec()
    for genome in space.sample(4, np.random.default_rng(3)):
        assert torch.equal(alone(again, space, genome, batches[0]), alone(net, space, genome, batches[0]))
    whole = (tmp_path / "t.safetensors").read_bytes()
    (tmp_path / "t.safetensors").write_bytes(whole[:-40])
    with pytest.raises(CorruptExportError, match="no supernet"):
        supernet_file.load(tmp_path / "t.safetensors")
    (tmp_path / "t.safetensors").write_bytes(whole[:-4] + b"\x01\x02\x03\x04")
    if kind != "resnet":  # whose last bytes are of an image
        with pytest.raises(CorruptExportError, match="not those"):
            supernet_file.load(tmp_path / "t.safetensors")


def test_a_written_table_is_read_unchanged(tmp_path: Path) -> None:
    net, space, batches = supernet("vit")
    table = build_table(net, space, batches[:1], batches[1:], {"name": "t", "commit": "abc"})
    write_table(table, tmp_path / "t.npz")
    again = read_table(tmp_path / "t.npz")
    assert again.head["commit"] == "abc" and (again.points == table.points).all()
    span = np.ptp(table.columns["loss"])
    assert np.abs(again.columns["loss"] - table.columns["loss"]).max() <= span / 65_535
    for name in ("hits", "held_hits", "bytes", "macs"):
        assert (again.columns[name] == table.columns[name]).all()
    assert set(again.uniform) == {"fp32", "int8", "w4"} and len(again.uniform["w4"]) == 4 + 16
    assert (tmp_path / "t.npz").stat().st_size < 8000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["loss", "held_loss"])
def test_written_columns_must_be_finite(column: str, value: float, tmp_path: Path) -> None:
    net, space, batches = supernet("vit")
    table = build_table(net, space, batches[:1], batches[1:], {"name": "t"})
    table.columns[column][7] = value
    with pytest.raises(ValueError, match=f"column {column} is {value} at point ") as error:
        write_table(table, tmp_path / "t.npz")
    assert str(table.points[7].tolist()) in str(error.value) and not [*tmp_path.iterdir()]


def test_an_evaluator_answers_for_any_genome() -> None:
    net, space, batches = supernet("vit")
    table = build_table(net, space, batches[:1], batches[1:], {"name": "t"})
    ask = TabularEvaluator(table, ("loss", "bytes"))
    genomes = space.sample(200, np.random.default_rng(0))
    assert (ask(genomes) == ask(space.canonical(genomes))).all()
    assert (ask(table.points) == table.values(("loss", "bytes"))).all()
    with pytest.raises(ValueError, match="no 'watts'.*loss"):
        TabularEvaluator(table, ("watts",))


def test_columns_that_follow_from_a_point_are_known_unless_all_is_predicted() -> None:
    net, space, batches = supernet("vit")
    table = build_table(net, space, batches[:1], batches[1:], {"name": "t"})
    ask, genomes = TabularEvaluator(table, ("loss", "bytes")), space.sample(50, np.random.default_rng(0))
    known = ask.known(genomes)
    assert np.isnan(known[:, 0]).all() and (known[:, 1] == ask(genomes)[:, 1]).all()
    assert np.isnan(TabularEvaluator(table, ("loss", "bytes"), ()).known(genomes)).all()


def test_a_restricted_table_has_the_points_of_its_precisions_alone() -> None:
    net, space, batches = supernet("vit")
    table = build_table(net, space, batches[:1], batches[1:], {"name": "t"})
    few = RestrictedEvaluator(table, ("loss", "bytes"), ("int8", "fp32"))
    every = enumerate_points(few.genes)
    places = table.indices(few.lift(every))
    assert sorted(places) == table.within(("int8", "fp32")).tolist()
    assert (few(every) == TabularEvaluator(table)(few.lift(every))).all() and len(places) == 4 * 2 + 16 * 4
    assert isinstance(few.genes, JointSpace)
    for genome in few.genes.sample(5, np.random.default_rng(0)):
        architecture, policy = few.genes.decode(genome.tolist())
        again, lifted = space.decode(few.lift(genome[None])[0])
        assert (architecture, policy) == (again, lifted) and "w4" not in policy.values()
    found = search_table(table, ("loss", "bytes"), "linas", 30, 1, 10, 100, alphabet=("int8",))
    assert set(found) == set(table.uniform["int8"])


def test_word_embeddings_are_counted_in_both_precisions() -> None:
    tables = shipped_tables()
    assert embedding_bytes(tables["simq-text"]) == {"fp32": 4000 * 256 * 4, "int8": 4000 * (256 + 4)}
    assert embedding_bytes(tables["simq-vit"]) == {} and embedding_bytes(tables["simq-text-s2"]) == {}


def test_points_are_all_and_each_once() -> None:
    _, space, _ = supernet("text")
    every = enumerate_points(space)
    assert len(set(space.keys(every))) == len(every) == space.size()


def test_errors_are_the_shares_that_are_wrong() -> None:
    net, space, batches = supernet("vit")
    table = build_table(net, space, batches[:1], batches[1:], {"name": "t"})
    found = table.values(("error", "held_error"))
    assert np.allclose(found[:, 0], 1 - table.columns["hits"] / table.head["labels"])
    assert np.allclose(found[:, 1], 1 - table.columns["held_hits"] / table.head["held_out_labels"])
    assert "error" not in table.columns


def test_invalid_tables_are_refused(tmp_path: Path) -> None:
    net, space, batches = supernet("vit")
    table = build_table(net, space, batches[:1], batches[1:], {"name": "t"})
    with pytest.raises(ValueError, match="column loss"):
        Table(table.head, {"loss": table.columns["loss"][:-1]})
    with pytest.raises(ValueError, match="version 9"):
        Table(table.head | {"version": 9}, table.columns)
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(ValueError, match="no table"):
        read_table(tmp_path / "other.npz")


@pytest.mark.parametrize("kept", [0, 10, 500, -30])
def test_damaged_tables_are_refused_by_their_path(kept: int, tmp_path: Path) -> None:
    net, space, batches = supernet("vit")
    path = tmp_path / "t.npz"
    write_table(build_table(net, space, batches[:1], batches[1:], {"name": "t"}), path)
    path.write_bytes(path.read_bytes()[:kept])
    for read in (read_table, read_sampled):
        with pytest.raises(ValueError, match="t.npz is no table"):
            read(path)


def test_tables_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    net, space, batches = supernet("vit")
    write_table(build_table(net, space, batches[:1], batches[1:], {"name": "t"}), tmp_path / "t.npz")
    with pytest.raises(ValueError, match="t.npz is no sampled table"):
        read_sampled(tmp_path / "t.npz")
    write_sampled(build_sampled(net, space, batches, batches, {"name": "s"}, 20, 1), tmp_path / "s.npz")
    with pytest.raises(ValueError, match="s.npz is a table of kind sampled"):
        read_table(tmp_path / "s.npz")
