"""Cheats whose answer comes with the scores or in the table: refused, flagged, or stated to be possible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

pytestmark = pytest.mark.slow


def words(folder: Path, *names: str) -> tuple[str, ...]:
    (folder / "cheats.py").write_bytes((HERE / "cheats.py").read_bytes())
    return "run", "tiny", "--methods", ",".join(f"cheats.py:{name}" for name in names)


def test_false_losses_replayed_batches_and_public_test_data(bench, records, tmp_path):
    from benchmarks.comparability import flags, run_summary
    from benchmarks.verification.verdict_files import row_status

    names = ("Honest", "HonestToo", "HonestAgain", "Claims", "Replays", "Public")
    done = bench(*words(tmp_path, *names), timeout=1500, REPLAY_S="40")
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[str, Any] = {record["spec"]["method"]: record for record in records()}
    claims = found.pop("claims-zero")
    assert claims["status"] == "failed" and "its search stated a validation loss of 0" in claims["message"]
    assert {record["status"] for record in found.values()} == {"done"}
    marked = flags.flags([run_summary.summarize(record, keep=False) for record in found.values()])
    assert set(marked) == {found["replays"]["id"]}
    assert "times what other methods of this table take" in marked[found["replays"]["id"]][0]
    # Nobody can tell: the row is self-reported, and its code is named by digest.
    assert row_status([[]]) == "self-reported" and found["public"]["spec"]["method_sha256"]


def test_without_isolation_the_test_split_is_encrypted_while_searches_run(bench, records, tmp_path):
    done = bench(*words(tmp_path, "Spies"), timeout=600, SUPERNET_BENCH_ISOLATION="none")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test references are encrypted meanwhile" in done.stdout
    (record,) = records()
    assert record["oversight"]["isolation"] == "none" and record["candidates"][0]["test"]
    (log,) = tmp_path.rglob("log.txt")
    text = log.read_text()
    assert "SPLIT []" in text, text
    assert "memory of the command SUCCEEDED" not in text, text
    assert list(tmp_path.rglob("tiny-sealed/test.npy")), "it is there again for the next command"
    assert record["oversight"]["references_sha256"]
