"""Plausible, valid result records for tests. Made up from a seeded generator: they measure nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparability import run_summary
from benchmarks.records import integrity, runtime_latencies, store
from benchmarks.records.spec import spec_id
from benchmarks.stats import bleu
from benchmarks.verification import compare, verdict_files

METHODS = ("hat", "hat-sandwich", "mos-layer", "mos-neuron", "random-search", "scratch")
LIMITS = (0.4, 0.6, 0.8)
_MESSAGES = {"done": "", "budget": "stopped at 100 % of tokens", "failed": "ValueError: nonsense"}
_STRENGTH = {"hat": 0.0, "hat-sandwich": 0.5, "mos-layer": 0.9, "mos-neuron": 1.3, "random-search": -1.2}
BLEU_SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"


def _sha(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def fake(
    method: str = "hat",
    seed: int = 1,
    *,
    status: str = "done",
    message: str = "",
    limits: Sequence[float | None] = LIMITS,
    task: str = "mt-multi30k-en-de",
    tier: str = "small",
    profile: str = "cpu-2core-avx512.v1",
    tokens: float = 2_000_000,
    spent: bool = True,
    source: str = "codecarbon 3.3.2, CPU load model (estimate)",
    **changes: Any,
) -> dict[str, Any]:
    """One sealed record; ``changes`` replace top-level fields before sealing."""
    rng = np.random.default_rng(int(_sha(method, seed)[:8], 16))
    luck = float(rng.normal(0, 0.3))
    reference = 30.0 + float(rng.normal(0, 0.3))
    candidates = [
        _candidate(rng, i, limit, method, seed, luck, reference, profile, spent)
        for i, limit in enumerate(limits)
    ]
    if status == "failed":
        candidates = []
    seconds = float(rng.uniform(700, 800))
    shares = {"supernet": 0.62, "search": 0.26, "retrain": 0.1, "other": 0.02}
    used = {"tokens": tokens * (0.999 if status != "budget" else 1.0), "evaluations": 600.0, "probes": 240.0}
    split = {
        "tokens": {"supernet": 0.8, "retrain": 0.2},
        "evaluations": {"search": 1.0},
        "probes": {"search": 1.0},
    }
    if method == "scratch":
        split, shares = (
            {"tokens": {"retrain": 1.0}, "evaluations": {}, "probes": {}},
            {"retrain": 0.95, "other": 0.05},
        )
        used |= {"evaluations": 0.0, "probes": 0.0}
    entries = [
        {"phase": phase, "kind": kind, "amount": part * used[kind]}
        for kind, parts in split.items()
        for phase, part in parts.items()
    ]
    entries += [{"phase": p, "kind": "seconds", "amount": part * seconds} for p, part in shares.items()]
    entries += [{"phase": p, "kind": "joules", "amount": part * seconds * 28} for p, part in shares.items()]
    totals: dict[str, float] = {}
    for entry in entries:
        totals[entry["kind"]] = totals.get(entry["kind"], 0.0) + entry["amount"]
    budget = {"tokens": tokens, "evaluations": 600, "probes": 300, "seconds": 900}
    log = [
        {
            "tokens": used["tokens"] * 0.8,
            "evaluations": n,
            "best_valid_loss": 2.1 - 0.12 * np.log10(n) - luck / 20,
        }
        for n in (1, 3, 10, 40, 130, 600)
    ]
    record: dict[str, Any] = {
        "spec": {
            "suite": "mt", "task": task, "tier": tier, "method": method, "method_version": "1",
            "method_sha256": _sha(method), "profile": profile, "seed": seed, "budget": budget, "options": {},
            "space": "multi30k-xs", "settings_sha256": _sha(task, tier), "follows": None,
        },
        "status": status,
        "message": message or _MESSAGES[status],
        "ledger": {
            "entries": entries, "totals": totals,
            "share": {k: totals[k] / v for k, v in budget.items() if k in totals},
            "timeline": [{"at": seconds * f, "tokens": tokens * f, "phase": "supernet"} for f in (0.3, 0.6)],
            "harness_seconds": {"export": 2.0, "score": 41.0, "measure": 20.0}, "lost_seconds": 0.0,
        },
        "candidates": candidates,
        "search_log": [] if method == "scratch" or not spent else log,
        "energy": {"joules": totals["joules"], "source": source, "kg_co2": None},
        "provenance": {
            "commit": "0" * 40, "dirty_sha256": None, "versions": {"python": "3.11.2", "torch": "2.13.0"},
            "data": {"train.en": _sha("train"), "valid.en": _sha("valid")},
            "machine": {"cpu": "Fake CPU with AVX-512", "cores": 2, "memory_gb": 8},
            "command": ["supernet-bench", "run", "mt", "--methods", method], "env": {"OMP_NUM_THREADS": "2"},
            "started": "2026-01-01T00:00:00+00:00", "ended": f"2026-01-01T00:{10 + seed:02d}:00+00:00",
        },
    }  # fmt: skip
    return integrity.seal(record | changes)


def _candidate(
    rng: np.random.Generator, index: int, limit: float | None, method: str, seed: int, luck: float,
    reference: float, profile: str, spent: bool,
) -> dict[str, Any]:  # fmt: skip
    ratio = (1.0 if limit is None else limit) * float(rng.uniform(0.9, 1.0))
    quality = (
        24 + 14 * (1 - np.exp(-3 * ratio)) + _STRENGTH.get(method, 0.2) + luck + float(rng.normal(0, 0.15))
    )
    params = int(2_000_000 + 6_000_000 * ratio)

    def score(value: float, signature: str) -> dict[str, Any]:
        return {"value": value, "low": value - 0.8, "high": value + 0.8, "signature": signature}

    def scores(shift: float) -> dict[str, Any]:
        return {
            "bleu": score(quality + shift, BLEU_SIGNATURE),
            "chrf": score(
                quality + 20 + shift, "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0"
            ),
            "bleu_tok_lc": score(
                quality + 2 + shift, "nrefs:1|case:lc|eff:no|tok:none|smooth:exp|version:2.6.0"
            ),
        }

    return {
        "index": index, "architecture": {"encoder_layers": 6, "decoder_layers": 2 + index}, "policy": None,
        "origin": "scratch" if method == "scratch" else ("continued" if seed % 2 else "inherited"),
        "limit_ms": None if limit is None else reference * limit, "limit_share": limit,
        "weights_sha256": _sha(method, seed, index),
        "valid": {"loss": 4.0 - quality / 15, "bleu": None},
        "test": {
            "pooled": scores(0), "test_2016_flickr": scores(1.5), "test_2017_flickr": scores(-0.8),
            "test_2018_flickr": scores(-1.1),
        },
        "sentences_sha256": _sha("sentences", method, seed, index),
        "cost": {
            "params": params, "params_body": params - 1_500_000, "macs": int(params * 21.3),
            "bytes": params * 4,
        },
        "latency": {
            "p50": reference * ratio, "p90": reference * ratio * 1.08, "n": 128, "ratio": ratio,
            "ratio_low": ratio * 0.985, "ratio_high": ratio * 1.015, "reference_p50": reference,
            "signature": f"lat:p50,p90|n:128|b:1|src:13|steps:13|beam:1|prof:{profile}|v:0.1",
        },
        "memory": {"peak_bytes": params * 4 + 40_000_000, "source": "peak resident set of its process"},
        "energy": None,
    } | ({"spent": {"tokens": 2e6, "seconds": 500.0 + 115 * index}, "at": 1.0} if spent else {})  # fmt: skip


def with_counts(record: dict[str, Any], sentences: int = 200) -> dict[str, Any]:
    """The record as runs write it today: every candidate with the statistics of its test sentences, and
    the BLEU that follows from them. Better candidates lose fewer words of the same references."""
    words = np.random.default_rng(0).integers(0, 30, size=(sentences, 12)).astype(str)
    references = [" ".join(line) for line in words]
    for made in record["candidates"]:
        pooled = made["test"]["pooled"]["bleu"]
        rng = np.random.default_rng(int(made["weights_sha256"][:8], 16))
        lost = rng.random(words.shape) > pooled["value"] ** 0.25 / 3
        outputs = [" ".join(line) for line in np.where(lost, "x", words)]
        sets = [["test_2016_flickr", sentences - 50], ["test_2017_flickr", 50]]
        made["sentences"] = {"sets": sets, "bleu": bleu.sentence_counts(outputs, references)}
        pooled["value"] = bleu.bleu(outputs, references).value
    return integrity.seal(record)


def run_again(record: dict[str, Any], day: str = "2026-02-03", **changes: Any) -> dict[str, Any]:
    """A sealed verdict on a record. ``changes``: ``quality`` added, ``ratio`` multiplied, ``fingerprint``."""
    first = json.loads(json.dumps(record))
    first["provenance"]["machine"] = {"fingerprint": "m"} | first["provenance"]["machine"]
    again = json.loads(json.dumps(first))
    again["provenance"] |= {"ended": f"{day}T10:00:00+00:00"}
    again["provenance"]["machine"]["fingerprint"] = changes.get("fingerprint", "m")
    for candidate in again["candidates"]:
        for name in ("value", "low", "high"):
            candidate["test"]["pooled"]["bleu"][name] += changes.get("quality", 0.0)
        candidate["latency"]["ratio"] *= changes.get("ratio", 1.0)
    again["spec"]["profile"] = changes.get("profile", record["spec"]["profile"])
    again = integrity.seal(again)
    code = changes.get("code", ())
    return verdict_files.to_attachment(record, again, compare.compare(first, again, code=code))


def timed_elsewhere(
    record: dict[str, Any],
    *,
    ms: float = 2.0,
    policy: str = "fp32",
    profile: str = "cpu-2core-avx512.v1",
    day: str = "2026-02-03",
    load: float = 0.1,
) -> dict[str, Any]:
    """A sealed latency of a record's first candidate in another runtime."""
    signature = (
        f"lat:p90|n:64|b:1|search:no|prec:{policy}|rt:ort-1.32.0|mode:graph|thr:1|prof:{profile}|v:0.1"
    )
    latency = {
        "p50": ms, "p50_low": 0.95 * ms, "p50_high": 1.05 * ms, "p90": 1.2 * ms, "p90_bound": 1.3 * ms,
        "n": 64, "ratio": 0.5, "ratio_low": 0.45, "ratio_high": 0.55, "pytorch_p50": 2 * ms,
        "waited_seconds": 0.0, "others_cpu": load, "attempts": 1, "signature": signature,
    }  # fmt: skip
    machine = {"arch": "x86_64", "cpus": 2, "gpus": [], "fingerprint": "m"}
    ended = {"ended": f"{day}T10:00:00+00:00", "machine": machine}
    checks = [("largest difference of two logits", "1e-06", "random inputs")]
    made = record["provenance"] | ended
    return runtime_latencies.to_attachment(
        record, record["candidates"][0], policy, profile, latency, checks, made
    )


def publish(results: Path, verdict: dict[str, Any]) -> Path:
    """Write a verdict where the leaderboard finds it."""
    path = verdict_files.VERDICTS.path(results, verdict)
    store.write_text(path, json.dumps(verdict))
    return path


def summaries(records: Iterable[dict[str, Any]]) -> list[run_summary.RunSummary]:
    """Summary of each record, with the record."""
    return [run_summary.summarize(record, keep=True) for record in records]  # type: ignore[arg-type]


def study(methods: Sequence[str] = METHODS, seeds: int = 3, **options: Any) -> list[dict[str, Any]]:
    """Every method with seeds 1..n."""
    return [fake(method, seed, **options) for method in methods for seed in range(1, seeds + 1)]


def many(folder: Path, count: int, *, methods: int = 50, seeds: int = 20, sentences: int = 3000) -> None:
    """Write ``count`` valid records quickly: variations of one, ``methods * seeds`` for each profile.

    Each has 47 kB, like a published one: most of it the statistics of every sentence of a candidate.
    """
    template = with_counts(fake("hat", 1), sentences)
    record = with_counts(fake("hat", 1), sentences)  # changed in place
    rng = np.random.default_rng(0)
    for number in range(count):
        place, rest = divmod(number, methods * seeds)
        method, seed = divmod(rest, seeds)
        task, profile = f"task-{place // 5:02d}", f"made-up-{place % 5}.v1"
        record["spec"] |= {"task": task, "profile": profile, "method": f"method-{method:03d}", "seed": seed}
        for candidate, known in zip(record["candidates"], template["candidates"], strict=True):
            shift = float(rng.normal(method / 20, 0.3))
            for name, scores in candidate["test"].items():
                for metric, figure in scores.items():
                    base = known["test"][name][metric]
                    figure |= {k: base[k] + shift for k in ("value", "low", "high")}
            for key in ("p50", "p90", "ratio"):
                candidate["latency"][key] = known["latency"][key] * (1 + method / 500)
        record["id"] = spec_id(record["spec"])
        record["digest"] = integrity.digest(record)
        record["seal"] = integrity.seal_of(record)
        path = folder / store.relative_path(record)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(json.dumps(record, indent=1).encode())
