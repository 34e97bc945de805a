"""Reference of tiers: the keys with their comments, and the values of every task and tier."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import benchmarks
from benchmarks.tasks import DEVICES, get_task, task_names
from build_pages.markup import code, table, text

FOLDER = Path(benchmarks.__file__).parent / "tasks"
TABLES = {"Translation": "mt.toml", "Encoders": "bert.toml", "Images and questions": "vision.toml"}
"""Heading -> file whose opening comment explains the keys."""

INTRODUCTION = """\
# Tiers

A tier is a table of numbers: same code, other numbers. `check` tests a method in seconds, `smoke` shows that
the pipeline works, `small` compares, `paper` has the papers' hyper-parameters. Nothing below is typed by
hand: it is read from the tables that a run reads.
"""


def page() -> str:
    """Return the page: keys, then one section a task."""
    lines = [INTRODUCTION, "## Keys", ""]
    for heading, file in TABLES.items():
        lines += [f"### {heading}", "", *table(("key", "meaning"), keys(FOLDER / file))]
    for name in task_names():
        task = get_task(name)
        if not type(task).__module__.startswith("benchmarks."):
            continue  # of a package that happens to be installed here
        lines += [f"## {name}", ""]
        for tier in task.tiers():
            both = {device: values(task.tier(tier, device)) for device in DEVICES}
            names = dict.fromkeys(key for columns in both.values() for key in columns)
            lines += [f"### {name} {tier}", ""]
            lines += table(
                ("key", *DEVICES),
                [(code(key), *(code(both[device].get(key, "")) for device in DEVICES)) for key in names],
            )
    return "\n".join(lines)


def keys(file: Path) -> Iterator[tuple[str, str]]:
    """Yield key and explanation from the comment at the top of a file of tiers."""
    current: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        begun = re.match(r"# ([a-z][a-z_]*) {2,}(.*)", line)
        continued = re.match(r"# {6,}(.*)", line)
        if begun:
            if current:
                yield code(current[0]), text(" ".join(current[1:]))
            current = [begun[1], begun[2]]
        elif continued and current:
            current.append(continued[1])
    if current:
        yield code(current[0]), text(" ".join(current[1:]))


def values(tier: object) -> dict[str, str]:
    """Return dotted key -> value of a tier on one kind of device."""
    flat: dict[str, str] = {}

    def add(name: str, value: object) -> None:
        if isinstance(value, Mapping):
            for key, below in value.items():
                add(f"{name}.{key}", below)
        elif value not in (None, (), []):
            shown = f"{value:g}" if isinstance(value, float) else value
            flat[name] = ", ".join(map(str, shown)) if isinstance(shown, list | tuple) else str(shown)

    for name, value in vars(tier).items():
        if not name.startswith("_") and name not in ("task", "tier", "device", "name"):
            add(name, value)
    return flat
