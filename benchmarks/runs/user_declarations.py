"""Tasks and profiles of the user's own in records: their description, and their return from one."""

from __future__ import annotations

from collections.abc import Mapping
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


def restore(record: JsonView, folder: Path | None = None) -> None:
    """Declare the user's task and profile of a record in this process, unless the user has given them.

    A description that is not valid is left out: the task or the profile is then unknown.

    Args:
        record: one that may be a stranger's.
        folder: of the task's data, if it is there.
    """
    described = record.get("declared")
    if not isinstance(described, Mapping):
        return
    spec = record["spec"]
    if isinstance(described.get("task"), Mapping):
        _restore_task(str(spec["task"]), described["task"], folder)
    if isinstance(described.get("profile"), Mapping):
        _restore_profile(str(spec["profile"]), described["profile"])


def _restore_task(name: str, described: JsonView, folder: Path | None) -> None:
    kind, options, tiers = (described.get(key) for key in ("kind", "options", "tiers"))
    given = any(t.name == name and getattr(t, "folder", True) for t in tasks.declared())
    if kind not in settings.KINDS or given or not name.startswith(f"{kind}-"):
        return
    if not (isinstance(options, Mapping) and isinstance(tiers, Mapping)):
        return
    try:
        settings.check(kind, {**options, **tiers}, "declared.task")
        tasks.declare(FolderTask(kind, name, folder, dict(options), dict(tiers)))
    except UsageError:
        return


def _restore_profile(name: str, described: JsonView) -> None:
    if name in profiles.names() or any(profile.name == name for profile in profiles.declared()):
        return
    try:
        profiles.declare(profiles.checked(name, described, "declared.profile"))
    except UsageError:
        return
