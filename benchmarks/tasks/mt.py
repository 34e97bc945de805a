"""Machine translation: generated English-German, Multi30k and Tatoeba, in up to three tiers.

One class for all of them; what differs is the corpus and the numbers in ``mt.toml``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from benchmarks import stage
from benchmarks.api import Measurement
from benchmarks.stats import task_units
from benchmarks.tasks import Prepared, corpus, is_ours, lexicon
from benchmarks.tasks.datasets import Say, datasets
from benchmarks.tasks.precision import autocast
from benchmarks.tasks.tiers import Tier, read_tier, tier_names

if TYPE_CHECKING:
    import torch

    from supernet.data.sentence_pairs import Batch, PairData, TokenBatches
    from supernet.seq2seq import Seq2SeqFamily
    from supernet.space import SearchSpace

TABLES = Path(__file__).with_name("mt.toml")
EVALUATION_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Padded tokens of a validation batch."""
PADDING = {"cpu": 1, "cuda": 8}
"""Lengths of training batches are padded to a multiple of this (8 suits tensor cores)."""
DECODING_SENTENCES = {"cpu": 64, "cuda": 512}


class MTTask:
    """One translation task.

    Args:
        name: of the task, and of its tables in ``mt.toml``.
        read: gives the raw text for the tier's ``data`` settings.
        dataset: the published dataset that it reads, if any.
    """

    suite = "mt"
    units = task_units.TRANSLATION
    metric = units.metric

    def __init__(
        self,
        name: str,
        read: Callable[[Mapping[str, Any], Path | None, Say], corpus.Corpus],
        dataset: str | None = None,
    ) -> None:
        self.name, self.read, self.dataset = name, read, dataset
        self._batches: WeakKeyDictionary[PairData, dict[str, list[Batch]]] = WeakKeyDictionary()

    def tiers(self) -> tuple[str, ...]:
        """The tiers it has, smallest first."""
        return tier_names(TABLES, self.name)

    def tier(self, tier: str, device: str) -> Tier:
        """The settings of a tier on a kind of device (``cpu``, ``cuda``).

        Raises:
            UsageError: the task has no such tier.
        """
        return read_tier(TABLES, self.name, tier, device)

    def declared(self, tier: Tier) -> dict[str, str]:
        """Return the checksums that fix the data of a tier, as far as its code and settings do not."""
        return {
            **lexicon(),
            **(datasets()[self.dataset].digests() if self.dataset else {}),
        }

    def prepare(self, tier: Tier, cache: Path, data_dir: Path | None, progress: Say) -> Prepared:
        """The data of a tier, made once and then found.

        Raises:
            UsageError: the data is missing or not what it should be.
        """
        return corpus.prepare(
            f"{self.name}-{tier.name}",
            lambda: self.read(tier.data, data_dir, progress),
            declared=datasets()[self.dataset].digests() if self.dataset else {},
            settings=tier.data,
            vocab=tier.vocab,
            ours=is_ours(self.read),
            cache=cache,
            say=progress,
        )

    def family(self, tier: Tier, prepared: Prepared, space: SearchSpace | None = None) -> Seq2SeqFamily:
        """All sub-networks of a space, by default the tier's, over the prepared vocabulary."""
        from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
        from supernet.space import get_space

        config = Seq2SeqConfig(prepared.source_vocab, prepared.target_vocab, **tier.model)
        return Seq2SeqFamily(space or get_space(tier.space), config)

    def training(self, prepared: Prepared) -> PairData:
        """The training pairs."""
        return corpus.read_pairs(prepared.folder / "train.npz")

    def validation(self, prepared: Prepared) -> PairData:
        """The validation pairs."""
        return corpus.read_pairs(prepared.folder / "valid.npz")

    def batches(self, pairs: PairData, max_tokens: int, seed: int, device: str) -> TokenBatches:
        """Training batches without end, in an order that the seed decides."""
        from supernet.data.sentence_pairs import TokenBatches

        multiple = PADDING[device]
        return TokenBatches(pairs, max_tokens, seed, device=device, multiple=multiple)

    def evaluate(
        self, module: torch.nn.Module, pairs: PairData, device: str, precision: str = "fp32"
    ) -> Measurement:
        """Teacher-forced loss in nats per target token over all pairs, end of sentence included.

        The same batches in the same order each time; sums are in double precision.
        """
        import torch
        import torch.nn.functional as F

        batches = self.validation_batches(pairs, device)
        training = module.training
        module.eval()
        total = torch.zeros((), dtype=torch.float64, device=device)
        try:
            with torch.no_grad(), autocast(device, precision):
                for batch in batches:
                    logits = module(*batch.inputs).float()
                    losses = F.cross_entropy(logits, batch.labels, reduction="none")
                    total += losses.sum(dtype=torch.float64)
        finally:
            module.train(training)
        return Measurement(total.item() / sum(batch.tokens for batch in batches))

    def validation_batches(self, pairs: PairData, device: str, share: float = 1.0) -> list[Batch]:
        """All pairs in batches, the same each time; of them the first ``share``, at least one."""
        import torch

        from supernet.data.sentence_pairs import validation_batches

        kept = self._batches.setdefault(pairs, {})
        if device not in kept:
            size = EVALUATION_TOKENS[torch.device(device).type]
            kept[device] = validation_batches(pairs, size, device=device)
        return kept[device][: max(1, round(share * len(kept[device])))]

    def score(
        self, module: torch.nn.Module, prepared: Prepared, tier: Tier, device: str, precision: str = "fp32"
    ) -> dict[str, Any]:
        """Translate the sealed test sets and compare with the references, for the scoring process.

        Returns:
            ``test``: set -> metric -> value, low, high, signature, all sets pooled first where there
            are several; of all translations in that order ``sentences_sha256`` and ``sentences``, their
            BLEU statistics; ``test_loss``.
        """
        if prepared.sealed is None:
            raise ValueError(f"{self.name}: the test split is sealed off from this process")
        from benchmarks.stats import bleu
        from supernet.data.sentence_pairs import PairData

        subwords = corpus.load_vocabulary(prepared.folder)
        tests = corpus.read_tests(prepared.sealed)
        sources = [line for lines, _ in tests.values() for line in lines]
        references = [line for _, lines in tests.values() for line in lines]
        ids = [subwords.encode(lines, out_type=int) for lines in (sources, references)]
        # A hostile sentence longer than the network can embed is cut, as it would be in use.
        most = int(tier.model["max_positions"]) - 1
        ids = [[sentence[:most] for sentence in side] for side in ids]
        outputs = self.translate(module, ids[0], tier, device, precision, subwords)
        scores: dict[str, Any] = {}
        if len(tests) > 1:
            scores[corpus.POOL] = bleu.translation(outputs, references)
        start = 0
        for name, (_, lines) in tests.items():
            scores[name] = bleu.translation(outputs[start : start + len(lines)], lines)
            start += len(lines)
        loss = self.evaluate(module, PairData(*map(_arrays, ids)), device, precision).loss
        sizes = [[name, len(lines)] for name, (lines, _) in tests.items()]
        return {
            "test": scores,
            "sentences_sha256": bleu.digest(outputs),
            "sentences": {"sets": sizes, "bleu": bleu.sentence_counts(outputs, references)},
            "test_loss": loss,
        }

    def translate(
        self,
        module: torch.nn.Module,
        ids: list[list[int]],
        tier: Tier,
        device: str,
        precision: str,
        subwords: Any,
    ) -> list[str]:
        """Raw text for sources given as token ids."""
        import torch

        from supernet.decode import translate

        with autocast(device, precision):
            found = translate(
                module,
                ids,
                **tier.decode,
                batch_sentences=DECODING_SENTENCES[torch.device(device).type],
                device=device,
                progress=lambda done, total: stage.note(done, total, "sentences"),
            )
        outputs: list[str] = subwords.decode([hypothesis.tokens for hypothesis in found])
        return outputs


def _arrays(sentences: list[list[int]]) -> list[Any]:
    import numpy as np

    return [np.array(sentence, dtype=np.int32) for sentence in sentences]


synthetic = MTTask("mt-synthetic-en-de", corpus.synthetic)
multi30k = MTTask("mt-multi30k-en-de", corpus.multi30k, "multi30k")
tatoeba = MTTask("mt-tatoeba-en-de", corpus.tatoeba, "tatoeba_en-de")
