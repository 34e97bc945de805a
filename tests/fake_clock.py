"""A clock that stands still until a test advances it, in place of the ``time`` of a module."""

from __future__ import annotations

from types import ModuleType

import pytest


class FakeClock:
    """Stand-in for the module ``time``: ``sleep`` advances it, and nothing else does."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def perf_counter(self) -> float:
        return self.seconds

    monotonic = perf_counter

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def replace_in(self, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
        """Give this clock to modules that import ``time``."""
        for module in modules:
            monkeypatch.setattr(module, "time", self)
