"""Progress of runs for people: live lines on a terminal, an occasional line in a log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from benchmarks.runs.estimate import format_duration
from benchmarks.runs.heartbeat import Beat
from benchmarks.runs.hooks import Hooks
from benchmarks.runs.plan import Plan, PlannedRun
from benchmarks.runs.remaining_time import RemainingTime

BAR = 10
"""Characters of a bar."""
PLAIN_EVERY_S = 20.0
"""Seconds between two lines of one phase in a log."""
SHOWN_KINDS = ("evaluations", "probes")
"""Kinds of allowance shown beside tokens, if any was used."""


class Display:
    """Context manager that shows the progress of runs."""

    def __init__(
        self, console: Console, plan: Plan, jobs: int, slowdown: float = 1.0, hooks: Sequence[str] = ()
    ) -> None:
        self._hooks = Hooks(hooks)
        self.console, self.remaining = console, RemainingTime(plan, jobs, slowdown)
        self._total = len(plan.pending)
        self._done = 0
        self._active: dict[str, tuple[PlannedRun, str, Beat, float]] = {}
        self._plain: dict[str, tuple[str, float]] = {}
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> Display:
        self._hooks.__enter__()
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()
        self._hooks.__exit__(kind, error, trace)

    def note(self, line: str) -> None:
        """Print one line that stays."""
        self.console.print(escape(line), highlight=False, soft_wrap=True)

    def update(self, run: PlannedRun, stage: str, beat: Beat) -> None:
        """Show the heartbeat of a run; ``stage`` is search or score."""
        began = self._active[run.spec.id][3] if run.spec.id in self._active else time.monotonic()
        self._active[run.spec.id] = (run, stage, beat, began)
        self.remaining.update(run, stage, beat, time.monotonic())
        self._hooks.update(run, stage, beat)
        if self.console.is_terminal:
            return
        phase = beat.get("phase", "starting") if stage == "search" else stage
        last, at = self._plain.get(run.spec.id, ("", 0.0))
        if phase != last or time.monotonic() - at >= PLAIN_EVERY_S:
            self._plain[run.spec.id] = (phase, time.monotonic())
            cells = [*self._cells(run, stage, beat)[1:], self._in_all() if last else ""]
            line = " · ".join(cell for cell in cells if cell)
            self.console.print(escape(f"{run.label}: {line}"), highlight=False, soft_wrap=True)

    def finish(self, run: PlannedRun, line: str) -> None:
        """Print the end of a run, with its result in ``line``."""
        _, _, _, began = self._active.pop(run.spec.id, (run, "", {}, time.monotonic()))
        self._done += 1
        seconds = time.monotonic() - began
        self.remaining.finish(run, time.monotonic())
        self._hooks.finish(run, line)
        took = f"({format_duration(seconds)}, {self._done} of {self._total})"
        self.note(f" {run.name:14} seed {run.spec.seed}  {line}  {took}")

    def _cells(self, run: PlannedRun, stage: str, beat: Beat) -> list[str]:
        if not beat:
            words = {"search": "starting", "score": "scoring: sealed test split, latency, memory, energy"}
            return ["", words[stage], "", "", ""]
        done, total, note = beat["progress"]
        full = round(BAR * min(1.0, done / total)) if total else 0
        bar = f"[{'#' * full}{'.' * (BAR - full)}]"
        seconds = self.remaining.phase(run, beat)
        ends = f"ETA {format_duration(seconds)}" if seconds is not None else ""
        if stage == "score":
            return [bar, f"scoring: {note}", "", "", ends]
        totals, share = beat["ledger"]["totals"], beat["ledger"]["share"]
        spent = [f"tokens {share['tokens']:.0%}"]
        spent += [f"{kind} {share[kind]:.0%}" for kind in SHOWN_KINDS if totals.get(kind)]
        log = beat["search_log"]
        valid = f"valid {log[-1]['best_valid_loss']:.3f}" if log else ""
        waiting = f" ({beat['pause']})" if beat["pause"] else ""
        return [
            bar,
            f"{beat['phase']}{waiting} {note}".rstrip(),
            " ".join(spent),
            valid,
            ends,
        ]

    def _in_all(self) -> str:
        """Return the remaining time of the command in words; empty if unknown."""
        seconds = self.remaining.command(time.monotonic())
        return f"about {format_duration(seconds)} left" if seconds is not None and seconds >= 1 else ""

    def _render(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        for run, stage, beat, _ in tuple(self._active.values()):
            grid.add_row(
                escape(f" {run.name}"),
                f"seed {run.spec.seed}",
                *map(escape, self._cells(run, stage, beat)),
            )
        grid.add_row(f" {self._done} of {self._total} runs", "", "", self._in_all())
        return grid
