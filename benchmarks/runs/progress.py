"""What a person sees while runs go on: live lines on a terminal, an occasional line in a log."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from benchmarks.runs.estimate import format_duration
from benchmarks.runs.plan import Plan, PlannedRun

BAR = 10
PLAIN_EVERY_S = 20.0
LIMITED_SHOWN = ("evaluations", "probes")


class Pace:
    """Time left of a phase and of the whole command, at the speed that the machine shows.

    A search goes at its own tokens a second once it trains. Runs that have not begun take their planned time,
    times the others' share of theirs. No search is expected to pass its allowance of seconds, which stops it.

    Args:
        slowdown: how many times as long as planned work takes here, until something has been seen.
    """

    def __init__(self, plan: Plan, jobs: int, slowdown: float = 1.0) -> None:
        self._left = {run.spec.id: run.estimate for run in plan.pending}
        self._jobs, self._slowdown = jobs, slowdown
        self._took: list[tuple[float | None, float]] = []
        """PlannedRun and real seconds of runs that ended."""
        self._scoring: list[float] = []
        """Seconds that scorings took."""
        self._phases: dict[str, tuple[str, float, float]] = {}
        self._active: dict[str, _Seen] = {}

    def seen(self, run: PlannedRun, stage: str, beat: Mapping[str, Any], now: float) -> None:
        """Take where a run stands at ``now``; ``stage`` is search or score."""
        known = self._active.setdefault(run.spec.id, _Seen(run, now))
        if stage == "score" and known.scoring is None:
            known.scoring = now
        known.beat = beat or known.beat if stage == known.stage else beat
        known.stage = stage

    def finished(self, run: PlannedRun, now: float) -> None:
        """A run has ended at ``now``."""
        planned, known = self._left.pop(run.spec.id, None), self._active.pop(run.spec.id, None)
        if known is not None and run.state == "done":
            self._took.append((planned, now - known.began))
            if known.scoring is not None:
                self._scoring.append(now - known.scoring)

    def phase(self, run: PlannedRun, beat: Mapping[str, Any]) -> float | None:
        """Seconds left of the run's phase, from its own pace so far; no more than it is allowed."""
        done, total, note = beat["progress"]
        # A scoring is one phase: what it is at changes all the time.
        named = beat.get("phase", "score")
        name, since, start = self._phases.get(run.spec.id, ("", 0.0, 0.0))
        if name != named or done < start:
            self._phases[run.spec.id] = (named, beat["at"], done)
            return None
        rate = (done - start) / (beat["at"] - since) if beat["at"] - since >= SETTLED_S else 0.0
        left = (total - done) / rate if rate > 0 else None
        allowed = max(0.0, run.spec.budget["seconds"] - beat["clock"]) if "clock" in beat else math.inf
        return min(left, allowed) if left is not None else None

    def command(self, now: float) -> float | None:
        """Seconds left of the command at ``now``; None where any part is unknown."""
        scoring = sum(self._scoring) / len(self._scoring) if self._scoring else None
        expected = {id: seen.seconds(now, scoring) for id, seen in self._active.items()}
        pairs = [(planned, real) for planned, real in self._took if planned]
        if not pairs:
            pairs = [(p, real) for id, real in expected.items() if real and (p := self._left.get(id))]
        factor = sum(real for _, real in pairs) / sum(p for p, _ in pairs) if pairs else self._slowdown
        ended = [real for _, real in self._took]
        usual, left, longest = sum(ended) / len(ended) if ended else None, 0.0, 0.0
        for id, planned in self._left.items():
            seen, whole = self._active.get(id), expected.get(id)
            if whole is None:
                whole = usual if planned is None else factor * planned
            if whole is None:
                return None
            own = max(0.0, whole - (now - seen.began)) if seen is not None else whole
            left, longest = left + own, max(longest, own)
        # A run is never divided among jobs: with fewer runs than jobs the longest decides.
        return max(left / self._jobs, longest)


SCORING_SHARE = 0.3
"""Of a search's time, that its scoring takes, until one has been scored."""
TELLING, SLOW_S = 0.01, 30.0
"""Share of its tokens after which a search's own speed is taken, or seconds of training at any speed."""
SETTLED_S = 5.0
"""Seconds after which a speed is one at all."""


class _Seen:
    """A run that goes on, as last seen."""

    def __init__(self, run: PlannedRun, began: float) -> None:
        self.run, self.began = run, began
        self.stage = ""
        self.scoring: float | None = None
        self.beat: Mapping[str, Any] = {}
        self._trained: tuple[float, float] | None = None
        """Tokens and seconds when the first tokens were seen."""

    def seconds(self, now: float, usual: float | None) -> float | None:
        """Return the seconds of the whole run, of which some have passed; None where nothing tells yet.

        Args:
            usual: seconds that scoring takes; None: not known yet.
        """
        if self.scoring is not None:
            search = self.scoring - self.began
            done, total, _ = self.beat["progress"] if self.beat else (0, 0, "")
            passed = now - self.scoring
            if not total or done < 0.05 * total or passed < SETTLED_S:
                return search + max(SCORING_SHARE * search if usual is None else usual, passed)
            return search + max(passed * total / done, passed)
        if not self.beat:
            return None
        budget, spent = self.run.spec.budget, self.beat["ledger"]
        # Tokens that came with weights of another run took no time of this one.
        entries = {(entry["phase"], entry["kind"]): float(entry["amount"]) for entry in spent["entries"]}
        gift, clock = entries.get(("inherited", "tokens"), 0.0), float(self.beat["clock"])
        tokens = float(spent["totals"].get("tokens", 0.0)) - gift
        if tokens <= 0:
            return None
        first = self._trained = self._trained or (tokens, clock)
        trained, took = tokens - first[0], clock - first[1]
        if trained <= 0 or took < SETTLED_S or (trained < TELLING * budget["tokens"] and took < SLOW_S):
            return None
        left = (budget["tokens"] - gift - tokens) * took / trained
        left = max(0.0, min(left, budget["seconds"] - clock))
        search = now - self.began + left
        return search + (SCORING_SHARE * search if usual is None else usual)


class Display:
    """Shows runs as they go; a context manager."""

    def __init__(self, console: Console, plan: Plan, jobs: int, slowdown: float = 1.0) -> None:
        self.console, self.pace = console, Pace(plan, jobs, slowdown)
        self._total = len(plan.pending)
        self._done = 0
        self._active: dict[str, tuple[PlannedRun, str, dict[str, Any], float]] = {}
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

    def update(self, run: PlannedRun, stage: str, beat: dict[str, Any]) -> None:
        """Where a run stands; ``stage`` is search or score."""
        began = self._active[run.spec.id][3] if run.spec.id in self._active else time.monotonic()
        self._active[run.spec.id] = (run, stage, beat, began)
        self.pace.seen(run, stage, beat, time.monotonic())
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
        """A run has ended; ``line`` says how."""
        _, _, _, began = self._active.pop(run.spec.id, (run, "", {}, time.monotonic()))
        self._done += 1
        seconds = time.monotonic() - began
        self.pace.finished(run, time.monotonic())
        took = f"({format_duration(seconds)}, {self._done} of {self._total})"
        self.note(f" {run.spec.method:14} seed {run.spec.seed}  {line}  {took}")

    def _cells(self, run: PlannedRun, stage: str, beat: Mapping[str, Any]) -> list[str]:
        if not beat:
            words = {"search": "starting", "score": "scoring: sealed test split, latency, memory, energy"}
            return ["", words[stage], "", "", ""]
        done, total, note = beat["progress"]
        full = round(BAR * min(1.0, done / total)) if total else 0
        bar = f"[{'#' * full}{'.' * (BAR - full)}]"
        left = self.pace.phase(run, beat)
        ends = f"ETA {format_duration(left)}" if left is not None else ""
        if stage == "score":
            return [bar, f"scoring: {note}", "", "", ends]
        totals, share = beat["ledger"]["totals"], beat["ledger"]["share"]
        spent = [f"tokens {share['tokens']:.0%}"]
        spent += [f"{kind} {share[kind]:.0%}" for kind in LIMITED_SHOWN if totals.get(kind)]
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
        """The time that the whole command will still take."""
        left = self.pace.command(time.monotonic())
        return f"about {format_duration(left)} left" if left is not None and left >= 1 else ""

    def _render(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        for run, stage, beat, _ in tuple(self._active.values()):
            grid.add_row(
                escape(f" {run.spec.method}"),
                f"seed {run.spec.seed}",
                *map(escape, self._cells(run, stage, beat)),
            )
        grid.add_row(f" {self._done} of {self._total} runs", "", "", self._in_all())
        return grid
