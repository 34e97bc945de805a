"""Reference of the command line, from the parser itself."""

from __future__ import annotations

import argparse

from benchmarks.cli.main import COMMANDS, parser
from build_pages.markup import code, table, text

INTRODUCTION = """\
# Every command and flag

Made from the parser of `supernet-bench`; `supernet-bench COMMAND --help` prints the same. Exit codes, widths
and completion: [commands](../commands.md). Output for scripts: [`--json`](../json.md).
"""


def page() -> str:
    """Return the page: one section a command."""
    top = parser()
    (subparsers,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    lines = [INTRODUCTION]
    for name, command in COMMANDS.items():
        lines += section(name, command.summary, subparsers.choices[name])
    return "\n".join(lines)


def section(name: str, summary: str, command: argparse.ArgumentParser) -> list[str]:
    """Return the lines of one command, and of the commands below it."""
    nested = [a for a in command._actions if isinstance(a, argparse._SubParsersAction)]
    usage = command.format_usage().removeprefix("usage: ").rstrip()
    lines = [f"## {name}", "", text(summary[0].upper() + summary[1:]) + ".", "", "```text", usage, "```", ""]
    rows = [row(command, action) for action in command._actions if listed(action)]
    if rows:
        lines += table(("argument", "value", "meaning"), rows)
    if command.epilog:
        lines += ["```text", command.epilog.rstrip(), "```", ""]
    for action in nested:
        for child, below in action.choices.items():
            lines += section(f"{name} {child}", below.description or child, below)
    return lines


def listed(action: argparse.Action) -> bool:
    """Return whether an argument is shown: help, hidden ones and groups of commands are not."""
    hidden = isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
    return not hidden and action.help != argparse.SUPPRESS


def row(command: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, str, str]:
    """Return an argument as cells: its flags, its value with the default, its help."""
    shown = ", ".join(code(flag) for flag in action.option_strings) or code(action.metavar or action.dest)
    value = ""
    if action.choices is not None:
        value = ", ".join(code(choice) for choice in action.choices)
    elif action.nargs != 0 and action.option_strings:
        value = code(action.metavar if isinstance(action.metavar, str) else action.dest.upper())
    if action.default not in (None, False, argparse.SUPPRESS, [], ()) and action.nargs != 0:
        value += f" (default {code(action.default)})"
    formatter = command._get_formatter()
    return shown, value, text(formatter._expand_help(action) if action.help else "")
