"""Search spaces: closure under search operations, encodings, JSON, and HAT's published size."""

import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet.space import SPACES, Choice, SearchSpace, from_hat, get_space

names = st.sampled_from(sorted(SPACES))
seeds = st.integers(0, 2**32 - 1)


@given(names, seeds, st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_sample_mutate_crossover_stay_inside(name: str, seed: int, p: float) -> None:
    space, rng = get_space(name), np.random.default_rng(seed)
    a, b = space.sample(rng), space.sample(rng)
    child = space.crossover(space.mutate(a, p, rng), b, rng)
    for arch in (a, b, child):
        space.validate(arch)
        assert space.from_genes(arch.genes) == arch
        for choice in space.choices:
            if choice.depth is not None:
                assert len(arch[choice.name]) == arch[choice.depth]
    assert all(
        gene in (x, y) for gene, x, y in zip(space.crossover(a, b, rng).genes, a.genes, b.genes, strict=True)
    )


@given(names, seeds)
@settings(max_examples=60, deadline=None)
def test_encodings_lie_in_the_unit_interval(name: str, seed: int) -> None:
    space = get_space(name)
    arch = space.sample(np.random.default_rng(seed))
    for kind in ("aggr", "fine"):
        code = space.encode(arch, kind)
        assert code.dtype == np.float64
        assert code.min() >= 0
        assert code.max() <= 1
        assert np.all(space.encode(space.largest(), kind) == 1)
    assert len(space.encode(arch, "aggr")) == len(space.choices)
    assert len(space.encode(arch, "fine")) == len(arch.genes)


@given(names, seeds)
@settings(max_examples=60, deadline=None)
def test_json_round_trip_gives_an_equal_architecture(name: str, seed: int) -> None:
    space = get_space(name)
    arch = space.sample(np.random.default_rng(seed))
    again = space.architecture(json.loads(json.dumps(arch.to_dict())))
    assert again == arch
    assert hash(again) == hash(arch)
    assert again.key() == arch.key()
    assert pickle.loads(pickle.dumps(arch)) == arch
    assert pickle.loads(pickle.dumps(arch)).genes == arch.genes


@given(names, seeds)
@settings(max_examples=30, deadline=None)
def test_only_leaves_one_architecture_with_the_encoding_of_the_whole_space(name: str, seed: int) -> None:
    space, rng = get_space(name), np.random.default_rng(seed)
    arch = space.sample(rng)
    single = space.restrict_to(arch)
    assert single.size() == 1
    for other in (single.sample(rng), single.largest(), single.smallest(), single.mutate(arch, 0.0, rng)):
        assert other == arch
    assert np.array_equal(single.encode(arch, "fine"), space.encode(arch, "fine"))
    with pytest.raises(ValueError, match="allowed"):
        single.validate(space.smallest() if arch != space.smallest() else space.largest())


@given(names, seeds)
@settings(max_examples=30, deadline=None)
def test_equal_networks_have_equal_keys_whatever_their_inactive_genes(name: str, seed: int) -> None:
    space, rng = get_space(name), np.random.default_rng(seed)
    shallow = space.architecture({**space.smallest().to_dict()})
    genes = list(space.sample(rng).genes)
    start = 0
    for choice in space.choices:
        active = shallow[choice.name] if choice.layered else (shallow[choice.name],)
        genes[start : start + len(active)] = active
        start += choice.repeat
    assert space.from_genes(genes) == shallow
    assert len({space.from_genes(genes), shallow}) == 1


def test_space0_has_the_published_size() -> None:
    size = get_space("hat-space0").size()
    assert size == 2 * 3**6 * 2**6 * 2 * sum((3 * 2 * 2 * 3) ** depth for depth in range(1, 7))
    assert f"{size:.3g}" == "4.18e+14"
    assert get_space("hat-space1").size() == size
    assert len(get_space("hat-space0").sample(np.random.default_rng(0)).genes) == 40


def test_size_counts_distinct_architectures() -> None:
    space = SearchSpace(
        "tiny", [Choice("depth", (1, 2, 3)), Choice("width", (8, 4), 3, "depth"), Choice("w", (1, 2))]
    )
    rng = np.random.default_rng(0)
    seen = {space.sample(rng) for _ in range(2000)}
    assert len(seen) == space.size() == (2 + 4 + 8) * 2


def test_the_seed_decides_the_sequence() -> None:
    space = get_space("hat-space1")

    def draw(seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        return [space.mutate(space.sample(rng), 0.3, rng).key() for _ in range(8)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_mutation_redraws_the_stated_share_of_genes() -> None:
    space, rng = get_space("hat-space0"), np.random.default_rng(3)
    parent = space.largest()
    changed = [
        sum(x != y for x, y in zip(space.mutate(parent, 0.3, rng).genes, parent.genes, strict=True))
        for _ in range(400)
    ]
    counts = [len(options) for options in space.allowed]
    expected = 0.3 * sum(1 - 1 / count for count in counts)
    spread = math.sqrt(sum(0.3 * (1 - 1 / c) * (1 - 0.3 * (1 - 1 / c)) for c in counts) / 400)
    assert abs(np.mean(changed) - expected) < 5 * spread
    assert space.mutate(parent, 0.0, rng).genes == parent.genes


def test_extremes_are_extremes() -> None:
    space = get_space("hat-space0")
    big, small = space.largest(), space.smallest()
    assert big["decoder_cross_source"] == (2,) * 6
    assert small["decoder_cross_source"] == (-1,)
    assert (big["decoder_layers"], small["decoder_layers"]) == (6, 1)
    rng = np.random.default_rng(0)
    for _ in range(50):
        code = space.encode(space.sample(rng))
        assert np.all(space.encode(small) <= code)
        assert np.all(code <= space.encode(big))


def test_aggregated_encoding_is_the_mean_over_active_layers() -> None:
    space = get_space("hat-space0")
    arch = space.architecture(
        {
            "encoder_embed_dim": 512,
            "encoder_layers": 6,
            "encoder_ffn": [3072, 3072, 3072, 1024, 1024, 1024],
            "encoder_heads": [4] * 6,
            "decoder_embed_dim": 640,
            "decoder_layers": 2,
            "decoder_ffn": [3072, 1024],
            "decoder_self_heads": [8, 4],
            "decoder_cross_heads": [4, 4],
            "decoder_cross_source": [-1, 2],
        }
    )
    assert space.encode(arch).tolist() == pytest.approx(
        [0.8, 1, 2048 / 3072, 0.5, 1, 2 / 6, 2048 / 3072, 0.75, 0.5, 2 / 3]
    )
    fine = space.encode(arch, "fine")
    assert fine[-6:].tolist() == pytest.approx([1 / 3, 1, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder_embed_dim": 600}, ["encoder_embed_dim", "600", "640, 512"]),
        ({"encoder_embed_dim": 640.0}, ["encoder_embed_dim", "640.0"]),
        ({"encoder_embed_dim": [640]}, ["encoder_embed_dim", "an integer"]),
        ({"decoder_layers": 9}, ["decoder_layers", "9", "6, 5, 4, 3, 2, 1"]),
        ({"decoder_ffn": 1024}, ["decoder_ffn", "a list"]),
        ({"decoder_ffn": [1024, 1024]}, ["decoder_ffn", "1 layers expected", "2"]),
        ({"decoder_ffn": [100]}, ["decoder_ffn", "layer 0", "100"]),
        ({"decoder_cross_source": [True]}, ["decoder_cross_source", "True"]),
        ({"decoder_ffm": [1024]}, ["unknown field decoder_ffm", "decoder_ffn"]),
    ],
)
def test_bad_fields_are_named_with_what_is_allowed(change: dict[str, object], words: list[str]) -> None:
    space = get_space("hat-space0")
    with pytest.raises(ValueError) as caught:
        space.architecture({**space.smallest().to_dict(), **change})
    for word in words:
        assert word in str(caught.value)


def test_missing_field_is_named() -> None:
    space = get_space("hat-space0")
    plain = space.smallest().to_dict()
    del plain["decoder_ffn"]
    with pytest.raises(ValueError, match="missing field decoder_ffn"):
        space.architecture(plain)


def test_unknown_space_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean hat-space0"):
        get_space("hat-space-0")


def test_unknown_encoding_is_refused() -> None:
    space = get_space("mt-smoke")
    with pytest.raises(ValueError, match="aggr, fine"):
        space.encode(space.largest(), "coarse")


def test_hat_field_names_are_read() -> None:
    space = get_space("hat-space0")
    arch = space.sample(np.random.default_rng(5))
    published = {
        "encoder_embed_dim": arch["encoder_embed_dim"],
        "encoder_layer_num": 6,
        "encoder_ffn_embed_dim_all": list(arch["encoder_ffn"]),
        "encoder_self_attention_heads_all": list(arch["encoder_heads"]),
        "decoder_embed_dim": arch["decoder_embed_dim"],
        "decoder_layer_num": arch["decoder_layers"],
        "decoder_ffn_embed_dim_all": [*arch["decoder_ffn"], 3072, 3072],
        "decoder_self_attention_heads_all": list(arch["decoder_self_heads"]),
        "decoder_ende_attention_heads_all": list(arch["decoder_cross_heads"]),
        "decoder_arbitrary_ende_attn_all": list(arch["decoder_cross_source"]),
    }
    assert from_hat(space, published) == arch


@pytest.mark.parametrize("name", sorted(SPACES))
def test_a_space_survives_json(name: str) -> None:
    space = get_space(name)
    space = space.restrict_to(space.smallest()) if name == "mt-smoke" else space
    again = SearchSpace.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again.to_dict() == space.to_dict()
    assert again.size() == space.size()
    assert np.array_equal(again.encode(again.largest(), "fine"), space.encode(space.largest(), "fine"))


@pytest.mark.parametrize(
    "choices",
    [
        [Choice("a", (1,)), Choice("a", (2,))],
        [Choice("width", (8,), 3, "depth")],
        [Choice("depth", (1, 4)), Choice("width", (8,), 3, "depth")],
    ],
)
def test_inconsistent_spaces_are_refused(choices: list[Choice]) -> None:
    with pytest.raises(ValueError):
        SearchSpace("bad", choices)
