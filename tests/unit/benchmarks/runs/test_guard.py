"""Means of isolation that the environment names: a word that is none ends the command before any search."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.runs import isolation
from benchmarks.runs.executor import Executor
from benchmarks.runs.guard import MEANS_VARIABLE, attempts, require_known_means
from benchmarks.runs.isolation import View
from benchmarks.runs.landlock import NAME as LANDLOCK

FULL = ",".join(isolation.FULL)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("landlok", "no means of isolation 'landlok'. Did you mean 'landlock'?"),
        ("Landlock", "no means of isolation 'Landlock'. Did you mean 'landlock'?"),
        ("landlock nothing", "no means of isolation 'nothing'."),
        ("landlock,none", "no means of isolation 'landlock,none'."),
        ("network,mount,ipc,pid", "no means of isolation 'network,mount,ipc,pid'."),
    ],
)
def test_a_word_that_names_no_means_of_isolation_is_refused(
    named: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MEANS_VARIABLE, named)
    with pytest.raises(UsageError) as refused:
        Executor()
    assert str(refused.value).startswith(message)
    assert f"known: {FULL.rpartition(',')[0]} {FULL} {LANDLOCK} none" in str(refused.value)
    assert f"set {MEANS_VARIABLE} to some of them" in str(refused.value)


@pytest.mark.parametrize(
    ("named", "tried"),
    [
        ("", [*isolation.ATTEMPTS, (LANDLOCK,), ()]),
        (LANDLOCK, [(LANDLOCK,), ()]),
        (f"{LANDLOCK} {FULL}", [isolation.FULL, (LANDLOCK,), ()]),
        (isolation.NONE, [()]),
    ],
)
def test_named_means_are_tried_best_first(
    named: str, tried: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MEANS_VARIABLE, named)
    require_known_means()
    assert list(attempts(View((Path("/"),)))) == tried
    assert list(attempts(None)) == [()]
