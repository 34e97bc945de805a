"""Reference of error messages, collected from the code: every message for users, with its remedy."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import benchmarks
from build_pages.markup import table, text
from build_pages.remedies import remedy_of

TREE = Path(benchmarks.__file__).parents[1]
PACKAGES = ("benchmarks", "supernet", "mos", "simq", "baselines", "supernet_bench")
FOR_USERS = {
    "UsageError",
    "ProfileMismatchError",
    "InvalidRecordError",
    "OtherDataError",
    "InexpressibleError",
    "MissingPackageError",
    "UnreadableModelError",
    "UnsafePickleError",
    "CorruptExportError",
}
"""Exceptions whose message ends as ``error: ...`` on a terminal."""

DEMAND = re.compile(
    r"(add|another|at (least|most)|build|choose|cut|declare|fetch|give|install|leave|let|lower-case|make|move"
    r"|name|one of|pip install|python|put|raise|reinstall|remove|rename|run|say|set|simplify|supernet-bench"
    r"|take|train|type|wait|write|--\S+ \S+)\b"
)
"""Beginning of a remedy that stands behind a colon."""

INTRODUCTION = """\
# Every error message

Collected from the code. A mistake of the user ends in `error: ...` and exit code 2. The first line is the
problem with the value that caused it; the lines below, or a demand behind a colon, are the remedy. Where a
message has none, the remedy here is that of the place which raises it. Words in ‹angle quotes›
stand for values. A message about a wrong name also has the nearest right one (*Did you mean*) and all names
that are known.

To look a message up: search this page for the words between two values.
"""


class Message(NamedTuple):
    """Message as the code has it, with ``‹name›`` for each value."""

    module: str
    line: int
    problem: str
    remedy: str


def page() -> str:
    """Return the page: one section a package, one row a message."""
    by_room: dict[str, list[Message]] = {}
    for message in messages():
        room = ".".join(message.module.split(".")[:2]) if message.module.startswith("benchmarks") else ""
        by_room.setdefault(room or message.module.split(".")[0], []).append(message)
    lines = [INTRODUCTION]
    for room, rows in sorted(by_room.items()):
        lines += [f"## {text(room)}", ""]
        cells = [
            (text(row.problem), text(row.remedy) or remedy_of(row.module), f"`{row.module}`") for row in rows
        ]
        lines += table(("message", "remedy", "from"), cells)
    return "\n".join(lines)


def messages() -> list[Message]:
    """Return all messages of the product, by module and line, each once a module."""
    collected: dict[tuple[str, str, str], Message] = {}
    for package in PACKAGES:
        for path in sorted((TREE / package).rglob("*.py")):
            for message in of_module(path):
                collected.setdefault((message.module, message.problem, message.remedy), message)
    return list(collected.values())


def of_module(path: Path) -> Iterator[Message]:
    """Yield the messages that a module raises or hands on as an error for users."""
    module = ".".join(path.relative_to(TREE).with_suffix("").parts).removesuffix(".__init__")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = texts(tree.body)
    for function in scopes(tree):
        known = constants | texts(ast.walk(function))
        for node in own_nodes(function):
            if not isinstance(node, ast.Call):
                continue
            words = message_of(node, known)
            if words is not None and re.search(r"[a-z]{2}", re.sub("‹[^›]*›", "", words)):
                yield Message(module, node.lineno, *parted(words))


def parted(words: str) -> tuple[str, str]:
    """Return problem and remedy: the lines below the first one, else a demand behind its last colon."""
    problem, _, remedy = words.partition("\n")
    if not remedy:
        start, colon, end = problem.rpartition(": ")
        if colon and DEMAND.match(end):
            problem, remedy = start, end
    return problem.strip(), " ".join(remedy.split())


def scopes(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the module and every function in it."""
    yield tree
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes of a scope but those of functions inside it."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from own_nodes(child)


def message_of(call: ast.Call, known: Mapping[str, str]) -> str | None:
    """Return the text of a call that makes an error for users; None for every other call."""
    name = called(call.func)
    if name in FOR_USERS and call.args:
        return template(call.args[0], known)
    if name == "unknown" and len(call.args) == 4:
        kind, word, _, then = (template(part, known) for part in call.args)
        return f"no {kind} '{word}'. Did you mean ‹nearest›?\nknown: ‹names› {then}"
    if name == "error" and len(call.args) == 1 and isinstance(call.func, ast.Attribute):
        owner = called(call.func.value)
        return template(call.args[0], known) if owner in ("parser", "command") else None
    return None


def called(node: ast.AST) -> str:
    """Return the last name of a dotted one."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def texts(nodes: object) -> dict[str, str]:
    """Return name -> text of every variable among the nodes that is assigned a text once."""
    assigned: dict[str, list[ast.expr]] = {}
    for node in nodes:  # type: ignore[attr-defined]
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            assigned.setdefault(node.targets[0].id, []).append(node.value)
    literal = ast.Constant | ast.JoinedStr | ast.BinOp
    return {
        name: words
        for name, values in assigned.items()
        if len(values) == 1
        and isinstance(values[0], literal)
        and "‹" != (words := template(values[0], {}))[:1]
        and " " in words
    }


def template(node: ast.AST, known: Mapping[str, str]) -> str:
    """Return an expression's text, with ``‹name›`` for what only a run can tell."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part, known) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return template(node.value, known)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left, known) + template(node.right, known)
    if isinstance(node, ast.IfExp):
        either = [template(part, known) for part in (node.body, node.orelse)]
        return " / ".join(part for part in either if part)
    if isinstance(node, ast.Name):
        return known.get(node.id, f"‹{node.id}›")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join":
        return f"‹{words_of(node.args[0])}›"
    return f"‹{words_of(node)}›"


def words_of(node: ast.AST) -> str:
    """Return a short name for a value that is computed."""
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute)]
    chosen = [called(part) for part in names if called(part) not in vars(builtins)]
    return (chosen[0] if chosen else "value").strip("_").replace("_", " ")
