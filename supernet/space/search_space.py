"""Finite search spaces over named integer choices: sample, mutate, cross over, encode, validate.

A space works on *genotypes* (one option value per gene, inactive layers included) and returns
``Architecture`` objects (active values only). So mutation and crossover stay simple, and two genotypes that
build the same network are equal. Needs NumPy only; every random draw comes from the caller's generator.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supernet.space.architecture import Architecture, ArchitectureLike, Choice, Value, layers_of


class SearchSpace:
    """A finite set of architectures.

    Args:
        name: used in tables and records.
        choices: in gene order.
        constants: dimensions of the model family that are not searched, such as ``qkv_dim``.
        allowed: option values per gene, a subset of the choice's options; default all of them. Encodings
            and field names stay those of the unrestricted space.
    """

    def __init__(
        self,
        name: str,
        choices: Sequence[Choice],
        constants: Mapping[str, int] | None = None,
        allowed: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.name = name
        self.choices = tuple(choices)
        self.constants = dict(constants or {})
        self._by_name = {choice.name: choice for choice in self.choices}
        if len(self._by_name) != len(self.choices):
            raise ValueError(f"space {name}: two choices share a name")
        for choice in self.choices:
            if choice.depth is not None:
                self._check_depth(choice)
        owners = [choice for choice in self.choices for _ in range(choice.repeat)]
        if allowed is None:
            allowed = [choice.options for choice in owners]
        self.allowed = tuple(tuple(options) for options in allowed)
        if len(self.allowed) != len(owners):
            raise ValueError(
                f"space {name}: {len(owners)} genes, but {len(self.allowed)} lists of allowed values"
            )
        for choice, options in zip(owners, self.allowed, strict=True):
            if not options or not set(options) <= set(choice.options):
                raise ValueError(f"space {name}: {choice.name} allows {choice.options}, not {options}")
        self._starts: dict[str, int] = {}
        start = 0
        for choice in self.choices:
            self._starts[choice.name] = start
            start += choice.repeat
        self._counts = np.array([len(options) for options in self.allowed])

    def _check_depth(self, choice: Choice) -> None:
        governor = self._by_name.get(str(choice.depth))
        if governor is None or governor.layered:
            raise ValueError(f"choice {choice.name}: no plain choice is named {choice.depth!r}")
        if min(governor.options) < 1 or max(governor.options) > choice.repeat:
            raise ValueError(
                f"choice {choice.name}: {governor.name} in {governor.options} needs 1..{choice.repeat} layers"
            )

    def __repr__(self) -> str:
        return f"SearchSpace({self.name!r}, {self.size():.3g} architectures)"

    def choice(self, name: str) -> Choice:
        """Return the choice called ``name``."""
        return self._by_name[name]

    def _genes_of(self, choice: Choice) -> slice:
        start = self._starts[choice.name]
        return slice(start, start + choice.repeat)

    def size(self) -> int:
        """Return the number of distinct architectures (by active values)."""
        total = 1
        governors = {choice.depth for choice in self.choices if choice.depth is not None}
        for choice in self.choices:
            options = self.allowed[self._genes_of(choice)]
            if choice.name in governors:
                dependents = [self.allowed[self._genes_of(c)] for c in self.choices if c.depth == choice.name]
                total *= sum(
                    math.prod(len(gene) for genes in dependents for gene in genes[:depth])
                    for depth in options[0]
                )
            elif choice.depth is None:
                total *= math.prod(len(gene) for gene in options)
        return total

    def __iter__(self) -> Iterator[Architecture]:
        """Iterate over every architecture once, in the order of the options; feasible for small spaces
        only."""
        seen: set[Architecture] = set()
        for genes in product(*self.allowed):
            architecture = self.from_genes(genes)
            if architecture not in seen:
                seen.add(architecture)
                yield architecture

    def from_genes(self, genes: Sequence[int]) -> Architecture:
        """Return the architecture of a full genotype of option values (``Architecture.genes``).

        Raises:
            ValueError: wrong length, or a value outside the gene's options.
        """
        if len(genes) != len(self.allowed):
            raise ValueError(f"space {self.name} has {len(self.allowed)} genes, got {len(genes)}")
        genes = [operator.index(gene) for gene in genes]
        values: dict[str, Value] = {}
        for choice in self.choices:
            where = self._genes_of(choice)
            for gene, options in zip(genes[where], self.allowed[where], strict=True):
                if gene not in options:
                    raise ValueError(f"{choice.name}: {gene} is not in space {self.name}; allowed: {options}")
            values[choice.name] = tuple(genes[where]) if choice.layered else genes[where.start]
        for choice in self.choices:
            if choice.depth is not None:
                values[choice.name] = layers_of(values[choice.name])[: layers_of(values[choice.depth])[0]]
        return Architecture(values, genes, self)

    def architecture(self, mapping: ArchitectureLike) -> Architecture:
        """Read an architecture from plain values, such as parsed JSON.

        Genes of inactive layers are filled with the largest option.

        Raises:
            ValueError: a missing, unknown or wrong field; the message names it and what is allowed.
        """
        unknown = [name for name in mapping if name not in self._by_name]
        missing = [name for name in self._by_name if name not in mapping]
        if unknown or missing:
            raise ValueError(
                f"space {self.name}: "
                + "; ".join(
                    f"{kind} {'field' if len(names) == 1 else 'fields'} {', '.join(map(str, names))}"
                    for kind, names in (("unknown", unknown), ("missing", missing))
                    if names
                )
                + f" (fields: {', '.join(self._by_name)})"
            )
        genes = self._extreme(max)
        for choice in self.choices:
            layers = self._read(choice, mapping[choice.name], mapping)
            start = self._starts[choice.name]
            genes[start : start + len(layers)] = layers
        return self.from_genes(genes)

    def _read(self, choice: Choice, value: Any, mapping: ArchitectureLike) -> list[int]:
        if choice.layered != isinstance(value, (list, tuple)):
            expected = "a list with one integer per layer" if choice.layered else "an integer"
            raise ValueError(f"{choice.name}: expected {expected} of {choice.options}, got {value!r}")
        layers = list(value) if choice.layered else [value]
        expected_layers = choice.repeat if choice.depth is None else mapping[choice.depth]
        if choice.layered and len(layers) != expected_layers:
            raise ValueError(f"{choice.name}: {expected_layers} layers expected, got {len(layers)}: {layers}")
        where = self._genes_of(choice)
        for layer, (item, options) in enumerate(zip(layers, self.allowed[where], strict=False)):
            # `True in (1, 2)` holds, and so does `1.0 in (1, 2)`: ask for integers in so many words.
            if isinstance(item, bool) or not isinstance(item, (int, np.integer)) or item not in options:
                place = f" (layer {layer})" if choice.layered else ""
                raise ValueError(
                    f"{choice.name}{place}: {item!r} is not in space {self.name}; allowed: "
                    + ", ".join(map(str, options))
                )
        return [int(item) for item in layers]

    def validate(self, arch: ArchitectureLike) -> None:
        """Raise ``ValueError`` if ``arch`` is not an architecture of this space."""
        self.architecture(arch)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw an architecture: every gene uniformly and independently."""
        return self._pick(rng.integers(0, self._counts))

    def mutate(self, arch: Architecture, p: float, rng: np.random.Generator) -> Architecture:
        """Draw each gene anew, uniformly, with probability ``p``; a redrawn gene may keep its value."""
        redraw = rng.random(len(self._counts)) < p
        fresh = self._pick(rng.integers(0, self._counts)).genes
        return self.from_genes(
            [new if r else old for old, new, r in zip(arch.genes, fresh, redraw, strict=True)]
        )

    def crossover(self, a: Architecture, b: Architecture, rng: np.random.Generator) -> Architecture:
        """Combine two architectures: each gene comes from ``a`` or from ``b`` with equal probability."""
        first = rng.random(len(self._counts)) < 0.5
        return self.from_genes([x if f else y for x, y, f in zip(a.genes, b.genes, first, strict=True)])

    def _pick(self, indices: NDArray[np.int64]) -> Architecture:
        return self.from_genes(
            [options[i] for options, i in zip(self.allowed, indices.tolist(), strict=True)]
        )

    def _extreme(self, extreme: Callable[..., int]) -> list[int]:
        genes: list[int] = []
        for choice in self.choices:
            genes += [extreme(options, key=choice.code) for options in self.allowed[self._genes_of(choice)]]
        return genes

    def largest(self) -> Architecture:
        """Return the architecture with the largest option everywhere (by code)."""
        return self.from_genes(self._extreme(max))

    def smallest(self) -> Architecture:
        """Return the architecture with the smallest option everywhere (by code)."""
        return self.from_genes(self._extreme(min))

    def encode(self, arch: ArchitectureLike, kind: str = "aggr") -> NDArray[np.float64]:
        """Encode an architecture as numbers in [0, 1] (if no option is negative).

        Args:
            arch: an architecture of this space.
            kind: ``aggr``, one number per choice, the mean over active layers (HAT: 10), or
                ``fine``, one number per gene, zero for inactive layers (HAT: 40).

        Returns:
            Codes divided by the largest code of their choice.
        """
        if kind not in ("aggr", "fine"):
            raise ValueError(f"encoding {kind!r} is not known; allowed: aggr, fine")
        parts: list[float] = []
        for choice in self.choices:
            layers = [choice.code(value) / choice.scale for value in layers_of(arch[choice.name])]
            if kind == "aggr":
                parts.append(math.fsum(layers) / len(layers))
            else:
                parts += layers + [0.0] * (choice.repeat - len(layers))
        return np.array(parts, dtype=np.float64)

    def restrict_to(self, arch: ArchitectureLike) -> SearchSpace:
        """Return the space of the one architecture ``arch``; encodings stay those of this space."""
        kept = self.architecture(arch)
        if isinstance(arch, Architecture):
            kept = self.from_genes(arch.genes)  # keeps its inactive genes, so that operators accept it
        return SearchSpace(
            f"{self.name}:{kept.key()}", self.choices, self.constants, [(gene,) for gene in kept.genes]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a plain JSON description; ``from_dict`` reads it back."""
        choices = [
            {
                "name": choice.name,
                "options": list(choice.options),
                "repeat": choice.repeat,
                "depth": choice.depth,
                "codes": None if choice.codes is None else [list(pair) for pair in choice.codes.items()],
            }
            for choice in self.choices
        ]
        return {
            "name": self.name,
            "choices": choices,
            "constants": dict(self.constants),
            "allowed": [list(options) for options in self.allowed],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SearchSpace:
        """Build a space from the description that ``to_dict`` returns."""
        choices = [
            Choice(
                item["name"],
                tuple(item["options"]),
                item["repeat"],
                item["depth"],
                None if item["codes"] is None else {option: code for option, code in item["codes"]},
            )
            for item in data["choices"]
        ]
        return cls(data["name"], choices, data["constants"], data["allowed"])
