"""Masked language modelling with BERT-like encoders: generated English and Wikipedia.

One class for both; they differ in the text and in the numbers of ``bert.toml``.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject
from benchmarks.stats import task_units
from benchmarks.tasks import Prepared, glue, lexicon_digest, text
from benchmarks.tasks.base import PredictionTask, evaluating
from benchmarks.tasks.datasets import Say, datasets
from benchmarks.tasks.prepared_data import RawData
from benchmarks.tasks.tiers import Tier
from supernet.interop.errors import InexpressibleError

if TYPE_CHECKING:
    import torch

    from benchmarks.tasks import finetuning
    from supernet.bert import Bert, BertFamily
    from supernet.data.masked_text import MaskedBatch, MaskedBatches, PackedText
    from supernet.space import SearchSpace
    from supernet.train.finetune import Pause

EVALUATION_TOKENS = {"cpu": 4096, "cuda": 65536}
"""Tokens of a batch in evaluation."""
VERSION = 1
"""Version of the masked-word score; raised whenever equal networks would get another figure."""
NOTHING = Path("nothing")
"""``--start-from nothing``: no network starts from another one."""
RANKED_ROWS = 64
"""Rows of test text whose final states are looked at for their rank."""
EVALUATION_SEED = 1
"""Seed of the masks of validation and test text: the same for every method, machine and run."""


class EncoderScore(TypedDict):
    """Score of one encoder on all test sets, as a record keeps it."""

    test: dict[str, JsonObject]
    """Test set -> metric -> value, low, high (bootstrap over rows), signature."""
    test_loss: float
    """Nats per predicted token, of the last set."""


def families_of(tier: Tier, vocab: int) -> list[BertFamily]:
    """Return the families of all spaces of a tier: its own, its teacher's, those of single methods."""
    from supernet.bert import BertConfig, family_of
    from supernet.space import get_space, homogeneous_space

    settings = tier.settings
    shape = settings["teacher"]
    teacher = homogeneous_space(
        "teacher",
        width=(shape["width"],),
        heads=(shape["heads"],),
        ffn_tenths=(40,),
        layers=(shape["layers"],),
        head_dim=shape["head_dim"],
    )
    names = dict.fromkeys([tier.space, *settings["autodistil"]["one"], settings["nas_bert"]["space"]])
    config = BertConfig(vocab, **tier.model)
    return [family_of(space)(space, config) for space in (*map(get_space, names), teacher)]


def misfit(start: Path, tier: Tier, vocab: int) -> str:
    """Return the reason why some network of a tier cannot start from a model; empty if all can."""
    from supernet.interop.huggingface.warm_start import check_start

    for family in families_of(tier, vocab):
        try:
            check_start(start, family)
        except InexpressibleError as error:
            return f"{error} (space {family.space.name})"
    return ""


def sizes_needed(tier: Tier) -> str:
    """Return the sizes of the smallest model that all networks of a tier can start from."""
    width = layers = ffn = 0
    heads = set()
    for family in families_of(tier, 10):
        plan = family.plan(family.largest)
        width = max(width, plan.embedding, *(op.width for op in plan.ops))
        layers = max(layers, sum(op.kind == "attention" for op in plan.ops))
        ffn = max(ffn, *(op.inner for op in plan.ops if op.kind == "feed_forward"), 0)
        heads |= {op.inner // op.heads for op in plan.ops if op.heads}
    channels = " and ".join(map(str, sorted(heads)))
    return (
        f"at least {layers} layers of width {width}, heads of {channels} channels, feed-forwards of {ffn},"
        f" {tier.model['max_positions']} positions"
    )


class BertTask(PredictionTask[text.Texts, "PackedText", "MaskedBatch"]):
    """A task of masked language modelling."""

    suite = "bert"
    units = task_units.MASKED_WORDS
    tables = Path(__file__).with_name("bert.toml")
    start: Path | None = None
    """Folder of the pre-trained model that every network starts from, or ``NOTHING``; None: as the tier has
    it."""

    def tier(self, tier: str, device: str) -> Tier:
        """Return the settings of a tier on a kind of device (``cpu``, ``cuda``).

        Raises:
            UsageError: the task has no such tier, or its networks cannot start from the model.
        """
        settings = self.own_tier(tier, device)
        if self.start is None:
            return settings
        # Runs that start from other weights must not be compared with runs that start from the parent.
        start = "nothing" if self.start == NOTHING else self._check(self.start, settings, device)
        sha256 = hashlib.sha256(f"{settings.sha256} {start}".encode()).hexdigest()
        own = {name: value for name, value in settings.settings.items() if name != "parent"}
        return replace(settings, sha256=sha256, settings=own)

    def _check(self, start: Path, settings: Tier, device: str) -> str:
        """Return the digest of the model to start from, after a check that it is large enough for a tier.

        Raises:
            UsageError: it is not; the message names tiers that fit, or the sizes that the tier needs.
        """
        from supernet.interop.huggingface.warm_start import configuration, digest

        try:
            vocab = int(configuration(start)["vocab_size"])
            reason = misfit(start, settings, vocab)
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"--start-from {start}: {error}") from None
        if reason:
            others = [name for name in self.tiers() if name != settings.name]
            fitting = [name for name in others if not misfit(start, self.own_tier(name, device), vocab)]
            hint = (
                f"take one that fits: --tier {' or '.join(fitting)}"
                if fitting
                else f"no tier fits; {settings.name} needs {sizes_needed(settings)}"
            )
            raise UsageError(f"--start-from {start} does not fit tier {settings.name}: {reason}\n{hint}")
        return digest(start)

    @property
    def model_folder(self) -> Path | None:
        """Folder of the pre-trained model; None without one."""
        return None if self.start == NOTHING else self.start

    def own_tier(self, tier: str, device: str) -> Tier:
        """Return the settings of a tier as its file has them."""
        return super().tier(tier, device)

    def starting(self, folder: Path) -> BertTask:
        """Return a copy of the task whose networks start from a pre-trained model and use its vocabulary.

        Args:
            folder: a BERT or DistilBERT in the format of Hugging Face transformers; or ``nothing``: the
                networks start untrained even where the tier has a parent.

        Raises:
            UsageError: the folder does not hold such a model.
        """
        from supernet.interop.huggingface import warm_start

        if folder == NOTHING:
            return self.started(NOTHING)
        try:
            warm_start.EncoderShape.of(warm_start.configuration(folder))
        except ValueError as error:
            raise UsageError(f"--start-from {folder}: {error}") from None
        try:
            words = warm_start.pieces(folder)
            size = warm_start.configuration(folder).get("vocab_size")
        except ValueError as error:
            raise UsageError(f"--start-from: {error}") from None
        if size != len(words):
            raise UsageError(
                f"--start-from {folder}: the model has {size} word pieces, its vocabulary {len(words)}\n"
                "take the vocabulary that it was trained with"
            )
        try:
            warm_start.check_whole(folder)
        except ValueError as error:
            raise UsageError(f"--start-from: {error}") from None
        return self.started(folder.absolute())

    def started(self, start: Path) -> BertTask:
        """Return a copy of the task with this ``start``."""
        task = BertTask(self.name, self.read, self.dataset)
        task.start = start
        return task

    def declared(self, tier: Tier) -> dict[str, str]:
        """Return the checksums that, with code and settings, determine the data of a tier."""
        finetuned = datasets()[glue.DATASET].digests() if tier.finetune.get("tasks") else {}
        return {**lexicon_digest(), **super().declared(tier), **finetuned}

    def prepare(self, tier: Tier, cache: Path, data_dir: Path | None, progress: Say) -> Prepared:
        """Prepare the text of a tier and the rows to fine-tune on, or find them prepared.

        Raises:
            UsageError: data is missing or differs from its checksum, or a task of fine-tuning is unknown.
        """
        names = tier.finetune.get("tasks", ())
        glue.check(names)
        digests: dict[str, str] = {}
        for name in names:
            digests |= glue.prepare(name, cache / "sealed", data_dir, progress)
        prepared = super().prepare(tier, cache, data_dir, progress)
        start = self.model_folder
        if start is not None:
            from supernet.interop.huggingface.warm_start import digest

            digests["start"] = digest(start)
        elif self.start == NOTHING:
            digests["start"] = str(NOTHING)
        return replace(prepared, digests={**prepared.digests, **digests}, start=start)

    def prepare_data(self, raw: RawData[text.Texts], tier: Tier) -> Prepared:
        """Return the prepared text, in the vocabulary of the model to start from if there is one.

        Raises:
            UsageError: the text is too small for the tier's vocabulary.
        """
        if self.model_folder is None:
            return text.prepare(raw, tier.vocab)
        from supernet.interop.huggingface.warm_start import pieces

        return text.prepare(raw, tier.vocab, pieces(self.model_folder))

    def family(self, tier: Tier, prepared: Prepared, space: SearchSpace | None = None) -> BertFamily:
        """Return the encoders of a space, by default the tier's, over the prepared vocabulary."""
        from supernet.bert import BertConfig, family_of
        from supernet.space import get_space

        space = space or get_space(tier.space)
        return family_of(space)(space, BertConfig(prepared.source_vocab, **tier.model))

    def training(self, prepared: Prepared) -> PackedText:
        """Return the training text in rows."""
        return text.read_packed(prepared.folder, "train")

    def validation(self, prepared: Prepared) -> PackedText:
        """Return the validation text in rows."""
        return text.read_packed(prepared.folder, "valid")

    def batches(self, rows: PackedText, max_tokens: int, seed: int, device: str) -> MaskedBatches:
        """Return an endless stream of training batches, masked anew each time as the seed determines."""
        from supernet.data.masked_text import MaskedBatches

        return MaskedBatches(rows, max_tokens, seed, device=device)

    def evaluation_batches(self, rows: PackedText, share: float, device: str) -> list[MaskedBatch]:
        """Return the first ``share`` of the rows in batches, masked the same each time."""
        import torch

        from supernet.data.masked_text import evaluation_batches

        part = rows.first(max(1, round(share * len(rows)))) if share < 1 else rows
        size = EVALUATION_TOKENS[torch.device(device).type]
        return evaluation_batches(part, size, EVALUATION_SEED, device=device)

    def judge(self, logits: torch.Tensor, batch: MaskedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean loss (nats per predicted token) and share of right predictions of every row."""
        import torch.nn.functional as F

        loss = F.cross_entropy(logits, batch.labels, reduction="none")
        right = logits.argmax(-1) == batch.labels
        count = len(batch.shown)
        return loss.double().view(count, -1).mean(1), right.double().view(count, -1).mean(1)

    def score(
        self, module: torch.nn.Module, prepared: Prepared, tier: Tier, device: str, precision: str = "fp32"
    ) -> EncoderScore:
        """Predict masked tokens of the sealed test text, for the scoring process.

        Raises:
            ValueError: this process has no access to the test split.
        """
        from benchmarks.stats import bleu
        from supernet.bert_states import unigram_loss

        pieces, trained = text.load_vocabulary(prepared.folder), self.training(prepared)
        scores: dict[str, JsonObject] = {}
        loss = 0.0
        for name, documents in text.read_tests(self.sealed(prepared)).items():
            rows = text.pack(prepared.folder, text.encode(pieces, documents))
            losses, hits = self.predictions(module, rows, device, precision)
            length, size = rows.rows.shape[1], len(rows)
            recipe = f"mask:15%|mask-seed:{EVALUATION_SEED}|len:{length}|vocab:{rows.vocab}|rows:{size}"
            recipe += f"|version:{VERSION}"
            gained = unigram_loss(trained.rows, rows.rows, rows.vocab) - losses
            scores[name] = {
                "mlm_accuracy": bleu.mean(100 * hits, f"mlm-acc|{recipe}").to_dict(),
                "below_frequencies": bleu.mean(gained, f"unigram-loss-minus-loss|{recipe}").to_dict(),
                "effective_rank": self.rank(module, rows, device),
            }
            loss = float(losses.mean())
        return {"test": scores, "test_loss": loss}

    def rank(self, module: torch.nn.Module, rows: PackedText, device: str) -> JsonObject:
        """Return the effective rank of an encoder's final states as a figure; near 1 they have collapsed."""
        from supernet.bert_states import effective_rank

        some = rows.first(RANKED_ROWS)
        with evaluating(module, device, "fp32"):
            encode: Any = module.encode
            states = encode(some.rows.long().to(device)).float().cpu()
        rank = round(effective_rank(states), 2)
        signature = f"exp-entropy-of-singular-values|rows:{len(some)}|version:{VERSION}"
        return {"value": rank, "low": rank, "high": rank, "signature": signature}

    def finetune(
        self, module: Bert, prepared: Prepared, tier: Tier, name: str, device: str, pause: Pause | None = None
    ) -> dict[str, finetuning.FinetunedScore]:
        """Fine-tune an exported encoder on one of ``tier.finetune``'s tasks, for the scoring process.

        Args:
            module: the exported encoder; it is not changed.
            prepared: data with the sealed test split.
            tier: settings of the run.
            name: name of the task of fine-tuning.
            device: ``cpu`` or ``cuda``.
            pause: called between two steps.

        Returns:
            Metric -> its score over the fine-tuning seeds.

        Raises:
            ValueError: this process has no access to the test split.
        """
        from benchmarks.tasks import finetuning

        rows = glue.read(name, self.sealed(prepared).parent)
        pieces = text.load_vocabulary(prepared.folder)
        settings = finetuning.Settings(**tier.finetune)
        return finetuning.measure(module, glue.TASKS[name], rows, pieces, settings, device, pause)


synthetic = BertTask("bert-synthetic-en", text.synthetic)
enwiki = BertTask("bert-enwiki", text.enwiki, "enwiki2015")
