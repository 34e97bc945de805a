"""Signals that ask a command to stop: none is lost, wherever it comes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from benchmarks.runs.interruption import SIGNALS, Interruptions, raise_at_once


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Swallowing:
    """An object in whose destructor a signal comes, where Python drops what a handler raises."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)
        sum(range(10_000))  # gives the handler time to run in here


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_inside_a_destructor_still_stops_the_command(number: int) -> None:
    interruptions, work = Interruptions(), 0
    with pytest.raises(KeyboardInterrupt), interruptions:
        Swallowing(number)
        work += 1
        interruptions.check()
        work += 1
    assert work == 1, "what had begun went on, and nothing after it"


def test_a_signal_after_the_last_check_is_raised_at_the_end() -> None:
    with pytest.raises(KeyboardInterrupt), Interruptions():
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_error_of_the_work_is_not_hidden_by_a_signal() -> None:
    with pytest.raises(ValueError, match="its own"), Interruptions():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("its own")


def test_a_second_signal_raises_where_it_comes() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), Interruptions():
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("noted")
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("never")
    assert reached == ["noted"]


def test_handlers_are_back_afterwards_and_other_threads_have_none() -> None:
    raise_at_once()
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruptions():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
    entered = []

    def elsewhere() -> None:
        with Interruptions() as interruptions:
            interruptions.check()
            entered.append(True)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert entered and [signal.getsignal(number) for number in SIGNALS] == before
