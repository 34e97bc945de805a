"""Encoders against published counts: NAS-BERT's space and FLOPs, AutoDistil, SuperShaper, MoS v5.1."""

from collections import Counter
from itertools import product

import pytest

from supernet.space import get_space

torch = pytest.importorskip("torch")

from supernet.bert import BertConfig, BertFamily, CellBert, HomogeneousBert, family_of
from supernet.cost import cost

UNCASED, CASED = 30522, 28996
TOKENS = 128


def family(space: str, vocab: int = UNCASED) -> BertFamily:
    made = get_space(space)
    return family_of(made)(made, BertConfig(vocab))


def block_parameters(cells: CellBert) -> list[int]:
    """Parameters of every architecture of one block: its operations, counted from their tensors."""
    found = []
    for width in cells.space.choice("width_0").options:
        each = []
        for code in cells.space.choice("ops_0").options:
            name = cells.op(0, 0, code, width).name
            tensors = [s.shape for n, s in cells.slots().items() if n.startswith(f"ops.{name}.")]
            each.append(sum(torch.Size(shape).numel() for shape in tensors))
        for depth in range(1, cells.space.choice("ops_0").repeat + 1):
            found += [sum(ops) for ops in product(each, repeat=depth)]
    return found


@pytest.mark.parametrize(
    ("space", "count", "bins"),
    [
        ("nas-bert", 97_650, [46770, 17364, 13028, 8694, 5185, 4777, 1346, 445, 34, 7]),
        ("nas-bert-s", 3_120, [2002, 838, 256, 24]),
    ],
)
def test_nas_bert_blocks_and_their_bins_by_parameters(space: str, count: int, bins: list[int]) -> None:
    cells = family(space)
    assert isinstance(cells, CellBert)
    assert cells.space.size() == count ** cells.space.constants["blocks"]
    parameters = block_parameters(cells)
    assert len(parameters) == count
    most = max(parameters)
    filled = Counter(min(p * len(bins) // most, len(bins) - 1) for p in parameters)
    assert [filled[b] for b in range(len(bins))] == bins


def electra_flops(layers: int, width: int, embedding: int) -> float:
    """ELECTRA's inference count of a BERT: two a multiply-add, a one-hot embedding, and every
    element-wise operation by a weight of its own; the classifier's dense layer over all positions."""
    heads, ffn, t = width // 64, 4 * width, TOKENS
    attention = 2 * 4 * width * width + 4 * width + 2 * 2 * width * t + (5 + 4 + 1) * t * heads
    after = 2 * (4 + 1 + 5) * width
    feed_forward = 2 * 2 * width * ffn + (8 + 1) * ffn + width
    embed = 2 * embedding * UNCASED + 2 * embedding * (t + 2) + (2 + 5 + 4) * embedding
    project = 2 * width * embedding + width if embedding != width else 0
    classify = 2 * width * width + 11 * width
    return t * (layers * (attention + after + feed_forward) + embed + project + classify)


@pytest.mark.parametrize(
    ("layers", "width", "embedding", "counted", "published"),
    [
        (10, 512, 512, 1.252e10, 1.3e10),
        (6, 512, 256, 7.17e9, 7.1e9),
        (6, 256, 128, 2.35e9, 2.3e9),
        (6, 128, 64, 8.69e8, 8.6e8),
    ],
)
def test_nas_berts_four_bert_rows_by_electras_counter(
    layers: int, width: int, embedding: int, counted: float, published: float
) -> None:
    flops = electra_flops(layers, width, embedding)
    assert flops == pytest.approx(counted, rel=2e-3)
    # Two printed digits, cut or rounded.
    unit = 10 ** (len(str(int(published))) - 2)
    assert abs(flops - published) < unit
    # All but the one-hot embedding is twice our count, to the element-wise operations.
    space = get_space("nas-bert")
    cells = CellBert(space, BertConfig(UNCASED), "plain")
    blocks = [layers // 4 + (b < layers % 4) for b in range(4)]
    arch = {}
    for b, depth in enumerate(blocks):
        arch |= {f"width_{b}": width, f"layers_{b}": 2 * depth, f"ops_{b}": [0, 1] * depth}
    ours = cost(cells, space.architecture(arch), source_len=TOKENS, target_len=1).macs_body
    table = 2 * TOKENS * embedding * UNCASED
    # Our plan starts from the space's own embedding width.
    entered = (
        2 * TOKENS * (width * space.constants["embedding"] if width != space.constants["embedding"] else 0)
    )
    assert 2 * ours - entered == pytest.approx(flops - table, rel=0.06)


@pytest.mark.parametrize(
    ("size", "layers", "width", "tenths", "heads", "params", "gmacs"),
    [
        ("tiny", 7, 160, 35, 10, 9.1, 0.68),
        ("small", 11, 352, 40, 10, 31.9, 2.91),
        ("small", 11, 352, 40, 8, 29.9, 2.61),
        ("base", 12, 544, 30, 9, 53.6, 4.92),
    ],
)
def test_autodistil_recounted_with_heads_of_64(
    size: str, layers: int, width: int, tenths: int, heads: int, params: float, gmacs: float
) -> None:
    """Parameters with BERT's pooler and no masked-language-model head; MACs with one dense layer over all
    positions after the last layer."""
    made = family(f"autodistil-{size}")
    assert isinstance(made, HomogeneousBert) and made.space.size() == 256
    arch = made.space.architecture({"width": width, "heads": heads, "ffn_tenths": tenths, "layers": layers})
    counted = cost(made, arch, source_len=TOKENS, target_len=1)
    head = width * width + width + 2 * width + UNCASED
    pooler = width * width + width
    assert round((counted.params - head + pooler) / 1e6, 1) == params
    assert round((counted.macs_body + TOKENS * width * width) / 1e9, 2) == gmacs


def test_supershapers_published_shape_has_its_published_parameters() -> None:
    """63.4 M with adjacent bottlenecks merged, a cased vocabulary and a pooler."""
    made = family("supershaper", CASED)
    assert made.space.size() == 7**12
    widths = [480, 240, 360, 240, 540, 480, 360, 360, 360, 360, 540, 480]
    counted = cost(made, made.space.architecture({"widths": widths}), source_len=TOKENS, target_len=1)
    head = 768 * 768 + 768 + 2 * 768 + CASED
    pooler = 768 * 768 + 768
    assert round((counted.params - head + pooler) / 1e6, 1) == 63.4


def test_mos_v51_has_550_architectures() -> None:
    assert get_space("mos-bert-v5.1").size() == 550
    assert [get_space(f"autodistil-s-{size}").size() for size in ("small", "base", "all")] == [81, 81, 162]
    assert get_space("supershaper-s").size() == 15_625
