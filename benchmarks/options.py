"""Options of methods: from the command line, and as the method sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.api import UsageError


def parse(words: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``hat.after=continue`` as ``{"hat": {"after": "continue"}}``; values are JSON where they can be."""
    found: dict[str, dict[str, Any]] = {}
    for word in words:
        where, equals, text = word.partition("=")
        method, dot, key = where.partition(".")
        if not (equals and dot and method and key):
            raise UsageError(
                f"--option '{word}': write METHOD.KEY=VALUE, such as --option mos-neuron.experts=4"
            )
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        found.setdefault(method, {})[key] = value
    return found


class Options(Mapping[str, Any]):
    """A method's options; remembers which were asked for, so that a misspelt one is noticed."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        self.asked.update(self._values)
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def ignored(self) -> list[str]:
        """Options that nobody asked for."""
        return sorted(set(self._values) - self.asked)
