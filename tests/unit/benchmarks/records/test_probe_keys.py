"""Keys of probes in a record: short, and a second run is told the same answers."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.records import integrity, probe_keys, store
from tests.fake_records import fake

KEYS = st.text(max_size=300)


@given(st.dictionaries(st.tuples(st.integers(0, 9), KEYS), st.floats(0, 9)), KEYS)
def test_published_answers_are_found_by_full_keys_and_by_stored_ones(answers, other):
    full = probe_keys.PublishedProbes(answers)
    short = probe_keys.PublishedProbes({(n, probe_keys.stored_key(k)): v for (n, k), v in answers.items()})
    for (n, key), value in answers.items():
        assert full.get((n, key)) == short.get((n, key)) == value
        if (n, other) not in answers:
            assert full.get((n, other)) is None
    assert all(len(probe_keys.stored_key(key)) <= probe_keys.LONGEST for _, key in answers)


def test_timings_are_alike_in_old_and_new_records():
    key = "640_6_3072x6_8x6_640_6_3072x6_8x6_8x6_2x6"
    old = {"limits": [[0.5, 15.0]], "probes": [[0, key, 1.5]]}
    new = {"limits": [[0.5, 15]], "probes": probe_keys.stored([[0, key, 1.5]])}
    assert probe_keys.shortened(old) == probe_keys.shortened(new) != probe_keys.shortened(None)
    assert probe_keys.shortened({**new, "probes": [[0, key + "x", 1.5]]}) != probe_keys.shortened(new)


def test_every_probe_of_five_trials_of_a_paper_tier_fits_into_a_record(tmp_path: Path):
    key = "_".join(f"{width}x{n}" for width in range(1024, 1060) for n in range(3))
    probes = probe_keys.stored((n, key + str(n), 14.596648633616118 + n) for n in range(5 * 2000))
    assert len(probes) == 10_000
    record = fake(limits=(0.5, 0.8)) | {"timings": {"limits": [[0.5, 15.0]], "probes": probes}}
    record["candidates"] = [
        {**c, "index": 2 * trial + c["index"], "trial": trial}
        for trial in range(1, 6)
        for c in record["candidates"]
    ]
    record["search_log"] = [
        {"tokens": 2e8 + n, "evaluations": float(n), "best_valid_loss": 9 / (n + 1)} for n in range(5 * 60)
    ]
    path = store.write(tmp_path, integrity.seal(record))
    assert 600_000 < path.stat().st_size < 0.9 * store.LARGEST
    assert store.load(path)["timings"]["probes"][-1][1].startswith("#")


def test_probes_beyond_all_tiers_are_left_out_whole():
    assert probe_keys.stored((n, "a", 1.0) for n in range(probe_keys.MOST + 1)) == []
