"""The ledger: allowances of a run, and its charges by phase and kind. No torch.

Two rules: a charge beyond the allowance is refused entirely, and wall-clock seconds run on by themselves,
except while the harness works for its own purposes (``Clock.pause``).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypedDict

from benchmarks.api import BUDGETED_KINDS, UNLIMITED_KINDS, Budget, BudgetExhausted
from benchmarks.records import record
from benchmarks.records.text import sanitize

FIRST_PHASE = "search"
"""Phase of charges outside any ``Lab.phase``."""
INHERITED_KINDS = ("tokens", "evaluations", "probes")
"""Kinds that a search pays for a run whose weights it takes."""
OBSERVED_KINDS = ("seconds", "joules", "updates")
"""Kinds that the harness books itself; no method charges them."""
CHARGEABLE_KINDS = tuple(k for k in (*BUDGETED_KINDS, *UNLIMITED_KINDS) if k not in OBSERVED_KINDS)
LONGEST_PHASE = 64
"""Characters of a phase's name."""
MOST_PHASES = 200
"""Names of phases that a method may make up; charges of further ones are booked under ``FURTHER``."""
FURTHER, UNNAMED = "further phases", "unnamed phase"
TIMELINE_POINTS = 240
"""Half of the most points that are kept: a record holds the shape of the spending, not every batch."""
FIRST_SPACING_S = 1.0
"""Seconds between two points of the timeline, until there are too many."""
ROUNDING = 1e-12
"""Share of an allowance that a sum of charges may exceed it by: shares such as thirds are rounded."""


def exceeds(spent: float, allowance: float) -> bool:
    """Return whether a sum of charges is above an allowance by more than rounding."""
    return spent > allowance * (1 + ROUNDING)


class Clock:
    """Monotonic clock of the seconds on the method's account; the heartbeat's thread reads it too.

    ``active`` counts this process's own seconds, ``now`` the run's. ``now`` jumps forward when an earlier
    session's work is taken over, so that repeated work is not counted twice.

    Attributes:
        reason: reason of the current pause; empty while the clock runs.
        off: seconds off the account, by reason.
    """

    def __init__(self, source: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._lock = threading.RLock()
        self._since: float | None = source()
        self._active = 0.0
        self._offset = 0.0
        self.reason = ""
        self.off: dict[str, float] = {}

    @property
    def active(self) -> float:
        """Unpaused seconds of this process."""
        with self._lock:
            return self._active + (self._source() - self._since if self._since is not None else 0.0)

    def now(self) -> float:
        """Return the seconds on the run's account."""
        with self._lock:
            return self._offset + self.active

    def advance(self, to: float) -> None:
        """Move forward to ``to``, where an earlier session had finished the same work; never back."""
        with self._lock:
            self._offset += max(0.0, to - self.now())

    @contextmanager
    def pause(self, reason: str) -> Iterator[None]:
        """Stop the clock while inside; inner pauses count under the outermost one's reason."""
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


class LedgerState(TypedDict):
    """State of a ledger in a checkpoint; ``booked`` holds ``(phase, kind, amount)``."""

    clock: float
    booked: list[tuple[str, str, float]]
    timeline: list[record.TimelinePoint]


class Ledger(Budget):
    """Charges by phase and kind against fixed allowances.

    Args:
        allowance: one positive number for each of ``BUDGETED_KINDS``.
        clock: clock of the seconds.
        parts: number of equal parts in which the allowance is spent, one after the other (``next_part``).
            ``total``, ``spent`` and ``left`` refer to the open part.

    Attributes:
        stopped_by: the kind whose end cut the search short; None if none did.

    Raises:
        ValueError: an allowance is missing or not positive.
    """

    def __init__(self, allowance: Mapping[str, float], clock: Clock, parts: int = 1) -> None:
        for kind in BUDGETED_KINDS:
            if not allowance.get(kind, 0) > 0:
                raise ValueError(f"no allowance of {kind} in {dict(allowance)}")
        self.allowance = {kind: float(allowance[kind]) for kind in BUDGETED_KINDS}
        self.clock, self._parts = clock, parts
        self.stopped_by: str | None = None
        self._before = dict.fromkeys(BUDGETED_KINDS, 0.0)
        self._booked: dict[tuple[str, str], float] = {}
        self._phases = [FIRST_PHASE]
        self._names: set[str] = set()
        self._seconds_booked = 0.0
        self.timeline: list[record.TimelinePoint] = []
        self._spacing = FIRST_SPACING_S

    @property
    def phase(self) -> str:
        """Phase to which charges go now."""
        return self._phases[-1]

    def total(self, kind: str) -> float:
        if kind not in self.allowance:
            raise ValueError(f"{kind!r} has no allowance; those that have: {', '.join(BUDGETED_KINDS)}")
        return self.allowance[kind] / self._parts

    def spent(self, kind: str) -> float:
        return self._all(kind) - self._before.get(kind, 0.0)

    def next_part(self) -> None:
        """Close the open part; its rest is lost."""
        self._before = {kind: self._all(kind) for kind in BUDGETED_KINDS}

    def _all(self, kind: str) -> float:
        """Return the charges of all parts together."""
        if kind == "seconds":
            return self.clock.now()
        return math.fsum(amount for (_, booked), amount in tuple(self._booked.items()) if booked == kind)

    def charge(self, kind: str, amount: float = 1) -> None:
        if kind not in CHARGEABLE_KINDS:
            raise ValueError(f"cannot charge {kind!r}; a method may charge {', '.join(CHARGEABLE_KINDS)}")
        if not (math.isfinite(amount) and amount >= 0):
            raise ValueError(f"cannot charge {amount!r} {kind}: a finite number from 0 up")
        self.check_seconds()
        if kind in self.allowance:
            if exceeds(self.spent(kind) + amount, self.total(kind)):
                raise BudgetExhausted(kind, amount, self.left(kind))
            amount = min(amount, self.left(kind))  # the sum of rounded shares ends at the allowance
        self.book(kind, amount)

    def booked(self, phase: str, kind: str) -> float:
        """Return the charges of one kind under one phase."""
        return self._booked.get((phase, kind), 0.0)

    def check_seconds(self) -> None:
        """Check the allowance of seconds.

        Raises:
            BudgetExhausted: it is used up.
        """
        if not self.left("seconds"):
            raise BudgetExhausted("seconds", 0, 0)

    def book(self, kind: str, amount: float) -> None:
        """Book an amount regardless of the allowance, for things that have happened anyway."""
        key = (self.phase, kind)
        self._booked[key] = self._booked.get(key, 0.0) + amount
        if not self.timeline or self.clock.now() - self.timeline[-1]["at"] >= self._spacing:
            self._point()

    @contextmanager
    def in_phase(self, name: str) -> Iterator[None]:
        """Book charges inside under the phase ``name``."""
        self._book_seconds()
        self._phases.append(self._bounded(name))
        self._point()
        try:
            yield
        finally:
            self._book_seconds()
            self._phases.pop()
            self._point()

    def _bounded(self, name: str) -> str:
        """Return a phase's name as one printable line, the same for all phases beyond ``MOST_PHASES``."""
        name = sanitize(name, LONGEST_PHASE) or UNNAMED
        self._names |= {name} if len(self._names) < MOST_PHASES else set()
        return name if name in self._names else FURTHER

    def _book_seconds(self) -> None:
        """Book the seconds since the last booking under the open phase."""
        self._booked, self._seconds_booked = self._with_seconds()

    def _with_seconds(self) -> tuple[dict[tuple[str, str], float], float]:
        """Return the bookings with the open phase's seconds, and the time; change nothing."""
        booked, now, key = dict(self._booked), self.clock.now(), (self.phase, "seconds")
        booked[key] = booked.get(key, 0.0) + max(0.0, now - self._seconds_booked)
        return booked, now

    def _point(self) -> None:
        at = round(self.clock.now(), 3)
        self.timeline.append({"at": at, "tokens": self._all("tokens"), "phase": self.phase})
        if len(self.timeline) > 2 * TIMELINE_POINTS:  # a long run, or many short phases
            self.timeline, self._spacing = self.timeline[::2], 2 * self._spacing

    def state(self) -> LedgerState:
        """Return the state as plain JSON types; ``restore`` reads it back."""
        booked, now = self._with_seconds()
        entries = [(phase, kind, amount) for (phase, kind), amount in booked.items()]
        return {"clock": now, "booked": entries, "timeline": list(self.timeline)}

    def restore(self, state: LedgerState) -> None:
        """Restore a state; the open phases stay those of the caller."""
        self._booked = {(phase, kind): amount for phase, kind, amount in state["booked"]}
        self.timeline = list(state["timeline"])
        self.clock.advance(state["clock"])
        self._seconds_booked = state["clock"]

    def totals(self) -> dict[str, float]:
        """Return kind -> amount, of every kind with an allowance and of the others that were charged."""
        charged = {kind for _, kind in tuple(self._booked)}
        kinds = [*BUDGETED_KINDS, *(kind for kind in UNLIMITED_KINDS if kind in charged)]
        return {kind: self._all(kind) for kind in kinds}

    def report(self) -> record.Ledger:
        """Return the ledger as a record holds it: entries, totals, share, timeline."""
        booked, now = self._with_seconds()
        totals = {**self.totals(), "seconds": now}
        return {
            "entries": [
                {"phase": phase, "kind": kind, "amount": amount}
                for (phase, kind), amount in booked.items()
                if amount > 0
            ],
            "totals": totals,
            "share": {kind: totals[kind] / self.allowance[kind] for kind in BUDGETED_KINDS},
            "timeline": list(self.timeline),
        }
