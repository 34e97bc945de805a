"""Signals that ask a command to stop, noted while runs are watched and raised where nothing is half done."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""A terminal's, a service manager's, and that of a batch system before its time is up."""


def raise_at_once() -> None:
    """Let the signals of a service manager and of a batch system interrupt as Ctrl-C does."""
    for number in SIGNALS[1:]:
        signal.signal(number, _raise)


def _raise(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Interruptions:
    """Context manager in which the signals are noted; a second one raises.

    What a signal's handler raises inside a destructor or a lock is lost, and the wish to stop with it.
    Outside the main thread, which alone has handlers, nothing is noted.
    """

    def __init__(self) -> None:
        self.noted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruptions:
        try:
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        except ValueError:
            self._before = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raise an interruption that was noted.

        Raises:
            KeyboardInterrupt: a signal came.
        """
        if self.noted:
            raise KeyboardInterrupt

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.noted:
            raise KeyboardInterrupt
        self.noted = True
