"""``test-method``: good methods pass everything, and each broken one fails the check meant for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CHECKS = ["contract", "budget", "seeding", "random-state", "resume", "export", "test-split"]
BROKEN = {
    # class of unfair_methods.py: the check that it fails, and what must be said
    "Crashes": ("contract", "ValueError: out of ideas (unfair_methods.py:"),
    "OwnTarget": (
        "contract",
        "lab.candidate(target=12345.0): no target of this run, choose one of lab.limits",
    ),
    "OwnOrigin": ("contract", "lab.candidate(origin='mine'): no such origin, choose one of inherited"),
    "LooksInside": ("contract", "takes lab.family (unfair_methods.py:"),
    "Greedy": ("budget", "evaluations: asked for 1, 0 left; 0 candidates"),
    "Unmetered": ("budget", "were charged"),
    "RaisesItself": ("budget", "takes lab.budget.allowance (unfair_methods.py:"),
    "Stubborn": ("budget", "when every charge was refused from half-way on: seconds: the allowance is spent"),
    "ByTheClock": ("seeding", "two runs with seed 1 differ"),
    "ByHashOrder": ("seeding", "under another PYTHONHASHSEED differs"),
    "OwnSeed": ("seeding", "seeds 1 and 2 proposed the very same networks"),
    "DrawsFromNumpy": ("random-state", "numpy.random was moved in unfair_methods.py:"),
    "Reseeds": ("random-state", "torch was moved in unfair_methods.py:"),
    "ReadsState": ("random-state", "other global random states change the result"),
    "KeepsHalf": ("resume", "killed 2 times and resumed, it differs"),
    "TakesItself": ("resume", "candidate of another architecture"),
    "BakesOther": ("export", "in the supernet"),
    "Peeks": ("test-split", "reached for test.npy of the sealed test split in unfair_methods.py:"),
    "PeeksElsewhere": ("test-split", "reached for test.npy of the sealed test split in unfair_methods.py:"),
}
ENDED = {"RaisesItself"}
"""Those whose run the harness ends, so that they have broken the contract as well."""


@pytest.fixture
def unfair(tmp_path: Path) -> Path:
    return Path(shutil.copy(Path(__file__).parent / "unfair_methods.py", tmp_path))


def verdicts(done) -> dict[str, dict[str, dict[str, str]]]:
    assert "Traceback" not in done.stderr, done.stderr
    return {one["method"]: {c["name"]: c for c in one["checks"]} for one in json.loads(done.stdout)}


@pytest.mark.slow
def test_each_broken_method_fails_the_check_meant_for_it(bench, unfair):
    words = [f"unfair_methods.py:{name}" for name in BROKEN]
    done = bench("test-method", *words, "tiny-good", "--task", "tiny-repeat", "--json", timeout=580)
    found = verdicts(done)
    assert done.returncode == 1
    assert {c["verdict"] for c in found.pop("tiny-good").values()} == {"ok"}
    for name, checks in zip(BROKEN, found.values(), strict=True):
        check, said = BROKEN[name]
        assert list(checks) == CHECKS
        failed = {c["name"]: c["seen"] for c in checks.values() if c["verdict"] == "FAILED"}
        assert list(failed) == [*(["contract"] if name in ENDED else []), check], (name, checks)
        assert said in failed[check], name
        assert checks[check]["why"] and checks[check]["mend"]


@pytest.mark.slow
def test_our_own_methods_pass(bench):
    done = bench("test-method", "hat", "mos-neuron", "--json", timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    found = verdicts(done)
    assert [{c["verdict"] for c in checks.values()} for checks in found.values()] == [{"ok"}, {"ok"}]


@pytest.mark.slow
def test_methods_that_learn_from_a_teacher_pass(bench):
    words = ["nas-bert", "autodistil", "--task", "bert-synthetic-en", "--tier", "check", "--json"]
    done = bench("test-method", *words, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    found = verdicts(done)
    assert [{c["verdict"] for c in checks.values()} for checks in found.values()] == [{"ok"}, {"ok"}]


@pytest.mark.slow
def test_a_joint_search_passes(bench):
    done = bench("test-method", "linas", "--task", "vision-digits", "--tier", "check", "--json", timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {check["verdict"] for check in verdicts(done)["linas"].values()} == {"ok"}
