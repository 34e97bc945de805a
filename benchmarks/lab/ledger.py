"""The ledger: what a run may spend, what it has spent, and in which phase. No torch.

Two rules: a charge that would pass the allowance is refused whole, and wall-clock seconds run on by
themselves except while the harness works for its own purposes (``Clock.pause``).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks.api import LIMITED, TALLIED, Budget, BudgetExhausted

FIRST_PHASE = "search"
"""Where charges go that a method makes outside any ``Lab.phase``."""
TIMELINE_POINTS = 240
"""Half of those that are kept, at most; the record holds the shape of the spending, not every batch."""
FIRST_SPACING_S = 1.0
"""Between two points of the timeline, until they are too many."""


class Clock:
    """Seconds on the method's account, monotonic; read by the heartbeat's thread as well.

    ``active`` counts this process's own seconds, ``now`` the run's: it jumps forward where an
    earlier session's work is taken over, so that repeated work is not counted twice.
    """

    def __init__(self, source: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._lock = threading.RLock()
        self._since: float | None = source()
        self._active = 0.0
        self._offset = 0.0
        self.reason = ""
        """Why it stands still; empty while it runs."""
        self.off: dict[str, float] = {}
        """Seconds off the account, by reason."""

    @property
    def active(self) -> float:
        """Unpaused seconds of this process."""
        with self._lock:
            return self._active + (self._source() - self._since if self._since is not None else 0.0)

    def now(self) -> float:
        """Seconds on the run's account."""
        with self._lock:
            return self._offset + self.active

    def advance(self, to: float) -> None:
        """Take over work that an earlier session had finished at ``to``; never goes back."""
        with self._lock:
            self._offset += max(0.0, to - self.now())

    @contextmanager
    def pause(self, reason: str) -> Iterator[None]:
        """Off the account while inside; inner pauses belong to the outermost one."""
        if self._since is None:
            yield
            return
        with self._lock:
            self._active, self._since, began = self.active, None, self._source()
            self.reason = reason
        try:
            yield
        finally:
            with self._lock:
                self._since = self._source()
                self.reason = ""
                self.off[reason] = self.off.get(reason, 0.0) + self._since - began


class Ledger(Budget):
    """Charges by phase and kind against fixed allowances.

    Args:
        allowance: one positive number for each of ``LIMITED``.
        clock: gives the seconds.
        parts: equal parts that the allowance is spent in, one after the other (``next_part``). ``total``,
            ``spent`` and ``left`` are of the open part.
    """

    def __init__(self, allowance: Mapping[str, float], clock: Clock, parts: int = 1) -> None:
        for kind in LIMITED:
            if not allowance.get(kind, 0) > 0:
                raise ValueError(f"no allowance of {kind} in {dict(allowance)}")
        self.allowance = {kind: float(allowance[kind]) for kind in LIMITED}
        self.clock, self._parts = clock, parts
        self.stopped_by: str | None = None
        """The kind whose end cut the search short; None where nothing did."""
        self._before = dict.fromkeys(LIMITED, 0.0)
        self._booked: dict[tuple[str, str], float] = {}
        self._phases = [FIRST_PHASE]
        self._seconds_booked = 0.0
        self.timeline: list[dict[str, Any]] = []
        self._spacing = FIRST_SPACING_S

    @property
    def phase(self) -> str:
        """The phase that charges go to now."""
        return self._phases[-1]

    def total(self, kind: str) -> float:
        if kind not in self.allowance:
            raise ValueError(f"{kind!r} has no allowance; those that have: {', '.join(LIMITED)}")
        return self.allowance[kind] / self._parts

    def spent(self, kind: str) -> float:
        return self._all(kind) - self._before.get(kind, 0.0)

    def next_part(self) -> None:
        """Close the open part: what is left of it is lost."""
        self._before = {kind: self._all(kind) for kind in LIMITED}

    def _all(self, kind: str) -> float:
        """What all parts together have spent."""
        if kind == "seconds":
            return self.clock.now()
        return math.fsum(amount for (_, booked), amount in tuple(self._booked.items()) if booked == kind)

    def charge(self, kind: str, amount: float = 1) -> None:
        if kind not in (*LIMITED, *TALLIED) or kind in ("seconds", "joules"):
            allowed = [k for k in (*LIMITED, *TALLIED) if k not in ("seconds", "joules")]
            raise ValueError(f"cannot charge {kind!r}; a method may charge {', '.join(allowed)}")
        if not (math.isfinite(amount) and amount >= 0):
            raise ValueError(f"cannot charge {amount!r} {kind}: a finite number from 0 up")
        self.check_seconds()
        if kind in self.allowance and amount > self.left(kind):
            raise BudgetExhausted(kind, amount, self.left(kind))
        self.book(kind, amount)

    def check_seconds(self) -> None:
        """Raise ``BudgetExhausted`` once the time is up."""
        if not self.left("seconds"):
            raise BudgetExhausted("seconds", 0, 0)

    def book(self, kind: str, amount: float) -> None:
        """Enter an amount without asking whether it is allowed (joules; what has happened anyway)."""
        key = (self.phase, kind)
        self._booked[key] = self._booked.get(key, 0.0) + amount
        if not self.timeline or self.clock.now() - self.timeline[-1]["at"] >= self._spacing:
            self._point()

    @contextmanager
    def in_phase(self, name: str) -> Iterator[None]:
        """Book what is charged inside under ``name``."""
        self._book_seconds()
        self._phases.append(name)
        self._point()
        try:
            yield
        finally:
            self._book_seconds()
            self._phases.pop()
            self._point()

    def _book_seconds(self) -> None:
        """Seconds belong to the phase that was open while they passed."""
        self._booked, self._seconds_booked = self._with_seconds()

    def _with_seconds(self) -> tuple[dict[tuple[str, str], float], float]:
        """What is booked with the open phase's seconds, and the time; the heartbeat only reads."""
        booked, now, key = dict(self._booked), self.clock.now(), (self.phase, "seconds")
        booked[key] = booked.get(key, 0.0) + max(0.0, now - self._seconds_booked)
        return booked, now

    def _point(self) -> None:
        at = round(self.clock.now(), 3)
        self.timeline.append({"at": at, "tokens": self._all("tokens"), "phase": self.phase})
        if len(self.timeline) > 2 * TIMELINE_POINTS:  # a long run, or many short phases
            self.timeline, self._spacing = self.timeline[::2], 2 * self._spacing

    def state(self) -> dict[str, Any]:
        """Everything, as plain JSON types; ``restore`` reads it back."""
        booked, now = self._with_seconds()
        entries = [[phase, kind, amount] for (phase, kind), amount in booked.items()]
        return {"clock": now, "booked": entries, "timeline": list(self.timeline)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Stand where ``state`` was taken; the open phases stay those of the caller."""
        self._booked = {(phase, kind): amount for phase, kind, amount in state["booked"]}
        self.timeline = list(state["timeline"])
        self.clock.advance(state["clock"])
        self._seconds_booked = state["clock"]

    def totals(self) -> dict[str, float]:
        """Kind -> amount; every limited kind is there, tallied ones where charged."""
        kinds = [*LIMITED, *(k for k in TALLIED if any(kind == k for _, kind in tuple(self._booked)))]
        return {kind: self._all(kind) for kind in kinds}

    def report(self) -> dict[str, Any]:
        """The ledger as a record has it: entries, totals, share, timeline."""
        booked, now = self._with_seconds()
        totals = {**self.totals(), "seconds": now}
        return {
            "entries": [
                {"phase": phase, "kind": kind, "amount": amount}
                for (phase, kind), amount in booked.items()
                if amount > 0
            ],
            "totals": totals,
            "share": {kind: totals[kind] / self.allowance[kind] for kind in LIMITED},
            "timeline": list(self.timeline),
        }
