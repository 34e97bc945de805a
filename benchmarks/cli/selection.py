"""Tasks and methods that a command's words select: installed ones, files and folders of the user's."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping

from benchmarks import registry, suggestions
from benchmarks.api import UsageError
from benchmarks.cli.arguments import split_words, task_flags
from benchmarks.cli.configuration import Configuration, located
from benchmarks.cli.record_argument import find_method
from benchmarks.registry import MethodRef
from benchmarks.runs.plan import Folders
from benchmarks.tasks import Task, tasks_by_name
from benchmarks.tasks.folders import sources

LIST_TASKS = "list them: supernet-bench list tasks"
LIST_METHODS = "list them: supernet-bench list methods"


def select_tasks(options: argparse.Namespace) -> list[Task]:
    """Return the tasks of ``--task``, by default the suite's first that has the tier.

    A broken task concerns only those who name it.

    Raises:
        UsageError: no such suite, tier or task, or a task of another suite or without the tier.
    """
    study = options.configuration
    if options.suite is None or options.task is None:
        (task, *_) = require_tier(options.suite, options.tier, study)
        task_flags(options).refuse(task.name)
        return [task]
    selected = []
    words = list(dict.fromkeys(_split(options, "task", split_tasks, LIST_TASKS)))
    of_folders = any(map(sources.takes_flags, words))
    for word in words:
        with located(study, "task", word):
            # Beside a folder the flags are its own.
            own = not of_folders or sources.takes_flags(word)
            task = sources.find(word, task_flags(options) if own else sources.TaskFlags())
            if task.suite != options.suite:
                raise UsageError(
                    f"task '{word}' is of suite '{task.suite}', not of '{options.suite}': supernet-bench run"
                    f" {task.suite} --task {word}"
                )
            if options.tier not in task.tiers():
                has = " ".join(task.tiers())
                reasons: Mapping[str, str] = getattr(task, "absent_tiers", {})
                why = f"\n{reasons[options.tier]}" if options.tier in reasons else ""
                raise UsageError(f"task '{word}' has no tier '{options.tier}'; it has: {has}{why}")
        selected.append(task)
    return selected


def require_tier(suite: str | None, tier: str, study: Configuration | None = None) -> list[Task]:
    """Return the installed tasks of a suite that have a tier; broken tasks are passed over.

    Raises:
        UsageError: no such suite or tier.
    """
    installed = [task for task in tasks_by_name().values() if not isinstance(task, UsageError)]
    suites = sorted({task.suite for task in installed})
    if suite is None:
        raise UsageError(f"no suite: name one, such as {suites[0]}\nknown: {' '.join(suites)}\n{LIST_TASKS}")
    with located(study, "suite", suite):
        if suite not in suites:
            raise suggestions.unknown("suite", suite, suites, LIST_TASKS)
    of_suite = [task for task in installed if task.suite == suite]
    tiers = sorted({name for task in of_suite for name in task.tiers()})
    with located(study, "tier", tier):
        if tier not in tiers:
            raise suggestions.unknown("tier", tier, tiers, LIST_TASKS)
    return [task for task in of_suite if tier in task.tiers()]


def split_tasks(text: str) -> list[str]:
    """Return the tasks of ``--task T,T``; the path of an existing folder may contain commas."""

    def is_folder(word: str) -> bool:
        kind, _, folder = word.partition(":")
        return "," not in kind and os.path.isdir(os.path.expanduser(folder))

    return split_words(text, is_folder)


def select_methods(options: argparse.Namespace, task: Task) -> dict[str, MethodRef]:
    """Return the methods of ``--methods`` by word, by default all installed ones that suit the task.

    Raises:
        UsageError: no such method, or none at all.
    """
    if options.methods is None:
        names = sorted(registry.installed())
    else:
        names = _split(options, "methods", split_methods, LIST_METHODS)
    methods = {}
    for name in names:
        with located(options.configuration, "methods", name):
            methods[name] = find_method(name, Folders(options.results, options.suite, options.tier))
    if options.methods is None:
        suites = (task.suite,) if getattr(task, "own_methods", False) else (None, task.suite)
        methods = {name: method for name, method in methods.items() if method.suite in suites}
    if not methods:
        raise UsageError(f"--methods: none given, and none installed\n{LIST_METHODS}")
    return methods


def _split(options: argparse.Namespace, flag: str, split: Callable[[str], list[str]], then: str) -> list[str]:
    """Return the words of a flag that a command line gives as one text and a study file as several.

    Raises:
        UsageError: a text without a word; ``then`` ends the message.
    """
    texts = getattr(options, flag)
    words = []
    for text in texts if isinstance(texts, list) else [texts]:
        with located(options.configuration, flag, text):
            if not split(text):
                raise UsageError(f"--{flag} '{text}': names nothing: leave it out for the default\n{then}")
        words += split(text)
    return words


def split_methods(text: str) -> list[str]:
    """Return the methods of ``--methods M,M``; the path of an existing file may contain commas."""

    # A long list is no name of a file, which `os.path` answers and `Path` refuses.
    def is_file(word: str) -> bool:
        path, _, class_name = word.rpartition(":")
        return "," not in class_name and path.endswith(".py") and os.path.isfile(os.path.expanduser(path))

    return split_words(text, is_file)
