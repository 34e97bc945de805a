"""YAML files that users write: small, without anchors, every mistake with its line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.api import UsageError

LARGEST = 2**17
"""Bytes. A larger file is refused unread: PyYAML takes seconds for more."""
DEEPEST = 20
"""Levels of lists and mappings. PyYAML takes a time that grows with their square."""


def compose(path: Path, example: str) -> yaml.Node | None:
    """Return the root node of a YAML file.

    Raises:
        UsageError: it is too large or too deep, is not YAML, or has anchors, which could make it grow
            without bound.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1).decode()
        if len(text) > LARGEST:
            raise UsageError(f"{path}: larger than {LARGEST} bytes: refused unread")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                line = event.start_mark.line + 1
                raise UsageError(f"{path}:{line}: lists and mappings more than {DEEPEST} deep: {example}")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                line = event.start_mark.line + 1
                raise UsageError(f"{path}:{line}: no anchors and aliases (& and *): write the values out")
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}\n{example}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not text\n{example}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}:{line}: not YAML: {error.problem}\n{example}") from None
    except (yaml.YAMLError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path}: not YAML: {first}\n{example}") from None


def pairs(path: Path, node: yaml.Node | None, example: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Yield name, key and value of each entry of a mapping.

    Raises:
        UsageError: the node is no mapping, a key is no text, or stands there twice.
    """
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f"{path}:{node.start_mark.line + 1 if node else 1}: no mapping: {example}")
    first: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise UsageError(f"{path}:{line}: a key is one word: {example}")
        if key.value in first:
            raise UsageError(f"{path}:{line}: {key.value} stands in line {first[key.value]} too: keep one")
        first[key.value] = line
        yield key.value, key, value
