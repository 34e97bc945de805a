"""Sampled table: measured points of a space too large to enumerate, and a surrogate of all others.

As in surrogate NAS benchmarks (Siems et al., NAS-Bench-301, 2020) a model is fitted to measured points, and
its error on others that it has not seen is part of the file. Bytes are counted exactly. A point that was
measured has its measured loss. One ``npz`` without pickles: genomes, columns, and a JSON head.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simq.genome import Array, Genes, Genomes, JointSpace
from simq.searchers.predictors import GaussianProcess
from simq.tabular.build import costs
from simq.tabular.enumerate import Batch, statistics
from simq.tabular.table import check_finite, describe_space, read_arrays, space_from_head
from supernet.elastic import SuperNet
from supernet.quantization.calibration import calibrate
from supernet.quantization.fake_quantize import FakeQuantized
from supernet.quantization.precisions import STATIC

KIND = "sampled"
HELD_OUT = 0.2
"""Share of the points on which the surrogate's error is measured."""
POLICIES = 8
"""Policies that are measured of each sampled architecture."""
MIN_POINTS = 20
"""Smallest number of points of a table: of 4 held-out points a rank correlation is defined."""


class SampledTable:
    """Measured points of a joint space.

    Args:
        head: ``describe_space`` of the space and further facts.
        genomes: ``[n, genes]``.
        columns: name -> values ``[n]``.

    Raises:
        ValueError: the file is of another kind, a column has another length, or there are fewer points than
            ``MIN_POINTS``.
    """

    def __init__(
        self, head: Mapping[str, Any], genomes: Genomes, columns: Mapping[str, NDArray[Any]]
    ) -> None:
        if head.get("kind") != KIND:
            raise ValueError(f"a table of kind {head.get('kind', 'full')}, this reads {KIND}")
        self.head, self.columns = dict(head), dict(columns)
        self.space = space_from_head(head)
        self.genomes = self.space.canonical(genomes)
        for name, column in self.columns.items():
            if column.shape != (len(genomes),):
                raise ValueError(f"column {name}: {column.shape}, the table has {len(genomes)} points")
        check_count(len(genomes))

    @property
    def name(self) -> str:
        """Name of the table."""
        return str(self.head["name"])

    @cached_property
    def model(self) -> GaussianProcess:
        """Surrogate of the logarithm of the loss, fitted to all points but those held out."""
        fitted = self._split()[0]
        features = self.space.features(self.genomes[fitted])
        return GaussianProcess(features, np.log(self.columns["loss"][fitted]))

    def _split(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the points fitted and held out; the sample is in random order."""
        first = len(self.genomes) - round(HELD_OUT * len(self.genomes))
        return np.arange(first), np.arange(first, len(self.genomes))

    def errors(self) -> dict[str, float]:
        """Return the median relative error of the surrogate on held-out points, and its rank correlation."""
        from scipy.stats import spearmanr

        held = self._split()[1]
        predicted, loss = self.predict(self.genomes[held]), self.columns["loss"][held]
        return {
            "median_error": float(np.median(np.abs(predicted / loss - 1))),
            "rank_correlation": float(spearmanr(predicted, loss).statistic),
        }

    def predict(self, genomes: Genomes) -> Array:
        """Return the surrogate's losses ``[n]``."""
        return np.exp(self.model.mean(self.space.features(genomes)))


class SurrogateEvaluator:
    """Evaluator of loss and bytes over a sampled table; bytes are counted.

    Args:
        family: of the table's supernet, which counts bytes.
    """

    objectives: Sequence[str] = ("loss", "bytes")

    def __init__(self, table: SampledTable, family: Any) -> None:
        self.table, self.family = table, family
        self.genes: Genes = table.space
        self._measured = dict(
            zip(table.space.keys(table.genomes), table.columns["loss"].tolist(), strict=True)
        )

    def __call__(self, genomes: Genomes) -> Array:
        predicted = self.table.predict(genomes)
        keys = self.table.space.keys(genomes)
        loss = [self._measured.get(key, float(x)) for key, x in zip(keys, predicted, strict=True)]
        return np.column_stack([loss, self._bytes(genomes)])

    def known(self, genomes: Genomes) -> Array:
        """Return the bytes ``[n, 2]``; NaN for the loss."""
        return np.column_stack([np.full(len(genomes), np.nan), self._bytes(genomes)])

    def _bytes(self, genomes: Genomes) -> Array:
        counted: Array = costs(self.family, self.table.space, self.table.space.canonical(genomes))["bytes"]
        return counted.astype(np.float64)


def check_count(points: int) -> None:
    """Refuse too few points for a surrogate and its error.

    Raises:
        ValueError: there are fewer points than ``MIN_POINTS``.
    """
    if points < MIN_POINTS:
        raise ValueError(
            f"a sampled table of {points} points: at least {MIN_POINTS}, {HELD_OUT:.0%} of which test the"
            " surrogate"
        )


def draw_points(space: JointSpace, count: int, rng: np.random.Generator) -> Genomes:
    """Draw distinct points ``[count, genes]`` in random order, several policies an architecture.

    One policy of each architecture is uniform; in the others a precision's share is itself drawn, so that
    nearly uniform policies are as frequent as even mixtures.

    Raises:
        ValueError: ``count`` is below ``MIN_POINTS``, or the space has too few points for it.
    """
    check_count(count)
    points: dict[Any, Genomes] = {}
    first = space.architecture_genes
    for _ in range(100 * count):
        if len(points) >= count:
            break
        genomes = np.repeat(space.sample(1, rng), POLICIES, axis=0)
        genomes[0] = space.uniform(genomes[:1], str(rng.choice(space.alphabet)))[0]
        for row in range(1, POLICIES):
            shares = rng.dirichlet(np.full(len(space.alphabet), 0.7))
            for unit, allowed in enumerate(space.unit_precisions):
                weights = np.array([shares[space.alphabet.index(name)] for name in allowed]) + 1e-9
                genomes[row, first + unit] = rng.choice(len(allowed), p=weights / weights.sum())
        genomes = space.canonical(genomes)
        for key, genome in zip(space.keys(genomes), genomes, strict=True):
            points.setdefault(key, genome)
    if len(points) < count:
        raise ValueError(f"a sample of {count} points: {len(points)} were drawn of {space.size():,} in all")
    drawn = np.stack(list(points.values()))[:count]
    return drawn[rng.permutation(len(drawn))]


def build_sampled(
    net: SuperNet,
    space: JointSpace,
    search: Sequence[Batch],
    held_out: Sequence[Batch],
    head: Mapping[str, Any],
    count: int,
    seed: int,
    *,
    real: Callable[..., Any] = lambda *inputs: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SampledTable:
    """Measure ``count`` random points of a space on search data and on held-out data.

    Args:
        net: trained; its ``statistics_batches`` calibrate static layers.
        real: inputs -> places without padding, as in ``calibrate``; for sentences.
        progress: called with the number of points done and their total.

    Raises:
        ValueError: ``count`` does not suit the space.
        NotFiniteError: a measured loss is not finite.
    """
    points = draw_points(space, count, np.random.default_rng(seed))
    groups: dict[bytes, list[int]] = {}
    for index, genome in enumerate(points):
        groups.setdefault(genome[: space.architecture_genes].tobytes(), []).append(index)
    figures = np.zeros((len(points), 4))
    done = 0
    for members in groups.values():
        decoded = [space.decode(points[i].tolist()) for i in members]
        module = net.export(decoded[0][0]).to(net.device)
        ranges = None
        if STATIC in space.alphabet:
            ranges = calibrate(module, [inputs for inputs, _ in net.statistics_batches], real=real)
        fake = FakeQuantized(module, exact=False, ranges=ranges)
        for i, (_, policy) in zip(members, decoded, strict=True):
            evaluated = fake.select([policy])
            for column, batches in ((0, search), (2, held_out)):
                for batch in batches:
                    fake.pad(real(*batch.inputs))
                    with torch.inference_mode():
                        sums = statistics(evaluated(*batch.inputs), batch.labels)[0]
                    figures[i, column : column + 2] += sums.cpu().numpy()
            done += 1
        progress(done, len(points))
    counts = [sum(len(batch.labels) for batch in batches) for batches in (search, held_out)]
    columns: dict[str, NDArray[Any]] = {
        "loss": figures[:, 0] / counts[0],
        "hits": figures[:, 1].astype(np.int64),
        "held_loss": figures[:, 2] / counts[1],
        "held_hits": figures[:, 3].astype(np.int64),
    }
    check_finite(space, points, columns)
    described = describe_space(space) | {"kind": KIND, "labels": counts[0], "held_out_labels": counts[1]}
    table = SampledTable(described | dict(head), points, columns)
    table.head["surrogate"] = {name: round(value, 5) for name, value in table.errors().items()}
    return table


def write_sampled(table: SampledTable, path: Path) -> None:
    """Write a sampled table."""
    from supernet.export import write_atomically

    packed: dict[str, NDArray[Any]] = {
        name: column.astype(np.float32 if column.dtype.kind == "f" else np.int32)
        for name, column in table.columns.items()
    }
    head = np.frombuffer(json.dumps(table.head, sort_keys=True).encode(), np.uint8)

    def save(name: str) -> None:
        with open(name, "wb") as file:
            np.savez_compressed(file, head=head, genomes=table.genomes.astype(np.uint8), **packed)

    write_atomically(path, save)


def read_sampled(path: Path) -> SampledTable:
    """Read a file of ``write_sampled``.

    Raises:
        ValueError: the file is damaged or no sampled table.
    """
    head, arrays = read_arrays(path)
    if "genomes" not in arrays:
        raise ValueError(f"{path} is no sampled table: it has no genomes")
    genomes = arrays.pop("genomes").astype(np.int64)
    return SampledTable(head, genomes, {name: array.astype(np.float64) for name, array in arrays.items()})
