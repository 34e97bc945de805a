"""External tuning: trials on allowances of their own, all charged; validation chooses; never mixed."""

from __future__ import annotations

import json
import shutil

import pytest

from benchmarks.verification import verdict_files
from tests.e2e.test_resume import alike, gone, in_phase, started

__all__ = ["started"]

WORDS = ("run", "tiny", "--methods", "tiny-tuned", "--profile", "undeclared")
EXTERNAL = (*WORDS, "--ruleset", "external", "--checkpoint-seconds", "0")


@pytest.mark.slow
def test_trials_are_charged_resumed_and_chosen_among_by_validation(started, bench, records, tmp_path):
    own = bench(*WORDS)
    assert own.returncode == 0, own.stdout + own.stderr
    done = bench(*EXTERNAL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "external tuning, 5 allowances a run" in done.stdout
    found = {record["spec"].get("ruleset", "self"): record for record in records()}
    alone, tuned = found["self"], found["external"]
    assert "trials" not in alone["spec"] and tuned["spec"]["trials"] == [{"share": 0.3}, {"share": 0.8}]
    assert tuned["spec"]["budget"] == {kind: 5 * amount for kind, amount in alone["spec"]["budget"].items()}
    # A trial is a run of its own: the first has the options that the method takes by itself.
    assert [c["trial"] for c in tuned["candidates"]] == [1, 2]
    for key in ("architecture", "weights_sha256", "valid", "test"):
        assert tuned["candidates"][0][key] == alone["candidates"][0][key]
    assert tuned["candidates"][1]["weights_sha256"] != alone["candidates"][0]["weights_sha256"]
    # Every trial has a whole allowance, and all of them are on the ledger.
    assert alone["ledger"]["totals"]["evaluations"] == 6
    assert tuned["ledger"]["totals"]["evaluations"] == 12
    tokens = {e["phase"]: e["amount"] for e in tuned["ledger"]["entries"] if e["kind"] == "tokens"}
    assert tokens["trial 1: supernet"] == alone["ledger"]["totals"]["tokens"]
    assert 0.7 * 2000 < tokens["trial 2: supernet"] <= 0.8 * 2000

    mixed = bench("compare", "tiny-tuned", "--suite", "tiny")
    assert mixed.returncode == 2 and "ruleset" in mixed.stderr and "external" in mixed.stderr
    chosen = json.loads(
        bench("compare", "tiny-tuned", "--suite", "tiny", "--ruleset", "external", "--json").stdout
    )
    best = min(tuned["candidates"], key=lambda c: c["valid"]["loss"])
    assert chosen["shared"]["ruleset"] == "external"
    assert [row["valid_loss"] for row in chosen["rows"]] == [pytest.approx(best["valid"]["loss"], rel=1e-5)]

    (tmp_path / "results").rename(tmp_path / "before")
    process = started(in_phase("trial 2: supernet", tokens=900), words=EXTERNAL)
    process.kill()
    gone(process, tmp_path)
    again = bench(*EXTERNAL)
    assert again.returncode == 0, again.stdout + again.stderr
    (resumed,) = records()
    alike(resumed, tuned)


@pytest.mark.slow
def test_a_tuned_row_is_verified_with_all_its_trials(bench, records, tmp_path):
    done = bench(*EXTERNAL)
    assert done.returncode == 0, done.stdout + done.stderr
    (tuned,) = records()
    shutil.copytree(tmp_path / "results/local/tiny-smoke/records", tmp_path / "results/records")
    shutil.rmtree(tmp_path / "results/local")
    done = bench("verify", tuned["id"])
    assert "identical candidates, weights, translations and ledger" in done.stdout, done.stdout + done.stderr
    assert "latencies of the search: the published timings" in done.stdout
    (kept,) = (tmp_path / "results/verified").rglob("*.json")
    verdict = verdict_files.VERDICTS.load(kept)
    assert verdict["identical"] and verdict["differences"] == []
    assert [c["holds"] for c in verdict["checks"] if c["what"] == "quality"] == [True]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--methods", "tiny-good"), "tiny-good declares no trials"),
        (("--methods", "tiny-tuned", "--option", "tiny-tuned.share=0.5"), "options come from the method's"),
        (("--methods", "many.py:Many"), "declares 6 trials; external tuning has 5"),
        (("--methods", "many.py:Computed"), "line 13: trials must be a literal tuple"),
    ],
)
def test_a_mistake_in_external_tuning_is_one_message(bench, tmp_path, words, said):
    (tmp_path / "many.py").write_text(
        "from benchmarks.api import Method\n\n\nclass Many(Method):\n    name = 'many'\n"
        "    trials = ({}, {'a': 1}, {'a': 2}, {'a': 3}, {'a': 4}, {'a': 5})\n\n"
        "    def search(self, lab):\n        yield\n\n"
        "class Computed(Method):\n    name = 'computed'\n    trials = tuple({'a': i} for i in range(3))\n\n"
        "    def search(self, lab):\n        yield\n"
    )
    done = bench("run", "tiny", *words, "--ruleset", "external")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ") and said in done.stderr, done.stderr
