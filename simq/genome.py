"""Joint genomes: the genes of an architecture and one precision gene for each unit of a policy.

A genome is a row of option numbers, architecture genes first. Genes of layers that the genome's depth
leaves out are inactive: two genomes that differ in them alone build the same network, are one point, and
have the same features. Everything works on whole arrays ``[n, genes]`` at once.
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
"""What tells points apart: a number where the space has fewer than 2**63 genomes."""


def firsts(keys: Sequence[Key]) -> list[int]:
    """Places of the first of equal keys, ascending."""
    return sorted({key: i for i, key in reversed(list(enumerate(keys)))}.values())


@dataclass(frozen=True)
class Unit:
    """Linear layers that share a precision.

    Attributes:
        name: of the gene.
        layers: names of the linear layers, as a policy has them.
        depth: the choice that says how many layers there are; None: the unit is always there.
        at: the unit is there where the depth is above this number.
        precisions: letters that these layers can have; None: all of the alphabet.
        deeper: layers that the unit does not always have: name, choice and number, as ``depth`` and ``at``.
    """

    name: str
    layers: tuple[str, ...]
    depth: str | None = None
    at: int = 0
    precisions: tuple[str, ...] | None = None
    deeper: tuple[tuple[str, str, int], ...] = ()

    def within(self, architecture: Mapping[str, Any]) -> tuple[str, ...]:
        """Its layers that an architecture has, where it has the unit."""
        missing = {layer for layer, depth, at in self.deeper if architecture[depth] <= at}
        return tuple(layer for layer in self.layers if layer not in missing)


class Genes:
    """What operators and predictors need to know of a genome.

    Attributes:
        levels: options of each gene.
        names: of the genes.
    """

    levels: Genomes
    names: tuple[str, ...]

    def active(self, genomes: Genomes) -> Mask:
        """Which genes count ``[n, genes]``."""
        raise NotImplementedError

    def canonical(self, genomes: Genomes) -> Genomes:
        """The same points with option 0 in every inactive gene."""
        return np.where(self.active(genomes), genomes, 0)

    def keys(self, genomes: Genomes) -> list[Key]:
        """Equal for genomes that are the same point, whatever their inactive genes; else different."""
        return self.codes(self.canonical(genomes))

    def codes(self, genomes: Genomes) -> list[Key]:
        """Equal for equal genomes, inactive genes included; else different."""
        if self._steps is None:
            return [row.tobytes() for row in genomes.astype(np.uint16)]
        return (genomes @ self._steps).tolist()

    @cached_property
    def _steps(self) -> Genomes | None:
        """What a gene's option is worth in a number of mixed radix; None: it would not fit."""
        levels = self.levels.tolist()
        if math.prod(levels) >= 2**63:
            return None
        return np.array([math.prod(levels[i + 1 :]) for i in range(len(levels))], dtype=np.int64)

    def sample(self, count: int, rng: np.random.Generator) -> Genomes:
        """Every gene drawn uniformly and independently."""
        return rng.integers(0, self.levels, size=(count, len(self.levels)))

    def features(self, genomes: Genomes) -> Array:
        """One column for each option of each gene, all zero where the gene is inactive."""
        hot = genomes[:, self._owner] == self._option
        return (hot & self.active(genomes)[:, self._owner]).astype(np.float64)

    @cached_property
    def _owner(self) -> Genomes:
        return np.repeat(np.arange(len(self.levels)), self.levels)

    @cached_property
    def _option(self) -> Genomes:
        return np.concatenate([np.arange(count) for count in self.levels])


class JointSpace(Genes):
    """Architectures of ``space`` with a precision out of ``alphabet`` for each unit.

    Raises:
        ValueError: a unit under a depth that the space does not have, two units of one name or layer, or
            an alphabet without letters.
    """

    def __init__(self, space: SearchSpace, units: Sequence[Unit], alphabet: Sequence[str]) -> None:
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
        self.letters = [
            tuple(x for x in self.alphabet if unit.precisions is None or x in unit.precisions)
            for unit in self.units
        ]
        """Precisions of each unit, in gene order."""
        if not all(self.letters):
            raise ValueError(f"a unit can have none of the precisions {', '.join(self.alphabet)}")
        counts = [len(options) for options in (*space.allowed, *self.letters)]
        self.levels = np.array(counts, dtype=np.int64)
        plain = {c.name: i for i, (c, _) in enumerate(owners) if not c.layered}
        governed = [(c.depth, i) for c, i in owners] + [(unit.depth, unit.at) for unit in self.units]
        unknown = {depth for depth, _ in governed if depth is not None} - set(plain)
        if unknown:
            raise ValueError(f"no plain choice of space {space.name} is named {', '.join(sorted(unknown))}")
        self._governor = np.array([plain[d] if d is not None else -1 for d, _ in governed], dtype=np.int64)
        self._place = np.array([at for _, at in governed], dtype=np.int64)
        widest = max(map(len, space.allowed))
        self._values = np.array([[*o, *[0] * (widest - len(o))] for o in space.allowed], dtype=np.int64)

    def active(self, genomes: Genomes) -> Mask:
        governed = self._governor >= 0
        there = np.ones(genomes.shape, dtype=bool)
        owner = self._governor[governed]
        depth = self._values[owner, genomes[:, owner]]
        there[:, governed] = depth > self._place[governed]
        return there

    def size(self) -> int:
        """Distinct points: what inactive genes hold does not count."""
        total = math.prod(
            int(self.levels[i])
            for i in range(len(self.levels))
            if self._governor[i] < 0 and i not in self._governor
        )
        for governor in sorted(set(self._governor.tolist()) - {-1}):
            genes = np.flatnonzero(self._governor == governor)
            total *= sum(
                math.prod(int(n) for n in self.levels[genes[self._place[genes] < depth]])
                for depth in self.space.allowed[governor]
            )
        return total

    @property
    def log10_size(self) -> float:
        """Logarithm of ``size``."""
        return math.log10(self.size())

    def decode(self, genome: Sequence[int]) -> tuple[Architecture, dict[str, str]]:
        """The architecture and its policy: linear layer -> precision, of the layers that are there."""
        row = np.asarray(genome, dtype=np.int64)
        if row.shape != self.levels.shape or (row < 0).any() or (row >= self.levels).any():
            raise ValueError(f"a genome of {len(self.levels)} genes below {self.levels.tolist()}, got {row}")
        options = zip(self.space.allowed, row.tolist(), strict=False)
        architecture = self.space.from_genes([values[i] for values, i in options])
        there = self.active(row[None])[0, self.architecture_genes :]
        chosen = zip(self.units, self.letters, row[self.architecture_genes :].tolist(), there, strict=True)
        policy = {
            layer: letters[gene]
            for unit, letters, gene, on in chosen
            if on
            for layer in unit.within(architecture)
        }
        return architecture, policy

    def encode(self, arch: Mapping[str, Any], policy: Mapping[str, str]) -> Genomes:
        """The inverse of ``decode`` for one point: ``[genes]``, inactive genes 0.

        Raises:
            ValueError: layers of one unit in two precisions, a precision outside the alphabet, or a layer
                that the policy leaves out or that is none.
        """
        architecture = self.space.architecture(arch)
        row = [o.index(gene) for o, gene in zip(self.space.allowed, architecture.genes, strict=True)]
        genome = np.array(row + [0] * len(self.units), dtype=np.int64)
        there = self.active(genome[None])[0, self.architecture_genes :]
        parts = [unit.within(architecture) for unit in self.units]
        known = {x for layers, on in zip(parts, there, strict=True) if on for x in layers}
        if set(policy) != known:
            raise ValueError(f"the policy must name these layers: {', '.join(sorted(known))}")
        for i, (unit, active) in enumerate(zip(self.units, there, strict=True)):
            if not active:
                continue
            asked, letters = {policy[layer] for layer in parts[i]}, self.letters[i]
            if len(asked) > 1 or not asked <= set(letters):
                raise ValueError(f"unit {unit.name}: one of {letters} for all its layers, got {asked}")
            genome[self.architecture_genes + i] = letters.index(asked.pop())
        return self.canonical(genome[None])[0]

    def uniform(self, genomes: Genomes, precision: str) -> Genomes:
        """The same architectures with one precision in every unit; units that cannot have it take the first
        letter that they can have."""
        out = genomes.copy()
        out[:, self.architecture_genes :] = [
            letters.index(precision) if precision in letters else 0 for letters in self.letters
        ]
        return out


class Slice(Genes):
    """A part of a space: some genes free, the others as in one of ``bases`` ``[k, genes]``.

    Its own genomes are the number of the base and the free genes; ``lift`` gives them back.
    """

    def __init__(self, whole: Genes, free: Mask, bases: Genomes) -> None:
        self.whole, self.bases = whole, np.atleast_2d(bases)
        self.free = np.flatnonzero(free)
        self.levels = np.array([len(self.bases), *whole.levels[self.free]], dtype=np.int64)
        self.names = ("base", *(whole.names[i] for i in self.free))

    def lift(self, genomes: Genomes) -> Genomes:
        """As genomes of the whole space."""
        out = self.bases[genomes[:, 0]]
        out[:, self.free] = genomes[:, 1:]
        return out

    def keys(self, genomes: Genomes) -> list[Key]:
        return self.whole.keys(self.lift(genomes))

    def active(self, genomes: Genomes) -> Mask:
        there = self.whole.active(self.lift(genomes))[:, self.free]
        return np.column_stack([np.ones(len(genomes), dtype=bool), there])


GROUPINGS = ("linear", "block", "layer")
NUMBERED = re.compile(r"(.*\.\d+)([._][^.]+)?")
"""Layer number, and what of the layer, in the name of one of its linears."""


def units_of(family: Any, grouping: str = "linear") -> tuple[Unit, ...]:
    """The policy units of a model family: every linear and convolution that its architectures export.

    Args:
        family: such as ``supernet.vit.ViTFamily``.
        grouping: ``linear``: each linear or convolution is a unit; ``block``: all of an attention, all of a
            feed-forward; ``layer``: all of a layer.

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
            there = policy_units(family, shortened(space, choice.name, value))
            under |= {name: (choice.name, value) for name in set(shapes) - set(there)}
    able = {name: [choices(shape)] for name, shape in shapes.items()}
    for choice in space.choices:
        for value in choice.options:
            genes = space.largest().to_dict()
            own = genes[choice.name]
            if choice.depth is None and isinstance(own, (list, tuple)):
                narrow = space.architecture(genes | {choice.name: [value] * len(own)})
                for name, shape in policy_units(family, narrow).items():
                    able[name].append(choices(shape))  # of narrower layers, w4's groups may not fit
    found: dict[str, list[str]] = {}
    for name in shapes:
        numbered = NUMBERED.match(name)
        if grouping == "linear" or numbered is None:
            unit = name
        else:
            unit = numbered[1] + ((numbered[2] or "") if grouping == "block" else "")
        found.setdefault(unit, []).append(name)
    made = []
    for unit, names in found.items():
        whole = under[names[0]]
        deeper = [(name, *under[name]) for name in names if under[name] != whole]
        letters = common([letters for name in names for letters in able[name]])
        made.append(Unit(unit, tuple(names), *whole, letters, tuple(deeper)))
    return tuple(made)


def common(options: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What is in all of them, in the order of the first."""
    return tuple(x for x in options[0] if all(x in other for other in options))


def shortened(space: SearchSpace, name: str, value: int) -> Architecture:
    """The largest architecture with another value of one choice, and as many layers as that leaves."""
    genes = space.largest().to_dict() | {name: value}
    for choice in space.choices:
        if choice.depth == name:
            genes[choice.name] = list(genes[choice.name])[:value]  # type: ignore[arg-type]
    return space.architecture(genes)
