"""Faults that no published figure has: out of range, of another session, of a stopped run, unexplained."""

from __future__ import annotations

import itertools
import json
import re
import shutil

import pytest

from benchmarks.analysis import notes, number_format, performance_profiles, plausibility, row_intervals
from benchmarks.analysis.table import build_from_runs, build_table
from benchmarks.api import InvalidRecordError
from benchmarks.comparability import grouping
from benchmarks.leaderboard import (
    build,
)
from benchmarks.leaderboard.people import People
from benchmarks.leaderboard.site import headline, table_files
from benchmarks.records import (
    integrity,
    selection,
    store,
)
from benchmarks.report import data_formats, texts
from benchmarks.report.figure_texts import alternative
from benchmarks.report.files import write_report
from benchmarks.report.markdown import markdown
from benchmarks.report.plots import pareto
from benchmarks.stats import bleu as metrics
from benchmarks.stats import intervals
from tests import ROOT
from tests.fake_records import fake, study, summaries, with_counts

PUBLISHED = ROOT / "results" / "records"


def published():
    """The committed boards, as tables."""
    return [build_from_runs(group) for group in grouping.groups(summaries(store.load_all(PUBLISHED)))]


BOARDS = published()
NAMES = [f"{table.shared['task']}-{table.shared['profile']}-{i}" for i, table in enumerate(BOARDS)]
each_board = pytest.mark.parametrize("table", BOARDS, ids=NAMES)


def wild(method="hat", spread_ms=((5.0, 8.0), (6.0, 9.0), (20.0, 60.0))):
    """Three seeds whose latencies, losses and seconds differ so much that a t-interval passes zero."""
    made = []
    for seed, (p50, p90) in enumerate(spread_ms, 1):
        record = fake(method, seed, limits=(0.6,))
        ratio = record["candidates"][0]["latency"]["ratio"]
        record["candidates"][0]["latency"] |= {"p50": p50, "p90": p90, "reference_p50": p50 / ratio}
        record["energy"]["joules"] = 1000.0 * 9**seed
        made.append(integrity.seal(record))
    return made


@each_board
def test_no_committed_board_shows_an_impossible_figure(table):
    assert plausibility.impossible(table) == []
    for line in texts.cells(table).to_dict("records"):
        for head, cell in line.items():
            assert not re.search(r"\[-0|\[0, 0\]", cell), (head, cell)
            if head in ("p50 ms", "p90 ms", "s", "kJ", "x ref", "valid loss", "peak MB"):
                assert "-" not in cell.replace("-", "", 1) or cell == "-", (head, cell)
                ends = re.search(r"\[(\S+), (\S+)\]", cell)
                assert ends is None or 0 < float(ends[1].replace(",", "")) < float(ends[2].replace(",", ""))


def test_positive_figures_of_few_seeds_keep_above_zero():
    table = build_table(wild())
    (line,) = table.each
    for name in ("p50", "p90", "joules"):
        assert 0 < line[f"{name}_low"] < line[name] < line[f"{name}_high"], name
    assert intervals.t_interval([5.0, 6.0, 20.0]).low < 0


@pytest.mark.parametrize("name", ["p50", "quality", "joules"])
def test_the_board_refuses_an_interval_outside_its_range(name, tmp_path, monkeypatch):
    """As if intervals were computed without regard to the range."""

    def plain(mean, deviation, n, least, most):
        return mean - 40 * deviation - 1e-3, mean + 40 * deviation + 1e-3

    for record in wild():
        store.write(tmp_path / "records", record)
    monkeypatch.setattr(build, "DETAILED", 1)  # no plots
    assert build.build(tmp_path)
    monkeypatch.setattr(intervals, "bounded", plain)
    shutil.rmtree(tmp_path / "local")  # tables made by the code as it was
    table = build_table(wild())
    assert any("impossible" in line for line in plausibility.impossible(table))
    for act in (build.build, build.check):
        with pytest.raises(InvalidRecordError, match="impossible figures\nhat at limit 0.6 x ref"):
            act(tmp_path)


def test_the_board_refuses_a_share_above_its_allowance():
    record = fake(limits=(0.6,))
    record["ledger"]["share"]["evaluations"] = 1.02
    table = build_from_runs(summaries([integrity.seal(record)]))
    # Such a run has spent more than others were allowed: it is not compared either.
    assert table.obstacles == {record["id"]: "spent 102% of its evaluations"}
    assert any("1.02 of the allowance is impossible" in line for line in plausibility.impossible(table))


def test_the_board_refuses_a_p_of_no_difference():
    table = build_table(study(("hat", "scratch"), 1, limits=(0.6,)))
    table.comparisons.loc[0, ["difference", "p"]] = 0.0, 1e-4
    assert any("p 0.0001 of a difference of zero" in line for line in plausibility.impossible(table))


def test_two_systems_of_no_bleu_are_not_compared():
    found = []
    for method, length in (("hat", 3), ("scratch", 9)):
        record = with_counts(fake(method, limits=(0.6,)))
        for made in record["candidates"]:
            n = sum(size for _, size in made["sentences"]["sets"])
            words = [" ".join(["never"] * length)] * n
            references = [" ".join(map(str, range(12)))] * n
            made["sentences"]["bleu"] = metrics.sentence_counts(words, references)
            made["test"]["pooled"]["bleu"] |= {"value": 0.0, "low": 0.0, "high": 0.0}
        found.append(integrity.seal(record))
    assert build_table(found).sentences.empty


@each_board
def test_a_limit_shows_no_milliseconds_of_another_session(table, tmp_path):
    for line in texts.cells(table).to_dict("records"):
        assert " ms" not in line["limit"], line["limit"]
    shown = table_files.write_rows(tmp_path, table, "table", People())["columns"]
    assert not any(share and ms for share, ms in zip(shown["limit_share"], shown["limit_ms"], strict=True))


@each_board
def test_each_mark_has_its_note_and_each_note_its_mark(table):
    notes = texts.footnotes(table)
    frames = [texts.cells(table), *(one.frame for one in table.scores)]
    cells = [str(cell) for frame in frames for head in frame for cell in frame[head]]
    stars = {mark for cell in texts.cells(table)["kJ"] for mark in re.findall(r"(?<= )\*+\d*", cell)}
    assert stars == {note.split(" ")[0] for note in notes if note.startswith("*")}
    letters = {mark for cell in cells for mark in re.findall(r"\] ([a-z])(?=$|,)", cell)}
    noted = {note[0] for note in notes if re.match(r"[a-z]: one network", note)}
    assert letters == noted and letters <= {x.strip() for x in number_format.OVER.values()}


def test_no_two_sources_share_a_mark():
    marks = [texts.mark(i) for i in range(12)]
    assert len(set(marks)) == 12


STOPPED = {"seconds": "stopped at 100 % of seconds", "tokens": "stopped at 100 % of tokens"}


@pytest.mark.parametrize("why", STOPPED)
def test_a_stopped_run_is_shown_with_why_and_never_compared(why, tmp_path):
    cut = fake("mos-neuron", 1, status="budget", message=STOPPED[why])
    for candidate in cut["candidates"]:  # what the cut left is very good: it must not win
        candidate["test"]["pooled"]["bleu"] |= {"value": 99.0, "low": 98.0, "high": 99.5}
    cut = integrity.seal(cut)
    found = [*study(("hat", "scratch", "mos-layer"), 3), *study(("mos-neuron",), 3)[1:], cut]
    table = build_table(found)
    (run,) = (run for run in summaries([cut]))
    assert grouping.obstacle(run).endswith(STOPPED[why])
    apart = [line for line in table.each if line["method"] == "mos-neuron, stopped"]
    assert [line["quality"] for line in apart] == [99.0] * 3 and not any(x["compared"] for x in apart)
    assert all(STOPPED[why] in line["status"] for line in apart)
    for _, part in itertools.groupby(table.each, key=lambda line: str(line["limit"])):
        assert [line["method"] for line in part][-1] == "mos-neuron, stopped"  # ranked nowhere
    ours = [line for line in table.each if line["method"] == "mos-neuron"]
    assert all(line["seeds"] == "2 3" and line["quality"] < 60 for line in ours)
    assert not table.comparisons["method"].str.contains("stopped").any()
    pairs = table.comparisons.set_index("method").loc["mos-neuron", "pairs"]
    assert set(pairs) == {2}
    assert set(table.volumes[table.volumes["method"] == "mos-neuron"]["seed"]) == {2, 3}
    assert performance_profiles.common_seeds(table)[1] == [2, 3]
    assert cut["id"] not in {run.id for run in table.comparable}
    drawn = pareto.draw(table)
    assert all(max(line.get_ydata(), default=0) < 90 for line in drawn.axes[0].lines if len(line.get_xdata()))
    assert "99" not in alternative("pareto", table)
    core = table_files.write_rows(tmp_path, table, "table", People())
    names = [core["strings"]["method"][place] for place in core["columns"]["method"]]
    shown = zip(names, core["columns"]["compared"], strict=True)
    assert [compared for name, compared in shown if "stopped" in name] == [0] * 3


def test_a_follower_of_a_stopped_run_is_not_compared():
    leader = fake("hat", 1, status="budget")
    follower = fake("scratch", 1)
    follower["spec"]["follows"] = leader["id"]
    follower = integrity.seal(follower)
    found = grouping.obstacles(summaries([leader, follower, fake("mos-layer")]))
    assert set(found) == {leader["id"], follower["id"]}
    assert found[follower["id"]].startswith("follows hat seed 1, which stopped:")


def test_a_follower_of_a_stopped_run_that_was_superseded_is_not_compared():
    leader = fake("hat", 1, status="budget")
    leader["spec"]["budget"]["seconds"] += 1
    leader, again = integrity.seal(leader), fake("hat", 1)
    follower = fake("scratch", 1)
    follower["spec"]["follows"] = leader["id"]
    follower = integrity.seal(follower)
    table = build_table([leader, again, follower, *study(("hat", "scratch"), 3)[1:3]])
    assert leader["id"] in {run.id for run in table.superseded}
    assert table.obstacles == {
        follower["id"]: "follows hat seed 1, which stopped: stopped at 100 % of tokens"
    }
    assert follower["id"] not in {run.id for run in table.comparable}
    assert not any(line["compared"] for line in table.each if line["method"].startswith("scratch"))
    assert sum("follows hat seed 1" in line for line in table.failures) == 1


def test_a_run_that_may_be_compared_counts_before_a_later_one_that_may_not():
    good = fake("hat", 1)
    late = fake("hat", 1, status="budget")
    late["provenance"]["ended"] = "2027-01-01T00:00:00+00:00"
    latest = grouping.latest(summaries([good, integrity.seal(late)]))
    assert [run.status for run in latest] == ["done"]


def origins(method="hat", seed=1, *, losses=((2.0, 20.0), (2.5, 18.0))):
    """A run that proposed an inherited network with the better validation loss, then retrained it."""
    record = fake(method, seed, limits=(0.6, 0.6))
    for candidate, origin, (loss, bleu) in zip(
        record["candidates"], ("inherited", "retrained"), losses, strict=True
    ):
        candidate |= {"origin": origin, "valid": {"loss": loss, "bleu": None}}
        candidate["test"]["pooled"]["bleu"] |= {"value": bleu, "low": bleu - 1, "high": bleu + 1}
    return integrity.seal(record)


def test_a_runs_product_is_its_row_and_each_earlier_origin_has_one_beneath():
    table = build_table([origins(), fake("scratch", limits=(0.6,))])
    ours = [(x["method"], x["origin"], x["quality"], x["compared"]) for x in table.each if x["of"] == "hat"]
    assert ours == [("hat", "retrained", 18.0, True), ("hat, inherited", "inherited", 20.0, False)]
    at = [line["method"] for line in table.each]
    assert at.index("hat, inherited") == at.index("hat") + 1
    assert set(table.comparisons["method"]) | {table.baseline} == {"hat", "scratch"}
    cells = texts.cells(table).set_index("method")
    assert cells.loc["hat, inherited", "s"] == "-" and cells.loc["hat", "s"] != "-"
    assert any("(inherited)" in note for note in table.notes)


def test_within_its_product_validation_chooses():
    record = fake(limits=(0.6, 0.6))
    for candidate, loss in zip(record["candidates"], (2.0, 2.5), strict=True):
        candidate |= {"origin": "retrained", "valid": {"loss": loss, "bleu": None}}
    assert selection.best_by_validation(record["candidates"])["index"] == 0
    assert selection.products_and_earlier(record["candidates"])[1] == []


def sized(method, seed=1, task="bert-enwiki", params=3_600_000):
    record = fake(method, seed, task=task, limits=(None,))
    candidate = record["candidates"][0]
    candidate |= {"window": [3_400_000, 4_000_000], "limit_ms": None, "limit_share": None}
    candidate["cost"]["params"] = params
    return integrity.seal(record)


def test_where_targets_are_sizes_quality_is_traded_against_parameters():
    table = build_table([sized("hat"), sized("scratch", params=3_900_000)])
    assert table.axis.figure == "params"
    volume = table.volumes.set_index("method")["volume"]
    quality = table.compared.set_index("method")["quality"]
    assert volume["hat"] == pytest.approx(quality["hat"] * (8.1 - 3.6))
    figure = pareto.draw(table)
    assert "parameters" in figure.axes[0].get_xlabel() and "ms" not in figure.axes[0].get_xlabel()
    shown = data_formats.as_json(table, only=["hypervolume"])["hypervolume"]
    assert shown["reference"] == {"quality": 0.0, "parameters_millions": 8.1}
    assert not build_table([sized("hat", task="bert-theirs")]).volumes["volume"].notna().any()


def valued(method: str, seed: int, bleu: float):
    record = fake(method, seed, limits=(0.6, 0.8))
    for place, candidate in enumerate(record["candidates"]):
        at = bleu + place
        candidate["test"]["pooled"]["bleu"] |= {"value": at, "low": at - 1, "high": at + 1}
    return integrity.seal(record)


@pytest.mark.parametrize(("bleu", "is_beyond"), [(5.0, True), (29.0, False)])
def test_two_seeds_far_away_do_not_squeeze_all_others(bleu: float, is_beyond: bool):
    """Two runs that had not learnt took five sixths of the frame from nine methods with six seeds."""
    runs = [valued("hat", seed, 30.0 + 0.1 * seed) for seed in (1, 2, 3)]
    runs += [valued("scratch", seed, bleu + seed) for seed in (1, 2)]
    figure = pareto.draw(build_table(runs))
    low, high = figure.axes[0].get_ylim()
    assert (low > bleu + 2) == is_beyond and low < 30 < high
    said = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
    assert ("Provisional rows do not set the frame" in said) == is_beyond
    assert ("scratch (n 2, 6.5 to 7.5)" in said) == is_beyond


def test_networks_over_their_limit_are_crossed_out_and_not_in_the_front():
    over = fake("scratch", limits=(0.6,))
    candidate = over["candidates"][0]
    candidate["latency"] |= {"ratio": 0.66, "ratio_low": 0.65, "ratio_high": 0.67}
    candidate["test"]["pooled"]["bleu"] |= {"value": 60.0, "low": 59.0, "high": 61.0}
    table = build_table([fake("hat", limits=(0.6,)), integrity.seal(over)])
    axes = pareto.draw(table).axes[0]
    crossed = next(line for line in axes.lines if line.get_marker() == "x")
    assert list(crossed.get_ydata()) == [60.0]
    front = next(line for line in axes.lines if str(line.get_label()).startswith("best of all"))
    assert max(front.get_ydata()) < 60


def test_a_follower_that_took_weights_shows_their_cost():
    leader = fake("hat", 1)
    follower = fake("mos-layer", 1)
    follower["spec"]["follows"] = leader["id"]
    taken = {"phase": "inherited", "kind": "tokens", "amount": 1.0}
    follower["ledger"]["entries"].append(taken)
    own = follower["ledger"]["totals"]["seconds"]
    table = build_table([leader, integrity.seal(follower)])
    line = next(x for x in table.each if x["method"] == "mos-layer")
    assert line["seconds"] == pytest.approx(own + leader["ledger"]["totals"]["seconds"])
    alone = build_table([follower]).each[0]
    assert alone["seconds"] != alone["seconds"]  # not known here


def test_a_board_that_ranks_no_methods_is_labelled_so_above_its_rows():
    table = next(t for t in BOARDS if (t.shared["task"], t.shared["tier"]) == ("bert-enwiki", "small"))
    assert table.notices[0].startswith("Not a ranking of methods until")
    text = markdown(table, "t")
    assert text.index("Not a ranking of methods") < text.index("| method |")
    noticed = {t.shared["task"] for t in BOARDS if t.notices}
    assert noticed == {"bert-enwiki", "vision-cifar10", "vision-cifar10-resnet"}


def test_networks_at_the_level_of_word_frequencies_are_counted_from_the_records(monkeypatch):
    entry = {"task": "t", "tier": "small", "profile": "p", "until": "then", "reasons": ["why"]}
    entry |= {"unigram": 4.0, "near": 0.5}
    monkeypatch.setattr(notes, "_entries", lambda: [entry])
    records_ = study(("hat", "scratch"), 2, limits=(0.6,))
    for record in records_:
        low = record["spec"]["method"] == "hat"
        record["candidates"][0]["valid"]["loss"] = 3.9 if low else 1.0
    table = build_table([integrity.seal(r) for r in records_])
    told = notes.notices("t", "small", "p", table.lines)
    assert told[0] == "Not a ranking of methods until then." and told[-1] == "why"
    assert "2 of 4 networks" in told[1] and told[1].endswith("hat (2 seeds).")
    assert (
        notes.notices("t", "paper", "p", table.lines) == notes.notices("t", "small", "q", table.lines) == []
    )


def test_a_smaller_board_names_its_differences_and_compares_without_hat(tmp_path, monkeypatch):
    many = study(("hat", "mos-layer"), 3, limits=(0.6,))
    few = study(("mos-neuron", "scratch"), 2, limits=(0.6,))
    for record in few:
        record["spec"]["settings_sha256"] = "ab" * 32
    for record in [*many, *map(integrity.seal, few)]:
        store.write(tmp_path / "records", record)
    monkeypatch.setattr(build, "DETAILED", 1)  # no plots
    build.build(tmp_path)
    groups = json.loads((tmp_path / "leaderboard.json").read_text())["groups"]
    smaller = next(g for g in groups if g["title"].endswith(")"))
    assert smaller["baseline"] == "scratch"
    assert any("differs in" in note and "settings_sha256 abababababab" in note for note in smaller["notes"])
    assert any("None of hat, uniform-int8" in note for note in smaller["notes"])


def test_the_reference_method_is_found_among_its_options():
    other = fake("hat", 2)
    other["spec"]["options"] = {"after": "continue"}
    table = build_table([fake("hat"), integrity.seal(other), fake("mos-layer")])
    assert table.baseline == "hat (default options)"


def test_intervals_too_narrow_for_their_digits_are_shown_to_more():
    assert number_format.ranged(14.004, 14.001, 14.006, ".1f") == "14.00 [14.00, 14.01]"
    assert number_format.ranged(14.0, 14.0, 14.0, ".1f") == "14.0"
    assert number_format.ranged(99.5, 98.1, 99.9, "sig") == "99.5 [98.1, 99.9]"
    assert set(row_intervals.SPENT) == {"seconds", "joules"}


@pytest.mark.parametrize("status", ["budget", "failed"])
def test_a_report_of_nothing_but_stopped_runs_shows_them_and_compares_nothing(status, tmp_path):
    found = [fake(method, seed, status=status) for method in ("hat", "scratch") for seed in (1, 2)]
    paths = write_report(build_table(found), tmp_path)
    text = paths["table.md"].read_text()
    assert "Against" not in text and ("not compared" if status == "budget" else "failed") in text
    table = build_table(found)
    assert table.baseline is None and table.volumes.empty and plausibility.impossible(table) == []


def test_a_large_board_is_checked_too(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "DETAILED", 2)
    for record in study(("hat", "scratch"), 2, limits=(0.6,)):
        store.write(tmp_path / "records", record)
    assert build.build(tmp_path)
    bad = fake("hat", 3, limits=(0.6,))
    bad["ledger"]["share"]["probes"] = 1.5
    store.write(tmp_path / "records", integrity.seal(bad))
    with pytest.raises(InvalidRecordError, match="1.5 of the allowance is impossible"):
        build.build(tmp_path)


def test_rows_are_not_held_to_limits_of_another_runtime():
    tables = []
    for tier in ("small", "front"):
        records = study(("hat",), 3, limits=(0.3,), tier=tier)
        for record in records:
            record["candidates"][0]["latency"]["ratio"] = 0.6
        tables.append(build_table([integrity.seal(record) for record in records]))
    here, elsewhere = tables
    assert "over its limit by 100%" in here.rows["status"].iloc[0]
    assert not any("over its limit" in status for status in elsewhere.rows["status"])
    assert notes.OTHER_RUNTIME in elsewhere.notes and notes.OTHER_RUNTIME not in here.notes
    told = [{"limit of another runtime" in row["status"] for row in one.each} for one in (elsewhere, here)]
    assert told == [{True}, {False}]
    assert [any("as limits are" in note for note in texts.footnotes(one)) for one in (elsewhere, here)] == [
        False,
        True,
    ]
    assert "within its limit" not in headline.sentence(elsewhere)
