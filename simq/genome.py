"""Joint genomes: the genes of an architecture and one precision gene for each unit of a policy.

A genome is a row of option numbers, architecture genes first (SimQ-NAS, arXiv 2312.13301, section 3). Genes
of layers beyond the genome's depth are inactive: two genomes that differ only in them build the same network,
are one point, and have the same features. All functions work on arrays ``[n, genes]``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supernet.space import Architecture, SearchSpace

Genomes = NDArray[np.int64]
"""``[n, genes]`` of option numbers."""
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Key = int | bytes
"""Hashable identity of a point: a number if the space has fewer than 2**63 genomes."""


def unique_indices(keys: Sequence[Key]) -> list[int]:
    """Return the index of the first occurrence of each key, ascending."""
    return sorted({key: i for i, key in reversed(list(enumerate(keys)))}.values())


@dataclass(frozen=True)
class PrecisionUnit:
    """Linear layers and convolutions that share a precision.

    Attributes:
        name: of the gene.
        layers: names of the layers, as in a policy.
        depth: the choice that counts the layers; None: the unit is always present.
        at: the unit is present if the depth is above this number.
        precisions: precisions that these layers support; None: all of the alphabet.
        deeper: layers that are present at some depths only: name, choice and number, as ``depth`` and ``at``.
    """

    name: str
    layers: tuple[str, ...]
    depth: str | None = None
    at: int = 0
    precisions: tuple[str, ...] | None = None
    deeper: tuple[tuple[str, str, int], ...] = ()

    def layers_in(self, architecture: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the unit's layers that an architecture has, if it has the unit."""
        missing = {layer for layer, depth, at in self.deeper if architecture[depth] <= at}
        return tuple(layer for layer in self.layers if layer not in missing)


class Genes:
    """Base class of genome encodings, as variation operators and predictors use them.

    Attributes:
        levels: number of options of each gene ``[genes]``.
        names: of the genes.
    """

    levels: Genomes
    names: tuple[str, ...]

    def active(self, genomes: Genomes) -> Mask:
        """Return a mask ``[n, genes]`` of the genes that affect the network."""
        raise NotImplementedError

    def canonical(self, genomes: Genomes) -> Genomes:
        """Return the same points with option 0 in every inactive gene."""
        return np.where(self.active(genomes), genomes, 0)

    def keys(self, genomes: Genomes) -> list[Key]:
        """Return one key a genome, equal for genomes of the same point, whatever their inactive genes."""
        return self.codes(self.canonical(genomes))

    def codes(self, genomes: Genomes) -> list[Key]:
        """Return one key a genome, equal only for genomes that agree in all genes, inactive ones too."""
        if self._steps is None:
            return [row.tobytes() for row in genomes.astype(np.uint16)]
        return (genomes @ self._steps).tolist()

    @cached_property
    def _steps(self) -> Genomes | None:
        """Place values of the genes in a mixed-radix number; None if it would not fit into 63 bits."""
        levels = self.levels.tolist()
        if math.prod(levels) >= 2**63:
            return None
        return np.array([math.prod(levels[i + 1 :]) for i in range(len(levels))], dtype=np.int64)

    def sample(self, count: int, rng: np.random.Generator) -> Genomes:
        """Draw genomes ``[count, genes]``, every gene uniformly and independently."""
        return rng.integers(0, self.levels, size=(count, len(self.levels)))

    def features(self, genomes: Genomes) -> Array:
        """Return one-hot features ``[n, options]``, all zero for an inactive gene."""
        hot = genomes[:, self._owner] == self._option
        return (hot & self.active(genomes)[:, self._owner]).astype(np.float64)

    @cached_property
    def _owner(self) -> Genomes:
        return np.repeat(np.arange(len(self.levels)), self.levels)

    @cached_property
    def _option(self) -> Genomes:
        return np.concatenate([np.arange(count) for count in self.levels])


class JointSpace(Genes):
    """Joint space: architectures of ``space`` with a precision of ``alphabet`` for each unit.

    Attributes:
        architecture_genes: number of the genes in front of the precision genes.
        unit_precisions: precisions of each unit, in gene order.

    Raises:
        ValueError: a unit under a depth that the space does not have, two units of one name or layer, or
            an empty alphabet.
    """

    def __init__(self, space: SearchSpace, units: Sequence[PrecisionUnit], alphabet: Sequence[str]) -> None:
        self.space, self.units, self.alphabet = space, tuple(units), tuple(alphabet)
        if not self.alphabet or len(set(self.alphabet)) != len(self.alphabet):
            raise ValueError(f"precisions must be distinct and at least one, got {self.alphabet}")
        layers = [layer for unit in self.units for layer in unit.layers]
        if len(set(layers)) != len(layers) or len({u.name for u in self.units}) != len(self.units):
            raise ValueError("two policy units share a name or a layer")
        owners = [(choice, layer) for choice in space.choices for layer in range(choice.repeat)]
        self.architecture_genes = len(owners)
        names = [f"{c.name}[{i}]" if c.layered else c.name for c, i in owners]
        self.names = (*names, *(f"precision {unit.name}" for unit in self.units))
        self.unit_precisions = [
            tuple(x for x in self.alphabet if unit.precisions is None or x in unit.precisions)
            for unit in self.units
        ]
        if not all(self.unit_precisions):
            raise ValueError(f"a unit supports none of the precisions {', '.join(self.alphabet)}")
        counts = [len(options) for options in (*space.allowed, *self.unit_precisions)]
        self.levels = np.array(counts, dtype=np.int64)
        plain = {c.name: i for i, (c, _) in enumerate(owners) if not c.layered}
        governed = [(c.depth, i) for c, i in owners] + [(unit.depth, unit.at) for unit in self.units]
        unknown = {depth for depth, _ in governed if depth is not None} - set(plain)
        if unknown:
            raise ValueError(f"no plain choice of space {space.name} is named {', '.join(sorted(unknown))}")
        self._governor = np.array([plain[d] if d is not None else -1 for d, _ in governed], dtype=np.int64)
        self._position = np.array([at for _, at in governed], dtype=np.int64)
        widest = max(map(len, space.allowed))
        self._values = np.array([[*o, *[0] * (widest - len(o))] for o in space.allowed], dtype=np.int64)

    @property
    def governors(self) -> list[int]:
        """Genes that decide which other genes are active, such as numbers of layers; ascending."""
        return sorted(set(self._governor.tolist()) - {-1})

    def active(self, genomes: Genomes) -> Mask:
        governed = self._governor >= 0
        active = np.ones(genomes.shape, dtype=bool)
        owner = self._governor[governed]
        depth = self._values[owner, genomes[:, owner]]
        active[:, governed] = depth > self._position[governed]
        return active

    def size(self) -> int:
        """Return the number of distinct points; inactive genes do not count."""
        total = math.prod(
            int(self.levels[i])
            for i in range(len(self.levels))
            if self._governor[i] < 0 and i not in self._governor
        )
        for governor in self.governors:
            genes = np.flatnonzero(self._governor == governor)
            total *= sum(
                math.prod(int(n) for n in self.levels[genes[self._position[genes] < depth]])
                for depth in self.space.allowed[governor]
            )
        return total

    @property
    def log10_size(self) -> float:
        """Decimal logarithm of ``size``."""
        return math.log10(self.size())

    def decode(self, genome: Sequence[int]) -> tuple[Architecture, dict[str, str]]:
        """Return the architecture and its policy: layer -> precision, of the layers that it has.

        Raises:
            ValueError: the genome has another length, or an option that does not exist.
        """
        row = np.asarray(genome, dtype=np.int64)
        if row.shape != self.levels.shape or (row < 0).any() or (row >= self.levels).any():
            raise ValueError(f"a genome of {len(self.levels)} genes below {self.levels.tolist()}, got {row}")
        options = zip(self.space.allowed, row.tolist(), strict=False)
        architecture = self.space.from_genes([values[i] for values, i in options])
        active = self.active(row[None])[0, self.architecture_genes :]
        genes = row[self.architecture_genes :].tolist()
        chosen = zip(self.units, self.unit_precisions, genes, active, strict=True)
        policy = {
            layer: precisions[gene]
            for unit, precisions, gene, on in chosen
            if on
            for layer in unit.layers_in(architecture)
        }
        return architecture, policy

    def encode(self, arch: Mapping[str, Any], policy: Mapping[str, str]) -> Genomes:
        """Return the genome ``[genes]`` of an architecture and policy, inactive genes 0.

        Raises:
            ValueError: layers of one unit in two precisions, a precision outside the alphabet, or a layer
                that the policy lacks or that does not exist.
        """
        architecture = self.space.architecture(arch)
        row = [o.index(gene) for o, gene in zip(self.space.allowed, architecture.genes, strict=True)]
        genome = np.array(row + [0] * len(self.units), dtype=np.int64)
        active = self.active(genome[None])[0, self.architecture_genes :]
        parts = [unit.layers_in(architecture) for unit in self.units]
        known = {x for layers, on in zip(parts, active, strict=True) if on for x in layers}
        if set(policy) != known:
            raise ValueError(f"the policy must name these layers: {', '.join(sorted(known))}")
        for i, (unit, on) in enumerate(zip(self.units, active, strict=True)):
            if not on:
                continue
            given, allowed = {policy[layer] for layer in parts[i]}, self.unit_precisions[i]
            if len(given) > 1 or not given <= set(allowed):
                raise ValueError(f"unit {unit.name}: one of {allowed} for all its layers, got {given}")
            genome[self.architecture_genes + i] = allowed.index(given.pop())
        return self.canonical(genome[None])[0]

    def uniform(self, genomes: Genomes, precision: str) -> Genomes:
        """Return the same architectures with one precision in every unit.

        Units that do not support it take the first precision that they support.
        """
        out = genomes.copy()
        out[:, self.architecture_genes :] = [
            allowed.index(precision) if precision in allowed else 0 for allowed in self.unit_precisions
        ]
        return out


class Subspace(Genes):
    """Part of a space in which some genes are free and the others fixed to one of ``bases`` ``[k, genes]``.

    Its genomes are the number of the base and the free genes; ``lift`` maps them to the parent space.
    """

    def __init__(self, parent: Genes, free: Mask, bases: Genomes) -> None:
        self.parent, self.bases = parent, np.atleast_2d(bases)
        self.free = np.flatnonzero(free)
        self.levels = np.array([len(self.bases), *parent.levels[self.free]], dtype=np.int64)
        self.names = ("base", *(parent.names[i] for i in self.free))

    def lift(self, genomes: Genomes) -> Genomes:
        """Return the same points as genomes of the parent space."""
        out = self.bases[genomes[:, 0]]
        out[:, self.free] = genomes[:, 1:]
        return out

    def keys(self, genomes: Genomes) -> list[Key]:
        return self.parent.keys(self.lift(genomes))

    def active(self, genomes: Genomes) -> Mask:
        active = self.parent.active(self.lift(genomes))[:, self.free]
        return np.column_stack([np.ones(len(genomes), dtype=bool), active])


GROUPINGS = ("linear", "block", "layer")
NUMBERED = re.compile(r"(.*\.\d+)([._][^.]+)?")
"""Pattern of the names of linears: layer with its number, and part of the layer."""


def precision_units(family: Any, grouping: str = "linear") -> tuple[PrecisionUnit, ...]:
    """Return the precision units of a model family: every linear and convolution that its networks export.

    Args:
        family: such as ``supernet.vit.ViTFamily``.
        grouping: ``linear``: each linear or convolution is a unit; ``block``: each attention and each
            feed-forward; ``layer``: each layer.

    Raises:
        ValueError: another grouping.
    """
    from supernet.cost import policy_units
    from supernet.quantization.precisions import choices

    if grouping not in GROUPINGS:
        raise ValueError(f"grouping {grouping!r}: choose one of {', '.join(GROUPINGS)}")
    space = family.space
    shapes = policy_units(family, space.largest())
    under: dict[str, tuple[str | None, int]] = dict.fromkeys(shapes, (None, 0))
    for choice in space.choices:
        if choice.layered:
            continue
        for value in sorted(choice.options):
            present = policy_units(family, largest_with(space, choice.name, value))
            under |= {name: (choice.name, value) for name in set(shapes) - set(present)}
    supported = {name: [choices(shape)] for name, shape in shapes.items()}
    for choice in space.choices:
        for value in choice.options:
            genes = space.largest().to_dict()
            own = genes[choice.name]
            if choice.depth is None and isinstance(own, (list, tuple)):
                narrow = space.architecture(genes | {choice.name: [value] * len(own)})
                for name, shape in policy_units(family, narrow).items():
                    supported[name].append(choices(shape))  # of narrower layers, w4's groups may not fit
    groups: dict[str, list[str]] = {}
    for name in shapes:
        numbered = NUMBERED.match(name)
        if grouping == "linear" or numbered is None:
            unit = name
        else:
            unit = numbered[1] + ((numbered[2] or "") if grouping == "block" else "")
        groups.setdefault(unit, []).append(name)
    units = []
    for unit, names in groups.items():
        first = under[names[0]]
        deeper = [(name, *under[name]) for name in names if under[name] != first]
        precisions = common_precisions([options for name in names for options in supported[name]])
        units.append(PrecisionUnit(unit, tuple(names), *first, precisions, tuple(deeper)))
    return tuple(units)


def common_precisions(options: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the precisions that are in all ``options``, in the order of the first."""
    return tuple(x for x in options[0] if all(x in other for other in options))


def largest_with(space: SearchSpace, name: str, value: int) -> Architecture:
    """Return the largest architecture with another value of one choice, and as many layers as it allows."""
    genes = space.largest().to_dict() | {name: value}
    for choice in space.choices:
        if choice.depth == name:
            genes[choice.name] = list(genes[choice.name])[:value]  # type: ignore[arg-type]
    return space.architecture(genes)
