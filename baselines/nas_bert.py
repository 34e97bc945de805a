"""NAS-BERT (Xu et al., KDD 2021): block-wise supernet, progressive shrinking, additive tables, retraining."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from baselines.hand_designed import load_teacher
from baselines.shrinking import Shrinking, architecture_of, blocks, cell_size
from baselines.teacher import TaughtMethod
from benchmarks.api import Candidate, Lab, Need
from supernet.bert import Cell, CellBert
from supernet.cost import parameters
from supernet.elastic import SuperNet
from supernet.interop.bert_start import Parent, start_from
from supernet.pipeline import reachable_limits, train
from supernet.space import Architecture, SearchSpace, get_space
from supernet.train import SinglePath
from supernet.train.distill import (
    BlockDistillation,
    LogitDistillation,
    block_runs,
    score_block,
    teacher_states,
)


class NasBert(TaughtMethod):
    """Block-wise distillation with progressive shrinking, selection from additive tables, and retraining.

    * Each block learns the teacher's states after its layers from those before them, along single paths and
      through learnt adapters.
    * Candidates of each block are compared after every epoch within bins of size and latency, at most 2,000
      of a bin; the worse half of them goes (section 3.3).
    * Sums of the blocks' losses, sizes and latencies rank the complete networks; the best are evaluated.
    * Winners are trained from scratch on labels and teacher logits.
    """

    name = "nas-bert"
    summary = "NAS-BERT: block-wise distillation, progressive shrinking, winners retrained with distillation"
    needs = (
        Need(
            "probes",
            {
                "supershaper-smoke": 12,
                "bert-smoke": 12,
                "supershaper-s": 24,
                "supershaper": 30,
                "mos-bert-v5.1": 30,
            },
            why="every operation at every width, and a shallow network at each",
        ),
    )

    def search(self, lab: Lab) -> Iterable[Candidate]:
        settings, retrain = lab.task.settings["nas_bert"], lab.task.settings["retrain_share"]
        teacher, net = load_teacher(lab), lab.supernet(space=get_space(settings["space"]))
        limits = reachable_limits(lab, net.space, lambda a: retrained_size(net.family, a))
        with lab.phase("latency"):
            table = OperationTable(lab, net.space)
        with lab.phase("supernet"):
            start_from(net, Parent.of(lab.inherit()))

            def losses(net: SuperNet, block: int, cells: Sequence[Cell]) -> Mapping[Cell, float]:
                return score_cells(lab, net, teacher, block, cells)

            sizes = {name: settings[name] for name in ("bins", "keep", "warm_up", "sampled")}
            shrinking = Shrinking(net.family, table.of_cell, losses, seed=lab.seed, **sizes)
            unspent = lab.budget.left("tokens") / lab.budget.total("tokens")
            share, retrain = (1 - retrain) * unspent, retrain * unspent
            train(lab, net, shrinking, share, "supernet", objective=BlockDistillation(teacher, net.family))
            shrinking.finish(net)
        winners = []
        with lab.phase("search"):
            cells = [shrinking.cells(block) for block in range(blocks(net.space))]
            cell_losses = [losses(net, block, of_block) for block, of_block in enumerate(cells)]
            ranking = Ranking(net.family, cells, cell_losses, table)
            for limit in limits:
                best = ranking.best(limit, settings["evaluated"])
                if not best:
                    lab.say(f"no network of the remaining candidates meets {limit}")
                    continue
                loss, _, winner = min((lab.evaluate(net, a).loss, a.key(), a) for a in best)
                winners.append((limit, winner))
        for i, (limit, architecture) in enumerate(winners):
            with lab.phase("retrain"):
                fresh, part = lab.supernet(only=architecture), retrain / len(winners)
                train(lab, fresh, SinglePath(), part, f"retrain-{i}", objective=LogitDistillation(teacher))
                yield lab.candidate(fresh, architecture, origin="retrained", target=limit)


def retrained_size(family: CellBert, architecture: Architecture) -> int:
    """Return the parameters of the network trained from scratch: factorised embedding, no adapters."""
    return parameters(family.restrict_to(architecture), architecture)


def score_cells(
    lab: Lab, net: SuperNet, teacher: Any, block: int, cells: Sequence[Cell]
) -> Mapping[Cell, float]:
    """Return the losses of candidates of one block on a part of the validation data.

    Candidates share common prefixes. The charge is the executed operations as a share of evaluations of
    complete networks; the teacher's pass is not charged.
    """
    share, count = lab.task.settings["nas_bert"]["scored_on"], blocks(net.space)
    layers = net.space.choice(f"ops_{block}").repeat
    lab.budget.charge("evaluations", round(share * block_runs(cells) / (count * layers), 3))
    states = [teacher_states(teacher, b.original, count) for b in lab.validation_batches(share)]
    dtype, training = net.source.dtype, net.model.training
    pairs = [(s[block].to(dtype), s[block + 1].to(dtype)) for s in states]
    losses = score_block(net, block, pairs, cells)
    net.model.train(training)
    return losses


class OperationTable:
    """Milliseconds of every operation at every width, from differences of probes.

    At each width, networks of all layers of one operation are probed, and a network of one layer a block. The
    latter without its operations is the ``base``: embedding, changes of width, output.
    """

    def __init__(self, lab: Lab, space: SearchSpace) -> None:
        count, self.base, self.ms = blocks(space), dict[int, float](), dict[tuple[int, int], float]()
        ops = space.choice("ops_0")
        widths = space.choice("width_0").options

        def probe(width: int, code: int, layers: int) -> float:
            return lab.probe(architecture_of(space, [(width, (code,) * layers)] * count))

        for i, width in enumerate(widths):
            deep = {code: probe(width, code, ops.repeat) for code in ops.options}
            first = ops.options[0]
            shallow = probe(width, first, 1)
            each = max(deep[first] - shallow, 0.0) / (count * (ops.repeat - 1))
            self.base[width] = max(shallow - count * each, 0.0)
            for code, ms in deep.items():
                # Noise must not make an operation free.
                least = 0.01 * ms / (count * ops.repeat)
                self.ms[width, code] = max((ms - self.base[width]) / (count * ops.repeat), least)
            lab.progress(i + 1, len(widths), "latency of operations")

    def of_cell(self, block: int, cell: Cell) -> float:
        """Return the milliseconds of the operations of one candidate of a block."""
        return sum(self.ms[cell[0], code] for code in cell[1])

    def outside(self, cells: Sequence[Cell]) -> float:
        """Return the milliseconds of a network of these candidates outside its operations."""
        return sum(self.base[width] for width, _ in cells) / len(cells)


class Ranking:
    """Ranking of all networks of the remaining candidates by the sum of their blocks' losses.

    Args:
        cells: candidates of every block.
        losses: block -> candidate -> loss.
        table: latencies of operations.
    """

    def __init__(
        self,
        family: CellBert,
        cells: Sequence[Sequence[Cell]],
        losses: Sequence[Mapping[Cell, float]],
        table: OperationTable,
    ) -> None:
        self.family, self.cells, self.table = family, cells, table
        self.loss = [np.array([losses[b][cell] for cell in part]) for b, part in enumerate(cells)]
        self.size = [np.array([cell_size(family, b, c) for c in part]) for b, part in enumerate(cells)]
        self.ms = [np.array([table.of_cell(b, c) for c in part]) for b, part in enumerate(cells)]
        self.width = [np.array([width for width, _ in part]) for part in cells]

    def best(self, limit: Any, count: int) -> list[Architecture]:
        """Return the ``count`` networks of lowest loss that meet a limit, best first."""
        best: list[tuple[float, tuple[int, ...]]] = []
        for first in range(
            len(self.cells[0])
        ):  # the full table at the paper's size has a hundred million entries
            loss = self._sum(self.loss, first)
            meets = np.flatnonzero(self._meets(limit, first))
            kept = meets[np.argsort(loss.ravel()[meets], kind="stable")[:count]]
            rest = np.unravel_index(kept, loss.shape)
            for i, at in enumerate(kept):
                best.append((float(loss.ravel()[at]), (first, *(int(axis[i]) for axis in rest))))
        chosen = sorted(best)[:count]
        return [
            architecture_of(self.family.space, [part[i] for part, i in zip(self.cells, place, strict=True)])
            for _, place in chosen
        ]

    def _sum(self, parts: Sequence[np.ndarray], first: int) -> np.ndarray:
        """Return sums over blocks of all networks that begin with one candidate, an axis a further block."""
        total = np.asarray(parts[0][first], dtype=np.float64)
        for part in parts[1:]:
            total = total[..., None] + part
        return total

    def _meets(self, limit: Any, first: int) -> np.ndarray:
        if isinstance(limit, (int, float)):
            bases = [np.vectorize(self.table.base.get)(w) / len(self.width) for w in self.width]
            return (self._sum(self.ms, first) + self._sum(bases, first)).ravel() <= limit
        sizes = self.sizes(first).ravel()
        return (sizes >= limit.low) & (sizes <= limit.high)

    def sizes(self, first: int) -> np.ndarray:
        """Return the parameters of every network that begins with one candidate of the first block."""
        config, e = self.family.config, self.family.space.constants["embedding"]
        # Tables and their norm, the head's norm and bias.
        fixed = e * (config.vocab + config.max_positions + config.segments) + 4 * e + config.vocab
        total = fixed + self._sum(self.size, first)
        axes, last = len(self.cells) - 1, len(self.cells) - 1

        def along(block: int, value: np.ndarray) -> np.ndarray:
            return value.reshape([-1 if axis == block - 1 else 1 for axis in range(axes)])

        widths = [np.full([1] * axes, self.width[0][first])]
        widths += [along(block, self.width[block]) for block in range(1, len(self.cells))]
        before: Any = np.full([1] * axes, e)
        for width in widths:
            total = total + np.where(before != width, before * width + width, 0)
            before = width
        return total + widths[last] * e + e
