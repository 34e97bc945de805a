"""The golden record: a run's search and scores, assembled, sealed and written, to the byte."""

import json
from pathlib import Path

from benchmarks.records import provenance, store
from benchmarks.records.assembly import assemble_record
from benchmarks.records.record import ScoreOutcome, SearchOutcome, UnsealedRecord
from benchmarks.records.spec import RunSpec
from benchmarks.stats import task_units
from tests.golden_files import require_golden

SPEC = RunSpec(
    suite="mt", task="mt-synthetic-en-de", tier="check", method="hat", method_version="1",
    method_sha256="a" * 64, profile="cpu-2core-avx512.v1", seed=1,
    budget={"tokens": 1000, "evaluations": 10, "probes": 4, "seconds": 60.0}, options={"after": "continue"},
    space="multi30k-xs", settings_sha256="b" * 64, task_sha256="c" * 64, data_sha256="d" * 64,
    substrate_sha256="e" * 64,
)  # fmt: skip
SEARCH: SearchOutcome = {
    "status": "done",
    "message": "",
    "ledger": {
        "entries": [
            {"phase": "supernet", "kind": "tokens", "amount": 800.0},
            {"phase": "supernet", "kind": "seconds", "amount": 7.5},
            {"phase": "search", "kind": "evaluations", "amount": 3.0},
        ],
        "totals": {"tokens": 800.0, "seconds": 7.5, "evaluations": 3.0, "probes": 0.0},
        "share": {"tokens": 0.8, "evaluations": 0.3, "probes": 0.0, "seconds": 0.125},
        "timeline": [{"at": 7.5, "tokens": 800.0, "phase": "supernet"}],
        "harness_seconds": {"start": 1.0},
        "lost_seconds": 0.0,
        "cpu_seconds": {"search": 7.25},
    },
    "candidates": [
        {
            "index": 0,
            "architecture": {"encoder_layers": 2, "decoder_ffn": [64, 128]},
            "policy": {"encoder.0": "int8"},
            "origin": "inherited",
            "limit_ms": 12.5,
            "limit_share": 0.5,
            "weights_sha256": "f" * 64,
            "spent": {"tokens": 800.0, "evaluations": 3.0},
            "valid": {"loss": 3.25},
        }
    ],
    "search_log": [{"tokens": 800.0, "evaluations": 1.0, "seconds": 7.0, "best_valid_loss": 3.25}],
    "energy": {"joules": 30.5, "source": "RAPL", "kg_co2": None},
    "joules": {"supernet": 30.5},
}
SCORES: ScoreOutcome = {
    "candidates": [
        {
            "index": 0,
            "weights_sha256": "f" * 64,
            "failed": None,
            "valid_bleu": 20.5,
            "test": {"pooled": {"bleu": {"value": 21.0, "low": 20.0, "high": 22.0, "signature": "tok:13a"}}},
            "test_loss": 3.5,
            "sentences_sha256": "1" * 64,
            "sentences": {"sets": [("pooled", 2)], "bleu": "AAAA"},
            "cost": {"params": 10, "params_body": 8, "macs": 100.0, "macs_body": 80.0, "bytes": 40},
            "latency": {
                "p50": 5.5, "p90": None, "n": 8, "ratio": 0.5, "ratio_low": 0.4, "ratio_high": 0.6,
                "reference_p50": 11.0, "signature": "rt:torch|n:8",
            },
            "memory": {"peak_bytes": 1000, "source": "malloc"},
            "energy": {"joules_per_sentence": None, "source": "no meter"},
        }
    ],
    "message": "",
    "harness_seconds": {"score": 2.0},
    "cpu_seconds": {"score": 1.5},
}  # fmt: skip


def assembled() -> UnsealedRecord:
    record = assemble_record(SPEC.to_dict(), SEARCH, SCORES, _provenance())
    record["timings"] = {"limits": [[0.5, 12.5]], "probes": [[0, "2-64-128", 5.75]]}
    record["units"] = task_units.TRANSLATION.to_dict()
    return record


def _provenance():
    """This process's, with every value that depends on machine, time or installation replaced."""
    made = provenance.provenance(
        data={"train.en": "2" * 64}, command=["supernet-bench", "run", "/home/me/file.py:Mine"]
    )
    made |= {"commit": "3" * 40, "dirty_sha256": None, "versions": {"python": "3.11.0"}, "env": {}}
    made.pop("package", None)
    made |= {"started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T00:01:00+00:00", "jobs": 1}
    known = {"cpus": 2, "memory_gib": 8.0, "gpus": []}
    made["machine"] = {field: known.get(field, field) for field in made["machine"]}
    return made


def test_a_record_is_written_as_the_golden_one(tmp_path: Path):
    path = store.write(tmp_path, assembled())
    require_golden("record.json", path.read_text())
    record = store.load(path)
    assert record["candidates"][0]["valid"] == {"loss": 3.25, "bleu": 20.5}
    assert json.loads(json.dumps(RunSpec(**record["spec"]).to_dict())) == record["spec"]
