"""The comparison table: who stands in it, what is averaged, what is refused, how it is written."""

import csv
import io
import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats as scipy_stats

from benchmarks.analysis import comparisons, number_format, row_intervals
from benchmarks.analysis.table import build_table
from benchmarks.api import UsageError
from benchmarks.comparability import grouping
from benchmarks.records import (
    integrity,
    selection,
)
from benchmarks.report import data_formats, texts
from benchmarks.report.console import TerminalTable
from benchmarks.report.latex import latex
from benchmarks.report.markdown import markdown
from benchmarks.report.table_markup import latex_table
from benchmarks.stats import bleu as metrics
from benchmarks.stats import intervals, paired_bleu, quantities, task_units
from benchmarks.tasks import get_task, task_names
from tests.fake_records import BLEU_SIGNATURE, LIMITS, METHODS, fake, study, summaries, with_counts

NASTY = "<script>alert(1)</script> | \x1b[31m\u202e *x* $\\input{/etc/passwd}$ \n& 100 %"


def row(table, method, limit=0.6):
    frame = table.rows
    found = frame[(frame["method"] == method) & (frame["limit_share"] == limit)]
    assert len(found) == 1
    return found.iloc[0]


def test_one_row_per_method_and_limit_best_first():
    table = build_table(study())
    assert len(table.rows) == len(METHODS) * len(LIMITS)
    for share, part in table.rows.groupby("limit_share"):
        assert list(part["quality"]) == sorted(part["quality"], reverse=True), share
    assert list(table.rows["limit_share"]) == sorted(table.rows["limit_share"])


def test_a_baseline_that_the_table_does_not_compare_is_refused_with_its_labels():
    records = [*study(("hat", "mos-neuron"), 2), fake("scratch", status="failed")]
    assert build_table(records).baseline == "hat"
    assert build_table(records, "mos-neuron").baseline == "mos-neuron"
    for word in ("lts", "scratch", "mos-neurn", ""):
        with pytest.raises(UsageError, match=f"--baseline '{word}': .*\nits labels: hat, mos-neuron\nname"):
            build_table(records, word)
    assert build_table([fake("scratch", status="failed")], "lts").baseline is None


def test_means_and_intervals_over_seeds_are_recomputed_by_hand():
    study_records = study(("hat",), 3)
    line = row(build_table(study_records), "hat", 0.4)
    values = [r["candidates"][0]["test"]["pooled"]["bleu"]["value"] for r in study_records]
    expected = intervals.interval(values, quantities.of_metric("bleu"))
    assert (line["quality"], line["low"], line["high"]) == pytest.approx(
        (expected.mean, expected.low, expected.high)
    )
    assert line["interval"] == "seeds" and line["n"] == 3 and line["seeds"] == "1 2 3"
    for name, path in {"p50": ("latency", "p50"), "params": ("cost", "params")}.items():
        assert line[name] == pytest.approx(
            sum(r["candidates"][0][path[0]][path[1]] for r in study_records) / 3
        )
    assert line["joules"] == pytest.approx(sum(r["energy"]["joules"] for r in study_records) / 3)
    assert line["tokens"] == pytest.approx(0.999)


def test_with_one_seed_the_interval_is_over_sentences_and_named_so():
    table = build_table([fake()])
    line = row(table, "hat")
    figure = fake()["candidates"][1]["test"]["pooled"]["bleu"]
    assert (line["low"], line["high"]) == (figure["low"], figure["high"])
    assert line["status"] == "provisional (1 seed)"
    assert number_format.interval(line).endswith(" s")
    assert any(note.startswith("s: one network") for note in texts.footnotes(table))


def test_two_seeds_are_provisional_and_three_are_a_row():
    assert row(build_table(study(("hat",), 2)), "hat")["status"] == "provisional (2 seeds)"
    assert row(build_table(study(("hat",), 3)), "hat")["status"] == "3 seeds"


def candidate(index, loss, bleu, test, limit=0.6):
    made = fake(limits=(limit,))["candidates"][0] | {"index": index, "valid": {"loss": loss, "bleu": bleu}}
    made["test"] = {
        "pooled": {"bleu": made["test"]["pooled"]["bleu"] | {"value": test, "low": None, "high": None}}
    }
    return made


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([candidate(0, 2.0, None, 40.0), candidate(1, 1.9, None, 10.0)], 1),
        ([candidate(0, 2.0, 30.0, 10.0), candidate(1, 1.9, 29.0, 40.0)], 0),
        ([candidate(0, 2.0, 30.0, 10.0), candidate(1, 1.9, None, 40.0)], 1),
        ([candidate(0, 1.9, None, 10.0), candidate(1, 1.9, None, 40.0)], 0),
        ([candidate(0, None, None, 40.0), candidate(1, 9.0, None, 10.0)], 1),
    ],
    ids=["loss", "bleu", "bleu-missing", "tie-takes-the-first", "diverged"],
)
def test_the_headline_is_chosen_by_validation_never_by_test(candidates, chosen):
    record = integrity.seal(fake() | {"candidates": candidates})
    line = row(build_table([record]), "hat")
    assert line["quality"] == candidates[chosen]["test"]["pooled"]["bleu"]["value"]


def test_the_pooled_set_decides_wherever_it_stands():
    record = fake(limits=(0.6,))
    sets = record["candidates"][0]["test"]
    record["candidates"][0]["test"] = {"test_2016_flickr": sets["test_2016_flickr"], "pooled": sets["pooled"]}
    assert row(build_table([record]), "hat")["quality"] == sets["pooled"]["bleu"]["value"]


def test_a_p90_on_too_few_timings_is_not_shown():
    record = fake(limits=(0.6,))
    record["candidates"][0]["latency"]["n"] = 63
    shown = texts.cells(build_table([record]))
    assert shown["p90 ms"][0] == "-" and shown["p50 ms"][0] != "-"


def test_every_measured_figure_has_its_interval_over_seeds():
    found = study(("hat", "scratch"), 3)
    table = build_table([*found, fake("broken", status="failed"), fake("broken", 2, status="failed")])
    line = row(table, "hat", 0.4)
    runs = [r for r in found if r["spec"]["method"] == "hat"]
    made = [r["candidates"][0] for r in runs]
    values = {
        "chrf": [c["test"]["pooled"]["chrf"]["value"] for c in made],
        "valid_loss": [c["valid"]["loss"] for c in made],
        "peak_bytes": [c["memory"]["peak_bytes"] for c in made],
        "seconds": [r["ledger"]["totals"]["seconds"] for r in runs],
        "joules": [r["energy"]["joules"] for r in runs],
    } | {name: [c["latency"][name] for c in made] for name in ("p50", "p90", "ratio")}
    assert set(values) == {*row_intervals.MEASURED, *row_intervals.SPENT}
    for name, seen in values.items():
        expected = intervals.interval(seen, quantities.of_column(name, quantities.of_metric("bleu")))
        told = line[[name, f"{name}_low", f"{name}_high"]].to_list()
        assert told == pytest.approx([expected.mean, expected.low, expected.high]), name
    assert (line["chrf_interval"], line["ratio_interval"]) == ("seeds", "seeds")
    failed = table.rows[table.rows["method"] == "broken"].iloc[0]
    assert failed["seconds_low"] < failed["seconds"] < failed["seconds_high"] and math.isnan(
        failed["p50_low"]
    )


def test_with_one_seed_a_figure_has_the_interval_of_its_own_or_none():
    table = build_table([fake()])
    line, made = row(table, "hat"), fake()["candidates"][1]
    assert line["chrf_low"] == made["test"]["pooled"]["chrf"]["low"] and line["chrf_interval"] == "sentences"
    assert line["ratio_high"] == made["latency"]["ratio_high"] and line["ratio_interval"] == "timings"
    assert math.isnan(line["p50_low"]) and math.isnan(line["seconds_low"])
    shown = texts.cells(table).iloc[1]
    assert shown["chrF"].endswith("] s") and shown["x ref"].endswith("] t") and "[" not in shown["p50 ms"]
    assert any(note.startswith("t: one network") and "timings" in note for note in texts.footnotes(table))


UNCOUNTED = {"limit", "params M", "MMACs", "MB", "seeds", "method", "weights", "status", "verified"}
UNCOUNTED |= {"tokens %", "evals %", "probes %"}


@settings(max_examples=10)
@given(st.integers(2, 4), st.booleans())
def test_no_measured_figure_of_a_row_stands_without_brackets(seeds, uneven):
    found = study(("hat", "scratch"), seeds)
    found += [fake("mos-layer", 9), fake("mos-layer", 10)] if uneven else []
    table = build_table(found, attached={})
    for head, column in texts.cells(table).items():
        if head not in UNCOUNTED:
            assert all("[" in cell and "]" in cell for cell in column), head
    for one in table.scores:
        assert all("[" in cell for name in one.sets for cell in one.frame[name])


def test_each_test_set_has_figures_with_intervals_and_a_signature():
    found = study(("hat", "scratch"), 3, limits=(0.6,))
    table = build_table(found)
    first = table.scores[0]
    assert (first.metric, first.sets[0], len(first.sets)) == ("bleu", "pooled", 4)
    assert first.signature == BLEU_SIGNATURE and list(first.frame["method"]) == list(table.rows["method"])
    values = [r["candidates"][0]["test"]["test_2017_flickr"]["bleu"]["value"] for r in found[:3]]
    expected = intervals.interval(values, quantities.of_metric("bleu"))
    cell = first.frame.set_index("method")["test_2017_flickr"]["hat"]
    assert cell == f"{expected.mean:.1f} [{expected.low:.1f}, {expected.high:.1f}]"
    assert build_table(found[:1]).scores[0].frame["pooled"][0].endswith("] s")
    for text in (
        markdown(table, "t").replace("\\", ""),
        latex(table).replace("\\", "").replace("{[}", "["),
    ):
        assert cell in text and BLEU_SIGNATURE in text
    line = next(
        x for x in csv.DictReader(io.StringIO(data_formats.sets_csv(table))) if x["set"] == "test_2017_flickr"
    )
    assert line["metric"] == "bleu" and float(line["low"]) < float(line["value"]) < float(line["high"])
    listed = data_formats.as_json(table)["test_sets"][0]
    assert listed["low"] < listed["value"] < listed["high"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((34.24, 33.8, 34.61, ".1f"), "34.2 [33.8, 34.6]"),
        ((34.24, 33.8, 34.61, ".1f", "sentences"), "34.2 [33.8, 34.6] s"),
        ((17.42, 9.0, 125.9, "sig"), "17.4 [9.0, 125.9]"),
        ((1234.5, -3.0, 2400.0, "sig", "timings"), "1,234 [-3, 2,400] t"),
        ((0.999, 0.99, 1.0, ".0f", "seeds", 100), "100 [99, 100]"),
        ((1.5, math.nan, math.nan, ".1f"), "1.5"),
        ((math.nan, 1.0, 2.0, ".1f"), "-"),
    ],
)
def test_a_figure_is_written_with_its_interval(arguments, said):
    assert number_format.ranged(*arguments) == said


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"profile": "nvidia-h200.v1"}, "profile"),
        ({"tier": "paper"}, "tier"),
        ({"task": "mt-tatoeba-en-de"}, "task"),
        ({"tokens": 3_000_000}, "budget.tokens"),
    ],
)
def test_unequal_conditions_are_refused_and_named(other, said):
    mixed = [fake("hat"), fake("mos-neuron", **other)]
    with pytest.raises(UsageError, match="cannot share a table") as caught:
        build_table(mixed)
    told = str(caught.value)
    assert f"  {said} " in told and "hat seed 1" in told and "mos-neuron seed 1" in told
    assert "supernet-bench leaderboard" in told
    assert len(grouping.groups(summaries(mixed))) == 2


def test_other_data_is_refused_but_a_run_that_failed_before_it_had_any_is_shown():
    other = fake("mos-neuron")
    other["provenance"]["data"]["train.en"] = "0" * 64
    with pytest.raises(UsageError, match="data"):
        build_table([fake(), other])
    early = fake("broken", status="failed")
    early["provenance"]["data"] = {}
    table = build_table([early, fake()])
    assert list(table.rows["method"])[-1] == "broken"


def test_failed_and_stopped_runs_are_shown_not_hidden():
    table = build_table(
        [*study(("hat",), 3), fake("hat", 4, status="failed"), fake("hat", 5, status="budget")]
    )
    line = row(table, "hat")
    assert line["seeds"] == "1 2 3"
    assert line["status"] == "3 seeds; failed: seed 4; not compared: seed 5"
    assert "hat, seed 4: failed: ValueError: nonsense" in table.failures
    assert "hat, seed 5: stopped: stopped at 100 % of tokens" in table.failures
    apart = row(table, "hat, stopped")
    assert (apart["seeds"], apart["compared"]) == ("5", False)
    assert apart["status"] == "not compared: seed 5: stopped: stopped at 100 % of tokens"


def test_a_method_with_nothing_but_failures_has_a_row():
    table = build_table([fake("broken", status="failed"), fake("hat")])
    last = table.rows.iloc[-1]
    assert (last["method"], last["status"], last["n"]) == ("broken", "failed: seed 1", 0)
    assert "broken" in markdown(table, "t")
    only = build_table([fake("broken", status="failed")])
    assert len(only.rows) == 1 and only.baseline is None


def test_without_scores_the_metric_is_that_of_the_task():
    """Its own metric, not translation's."""
    table = build_table([fake("broken", status="failed", task="vision-digits")])
    assert table.metric == "accuracy"
    assert build_table([fake("broken", status="failed")]).metric == "bleu"


@pytest.mark.parametrize("name", sorted(task_units.BEFORE))
def test_the_usual_metric_of_a_task_is_its_own(name):
    assert selection.metric_of(fake(task=name, status="failed")) == get_task(name).metric


def test_a_missing_limit_and_an_exceeded_one_are_noted():
    table = build_table([fake("hat", 1), fake("hat", 2, limits=(0.4,))])
    assert row(table, "hat", 0.6)["status"] == "provisional (1 seed); no candidate: seed 2"
    record = fake(limits=(0.6,))
    record["candidates"][0]["latency"]["ratio"] = 0.6 * 1.1
    assert row(build_table([record]), "hat")["status"] == "provisional (1 seed); over its limit by 10%"
    # A slower hour makes other milliseconds, and the limit is a share of the reference.
    record["candidates"][0]["latency"]["ratio"] = 0.59
    record["candidates"][0]["latency"]["p50"] *= 2
    assert row(build_table([record]), "hat")["status"] == "provisional (1 seed)"
    record["candidates"][0] |= {
        "limit_share": None,
        "limit_ms": record["candidates"][0]["latency"]["p50"] / 1.1,
    }
    told = build_table([record]).rows["status"]
    assert list(told) == ["provisional (1 seed); over its limit by 10%"]


def test_rows_are_grouped_by_share_when_the_reference_drifts_and_by_ms_without_one():
    drifting = [fake(seed=s) for s in (1, 2, 3)]
    assert len({r["candidates"][0]["limit_ms"] for r in drifting}) == 3
    assert len(build_table(drifting).rows) == len(LIMITS)
    for record in drifting:
        for made in record["candidates"]:
            made |= {"limit_share": None, "limit_ms": 10.0 + made["index"]}
    assert [str(x) for x in build_table(drifting).rows["limit"]] == ["10 ms", "11 ms", "12 ms"]


def test_a_missing_limit_sorts_last_and_reads_none():
    table = build_table([fake(limits=(None, 0.5))])
    assert [str(x) for x in table.rows["limit"]] == ["0.5 x ref", "none"]


def test_other_options_or_other_source_is_another_method():
    plain, tuned = fake(), fake(seed=2)
    tuned["spec"]["options"] = {"population": 10}
    assert set(build_table([plain, tuned]).rows["method"]) == {
        "hat (default options)",
        "hat (population=10)",
    }
    assert set(build_table([tuned]).rows["method"]) == {"hat (population=10)"}
    edited = fake(seed=2)
    edited["spec"]["method_sha256"] = "f" * 64
    names = set(build_table([plain, edited]).rows["method"])
    assert "hat @fffffff" in names and len(names) == 2


def test_a_seed_counts_once_the_last_run_wins():
    old, new = fake(), fake()
    new["spec"]["follows"] = "0123456789abcdef"
    new["provenance"]["ended"] = "2026-06-01T00:00:00+00:00"
    new["candidates"][0]["test"]["pooled"]["bleu"]["value"] = 1.0
    new = integrity.seal(new)
    for order in ([old, new], [new, old]):
        table = build_table(order)
        assert row(table, "hat", 0.4)["n"] == 1 and row(table, "hat", 0.4)["quality"] == 1.0
        assert any("the later one counts" in line for line in table.failures)


def test_differences_are_paired_and_never_significant_below_six():
    table = build_table(study(seeds=3))
    assert table.baseline == "hat"
    assert set(table.comparisons["verdict"]) == {"not tested: 3 of 6 paired seeds"}
    assert table.comparisons["p"].isna().all()
    assert "significant" not in markdown(table, "t").replace("claim of significance", "")
    line = table.comparisons.query("method == 'mos-neuron' and what == 'quality'").iloc[0]
    ours, theirs = ([fake(m, s)["candidates"][0]["test"]["pooled"]["bleu"]["value"] for s in (1, 2, 3)]
                    for m in ("mos-neuron", "hat"))  # fmt: skip
    assert line["difference"] == pytest.approx(sum(ours) / 3 - sum(theirs) / 3)


def test_six_paired_seeds_are_tested_with_holm_over_the_whole_table():
    table = build_table(study(("hat", "mos-neuron"), 6))
    lines = table.comparisons
    assert len(lines) == len(LIMITS) + 1 and (lines["pairs"] == 6).all()
    claimed = lines["verdict"].str.contains("claim mos-bleu-at-limit")
    assert list(lines["limit"][claimed]) == ["0.8 x ref"]  # tested with its claim's family, and only there
    rest = lines[~claimed]
    expected = intervals.holm({str(i): p for i, p in enumerate(rest["p"])})
    assert list(rest["p_holm"]) == pytest.approx(list(expected.values()))
    assert set(rest["verdict"]) <= {"significant", "no difference shown"}
    differences = [
        fake("mos-neuron", s)["candidates"][0]["test"]["pooled"]["bleu"]["value"]
        - fake("hat", s)["candidates"][0]["test"]["pooled"]["bleu"]["value"]
        for s in range(1, 7)
    ]
    first = lines.query("what == 'quality'").iloc[0]
    assert first["p"] == pytest.approx(scipy_stats.ttest_1samp(differences, 0).pvalue)
    assert "exploratory" in markdown(table, "t")


def test_the_baseline_is_the_method_with_its_default_options():
    other = [fake("hat", seed) for seed in (1, 2)]
    for record in other:
        record["spec"]["options"] = {"after": "continue"}
    table = build_table([*study(("hat", "mos-neuron"), 2), *map(integrity.seal, other)])
    assert table.baseline == "hat (default options)"


def test_only_common_seeds_are_paired():
    table = build_table([*study(("hat",), 3), fake("mos-neuron", 3), fake("mos-neuron", 7)])
    assert set(table.comparisons["pairs"]) == {1}


def test_hypervolume_uses_the_frozen_reference_point():
    record = fake(limits=(0.6,))
    made = record["candidates"][0]
    quality, ratio = made["test"]["pooled"]["bleu"]["value"], made["latency"]["ratio"]
    floor, ceiling = selection.reference_point("mt-multi30k-en-de")
    volume = build_table([record]).volumes["volume"][0]
    assert volume == pytest.approx((quality - floor) * (ceiling - ratio))
    assert selection.reference_point("somebody-elses-task") == (0.0, 1.1)


def test_signatures_are_listed_and_timings_collapse_to_a_range():
    one, two = fake(seed=1), fake(seed=2)
    for made in two["candidates"]:
        made["latency"] |= {"n": 256, "signature": made["latency"]["signature"].replace("n:128", "n:256")}
    table = build_table([one, two])
    assert "|n:128-256|" in table.signatures["latency"]
    assert table.signatures["BLEU"].startswith("nrefs:1|case:mixed")
    assert next(iter(table.signatures)) == "BLEU"


def test_updates_have_a_column_where_records_count_them():
    counted, former = fake("hat"), fake("scratch")
    assert "updates" not in texts.cells(build_table([former])).columns
    counted["ledger"]["totals"]["updates"] = 12_345.0
    table = build_table([counted, former])
    shown = texts.cells(table).set_index("method")["updates"]
    assert set(shown["hat"]) == {"12,345"} and set(shown["scratch"]) == {"-"}
    assert any(note.startswith("updates: ") for note in texts.footnotes(table))
    assert not any(note.startswith("updates: ") for note in texts.footnotes(build_table([former])))


def test_energy_sources_are_footnotes_by_row():
    table = build_table([fake("hat", source="A"), fake("scratch", source="B")])
    shown = texts.cells(table)
    assert shown[shown["method"] == "hat"]["kJ"].iloc[0].endswith(" *")
    assert shown[shown["method"] == "scratch"]["kJ"].iloc[0].endswith(" **")
    assert "* energy: A" in texts.footnotes(table) and "** energy: B" in texts.footnotes(table)
    nothing = build_table([fake(energy=None)])
    assert texts.cells(nothing)["kJ"][0] == "-" and nothing.sources == []


def hostile():
    record = fake("hat", status="budget", message=NASTY, source=NASTY)
    record["spec"]["options"] = {NASTY: "=cmd()"}
    other = fake("hat", 2)
    for made in record["candidates"]:
        made["origin"] = "=2+5"
        made["test"]["pooled"]["bleu"]["signature"] = NASTY
        made["test"][NASTY] = made["test"].pop("test_2016_flickr")
        made["latency"]["signature"] = NASTY
    record["provenance"]["machine"] = {NASTY: NASTY}
    record["provenance"]["versions"] = {NASTY: NASTY}
    return [integrity.seal(record), other]


def test_hostile_texts_stay_texts_in_markdown_csv_json_and_latex():
    table = build_table(hostile())
    outputs = {
        "md": markdown(table, NASTY),
        "csv": data_formats.csv(table),
        "json": data_formats.json_text(data_formats.as_json(table)),
        "tex": latex(table),
    }
    for name, text in outputs.items():
        assert "\x1b" not in text and "\u202e" not in text, name
    outside_code = "".join(outputs["md"].split("`")[::2])
    assert "<script" not in outside_code.replace("\\<script", "")
    widths = {
        line.count(" | ") for line in outputs["md"].split("\n\n")[2].splitlines() if " :-- " not in line
    }
    assert len(widths) == 1
    assert not any(
        cell.startswith(("=", "+", "@")) for line in csv.reader(io.StringIO(outputs["csv"])) for cell in line
    )
    body = outputs["tex"][outputs["tex"].index("\\begin") :]
    assert "\\input{" not in body and "\\textbackslash" in body
    assert json.loads(outputs["json"])["rows"]


def test_csv_and_json_carry_the_figures():
    table = build_table(study())
    lines = list(csv.DictReader(io.StringIO(data_formats.csv(table))))
    assert len(lines) == 18
    assert float(lines[0]["bleu"]) == pytest.approx(table.rows["quality"][0], rel=1e-5)
    assert lines[0]["energy_source"].startswith("codecarbon")
    data = data_formats.as_json(table)
    assert data["rows"][0]["limit"] == "0.4 x ref" and data["rows"][0]["limit_share"] == 0.4
    assert data["hypervolume"]["reference"] == {"quality": 0.0, "latency_ratio": 1.1}


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_terminal_table_is_whole_at_every_width(width):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    records = [*study(seeds=1), fake("broken", status="failed", message="[red]boom[/red]")]
    console.print(TerminalTable(build_table(records)))
    text = console.file.getvalue()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "\u2026" not in text.replace("...", "")
    for word in (*METHODS, "broken", "provisional (1 seed)", "codecarbon", "[red]boom[/red]", "0.4 x ref"):
        assert word in " ".join(text.split()), word


def test_a_missing_reference_is_noted_and_one_with_options_is_not_missing():
    missing = "None of hat, uniform-int8 has a comparable run"
    assert any(note.startswith(missing) for note in build_table([fake("scratch"), fake("mos-neuron")]).notes)
    other = fake("hat", 2)
    other["spec"]["options"] = {"after": "continue"}
    other = integrity.seal(other)
    table = build_table([fake("hat"), other, fake("mos-neuron")])
    assert "hat (default options)" in set(table.rows["method"])
    assert not any(note.startswith(missing) for note in table.notes)


def test_disturbed_timings_are_noted():
    record = fake()
    record["candidates"][0]["latency"]["others_cpu"] = 0.7
    assert any("up to 0.7 processors" in note for note in build_table([record]).notes)
    assert not any("disturbed" in note for note in build_table([fake()]).notes)


def test_a_smoke_run_is_labelled_as_no_evidence():
    assert any("is no evidence about the methods" in n for n in build_table([fake(tier="smoke")]).notes)


def test_no_records_is_a_usage_error_with_the_next_command():
    with pytest.raises(UsageError, match="supernet-bench run mt"):
        build_table([])


def test_nothing_here_imports_torch_and_the_package_itself_not_even_pandas():
    code = (
        "import sys, benchmarks.records.store, benchmarks.report\n"
        "import benchmarks.records.selection\n"
        "assert not {'torch', 'pandas', 'matplotlib', 'scipy', 'jsonschema'} & set(sys.modules)\n"
        "import benchmarks.report.files, benchmarks.report.console, benchmarks.leaderboard.build\n"
        "import benchmarks.leaderboard.local_site\n"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def every_text(table):
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    console.print(TerminalTable(table))
    data = data_formats.json_text(data_formats.as_json(table))
    return [console.file.getvalue(), markdown(table, "t"), data_formats.csv(table), latex(table), data]


@settings(max_examples=6)
@given(st.integers(1, 5), st.sampled_from(METHODS), st.booleans(), st.sampled_from(["smoke", "small"]))
def test_below_six_paired_seeds_no_output_contains_significant(seeds, other, counts, tier):
    found = study(("hat", other) if other != "hat" else ("hat",), seeds, limits=(0.6,), tier=tier)
    table = build_table([with_counts(r, 60) for r in found] if counts else found)
    for text in every_text(table):
        assert "significant" not in text.lower()
        assert seeds > 2 or "provisional" in text


def test_the_word_is_found_where_it_may_stand():
    found = study(("hat", "mos-neuron"), 8)
    assert "significant" in markdown(build_table(found), "t")


def test_networks_are_tested_over_sentences_where_both_records_keep_their_statistics():
    found = [with_counts(r) for r in study(("hat", "mos-neuron"), 2)]
    del found[0]["candidates"][0]["sentences"]
    lines = build_table([integrity.seal(r) for r in found]).sentences
    assert [(x.limit, x.seed) for x in lines.itertuples()] == [
        ("0.4 x ref", 2), ("0.6 x ref", 1), ("0.6 x ref", 2), ("0.8 x ref", 1), ("0.8 x ref", 2),
    ]  # fmt: skip
    line = lines.iloc[1]
    ours, theirs = (
        metrics.read_counts(r["candidates"][1]["sentences"]["bleu"], 200) for r in (found[2], found[0])
    )
    pair = [(ours, theirs)]
    expected = paired_bleu.bootstrap(pair, np.random.default_rng(metrics.SEED))[0]
    assert (line["difference"], line["low"], line["high"]) == (expected.value, expected.low, expected.high)
    assert line["p"] == paired_bleu.approximate_randomisation(pair, np.random.default_rng(metrics.SEED))[0]
    holm = intervals.holm({str(i): p for i, p in enumerate(lines["p"])})
    assert list(lines["p_holm"]) == list(holm.values())


@pytest.mark.parametrize("right", [0, 1, 2])
def test_networks_without_a_right_4_gram_are_not_tested_over_sentences(right: int) -> None:
    """BLEU is then its smoothing alone: an interval over 0 stood beside a p of 0.0001."""
    found, rng = (
        [with_counts(r) for r in study(("hat", "mos-neuron"), 1, limits=(0.6,))],
        np.random.default_rng(0),
    )
    references = [" ".join(map(str, range(i, i + 8))) for i in range(200)]
    for number, record in enumerate(found):
        for made in record["candidates"]:
            pairs = [line.split()[:2] for line in references]  # two words of each sentence are right
            outputs = [" ".join([*pair, *rng.choice(["x", "y"], 6)]) for pair in pairs]
            if number < right:
                outputs[0] = references[0]
            made["sentences"]["bleu"] = metrics.sentence_counts(outputs, references)
            made["test"]["pooled"]["bleu"]["value"] = metrics.bleu(outputs, references).value
    lines = build_table([integrity.seal(r) for r in found]).sentences
    assert len(lines) == (1 if right else 0)


def test_old_records_have_no_interval_over_sentences_and_new_ones_name_its_kind():
    label = "over test sentences, one trained network each"
    assert label not in markdown(build_table(study(("hat", "scratch"), 1)), "t").lower()
    found = [with_counts(r) for r in study(("hat", "scratch"), 1)]
    for text in every_text(build_table(found)):
        if "minus hat [95 %]" in text.replace("\\", ""):
            assert label in " ".join(text.lower().split())
            assert "Training noise is left out" in " ".join(text.split())


@pytest.mark.parametrize("what", ["other references", "other sets", "not its BLEU", "damaged"])
def test_statistics_that_do_not_fit_are_not_used(what):
    hat, mine = (with_counts(r) for r in study(("hat", "scratch"), 1, limits=(0.6,)))
    made = mine["candidates"][0]
    if what == "other references":
        references = [f"{i} word another" for i in range(200)]
        made["sentences"]["bleu"] = metrics.sentence_counts(references, references)
        made["test"]["pooled"]["bleu"]["value"] = 100.0
    elif what == "other sets":
        made["sentences"]["sets"] = [["test_2016_flickr", 200]]
    elif what == "not its BLEU":
        made["test"]["pooled"]["bleu"]["value"] += 1.0
    else:
        made["sentences"]["bleu"] = "AAAA"
    assert len(build_table([hat, integrity.seal(mine)]).sentences) == 0
    assert len(build_table([hat, with_counts(fake("scratch", 1, limits=(0.6,)))]).sentences) == 1


def test_more_pairs_than_a_table_can_test_are_left_out(monkeypatch):
    monkeypatch.setattr(comparisons, "MOST_PAIRS", 2)
    table = build_table([with_counts(r) for r in study(("hat", "scratch"), 1)])
    assert len(table.sentences) == 2


def test_a_difference_of_one_pair_has_a_reason_in_place_of_an_interval():
    shown = texts.paired_differences(build_table(study(("hat", "scratch"), 1)))
    assert all(cell.endswith("(one pair: no interval)") for cell in shown["minus hat [95 %]"])


def test_reference_points_are_frozen_per_task_and_version():
    """A change here moves published figures: then the version in targets.toml must change, too."""
    timed = dict.fromkeys(("mt-synthetic-en-de", "mt-multi30k-en-de", "mt-tatoeba-en-de"), (0.0, 1.1))
    frozen = {"0.1": timed, "0.2": timed}
    sized = {
        ("bert-enwiki", "small"): 8.1,
        ("bert-enwiki", "paper"): 90.0,
        ("bert-synthetic-en", "smoke"): 0.21,
    }
    for (task, tier), most in sized.items():
        axis = selection.axis([selection.Limit(3, 4.0, 3.4), selection.Limit(0, 0.0)], task, tier)
        assert (axis.figure, axis.reference) == ("params", (0.0, most))
    assert selection.axis([selection.Limit(3, 4.0, 3.4)], "somebody-elses-task", "small").reference is None
    assert selection.results_version() in frozen
    points = frozen[selection.results_version()]
    ours = {name for name in task_names() if name.startswith("mt-")}
    assert set(points) <= ours and {name: selection.reference_point(name) for name in points} == points


def test_a_failed_run_with_other_options_is_a_method_of_its_own_without_candidates():
    failed = fake("hat", 2, status="failed")
    failed["spec"]["options"] = {"after": "scratch"}
    table = build_table([fake("hat"), integrity.seal(failed)])
    names = ["hat (default options)"] * 3 + ["hat (after=scratch)"]
    assert list(table.rows["method"]) == names and table.rows["limit"].iloc[-1] is None


def test_latex_is_that_of_pandas_where_it_compiles_and_no_mark_is_a_command():
    frame = pd.DataFrame({"a & b": ["50 %", "#1_{2}$"], "c": ["", "é x"]})
    assert latex_table(frame) == frame.to_latex(index=False, escape=True)
    assert r"\textbackslash{}n \textasciitilde{} \textasciicircum{}2 " in latex_table(
        pd.DataFrame({"h": [r"\n ~ ^2"]})
    )
    assert "{[}a] \\textless{}b\\textgreater{} \\textbar{} '' U+65E5 U+202E" in latex_table(
        pd.DataFrame({"h": ['[a] <b> | " \u65e5 \u202e']})
    )


def test_metrics_foreign_to_a_task_have_no_column():
    from dataclasses import replace

    table = build_table(study())
    assert "chrf" in texts.columns(table)
    words = task_units.TaskUnits({"mlm_accuracy": quantities.of_metric("mlm_accuracy")})
    other = replace(table, metric="mlm_accuracy", units=words)
    assert "chrf" not in texts.columns(other)
    assert "chrF" not in latex(other, each_set=False)


def test_a_network_that_was_not_timed_has_no_hypervolume_to_compare():
    found = study(("hat", "mos-layer"), 3)
    for record in found:
        if record["spec"]["method"] == "mos-layer":
            for candidate in record["candidates"]:
                candidate |= {
                    "latency": None,
                    "policy": {"a": "int8"},
                    "not_measured": "on the processor only",
                }
    table = build_table([integrity.seal(record) for record in found])
    lines = table.comparisons
    assert set(lines["what"]) == {"quality"}
    assert table.volumes.set_index("method")["volume"].isna().to_dict() == {"hat": False, "mos-layer": True}


def test_methods_without_a_common_limit_have_no_hypervolumes_to_compare():
    """A teacher has no limit: against fronts of small networks its one point measures nothing."""
    runs = [fake(method, seed) for method in ("hat", "mos-layer") for seed in (1, 2, 3)]
    table = build_table([*runs, *(fake("teacher", seed, limits=(None,)) for seed in (1, 2, 3))])
    compared = table.comparisons
    assert set(compared[compared["what"] == "hypervolume"]["method"]) == {"mos-layer"}
    assert "teacher" in set(table.volumes["method"])
