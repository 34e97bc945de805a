"""Plain sharing, export, collapse: what a sub-network computes does not depend on where it lives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet import export
from supernet.elastic import SuperNet
from supernet.seq2seq import PAD, Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space
from supernet.weights import SharedSlices

VOCAB = 40


def family(share: str = "all", space: str = "mt-smoke", **config: float) -> Seq2SeqFamily:
    return Seq2SeqFamily(get_space(space), Seq2SeqConfig(VOCAB, VOCAB, share, **config))


def shared(fam: Seq2SeqFamily, seed: int = 0) -> SuperNet:
    net = SuperNet(fam, SharedSlices(fam, torch.Generator().manual_seed(seed)))
    net.model.eval()
    return net


def sentences(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(4, VOCAB, (3, 7), generator=generator)
    source[1, 4:] = PAD
    return source, torch.randint(4, VOCAB, (3, 5), generator=generator)


@pytest.mark.parametrize("share", ["all", "decoder", "none"])
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_built_exported_and_collapsed_networks_are_the_subnetwork(share: str, seed: int) -> None:
    fam = family(share)
    net = shared(fam)
    arch = fam.space.sample(np.random.default_rng(seed))
    built = {name: tuple(p.shape) for name, p in fam.build(arch).named_parameters()}
    assert built == fam.extents(arch)
    source, target = sentences()
    with torch.no_grad():
        bound = net.activate(arch)(source, target).clone()
        assert (net.export(arch)(source, target) - bound).abs().max() <= 1e-5
        alone = net.collapse(arch)
        alone.model.eval()
        assert (alone.activate(alone.space.largest())(source, target) - bound).abs().max() <= 1e-5


def test_slices_are_leading_parts_of_the_largest() -> None:
    fam = family()
    source = SharedSlices(fam, torch.Generator().manual_seed(3))
    whole = source.bake(fam.space.largest())
    small = source.bake(fam.space.smallest())
    for name, weight in small.items():
        assert torch.equal(weight, whole[name][tuple(slice(0, n) for n in weight.shape)])


def test_gradients_of_a_slice_are_those_of_the_plain_network() -> None:
    fam = family()
    net = shared(fam)
    arch = fam.space.smallest()
    source, target = sentences()
    net.activate(arch)(source, target).square().sum().backward()
    net.source.collect()
    plain = net.export(arch).requires_grad_(True)
    plain(source, target).square().sum().backward()
    for name, p in plain.named_parameters():
        got = net.source.master.views[name][1]
        part = tuple(slice(0, n) for n in p.shape)
        assert torch.allclose(got[part], p.grad, atol=1e-4, rtol=1e-3), name
        rest = got.clone()
        rest[part] = 0
        assert not rest.any(), f"{name}: gradient outside the slice"


def test_padding_of_the_source_changes_nothing() -> None:
    net = shared(family())
    arch = net.space.largest()
    source, target = sentences()
    longer = torch.cat([source, torch.full((3, 4), PAD)], 1)
    with torch.no_grad():
        model = net.export(arch)
        assert torch.allclose(model(source, target), model(longer, target), atol=1e-5)


def test_dropout_shrinks_with_width_but_for_the_encoder_attention_residual() -> None:
    fam = family(dropout=0.3)
    net = shared(fam)
    model = net.activate(fam.space.smallest())
    assert model.encoder[0].dropout == pytest.approx(0.15)
    assert model.decoder[0].dropout == pytest.approx(0.15)
    assert model.encoder[0].attention_residual_dropout == 0.3


def test_cross_attention_reads_as_many_encoder_layers_as_its_gene_states() -> None:
    fam = family(space="multi30k-xs")
    arch = fam.space.largest().to_dict()
    source, _ = sentences()
    for code, layers in ((-1, 1), (1, 2), (2, 3)):
        model = fam.build(fam.space.architecture({**arch, "decoder_cross_source": [code] * 3}))
        k, _, bias = model.decoder[0].cross.remember(model.encode(source))
        assert k.shape[2] == bias.shape[3] == layers * source.shape[1]


def test_export_and_load_round_trip(tmp_path) -> None:
    fam = family("none")
    net = shared(fam)
    arch = fam.space.smallest()
    digest = export.save(tmp_path / "one", net.export(arch), fam.spec(), arch)
    module, about = export.load(tmp_path / "one")
    assert about["weights_sha256"] == digest and about["architecture"] == arch.to_dict()
    source, target = sentences()
    with torch.no_grad():
        assert torch.equal(module(source, target), net.export(arch)(source, target))


@pytest.mark.parametrize("damage", ["truncate", "flip", "absent", "json"])
def test_a_damaged_export_is_refused_in_one_sentence(tmp_path, damage: str) -> None:
    fam = family()
    folder = tmp_path / "one"
    export.save(folder, shared(fam).export(fam.space.smallest()), fam.spec(), fam.space.smallest())
    weights = folder / "model.safetensors"
    raw = weights.read_bytes()
    if damage == "truncate":
        weights.write_bytes(raw[: len(raw) // 2])
    elif damage == "flip":
        weights.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    elif damage == "absent":
        weights.unlink()
    else:
        (folder / "architecture.json").write_text("{")
    with pytest.raises(export.CorruptExportError, match="one"):
        export.load(folder)


def test_shared_embeddings_need_one_vocabulary() -> None:
    with pytest.raises(ValueError, match="one vocabulary"):
        Seq2SeqConfig(10, 11, "all")
