"""Joint genomes: what is active, what is one point, how large the space is, features without dead genes."""

import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simq.genome import Genomes, JointSpace, PrecisionUnit, Subspace, precision_units
from simq.searchers.linas_published import masked_features
from supernet.space import Choice, SearchSpace


def bert() -> JointSpace:
    """The published quantised BERT space: 7 depths, heads, widths, 74 precisions of two letters."""
    choices = [
        Choice("layers", tuple(range(6, 13))),
        Choice("heads", (6, 8, 10, 12), 12, "layers"),
        Choice("ffn", (1024, 2048, 3072), 12, "layers"),
    ]
    names = [f"layers.{i}.{n}" for i in range(12) for n in ("q", "k", "v", "out", "fc1", "fc2")]
    units = [PrecisionUnit(n, (n,), "layers", int(n.split(".")[1])) for n in names]
    units += [PrecisionUnit("pooler", ("pooler",)), PrecisionUnit("head", ("head",))]
    return JointSpace(SearchSpace("bert", choices), units, ("int8", "fp32"))


def tiny() -> JointSpace:
    choices = [Choice("layers", (1, 2)), Choice("ffn", (8, 16), 2, "layers")]
    units = [
        PrecisionUnit("patch", ("patch",)),
        *(PrecisionUnit(f"l{i}", (f"l{i}.a", f"l{i}.b"), "layers", i) for i in range(2)),
    ]
    return JointSpace(SearchSpace("tiny", choices), units, ("fp32", "int8", "w4"))


def every(space: JointSpace) -> Genomes:
    return np.array(list(product(*(range(n) for n in space.levels))), dtype=np.int64)


def test_the_published_bert_space_has_99_genes_and_36_digits() -> None:
    space = bert()
    assert len(space.levels) == 99
    assert round(float(np.log10(space.levels.astype(float)).sum()), 1) == 36.1  # counted as published
    assert space.log10_size < 36.1  # inactive genes make no networks


def test_size_is_the_number_of_distinct_points() -> None:
    space = tiny()
    keys = set(space.keys(every(space)))
    assert len(keys) == space.size() == 3 * (2 * 3 + 4 * 9)
    built = {(a.key(), tuple(sorted(p.items()))) for a, p in map(space.decode, every(space))}
    assert len(built) == len(keys)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_decode_and_encode_are_inverse_up_to_inactive_genes(seed: int) -> None:
    space = bert()
    genomes = space.sample(3, np.random.default_rng(seed))
    again = np.stack([space.encode(*space.decode(g)) for g in genomes])
    assert space.keys(again) == space.keys(genomes)
    assert (space.features(again) == space.features(genomes)).all()


def test_every_active_gene_has_a_feature_and_no_inactive_one_has() -> None:
    space = bert()
    rng = np.random.default_rng(0)
    for genome in space.sample(10, rng):
        there = space.active(genome[None])[0]
        for gene in range(len(space.levels)):
            other = genome.copy()
            other[gene] = (other[gene] + 1) % space.levels[gene]
            same = (space.features(other[None]) == space.features(genome[None])).all()
            assert same == (not there[gene])


def test_the_public_mask_is_blind_to_the_pooler_and_sees_a_dead_gene() -> None:
    space = bert()
    genome = space.sample(1, np.random.default_rng(3))
    genome[0, 0] = 2  # 8 layers
    first = space.architecture_genes

    def seen(gene: int) -> bool:
        other = genome.copy()
        other[0, gene] = (other[0, gene] + 1) % space.levels[gene]
        return bool((masked_features(space, other) != masked_features(space, genome)).any())

    assert [g - first for g in range(first, 99) if seen(g) != bool(space.active(genome)[0, g])] == [48, 72]
    assert seen(first + 48) and not seen(first + 72) and seen(first + 73)


def test_a_slice_lifts_to_its_bases() -> None:
    space = tiny()
    bases = space.sample(4, np.random.default_rng(0))
    free = np.arange(len(space.levels)) >= space.architecture_genes
    part = Subspace(space, free, bases)
    own = part.sample(50, np.random.default_rng(1))
    whole = part.lift(own)
    assert (whole[:, ~free] == bases[own[:, 0]][:, ~free]).all() and (whole[:, free] == own[:, 1:]).all()
    assert (part.active(own)[:, 1:] == space.active(whole)[:, free]).all()


@pytest.mark.parametrize("name", ["vit-smoke", "bert-smoke"])
def test_units_are_those_of_the_exported_network(name: str) -> None:
    import torch

    from supernet.bert import BertConfig, family_of
    from supernet.elastic import SuperNet
    from supernet.quantization.precisions import units
    from supernet.space import get_space
    from supernet.vit import ViTConfig, ViTFamily
    from supernet.weights import SharedSlices

    space = get_space(name)
    vit = name.startswith("vit")
    family = ViTFamily(space, ViTConfig(3, 8, 1)) if vit else family_of(space)(space, BertConfig(50))
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(0), "cpu"))
    for grouping in ("linear", "block", "layer"):
        joint = JointSpace(space, precision_units(family, grouping), ("fp32", "int8", "w4"))
        for genome in joint.sample(4, np.random.default_rng(0)):
            architecture, policy = joint.decode(genome)
            assert set(policy) == set(units(net.export(architecture)))
    counts = [len(precision_units(family, grouping)) for grouping in ("layer", "block", "linear")]
    assert counts == [4 + 2, 8 + 2, 24 + 2] if vit else counts == [4 + 1, 8 + 1, 24 + 1]


def test_impossible_policies_are_refused() -> None:
    space = tiny()
    architecture, policy = space.decode(space.sample(1, np.random.default_rng(0))[0])
    with pytest.raises(ValueError, match="l0.*one of"):
        space.encode(architecture, policy | {"l0.a": "int8", "l0.b": "w4"})
    with pytest.raises(ValueError, match="must name"):
        space.encode(architecture, {})
    with pytest.raises(ValueError, match="below"):
        space.decode([9] * len(space.levels))
    with pytest.raises(ValueError, match="share"):
        JointSpace(space.space, [PrecisionUnit("a", ("x",)), PrecisionUnit("b", ("x",))], ("fp32",))


def test_a_unit_has_only_the_precisions_that_it_can_have() -> None:
    space = tiny()
    units = [PrecisionUnit("patch", ("patch",), precisions=("fp32", "int8")), *space.units[1:]]
    fewer = JointSpace(space.space, units, space.alphabet)
    assert fewer.levels[space.architecture_genes] == 2
    assert (
        fewer.decode(fewer.uniform(fewer.sample(1, np.random.default_rng(0)), "w4")[0])[1]["patch"] == "fp32"
    )


def test_a_layer_that_a_unit_does_not_always_have_is_in_no_policy_without_it() -> None:
    choices = [Choice("layers", (1, 2)), Choice("ffn", (8, 16), 2, "layers")]
    units = [
        PrecisionUnit("l0", ("a", "b"), deeper=(("b", "layers", 1),)),
        PrecisionUnit("l1", ("c",), "layers", 1),
    ]
    space = JointSpace(SearchSpace("tiny", choices), units, ("fp32", "int8"))
    assert space.size() == 2 * 2 + 4 * 4
    for genome in every(space):
        architecture, policy = space.decode(genome)
        assert set(policy) == ({"a"} if architecture["layers"] == 1 else {"a", "b", "c"})
        assert (space.encode(architecture, policy) == space.canonical(genome[None])[0]).all()


@pytest.mark.parametrize("name, grouping", [("vl-smoke", "layer"), ("resnet-smoke", "layer")])
def test_coarse_units_name_the_layers_that_are_there(name: str, grouping: str) -> None:
    from dataclasses import replace

    from supernet.cost import policy_units
    from supernet.families import family_of
    from supernet.space import get_space

    family = family_of(get_space(name), [10])
    if name == "vl-smoke":
        family = type(family)(family.space, replace(family.config, vocab=9, text=4))
    space = JointSpace(family.space, precision_units(family, grouping), ("fp32", "int8"))
    for genome in space.sample(20, np.random.default_rng(0)):
        architecture, policy = space.decode(genome)
        assert set(policy) == set(policy_units(family, architecture))


def test_codes_are_equal_exactly_for_equal_genomes() -> None:
    for genes in (tiny(), bert()):
        some = genes.sample(300, np.random.default_rng(0))
        some = np.vstack([some, some[:50]])
        codes = genes.codes(some)
        assert len(set(codes)) == len(np.unique(some, axis=0)) and codes[:50] == codes[300:]
        assert isinstance(codes[0], int) == (float(np.prod(genes.levels.astype(float))) < 2**63)


def test_codes_number_the_genomes_in_their_order() -> None:
    space = tiny()
    assert space.codes(every(space)) == list(range(len(every(space))))
    wide = JointSpace(
        SearchSpace("wide", [Choice("a", (1, 2))]),
        [PrecisionUnit(str(i), (str(i),)) for i in range(70)],
        ("x", "y"),
    )
    first, second = wide.codes(np.array([[0] * 70 + [1], [0] * 71]))
    assert isinstance(first, bytes) and first != second and len(first) == 2 * 71


def test_names_levels_and_features_of_a_small_space() -> None:
    space = tiny()
    assert space.names == ("layers", "ffn[0]", "ffn[1]", "precision patch", "precision l0", "precision l1")
    assert space.levels.tolist() == [2, 2, 2, 3, 3, 3] and space.architecture_genes == 3
    shallow, deep = np.array([[0, 1, 1, 2, 1, 2], [1, 1, 1, 2, 1, 2]])
    assert space.active(np.array([shallow, deep])).tolist() == [
        [True, True, False, True, True, False],
        [True] * 6,
    ]
    assert space.features(deep[None]).tolist() == [[0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 1]]
    assert space.features(shallow[None]).tolist() == [[1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]]
    assert space.canonical(shallow[None]).tolist() == [[0, 1, 0, 2, 1, 0]]
    architecture, policy = space.decode(shallow)
    assert architecture.to_dict() == {"layers": 1, "ffn": [16]}
    assert policy == {"patch": "w4", "l0.a": "int8", "l0.b": "int8"}
    assert space.log10_size == pytest.approx(np.log10(3 * (2 * 3 + 4 * 9)))


def test_samples_reach_every_option_and_only_options() -> None:
    space = tiny()
    drawn = space.sample(400, np.random.default_rng(0))
    assert drawn.shape == (400, 6) and drawn.min() == 0
    assert [len(set(column)) for column in drawn.T.tolist()] == space.levels.tolist()


@pytest.mark.parametrize("gene", range(6))
def test_an_option_that_is_none_is_refused_and_the_last_one_is_taken(gene: int) -> None:
    space = tiny()
    genome = np.zeros(6, dtype=np.int64)
    genome[gene] = space.levels[gene] - 1
    space.decode(genome)
    for option in (-1, space.levels[gene]):
        genome[gene] = option
        with pytest.raises(ValueError, match="a genome of 6 genes below"):
            space.decode(genome)
    with pytest.raises(ValueError, match="a genome of 6 genes below"):
        space.decode(genome[:5])


def test_spaces_that_cannot_be_are_refused() -> None:
    space, units = tiny().space, tiny().units
    for alphabet in ((), ("fp32", "fp32")):
        with pytest.raises(ValueError, match="distinct and at least one"):
            JointSpace(space, units, alphabet)
    with pytest.raises(ValueError, match="share a name or a layer"):
        JointSpace(space, [PrecisionUnit("a", ("x",)), PrecisionUnit("a", ("y",))], ("fp32",))
    with pytest.raises(ValueError, match="supports none of the precisions fp32"):
        JointSpace(space, [PrecisionUnit("a", ("x",), precisions=("int8",))], ("fp32",))
    for depth in ("depth", "ffn"):
        with pytest.raises(ValueError, match=f"no plain choice of space tiny is named {depth}"):
            JointSpace(space, [PrecisionUnit("a", ("x",), depth)], ("fp32",))


def test_a_policy_outside_the_alphabet_is_refused_and_a_dead_layer_has_no_precision() -> None:
    space = tiny()
    architecture, policy = space.decode([0, 0, 0, 0, 0, 0])
    with pytest.raises(ValueError, match="unit patch: one of .*got {'fp16'}"):
        space.encode(architecture, policy | {"patch": "fp16"})
    with pytest.raises(ValueError, match="must name these layers: l0.a, l0.b, patch"):
        space.encode(architecture, policy | {"l1.a": "fp32", "l1.b": "fp32"})


def test_one_precision_everywhere_leaves_the_architecture() -> None:
    space = tiny()
    genomes = space.sample(5, np.random.default_rng(0))
    before = genomes.copy()
    plain = space.uniform(genomes, "int8")
    assert (plain[:, :3] == genomes[:, :3]).all() and (plain[:, 3:] == 1).all() and (genomes == before).all()


def test_a_slice_has_the_points_of_its_space() -> None:
    space = tiny()
    bases = np.array([[0, 1, 1, 2, 1, 2], [1, 0, 1, 0, 0, 0]])
    part = Subspace(space, np.arange(6) >= 3, bases)
    assert part.levels.tolist() == [2, 3, 3, 3]
    assert part.names == ("base", "precision patch", "precision l0", "precision l1")
    own = np.array([[0, 0, 0, 0], [0, 0, 0, 2], [1, 0, 0, 2]])
    assert part.lift(own).tolist() == [[0, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 2], [1, 0, 1, 0, 0, 2]]
    keys = part.keys(own)
    assert keys == space.keys(part.lift(own)) and keys[0] == keys[1] != keys[2]
    assert part.active(own).tolist() == [[True, True, True, False]] * 2 + [[True] * 4]
    single = Subspace(space, np.arange(6) >= 3, bases[0])
    assert single.levels.tolist() == [1, 3, 3, 3] and single.lift(own[:1]).tolist() == [[0, 1, 1, 0, 0, 0]]


def test_units_have_depth_place_and_allowed_precisions() -> None:
    from supernet.space import get_space
    from supernet.vit import ViTConfig, ViTFamily

    family = ViTFamily(get_space("vit-smoke"), ViTConfig(3, 8, 1))
    with pytest.raises(ValueError, match="grouping 'all': choose one of linear, block, layer"):
        precision_units(family, "all")
    depths = sorted(family.space.choice("layers").options)
    for grouping in ("linear", "block", "layer"):
        units = precision_units(family, grouping)
        assert len({unit.name for unit in units}) == len(units)
        for unit in units:
            numbers = {int(n) for layer in unit.layers for n in re.findall(r"\.(\d+)\.", layer)}
            assert len(numbers) <= 1, "a unit is of one layer"
            number = numbers.pop() if numbers else -1
            always = number < depths[0]
            expected = (None, 0) if always else ("layers", max(d for d in depths if d <= number))
            assert (unit.depth, unit.at) == expected
            assert unit.deeper == () and unit.precisions and "fp32" in unit.precisions
    linear = {layer for unit in precision_units(family) for layer in unit.layers}
    assert linear == {layer for unit in precision_units(family, "layer") for layer in unit.layers}


def test_a_unit_lacks_the_layers_that_are_deeper_than_the_architecture() -> None:
    unit = PrecisionUnit("u", ("a", "b", "c"), deeper=(("b", "layers", 2), ("c", "layers", 3)))
    assert [unit.layers_in({"layers": n}) for n in (2, 3, 4)] == [("a",), ("a", "b"), ("a", "b", "c")]
