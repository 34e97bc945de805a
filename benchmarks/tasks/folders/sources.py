"""Tasks by the word after ``--task``: a name, ``text:FOLDER`` and its like, or ``file.py:Class``."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import code_files, suggestions, tasks
from benchmarks.api import UsageError
from benchmarks.identity import TASKS
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.tasks import Task
from benchmarks.tasks.folders import settings
from benchmarks.tasks.folders.settings import IMAGES, KINDS, MLM, TEXT

if TYPE_CHECKING:
    from benchmarks.tasks.tiers import Table

MODULES = {TEXT: "translation", MLM: "documents", IMAGES: "pictures"}
"""Kind of folder -> module of its task."""
LANGUAGE = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{2,8})*")


@dataclass(eq=False)
class FolderTask:
    """Declaration of a task whose data is a folder.

    Attributes:
        kind: ``text``, ``mlm`` or ``images``.
        folder: of the raw data; None in a process that gets prepared data.
        options: of ``task.toml`` and the command line.
        tiers: of ``task.toml``.
    """

    kind: str
    name: str
    folder: Path | None
    options: JsonView = field(default_factory=dict)
    tiers: Mapping[str, Table] = field(default_factory=dict)

    @cached_property
    def _task(self) -> Task:
        module = importlib.import_module(f"benchmarks.tasks.folders.{MODULES[self.kind]}")
        task: Task = module.make(self)
        return task

    def load(self) -> Task:
        """Return the task."""
        return self._task

    def place(self) -> Path:
        """Return the folder of raw data.

        Raises:
            UsageError: it is not known here, as of a task that a record describes.
        """
        if self.folder is None:
            word = f"{self.kind}:FOLDER"
            raise UsageError(
                f"task '{self.name}' is of a folder: say where its data lies:"
                f" --task {word}, or --data-dir FOLDER for its record"
            )
        return self.folder

    def code(self) -> str:
        """Return the digest of the task's code."""
        module = f"benchmarks.tasks.folders.{MODULES[self.kind]}"
        return code_files.digest(Path(__file__).with_name(f"{MODULES[self.kind]}.py"), module, TASKS)

    def unsealed(self) -> FolderTask:
        """Return the declaration without the raw data, which holds the test split."""
        return dataclasses.replace(self, folder=None)

    def description(self) -> JsonObject:
        """Return a record's description of the task: all but the place of the data."""
        return {"kind": self.kind, "options": dict(self.options), "tiers": dict(self.tiers)}


@dataclass(eq=False)
class FileTask:
    """Declaration of a task in a Python file of the user's: a class with the interface of ``tasks.Task``.

    Attributes:
        file: absolute path.
        class_name: of the class, or name of an object.
    """

    name: str
    file: Path
    class_name: str

    @cached_property
    def _task(self) -> Task:
        loaded: Task = _load(self.file, self.class_name)
        return loaded

    def load(self) -> Task:
        """Return the task."""
        return self._task

    def code(self) -> str:
        """Return the digest of the file and of the modules that it brings."""
        return code_files.digest(self.file, None)

    def description(self) -> JsonObject:
        """Return a record's description of the task; the file's path is cut to its last part."""
        return {"kind": "file", "word": f"./{self.file.name}:{self.class_name}"}

    def unsealed(self) -> FileTask:
        """Return the declaration itself: where its data lies is the task's own affair."""
        return FileTask(self.name, self.file, self.class_name)


@dataclass(frozen=True)
class TaskFlags:
    """Flags that go with a folder: languages of its sides, and the file with its settings."""

    source: str | None = None
    target: str | None = None
    settings: Path | None = None

    def refuse(self, task: str) -> None:
        """Refuse flags that have no effect on a task whose data is no folder.

        Raises:
            UsageError: a flag is given.
        """
        values = {"--source": self.source, "--target": self.target, "--task-settings": self.settings}
        given = [f"{flag} {value}" for flag, value in values.items() if value is not None]
        if given:
            kinds = "text:FOLDER" if self.settings is None else "text:FOLDER, mlm:FOLDER or images:FOLDER"
            raise UsageError(
                f"{', '.join(given)}: no effect on {task}, only on {kinds}\n"
                "leave it out, or name a folder: --task text:FOLDER"
            )


def is_word(word: str) -> bool:
    """Return whether a word after ``--task`` names a folder or a file, not an installed task."""
    kind, colon, _ = word.partition(":")
    return bool(colon) and (kind in KINDS or ".py:" in word)


def find(word: str, flags: TaskFlags) -> Task:
    """Return the task of a word after ``--task``, declared in this process.

    Raises:
        UsageError: no such task, folder or file; a setting is none; a language is missing.
    """
    if not is_word(word):
        if word.endswith(".py"):
            raise UsageError(f"--task {word}: name the class after a colon: --task {word}:MyTask")
        task = tasks.get_task(word)
        flags.refuse(word)
        return task
    kind, _, rest = word.partition(":")
    declaration: FolderTask | FileTask
    if kind in KINDS:
        declaration = _folder_task(kind, Path(rest), flags)
    else:
        declaration = _file_task(word)
        flags.refuse(word)
    tasks.declare(declaration)
    return declaration.load()


def takes_flags(word: str) -> bool:
    """Return whether a word after ``--task`` names a folder, with which ``TaskFlags`` go."""
    return is_word(word) and word.partition(":")[0] in KINDS


def _folder_task(kind: str, folder: Path, flags: TaskFlags) -> FolderTask:
    folder = folder.expanduser()
    if not folder.is_dir():
        raise UsageError(
            f"--task {kind}:{folder}: no such folder\ngive one that exists: --task {kind}:FOLDER"
        )
    folder = folder.resolve()
    own = folder / settings.FILE
    file = flags.settings or (own if own.is_file() else None)
    options, tiers = settings.read(file, kind) if file else ({}, {})
    languages = {"source": flags.source, "target": flags.target}
    options |= {side: language for side, language in languages.items() if language is not None}
    parts = [kind, settings.slug(options.pop("name", folder.name))]
    if kind == TEXT:
        for side in languages:
            language = options.get(side)
            if not language or not LANGUAGE.fullmatch(language):
                raise UsageError(
                    f"--task text:{folder.name}: its {side} language is {language or 'not named'}\n"
                    f'name both, such as --source en --target fr, or in {settings.FILE}: {side} = "en"'
                )
        if options["source"] == options["target"]:
            raise UsageError(f"--source and --target are both {options['source']}: name two languages")
        parts += [settings.slug(options["source"]), settings.slug(options["target"])]
    elif flags.source or flags.target:
        raise UsageError(f"--source and --target are for text:FOLDER, not for {kind}:{folder.name}")
    return FolderTask(kind, "-".join(parts), folder, options, tiers)


def _file_task(word: str) -> FileTask:
    path, _, class_name = word.rpartition(":")
    file = Path(path).expanduser().resolve()
    task = _load(file, class_name)
    return FileTask(task.name, file, class_name)


def _load(file: Path, class_name: str) -> Any:
    """Return the task object of a file: an instance of its class, or its object.

    Raises:
        UsageError: the file or the class is not there, does not load, or is no task.
    """
    if not file.is_file():
        raise UsageError(f"no file '{file}'\na task of your own is FILE.py:Class")
    name = f"supernet_bench_task_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    module = sys.modules.get(name)
    if module is None:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        sys.path.append(str(file.parent))  # for modules beside it
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # a user's file may raise anything
            del sys.modules[name]
            raise UsageError(f"'{file}' does not load: {type(error).__name__}: {error}") from error
        finally:
            sys.path.remove(str(file.parent))
    kind = getattr(module, class_name, None)
    if kind is None:
        names = [n for n, value in vars(module).items() if hasattr(value, "tiers")]
        raise UsageError(
            f"no '{class_name}' in '{file}'. {suggestions.suggest(class_name, names)}\n"
            f"tasks in it: {', '.join(names) or 'none'}"
        )
    try:
        task = kind() if isinstance(kind, type) else kind
    except Exception as error:
        raise UsageError(f"'{file}:{class_name}' cannot be made: {type(error).__name__}: {error}") from error
    missing = [
        part for part in ("name", "suite", "metric", "tiers", "tier", "prepare") if not hasattr(task, part)
    ]
    if missing:
        raise UsageError(
            f"'{class_name}' in '{file}' is no task: it lacks {', '.join(missing)}\n"
            "see benchmarks.tasks.Task; try it: supernet-bench test-task FILE.py:Class"
        )
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", str(task.name)):
        raise UsageError(f"'{file}:{class_name}': name {task.name!r}: lower-case letters, digits and hyphens")
    return task
