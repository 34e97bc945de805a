"""Choices of a search space, and the architectures that combine their options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supernet.space.search_space import SearchSpace

Value = int | tuple[int, ...]
"""Value of one field: an integer, or one integer a layer."""
ArchitectureLike = Mapping[str, Any]
"""An ``Architecture``, or plain values of its fields: each an integer, or one integer a layer."""


@dataclass(frozen=True)
class Choice:
    """One named choice.

    Attributes:
        name: field of the architecture.
        options: allowed values.
        repeat: genes of this choice, one a layer; 1 without ``depth`` makes a plain integer field.
        depth: name of the choice that holds the number of active layers, at most ``repeat``; None if all
            are active.
        codes: option -> number that represents it in encodings and in the order of sizes, for options whose
            values are labels; by default the option itself.
    """

    name: str
    options: tuple[int, ...]
    repeat: int = 1
    depth: str | None = None
    codes: Mapping[int, int] | None = None

    def __post_init__(self) -> None:
        if not self.options or len(set(self.options)) != len(self.options):
            raise ValueError(
                f"choice {self.name}: options must be distinct and not empty, got {self.options}"
            )
        if self.repeat < 1:
            raise ValueError(f"choice {self.name}: repeat must be at least 1, got {self.repeat}")
        if self.codes is not None and set(self.codes) != set(self.options):
            raise ValueError(f"choice {self.name}: codes must name every option, got {dict(self.codes)}")

    @property
    def layered(self) -> bool:
        """True for a field that is a tuple with one value per layer."""
        return self.repeat > 1 or self.depth is not None

    def code(self, option: int) -> int:
        """Return the number that represents ``option`` in encodings."""
        return option if self.codes is None else self.codes[option]

    @property
    def scale(self) -> int:
        """Largest magnitude of a code, by which encodings are divided."""
        return max(abs(self.code(option)) for option in self.options) or 1


class Architecture(Mapping[str, Value]):
    """Active values of one architecture; immutable, hashable, equal by active values."""

    __slots__ = ("_hash", "_values", "genes", "space")

    genes: tuple[int, ...]
    """Full genotype as option values, inactive layers included; not part of equality."""
    space: SearchSpace | None
    """Search space of the architecture, or None; not part of equality."""

    def __init__(
        self, values: Mapping[str, Value], genes: Sequence[int], space: SearchSpace | None = None
    ) -> None:
        self._values = dict(values)
        self.genes, self.space = tuple(genes), space
        self._hash = hash(frozenset(self._values.items()))

    def __getitem__(self, name: str) -> Any:  # int or tuple, as the space's choice says
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self._values == other._values if isinstance(other, Architecture) else NotImplemented

    def __reduce__(self) -> tuple[Any, ...]:
        return Architecture, (self._values, self.genes, self.space)

    def __repr__(self) -> str:
        return f"Architecture({self.key()})"

    def key(self) -> str:
        """Return the canonical short name, such as ``640_6_3072x6_8x6_512_1_2048_8_4_-1``; fit for file
        names."""
        return "_".join(
            ".".join(_run(value, len(list(group))) for value, group in groupby(layers_of(field)))
            for field in self._values.values()
        )

    def to_dict(self) -> dict[str, int | list[int]]:
        """Return plain JSON types; ``SearchSpace.architecture`` reads them back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self.items()}


def layers_of(value: Value) -> tuple[int, ...]:
    """Return a field as one value per layer; a plain integer counts as one layer."""
    return value if isinstance(value, tuple) else (value,)


def _run(value: int, length: int) -> str:
    return f"{value}x{length}" if length > 1 else str(value)
