"""Drawing of the record that a verification repeats."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.tasks import get_task
from benchmarks.verification import reproduce
from tests.fake_records import fake


def smoke(task: str, settings: str | None = None, seed: int = 1) -> Any:
    """Return a record of a smoke tier, of today's settings unless another digest is given."""
    record = fake("hat", seed, task=task)
    today = get_task(task).tier("smoke", "cpu").sha256
    record["spec"] |= {"tier": "smoke", "settings_sha256": settings or today}
    record["id"] = f"{task}-{settings}-{seed}"
    return record


def test_a_record_of_former_settings_is_drawn_only_where_there_is_no_other():
    former = [smoke("vision-digits", "0" * 64, seed) for seed in range(1, 20)]
    (current,) = today = [smoke("mt-synthetic-en-de")]
    drawn = reproduce.draw([*former, *today])
    assert drawn is not None and drawn[:2] == (current, 1)
    alone = reproduce.draw(former)
    assert alone is not None and alone[1] == len(former)


@pytest.mark.parametrize("change", [{"tier": "small"}, {"status": "failed"}])
def test_failed_runs_and_longer_tiers_are_not_drawn(change: dict[str, str]):
    record = smoke("mt-synthetic-en-de")
    if "tier" in change:
        record["spec"] |= change
    else:
        record |= change
    assert reproduce.draw([record]) is None
