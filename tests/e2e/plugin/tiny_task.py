"""A stranger's task, small enough for tests: repeat a sentence of made-up words.

It stands behind an entry point, as a stranger's does; nothing in ``benchmarks`` knows it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.api import Measurement, UsageError
from benchmarks.tasks import Prepared

VOCAB = 24


@dataclass(frozen=True)
class Tier:
    name: str
    space: str = "mt-smoke"
    vocab: int = VOCAB
    recipe: dict[str, Any] = field(default_factory=lambda: {"learning_rate": 2e-3, "batch_tokens": 64})
    budget: dict[str, Any] = field(
        default_factory=lambda: {"tokens": 2000, "evaluations": 6, "probes": 4, "seconds": 60}
    )
    settings: dict[str, Any] = field(default_factory=lambda: {"score_seconds": 0})
    throughput: float = 1000.0
    decode: dict[str, Any] = field(default_factory=dict)
    limits: tuple[float, ...] = (0.5, 1.0)
    workload: dict[str, int] = field(default_factory=lambda: {"source_len": 4, "steps": 3, "beam": 1})
    seeds_default: int = 1

    @property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps(self.recipe, sort_keys=True).encode()).hexdigest()


class Tiny:
    name, suite, metric = "tiny-repeat", "tiny", "bleu"

    def tiers(self) -> tuple[str, ...]:
        return ("smoke",)

    def tier(self, name: str, device: str) -> Tier:
        if name != "smoke":
            raise UsageError(f"no tier '{name}'")
        return Tier(name)

    def prepare(self, tier: Tier, cache: Path, data_dir: Path | None, progress: Any) -> Prepared:
        import numpy as np

        folder, sealed = cache / "tiny", cache / "tiny-sealed"
        rng = np.random.default_rng(0)
        for place, names in ((folder, {"train": 60, "valid": 12}), (sealed, {"test": 8})):
            place.mkdir(parents=True, exist_ok=True)
            for name, count in names.items():
                np.save(place / f"{name}.npy", rng.integers(4, VOCAB, (count, 6)))
        return Prepared(folder, sealed, {"tiny": "0" * 64}, VOCAB, VOCAB)

    def family(self, tier: Tier, prepared: Prepared) -> Any:
        from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
        from supernet.space import get_space

        return Seq2SeqFamily(
            get_space(tier.space), Seq2SeqConfig(VOCAB, VOCAB, dropout=0.1, max_positions=32)
        )

    def training(self, prepared: Prepared) -> Any:
        return _pairs(prepared.folder / "train.npy")

    def batches(self, training: Any, max_tokens: int, seed: int, device: str) -> Any:
        from supernet.data.sentence_pairs import TokenBatches

        return TokenBatches(training, max_tokens, seed, device=device)

    def validation(self, prepared: Prepared) -> Any:
        return _pairs(prepared.folder / "valid.npy")

    def evaluate(self, module: Any, pairs: Any, device: str, precision: str = "fp32") -> Measurement:
        import torch

        from supernet.data.sentence_pairs import validation_batches

        total, tokens = 0.0, 0
        with torch.no_grad():
            for batch in validation_batches(pairs, 256, device=device):
                logits = module(batch.source, batch.target_in).flatten(0, 1)
                total += float(
                    torch.nn.functional.cross_entropy(
                        logits, batch.target_out.flatten(), ignore_index=1, reduction="sum"
                    )
                )
                tokens += batch.tokens
        return Measurement(total / tokens)

    def score(
        self, module: Any, prepared: Prepared, tier: Tier, device: str, precision: str = "fp32"
    ) -> dict[str, Any]:
        assert prepared.sealed is not None
        loss = self.evaluate(module, _pairs(prepared.sealed / "test.npy"), device).loss
        value = 100 / (1 + loss)
        figure = {"value": value, "low": value - 1, "high": value + 1, "signature": "tiny"}
        return {"test": {"pooled": {"bleu": figure}}, "sentences_sha256": "ab" * 32, "test_loss": loss}


def _pairs(path: Path) -> Any:
    import numpy as np

    from supernet.data.sentence_pairs import PairData

    rows = list(np.load(path))
    return PairData(rows, rows)


tiny = Tiny()
