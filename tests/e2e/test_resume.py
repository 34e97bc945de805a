"""Killed, interrupted or damaged on disk: typed again, a run goes on and ends as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORDS = ("run", "tiny", "--methods", "tiny-good", "--checkpoint-seconds", "0")
SLOW = {"TINY_SLOW": "0.25"}

pytestmark = pytest.mark.slow


@pytest.fixture
def started(environment: dict[str, str], command: list[str], tmp_path: Path) -> Callable[..., Any]:
    """Start the command and wait until its run is in a phase."""

    def start(until: Callable[[dict[str, Any]], bool], *more: str, words: tuple[str, ...] = WORDS) -> Any:
        process = subprocess.Popen(
            [*command, *words, *more],
            cwd=tmp_path,
            env={**environment, **SLOW},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        began = time.monotonic()
        while time.monotonic() - began < 200:
            for file in tmp_path.glob("results/local/*/runs/*/heartbeat.json"):
                try:
                    beat = json.loads(file.read_text())
                except ValueError:
                    continue
                if beat["at"] >= began and until(beat):
                    return process
            if process.poll() is not None:
                break
            time.sleep(0.02)
        process.kill()
        raise AssertionError(process.communicate()[0])

    return start


def in_phase(name: str, **spent: float) -> Callable[[dict[str, Any]], bool]:
    return lambda beat: (
        beat["phase"] == name
        and all(beat["ledger"]["totals"].get(kind, 0) > amount for kind, amount in spent.items())
    )


@pytest.fixture(scope="module")
def undisturbed(environment, command, tmp_path_factory) -> dict[str, Any]:
    """The record of a run that nothing happened to."""
    from benchmarks.records.store import load_all

    folder = tmp_path_factory.mktemp("undisturbed")
    done = subprocess.run([*command, *WORDS], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = load_all(folder / "results/local/tiny-smoke/records")
    return record


def alike(record: dict[str, Any], other: dict[str, Any]) -> None:
    """Require that two runs of one spec and one command share all that a digest covers, bit for bit."""
    same_result(record, other)
    assert record["digest"] == other["digest"]


def same_result(record: dict[str, Any], other: dict[str, Any]) -> None:
    """Require equal architectures, weights and charges, bit for bit; the commands may differ."""
    for key in ("architecture", "weights_sha256", "valid", "test", "origin"):
        assert [c[key] for c in record["candidates"]] == [c[key] for c in other["candidates"]], key
    timed = {"seconds", "joules"}
    ours, theirs = (
        {k: v for k, v in r["ledger"]["totals"].items() if k not in timed} for r in (record, other)
    )
    assert ours == theirs
    booked = [
        {(e["phase"], e["kind"]): e["amount"] for e in r["ledger"]["entries"] if e["kind"] not in timed}
        for r in (record, other)
    ]
    assert booked[0] == booked[1]


def gone(process: subprocess.Popen[str], folder: Path) -> None:
    """Nothing that the command started works on after its death."""
    process.communicate(timeout=10)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = [p for p in os.listdir("/proc") if p.isdigit() and _works_in(int(p), folder)]
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(f"still running: {left}")


def _works_in(pid: int, folder: Path) -> bool:
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")) == folder and pid != os.getpid()
    except OSError:
        return False


def test_a_run_killed_in_every_phase_gives_the_undisturbed_record(
    started, bench, records, undisturbed, tmp_path
):
    for until in (
        in_phase("supernet", tokens=300),
        in_phase("search", probes=2),
        in_phase("search", probes=3, evaluations=2),
        in_phase("retrain", tokens=1400),
    ):
        process = started(until)
        process.kill()
        gone(process, tmp_path)
        assert not records()
    done = bench(*WORDS)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = records()
    alike(record, undisturbed)
    assert record["ledger"]["lost_seconds"] > 0
    assert record["status"] == "done" and len(record["candidates"]) == 2
    assert not list(tmp_path.rglob("checkpoints")), "what only a resumption needs is cleared away"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_prints_the_command_that_resumes(
    started, bench, records, undisturbed, tmp_path, number
):
    process = started(in_phase("supernet", tokens=300))
    process.send_signal(number)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and "type the same command again" in said, said
    assert "Traceback" not in said
    gone(process, tmp_path)
    beat = json.loads(next(tmp_path.rglob("heartbeat.json")).read_text())
    assert beat["ledger"]["totals"]["tokens"] > 300
    done = bench(*WORDS)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = records()
    alike(record, undisturbed)
    assert record["ledger"]["lost_seconds"] < 2.5, "it saved before it stopped"


def test_a_damaged_checkpoint_is_reported_and_its_predecessor_restored(
    started, bench, records, undisturbed, tmp_path
):
    process = started(in_phase("retrain", tokens=1500))
    process.kill()
    gone(process, tmp_path)
    newest = sorted(tmp_path.rglob("checkpoints/retrain/[0-9]*"))[-1]
    raw = bytearray((newest / "tensors.safetensors").read_bytes())
    raw[-5] ^= 1
    (newest / "tensors.safetensors").write_bytes(raw)
    done = bench(*WORDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"checkpoint retrain/{newest.name} is damaged" in done.stdout
    (record,) = records()
    alike(record, undisturbed)


def test_a_damaged_journal_is_reported_and_the_run_starts_afresh(
    started, bench, records, undisturbed, tmp_path
):
    process = started(in_phase("search", evaluations=1))
    process.kill()
    gone(process, tmp_path)
    journal = next(tmp_path.rglob("journal.jsonl"))
    journal.write_bytes(b"\x00garbage\n" + journal.read_bytes())
    done = bench(*WORDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "journal.jsonl, line 1: not a journal entry" in done.stdout
    assert list(journal.parent.glob("journal.jsonl.*.aside"))
    (record,) = records()
    alike(record, undisturbed)


def test_killed_while_scoring_the_search_is_not_repeated(started, bench, records, undisturbed, tmp_path):
    process = started(lambda beat: beat["proposals"] == 2)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("score.txt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    gone(process, tmp_path)
    beat = next(tmp_path.rglob("heartbeat.json"))
    before = beat.stat().st_mtime_ns
    done = bench(*WORDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert beat.stat().st_mtime_ns == before
    (record,) = records()
    alike(record, undisturbed)


WANDERER = """
import os, random, time
from benchmarks.api import Method

class Wanderer(Method):
    name = "wanderer"

    def search(self, lab):
        net = lab.supernet()
        rng = __import__("numpy").random.default_rng(int.from_bytes(os.urandom(4), "big"))
        for _ in range(5):
            lab.evaluate(net, lab.space.sample(rng))
            time.sleep(float(os.environ.get("TINY_SLOW", 0)))
        yield lab.candidate(net, lab.space.smallest())
"""


def test_a_method_that_does_not_repeat_itself_is_reported(started, bench, records, tmp_path):
    (tmp_path / "wanderer.py").write_text(WANDERER)
    words = ("run", "tiny", "--methods", "wanderer.py:Wanderer")
    process = started(lambda beat: beat["ledger"]["totals"]["evaluations"] >= 2, words=words)
    process.kill()
    gone(process, tmp_path)
    done = bench(*words)
    assert done.returncode == 1
    (record,) = records()
    assert record["status"] == "failed" and "the method does not repeat itself" in record["message"]
    again = bench(*words)
    assert again.returncode == 0 and [r["status"] for r in records()] == ["done"], again.stdout


def test_finished_runs_are_served_without_torch(bench, records, environment, tmp_path):
    words = ("run", "tiny", "--methods", "tiny-good,tiny-after", "--jobs", "2")
    assert bench(*words).returncode == 0
    found = records()
    assert [r["spec"]["method"] for r in found] == ["tiny-after", "tiny-good"]
    assert found[0]["spec"]["follows"] == found[1]["id"]
    assert found[0]["candidates"][0]["architecture"] == found[1]["candidates"][1]["architecture"]
    assert {r["provenance"]["jobs"] for r in found} == {2}
    began = time.monotonic()
    again = bench(*words, PYTHONPROFILEIMPORTTIME="1")
    assert again.returncode == 0 and time.monotonic() - began < 20
    loaded = {line.split("|")[-1].strip() for line in again.stderr.splitlines()}
    assert "benchmarks.cli.main" in loaded and not loaded & {"torch", "supernet.train", "baselines.hat"}
    assert "nothing left to run" in again.stdout and records() == found
    rest = bench("run", "tiny", "--methods", "tiny-after", "--json")
    assert rest.returncode == 0 and json.loads(rest.stdout)["paths"]["table.md"]


def test_two_commands_in_one_folder_share_its_runs(started, bench, records):
    process = started(in_phase("supernet"))
    other = bench(*WORDS)
    assert other.returncode == 0 and "as another worker noted" in other.stdout
    process.communicate(timeout=60)
    assert process.returncode == 0
    (record,) = records()
    assert record["status"] == "done"
