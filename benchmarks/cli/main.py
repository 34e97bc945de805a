"""``supernet-bench``: the parser of all commands. Imports nothing heavy.

A mistake of the user ends in ``error: ...`` and exit code 2; Ctrl-C in 130, and nothing is lost.
"""

from __future__ import annotations

import argparse
import atexit
import errno
import importlib
import io
import itertools
import os
import re
import signal
import stat
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from benchmarks.api import UsageError

if TYPE_CHECKING:
    from benchmarks.cli.configuration import Configuration

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
AGAIN_S = 0.05
"""Seconds after which an interruption that was lost is raised again."""
USAGE = 2
"""Exit code after a mistake of the user."""

DESCRIPTION = """\
Compare methods that search for fast, small Transformers: equal budgets, one harness, honest records.

  supernet-bench run mt --tier smoke                    all methods on generated data, minutes
  supernet-bench run mt --tier small --task mt-multi30k-en-de --data-dir DIR --seeds 3
"""


class Command(NamedTuple):
    """A command and its module, which is imported when the command is typed."""

    module: str
    """Has ``add_arguments(parser)``, ``run(options) -> exit code`` and possibly ``EPILOG``."""
    summary: str


COMMANDS = {
    "list": Command("list", "list methods, tasks or profiles"),
    "plan": Command("plan", "show what `run` would do, with an estimate of its cost"),
    "run": Command("run", "run a suite: every method on every task with every seed, then the report"),
    "work": Command("work", "make runs of a study beside other workers that share its results folder"),
    "status": Command("status", "show how far a study is, from the files of its workers"),
    "prepare": Command("prepare", "prepare the data of a study, where there is network"),
    "compare": Command("compare", "print the table of existing records of chosen methods"),
    "report": Command("report", "rewrite tables, plots and the page of existing records"),
    "leaderboard": Command("leaderboard", "rebuild the leaderboard from the published records"),
    "claims": Command("claims", "judge each claim of the papers by the records"),
    "test-method": Command("test_method", "check that a method obeys the rules"),
    "test-task": Command("test_task", "check that a task obeys the rules"),
    "verify": Command("verify", "run a published record again and report whether it reproduces"),
    "export": Command("export", "export a row's network to another runtime, and check it there"),
    "published": Command("published", "unpack the published records that came with a release"),
    "validate": Command("validate", "check records that are to be published, or a folder of them"),
    "import": Command("import_network", "import a network from a checkpoint of fairseq or HAT"),
    "export-data": Command("export_data", "write a task's prepared data as a fairseq data-bin"),
    "pack": Command("pack", "put the records and runs of a suite into one file, for another machine"),
    "unpack": Command("unpack", "add the records and runs of such a file to the results here"),
    "profiles": Command(
        "profiles", "show declared hardware, this machine, and latency predictors on table profiles"
    ),
    "study": Command("study", "test a claim against data that others published; no run is needed"),
    "doctor": Command("doctor", "check this environment: versions, threads, profile, disk, data"),
    "completion": Command("completion", "print a script that completes commands in bash or zsh"),
    "cost": Command("cost", "count parameters, MACs and bytes of one architecture"),
}
"""Name on the command line -> command, in the order of ``--help``."""


@cache
def _refuse_pipes() -> None:
    """Let no file that this process opens by its path be a pipe, which would wait for a writer forever.

    Pipes that a shell makes, such as ``<(command)`` and ``/dev/stdin``, have their writer and stay allowed.
    """

    def check(event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str | bytes):
            return
        path = os.fsdecode(arguments[0])
        try:
            is_pipe = stat.S_ISFIFO(os.stat(path).st_mode) and not path.startswith(("/dev/", "/proc/"))
        except (OSError, ValueError):
            return
        if is_pipe:
            raise OSError(errno.EINVAL, "a pipe, not a file", path)

    sys.addaudithook(check)


def _deliver_lost_interruptions() -> None:
    """Raise a KeyboardInterrupt again that came where Python drops it, as in destructors and callbacks.

    Otherwise Ctrl-C, now and then, would print a traceback and stop nothing.
    """
    usual = sys.unraisablehook

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)  # raised here and now, it would be dropped as well
        else:
            usual(lost)

    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        sys.unraisablehook = hook
        atexit.register(_ignore_interruptions)  # first in, so the last to be called: threads have been joined


def _ignore_interruptions() -> None:
    """Ignore signals from here on: the command is over, and its exit code stands."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _interruptions() -> Iterator[None]:
    """Turn an error that a KeyboardInterrupt has caused in Python's own machinery into that interruption.

    Inside a lock's wait, for one, it leaves the lock free, and what is then raised is a RuntimeError.
    """
    try:
        yield
    except (UsageError, OSError):
        raise  # with a message of its own, such as that of a full disk
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__context__
        if cause is None:
            raise
        raise KeyboardInterrupt from error


def _refuse_empty(words: Sequence[str]) -> None:
    """Refuse an empty argument, which an unset variable of a shell leaves and which would read as a default.

    Raises:
        UsageError: the first such argument, with the flag before it.
    """
    for before, word in itertools.pairwise(["", *words]):
        if not word.strip() or re.fullmatch(r"--[a-z-]+=", word):
            shown = word if word.strip() else f"{before} ''".strip()
            raise UsageError(
                f"{shown}: an empty argument, as of a shell variable that is not set\n"
                "type its value, or leave the argument out for its default"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    _refuse_pipes()
    if arguments is None:
        _deliver_lost_interruptions()
    os.environ["MPLBACKEND"] = "Agg"  # figures are written, never shown; a notebook's shell names another
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without the middle dot
    words = sys.argv[1:] if arguments is None else arguments
    named = next((word for word in words if not word.startswith("-")), "")
    options: argparse.Namespace | None = None
    try:
        _refuse_empty(words)
        options = parser([named]).parse_args(words)
        if hasattr(options, "configuration") and options.config is not None:
            from benchmarks.cli import configuration

            options = parser([named], configuration.read(options.config)).parse_args(words)
        command: Callable[[argparse.Namespace], int] = options.run
        from benchmarks.cli import source_memo

        with source_memo.kept(), _interruptions():
            return command(options)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        from benchmarks.cli import system_errors

        print(f"error: {system_errors.message(error, options)}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        if arguments is None:
            _ignore_interruptions()
        print("\ninterrupted: type the same command again, it goes on where it was", file=sys.stderr)
        if arguments is None:
            # Threads may be inside a driver's library, or an import half done: an orderly end could crash.
            if "benchmarks.runs.executor" in sys.modules:
                sys.modules["benchmarks.runs.executor"].end_server()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        return INTERRUPTED


class SuggestingParser(argparse.ArgumentParser):
    """Parser whose errors name the nearest command, choice or flag.

    Flags are typed in full: ``--detach`` and others are looked for in the words of a command, too.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Print the error with a suggestion, and exit with ``USAGE``."""
        from benchmarks.suggestions import suggest

        wrong = re.search(r"invalid choice: '([^']*)'", message)
        unknown = re.search(r"unrecognized arguments: (\S+)", message)
        hint = ""
        if wrong:
            hint = suggest(wrong[1], [str(c) for action in self._actions for c in action.choices or ()])
        elif unknown:
            hint = suggest(unknown[1].partition("=")[0], self._flags())
        super().error(f"{message}\n{hint}" if hint else message)

    def _flags(self) -> list[str]:
        """Return the flags of this parser and of its commands."""
        parsers: list[argparse.ArgumentParser] = [self]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
        return [flag for one_parser in parsers for a in one_parser._actions for flag in a.option_strings]


def parser(
    complete: Collection[str] = tuple(COMMANDS), study: Configuration | None = None
) -> argparse.ArgumentParser:
    """Return the parser of all commands.

    Args:
        complete: commands whose arguments are added, for which their modules are imported.
        study: file that gives the defaults of the flags of ``run``.

    Raises:
        UsageError: a mistake in that file.
    """
    top = SuggestingParser(
        prog="supernet-bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=_version())
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.summary, description=command.summary)
        if name in complete:
            module = importlib.import_module(f"benchmarks.cli.{command.module}")
            subparser.epilog = getattr(module, "EPILOG", None)
            module.add_arguments(subparser)
            if study is not None:
                from benchmarks.cli import configuration

                configuration.apply(subparser, study)
            subparser.set_defaults(run=module.run)
    return top


def _version() -> str:
    try:
        return f"supernet-bench {version('supernet-bench')}"
    except PackageNotFoundError:
        return "supernet-bench (not installed)"


if __name__ == "__main__":
    sys.exit(main())
