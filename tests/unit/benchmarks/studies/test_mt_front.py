"""The study of fronts on a processor: winners from records, comparisons over seeds, pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.api import InvalidRecordError, UsageError
from benchmarks.hardware import profiles
from benchmarks.records import store
from benchmarks.records.study_files import StudyOutcome, to_files
from benchmarks.stats import intervals
from benchmarks.studies import cpu_latency, published_winners
from benchmarks.studies.mt_front import plot, study
from benchmarks.studies.mt_front.analysis import (
    COMPARED,
    CONTINUED,
    SEEDS,
    TASKS,
    FrontPoint,
    beside,
    compare,
    differences,
    exchanged,
    hypervolumes,
    split_incomplete,
    timing_errors,
)
from benchmarks.studies.mt_front.study import limits_kept, outcome
from benchmarks.studies.mt_front.timing import BUILDS, select_winners
from benchmarks.studies.published_winners import OmittedRecords
from tests import ROOT

RECORDS = ROOT / "results" / "records" / "mt-synthetic-en-de"
POINT = FrontPoint(
    "mt-multi30k-en-de", "hat", 1, 0.6, 30.0, 29.0, 0.54, 0.55, (0.54, 0.55, 0.56), 16.0, 0.43, 1, 192,
    4_000_000, 0.0, "rt:ort|n:64",
)  # fmt: skip


def winners(method: str, seed: int, better: float = 0.0) -> list[FrontPoint]:
    """Two winners of a run, of one decoder layer and of two."""
    first = replace(POINT, method=method, seed=seed, bleu=30.0 + better)
    slow = (0.74, 0.75, 0.76)
    return [first, replace(first, limit=0.8, ratio=0.75, ratios=slow, bleu=32.0 + better, decoder_layers=2)]


def planned_runs(seeds: int = SEEDS, gain: float = 1.0, tasks: tuple[str, ...] = TASKS) -> list[FrontPoint]:
    """Runs of all methods, of which HAT alone is worse by about ``gain``, but for luck."""
    methods = dict.fromkeys(method for pair in COMPARED for method in pair)
    return [
        replace(point, task=task)
        for task in tasks
        for number, method in enumerate(methods)
        for seed in range(1, seeds + 1)
        for point in winners(method, seed, -gain * (method == "hat") + 0.1 * ((seed * (number + 2)) % 5))
    ]


def timed(points: list[FrontPoint]) -> dict[str, list[float]]:
    """Differences of one session."""
    return differences(hypervolumes(points), COMPARED + CONTINUED)


def session(points: list[FrontPoint], commit: str = "1" * 40, profile: str = "cpu") -> dict[str, object]:
    """An earlier session, as a page holds it."""
    parts, apart = beside(points), timed(points)
    bleu = {name: parts[name]["bleu"] for name in apart}
    return {"commit": commit, "profile": profile, "differences": apart, "bleu": bleu}


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
    figures = compare([timed(points)])
    neuron, layer = (f"mt-multi30k-en-de: {one} - hat-sandwich" for one in ("mos-neuron", "mos-layer"))
    assert set(figures) == {neuron, layer}
    expected = [0.55 * gain for gain in gains]  # both winners gain as much: the whole width below 1.1
    assert figures[neuron]["values"] == pytest.approx(expected)


def test_gains_by_bleu_and_by_latencies_alone_are_those_by_hand() -> None:
    theirs = [p for seed in (1, 2) for p in winners("scratch", seed)]
    ours = [
        replace(p, method="hat-sandwich", bleu=p.bleu + 0.5, ratio=p.ratio - 0.1 * (p.seed == 2))
        for p in theirs
    ]
    parts = beside([*theirs, *ours])["mt-multi30k-en-de: hat-sandwich - scratch"]
    assert parts["bleu_alone"] == pytest.approx([0.55 * 0.5] * 2)
    # Both winners are a tenth of the reference faster: the fastest one's BLEU over that width.
    assert parts["latency_alone"] == pytest.approx([0.0, 0.1 * 32.0])
    named = exchanged([*theirs, *ours], [("scratch", "hat-sandwich"), ("hat", "scratch")])
    assert set(named) == {"mt-multi30k-en-de: scratch - hat-sandwich"}


def test_p_values_are_corrected_over_both_tasks_and_are_the_largest_of_two_sessions() -> None:
    sessions = [timed(planned_runs()), timed(planned_runs(gain=0.12))]
    figures = compare(sessions)
    assert len(figures) == len(TASKS) * len(COMPARED) == 12
    largest: dict[str, float] = {}
    for values in sessions:
        raw = {name: intervals.t_test(values[name]) for name in figures}
        for name, p in intervals.holm({name: p for name, p in raw.items() if p is not None}).items():
            largest[name] = max(p, largest.get(name, 0.0))
    assert {name: figure["p"] for name, figure in figures.items()} == pytest.approx(largest)
    name = f"{TASKS[0]}: hat-sandwich - hat"
    assert figures[name]["values"] == pytest.approx(np.mean([s[name] for s in sessions], axis=0))
    assert "p" not in compare(sessions[:1])[name]


def test_p_values_come_with_the_last_run_of_two_sessions() -> None:
    points = planned_runs()
    for absent in (points[2:], [p for p in points if p.task == TASKS[0]], planned_runs(SEEDS - 1)):
        for sessions in ([timed(absent)] * 2, [timed(absent), timed(points)], [timed(points), timed(absent)]):
            assert not any("p" in figure for figure in compare(sessions).values())
        whole = compare([timed(absent), timed(points), timed(points)])
        assert whole == compare([timed(points)] * 2), "a session without all seeds does not count"


def test_a_session_without_the_difference_leaves_a_comparison_undecided() -> None:
    name = f"{TASKS[0]}: hat-sandwich - hat"
    (one, two) = (compare([timed(planned_runs(gain=gain))] * 2)[name]["p"] for gain in (1.0, 0.0))
    assert one < 0.05 < two
    for order in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0, 0.0)):
        assert compare([timed(planned_runs(gain=gain)) for gain in order])[name]["p"] == two


def test_sessions_of_unlike_signs_decide_nothing() -> None:
    name = f"{TASKS[0]}: hat-sandwich - hat"
    one, other = (timed(planned_runs(gain=gain)) for gain in (1.0, -1.5))
    assert all(compare([s, s])[name]["p"] < 0.05 for s in (one, other))
    for order in ([one, other], [other, one], [one, one, other]):
        assert compare(order)[name]["p"] == 1.0


def test_a_session_counts_for_the_same_winners_on_the_same_machine() -> None:
    runs, name = planned_runs(), f"{TASKS[0]}: hat-sandwich - hat"
    again = [replace(p, bleu=p.bleu + 0.1 * (p.seed == 2)) if p.method == "hat" else p for p in runs]
    assert "p" in outcome(runs, "cpu", earlier=[session(runs)]).facts["paired"][name]
    for earlier in (session(again), session(runs, profile="another")):
        page = outcome(runs, "cpu", earlier=[earlier])
        assert page.facts["paired"][name]["interim"].startswith("1 of 2 sessions")
        assert page.facts["paired"][name]["values"] == pytest.approx(timed(runs)[name])
        assert page.facts["sessions"][0] == earlier, "it is kept"


def test_comparisons_that_came_later_are_corrected_among_themselves_and_change_no_other() -> None:
    planned = planned_runs()
    before = compare([timed(planned)] * 2)
    added = [
        replace(p, task=task)
        for task in TASKS
        for seed in range(1, SEEDS + 1)
        for p in winners("hat after=continue", seed, -0.4 + 0.1 * (seed % 4))
    ]
    both = timed([*planned, *added])
    figures = compare([both] * 2)
    later = {name: figure for name, figure in figures.items() if name not in before}
    assert {name: figures[name] for name in before} == before
    assert set(later) == {f"{task}: {ours} - {theirs}" for task in TASKS for ours, theirs in CONTINUED}
    raw = {name: intervals.t_test(list(figure["values"])) for name, figure in later.items()}
    adjusted = intervals.holm({name: p for name, p in raw.items() if p is not None})
    assert {name: figure["p"] for name, figure in later.items()} == pytest.approx(adjusted)
    # A family that was timed once waits, and keeps no other one waiting.
    once = compare([timed(planned), both])
    assert not any("p" in once[name] for name in later) and all("p" in once[name] for name in before)
    notes = " ".join(outcome([*planned, *added], "cpu").notes)
    assert all(f"{name}: interim" in notes for name in later)


@pytest.mark.parametrize(("gain", "word"), [(1.0, "better"), (-1.0, "worse"), (0.0, "undecided")])
def test_the_rule_waits_for_all_planned_runs(gain: float, word: str) -> None:
    name = f"{TASKS[0]}: hat-sandwich - hat: "
    runs = planned_runs(gain=gain)
    page = outcome(runs, "cpu", earlier=[session(runs)])
    assert any(f"{name}{word}" in note for note in page.notes)
    for points in (planned_runs(SEEDS - 1, gain), planned_runs(gain=gain, tasks=TASKS[:1])):
        notes = " ".join(outcome(points, "cpu", earlier=[session(points)]).notes)
        assert f"{name}interim" in notes and "after correction" not in notes


def test_quality_and_latency_are_compared_apart_over_the_limits() -> None:
    points = [
        *winners("hat", 1),
        *winners("hat", 2),
        *winners("mos-neuron", 1, 0.5),
        *winners("mos-neuron", 2, 0.7),
    ]
    points = [replace(p, ratio=p.ratio + 0.02) if p.method == "mos-neuron" else p for p in points]
    (parts,) = beside(points).values()
    assert parts["bleu"] == pytest.approx([0.5, 0.7]) and parts["ratio"] == pytest.approx([0.02, 0.02])
    assert parts["inherited"] == [0, 0]
    # To the point of 25 BLEU at the reference's latency, by hand: a gain in BLEU and a loss in latency.
    ours, theirs = (
        (1.0 - 0.55 - late) * (5 + more) + (1.0 - 0.75 - late) * 2 for more, late in ((0.5, 0.02), (0.0, 0.0))
    )
    assert parts["knee"][0] == pytest.approx(ours - theirs)
    # Counted latencies are equal: both winners of a run have one, and the better one counts.
    assert parts["counted"] == pytest.approx([0.56 * 0.5, 0.56 * 0.7])


def test_baselines_that_were_not_planned_stand_beside_the_rule() -> None:
    """They have a row and a difference without p, and a curve with as many seeds as the others."""
    planned = planned_runs()
    lts = [p for seed in range(1, SEEDS + 1) for p in winners("lts", seed, -0.5 - 0.1 * seed)]
    bignas = [p for seed in (1, 2) for p in winners("bignas", seed, -20.0)]
    page = outcome([*planned, *lts, *bignas], "cpu")
    assert page.facts["paired"] == outcome(planned, "cpu").facts["paired"]
    for method, seeds in (("lts", SEEDS), ("bignas", 2)):
        parts = page.facts["beside"][f"{TASKS[0]}: {method} - hat-sandwich"]
        assert len(parts["volume"]) == len(parts["bleu"]) == seeds and max(parts["volume"]) < 0
        assert [row[2] for row in page.rows if row[1] == method] == [str(seeds)]
    figure = plot.draw([*planned, *lts, *bignas])
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert "lts" in labels and "bignas" not in labels and "hat" in labels
    assert "(interim)" not in figure.get_suptitle() and "(interim)" in plot.draw(planned[2:]).get_suptitle()
    assert {text.get_text() for text in plot.draw(bignas).legends[0].get_texts()} == {"bignas"}


def test_the_error_of_timings_is_that_of_brute_force() -> None:
    points = [p for m in ("hat", "mos-neuron") for p in winners(m, 1, 0.1 * len(m))]
    own = (0.50, 0.55, 0.60), (0.70, 0.75, 0.80)
    points[2:] = [replace(p, ratios=r) for p, r in zip(points[2:], own, strict=True)]
    (error,) = timing_errors(points, np.random.default_rng(1), 4000).values()
    spread = np.mean([np.var(np.log(r), ddof=1) for r in ((0.54, 0.55, 0.56), (0.74, 0.75, 0.76), *own)]) / 3
    # The fastest winner's latency moves the volume by its BLEU, the other's by the 2 BLEU that it adds.
    of_run = [spread * ((0.55 * p.bleu) ** 2 + (0.75 * 2) ** 2) for p in (points[0], points[2])]
    assert error == pytest.approx(sum(of_run) ** 0.5, rel=0.05)
    shared = [replace(p, ratios=q.ratios) for p, q in zip(points, points[:2] * 2, strict=True)]
    (less,) = timing_errors(shared, np.random.default_rng(1)).values()
    assert less < 0.1 * error, "equal networks share their luck, which drops out"


def test_a_session_is_kept_with_its_commit_when_another_is_timed(tmp_path: Path) -> None:
    def write(page: StudyOutcome, commit: str) -> None:
        for ending, content in to_files("mt-front", page, commit, None).items():
            store.write_text(tmp_path / "studies" / f"mt-front.{ending}", content)

    assert study.earlier_sessions(tmp_path) == []
    first = outcome(planned_runs(), "cpu")
    write(first, "1" * 40)
    earlier = study.earlier_sessions(tmp_path)
    assert earlier == [session(planned_runs())]
    slower = [replace(p, ratio=2 * p.ratio) if p.method == "mos-neuron" else p for p in planned_runs()]
    second = outcome(slower, "cpu", earlier=earlier)
    name = f"{TASKS[0]}: mos-neuron - hat"
    means = np.mean([timed(points)[name] for points in (planned_runs(), slower)], axis=0)
    assert second.facts["paired"][name]["values"] == pytest.approx(means)
    assert any("Earlier sessions were timed at commit 111111111111." in note for note in second.notes)
    write(second, "2" * 40)
    assert study.earlier_sessions(tmp_path) == [*earlier, session(slower, "2" * 40)]
    again = study.rejudge(tmp_path / "studies" / "mt-front.json")
    assert (
        again.facts["paired"] == second.facts["paired"]
        and again.facts["sessions"] == second.facts["sessions"]
    )
    write(again, "3" * 40)
    assert study.earlier_sessions(tmp_path)[-1]["commit"] == "2" * 40, "that which timed"


def test_the_page_counts_networks_that_two_seeds_share_as_one() -> None:
    points = [p for seed in (1, 2) for p in winners("hat", seed)]
    assert any("4 winners are 2 networks, counted" in note for note in outcome(points, "cpu").notes)
    points[0] = replace(points[0], ratios=(0.5, 0.55, 0.6))
    assert any("4 winners are 3 networks, counted" in note for note in outcome(points, "cpu").notes)


def test_runs_without_a_winner_at_a_limit_are_left_out_by_name() -> None:
    points = [*winners("hat", 1), *winners("hat", 2)[:1]]
    kept, names = split_incomplete(points)
    assert {p.seed for p in kept} == {1} and names == ["mt-multi30k-en-de: hat seed 2"]
    assert any("Left out" in note and "hat seed 2" in note for note in outcome(points, "cpu").notes)


def test_a_page_is_judged_again_from_its_file(tmp_path: Path) -> None:
    points = [
        p for seed in (1, 2) for m in ("hat", "mos-neuron") for p in winners(m, seed, 0.1 * seed * len(m))
    ]
    first = outcome(points, "cpu-2core-avx512.v1", OmittedRecords(former=3))
    for commit, shown in (("0" * 40, "0" * 12 + " with local changes"), (None, "unknown with local changes")):
        path = tmp_path / "mt-front.json"
        path.write_text(str(to_files("mt-front", first, commit, "1" * 64)["json"]))
        again = study.rejudge(path)
        assert again.rows == first.rows and again.notes[: len(first.notes)] == first.notes
        points_again = json.loads(json.dumps(first.facts["points"]))
        assert again.facts["points"] == points_again and f"at commit {shown}" in again.notes[-1]
        assert {"commit": commit, "dirty_sha256": "1" * 64}.items() <= again.facts["measured"].items()
        path.write_text(str(to_files("mt-front", again, "2" * 40, None)["json"]))
        assert study.rejudge(path).facts["measured"] == again.facts["measured"], (
            "the timing's, not the page's"
        )
    with pytest.raises(InvalidRecordError, match="of study mt-front, not cpu-latency"):
        cpu_latency.rejudge(path)
    path.write_text(path.read_text().replace('"bleu": 30', '"bleu": 31', 1))
    with pytest.raises(InvalidRecordError):
        study.rejudge(path)


def test_networks_above_their_counted_limit_are_counted_once() -> None:
    (line,) = limits_kept(
        [POINT, replace(POINT, seed=2), replace(POINT, ratio=0.63, ratios=(0.62, 0.63, 0.64))]
    )
    assert "1 of 2 networks" in line and "5 % at most" in line and "192: +9 %" in line
    assert "Winners over their limit: hat 1." in line
    (kept,) = limits_kept([POINT])
    assert "0 of 1 networks" in kept and "0 % at most" in kept and "over their limit: none." in kept


def test_the_page_has_a_column_a_limit_and_a_file_that_loads() -> None:
    points = [p for seed in (1, 2, 3) for p in winners("hat", seed, 0.1 * seed)] + winners("scratch", 1)
    page = outcome(points, "cpu-2core-avx512.v1", OmittedRecords(former=3))
    assert list(page.columns[-2:]) == ["limit 0.6", "limit 0.8"]
    assert [row[1] for row in page.rows] == ["hat", "scratch"] and "at 0.75 (2)" in page.rows[0][-1]
    assert "3 records of former settings" in page.notes[-1]
    assert {"json", "md", "png", "svg"} <= set(to_files("mt-front", page, None, None))


def test_a_winner_has_the_inherited_network_of_its_shape_beside_it() -> None:
    records = [
        json.loads(path.read_text()) for path in sorted((RECORDS / "cpu-2core-avx512.v1").rglob("*.json"))
    ]
    origins = {
        (record["spec"]["method"], winner.product["origin"], winner.inherited is not None)
        for record, _, winner in select_winners(records)
    }
    assert ("hat", "retrained", True) in origins and ("scratch", "scratch", False) in origins
    assert all(
        winner.inherited["architecture"] == winner.product["architecture"]
        for _, _, winner in select_winners(records)
        if winner.inherited
    )


def test_records_that_are_not_there_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "matching", lambda: "cpu-2core-avx512.v1")
    with pytest.raises(UsageError, match="no records of tier front .* makes them"):
        study.run(tmp_path, print)
    monkeypatch.setattr(profiles, "matching", lambda: None)
    with pytest.raises(UsageError, match="study mt-front times on a declared CPU profile"):
        study.run(tmp_path, print)


@pytest.mark.slow
def test_published_winners_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On records of the smoke tier, which has several limits too."""
    monkeypatch.setattr(profiles, "matching", lambda: "cpu-2core-avx512.v1")
    monkeypatch.setattr(published_winners, "has_former_settings", lambda spec: False)
    monkeypatch.setattr(published_winners, "has_own_allowance", lambda record: True)
    monkeypatch.setattr(study, "TIER", "smoke")
    said: list[str] = []
    found = study.run(RECORDS / "cpu-2core-avx512.v1", said.append)
    points = [FrontPoint(**one) for one in found.facts["points"]]
    assert len({tuple(p.ratios) for p in points}) * BUILDS == len(said) > 10 * BUILDS
    assert all(len(p.ratios) == BUILDS and 0.2 < p.ratio < 1.2 and p.decoder_layers in (1, 2) for p in points)
