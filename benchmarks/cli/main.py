"""``supernet-bench``: the parser of all commands. Imports nothing heavy.

A mistake of the user ends in ``error: ...`` and exit code 2; Ctrl-C in 130, and nothing is lost.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

from benchmarks.api import UsageError
from benchmarks.cli import (
    claims,
    compare,
    cost,
    doctor,
    export,
    export_data,
    import_network,
    leaderboard,
    plan,
    profiles,
    report,
    run,
    study,
    test_method,
    validate,
    verify,
)
from benchmarks.cli import list as list_

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
USAGE = 2
"""Exit code after a mistake of the user."""

DESCRIPTION = """\
Compare methods that search for fast, small Transformers: equal budgets, one harness, honest records.

  supernet-bench run mt --tier smoke                    all methods on generated data, minutes
  supernet-bench run mt --tier small --task mt-multi30k-en-de --data-dir DIR --seeds 3
"""


class Command(Protocol):
    """A module of one command."""

    SUMMARY: str
    """One line for ``--help``."""

    @property
    def add_arguments(self) -> Callable[[argparse.ArgumentParser], None]:
        """The function that adds the command's arguments to its parser."""

    @property
    def run(self) -> Callable[[argparse.Namespace], int]:
        """The function that runs the command and returns its exit code."""


COMMANDS: dict[str, Command] = {
    "list": list_,
    "plan": plan,
    "run": run,
    "compare": compare,
    "report": report,
    "leaderboard": leaderboard,
    "claims": claims,
    "test-method": test_method,
    "verify": verify,
    "export": export,
    "validate": validate,
    "import": import_network,
    "export-data": export_data,
    "profiles": profiles,
    "study": study,
    "doctor": doctor,
    "cost": cost,
}
"""Name on the command line -> module, in the order of ``--help``. A module may have an ``EPILOG``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        return command(options)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("\ninterrupted: type the same command again, it goes on where it was", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="supernet-bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=_version())
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        epilog = getattr(module, "EPILOG", None)
        command = commands.add_parser(name, help=module.SUMMARY, description=module.SUMMARY, epilog=epilog)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return top


def _version() -> str:
    try:
        return f"supernet-bench {version('supernet-bench')}"
    except PackageNotFoundError:
        return "supernet-bench (not installed)"


if __name__ == "__main__":
    sys.exit(main())
