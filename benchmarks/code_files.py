"""Files that a method or a task brings, and the digest of their code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks import identity
from benchmarks.api import UsageError
from benchmarks.class_facts import module_file


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


def read_source(path: Path) -> tuple[bytes, bool]:
    """Return the bytes of a file, and whether it is a package's ``__init__``.

    Raises:
        UsageError: the file cannot be read.
    """
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
        return read_source(path)

    def beside(name: str) -> tuple[bytes, bool] | None:
        base = file.parent.joinpath(*name.split("."))
        usual = base.with_name(f"{base.name}.py"), base / "__init__.py"
        path = file if name == file.stem else next((p for p in usual if p.is_file()), None)
        if path is None or name.partition(".")[0] in identity.OURS:
            return None
        paths[name] = path
        return read_source(path)

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
        files = _files(file, module, package)
        return combined_digest({name: path.read_bytes() for name, path in files.items()})
    except OSError as error:
        raise UsageError(f"cannot read '{error.filename}', which '{file}' brings: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"a module that '{file}' brings is not valid Python: {error}") from None
    except (RecursionError, MemoryError):
        raise UsageError(f"'{file}' is nested too deeply to be read as Python: simplify it") from None


def combined_digest(sources: Mapping[str, bytes]) -> str:
    """Return the digest of modules by name."""
    own = sorted({name.partition(".")[0] for name in sources})
    ours = tuple(dict.fromkeys((*identity.OURS, *own)))
    return identity.digest_of(sources.values(), ours)
