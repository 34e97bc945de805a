"""Profile under which a copy is timed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.export.targets import profile_here
from benchmarks.hardware import profiles
from tests.fake_records import fake


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two profiles of a user's: one that every machine fits, one that none does."""
    monkeypatch.setattr(profiles, "_DECLARED", {})
    profiles.declare(profiles.Profile("any-box.v1", "cpu", 1))
    profiles.declare(profiles.Profile("no-box.v1", "cpu", 1, machine={"arch": "pdp-11"}))
    yield


@pytest.mark.parametrize(
    ("profile", "timed"),
    [("any-box.v1", "any-box.v1"), ("no-box.v1", None), ("undeclared", None), ("x", None)],
)
def test_a_copy_is_timed_under_its_records_profile_where_the_machine_fits_it(
    declared: None, profile: str, timed: str | None
) -> None:
    assert profile_here(fake(profile=profile)).name == (timed or profiles.resolve("auto"))
