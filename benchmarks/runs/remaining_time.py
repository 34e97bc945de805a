"""Estimates of the remaining time of a phase and of a whole command, at the speed that the machine shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.records import phases
from benchmarks.runs.heartbeat import Beat
from benchmarks.runs.plan import Plan, PlannedRun

SCORING_SHARE = 0.3
"""Scoring time as a share of search time, until a scoring has ended."""
SCORING_BEGUN = 0.05
"""Share of a scoring after which its own speed is used."""
TRAINED_SHARE, TRAINED_S = 0.01, 30.0
"""Share of its tokens, or seconds of training, after which a search's own speed is used."""
TRAINED = 0.98
"""Share of its tokens at which a search counts as trained: a batch that does not fit remains unspent."""
SETTLED_S = 5.0
"""Seconds before which no speed is measured."""


class RemainingTime:
    """Remaining seconds of a phase and of the whole command.

    A search continues at its own tokens a second once it trains. Runs that have not begun take their planned
    time, scaled by the ratio of real to planned time of the others. A run that trains takes something
    between the two, nearer to its own speed the more it has trained. No search is expected to pass its
    allowance of seconds.

    Args:
        jobs: runs at a time.
        slowdown: ratio of real to planned time of this machine, until a run has shown another.
    """

    def __init__(self, plan: Plan, jobs: int, slowdown: float = 1.0) -> None:
        self._planned = {run.spec.id: run.estimate for run in plan.pending}
        """Planned seconds of all runs that have not ended."""
        self._jobs, self._slowdown = jobs, slowdown
        self._ended: list[tuple[float | None, float]] = []
        """Planned and real seconds of runs that ended."""
        self._scoring: list[float] = []
        """Seconds of scorings that ended."""
        self._phases: dict[str, _Phase] = {}
        self._active: dict[str, _ActiveRun] = {}
        self._phase_seconds: dict[str, float | None] = {}
        """Remaining seconds of each run's phase, as last asked for."""

    def update(self, run: PlannedRun, stage: str, beat: Beat, now: float) -> None:
        """Note the heartbeat of a run at ``now``; ``stage`` is search or score."""
        active = self._active.setdefault(run.spec.id, _ActiveRun(run, now))
        if stage == "score" and active.scoring_began is None:
            active.scoring_began = now
        active.beat = beat or active.beat if stage == active.stage else beat
        active.stage = stage

    def finish(self, run: PlannedRun, now: float) -> None:
        """Note that a run has ended at ``now``."""
        planned, active = self._planned.pop(run.spec.id, None), self._active.pop(run.spec.id, None)
        if active is not None and run.state == "done":
            self._ended.append((planned, now - active.began))
            if active.scoring_began is not None:
                self._scoring.append(now - active.scoring_began)

    def phase(self, run: PlannedRun, beat: Beat) -> float | None:
        """Return the remaining seconds of the run's phase, at most its allowance; None if unknown."""
        seconds = self._phase_seconds[run.spec.id] = self._rest_of_phase(run, beat)
        return seconds

    def _rest_of_phase(self, run: PlannedRun, beat: Beat) -> float | None:
        done, total, _ = beat["progress"]
        # A scoring is one phase, whatever its steps.
        current = beat.get("phase", "score")
        known = self._phases.get(run.spec.id)
        # A search trains several winners in phases of one name: each of them begins anew. Steps of a scoring
        # overlap, so that its progress goes back a little at times.
        least = 0.0 if known is None else known.last if "phase" in beat else known.start
        if known is None or known.name != current or done < least:
            self._phases[run.spec.id] = _Phase(current, beat["at"], done, done)
            return None
        known.last = done
        passed = beat["at"] - known.since
        rate = (done - known.start) / passed if passed >= SETTLED_S else 0.0
        if rate <= 0:
            return None
        allowed = max(0.0, run.spec.budget["seconds"] - beat["clock"]) if "clock" in beat else math.inf
        return min(float((total - done) / rate), allowed)

    def command(self, now: float) -> float | None:
        """Return the remaining seconds of the command at ``now``; None if a part is unknown."""
        scoring = sum(self._scoring) / len(self._scoring) if self._scoring else None
        expected = {id: active.seconds(now, scoring) for id, active in self._active.items()}
        pairs = [(planned, real) for planned, real in self._ended if planned]
        if not pairs:
            pairs = [(p, real) for id, real in expected.items() if real and (p := self._planned.get(id))]
        factor = sum(real for _, real in pairs) / sum(p for p, _ in pairs) if pairs else self._slowdown
        ended = [real for _, real in self._ended]
        usual = sum(ended) / len(ended) if ended else None
        remaining, longest = 0.0, 0.0
        for id, planned in self._planned.items():
            active, seconds = self._active.get(id), expected.get(id)
            if seconds is None:
                seconds = usual if planned is None else factor * planned
            elif active is not None and planned and ended:
                seconds += (1 - active.share) * (factor * planned - seconds)
            if seconds is None:
                return None
            own = seconds
            if active is not None:
                # A run that waits for others has no speed of its own, but its phase is not over.
                own = max(seconds - (now - active.began), self._phase_seconds.get(id) or 0.0)
            remaining, longest = remaining + own, max(longest, own)
        # A run is never divided among jobs: with fewer runs than jobs the longest decides.
        return max(remaining / self._jobs, longest)


@dataclass
class _Phase:
    """Phase of a run, with time and progress at its first heartbeat, and the last progress."""

    name: str
    since: float
    start: float
    last: float


class _ActiveRun:
    """A run in progress, with its last heartbeat."""

    def __init__(self, run: PlannedRun, began: float) -> None:
        self.run, self.began = run, began
        self.stage = ""
        self.scoring_began: float | None = None
        self.beat: Beat = {}
        self._first: tuple[float, float] | None = None
        """Tokens and seconds at the first heartbeat with tokens."""
        self._training: float | None = None
        """Seconds from the beginning to the last token."""
        self.share = 0.0
        """Share of its tokens that it has spent."""

    def seconds(self, now: float, scoring: float | None) -> float | None:
        """Return the seconds of the whole run from its beginning; None if its speed is not known yet.

        Args:
            scoring: seconds that scoring usually takes; None if unknown.
        """
        if self.scoring_began is not None:
            self.share = 1.0
            return self._seconds_scoring(now, scoring)
        if not self.beat:
            return None
        budget, ledger = self.run.spec.budget, self.beat["ledger"]
        # Tokens that came with the weights of another run took no time of this one.
        taken = [
            float(entry["amount"])
            for entry in ledger["entries"]
            if entry["kind"] == "tokens" and phases.is_inherited(entry["phase"])
        ]
        inherited, clock = sum(taken), float(self.beat["clock"])
        tokens = float(ledger["totals"].get("tokens", 0.0)) - inherited
        if tokens <= 0:
            return None
        first = self._first = self._first or (tokens, clock)
        trained, seconds = tokens - first[0], clock - first[1]
        until, due = self.run.last_token or (None, 1.0)
        due *= budget["tokens"]
        self.share = min(1.0, tokens / max(due - inherited, 1.0))
        if trained <= 0 or seconds < SETTLED_S:
            return None
        if trained < TRAINED_SHARE * due and seconds < TRAINED_S:
            return None
        remaining = (due - inherited - tokens) * seconds / trained
        remaining = max(0.0, min(remaining, budget["seconds"] - clock))
        passed = now - self.began
        if self.share < TRAINED:
            self._training = passed + remaining
        if until is not None and self._training is not None:
            return max(self._training / until, passed)
        search = passed + remaining
        return search + (SCORING_SHARE * search if scoring is None else scoring)

    def _seconds_scoring(self, now: float, scoring: float | None) -> float:
        """Return the seconds of a run that is being scored."""
        assert self.scoring_began is not None
        search, passed = self.scoring_began - self.began, now - self.scoring_began
        done, total, _ = self.beat["progress"] if self.beat else (0, 0, "")
        if not total or done < SCORING_BEGUN * total or passed < SETTLED_S:
            return search + max(SCORING_SHARE * search if scoring is None else scoring, passed)
        return search + max(float(passed * total / done), passed)
