"""Tabular benchmark: measured objectives of every point of a small joint space, as in NAS-Bench-201.

The space is enumerated in full, so every query of a search was measured and the true front is known. The
file is one ``npz`` without pickles: columns of small integers in the order of ``enumerate_points``, and a
JSON head with the space, the training recipe and the source of the weights.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from simq.genome import Array, Genes, Genomes, JointSpace, PrecisionUnit
from supernet.space import SearchSpace

VERSION = 1
STEPS = 65_535
"""Quantization steps of a stored loss, between the minimum and the maximum of its column."""
ERROR_RATES = {"error": ("hits", "labels"), "held_error": ("held_hits", "held_out_labels")}
"""Derived objective -> column of correct items and head field with the number of items."""
COUNTED = ("bytes", "macs", "latency")
"""Columns that are computed from the genome and cost a search no evaluation."""
TABLES = Path(__file__).with_name("data")
MAX_GENOMES = 5_000_000
"""Largest number of genomes that are enumerated, inactive genes included."""


def enumerate_points(genes: Genes) -> Genomes:
    """Return every point of a space once ``[points, genes]``, in the order of option numbers.

    Inactive genes are 0.

    Raises:
        ValueError: the space has more than ``MAX_GENOMES`` genomes.
    """
    count = int(np.prod(genes.levels.astype(float)))
    if count > MAX_GENOMES:
        raise ValueError(
            f"a space of {count:.3g} genomes cannot be tabulated in full: at most {MAX_GENOMES:.3g}"
        )
    genomes = np.indices(tuple(genes.levels)).reshape(len(genes.levels), -1).T
    return genomes[(genes.canonical(genomes) == genomes).all(axis=1)].astype(np.int64)


class NotFiniteError(ValueError):
    """A column of a table has an infinity or NaN."""


class Table:
    """Columns over all points of a joint space.

    Args:
        head: ``describe_space`` of the space, and further facts.
        columns: name -> values ``[points]``.

    Attributes:
        points: genomes ``[points, genes]`` in the order of the rows.
        latency_model: facts of the fitted latency model, empty without one; see ``simq.tabular.latency``.

    Raises:
        ValueError: a column has another length than the space, or the version is another.
    """

    def __init__(self, head: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> None:
        if head.get("version") != VERSION:
            raise ValueError(f"a table of version {head.get('version')}, this reads {VERSION}")
        self.head, self.columns = dict(head), dict(columns)
        self.space = space_from_head(head)
        self.points = enumerate_points(self.space)
        self.latency_model: dict[str, Any] = {}
        for name, column in self.columns.items():
            if column.shape != (len(self.points),):
                raise ValueError(f"column {name}: {column.shape}, the space has {len(self.points)} points")
        steps = np.cumprod(np.concatenate([[1], self.space.levels[:0:-1]]))[::-1]
        self._steps = steps.astype(np.int64)
        self._codes = self.points @ self._steps

    @property
    def name(self) -> str:
        """Name of the table, such as ``simq-vit``."""
        return str(self.head["name"])

    def indices(self, genomes: Genomes) -> NDArray[np.int64]:
        """Return the row of each genome ``[n]``; inactive genes are ignored."""
        return np.searchsorted(self._codes, self.space.canonical(genomes) @ self._steps)

    def values_of(self, objectives: Sequence[str], genomes: Genomes) -> Array:
        """Return the objectives ``[n, m]`` of genomes ``[n, genes]``."""
        return self.values(objectives)[self.indices(genomes)]

    def values(self, objectives: Sequence[str]) -> Array:
        """Return objectives of all points ``[points, m]``: columns, or the error rates of ``ERROR_RATES``.

        Raises:
            ValueError: no such column.
        """
        columns = {**self.columns}
        for name, (hits, labels) in ERROR_RATES.items():
            if hits in columns:
                columns[name] = 1 - columns[hits].astype(np.float64) / self.head[labels]
        unknown = [name for name in objectives if name not in columns]
        if unknown:
            raise ValueError(f"table {self.name} has no {unknown[0]!r}: one of {', '.join(columns)}")
        return np.column_stack([columns[name].astype(np.float64) for name in objectives])

    @cached_property
    def uniform(self) -> dict[str, NDArray[np.int64]]:
        """Precision -> rows of the points that have it in every active unit."""
        return {name: self.within([name]) for name in self.space.alphabet}

    def within(self, alphabet: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of the points whose active units have only precisions of ``alphabet``."""
        first = self.space.architecture_genes
        letters = [self.space.alphabet.index(name) for name in alphabet]
        active = self.space.active(self.points)[:, first:]
        return np.flatnonzero((np.isin(self.points[:, first:], letters) | ~active).all(axis=1))

    @property
    def largest(self) -> dict[str, int]:
        """Precision -> row of the network with most MACs that has it everywhere."""
        macs = self.columns["macs"]
        return {name: int(rows[macs[rows].argmax()]) for name, rows in self.uniform.items()}


class TabularEvaluator:
    """Evaluator that looks objectives up in a table.

    Args:
        counted: objectives that a search gets without an evaluation. Bytes are counted and latencies follow
            from the operator table, as they do for trained networks.
    """

    def __init__(
        self,
        table: Table,
        objectives: Sequence[str] = ("loss", "bytes"),
        counted: Collection[str] = COUNTED,
    ) -> None:
        self.table, self.objectives = table, tuple(objectives)
        self.genes: Genes = table.space
        self._values = table.values(self.objectives)
        self._measured = [name not in counted for name in self.objectives]

    def __call__(self, genomes: Genomes) -> Array:
        return self._values[self.table.indices(self.lift(genomes))]

    def lift(self, genomes: Genomes) -> Genomes:
        """Return the same points as genomes of the table's space."""
        return genomes

    def known(self, genomes: Genomes) -> Array:
        """Return the counted objectives ``[n, m]``, NaN in the measured columns."""
        return np.where(self._measured, np.nan, self(genomes))


class RestrictedEvaluator(TabularEvaluator):
    """Evaluator of those points of a table that have only precisions of ``alphabet``."""

    def __init__(
        self,
        table: Table,
        objectives: Sequence[str],
        alphabet: Sequence[str],
        counted: Collection[str] = COUNTED,
    ) -> None:
        super().__init__(table, objectives, counted)
        self.genes = JointSpace(table.space.space, table.space.units, alphabet)
        self._letters = np.array([table.space.alphabet.index(name) for name in alphabet])

    def lift(self, genomes: Genomes) -> Genomes:
        first = self.table.space.architecture_genes
        return np.hstack([genomes[:, :first], self._letters[genomes[:, first:]]])


def describe_space(space: JointSpace) -> dict[str, Any]:
    """Return the fields of a head from which ``space_from_head`` rebuilds the space."""
    units = [
        {
            "name": u.name,
            "layers": list(u.layers),
            "depth": u.depth,
            "at": u.at,
            "deeper": list(u.deeper),
            "precisions": None if u.precisions is None else list(u.precisions),
        }
        for u in space.units
    ]
    return {
        "version": VERSION,
        "space": space.space.to_dict(),
        "units": units,
        "alphabet": list(space.alphabet),
        "points": space.size(),
    }


def space_from_head(head: Mapping[str, Any]) -> JointSpace:
    """Rebuild the joint space of a table from its head.

    Heads of former tables have no ``precisions``: their units support all of the alphabet.

    Raises:
        ValueError: the head has another number of points, as that of a former table whose units had
            precisions of their own.
    """
    units = [
        PrecisionUnit(
            u["name"],
            tuple(u["layers"]),
            u["depth"],
            int(u["at"]),
            None if u.get("precisions") is None else tuple(u["precisions"]),
            deeper=tuple((layer, depth, int(at)) for layer, depth, at in u.get("deeper", ())),
        )
        for u in head["units"]
    ]
    space = JointSpace(SearchSpace.from_dict(head["space"]), units, head["alphabet"])
    if head.get("points", space.size()) != space.size():
        raise ValueError(
            f"a table of {head['points']:,} points whose head describes {space.size():,}: precisions of its"
            " units were not recorded, so it must be built again"
        )
    return space


def check_finite(space: JointSpace, points: Genomes, columns: Mapping[str, NDArray[Any]]) -> None:
    """Refuse columns with an infinity or NaN, which no search, front or surrogate can compare.

    Args:
        points: genomes of the columns' rows.

    Raises:
        NotFiniteError: a value is not finite; the message names its column and point.
    """
    for name, column in columns.items():
        wrong = np.flatnonzero(~np.isfinite(column))
        if len(wrong):
            architecture, policy = space.decode(points[wrong[0]].tolist())
            more = f", and those of {len(wrong) - 1} other points are not finite" if len(wrong) > 1 else ""
            raise NotFiniteError(
                f"column {name} is {column[wrong[0]]} at point {points[wrong[0]].tolist()},"
                f" {architecture.to_dict()} in {', '.join(sorted(set(policy.values())))}{more}"
            )


def write_table(table: Table, path: Path) -> None:
    """Write a table; float columns are quantized to ``STEPS`` steps, integers are exact.

    Raises:
        NotFiniteError: a value is not finite: the steps of its whole column would be NaN.
    """
    from supernet.export import write_atomically

    check_finite(table.space, table.points, table.columns)
    packed: dict[str, NDArray[Any]] = {}
    scales = {}
    for name, column in table.columns.items():
        if np.issubdtype(column.dtype, np.floating):
            low, high = float(column.min()), float(column.max())
            scales[name] = [low, high]
            packed[name] = np.rint((column - low) / max(high - low, 1e-300) * STEPS).astype(np.uint16)
        else:
            packed[name] = column.astype(np.min_scalar_type(int(column.max())))
    head = json.dumps(table.head | {"scales": scales}, sort_keys=True).encode()

    def save(name: str) -> None:
        with open(name, "wb") as file:
            np.savez_compressed(file, head=np.frombuffer(head, np.uint8), **packed)

    write_atomically(path, save)


def read_table(path: Path) -> Table:
    """Read a file of ``write_table``.

    Raises:
        ValueError: the file is damaged, no table, or a sampled one.
    """
    head, columns = read_arrays(path)
    if head.get("kind") is not None:
        raise ValueError(f"{path} is a table of kind {head['kind']}, not of all points")
    for name, (low, high) in head.get("scales", {}).items():
        columns[name] = low + columns[name].astype(np.float64) / STEPS * (high - low)
    return Table(head, columns)


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the head of a table's file, of all points or sampled, and its arrays as they are stored.

    Raises:
        ValueError: the file is damaged or no table.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        head = json.loads(arrays.pop("head").tobytes())
    except KeyError:
        raise ValueError(f"{path} is no table: it has no head") from None
    except (AttributeError, EOFError, TypeError, ValueError, BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is no table, or damaged: {error}") from None
    return head, arrays


def shipped_tables() -> dict[str, Path]:
    """Return name -> file of the tables in ``simq/tabular/data``."""
    return {path.stem: path for path in sorted(TABLES.glob("*.npz"))}
