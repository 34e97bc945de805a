"""Registry of methods: entry points of ``supernet_bench.methods``, and ``path.py:Class``.

Nothing here imports a method: its file is parsed, so that listing and planning are quick and a
stranger's file runs in its own process only. ``load`` is for that process.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, ModuleType

from benchmarks.api import Method, Need, Option, OptionValues, UsageError
from benchmarks.class_facts import (
    FACTS,
    Facts,
    class_facts,
    classes_of,
    module_file,
    parse_file,
    require_search,
)
from benchmarks.code_files import combined_digest, digest, read_source, sources
from benchmarks.suggestions import unknown

GROUP = "supernet_bench.methods"


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
        names = ", ".join(classes_of(parse_file(Path(word)))) or "none"
        raise UsageError(f"'{word}' needs the class after a colon: {word}:Class\nclasses in it: {names}")
    entries = installed()
    if word not in entries and (colon or "/" in word):
        own = f"{path}.py:{class_name}" if colon else f"{word}.py:Class"
        raise UsageError(f"'{word}': the file of a method is named with its ending .py: write {own}")
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
    files = {name: (path, read_source(path)[0]) for name, path in sources(source).items()} if sha256 else {}
    if sha256:
        digest_now = combined_digest({name: text for name, (_, text) in files.items()})
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
        raise UsageError(
            f"'{source}' is not a benchmarks.api.Method but {loaded!r}: derive its class from Method"
        )
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
    facts = class_facts(file, class_name)
    if facts.get("name") != entry.name:
        raise UsageError(
            f"method '{entry.name}': its class {class_name} is named '{facts.get('name')}' in {file.name}; "
            "entry point and class must agree"
        )
    require_search(file, class_name)
    origin = entry.dist.name if entry.dist is not None else where
    return _ref(entry.value, origin, facts, digest(file, where))


def _from_file(path: str, class_name: str) -> MethodRef:
    file = Path(path).expanduser().resolve()
    facts = class_facts(file, class_name)
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
    require_search(file, class_name)
    return _ref(f"{file}:{class_name}", f"{path}:{class_name}", facts, digest(file, None))


def _ref(source: str, origin: str, facts: Facts, sha256: str) -> MethodRef:
    known = {key: facts[key] for key in FACTS if facts.get(key) is not None}
    return MethodRef(source=source, origin=origin, sha256=sha256, selective="supports" in facts, **known)
