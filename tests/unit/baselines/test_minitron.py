"""Minitron: pruning against brute force, importance against the definition."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.minitron import (
    Importance,
    channel_places,
    kept_layers,
    measure_importance,
    pruned_shapes,
    pruned_weights,
)
from supernet.data.sentence_pairs import PairData, TokenBatches
from supernet.elastic import SuperNet
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily, Transformer, position_table
from supernet.space import seq2seq_space
from supernet.weights import SharedSlices

SPACE = seq2seq_space(
    "tiny",
    embed=(8, 4),
    ffn=(16, 8),
    heads=(2,),
    qkv_dim=8,
    encoder_layers=2,
    decoder_layers=(3, 2, 1),
    cross_source=(-1,),
)
FAMILY = Seq2SeqFamily(SPACE, Seq2SeqConfig(20, 20, dropout=0.0, max_positions=32))


def teacher() -> SuperNet:
    return SuperNet(FAMILY, SharedSlices(FAMILY, torch.Generator().manual_seed(3)))


def batches() -> list:
    rng = np.random.default_rng(0)
    data = PairData(*([rng.integers(4, 20, n) for n in rng.integers(2, 9, 12)] for _ in range(2)))
    stream = iter(TokenBatches(data, 40, 0, device="cpu"))
    return [next(stream) for _ in range(3)]


def student(
    net: SuperNet, architecture, rank: Importance, places: dict[str, Tensor] | None = None
) -> Transformer:
    alone = net.family.restrict_to(architecture)
    source = SharedSlices(alone, torch.Generator().manual_seed(9))
    every = torch.arange(architecture["encoder_embed_dim"])
    places = places or {"encoder": every, "decoder": every}
    source.adopt(pruned_weights(net.source.bake(SPACE.largest()), source.shapes, architecture, rank, places))
    module = SuperNet(alone, source).export(alone.space.largest())
    assert isinstance(module, Transformer)
    return module


def test_importance_is_its_definition() -> None:
    net, data = teacher(), batches()
    model = net.activate(SPACE.largest()).eval()
    rank = measure_importance(model, data)
    means, cosines = [], []
    module = net.export(SPACE.largest())
    layer = module.decoder[1]
    layer.feed_forward.fc1.register_forward_hook(lambda _m, _i, out: means.append(out.relu()))
    layer.register_forward_hook(
        lambda _m, i, out: cosines.append(torch.nn.functional.cosine_similarity(i[0], out, dim=-1))
    )
    norm, turned, count = torch.zeros(16), 0.0, 0
    with torch.no_grad():
        for batch in data:
            module(*batch.inputs)
            for row, (mean, cosine) in enumerate(zip(means.pop(), cosines.pop(), strict=True)):
                length = int((batch.target_out[row] != 1).sum())
                norm += mean[:length].mean(0).square()
                turned += float((1 - cosine[:length]).sum())
                count += length
    torch.testing.assert_close(rank.neurons["decoder.1"], norm.sqrt())
    assert rank.layers[1] == pytest.approx(turned / count, rel=1e-4)
    assert not model.decoder[1]._forward_hooks and len(rank.neurons) == 5


def test_importance_of_channels_is_its_definition() -> None:
    net, data = teacher(), batches()
    rank = measure_importance(net.activate(SPACE.largest()).eval(), data)
    module, norm, outputs = net.export(SPACE.largest()), torch.zeros(8), []
    for block in module.encoder:
        block.register_forward_hook(lambda _m, _i, out: outputs.append(out))
    with torch.no_grad():
        for batch in data:
            outputs.clear()
            module(*batch.inputs)
            for row, sentence in enumerate(batch.inputs[0]):
                length = int((sentence != 1).sum())
                norm += sum(out[row, :length].mean(0).square() for out in outputs)
    torch.testing.assert_close(rank.channels["encoder"], norm.sqrt())
    assert set(rank.channels) == {"encoder", "decoder"} and rank.channels["decoder"].shape == (8,)


def test_neurons_that_never_fire_are_pruned_without_a_trace() -> None:
    net, data = teacher(), batches()
    with torch.no_grad():
        dead = torch.tensor([1, 2, 5, 6, 8, 11, 12, 15])
        for name, (view, _) in net.source.master.views.items():
            if name.endswith("fc1.weight"):
                view[dead] = 0.0
            if name.endswith("fc1.bias"):
                view[dead] = -1.0
    rank = measure_importance(net.activate(SPACE.largest()).eval(), data)
    architecture = SPACE.architecture({**SPACE.largest(), "encoder_ffn": (8, 8), "decoder_ffn": (8, 8, 8)})
    small, large = student(net, architecture, rank), net.export(SPACE.largest())
    for batch in data:
        torch.testing.assert_close(small(*batch.inputs), large(*batch.inputs))


def test_pruned_layers_equal_a_teacher_without_them() -> None:
    net = teacher()
    rank = Importance(
        {f"{s}.{i}": torch.arange(16.0, 0, -1) for s in ("encoder", "decoder") for i in range(3)}
    )
    rank.layers = [0.5, 0.1, 0.9]
    shapes = {
        a["decoder_layers"]: a
        for a in pruned_shapes(SPACE)
        if min(*a["encoder_ffn"], *a["decoder_ffn"]) == 16 and a["encoder_embed_dim"] == 8
    }
    small, large = student(net, shapes[2], rank), net.export(SPACE.largest())
    large.decoder = torch.nn.ModuleList([large.decoder[0], large.decoder[2]])
    large.decoder_depth = 2
    for batch in batches():
        torch.testing.assert_close(small(*batch.inputs), large(*batch.inputs))


@pytest.mark.parametrize(("share", "factor"), [("none", 1.0), ("all", 2**0.5), ("decoder", 2**0.5)])
def test_channels_that_repeat_others_and_are_not_read_are_pruned_without_a_trace(
    share: str, factor: float
) -> None:
    """Norms over the states are those of the half that stays, and no layer reads the other half; logits of a
    tied table are twice those of half of it, and the table grows by the root of two."""
    family = Seq2SeqFamily(SPACE, Seq2SeqConfig(20, 20, share=share, dropout=0.0, max_positions=32))
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(3)))
    kept, dropped = torch.tensor([1, 2, 4, 7]), torch.tensor([0, 3, 5, 6])
    with torch.no_grad():
        for name, (view, _) in net.source.master.views.items():
            if name.endswith(("qkv.weight", "cross.q.weight", "kv.weight", "fc1.weight", "output.weight")):
                view[:, dropped] = 0.0
            elif "embedding" in name:
                view[:, dropped] = view[:, kept]
            elif view.shape[0] == 8 and not name.endswith(("q.bias", "fc1.bias")):
                view[dropped] = view[kept]
    architecture = SPACE.architecture({**SPACE.largest(), "encoder_embed_dim": 4, "decoder_embed_dim": 4})
    rank = Importance(
        {f"{s}.{i}": torch.arange(16.0, 0, -1) for s in ("encoder", "decoder") for i in range(3)},
        [0.0, 0.0, 0.0],
    )
    small = student(net, architecture, rank, {"encoder": kept, "decoder": kept})
    large = net.export(SPACE.largest())
    small.positions.zero_(), large.positions.zero_()
    for batch in batches():
        logits = small(*batch.inputs)
        torch.testing.assert_close(factor * logits, large(*batch.inputs), rtol=1e-4, atol=1e-4)
        assert logits.std() > 0.1


@pytest.mark.parametrize(("width", "teachers"), [(256, 256), (192, 256), (640, 640), (512, 640)])
def test_channels_of_wide_tables_stay_at_their_places(width: int, teachers: int) -> None:
    """Distances obey the triangle inequality, so no exchange is worth more; slow waves are nearly alike."""
    table = position_table(1024, teachers)
    importance = torch.rand(teachers, generator=torch.Generator().manual_seed(1))
    rank = Importance(channels={"encoder": importance, "decoder": importance})
    place = channel_places(rank, width, table, True)["encoder"]
    kept = set(importance.argsort(descending=True)[:width].tolist())
    assert set(place.tolist()) == kept and len(place) == width
    assert all(int(place[channel]) == channel for channel in kept if channel < width)
    if width == teachers:
        assert torch.equal(place, torch.arange(width))


def test_channels_stay_at_their_places_or_go_where_positions_are_most_alike() -> None:
    random = torch.Generator().manual_seed(0)
    table = torch.randn(70, 8, generator=random)
    importance = torch.tensor([0.1, 0.9, 0.8, 0.2, 0.3, 0.7, 0.6, 0.0])
    rank = Importance(channels={"encoder": importance, "decoder": importance.flip(0)})
    place = channel_places(rank, 4, table, False)["encoder"]
    assert sorted(place.tolist()) == [1, 2, 5, 6] and place[1] == 1 and place[2] == 2

    def cost(order: tuple[int, ...]) -> float:
        return float((table[:64, list(order)] - table[:64, :4]).norm(dim=0).sum())

    assert tuple(place.tolist()) == min(permutations([1, 2, 5, 6]), key=cost)
    shared = channel_places(rank, 4, table, True)
    assert torch.equal(shared["encoder"], shared["decoder"])
    every = channel_places(rank, 8, table, False)
    assert all(torch.equal(order, torch.arange(8)) for order in every.values())


def test_shapes_are_every_width_and_depth() -> None:
    shapes = list(pruned_shapes(SPACE))
    assert len(shapes) == len(set(shapes)) == 2 * 2 * 2 * 3
    assert SPACE.largest() in shapes


def test_the_most_important_layers_stay_in_their_order() -> None:
    assert kept_layers([0.2, 0.9, 0.1, 0.9], 2) == [1, 3]
    assert kept_layers([0.2, 0.9, 0.1, 0.3], 3) == [0, 1, 3]


def test_minitron_without_calibration_data_is_refused() -> None:
    with pytest.raises(ValueError, match="larger share"):
        measure_importance(teacher().activate(SPACE.largest()), [])
