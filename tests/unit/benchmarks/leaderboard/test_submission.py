"""Rules of publication: each one broken once, and texts that carry markup."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.api import InvalidRecordError
from benchmarks.cli import main
from benchmarks.hardware import profiles
from benchmarks.leaderboard import submission
from benchmarks.records import integrity, store
from tests import ROOT
from tests.fake_records import fake, summaries
from tests.robustness.readers import read_record

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
    assert submission.find_problems(good(), SETTINGS) == []
    assert submission.find_unequal_allowances([good(seed=1), good("mos-layer", 2)]) == {}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("spec", "profile"), "undeclared", "spec.profile: undeclared"),
        (("spec", "profile"), "mars.v1", "spec.profile: no profile 'mars.v1'"),
        (("spec", "settings_sha256"), "ab" * 32, "spec.settings_sha256: abababababab is neither"),
        (("spec", "budget", "tokens"), None, "spec.budget.tokens: no limit"),
        (("spec", "budget", "probes"), 100, "ledger.totals.probes: 240, the allowance is 100"),
        (("ledger", "share", "evaluations"), 0.5, "ledger.share.evaluations: 0.5, but 600 of 600 is 1"),
        (("ledger", "totals", "seconds"), 1.0, "ledger.totals.seconds: 1 but the entries sum to"),
        (("energy", "source"), " ", "energy.source: empty"),
        (("provenance", "machine", "cpus"), 64, "provenance.machine: threads is 64"),
        (("provenance", "machine", "arch"), "arm64", "provenance.machine: arch is arm64"),
        (("provenance", "machine"), {"cpu": "x"}, "provenance.machine: lacks arch, cpus, gpus"),
        (("provenance", "commit"), None, "provenance.commit: none"),
        (("provenance", "dirty_sha256"), "1" * 64, "provenance.dirty_sha256: made with changes"),
        (("provenance", "data"), {}, "provenance.data: no checksums"),
        (("provenance", "ended"), "2020-01-01T00:00:00+00:00", "provenance.ended: 2020"),
        (
            ("provenance", "ended"),
            "2099-01-01T00:00:00+00:00",
            "provenance.ended: 2099-01-01T00:00:00+00:00 is in",
        ),
        (("provenance", "ended"), "9999-12-31T23:59:59-14:00", "not two ISO times"),
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
    assert any(said in line for line in submission.find_problems(broken(path, value), SETTINGS))


def test_the_tiers_own_settings_come_with_the_tiers_allowance():
    from benchmarks.tasks import get_task

    tier = get_task("mt-multi30k-en-de").tier("small", "cpu")
    lines = submission.find_problems(broken(("spec", "settings_sha256"), tier.sha256))
    assert any(line.startswith("spec.budget.tokens: 2,000,000, the tier's") for line in lines) or (
        tier.budget["tokens"] == 2_000_000
    )
    assert any(line.startswith("spec.budget.evaluations") for line in lines)


def test_unequal_allowances_are_named_for_those_that_differ():
    same, odd = [good(seed=s) for s in (1, 2, 3)], good("mos-neuron", 1, tokens=9e6)
    assert list(submission.find_unequal_allowances([*same, odd])) == [odd["id"]]
    assert submission.find_unequal_allowances([*same, odd])[odd["id"]] == [
        "spec.budget.tokens: 9,000,000, the others of this comparison have 2,000,000"
    ]


def test_other_nets_of_seconds_are_the_same_comparison():
    from benchmarks.comparability import grouping

    records = [good(seed=1), good(seed=2), broken(("spec", "budget", "seconds"), 3600)]
    assert submission.find_unequal_allowances(records) == {}
    assert len(grouping.groups(summaries(records))) == 1
    told = [line for line in submission.find_problems(records[2], SETTINGS) if line.startswith("spec.budget")]
    assert told == [] and "budget.seconds" not in grouping.facts(records[2])


def test_every_declared_profile_is_checked_against_the_machine():
    for name in profiles.names():
        record = broken(("spec", "profile"), name)
        lines = [line for line in submission.find_problems(record, SETTINGS) if "provenance.machine" in line]
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


WORK = {"cpu_seconds": 900.0, "threads": 2, "wall_seconds": 800.0}
OVERSIGHT = {"isolation": "landlock", "sessions": 1, "work": WORK, "references_sha256": "d" * 64}
FORGED = ("spec", "settings_sha256"), "ab" * 32


@pytest.mark.parametrize("forged", [1, 3])
def test_records_in_question_do_not_vouch_for_their_own_settings(tmp_path: Path, capsys, forged):
    store.write(tmp_path / "records", good(seed=9))
    sent = [store.write(tmp_path / "records", broken(*FORGED, seed=s)) for s in range(forged)]
    for paths in ([tmp_path / "records"], sent):
        code, out = run(capsys, *paths, "--results", tmp_path)
        assert code == 1 and out.count("spec.settings_sha256: abababababab is neither") == forged
        assert "run it again with this version" in out


def test_a_record_in_question_does_not_vouch_for_an_unknown_task(tmp_path: Path, capsys):
    sent = store.write(tmp_path / "records", good(task="mt-of-a-stranger"))
    code, out = run(capsys, sent, "--results", tmp_path)
    assert code == 1 and "spec.task: " in out
    store.write(tmp_path / "records", good(task="mt-of-a-stranger", seed=2))
    assert run(capsys, sent, "--results", tmp_path)[0] == 0


def test_a_record_in_question_does_not_vouch_for_its_method(tmp_path: Path, capsys):
    sent = store.write(tmp_path / "records", good("method-of-a-stranger"))
    store.write(tmp_path / "records", good())
    code, out = run(capsys, sent, "--results", tmp_path)
    assert code == 1 and "provenance.method: none, and no installed method" in out
    store.write(tmp_path / "records", good("method-of-a-stranger", 2))
    assert run(capsys, sent, "--results", tmp_path)[0] == 0


def test_many_records_in_question_do_not_outvote_a_published_one(tmp_path: Path, capsys):
    store.write(tmp_path / "results" / "records", good() | {"oversight": OVERSIGHT})
    for seed in (2, 3, 4):
        odd = OVERSIGHT | {"references_sha256": "e" * 64}
        store.write(tmp_path / "sent", good(seed=seed, tokens=9e6) | {"oversight": odd})
    code, out = run(capsys, tmp_path / "sent", "--results", tmp_path / "results")
    assert (
        code == 1 and out.count("spec.budget.tokens: 9,000,000, the others of this comparison have 2,0") == 3
    )
    assert (
        out.count("oversight.references_sha256: eeeeeeeeeeee, the others of this comparison have dddd") == 3
    )


@pytest.mark.parametrize("place", sorted(submission.former_settings()))
def test_former_settings_come_with_their_allowance_and_space(place):
    task, tier, settings_sha256 = place
    facts = submission.former_settings()[place]
    record = good(task=task, tier=tier)
    record["spec"] |= {"settings_sha256": settings_sha256, "space": facts.space}
    record["spec"]["budget"] |= facts.budget
    named = ("spec.budget", "spec.space", "spec.settings_sha256", "spec.task")
    assert [line for line in submission.find_problems(integrity.seal(record)) if line.startswith(named)] == []
    record["spec"]["budget"]["tokens"] *= 100
    record["spec"]["space"] = "another"
    lines = [line for line in submission.find_problems(integrity.seal(record)) if line.startswith(named)]
    assert len(lines) == 2 and "the tier's allowance is" in lines[0] and "spec.space: another" in lines[1]
    other = integrity.seal(good(task=task, tier="paper") | {"spec": record["spec"] | {"tier": "paper"}})
    assert any("is neither" in line or "spec.task" in line for line in submission.find_problems(other))


def test_published_records_are_ready_by_this_code_alone(capsys):
    code, out = run(capsys, ROOT / "results" / "records", "--results", ROOT / "results")
    assert code == 0, out


def test_records_that_the_store_set_aside_are_skipped(tmp_path: Path, capsys):
    sent, kept = tmp_path / "sent", tmp_path / "results"
    store.write(kept / "records", good(seed=9))
    stopped = good(status="budget", message="seconds: the allowance is spent")
    for earlier in (good(status="failed"), stopped, stopped | {"search_log": []}):
        store.write(sent, earlier)
    path = store.write(sent, good())
    path.with_name(f"{path.stem}.invalid-1.json").write_text("{")
    names = {file.name.removeprefix(path.stem) for file in path.parent.iterdir()}
    assert names == {".json", ".failed-1.json", ".stopped-1.json", ".stopped-2.json", ".invalid-1.json"}
    assert run(capsys, sent, "--results", kept) == (0, "1 record: ready to be published\n")
    odd = path.rename(path.with_name("my.failed-attempt.json"))
    assert run(capsys, sent, "--results", kept)[0] == 1 and odd.exists()


def fields(value, path=()):
    """Yield the paths of all fields of objects inside JSON; of a list's items the first stands for all."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value[:1]):
        if isinstance(value, dict):
            yield (*path, key)
        if isinstance(inner, dict | list):
            yield from fields(inner, (*path, key))


FIELDS = [path for path in fields(good()) if not {"architecture", "options", "seals"} & set(path[:-1])]
"""Paths of a record that its seal covers, but for those whose names are a method's or a space's."""


@pytest.mark.parametrize(
    ("lost", "part"),
    [
        ("absent", "spec"),
        *(pytest.param(lost, "", marks=pytest.mark.slow) for lost in ("absent", "null", "of another type")),
    ],
)
def test_a_record_without_a_field_is_refused_or_every_reader_takes_it(lost: str, part: str, tmp_path: Path):
    """A forger seals it anew, so that the schema and the rules are all that stands."""
    path, taken = store.write(tmp_path, good()), []
    for *outer, key in (field for field in FIELDS if part in ("", field[0])):
        record = good()
        inner = record
        for step in outer:
            inner = inner[step]
        if lost == "absent":
            del inner[key]
        else:
            inner[key] = None if lost == "null" else ["x"]
        with suppress(KeyError, TypeError, AttributeError, ValueError), pytest.MonkeyPatch.context() as patch:
            patch.setattr(integrity, "_check_schema", lambda record: None)
            record = integrity.seal(record)
        path.write_text(json.dumps(record))
        try:
            read_record(path.parent, tmp_path)
        except InvalidRecordError:
            continue
        taken.append(".".join(map(str, (*outer, key))))
    must = {f"spec.{key}" for key in good()["spec"]} - {"spec.follows"}
    assert not {*must, "spec", "status", "ledger", "candidates"} & set(taken)
    assert part or "candidates.0.at" in taken


@settings(max_examples=20)
@given(st.text(max_size=30).map(lambda t: "\x1b[31m\u202e<script>=cmd|' /C calc'!A0\n" + t))
def test_hostile_texts_stay_on_their_one_line(text):
    record = broken(("candidates", 0, "test", "pooled", "bleu", "signature"), text)
    record["provenance"] |= {"started": text, "machine": MACHINE | {"arch": text}}
    lines = submission.find_problems(integrity.seal(record), SETTINGS)
    assert lines and all(line.isprintable() for line in lines)


def test_a_seal_made_anew_over_a_changed_field_does_not_hide_it():
    record = good()
    record["candidates"][0]["test"]["pooled"]["bleu"] |= {"value": 44.0, "low": 43.0, "high": 45.0}
    record["digest"] = integrity.digest(record)
    record["seal"] = integrity.seal_of(record)
    integrity.validate(record)
    assert submission.find_problems(record, SETTINGS) == ["candidates[0].test: changed after writing"]


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
    assert submission.find_problems(record, SETTINGS) == []


def problems_of(record, field, **known):
    """The problems of a record that begin with a field."""
    found = submission.find_problems(record, known.get("settings", SETTINGS), known.get("methods", ()))
    return [line for line in found if line.startswith(field)]


def unsealed(path, value):
    """A record with a field that the schema refuses: the checks hold by themselves."""
    record = good()
    inner = record
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return record


def on_h100(**gpu):
    record = broken(("spec", "profile"), "nvidia-h100.v1")
    gpus = [{"name": "NVIDIA H100 80GB HBM3", "memory_gib": 79.6} | gpu]
    record["provenance"]["machine"] = MACHINE | {"cpus": 16, "gpus": gpus}
    return integrity.seal(record)


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        ({}, []),
        ({"memory_gib": 76}, []),
        ({"memory_gib": 40.0}, ["gpu memory is 40 GiB"]),
        ({"memory_gib": "much"}, ["gpu memory is 0 GiB"]),
        ({"memory_gib": None}, ["gpu memory is 0 GiB"]),
        ({"name": "A100"}, ["gpu is A100 x1"]),
    ],
)
def test_the_gpu_of_a_record_is_that_of_its_profile(gpu, expected):
    seen = problems_of(on_h100(**gpu), "provenance.machine")
    assert len(seen) == len(expected) and all(e in line for e, line in zip(expected, seen, strict=True))


def test_settings_of_a_task_that_is_not_installed_must_be_published_ones():
    record = broken(("spec", "task"), "task-of-a-stranger")
    assert problems_of(record, "spec.task", settings=()) == ["spec.task: no task 'task-of-a-stranger'."]
    assert problems_of(record, "spec.task") == []


def test_the_tiers_own_settings_come_with_its_space():
    from benchmarks.tasks import get_task

    tier = get_task("mt-multi30k-en-de").tier("small", "cpu")
    record = good()
    record["spec"] |= {"settings_sha256": tier.sha256, "space": "nowhere", "budget": dict(tier.budget)}
    assert problems_of(integrity.seal(record), "spec.space") == [
        f"spec.space: nowhere, the tier's is {tier.space}"
    ]
    record["spec"]["space"] = tier.space
    assert problems_of(integrity.seal(record), "spec.") == []
    record["spec"]["budget"]["probes"] += 1
    assert len(problems_of(integrity.seal(record), "spec.budget.probes")) == 1


def test_options_without_effect_are_read_from_every_message_that_names_them():
    from benchmarks.options import IGNORED

    for message in (f"{IGNORED}: beam", f"stopped; {IGNORED}: beam"):
        record = good(message=message)
        assert problems_of(record, "message") == []
        record["spec"]["options"] = {"beam": 3}
        assert problems_of(integrity.seal(record), "message") == [
            f"message: {IGNORED}: beam: they had no effect: run it without"
        ]


def test_an_option_at_its_default_is_another_name_for_the_same_run():
    from benchmarks.registry import find

    record = good()
    record["spec"] |= {"method_sha256": find("hat").sha256, "options": {"after": "scratch"}}
    (line,) = problems_of(integrity.seal(record), "spec.options")
    assert line.startswith("spec.options.after: stands at its default")
    record["spec"]["options"] = {"aftre": "scratch"}
    assert len(problems_of(integrity.seal(record), "spec.options.aftre")) == 1
    record["spec"]["options"] = {"after": "a=b"}
    assert problems_of(integrity.seal(record), "spec.options.after: a=b: 'a=b' is not allowed")
    record["spec"]["method_sha256"] = "0" * 64  # another version of it may have declared another default
    assert problems_of(integrity.seal(record), "spec.options") == []


def with_totals(kind, amount):
    """A record whose total of a kind is changed, share and entries with it."""
    record = good()
    ledger, allowance = record["ledger"], record["spec"]["budget"][kind]
    for entry in ledger["entries"]:
        if entry["kind"] == kind:
            entry["amount"] *= amount / ledger["totals"][kind]
    ledger["totals"][kind], ledger["share"][kind] = amount, amount / allowance
    return integrity.seal(record)


@pytest.mark.parametrize(
    ("kind", "amount", "allowed"),
    [
        ("evaluations", 600, True),
        ("evaluations", 600.5, False),
        ("seconds", 900 * 1.049, True),
        ("seconds", 900 * 1.051, False),
    ],
)
def test_totals_may_reach_the_allowance_and_seconds_a_little_more(kind, amount, allowed):
    assert (problems_of(with_totals(kind, amount), "ledger.totals") == []) == allowed
    assert kind != "seconds" or problems_of(with_totals(kind, amount), "ledger.share") == []


def test_kinds_absent_from_the_totals_count_zero():
    record = good()
    ledger = record["ledger"]
    for kind in ("probes", "seconds"):
        del ledger["totals"][kind], ledger["share"][kind]
        ledger["entries"] = [entry for entry in ledger["entries"] if entry["kind"] != kind]
    assert problems_of(integrity.seal(record), "ledger.") == []
    ledger["share"]["probes"] = 0.25
    assert problems_of(integrity.seal(record), "ledger.") == ["ledger.share.probes: 0.25, but 0 of 300 is 0"]


def test_seconds_are_those_of_the_entries_to_the_millisecond():
    seconds = good()["ledger"]["totals"]["seconds"]
    for error, fits in ((0.0009, True), (0.01, False)):
        record = good()
        record["ledger"]["totals"]["seconds"] = seconds + error
        record["ledger"]["share"]["seconds"] = (seconds + error) / 900
        assert (problems_of(integrity.seal(record), "ledger.totals.seconds") == []) == fits


def test_a_share_is_held_against_an_allowance_of_one_too():
    record = good()
    record["spec"]["budget"]["probes"] = record["ledger"]["totals"]["probes"] = 1
    record["ledger"]["share"]["probes"] = 0.5
    (line,) = problems_of(integrity.seal(record), "ledger.share")
    assert line == "ledger.share.probes: 0.5, but 1 of 1 is 1"


def test_amounts_below_nothing_and_runs_that_did_nothing_are_named():
    record = good()
    record["ledger"]["entries"][0]["amount"] *= -1
    assert problems_of(record, "ledger.entries.supernet.tokens: -")
    free = good()
    free["ledger"]["entries"].append({"phase": "inherited", "kind": "tokens", "amount": 0.0})
    assert problems_of(integrity.seal(free), "ledger.entries") == []
    idle = good()
    for kind in ("tokens", "evaluations"):
        idle["ledger"]["totals"][kind] = idle["ledger"]["share"][kind] = 0.0
    assert problems_of(integrity.seal(idle), "ledger.totals:") == [
        "ledger.totals: candidates without a token trained or an evaluation made"
    ]
    idle["ledger"]["totals"]["evaluations"], idle["ledger"]["share"]["evaluations"] = 6.0, 0.01
    assert problems_of(integrity.seal(idle), "ledger.totals:") == []
    failed = good(status="failed")
    for kind in ("tokens", "evaluations"):
        failed["ledger"]["totals"][kind] = failed["ledger"]["share"][kind] = 0.0
    assert problems_of(integrity.seal(failed), "ledger.totals:") == []


@pytest.mark.parametrize("name", ["p50", "p90", "ratio", "reference_p50", "ratio_low", "p50_high"])
def test_no_latency_is_below_nothing(name):
    record = unsealed(("candidates", 0, "latency", name), -1.0)
    seen = problems_of(record, f"candidates[0].latency.{name}: -1")
    assert len([line for line in seen if "impossible" in line]) == 1


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (("cost", "params"), "cost.params"),
        (("cost", "macs"), "cost.macs"),
        (("cost", "bytes"), "cost.bytes"),
        (("memory", "peak_bytes"), "memory.peak_bytes"),
        (("limit_ms",), "limit_ms"),
    ],
)
def test_no_figure_is_below_nothing(path, field):
    assert len(problems_of(unsealed(("candidates", 0, *path), -1.0), f"candidates[0].{field}: -1")) == 1


def test_a_ratio_is_that_of_the_two_medians_within_five_per_cent():
    latency = good()["candidates"][0]["latency"]
    for factor, fits in ((1.04, True), (1.06, False), (0.96, True), (0.94, False)):
        changed = broken(("candidates", 0, "latency", "reference_p50"), latency["reference_p50"] * factor)
        assert (problems_of(changed, "candidates[0].latency.ratio") == []) == fits, factor
    (line,) = problems_of(
        unsealed(("candidates", 0, "latency", "ratio"), None), "candidates[0].latency.ratio"
    )
    assert "missing; latencies are compared as ratios" in line


def test_a_p90_may_be_the_median_and_takes_64_timings():
    median = good()["candidates"][0]["latency"]["p50"]
    assert problems_of(broken(("candidates", 0, "latency", "p90"), median), "candidates[0].latency.p90") == []
    for count, fits in ((64, True), (63, False)):
        record = good()
        latency = record["candidates"][0]["latency"]
        latency["n"], parts = count, latency["signature"].split("|")
        latency["signature"] = "|".join(f"n:{count}" if p.startswith("n:") else p for p in parts)
        assert (problems_of(integrity.seal(record), "candidates[0].latency.n") == []) == fits


def test_a_value_may_stand_at_an_end_of_its_interval():
    figure = good()["candidates"][0]["test"]["pooled"]["bleu"]
    for end in ("low", "high"):
        path = ("candidates", 0, "test", "pooled", "bleu", end)
        assert problems_of(broken(path, figure["value"]), "candidates[0].test") == []
    outside = problems_of(
        broken(("candidates", 0, "test", "pooled", "bleu", "high"), figure["value"] - 0.1), "cand"
    )
    assert len(outside) == 1 and "is outside its own interval" in outside[0]


def test_ends_that_tables_compute_anew_may_pass_the_range():
    record = good()
    record["candidates"][0]["test"]["pooled"]["bleu"] |= {
        "value": 99.0, "low": 97.0, "high": 101.0,
        "signature": "metric:bleu|version:1|ci:t95-over-fine-tuning-seeds",
    }  # fmt: skip
    assert problems_of(integrity.seal(record), "candidates[0].test") == []
    record["candidates"][0]["test"]["pooled"]["bleu"]["value"] = 100.5
    assert len(problems_of(integrity.seal(record), "candidates[0].test")) == 1


def test_a_run_may_end_when_it_started():
    started = good()["provenance"]["started"]
    assert problems_of(broken(("provenance", "ended"), started), "provenance.ended") == []


def test_latencies_of_other_runtimes_come_from_a_declared_profile_and_published_code():
    from benchmarks.hardware.profiles import names

    told = {"commit": "0" * 40, "dirty_sha256": None, "machine": dict(MACHINE)}
    kept = {"profile": "cpu-2core-avx512.v1", "provenance": told}
    assert list(submission.find_latency_problems(kept)) == []
    ((field, reason),) = submission.find_latency_problems(kept | {"profile": "mars.v1"})
    assert field == "profile" and f"'mars.v1' is not declared; known: {names()[0]}" in reason
    ((field, _),) = submission.find_latency_problems(kept | {"provenance": told | {"machine": None}})
    assert field == "provenance.machine"
    ((field, _),) = submission.find_latency_problems(
        kept | {"provenance": told | {"machine": MACHINE | {"cpus": 3}}}
    )
    assert field == "provenance.machine"
    ((field, _),) = submission.find_latency_problems(kept | {"provenance": told | {"commit": None}})
    assert field == "provenance.commit"


def test_the_allowance_of_most_is_the_usual_one_and_no_limit_is_the_least():
    several = [good(seed=s) for s in (1, 2)] + [good("mos-layer", s, tokens=9e6) for s in (1, 2, 3)]
    assert list(submission.find_unequal_allowances(several)) == [record["id"] for record in several[:2]]
    free = broken(("spec", "budget", "tokens"), None)
    assert submission.find_unequal_allowances([free, good(seed=2)]) == {
        free["id"]: ["spec.budget.tokens: no limit, the others of this comparison have 2,000,000"]
    }
    elsewhere = good(seed=3, tokens=9e6, tier="smoke")
    assert submission.find_unequal_allowances([good(seed=1), elsewhere]) == {}


@pytest.mark.parametrize("end", ["ratio_low", "ratio_high"])
def test_a_ratio_may_stand_at_an_end_of_its_interval(end):
    record = good()
    latency = record["candidates"][0]["latency"]
    latency |= {"ratio_low": latency["ratio"] * 0.9, "ratio_high": latency["ratio"] * 1.1}
    latency[end] = latency["ratio"]
    assert problems_of(integrity.seal(record), "candidates[0].latency.ratio") == []
    latency[end] = latency["ratio"] * (1.01 if end == "ratio_low" else 0.99)
    (line,) = problems_of(integrity.seal(record), "candidates[0].latency.ratio")
    assert "is outside its own interval" in line


def test_a_record_scored_on_other_test_files_than_the_rest_is_named():
    def scored(method: str, digest: str):
        work = {"cpu_seconds": 1.0, "threads": 2, "wall_seconds": 1.0}
        oversight = {"isolation": "none", "sessions": 1, "work": work, "references_sha256": digest}
        return fake(method, oversight=oversight)

    records = [scored("hat", "a" * 64), scored("scratch", "a" * 64), scored("mos-layer", "b" * 64)]
    records.append(fake("random-search"))
    found = submission.find_unequal_references(records)
    assert list(found) == [records[2]["id"]]
    assert found[records[2]["id"]].startswith("oversight.references_sha256: bbbbbbbbbbbb, the others")
