"""Each method of cheats.py is refused, gains nothing, or is shown by its record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

HERE = Path(__file__).parent
CLASSES = (
    "Honest", "ReadsTests", "Writes", "Clears", "Reverts", "Pauses", "Concludes", "Leaves", "Crowds",
    "LooksAround", "Forges", "Floods", "Leads", "Inherits", "TakesUnpaid", "ReadsUnpaid",
)  # fmt: skip


def supervise(
    environment: dict[str, str], folder: Path, *words: str, means: str = "", timeout: float = 400
) -> dict[str, dict[str, Any]]:
    """Run searches under the supervisor; return method -> its outcome and log.

    Args:
        environment: of the processes.
        folder: of the runs.
        words: arguments of supervise.py.
        means: of isolation; empty: the best that the system has.
        timeout: seconds for all of them.
    """
    command = [sys.executable, str(HERE / "supervise.py"), str(folder), *words]
    chosen = environment | ({"SUPERNET_BENCH_ISOLATION": means} if means else {})
    done = subprocess.run(command, env=chosen, cwd=folder, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["method"]: line for line in lines}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    (folder / "cheats.py").write_bytes((HERE / "cheats.py").read_bytes())
    return folder


@pytest.fixture(scope="module")
def runs(environment: dict[str, str], home: Path) -> dict[str, dict[str, Any]]:
    return supervise(environment, home, *(f"{home / 'cheats.py'}:{name}" for name in CLASSES))


@pytest.fixture
def isolated(runs: dict[str, dict[str, Any]]) -> None:
    if runs["honest"]["outcome"]["oversight"]["isolation"] == "none":
        pytest.skip("this system lets no process have namespaces of its own")


def kept(run: dict[str, Any]) -> tuple[str, int]:
    return run["outcome"]["status"], len(run["outcome"]["candidates"])


def test_an_honest_method_is_left_alone_and_measured(runs):
    outcome = runs["honest"]["outcome"]
    assert kept(runs["honest"]) == ("done", 1), outcome["message"]
    work = outcome["oversight"]["work"]
    assert 0.05 < work["cpu_seconds"] < 60 and work["threads"] <= 4 and work["wall_seconds"] > 0.1
    assert outcome["ledger"]["totals"]["tokens"] > 1900


def test_the_test_split_is_nowhere_to_be_found(runs, isolated, home):
    assert list(home.rglob("*sealed*/test.npy")), "it is there"
    log = runs["reads-tests"]["log"]
    assert log.count("FOUND") == 3 and "sealed" not in log.replace("reads", ""), log


def test_a_search_can_write_its_own_files_alone(runs, isolated, home):
    log = runs["writes"]["log"]
    for what in ("partial scores", "scores", "outcome", "journal", "heartbeat", "books", "method", "compiled",
                 "harness"):  # fmt: skip
        assert f"\n{what} refused" in f"\n{log}", log
    forged = [p for p in home.rglob("*") if p.is_file() and p.read_bytes().endswith(b"forged")]
    assert forged == [], "what is written into an empty folder of its own is gone with it"
    assert kept(runs["writes"]) == ("done", 1)


def test_a_cleared_ledger_is_not_the_supervisors(runs):
    outcome = runs["clears"]["outcome"]
    assert outcome["status"] == "failed" and "tokens of 2,000: its ledger was changed" in outcome["message"]


def test_weights_of_another_run_are_paid_for_however_they_were_loaded(runs):
    cost = runs["leads"]["outcome"]["ledger"]["totals"]["tokens"]
    assert "charged 0.0" in runs["takes-unpaid"]["log"] and "read 1" in runs["reads-unpaid"]["log"]
    for name in ("inherits", "takes-unpaid"):
        outcome = runs[name]["outcome"]
        assert outcome["status"] == "done" and outcome["ledger"]["totals"]["tokens"] == cost > 0
        paid = {e["kind"]: e["amount"] for e in outcome["ledger"]["entries"] if e["phase"] == "inherited"}
        assert paid["tokens"] == cost
    outcome = runs["reads-unpaid"]["outcome"]
    assert outcome["status"] == "failed" and "with the run whose weights it was given" in outcome["message"]


def test_a_checkpoint_takes_no_charges_back(runs):
    outcome = runs["reverts"]["outcome"]
    assert outcome["status"] == "failed" and "cannot be taken back" in outcome["message"]
    assert outcome["ledger"]["totals"]["tokens"] <= 2000


def test_processor_time_in_a_pause_for_the_timing_lock_is_on_its_account(runs):
    outcome = runs["pauses"]["outcome"]
    work, seconds = outcome["oversight"]["work"], outcome["ledger"]["totals"]["seconds"]
    assert seconds > 0.3 * work["cpu_seconds"], "it worked for four seconds with its clock stopped"


def test_a_search_that_writes_its_own_outcome_has_failed(runs):
    assert kept(runs["concludes"]) == ("failed", 0)
    assert "exit code 0 and no outcome" in runs["concludes"]["outcome"]["message"]


def test_children_of_a_search_end_with_it(runs):
    assert kept(runs["leaves"]) == ("done", 1)
    sleepers = [
        p for p in psutil.process_iter(["cmdline"]) if "time.sleep(600)" in " ".join(p.info["cmdline"] or [])
    ]
    assert sleepers == []


def test_threads_and_processes_show(runs):
    work = runs["crowds"]["outcome"]["oversight"]["work"]
    assert work["threads"] >= 8 and work["cpu_seconds"] > 1


def test_other_processes_and_the_network_are_out_of_reach(runs, isolated):
    log = runs["looks-around"]["log"]
    assert "memory of" in log and "network refused" in log, log
    assert "SUCCEEDED" not in log.replace("kill SUCCEEDED", ""), "a signal to the keeper does nothing"
    assert int(log.split("PROCESSES ")[1].split()[0]) <= 4
    assert kept(runs["looks-around"]) == ("done", 1)


def test_forged_messages_end_the_run(runs):
    assert "it charged -1000 tokens" in runs["forges"]["outcome"]["message"]
    assert "no message of the Lab's" in runs["floods"]["outcome"]["message"]
    assert {runs[name]["outcome"]["status"] for name in ("forges", "floods")} == {"failed"}


def test_without_isolation_the_record_states_it_and_the_supervisor_keeps_the_ledger(environment, tmp_path):
    (tmp_path / "cheats.py").write_bytes((HERE / "cheats.py").read_bytes())
    words = [f"{tmp_path / 'cheats.py'}:{name}" for name in ("Honest", "Clears", "Concludes", "Leaves")]
    runs = supervise(environment, tmp_path, "--bare", *words)
    assert {run["outcome"]["oversight"]["isolation"] for run in runs.values()} == {"none"}
    assert [kept(runs[name]) for name in ("honest", "concludes", "leaves")] == [
        ("done", 1), ("failed", 0), ("done", 1),
    ]  # fmt: skip
    assert "its ledger was changed" in runs["clears"]["outcome"]["message"]
    test_children_of_a_search_end_with_it(runs)


@pytest.mark.parametrize("means", ["landlock", "ipc,mount,network"])
def test_containers_that_forbid_some_means_have_others(environment, tmp_path, means):
    (tmp_path / "cheats.py").write_bytes((HERE / "cheats.py").read_bytes())
    words = [f"{tmp_path / 'cheats.py'}:{name}" for name in ("ReadsTests", "Writes", "Leaves", "LooksAround")]
    runs = supervise(environment, tmp_path, *words, means=means)
    if {run["outcome"]["oversight"]["isolation"] for run in runs.values()} != {means}:
        pytest.skip(f"this system has no {means}")
    assert [kept(runs[name]) for name in ("reads-tests", "writes", "leaves")] == [("done", 1)] * 3
    # Who can see its keeper may kill it, and has failed.
    assert kept(runs["looks-around"]) in [("done", 1), ("failed", 0)]
    assert "sealed" not in runs["reads-tests"]["log"]
    log = runs["writes"]["log"]
    assert all(
        f"\n{what} refused" in f"\n{log}" for what in ("scores", "outcome", "journal", "method", "harness")
    )
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.read_bytes().endswith(b"forged")] == []
    around = runs["looks-around"]["log"]
    assert "memory of" in around and "SUCCEEDED" not in around.replace("kill SUCCEEDED", ""), around
    test_children_of_a_search_end_with_it(runs)


def test_code_that_changed_after_planning_does_not_run(environment, tmp_path):
    from benchmarks import registry
    from benchmarks.api import UsageError

    file = tmp_path / "mine.py"
    file.write_text((HERE / "no_op.py").read_text())
    ref = registry.find(f"{file}:NoOp")
    assert registry.load(ref.source, ref.sha256).name == "no-op"
    file.write_text(file.read_text().replace("return ()", "return (1,)"))
    with pytest.raises(UsageError, match="its code changed after the run was planned"):
        registry.load(ref.source, ref.sha256)


def test_a_poisoned_compiled_form_is_not_executed(environment, tmp_path):
    import importlib.util
    import py_compile

    from benchmarks import registry

    file = tmp_path / "mine.py"
    honest = (HERE / "no_op.py").read_text()
    file.write_text(honest.replace('"no-op"', '"poison"'))
    compiled = Path(importlib.util.cache_from_source(str(file)))
    py_compile.compile(
        str(file), cfile=str(compiled), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    file.write_text(honest)
    assert registry.load(f"{file}:NoOp").name == "poison", "the compiled form stands for the file"
    ref = registry.find(f"{file}:NoOp")
    assert registry.load(ref.source, ref.sha256).name == "no-op"
