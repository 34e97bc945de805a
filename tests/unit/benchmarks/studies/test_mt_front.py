"""The study of fronts on a processor: winners from records, comparisons over seeds, pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.hardware import profiles
from benchmarks.records.study_files import to_files
from benchmarks.stats import intervals
from benchmarks.studies import mt_front, published_winners
from benchmarks.studies.mt_front import FrontPoint, compare, hypervolumes, limits_kept, outcome
from benchmarks.studies.published_winners import OmittedRecords
from tests import ROOT

RECORDS = ROOT / "results" / "records" / "mt-synthetic-en-de"
POINT = FrontPoint(
    "mt-multi30k-en-de", "hat", 1, 0.6, 30.0, 0.55, 0.54, 0.56, 16.0, 0.43, 1, 4_000_000, 0.0, "lat:p50|n:64"
)  # fmt: skip


def winners(method: str, seed: int, better: float = 0.0) -> list[FrontPoint]:
    """Two winners of a run, of one decoder layer and of two."""
    first = replace(POINT, method=method, seed=seed, bleu=30.0 + better)
    return [first, replace(first, limit=0.8, ratio=0.75, bleu=32.0 + better, decoder_layers=2)]


def test_the_hypervolume_is_the_area_up_to_the_frozen_reference_point() -> None:
    dominated = replace(POINT, ratio=0.8, bleu=29.0)
    volumes = hypervolumes([*winners("hat", 1), dominated])
    # Reference point: BLEU 0, latency 1.1 times the reference network's.
    assert volumes == {("mt-multi30k-en-de", "hat"): {1: pytest.approx((1.1 - 0.55) * 30 + (1.1 - 0.75) * 2)}}


def test_methods_are_compared_over_the_seeds_that_both_have() -> None:
    gains = [0.5, 0.7, 0.6, 0.9]
    points = [p for seed, gain in enumerate(gains) for p in winners("mos-neuron", seed, gain)]
    points += [p for seed in (*range(4), 9) for p in winners("hat-sandwich", seed)]
    points += winners("mos-layer", 1)
    figures = compare(hypervolumes(points))
    neuron, layer = (f"mt-multi30k-en-de: {one} - hat-sandwich" for one in ("mos-neuron", "mos-layer"))
    assert set(figures) == {neuron, layer}
    expected = [0.55 * gain for gain in gains]  # both winners gain as much: the whole width below 1.1
    assert figures[neuron]["values"] == pytest.approx(expected)
    assert figures[neuron]["p"] == pytest.approx(intervals.t_test(expected))
    assert "p" not in figures[layer], "one seed is no test"


def test_p_values_are_corrected_over_all_tasks_of_the_page() -> None:
    points = []
    for task in ("mt-multi30k-en-de", "mt-libreoffice-en-de"):
        for seed, gain in enumerate((0.5, 0.7, 0.6, 0.9)):
            for method, better in (("mos-neuron", gain), ("hat-sandwich", 0.0)):
                points += [replace(p, task=task) for p in winners(method, seed, better)]
    figures = compare(hypervolumes(points))
    alone = compare(hypervolumes([p for p in points if p.task == "mt-multi30k-en-de"]))
    name = "mt-multi30k-en-de: mos-neuron - hat-sandwich"
    assert len(figures) == 2 and figures[name]["p"] == pytest.approx(2 * alone[name]["p"])


@pytest.mark.parametrize(
    ("seeds", "gain", "word"),
    [(5, 1.0, "interim, 5 of 6"), (6, 1.0, "better"), (6, -1.0, "worse"), (6, 0.0, "undecided")],
)
def test_the_rule_waits_for_all_planned_seeds(seeds: int, gain: float, word: str) -> None:
    points = []
    for seed in range(seeds):
        points += winners("hat", seed) + winners("mos-neuron", seed, gain + 0.1 * (-1) ** seed)
    notes = outcome(points, "cpu-2core-avx512.v1").notes
    assert any(f"mos-neuron - hat: {word}" in note for note in notes)


def test_quality_and_latency_are_compared_apart_over_common_limits() -> None:
    points = [
        *winners("hat", 1),
        *winners("hat", 2),
        *winners("mos-neuron", 1, 0.5),
        *winners("mos-neuron", 2, 0.7),
    ]
    points = [replace(p, ratio=p.ratio + 0.02) if p.method == "mos-neuron" else p for p in points]
    points += [replace(POINT, method="mos-neuron", seed=1, limit=0.9, bleu=99.0)]
    (found,) = mt_front.beside(points).values()
    assert found == {"bleu": pytest.approx([0.5, 0.7]), "ratio": pytest.approx([0.02, 0.02])}


def test_a_page_is_judged_again_from_its_file(tmp_path: Path) -> None:
    points = [
        p for seed in (1, 2) for m in ("hat", "mos-neuron") for p in winners(m, seed, 0.1 * seed * len(m))
    ]
    first = outcome(points, "cpu-2core-avx512.v1", OmittedRecords(former=3))
    files = to_files("mt-front", first, "0" * 40, None)
    (tmp_path / "mt-front.json").write_text(str(files["json"]))
    again = mt_front.rejudge(tmp_path / "mt-front.json")
    assert again.rows == first.rows and again.notes[: len(first.notes)] == first.notes
    assert again.facts["points"] == first.facts["points"] and "judged again" in again.notes[-1]


def test_winners_above_their_counted_limit_are_counted() -> None:
    (line,) = limits_kept([POINT, replace(POINT, ratio=0.63)])
    assert "1 of 2 winners" in line and "5 % at most" in line
    assert "0 of 1 winners" in limits_kept([POINT])[0] and "0 % at most" in limits_kept([POINT])[0]


def test_the_page_has_a_column_a_limit_and_a_file_that_loads() -> None:
    points = [p for seed in (1, 2, 3) for p in winners("hat", seed, 0.1 * seed)] + winners("scratch", 1)[:1]
    found = outcome(points, "cpu-2core-avx512.v1", OmittedRecords(former=3))
    assert list(found.columns[-2:]) == ["limit 0.6", "limit 0.8"]
    assert [row[1] for row in found.rows] == ["hat", "scratch"] and found.rows[1][-1] == "–"
    assert "at 0.75 (2)" in found.rows[0][-1]
    assert "3 records of former settings" in found.notes[-1]
    assert {"json", "md", "png", "svg"} <= set(to_files("mt-front", found, None, None))


def test_records_that_are_not_there_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "matching", lambda: "cpu-2core-avx512.v1")
    with pytest.raises(UsageError, match="no records of tier front .* makes them"):
        mt_front.run(tmp_path, print)
    monkeypatch.setattr(profiles, "matching", lambda: None)
    with pytest.raises(UsageError, match="study mt-front times on a declared CPU profile"):
        mt_front.run(tmp_path, print)


@pytest.mark.slow
def test_published_winners_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On records of the smoke tier, which has several limits too."""
    monkeypatch.setattr(profiles, "matching", lambda: "cpu-2core-avx512.v1")
    monkeypatch.setattr(published_winners, "has_former_settings", lambda spec: False)
    monkeypatch.setattr(published_winners, "has_own_allowance", lambda record: True)
    monkeypatch.setattr(mt_front, "TIER", "smoke")
    said: list[str] = []
    found = mt_front.run(RECORDS / "cpu-2core-avx512.v1", said.append)
    points = [FrontPoint(**one) for one in found.facts["points"]]
    assert len(points) == len(said) > 10
    assert all(
        p.low <= p.ratio <= p.high and 0.2 < p.ratio < 1.2 and p.decoder_layers in (1, 2) for p in points
    )
