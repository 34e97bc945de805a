"""What a person sees while runs go on: live lines on a terminal, an occasional line in a log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from benchmarks.estimate import duration
from benchmarks.plan import Plan, Planned

BAR = 10
PLAIN_EVERY_S = 20.0
LIMITED_SHOWN = ("evaluations", "probes")


class Pace:
    """Time left of a phase and of the whole command."""

    def __init__(self, plan: Plan, jobs: int) -> None:
        self._left = {run.spec.id: run.estimate for run in plan.pending}
        self._jobs = jobs
        self._took: list[float] = []
        self._phases: dict[str, tuple[str, float, float]] = {}

    def finished(self, run: Planned, seconds: float) -> None:
        """A run took ``seconds`` of wall clock."""
        self._left.pop(run.spec.id, None)
        self._took.append(seconds)

    def phase(self, run: Planned, beat: Mapping[str, Any]) -> float | None:
        """Seconds left of the run's phase, from its own pace so far."""
        done, total, _ = beat["progress"]
        name, since, start = self._phases.get(run.spec.id, ("", 0.0, 0.0))
        if name != beat["phase"] or done < start:
            self._phases[run.spec.id] = (beat["phase"], beat["at"], done)
            return None
        rate = (done - start) / (beat["at"] - since) if beat["at"] > since else 0.0
        return (total - done) / rate if rate > 0 else None

    def command(self, elapsed: Mapping[str, float]) -> float | None:
        """Seconds left of the command: what runs took in this command, else what was planned.

        Args:
            elapsed: run id -> seconds since it was started, of the runs that go on.
        """
        mean = sum(self._took) / len(self._took) if self._took else None
        left = 0.0
        for run, planned in self._left.items():
            expected = planned if mean is None or (planned is not None and not self._took) else mean
            if expected is None:
                return None
            left += max(0.0, expected - elapsed.get(run, 0.0))
        return left / self._jobs


class Display:
    """Shows runs as they go; a context manager."""

    def __init__(self, console: Console, plan: Plan, jobs: int) -> None:
        self.console, self.pace = console, Pace(plan, jobs)
        self._total = len(plan.pending)
        self._done = 0
        self._active: dict[str, tuple[Planned, str, dict[str, Any], float]] = {}
        self._plain: dict[str, tuple[str, float]] = {}
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def note(self, line: str) -> None:
        """One line that stays."""
        self.console.print(escape(line), highlight=False, soft_wrap=True)

    def update(self, run: Planned, stage: str, beat: dict[str, Any]) -> None:
        """Where a run stands; ``stage`` is search or score."""
        began = self._active[run.spec.id][3] if run.spec.id in self._active else time.monotonic()
        self._active[run.spec.id] = (run, stage, beat, began)
        if self.console.is_terminal:
            return
        phase = beat.get("phase", "starting") if stage == "search" else stage
        last, at = self._plain.get(run.spec.id, ("", 0.0))
        if phase != last or time.monotonic() - at >= PLAIN_EVERY_S:
            self._plain[run.spec.id] = (phase, time.monotonic())
            told = " · ".join(cell for cell in self._cells(run, stage, beat)[1:] if cell)
            self.console.print(escape(f"{run.label}: {told}"), highlight=False, soft_wrap=True)

    def finish(self, run: Planned, line: str) -> None:
        """A run has ended; ``line`` says how."""
        _, _, _, began = self._active.pop(run.spec.id, (run, "", {}, time.monotonic()))
        self._done += 1
        seconds = time.monotonic() - began
        self.pace.finished(run, seconds)
        took = f"({duration(seconds)}, {self._done} of {self._total})"
        self.note(f" {run.spec.method:14} seed {run.spec.seed}  {line}  {took}")

    def _cells(self, run: Planned, stage: str, beat: Mapping[str, Any]) -> list[str]:
        if stage != "search" or not beat:
            words = {"search": "starting", "score": "scoring: sealed test split, latency, memory, energy"}
            return ["", words.get(stage, stage), "", "", ""]
        done, total, note = beat["progress"]
        totals, share = beat["ledger"]["totals"], beat["ledger"]["share"]
        spent = [f"tokens {share['tokens']:.0%}"]
        spent += [f"{kind} {share[kind]:.0%}" for kind in LIMITED_SHOWN if totals.get(kind)]
        log = beat["search_log"]
        valid = f"valid {log[-1]['best_valid_loss']:.3f}" if log else ""
        left = self.pace.phase(run, beat)
        full = round(BAR * min(1.0, done / total)) if total else 0
        waiting = f" ({beat['pause']})" if beat["pause"] else ""
        return [
            f"[{'#' * full}{'.' * (BAR - full)}]",
            f"{beat['phase']}{waiting} {note}".rstrip(),
            " ".join(spent),
            valid,
            f"ETA {duration(left)}" if left is not None else "",
        ]

    def _render(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        now = time.monotonic()
        for run, stage, beat, _ in tuple(self._active.values()):
            grid.add_row(
                escape(f" {run.spec.method}"),
                f"seed {run.spec.seed}",
                *map(escape, self._cells(run, stage, beat)),
            )
        left = self.pace.command(
            {run.spec.id: now - began for run, _, _, began in tuple(self._active.values())}
        )
        about = f"about {duration(left)} left" if left is not None and left >= 1 else ""
        grid.add_row(f" {self._done} of {self._total} runs", "", "", about)
        return grid
