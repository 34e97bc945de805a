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
@settings(max_examples=60)
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
@settings(max_examples=60)
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
@settings(max_examples=60)
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
@settings(max_examples=30)
def test_restriction_leaves_one_architecture_and_the_encoding_of_the_whole_space(
    name: str, seed: int
) -> None:
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
@settings(max_examples=30)
def test_equal_networks_have_equal_keys_under_any_inactive_genes(name: str, seed: int) -> None:
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


def test_the_extremes_hold_every_extreme_value() -> None:
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
def test_bad_fields_are_named_with_the_allowed_values(change: dict[str, object], words: list[str]) -> None:
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


def small() -> SearchSpace:
    """Two depths of three widths, and one plain choice: 2 * (3 + 9) architectures."""
    choices = [Choice("depth", (1, 2)), Choice("width", (4, 16, 8), 2, "depth"), Choice("heads", (2, 1))]
    return SearchSpace("small", choices, {"qkv": 8})


def test_a_small_space_lists_every_architecture_once() -> None:
    space = small()
    listed = list(space)
    assert len(listed) == len(set(listed)) == space.size() == 24
    assert listed[0].to_dict() == {"depth": 1, "width": [4], "heads": 2}
    assert listed[-1].to_dict() == {"depth": 2, "width": [8, 8], "heads": 1}
    assert repr(space) == "SearchSpace('small', 24 architectures)"
    assert space.choice("heads") is space.choices[2] and space.constants == {"qkv": 8}
    assert SearchSpace("plain", [Choice("a", (1, 2)), Choice("b", (1,), 3)]).size() == 2
    assert SearchSpace("plain", [Choice("a", (1, 2)), Choice("b", (1, 5), 3)]).size() == 2 * 2**3


def test_an_allowed_subset_counts_alone_and_keeps_the_encoding() -> None:
    choices = small().choices
    space = SearchSpace("part", choices, allowed=[(2,), (4, 8), (16,), (1,)])
    assert space.size() == 2 and {a.key() for a in space} == {"2_4.16_1", "2_8.16_1"}
    assert space.largest().genes == (2, 8, 16, 1) and space.smallest().genes == (2, 4, 16, 1)
    assert space.encode(space.smallest(), "fine").tolist() == [1, 0.25, 1, 0.5]
    with pytest.raises(ValueError, match="4 genes, but 3 lists of allowed values"):
        SearchSpace("part", choices, allowed=[(2,), (4, 8), (16,)])
    for width in ((), (4, 5)):
        with pytest.raises(ValueError, match="part: width allows"):
            SearchSpace("part", choices, allowed=[(2,), width, (16,), (1,)])


@pytest.mark.parametrize(
    ("genes", "message"),
    [
        ((1, 4, 4), "space small has 4 genes, got 3"),
        ((1, 4, 4, 2, 2), "space small has 4 genes, got 5"),
        ((1, 4, 5, 2), "width: 5 is not in space small; allowed: .4, 16, 8."),
    ],
)
def test_genotypes_have_every_gene_in_its_options(genes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().from_genes(genes)


def test_inactive_layers_are_filled_with_the_largest_option() -> None:
    space = small()
    read = space.architecture({"depth": 1, "width": (4,), "heads": np.int64(2)})
    assert read.genes == (1, 4, 16, 2) and read["heads"] == 2 and read.space is space
    assert space.largest().genes == (2, 16, 16, 2) and space.smallest().genes == (1, 4, 4, 1)
    assert space.encode(read).tolist() == [0.5, 0.25, 1]
    assert space.encode(read, "fine").tolist() == [0.5, 0.25, 0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": 1}, "space small: unknown field x .fields: depth, width, heads."),
        ({"x": 1, "y": 2}, "unknown fields x, y .fields"),
        ({"depth": 2}, "width: 2 layers expected, got 1: .4."),
        ({"width": [4, 4]}, "width: 1 layers expected, got 2: .4, 4."),
        ({"width": [True]}, "width .layer 0.: True is not in space small; allowed: 4, 16, 8"),
        ({"heads": 3}, "heads: 3 is not in space small; allowed: 2, 1"),
        ({"heads": 2.0}, "heads: 2.0 is not in space small"),
        ({"heads": True}, "heads: True is not in space small"),
        ({"width": 4}, "width: expected a list with one integer per layer of .4, 16, 8., got 4"),
        ({"heads": [2]}, "heads: expected an integer of .2, 1., got .2."),
    ],
)
def test_wrong_fields_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().architecture({"depth": 1, "width": [4], "heads": 2} | change)
    with pytest.raises(ValueError, match="missing fields depth, width .fields"):
        small().validate({"heads": 2})


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (lambda: Choice("a", ()), "a: options must be distinct and not empty"),
        (lambda: Choice("a", (1, 1)), "a: options must be distinct"),
        (lambda: Choice("a", (1,), 0), "a: repeat must be at least 1, got 0"),
        (lambda: Choice("a", (1, 2), codes={1: 5}), "a: codes must name every option"),
    ],
)
def test_choices_that_cannot_be_are_refused(choice: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choice()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("depths", "message"),
    [
        ((0, 1), "width: depth in .0, 1. needs 1..2 layers"),
        ((1, 3), "width: depth in .1, 3. needs 1..2 layers"),
    ],
)
def test_a_depth_has_its_layers(depths: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchSpace("bad", [Choice("depth", depths), Choice("width", (4,), 2, "depth")])
    for name in ("nothing", "width"):
        with pytest.raises(ValueError, match=f"no plain choice is named '{name}'"):
            SearchSpace("bad", [Choice("width", (4,), 2), Choice("b", (4,), 2, name)])


def test_codes_stand_for_options_in_encodings_and_in_the_order_of_sizes() -> None:
    choice = Choice("mode", (7, 9, 8), 1, codes={7: 3, 9: -4, 8: 1})
    assert [choice.code(option) for option in (7, 9, 8)] == [3, -4, 1] and choice.scale == 4
    space = SearchSpace("coded", [choice])
    assert space.largest()["mode"] == 7 and space.smallest()["mode"] == 9
    assert space.encode({"mode": 9}).tolist() == [-1] and space.encode({"mode": 7}).tolist() == [0.75]
    assert Choice("zero", (0,)).scale == 1
    assert not choice.layered and Choice("a", (1,), 2).layered and Choice("a", (1,), 1, "depth").layered


def test_architectures_are_mappings_equal_by_active_values() -> None:
    space = small()
    one, other = space.from_genes((1, 4, 8, 2)), space.from_genes((1, 4, 16, 2))
    assert one == other and hash(one) == hash(other) and one.genes != other.genes
    assert one != space.from_genes((1, 8, 8, 2)) and one != {"depth": 1, "width": (4,), "heads": 2}
    assert list(one) == ["depth", "width", "heads"] and len(one) == 3
    assert one.key() == "1_4_2" and repr(one) == "Architecture(1_4_2)"
    assert (
        space.from_genes((2, 4, 4, 2)).key() == "2_4x2_2"
        and space.from_genes((2, 4, 8, 2)).key() == "2_4.8_2"
    )


def test_only_the_restricted_architecture_keeps_its_inactive_genes() -> None:
    space = small()
    arch = space.from_genes((1, 4, 8, 2))
    assert space.restrict_to(arch).largest().genes == (1, 4, 8, 2)
    assert space.restrict_to(arch.to_dict()).largest().genes == (1, 4, 16, 2)
    assert space.restrict_to(arch).name == "small:1_4_2" and space.restrict_to(arch).constants == {"qkv": 8}


def test_crossover_takes_either_parent_equally_often() -> None:
    space, rng = get_space("hat-space0"), np.random.default_rng(0)
    a, b = space.largest(), space.smallest()
    children = [space.crossover(a, b, rng) for _ in range(400)]
    several = [i for i, (x, y) in enumerate(zip(a.genes, b.genes, strict=True)) if x != y]
    shares = [np.mean([child.genes[i] == a.genes[i] for child in children]) for i in several]
    assert all(abs(share - 0.5) < 0.12 for share in shares)
