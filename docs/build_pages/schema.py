"""Reference of the record's fields, from its JSON schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import benchmarks
from build_pages.markup import code, table, text

SCHEMA = Path(benchmarks.__file__).parent / "records" / "schema" / "record-1.json"
Node = Mapping[str, Any]
"""A part of a JSON schema."""


def page() -> str:
    """Return the page: the record's own fields, then one section a definition."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    lines = ["# The record, field by field", "", text(schema["title"]) + ".", "", text(schema["description"])]
    lines += ["", "A field in bold is required. `supernet-bench validate` checks all of it.", ""]
    lines += ["## record", "", *fields(schema)]
    for name, node in schema["$defs"].items():
        lines += [f"## {name}", ""]
        if "description" in node:
            lines += [text(node["description"]), ""]
        lines += fields(node) if node.get("properties") else [kind(node), ""]
    return "\n".join(lines)


def fields(node: Node) -> list[str]:
    """Return the table of an object's fields, those of nested objects with dotted names."""
    return table(("field", "value", "meaning"), rows(node, ""))


def rows(node: Node, prefix: str) -> Iterator[tuple[str, str, str]]:
    """Yield the cells of every field below a node."""
    required = set(node.get("required", ()))
    for name, child in node.get("properties", {}).items():
        dotted = code(f"{prefix}{name}")
        yield f"**{dotted}**" if name in required else dotted, kind(child), text(child.get("description", ""))
        inner, mark = plain(child)
        if inner.get("properties"):
            yield from rows(inner, f"{prefix}{name}{mark}.")


def plain(node: Node) -> tuple[Node, str]:
    """Return the object inside a node, and ``[]`` if the node is a list of it."""
    for choice in node.get("anyOf", ()):
        if choice.get("properties") or choice.get("items"):
            return plain(choice)
    if "items" in node:
        return plain(node["items"])[0], "[]"
    return node, ""


def kind(node: Node) -> str:
    """Return the allowed values of a node in words."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return f"[{text(name)}](#{name.lower()})"
    if "const" in node:
        return code(node["const"])
    if "enum" in node:
        return ", ".join(code(value) for value in node["enum"])
    if "anyOf" in node:
        return " or ".join(kind(choice) for choice in node["anyOf"])
    if "items" in node:
        return "list of " + kind(node["items"])
    types = node.get("type", "any")
    words = " or ".join(types) if isinstance(types, list) else types
    if isinstance(extra := node.get("additionalProperties"), Mapping):
        words += " of " + kind(extra)
    if "minimum" in node:
        words += f", at least {node['minimum']}"
    if "pattern" in node:
        words += f", {code(node['pattern'])}"
    return words
