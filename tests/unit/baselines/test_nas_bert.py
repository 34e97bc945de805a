"""NAS-BERT's parts: bins and halving, the table of operations, the ranking of whole networks."""

from __future__ import annotations

import json
import math
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from baselines.nas_bert import OperationTable, Ranking, retrained_size
from baselines.shrinking import Shrinking, architecture_of, binned, cell_size, cells_of
from benchmarks.api import Window
from supernet.bert import BertConfig, CellBert, HomogeneousBert
from supernet.elastic import SuperNet
from supernet.interop.bert_start import Parent, start_from
from supernet.space import cell_space, get_space, homogeneous_space
from supernet.weights import SharedSlices

SPACE = cell_space("c", (8, 16), blocks=2, layers=3, hub=24, embedding=16, head_dim=8)
FAMILY = CellBert(SPACE, BertConfig(40, max_positions=12))
MS = {(width, code): 0.1 + 0.01 * width + 0.03 * code for width, code in product((8, 16), range(5))}
BASE = {8: 0.5, 16: 0.9}


class FakeLab:
    """Latencies that really are sums of operations."""

    def __init__(self) -> None:
        self.probes = 0

    def probe(self, architecture) -> float:
        self.probes += 1
        found = 0.0
        for block in range(2):
            width = architecture[f"width_{block}"]
            found += BASE[width] / 2 + sum(MS[width, code] for code in architecture[f"ops_{block}"])
        return found

    def progress(self, *told) -> None:
        pass


@pytest.fixture(scope="module")
def table() -> OperationTable:
    return OperationTable(FakeLab(), SPACE)  # type: ignore[arg-type]


def rank(table: OperationTable, cells) -> Ranking:
    rng = np.random.default_rng(0)
    losses = [{cell: float(rng.random()) for cell in part} for part in cells]
    return Ranking(FAMILY, cells, losses, table)


def some_cells(seed: int = 0):
    rng = np.random.default_rng(seed)
    every = list(cells_of(SPACE, 0))
    return [[every[i] for i in sorted(rng.choice(len(every), 9, replace=False))] for _ in range(2)]


def test_a_block_has_the_published_number_of_candidates() -> None:
    assert len(list(cells_of(get_space("nas-bert"), 0))) == 97_650
    assert len(list(cells_of(get_space("nas-bert-s"), 2))) == 3_120


def test_latencies_of_operations_are_differences_of_networks(table: OperationTable) -> None:
    assert table.ms == {key: pytest.approx(ms) for key, ms in MS.items()}
    assert table.base == {width: pytest.approx(ms) for width, ms in BASE.items()}
    lab = FakeLab()
    OperationTable(lab, SPACE)  # type: ignore[arg-type]
    assert lab.probes == 2 * 6


def test_a_table_of_noise_has_no_free_operation() -> None:
    rng = np.random.default_rng(0)
    lab = SimpleNamespace(probe=lambda a: float(rng.uniform(1, 2)), progress=lambda *told: None)
    assert min(OperationTable(lab, SPACE).ms.values()) > 0  # type: ignore[arg-type]


def test_sizes_of_whole_networks_are_those_that_are_counted(table: OperationTable) -> None:
    cells = some_cells()
    ranking = rank(table, cells)
    for first in range(0, 9, 4):
        sizes = ranking.sizes(first)
        for second in range(9):
            architecture = architecture_of(SPACE, [cells[0][first], cells[1][second]])
            assert sizes[second] == retrained_size(FAMILY, architecture)


@pytest.mark.parametrize("limit", [Window(6_000, 12_000), 1.9])
def test_the_ranking_is_that_of_brute_force(table: OperationTable, limit) -> None:
    cells = some_cells(1)
    ranking = rank(table, cells)
    expected = []
    for i, j in product(range(9), repeat=2):
        architecture = architecture_of(SPACE, [cells[0][i], cells[1][j]])
        if isinstance(limit, Window):
            fits = limit.low <= retrained_size(FAMILY, architecture) <= limit.high
        else:
            fits = FakeLab().probe(architecture) <= limit
        if fits:
            expected.append((ranking.loss[0][i] + ranking.loss[1][j], architecture))
    assert len(expected) > 5
    expected.sort(key=lambda entry: entry[0])
    assert ranking.best(limit, 5) == [architecture for _, architecture in expected[:5]]
    assert ranking.best(Window(1, 2), 5) == []


def test_bins_are_shares_of_the_largest_and_need_both_size_and_latency() -> None:
    sizes = {(8, (i,)): size for i, size in enumerate((10, 50, 51, 100))}
    latencies = {(8, (i,)): ms for i, ms in enumerate((1.0, 9.0, 8.0, 10.0))}
    assert binned(sizes, latencies, 2) == [[(8, (0,))], [(8, (2,)), (8, (3,))]]
    same = binned(sizes, dict.fromkeys(sizes, 5.0), 2)
    assert same == [[(8, (0,)), (8, (1,))], [(8, (2,)), (8, (3,))]], "no bin is emptied by latency alone"


def size(block: int, cell) -> float:
    return float(cell_size(FAMILY, block, cell))


def shrinking(sampled: int = 10_000) -> Shrinking:
    def losses(net, block, cells):
        return {cell: size(block, cell) for cell in cells}

    return Shrinking(FAMILY, size, losses, bins=3, keep=4, warm_up=2, sampled=sampled, seed=1)


def test_bins_are_halved_epoch_by_epoch_down_to_the_kept_number() -> None:
    made = shrinking()
    before = [[len(part) for part in parts] for parts in made.remaining]
    assert made.rounds == math.ceil(math.log2(max(map(max, before)) / 4))
    net, epochs = object(), 2 + made.rounds
    made.after(net, 2.5 / epochs)
    assert [[len(part) for part in parts] for parts in made.remaining] == before, "warm-up"
    made.after(net, 3 / epochs)
    halves = [[n if n <= 4 else max(4, math.ceil(n / 2)) for n in parts] for parts in before]
    assert halves == [[n - made.dropped(n) for n in parts] for parts in before]
    assert [[len(part) for part in parts] for parts in made.remaining] == halves
    made.finish(net)
    assert all(len(part) <= 4 for parts in made.remaining for part in parts)
    for part, whole in zip(made.remaining[0], shrinking().remaining[0], strict=True):
        assert sorted(size(0, c) for c in part) == sorted(size(0, c) for c in whole)[:4]


def test_bins_beyond_the_sample_lose_the_worse_half_of_the_sample_alone() -> None:
    made, scored = shrinking(sampled=10), []
    made.losses = lambda net, block, cells: scored.append(len(cells)) or {c: size(block, c) for c in cells}
    before = [list(part) for part in made.remaining[0]]
    made.halve(object())
    for part, whole in zip(made.remaining[0], before, strict=True):
        assert len(part) == len(whole) - min(5, len(whole) // 2, max(len(whole) - 4, 0))
        gone = [cell for cell in whole if cell not in part]
        assert part == [cell for cell in whole if cell in part]  # the order of bins stays
        assert len(gone) <= 5
    assert max(scored) <= 30  # three bins, ten of each
    made.finish(object())
    assert all(len(part) <= 4 for parts in made.remaining for part in parts)
    # At the paper's size: 46,770 candidates in the fullest bin, 1,000 of which go each epoch.
    paper = shrinking(sampled=2000)
    count, epochs = 46_770, 0
    while count > 10:
        paper.keep, count, epochs = 10, count - paper.dropped(count), epochs + 1
    assert 50 <= epochs <= 56


def test_only_remaining_architectures_are_drawn_also_after_a_resumption() -> None:
    made = shrinking()
    made.finish(object())
    state = json.loads(json.dumps(made.state()))
    again = shrinking()
    again.restore(state)
    assert again.remaining == made.remaining and again.halved == made.halved
    rng = np.random.default_rng(0)
    for _ in range(50):
        (drawn,) = again.draw(SPACE, rng)
        cell = drawn["width_1"], tuple(drawn["ops_1"])
        assert cell in made.cells(1)


def test_words_and_output_are_the_teachers() -> None:
    shape = homogeneous_space("t", width=(24,), heads=(3,), ffn_tenths=(40,), layers=(4,), head_dim=8)
    teachers = HomogeneousBert(shape, FAMILY.config)
    teacher = SuperNet(teachers, SharedSlices(teachers, torch.Generator().manual_seed(1)))
    net = SuperNet(FAMILY, SharedSlices(FAMILY, torch.Generator().manual_seed(2)))
    start_from(net, Parent.of(teacher))
    ours, theirs = net.export(SPACE.smallest()), teacher.export(shape.largest())
    tokens = torch.arange(5, 17)[None]
    assert torch.equal(ours.embedding(tokens, None), theirs.embedding(tokens, None))
    states = torch.randn(3, 24)
    said = [n.head(states, n.embedding.word.weight) for n in (ours, theirs)]
    assert torch.equal(*said)
    with pytest.raises(ValueError, match="does not fill"):
        net.source.adopt({"embedding.word.weight": torch.zeros(40, 20)})
