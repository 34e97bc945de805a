"""What may be published: each rule broken once, and texts that would like to be more than text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cli import main
from benchmarks.hardware import profiles
from benchmarks.leaderboard import submission
from benchmarks.records import integrity, store
from tests.fake_records import fake

MACHINE = {"fingerprint": "m", "cpu": "Fake", "arch": "x86_64", "cpus": 2, "gpus": []}
SETTINGS = {fake()["spec"]["settings_sha256"]}


def good(*arguments, **options):
    record = fake(*arguments, **options)
    record["provenance"]["machine"] = dict(MACHINE)
    for candidate in record["candidates"]:  # the fake's percentages come from one generator, unbounded
        for metrics in candidate["test"].values():
            for figure in metrics.values():
                figure["value"] = min(figure["value"], figure["high"])
    return integrity.seal(record)


def broken(path, value, **options):
    record = good(**options)
    inner = record
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return integrity.seal(record)


def test_an_honest_record_has_no_problem():
    assert submission.problems(good(), SETTINGS) == []
    assert submission.unequal([good(seed=1), good("mos-layer", 2)]) == {}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("spec", "profile"), "undeclared", "spec.profile: undeclared"),
        (("spec", "profile"), "mars.v1", "spec.profile: no profile 'mars.v1'"),
        (("spec", "settings_sha256"), "ab" * 32, "spec.settings_sha256: abababababab is neither"),
        (("spec", "budget", "tokens"), None, "spec.budget.tokens: no limit"),
        (("spec", "budget", "probes"), 100, "ledger.totals.probes: 240, the allowance is 100"),
        (("ledger", "share", "evaluations"), 0.5, "ledger.share.evaluations: 0.5, but"),
        (("ledger", "totals", "seconds"), 1.0, "ledger.totals.seconds: 1 but the entries sum to"),
        (("energy", "source"), " ", "energy.source: empty"),
        (("provenance", "machine", "cpus"), 64, "provenance.machine: threads is 64"),
        (("provenance", "machine", "arch"), "arm64", "provenance.machine: arch is arm64"),
        (("provenance", "machine"), {"cpu": "x"}, "provenance.machine: says nothing of arch, cpus, gpus"),
        (("provenance", "commit"), None, "provenance.commit: none"),
        (("provenance", "dirty_sha256"), "1" * 64, "provenance.dirty_sha256: made with changes"),
        (("provenance", "data"), {}, "provenance.data: no checksums"),
        (("provenance", "ended"), "2020-01-01T00:00:00+00:00", "provenance.ended: 2020"),
        (("provenance", "started"), "yesterday", "not two ISO times"),
        (("candidates", 0, "test", "pooled", "bleu", "signature"), "trust me", "bleu.signature: 'trust me'"),
        (
            ("candidates", 0, "test", "pooled", "bleu", "signature"),
            "a:1|b:2",
            "bleu.signature: names no version",
        ),
        (
            ("candidates", 0, "test", "pooled", "bleu", "value"),
            101.0,
            "bleu.value: 101 is impossible: BLEU is 0",
        ),
        (("candidates", 0, "test", "pooled", "bleu", "low"), -0.5, "bleu.low: -0.5 is impossible"),
        (("candidates", 0, "test", "pooled", "chrf", "high"), 100.2, "chrf.high: 100.2 is impossible"),
        (("candidates", 0, "latency", "p50_low"), -1.0, "latency.p50_low: -1 ms is impossible"),
        (("candidates", 0, "valid", "loss"), -2.0, "valid.loss: -2 nats is impossible"),
        (
            ("ledger", "share", "evaluations"),
            1.01,
            "ledger.share.evaluations: 1.01 of the allowance is imposs",
        ),
        (("candidates", 0, "test", "pooled", "chrf", "low"), 99.0, "candidates[0].test.pooled.chrf"),
        (("candidates", 0, "latency", "signature"), "quick", "latency.signature: must give lat, n and prof"),
        (("candidates", 0, "latency", "signature"), "lat:p50|n:128|prof:x", "latency.signature: profile x"),
        (("candidates", 0, "latency", "n"), 63, "latency.n: 63 timings"),
        (("candidates", 0, "latency", "p90"), 0.1, "latency.p90: 0.1 ms is below"),
        (("candidates", 0, "latency", "ratio"), 0.01, "latency.ratio: 0.01 is outside"),
        (("candidates", 0, "latency", "reference_p50"), 1.0, "is not the median of"),
        (("candidates", 0, "memory", "source"), "", "candidates[0].memory.source: empty"),
    ],
)
def test_each_rule_names_its_field(path, value, said):
    assert any(said in line for line in submission.problems(broken(path, value), SETTINGS))


def test_the_tiers_own_settings_come_with_the_tiers_allowance():
    from benchmarks.tasks import get_task

    tier = get_task("mt-multi30k-en-de").tier("small", "cpu")
    lines = submission.problems(broken(("spec", "settings_sha256"), tier.sha256))
    assert any(line.startswith("spec.budget.tokens: 2,000,000, the tier's") for line in lines) or (
        tier.budget["tokens"] == 2_000_000
    )
    assert any(line.startswith("spec.budget.evaluations") for line in lines)


def test_unequal_allowances_are_named_for_those_that_differ():
    same, odd = [good(seed=s) for s in (1, 2, 3)], good("mos-neuron", 1, tokens=9e6)
    assert list(submission.unequal([*same, odd])) == [odd["id"]]
    assert submission.unequal([*same, odd])[odd["id"]] == [
        "spec.budget.tokens: 9,000,000, the others of this comparison have 2,000,000"
    ]


def test_other_nets_of_seconds_are_the_same_comparison():
    from benchmarks.comparability import grouping, run_summary

    records = [good(seed=1), good(seed=2), broken(("spec", "budget", "seconds"), 3600)]
    assert submission.unequal(records) == {}
    assert len(grouping.groups(run_summary.summarize_all(records))) == 1
    told = [line for line in submission.problems(records[2], SETTINGS) if line.startswith("spec.budget")]
    assert told == [] and "budget.seconds" not in grouping.facts(records[2])


def test_every_declared_profile_is_checked_against_the_machine():
    for name in profiles.names():
        record = broken(("spec", "profile"), name)
        lines = [line for line in submission.problems(record, SETTINGS) if "provenance.machine" in line]
        assert bool(lines) == (profiles.get(name).device == "cuda")


def run(capsys, *words):
    code = main.main(["validate", *map(str, words)])
    return code, capsys.readouterr().out


def test_the_command_reads_files_and_folders(tmp_path: Path, capsys):
    published, sent = tmp_path / "results", tmp_path / "sent"
    store.write(published / "records", good(seed=1))
    path = store.write(sent, good(seed=2))
    assert run(capsys, sent, path, "--results", published) == (0, "1 record: ready to be published\n")

    bad = store.write(sent, good("mos-layer", 1))
    bad.write_text(bad.read_text().replace('"peak_bytes": ', '"peak_bytes": 1', 1))
    code, out = run(capsys, sent, "--results", published)
    assert code == 1 and f"{bad}: candidates[0].memory: changed after writing" in out
    code, out = run(capsys, sent, "--results", published, "--json")
    found = json.loads(out)
    assert code == 1 and (found["records"], found["refused"]) == (2, 1)
    assert found["problems"][0]["field"] == "candidates[0].memory"

    bad.unlink()
    odd = store.write(sent, good("scratch", 1, tokens=9e6))
    code, out = run(capsys, sent, "--results", published)
    assert code == 1 and f"{odd}: spec.budget.tokens: 9,000,000" in out and out.count("\n") == 2

    copy = sent / "copy.json"
    copy.write_text(path.read_text())
    assert "a second record of the same run" in run(capsys, sent, "--results", published)[1]
    assert main.main(["validate", str(tmp_path / "absent")]) == 2
    (tmp_path / "empty").mkdir()
    assert main.main(["validate", str(tmp_path / "empty")]) == 2


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30).map(lambda t: "\x1b[31m\u202e<script>=cmd|' /C calc'!A0\n" + t))
def test_hostile_texts_stay_on_their_one_line(text):
    record = broken(("candidates", 0, "test", "pooled", "bleu", "signature"), text)
    record["provenance"] |= {"started": text, "machine": MACHINE | {"arch": text}}
    lines = submission.problems(integrity.seal(record), SETTINGS)
    assert lines and all(line.isprintable() for line in lines)


def test_a_seal_made_anew_over_a_changed_field_does_not_hide_it():
    record = good()
    record["candidates"][0]["test"]["pooled"]["bleu"] |= {"value": 44.0, "low": 43.0, "high": 45.0}
    record["digest"] = integrity.digest(record)
    record["seal"] = integrity.seal_of(record)
    integrity.validate(record)
    assert submission.problems(record, SETTINGS) == ["candidates[0].test: changed after writing"]


@pytest.mark.parametrize(
    "signature",
    [
        "nrefs:1|case:mixed|version:2.6.0",
        "mlm-acc|mask:15%|mask-seed:1|version:1",
        "metric:mcc|held-out:9|version:1",
    ],
)
def test_every_kind_of_signature_is_one(signature):
    record = broken(("candidates", 0, "test", "pooled", "bleu", "signature"), signature)
    assert submission.problems(record, SETTINGS) == []
