"""The search's end of the pipe to its supervisor: every charge, answer and checkpoint is reported at once.

The supervisor keeps ledger, journal and clock from these messages (``benchmarks.runs.books``). A message is a
JSON list whose first word is its kind. Messages that a resumed run depends on are acknowledged before the
search goes on.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.lab.journal import Entry, Journal
from benchmarks.lab.ledger import Clock, Ledger
from benchmarks.stage import EVERY_S

if TYPE_CHECKING:
    import numpy as np
    import torch


class Channel:
    """Messages to the supervisor, from any thread of the search."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()

    def tell(self, kind: str, *content: object) -> None:
        """Send a message."""
        with self._lock:
            self._connection.send_bytes(json.dumps([kind, *content], default=_plain).encode())

    def ask(self, kind: str, *content: object) -> object:
        """Send a message, and return the supervisor's answer.

        Raises:
            EOFError: the supervisor has ended.
        """
        with self._lock:
            self.tell(kind, *content)
            answer: object = json.loads(self._connection.recv_bytes())
            return answer


def _plain(value: np.generic | torch.Tensor) -> object:
    """Return a figure of numpy's or torch's as a plain number."""
    return value.item()


class ReportedClock(Clock):
    """Clock whose pauses the supervisor's clock follows."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def advance(self, to: float) -> None:
        super().advance(to)
        self._channel.tell("advance", to)

    @contextmanager
    def pause(self, reason: str) -> Iterator[None]:
        outermost = not self.reason
        with super().pause(reason):
            if outermost:
                self._channel.tell("pause", reason)
            try:
                yield
            finally:
                if outermost:
                    self._channel.tell("resume")


class ReportedLedger(Ledger):
    """Ledger whose charges the supervisor's ledger books as well."""

    def __init__(self, channel: Channel, allowance: Mapping[str, float], clock: Clock, parts: int) -> None:
        super().__init__(allowance, clock, parts)
        self._channel = channel

    def book(self, kind: str, amount: float) -> None:
        super().book(kind, amount)
        self._channel.tell("charge", kind, amount)

    @contextmanager
    def in_phase(self, name: str) -> Iterator[None]:
        with super().in_phase(name):
            self._channel.tell("phase", self.phase)
            try:
                yield
            finally:
                self._channel.tell("phase-end")


class ReportedJournal(Journal):
    """Journal of earlier sessions, read from its file, whose new entries the supervisor writes."""

    def __init__(self, channel: Channel, path: Path) -> None:
        super().__init__(path, writable=False)
        self._channel = channel

    def _append(self, entry: Entry) -> None:
        if entry["call"] != "yield":
            self._channel.ask("call", entry)

    def record_proposal(self, order: int, index: int) -> None:
        super().record_proposal(order, index)
        self._channel.ask("yield", order, index)

    def saving(self, name: str, digest: str) -> None:
        self._channel.ask("save", name, digest)

    def loading(self, name: str, digest: str) -> str:
        return str(self._channel.ask("load", name, digest))


class Pulse:
    """Thread that reports the progress of a search at short intervals until closed.

    Args:
        read: returns progress, search log, lines for the user and what stopped the search; called from the
            thread.
    """

    def __init__(self, channel: Channel, read: Callable[[], Mapping[str, object]]) -> None:
        self._channel, self._read = channel, read
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)
        self.report()
        self._thread.start()

    def _beat(self) -> None:
        while not self._closed.wait(EVERY_S):
            self.report()

    def report(self) -> None:
        """Report now."""
        self._channel.tell("state", dict(self._read()))

    def close(self) -> None:
        """Report a last time and stop."""
        self._closed.set()
        self._thread.join()
        self.report()
