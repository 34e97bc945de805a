"""Tasks and profiles of the user's own in records: their description, and their return from one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks import tasks
from benchmarks.api import UsageError
from benchmarks.hardware import profiles
from benchmarks.hardware.profiles import Profile
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.tasks.folders import settings
from benchmarks.tasks.folders.sources import FolderTask


def describe(task: str, profile: Profile) -> JsonObject:
    """Return a record's description of the user's task and profile; empty if both are installed ones."""
    described: JsonObject = {}
    for declaration in tasks.declared():
        if declaration.name == task:
            described["task"] = declaration.description()
    if profile in profiles.declared():
        described["profile"] = {key: value for key, value in asdict(profile).items() if key != "name"}
    return described


@contextmanager
def restored(record: JsonView, folder: Path | None = None) -> Iterator[None]:
    """Declare the user's task and profile of a record while this lasts, unless the user has given them.

    Afterwards they are as unknown as before: another record of the same name may describe another task. A
    description that is not valid is left out: the task or the profile is then unknown.

    Args:
        record: one that may be a stranger's.
        folder: of the task's data, if it is there.
    """
    described, spec = record.get("declared"), record["spec"]
    with ExitStack() as undone:
        if isinstance(described, Mapping) and isinstance(described.get("task"), Mapping):
            name, before = str(spec["task"]), tasks.declared()
            if _restore_task(name, described["task"], folder):
                undone.callback(_put_back, name, before)
        if isinstance(described, Mapping) and isinstance(described.get("profile"), Mapping):
            name = str(spec["profile"])
            if _restore_profile(name, described["profile"]):
                undone.callback(profiles.withdraw, name)
        yield


def _put_back(name: str, before: Sequence[tasks.Declaration]) -> None:
    """Declare again what had a task's name before, if anything did."""
    # Here and not in its module, whose code is part of the digest of every task.
    tasks._DECLARED.pop(name, None)
    for declaration in before:
        if declaration.name == name:
            tasks.declare(declaration)


def _restore_task(name: str, described: JsonView, folder: Path | None) -> bool:
    """Declare a described task; return whether it is declared."""
    kind, options, tiers = (described.get(key) for key in ("kind", "options", "tiers"))
    given = any(t.name == name and getattr(t, "folder", True) for t in tasks.declared())
    if kind not in settings.KINDS or given or not name.startswith(f"{kind}-"):
        return False
    if not (isinstance(options, Mapping) and isinstance(tiers, Mapping)):
        return False
    try:
        settings.check(kind, {**options, **tiers}, "declared.task")
        tasks.declare(FolderTask(kind, name, folder, dict(options), dict(tiers)))
    except UsageError:
        return False
    return True


def _restore_profile(name: str, described: JsonView) -> bool:
    """Declare a described profile; return whether it is declared."""
    if name in profiles.names() or any(profile.name == name for profile in profiles.declared()):
        return False
    try:
        profiles.declare(profiles.checked(name, described, "declared.profile"))
    except UsageError:
        return False
    return True
