"""Registry of methods: entry points of ``supernet_bench.methods``, and ``path.py:Class``.

Nothing here imports a method: its file is parsed, so that listing and planning are quick and a
stranger's file runs in its own process only. ``load`` is for that process.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from benchmarks import identity
from benchmarks.api import Method, Need, Option, OptionValues, UsageError

GROUP = "supernet_bench.methods"
DECLARED = {"options": Option, "needs": Need}
"""Attribute of a method class -> the kind of declarations in it."""
INTERFACE = ("benchmarks.api", "supernet_bench")
"""Modules that ``Method`` is imported from."""
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


@dataclass(frozen=True)
class MethodRef:
    """A method that can be run, none of whose code has been executed."""

    name: str
    source: str
    """``package.module:Class`` or ``/path/to/file.py:Class``: what ``load`` takes."""
    sha256: str
    """Digest of the code of the method's file and of the modules that it brings (``benchmarks.identity``)."""
    origin: str
    """The distribution that brings it, or the file as the user typed it."""
    version: str = "1"
    summary: str = ""
    follows: str | None = None
    inherits: bool = False
    """It takes the weights of the run that it follows."""
    from_nothing: bool = False
    """It trains no supernet, so that it starts from no parent."""
    starts: bool = False
    """The run that it follows is its tier's parent, from which its supernets start (``started``)."""
    suite: str | None = None
    trials: tuple[OptionValues, ...] = ()
    selective: bool = False
    """It overrides ``supports``: only its own process can say which tasks it takes."""
    options: tuple[Option, ...] = ()
    needs: tuple[Need, ...] = ()
    url: str = ""
    leader: MethodRef | None = None
    """The method that it follows, where the user named one: ``A+B``."""


def started(ref: MethodRef, parent: str | None) -> MethodRef:
    """Return a method as it runs in a tier whose supernets start from the method ``parent``; None: unchanged.

    A method that follows another one for its architectures alone trains no supernet of its own.
    """
    if parent is None or ref.name == parent or ref.from_nothing:
        return ref
    if ref.follows is None:
        return replace(ref, follows=parent, inherits=True, starts=True)
    return replace(ref, starts=True) if ref.follows == parent and ref.inherits else ref


def suggest(word: str, known: Iterable[str]) -> str:
    """``Did you mean 'x'?``, or an empty string where nothing known is near ``word``."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else ""


def unknown(kind: str, word: str, known: Iterable[str], then: str) -> UsageError:
    """Return the error for an unknown name, with the nearest name, all known ones and the command to type."""
    names = sorted(known)
    first = f"no {kind} '{word}'. {suggest(word, names)}".rstrip()
    return UsageError(f"{first}\nknown: {' '.join(names) or 'none'}\n{then}")


def installed() -> dict[str, importlib.metadata.EntryPoint]:
    """Name -> entry point of every installed method."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}


def methods() -> dict[str, MethodRef | UsageError]:
    """Every installed method by name; a broken one is there as its error."""
    refs: dict[str, MethodRef | UsageError] = {}
    for name, entry in sorted(installed().items()):
        try:
            refs[name] = _from_entry(entry)
        except UsageError as error:
            refs[name] = error
    return refs


def find(word: str) -> MethodRef:
    """Return a method by an installed name, ``path.py:Class``, or ``A+B``.

    ``A+B`` is B that follows A in place of the method that B declares.

    Raises:
        UsageError: no such method, its file cannot be read as one, or B follows nobody.
    """
    path, colon, class_name = word.rpartition(":")
    alone = bool(colon) and path.endswith(".py") and class_name.isidentifier()
    below, plus, above = word.rpartition("+")
    if plus and not (alone and Path(path).expanduser().is_file()):  # a folder may have a + in its name
        first, second = find(below), find(above)
        if second.follows is None:
            raise UsageError(f"'{word}': {second.name} does not build on another method's networks")
        return replace(second, name=f"{first.name}+{second.name}", follows=first.name, leader=first)
    if colon and path.endswith(".py"):
        return _from_file(path, class_name)
    if word.endswith(".py"):
        names = ", ".join(_classes(_parse(Path(word)))) or "none"
        raise UsageError(f"'{word}' needs the class after a colon: {word}:Class\nclasses in it: {names}")
    entries = installed()
    if word not in entries:
        raise unknown(
            "method", word, entries, "list them with what each supports: supernet-bench list methods"
        )
    return _from_entry(entries[word])


def load(source: str, sha256: str = "") -> type[Method]:
    """Import a method's class. Executes its file: for the run's own process only.

    Args:
        source: as in ``MethodRef``.
        sha256: digest that its code must have. The bytes that have it are executed, whatever compiled form of
            them lies beside. Empty: any.

    Raises:
        UsageError: there is no such class, it is not a ``benchmarks.api.Method``, or its code is another.
    """
    where, _, class_name = source.rpartition(":")
    files = {name: (path, _source(path)[0]) for name, path in sources(source).items()} if sha256 else {}
    if sha256:
        digest_now = _combined({name: text for name, (_, text) in files.items()})
        if digest_now != sha256:
            raise UsageError(
                f"its code changed after the run was planned: it was {sha256[:12]}, it is {digest_now[:12]}"
            )
        helpers = {name: file for name, file in files.items() if file[0] != Path(where)}
        sys.meta_path.insert(0, _ReadFiles(helpers))
    if where.endswith(".py"):
        # The hash keeps two files of the same name apart; the path makes tracebacks readable.
        name = f"supernet_bench_method_{hashlib.sha256(where.encode()).hexdigest()[:12]}"
        known = next((text for path, text in files.values() if path == Path(where)), None)
        loader = None if known is None else _ReadFile(name, where, known)
        spec = importlib.util.spec_from_file_location(name, where, loader=loader)
        if spec is None or spec.loader is None:
            raise UsageError(f"cannot import '{where}'")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(where)
    loaded: object = getattr(module, class_name, None)
    if not (isinstance(loaded, type) and issubclass(loaded, Method)):
        raise UsageError(f"'{source}' is not a benchmarks.api.Method but {loaded!r}")
    return loaded


class _ReadFile(importlib.machinery.SourceFileLoader):
    """Loader of a module from bytes that were read before; it reads no compiled form and writes none."""

    def __init__(self, name: str, path: str, source: bytes) -> None:
        super().__init__(name, path)
        self._bytes = source

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self._bytes, self.path)
        return code


class _ReadFiles(importlib.abc.MetaPathFinder):
    """Finder of modules by name, from bytes that were read before."""

    def __init__(self, files: Mapping[str, tuple[Path, bytes]]) -> None:
        self._files = files

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._files:
            return None
        file, source = self._files[fullname]
        package = [str(file.parent)] if file.name == "__init__.py" else None
        loader = _ReadFile(fullname, str(file), source)
        return importlib.util.spec_from_file_location(
            fullname, file, loader=loader, submodule_search_locations=package
        )


def _from_entry(entry: importlib.metadata.EntryPoint) -> MethodRef:
    where, _, class_name = entry.value.partition(":")
    file = module_file(where)
    if file is None:
        raise UsageError(f"method '{entry.name}': its module {where} is not there; reinstall what brings it")
    facts = _facts(file, class_name)
    if facts.get("name") != entry.name:
        raise UsageError(
            f"method '{entry.name}': its class {class_name} is named '{facts.get('name')}' in {file.name}; "
            "entry point and class must agree"
        )
    origin = entry.dist.name if entry.dist is not None else where
    return _ref(entry.value, origin, facts, digest(file, where))


def _from_file(path: str, class_name: str) -> MethodRef:
    file = Path(path).expanduser().resolve()
    facts = _facts(file, class_name)
    name = facts.get("name")
    if not isinstance(name, str) or not name.replace("-", "").isalnum() or name != name.lower():
        raise UsageError(
            f"'{path}:{class_name}': set `name` in the class body to a plain string of lower-case letters, "
            f'digits and hyphens, such as name = "mine"; found {name!r}'
        )
    if name in installed():
        raise UsageError(
            f"'{path}:{class_name}' is named '{name}' like an installed method; give it another name"
        )
    return _ref(f"{file}:{class_name}", f"{path}:{class_name}", facts, digest(file, None))


def _ref(source: str, origin: str, facts: Facts, sha256: str) -> MethodRef:
    known = {key: facts[key] for key in FACTS if facts.get(key) is not None}
    return MethodRef(source=source, origin=origin, sha256=sha256, selective="supports" in facts, **known)


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


def _parse(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), str(file))
    except OSError as error:
        raise UsageError(f"cannot read '{file}': {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"'{file}' is not valid Python: {error}") from None
    except (RecursionError, MemoryError):
        raise UsageError(f"'{file}' is nested too deeply to be read as Python: simplify it") from None


def _classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _imports(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Local name -> (module, name there) of every ``from module import name`` at top level."""
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        for alias in node.names
    }


def _facts(file: Path, class_name: str) -> Facts:
    """Return the constants in the body of a class and of its bases; ``supports`` if it is overridden."""
    tree = _parse(file)
    classes = _classes(tree)
    if class_name not in classes:
        elsewhere = _imports(tree).get(class_name)
        origin = module_file(elsewhere[0]) if elsewhere else None
        if elsewhere and origin:
            return _facts(origin, elsewhere[1])
        raise UsageError(
            f"no class '{class_name}' in '{file}'. {suggest(class_name, classes)}\n"
            f"classes in it: {', '.join(classes) or 'none'}"
        )
    facts: Facts = {}
    for base in reversed(classes[class_name].bases):
        if isinstance(base, ast.Name) and base.id in classes and base.id != class_name:
            facts |= _facts(file, base.id)
        elif isinstance(base, ast.Name) and (imported := _imports(tree).get(base.id)):
            origin = module_file(imported[0]) if imported[0] not in INTERFACE else None
            facts |= _facts(origin, imported[1]) if origin else {}
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
        return _facts(file, node.value.id).get(node.attr, ())
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
    return _constant(origin, _parse(origin), elsewhere[1])


def sources(source: str) -> dict[str, Path]:
    """Return the files of a method by module name: its own, and imported ones of its package or folder.

    Args:
        source: as in ``MethodRef``.
    """
    where = source.rpartition(":")[0]
    if where.endswith(".py"):
        return _files(Path(where), None)
    file = module_file(where)
    if file is None:
        raise UsageError(f"method module {where} is not there; reinstall what brings it")
    return _files(file, where)


def imports(file: Path) -> list[str]:
    """Every module that a source file imports absolutely, at any place; ``a.b`` for ``from a import b``."""
    names: list[str] = []
    for node in ast.walk(_parse(file)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def _source(path: Path) -> tuple[bytes, bool]:
    try:
        return path.read_bytes(), path.name == "__init__.py"
    except OSError as error:
        raise UsageError(f"cannot read '{path}': {error.strerror}") from None


def _alone(file: Path, module: str) -> bool:
    """Return whether a module is in no package, and not among installed packages."""
    inside = "." in module or file.name == "__init__.py"
    return not inside and file.parent.name not in ("site-packages", "dist-packages")


def _files(file: Path, module: str | None, package: str | None = None) -> dict[str, Path]:
    """Return the files of a module and of the modules that it brings.

    Those are the modules of ``package``, by default its top-level one; of a file in no package, the modules
    beside it, unless its folder holds installed packages.
    """
    paths: dict[str, Path] = {}

    def installed_module(name: str) -> tuple[bytes, bool] | None:
        path = file if name == module else module_file(name)
        if path is None:
            return None
        paths[name] = path
        return _source(path)

    def beside(name: str) -> tuple[bytes, bool] | None:
        base = file.parent.joinpath(*name.split("."))
        usual = base.with_name(f"{base.name}.py"), base / "__init__.py"
        path = file if name == file.stem else next((p for p in usual if p.is_file()), None)
        if path is None or name.partition(".")[0] in identity.OURS:
            return None
        paths[name] = path
        return _source(path)

    try:
        if module is None or _alone(file, module):
            identity.modules(file.stem, beside)
        else:
            identity.modules(module, installed_module, package or module.partition(".")[0])
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"a module of '{file}' is not valid Python: {error}") from None
    return paths


def digest(file: Path, module: str | None, package: str | None = None) -> str:
    """Return the digest of the code of a method or a task: its file and the modules that it brings.

    Args:
        file: the source.
        module: its dotted name; None for a file that is in no package.
        package: the modules of this package count; by default the top-level one.

    Raises:
        UsageError: the file or a module that it brings cannot be read as Python.
    """
    try:
        return _combined({name: path.read_bytes() for name, path in _files(file, module, package).items()})
    except OSError as error:
        raise UsageError(f"cannot read '{error.filename}', which '{file}' brings: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"a module that '{file}' brings is not valid Python: {error}") from None
    except (RecursionError, MemoryError):
        raise UsageError(f"'{file}' is nested too deeply to be read as Python: simplify it") from None


def _combined(sources: Mapping[str, bytes]) -> str:
    """Return the digest of modules by name."""
    own = sorted({name.partition(".")[0] for name in sources})
    ours = tuple(dict.fromkeys((*identity.OURS, *own)))
    return identity.digest_of(sources.values(), ours)
