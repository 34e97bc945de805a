"""``supernet-bench work``: make runs of a study beside other workers that share its results folder."""

from __future__ import annotations

import argparse
import re
import sys
import time
from datetime import datetime
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.cli import plan as plan_command
from benchmarks.cli.arguments import add_hook, positive
from benchmarks.cli.configuration import add_plan
from benchmarks.hardware.probe import require_linux
from benchmarks.runs import hooks
from benchmarks.runs.execution import execute, shared
from benchmarks.runs.leases import LEASE_S
from benchmarks.runs.options import RunOptions

SAVED = 75
"""Exit code (EX_TEMPFAIL) after SIGTERM, SIGUSR1 or Ctrl-C: all runs are saved and given back."""
EPILOG = (
    "exit code: 0 nothing is left to do here, or --until has come; 2 mistake; 75 stopped by SIGTERM, SIGUSR1"
    " or Ctrl-C, with all runs saved and given back. `supernet-bench report` shows what there is, at any time"
)
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_plan(command)
    command.add_argument(
        "--until", metavar="TIME", help="save and stop then: 3h50m from now, 08:30 or 2027-01-31T08:30"
    )
    command.add_argument(
        "-j", "--jobs", type=positive, metavar="N", help="runs at a time on this machine (default: 1)"
    )
    command.add_argument("--methods", metavar="M,M", help="only these methods of the study")
    command.add_argument("--results", type=Path, metavar="DIR", help="shared folder (default: the study's)")
    command.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of real data on this machine")
    command.add_argument(
        "--idle", metavar="TIME", default="10m", help="leave after so long with nothing to do (default: 10m)"
    )
    command.add_argument(
        "--lease",
        metavar="TIME",
        default=f"{LEASE_S:g}s",
        help=f"silence after which others take this worker's runs over (default: {LEASE_S:g}s)",
    )
    command.add_argument(
        "--resume-changed",
        action="store_true",
        help="go on with runs begun on another machine or torch; records name both",
    )
    add_hook(command)
    command.add_argument(
        "--retry-failed", action="store_true", help="make runs again that have failed or were stopped"
    )


def run(options: argparse.Namespace) -> int:
    """Make runs until none is left, the time is over or a signal comes; return the exit code.

    Raises:
        UsageError: a mistake in the study, or a machine that its runs are not for.
    """
    require_linux()
    began = time.monotonic()
    idle, lease = duration("--idle", options.idle), duration("--lease", options.lease)
    if not 1 <= lease <= UNITS["d"]:
        raise UsageError(f"--lease {options.lease}: at least 1s, at most 1d")
    hooks.require(options.hook)
    deadline = None if options.until is None else began + seconds_until(options.until, datetime.now())
    plan, tasks, profile = plan_command.build_plan(options)
    from rich.console import Console

    plan_command.print_plan(plan, profile, runs=False)
    run_options = RunOptions(
        command=["supernet-bench", *sys.argv[1:]],
        data_dir=options.data_dir,
        jobs=options.jobs or 1,
        checkpoint_seconds=options.checkpoint_seconds,
        resume_changed=options.resume_changed,
        again=options.retry_failed,
        hooks=options.hook,
        shared=True,
        deadline=deadline,
        idle_s=idle,
        lease_s=lease,
    )
    try:
        with shared(plan.folders.home):
            execute(plan, tasks, profile, run_options, Console())
    except KeyboardInterrupt:
        print("stopped: all runs are saved and given back", file=sys.stderr)
        return SAVED
    states = [run.state for run in plan.runs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    print(f"this worker leaves; {len(states)} runs: {counts}")
    return 0


def duration(flag: str, text: str) -> float:
    """Return the seconds of ``3h50m``, ``90s`` or ``1.5h``.

    Raises:
        UsageError: the text is no duration.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{flag} {text}: a duration such as 3h50m or 90s")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def seconds_until(text: str, now: datetime) -> float:
    """Return the seconds from ``now`` to a time, given as a duration, as ``08:30`` or as a date with time.

    Raises:
        UsageError: the text is none of these, or the time has passed.
    """
    if re.fullmatch(r"[\d.dhms]+", text):
        return duration("--until", text)
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", text):
            hour, minute = map(int, text.split(":"))
            seconds = (now.replace(hour=hour, minute=minute, second=0, microsecond=0) - now).total_seconds()
            return seconds % UNITS["d"]
        then = datetime.fromisoformat(text)
        seconds = (then - (now.astimezone() if then.tzinfo else now)).total_seconds()
    except ValueError:
        raise UsageError(f"--until {text}: 3h50m from now, 08:30 or 2027-01-31T08:30") from None
    if seconds <= 0:
        raise UsageError(f"--until {text}: has passed; it is {now:%Y-%m-%dT%H:%M}")
    return seconds
