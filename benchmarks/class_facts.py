"""Facts about a method's class, read from its syntax: no code of the file is executed."""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.api import Need, Option, OptionValues, UsageError
from benchmarks.suggestions import suggest

DECLARED = {"options": Option, "needs": Need}
"""Attribute of a method class -> the kind of declarations in it."""
INTERFACE = ("benchmarks.api", "supernet_bench")
"""Modules that ``Method`` is imported from."""
METHOD = "Method"
"""Name of the base class there, which stands for it among ancestors."""
FACTS = (
    "name",
    "version",
    "summary",
    "follows",
    "inherits",
    "from_nothing",
    "suite",
    "trials",
    "url",
    *DECLARED,
)
"""Attributes of a method class that the harness reads: plain constants in its body, or inherited."""
Facts = dict[str, Any]
"""Attribute of a method class -> its value, of those in ``FACTS`` that the class has."""


def module_file(name: str) -> Path | None:
    """Return the file of a module, without importing its packages as ``find_spec`` would; None if absent."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    if not rest:
        return Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        base = Path(folder, *rest)
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                return file
    return None


def parse_file(file: Path) -> ast.Module:
    """Return the syntax tree of a file.

    Raises:
        UsageError: the file cannot be read, is no Python, or is nested too deeply.
    """
    try:
        return ast.parse(file.read_bytes(), str(file))
    except OSError as error:
        raise UsageError(f"cannot read '{file}': {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"'{file}' is not valid Python: {error}") from None
    except (RecursionError, MemoryError):
        raise UsageError(f"'{file}' is nested too deeply to be read as Python: simplify it") from None


def classes_of(tree: ast.Module) -> dict[str, ast.ClassDef]:
    """Return the classes at the top of a module, by name."""
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _imports(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Local name -> (module, name there) of every ``from module import name`` at top level."""
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        for alias in node.names
    }


def class_facts(file: Path, class_name: str) -> Facts:
    """Return the constants in the body of a class and of its bases; ``supports`` if it is overridden."""
    tree = parse_file(file)
    classes = classes_of(tree)
    if class_name not in classes:
        elsewhere = _imports(tree).get(class_name)
        origin = module_file(elsewhere[0]) if elsewhere else None
        if elsewhere and origin:
            return class_facts(origin, elsewhere[1])
        raise UsageError(
            f"no class '{class_name}' in '{file}'. {suggest(class_name, classes)}\n"
            f"classes in it: {', '.join(classes) or 'none'}"
        )
    facts: Facts = {}
    for base in reversed(classes[class_name].bases):
        if isinstance(base, ast.Name) and base.id in classes and base.id != class_name:
            facts |= class_facts(file, base.id)
        elif isinstance(base, ast.Name) and (imported := _imports(tree).get(base.id)):
            origin = module_file(imported[0]) if imported[0] not in INTERFACE else None
            facts |= class_facts(origin, imported[1]) if origin else {}
    for node in classes[class_name].body:
        if isinstance(node, ast.FunctionDef) and node.name == "supports":
            facts["supports"] = True
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and target.id == "trials" and value is not None:
                facts["trials"] = _trials(file, value)
            elif isinstance(target, ast.Name) and target.id in DECLARED and value is not None:
                facts[target.id] = _declarations(file, tree, target.id, value)
            elif isinstance(target, ast.Name) and target.id in FACTS and isinstance(value, ast.Constant):
                facts[target.id] = value.value
    return facts


def require_search(file: Path, class_name: str) -> None:
    """Check that a class derives from ``Method``, with a ``search`` that can be called with the Lab.

    A class with an ancestor that syntax does not show is accepted as far as that ancestor may matter.

    Raises:
        UsageError: it does not derive from ``Method``, has no ``search``, or one with other arguments.
    """
    ancestors = list(_ancestors(file, class_name))
    readable = None not in ancestors
    if readable and METHOD not in ancestors:
        raise UsageError(
            f"'{class_name}' in '{file}' does not derive from Method\n"
            f"write: from benchmarks.api import Method, and class {class_name}(Method):"
        )
    for node in ancestors:
        if node is None:
            return
        if isinstance(node, ast.ClassDef) and (search := _binding(node, "search")) is not None:
            if not _takes_lab(search):
                raise UsageError(
                    f"'{file}', line {search.lineno}: search of {class_name} cannot be called with the Lab\n"
                    "write: def search(self, lab):"
                )
            return
    raise UsageError(
        f"'{class_name}' in '{file}' has no search\n"
        "write: def search(self, lab):, which yields what lab.candidate(...) returns"
    )


def _ancestors(file: Path, class_name: str) -> Iterator[ast.ClassDef | str | None]:
    """Yield a class and its bases, depth first; ``METHOD`` for that class, None for one that is not shown."""
    tree = parse_file(file)
    classes = classes_of(tree)
    if class_name in classes:
        yield classes[class_name]
        for base in classes[class_name].bases:
            if not isinstance(base, ast.Name) or base.id == class_name:
                yield None
            elif base.id != "object":
                yield from _ancestors(file, base.id)
        return
    module, name = _imports(tree).get(class_name, ("", class_name))
    if module in INTERFACE and name == METHOD:
        yield METHOD
    elif module and (origin := module_file(module)):
        yield from _ancestors(origin, name)
    else:
        yield None


def _binding(definition: ast.ClassDef, name: str) -> ast.stmt | None:
    """Return the last statement in a class body that binds a name; None if there is none."""
    for node in reversed(definition.body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name == name:
                return node
        elif any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node)):
            return node
    return None


def _takes_lab(search: ast.stmt) -> bool:
    """Return whether a method can be called with one argument, as far as its definition shows."""
    if not isinstance(search, ast.FunctionDef | ast.AsyncFunctionDef) or search.decorator_list:
        return True
    arguments = search.args
    places = [*arguments.posonlyargs, *arguments.args]
    needed = sum(default is None for default in arguments.kw_defaults)
    enough = len(places) >= 2 or arguments.vararg is not None
    fits = enough and len(places) - len(arguments.defaults) <= 2 and not needed
    return fits and isinstance(search, ast.FunctionDef)


def _trials(file: Path, value: ast.expr) -> tuple[OptionValues, ...]:
    """Return the literal ``trials`` of a class body."""
    try:
        declared = tuple(ast.literal_eval(value))
        json.dumps(declared, allow_nan=False)
        if all(isinstance(trial, dict) and all(isinstance(k, str) for k in trial) for trial in declared):
            return declared
    except (ValueError, TypeError):
        pass
    raise UsageError(
        f"'{file.name}', line {value.lineno}: trials must be a literal tuple of sets of options, such as"
        ' trials = ({"after": "scratch"}, {"after": "continue"})'
    )


def _declarations(file: Path, tree: ast.Module, attribute: str, value: ast.expr) -> tuple[Option | Need, ...]:
    """Return the ``options`` or ``needs`` of a class body."""
    kind = DECLARED[attribute]
    try:
        if isinstance(value, ast.Call) and getattr(value.func, "id", "") == kind.__name__:
            raise ValueError(f"a tuple is needed, with a comma at its end: ({ast.unparse(value)},)")
        declared = tuple(_evaluated(file, tree, value))
        if not all(isinstance(entry, kind) for entry in declared):
            raise ValueError(f"a tuple of {kind.__name__}(...) is needed")
        names = [entry.name for entry in declared if isinstance(entry, Option)]
        if len(set(names)) != len(names):
            raise ValueError("two of one name")
        idle = {entry.idle[0] for entry in declared if isinstance(entry, Option) and entry.idle}
        if not idle <= set(names):
            raise ValueError(f"idle names no option of this class: {', '.join(sorted(idle - set(names)))}")
    except (ValueError, TypeError, SyntaxError) as error:
        raise UsageError(
            f"'{file.name}', line {value.lineno}: {attribute}: {error}\n"
            f"write literals, such as {EXAMPLES[attribute]}"
        ) from None
    return declared


EXAMPLES = {
    "options": 'options = (Option("after", str, "scratch", choices=("scratch", "inherit"), help="..."),)',
    "needs": 'needs = (Need("probes", 8, why="its latency predictor"),)',
}
"""Example of each declaration, for messages."""
_KINDS = {kind.__name__: kind for kind in (str, int, float, bool)}


def _evaluated(file: Path, tree: ast.Module, node: ast.expr) -> Any:
    """Return the value of a declaration without executing anything: literals, ``Option`` and ``Need``, types,
    constants of modules, and ``Base.options``.

    Raises:
        ValueError: it is something else; TypeError: an argument that does not exist.
    """
    if isinstance(node, ast.Tuple | ast.List):
        parts: list[object] = []
        for item in node.elts:
            if isinstance(item, ast.Starred):
                parts += _evaluated(file, tree, item.value)
            else:
                parts.append(_evaluated(file, tree, item))
        return tuple(parts)
    if isinstance(node, ast.Call):
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        kind = next((kind for kind in DECLARED.values() if kind.__name__ == name), None)
        if kind is None:
            raise ValueError(f"{name}(...) is no declaration")
        return kind(
            *(_evaluated(file, tree, argument) for argument in node.args),
            **{keyword.arg or "**": _evaluated(file, tree, keyword.value) for keyword in node.keywords},
        )
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in DECLARED:
        return class_facts(file, node.value.id).get(node.attr, ())
    if isinstance(node, ast.Name):
        return _KINDS[node.id] if node.id in _KINDS else _constant(file, tree, node.id)
    return ast.literal_eval(node)


def _constant(file: Path, tree: ast.Module, name: str) -> Any:
    """Return a constant of a module, or one that it imports from another."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.expr) and any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return _evaluated(file, tree, value)
    elsewhere = _imports(tree).get(name)
    origin = module_file(elsewhere[0]) if elsewhere else None
    if elsewhere is None or origin is None:
        raise ValueError(f"'{name}' is no constant")
    return _constant(origin, parse_file(origin), elsewhere[1])


def imports(file: Path) -> list[str]:
    """Every module that a source file imports absolutely, at any place; ``a.b`` for ``from a import b``."""
    names: list[str] = []
    for node in ast.walk(parse_file(file)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names
