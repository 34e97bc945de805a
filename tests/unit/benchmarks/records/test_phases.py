"""Phases of ledgers with and without the number of a trial."""

import pytest

from benchmarks.records.phases import without_trial


@pytest.mark.parametrize(
    ("phase", "bare"),
    [
        ("inherited", "inherited"),
        ("trial 1: inherited", "inherited"),
        ("trial 12: supernet", "supernet"),
        ("trial 1: trial 2: x", "trial 2: x"),
        ("trial x: inherited", "trial x: inherited"),
        ("my trial 1: inherited", "my trial 1: inherited"),
        ("", ""),
    ],
)
def test_the_number_of_a_trial_is_no_part_of_a_phase(phase: str, bare: str):
    assert without_trial(phase) == bare
