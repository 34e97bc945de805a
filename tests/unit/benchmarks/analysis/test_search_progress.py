"""Progress of searches: steps never fall, end at the final value, and hold the search alone."""

import pytest

from benchmarks.analysis import search_progress
from benchmarks.analysis.table import build_table
from tests.fake_records import fake, study


def test_hypervolume_steps_end_at_the_final_value_and_never_fall():
    record = fake()
    table = build_table([record])
    steps = search_progress.volume_steps(record, "seconds", table.axis)
    assert steps[0] == (0.0, 0.0) and len(steps) == 4
    assert [s for s, _ in steps] == sorted(s for s, _ in steps)
    assert [v for _, v in steps] == sorted(v for _, v in steps)
    assert steps[-1][1] == pytest.approx(table.volumes["volume"][0])


def test_hypervolume_steps_end_at_the_final_value_in_any_order_of_proposal():
    record = fake(limits=(0.6, 0.6, 0.6))
    for candidate, origin in zip(record["candidates"], ("inherited", "scratch", "scratch"), strict=True):
        candidate["origin"] = origin
    finals = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        proposed = record | {"candidates": [record["candidates"][i] for i in order]}
        table = build_table([proposed])
        steps = search_progress.volume_steps(proposed, "seconds", table.axis)
        assert steps[-1][1] == pytest.approx(table.volumes["volume"][0])
        finals.append(steps[-1][1])
    assert finals[1] != finals[0] == finals[2]


def test_retraining_of_a_winner_is_no_step_of_the_search():
    record = fake("hat")
    after = min(c["valid"]["loss"] for c in record["candidates"])
    point = {"tokens": 1.0, "evaluations": 60.0, "seconds": 1.0}
    found = [point | {"evaluations": 3.0, "best_valid_loss": 9.0}, point | {"best_valid_loss": after}]
    assert search_progress.search_steps(record | {"search_log": found}) == [(3.0, 9.0)]
    assert build_table([record | {"search_log": found[1:]}]).search_progress is None


def test_a_run_whose_leader_is_not_here_has_no_known_moments():
    follower = fake("scratch")
    follower["spec"]["follows"] = "0" * 16
    table = build_table([fake("hat"), follower])
    assert set(table.volume_progress.steps) == {"hat"} and table.volume_progress.kind == "seconds"
    alone = build_table([follower]).volume_progress
    assert alone.steps == {} and alone.most_spent == 0.0


def test_without_moments_there_is_no_progress():
    assert build_table(study(("hat",), 1, spent=False)).volume_progress is None
