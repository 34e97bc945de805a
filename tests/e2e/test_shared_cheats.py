"""The cheating methods that the issue on integrity gave: each is refused, gains nothing, or shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import ROOT
from tests.e2e.test_cheats import supervise

INPUTS = next((p / "shared/inputs" for p in ROOT.parents if (p / "shared/inputs").is_dir()), Path("absent"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (INPUTS / "cheats.py").is_file(), reason="the issue's inputs are not here"),
]

CHEATS = (
    *("Honest", "TestSet", "FreeEpochs", "FreeEvaluations", "FreeSeconds", "Books", "Forges", "Outcome"),
    *("Daemon", "Threads", "Valid", "Reference", "ProcMem", "Hostile", "BigRecord", "Floods", "EatsMemory"),
    *("OutliveThread", "IgnoresStop", "DeletesFolder"),
)
TRANSLATION = ("Fair", "Epochs", "EpochsCopied", "Sealed", "Swaps", "Forked", "Partial")


@pytest.fixture(scope="module")
def runs(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Outcomes and logs by method; ``clean-`` stands before those of clean.py."""
    found: dict[str, dict[str, Any]] = {}
    for file, names in (
        ("cheats.py", CHEATS),
        ("mtcheats.py", TRANSLATION),
        ("clean.py", ("SealedNative",)),
    ):
        home = tmp_path_factory.mktemp(file.removesuffix(".py"))
        (home / file).write_bytes((INPUTS / file).read_bytes())
        found |= supervise(environment, home, *(f"{home / file}:{name}" for name in names), timeout=3600)
        forged = [p for p in home.rglob("score*.json") if p.parent.name != "sealed"]
        assert forged == [], "no search writes scores"
    return found


def outcome(runs: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    return runs[name]["outcome"]


def test_every_cheat_has_an_outcome_of_the_supervisor(runs):
    assert len(runs) == len(CHEATS) + len(TRANSLATION) + 1
    for name, run in runs.items():
        text = json.dumps(run["outcome"])
        assert run["outcome"]["status"] in ("done", "budget", "failed"), name
        assert run["outcome"]["oversight"]["work"]["cpu_seconds"] > 0 and len(text) < 2**20, name
        within = run["outcome"]["ledger"]["totals"].get("tokens", 0) <= 2000
        assert within or run["outcome"]["status"] == "failed", name
    assert outcome(runs, "honest")["status"] == outcome(runs, "fair")["status"] == "done"


@pytest.mark.parametrize("name", ["testset", "sealed", "swaps"])
def test_the_test_split_is_absent_from_the_search(runs, name):
    assert outcome(runs, name)["status"] == "failed"
    assert "read" not in runs[name]["log"].partition("Traceback")[0]


@pytest.mark.parametrize("name", ["forked", "sealed-native"])
def test_the_test_split_is_absent_from_children_of_a_search(runs, name):
    log = runs[name]["log"]
    assert "child read" not in log or "child read b'0'" in log, "it counts the bytes that it found"


@pytest.mark.parametrize("name", ["books", "outcome", "floods", "eatsmemory", "forges"])
def test_forged_books_and_crashes_fail(runs, name):
    assert outcome(runs, name)["status"] == "failed" and outcome(runs, name)["message"]


def test_work_off_the_clock_is_on_the_account(runs):
    own = outcome(runs, "freeseconds")
    assert (
        own["status"] != "done"
        or own["ledger"]["totals"]["seconds"] > 0.3 * own["oversight"]["work"]["cpu_seconds"]
    )


@pytest.mark.parametrize(
    ("name", "honest"), [("freeepochs", "honest"), ("epochs", "fair"), ("epochs-copied", "fair")]
)
def test_uncharged_training_is_in_the_processor_seconds(runs, name, honest):
    own, other = outcome(runs, name), outcome(runs, honest)
    if own["status"] == "failed":
        return
    per_token = [
        o["oversight"]["work"]["cpu_seconds"] / o["ledger"]["totals"]["tokens"] for o in (own, other)
    ]
    assert per_token[0] > per_token[1]


def test_other_processes_are_out_of_reach(runs):
    assert all(hit == 0 or isinstance(hit, str) for hit in _hits(runs["procmem"]["log"]))
    assert "edited" not in runs["reference"]["log"]
    daemons = [
        p for p in psutil.process_iter(["cmdline"]) if "rewritten" in " ".join(p.info["cmdline"] or [])
    ]
    assert daemons == []


def _hits(log: str) -> list[Any]:
    """Return the values that procmem printed: numbers of hits, or errors."""
    import ast

    line = next((x for x in log.splitlines() if x.startswith("sealed path in the memory of ")), "x {}")
    return list(
        ast.literal_eval(line.removeprefix("sealed path in the memory of ").removeprefix("x ")).values()
    )


@pytest.mark.parametrize("name", ["hostile", "bigrecord"])
def test_names_and_texts_are_bounded(runs, name):
    for entry in outcome(runs, name)["ledger"]["entries"]:
        assert len(entry["phase"]) <= 200
        entry["phase"].encode()
