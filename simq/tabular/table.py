"""Tables of every point of a small joint space: a search study without a network.

A table is closed: its space is enumerated in full, as NAS-Bench-201's is, so that whatever a search asks was
measured, and the true front is known. One ``npz`` file without pickles: columns of small integers in the
order of ``points``, and a head in JSON with the space, the recipe and where the weights came from.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simq.genome import Array, Genes, Genomes, JointSpace, Unit
from supernet.space import SearchSpace

VERSION = 1
STEPS = 65_535
"""A loss is stored as one of so many steps between the smallest and the largest of its column."""
ERRORS = {"error": ("hits", "labels"), "held_error": ("held_hits", "held_out_labels")}
"""Objectives that follow from a column and a figure of the head."""
COUNTED = ("bytes", "macs", "latency")
"""Columns that follow from a point alone."""
TABLES = Path(__file__).with_name("data")
MOST = 5_000_000
"""Genomes, inactive genes included, that are enumerated."""


def points(genes: Genes) -> Genomes:
    """Every point once, inactive genes 0, in the order of option numbers.

    Raises:
        ValueError: the space is too large to be listed.
    """
    count = int(np.prod(genes.levels.astype(float)))
    if count > MOST:
        raise ValueError(f"a space of {count:.3g} genomes cannot be tabulated in full: at most {MOST:.3g}")
    every = np.indices(tuple(genes.levels)).reshape(len(genes.levels), -1).T
    return every[(genes.canonical(every) == every).all(axis=1)].astype(np.int64)


class Table:
    """Columns over all points of a joint space.

    Args:
        head: what ``describe`` gives, and more.
        columns: name -> ``[points]``.

    Raises:
        ValueError: columns that are not as long as the space is large, or another version.
    """

    def __init__(self, head: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> None:
        if head.get("version") != VERSION:
            raise ValueError(f"a table of version {head.get('version')}, this reads {VERSION}")
        self.head, self.columns = dict(head), dict(columns)
        self.space = joint_space(head)
        self.points = points(self.space)
        for name, column in self.columns.items():
            if column.shape != (len(self.points),):
                raise ValueError(f"column {name}: {column.shape}, the space has {len(self.points)} points")
        steps = np.cumprod(np.concatenate([[1], self.space.levels[:0:-1]]))[::-1]
        self._steps = steps.astype(np.int64)
        self._codes = self.points @ self._steps

    @property
    def name(self) -> str:
        """What the head calls it."""
        return str(self.head["name"])

    def places(self, genomes: Genomes) -> NDArray[np.int64]:
        """Rows of genomes ``[n]``; inactive genes do not count."""
        return np.searchsorted(self._codes, self.space.canonical(genomes) @ self._steps)

    def rows(self, objectives: Sequence[str], genomes: Genomes) -> Array:
        """Objectives ``[n, m]`` of genomes."""
        return self.whole(objectives)[self.places(genomes)]

    def whole(self, objectives: Sequence[str]) -> Array:
        """Objectives of all points ``[points, m]``: columns, or ``error`` and ``held_error``, the shares of
        items that are wrong.

        Raises:
            ValueError: no such column.
        """
        there = {**self.columns}
        for name, (hits, labels) in ERRORS.items():
            if hits in there:
                there[name] = 1 - there[hits].astype(np.float64) / self.head[labels]
        unknown = [name for name in objectives if name not in there]
        if unknown:
            raise ValueError(f"table {self.name} has no {unknown[0]!r}: one of {', '.join(there)}")
        return np.column_stack([there[name].astype(np.float64) for name in objectives])

    @cached_property
    def uniform(self) -> dict[str, NDArray[np.int64]]:
        """Precision -> places of the points that have it in every unit."""
        found = {}
        first = self.space.architecture_genes
        for letter, name in enumerate(self.space.alphabet):
            there = self.space.active(self.points)[:, first:]
            found[name] = np.flatnonzero(((self.points[:, first:] == letter) | ~there).all(axis=1))
        return found


class Tabulated:
    """A table as an evaluator.

    Args:
        counted: objectives that a search gets without measuring. Bytes are counted and latencies follow from
            the operator table, as they do for trained networks.
    """

    def __init__(
        self,
        table: Table,
        objectives: Sequence[str] = ("loss", "bytes"),
        counted: Collection[str] = COUNTED,
    ) -> None:
        self.table, self.objectives = table, tuple(objectives)
        self.genes: Genes = table.space
        self._rows = table.whole(self.objectives)
        self._measured = [name not in counted for name in self.objectives]

    def __call__(self, genomes: Genomes) -> Array:
        return self._rows[self.table.places(self.lift(genomes))]

    def lift(self, genomes: Genomes) -> Genomes:
        """Return the same points as genomes of the table."""
        return genomes

    def known(self, genomes: Genomes) -> Array:
        """Return the counted objectives ``[n, m]``, NaN in the other columns."""
        return np.where(self._measured, np.nan, self(genomes))


class Restricted(Tabulated):
    """A table as an evaluator of the points that have some of its precisions alone."""

    def __init__(self, whole: Tabulated, alphabet: Sequence[str]) -> None:
        self.__dict__ |= vars(whole)
        space = whole.table.space
        self.genes = JointSpace(space.space, space.units, alphabet)
        self._letters = np.array([space.alphabet.index(name) for name in alphabet])

    def lift(self, genomes: Genomes) -> Genomes:
        first = self.table.space.architecture_genes
        return np.hstack([genomes[:, :first], self._letters[genomes[:, first:]]])


def describe(space: JointSpace) -> dict[str, Any]:
    """The part of a head that says what the space is."""
    units = [
        {"name": u.name, "layers": list(u.layers), "depth": u.depth, "at": u.at, "deeper": list(u.deeper)}
        for u in space.units
    ]
    return {
        "version": VERSION,
        "space": space.space.to_dict(),
        "units": units,
        "alphabet": list(space.alphabet),
        "points": space.size(),
    }


def joint_space(head: Mapping[str, Any]) -> JointSpace:
    """The space that a head describes."""
    units = [
        Unit(
            u["name"],
            tuple(u["layers"]),
            u["depth"],
            int(u["at"]),
            deeper=tuple((layer, depth, int(at)) for layer, depth, at in u.get("deeper", ())),
        )
        for u in head["units"]
    ]
    return JointSpace(SearchSpace.from_dict(head["space"]), units, head["alphabet"])


def write(table: Table, path: Path) -> None:
    """Write a table; losses in ``STEPS`` steps, the rest exactly."""
    from supernet.export import write_atomically

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


def read(path: Path) -> Table:
    """Read what ``write`` wrote.

    Raises:
        ValueError: it is no table.
    """
    with np.load(path, allow_pickle=False) as file:
        if "head" not in file.files:
            raise ValueError(f"{path} is no table: it has no head")
        head = json.loads(file["head"].tobytes())
        columns = {name: file[name] for name in file.files if name != "head"}
    for name, (low, high) in head.get("scales", {}).items():
        columns[name] = low + columns[name].astype(np.float64) / STEPS * (high - low)
    return Table(head, columns)


def shipped() -> dict[str, Path]:
    """Name -> file of the tables that come along."""
    return {path.stem: path for path in sorted(TABLES.glob("*.npz"))}
