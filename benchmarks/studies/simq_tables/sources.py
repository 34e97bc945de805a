"""Supernets and data of tables: images of a task, or the sentences of ``sentences``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject
from benchmarks.studies.simq_tables import sentences
from benchmarks.studies.simq_tables.recipes import SEED, TableRecipe, space_of
from benchmarks.studies.simq_tables.teacher import MatchTeacher, MixedImages, load_teacher
from benchmarks.studies.simq_tables.training import fit, load_weights, named_weights, new_supernet
from benchmarks.tasks import get_task, images, mosaics, starting, vision
from benchmarks.tasks.datasets import Say
from supernet.data.images import ImageBatch, Images, evaluation_batches
from supernet.elastic import SuperNet
from supernet.interop.errors import InexpressibleError, UnreadableModelError
from supernet.space import SearchSpace

ESTIMATED = 512
"""Training items, images without augmentation, on which statistics of batch norms and ranges are
estimated."""
TASKS = (
    vision.cifar10,
    vision.cifar10_resnet,
    vision.fashion_mosaics,
    vision.digits,
    vision.digits_resnet,
)


@dataclass(frozen=True)
class SourceOptions:
    """Location of the data, and the supernet's device and seed.

    Attributes:
        cache: folder of prepared data.
        data_dir: folder of real data; None: it is downloaded.
        tiny: generated or small data, for tests.
        teacher: file of the teacher's supernet, with which recipes with a teacher train.
        start_from: folder of a trained encoder, for recipes that start from one.
    """

    cache: Path
    data_dir: Path | None = None
    device: str = "cpu"
    seed: int = SEED
    tiny: bool = False
    teacher: Path | None = None
    start_from: Path | None = None


@dataclass(frozen=True)
class TableSource:
    """An untrained supernet, its training, and the data of its table.

    Attributes:
        search, held_out: batches on the supernet's device.
        head: facts of the data, for the table's head.
        train: trains the supernet.
        check_teacher: refuses a teacher that cannot train the supernet; does nothing without one.
        lengths: input and predicted tokens of the pass whose MACs are counted.
        test: the whole test split, ``held_out`` among it, if there is more of it.
    """

    net: SuperNet
    search: list[ImageBatch]
    held_out: list[ImageBatch]
    head: JsonObject
    train: Callable[[], None]
    check_teacher: Callable[[], object] = lambda: None
    lengths: tuple[int, int] = (1, 1)
    test: Images | None = None


def prepare_source(key: str, recipe: TableRecipe, options: SourceOptions, say: Say) -> TableSource:
    """Prepare the data of a table and its untrained supernet.

    Raises:
        UsageError: the recipe starts from an encoder that is not given, cannot be read, or does not fit.
    """
    return (_images if recipe.task else _sentences)(key, recipe, options, say)


def _images(key: str, recipe: TableRecipe, options: SourceOptions, say: Say) -> TableSource:
    task = next(task for task in TASKS if task.name == recipe.task)
    tier = task.tier("check" if options.tiny else "small", options.device)
    prepared = task.prepare(tier, options.cache, options.data_dir, say)
    family = task.family(tier, prepared, space_of(key, recipe.name, options.tiny))
    net = new_supernet(family, options.device, options.seed)
    train, sealed = task.training(prepared), prepared.sealed
    assert sealed is not None
    validation = task.validation(prepared).first(recipe.units[0])
    test = images.read_images(prepared.folder, sealed / "test.npz")
    held_out = test.spread(recipe.units[1])
    search_batches, held_batches = (
        evaluation_batches(x, recipe.batch * x.tokens, device=options.device) for x in (validation, held_out)
    )

    # Without batch norms they only calibrate static int8.
    size = train.tokens * ESTIMATED // (net.statistics_batch_count or 1)
    unchanged = train.first(min(ESTIMATED, len(train)))
    statistics = evaluation_batches(unchanged, size, device=options.device)

    def teacher() -> tuple[nn.Module, float]:
        assert options.teacher is not None
        return load_teacher(options.teacher, options.device, search_batches)

    def run() -> None:
        plain = task.batches(train, recipe.recipe.batch_tokens, options.seed, options.device)
        batches: Iterable[ImageBatch] = plain
        objective = None
        if recipe.teacher:
            module, accuracy = teacher()
            say(f"{recipe.name}: taught by {options.teacher}, {100 * accuracy:.1f} % on search data")
            batches, objective = MixedImages(plain, options.seed), MatchTeacher(module)
        fit(
            *(recipe.name, net, recipe.recipe, batches, recipe.tokens, search_batches, options.seed, say),
            objective=objective,
        )
        net.statistics_batches = [(batch.inputs, batch.tokens) for batch in statistics]

    head: JsonObject = {
        "task": task.name,
        "data_sha256": dict(prepared.digests),
        "validation": f"the first {len(validation)} validation images",
        "held_out": f"{len(held_out)} images of the test split, at equal distances",
        "metric": "accuracy",
    }
    if train.texts is not None and held_out.texts is not None:
        known = {"texts": train.texts.numpy(), "labels": train.labels.numpy()}
        questions = {"texts": held_out.texts.numpy(), "labels": held_out.labels.numpy()}
        head["question_only"] = round(100 * mosaics.question_only_accuracy(known, questions), 2)
        say(f"{recipe.name}: {head['question_only']:.1f} % of the held-out questions need no image")
    if net.statistics_batch_count:
        head["statistics"] = f"of batch norms: the first {min(ESTIMATED, len(train))} training images"
    check = teacher if recipe.teacher else lambda: None
    return TableSource(net, search_batches, held_batches, head, run, check, test=test)


def _sentences(key: str, recipe: TableRecipe, options: SourceOptions, say: Say) -> TableSource:
    """Prepare classifiers of sentences, pre-trained here or elsewhere, and fine-tuned as a supernet."""
    from supernet.bert import BertConfig, LayeredBert
    from supernet.bert_classifier import SentenceConfig, SentenceFamily
    from supernet.data.masked_text import MaskedBatches

    space = space_of(key, recipe.name, options.tiny)
    model = _model_of(recipe, options, space) if recipe.starts else None
    corpus = sentences.load_corpus(options.cache, options.tiny, options.data_dir, say, model)
    length = corpus.train.tokens.shape[1]
    plain: JsonObject = {"dropout": 0.0, "attention_dropout": 0.0, "max_positions": length}
    config = SentenceConfig(corpus.vocab, **plain | {"dropout": 0.1})
    device, seed = options.device, options.seed
    net = new_supernet(SentenceFamily(space, config), device, seed)
    started = _start(net, model) if model else ""
    search, held_out = (split.to(device).batches(recipe.batch) for split in (corpus.search, corpus.held_out))

    def pretrain() -> None:
        family = LayeredBert(space, BertConfig(corpus.vocab, **plain))
        encoder = new_supernet(family.restrict_to(space.largest()), device, seed)
        for number, (stage, tokens) in enumerate(recipe.pretraining):
            if number:
                # From here on every sub-network learns.
                elastic = new_supernet(family, device, seed)
                load_weights(elastic, named_weights(encoder))
                encoder = elastic
            assert corpus.rows is not None
            rows = MaskedBatches(corpus.rows, stage.batch_tokens, seed + number, device=device)
            fit(f"{recipe.name}, masked words {number + 1}", encoder, stage, rows, tokens, [], seed, say)
        pretrained = {n: x for n, x in named_weights(encoder).items() if not n.startswith("head.")}
        load_weights(net, named_weights(net) | pretrained)

    def run() -> None:
        if recipe.pretraining:
            pretrain()
        size = max(1, recipe.recipe.batch_tokens // length)
        batches = sentences.Shuffled(corpus.train.to(device), size, seed)
        fit(recipe.name, net, recipe.recipe, batches, recipe.tokens, search, seed, say)
        # They only calibrate static int8.
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(corpus.train.labels), generator=generator)[:ESTIMATED]
        some = sentences.LabelledSentences(corpus.train.tokens[order], corpus.train.labels[order]).to(device)
        net.statistics_batches = [(batch.inputs, batch.tokens) for batch in some.batches(ESTIMATED)]

    head = {
        "task": "generated sentences" if options.tiny else "SST-2",
        "data_sha256": corpus.digests,
        "pretraining": [started]
        if started
        else [
            f"masked words, {tokens:g} tokens of passes, rate {stage.learning_rate:g}"
            for stage, tokens in recipe.pretraining
        ],
        "validation": f"{len(corpus.search)} whole sentences of train, no phrase of which is trained on",
        "held_out": f"{len(corpus.held_out)} sentences, dev and test",
        "metric": "accuracy",
    }
    tokens = torch.cat([(batch.inputs[0] != 0).sum(1) for batch in search])
    lengths = round(float(tokens.float().mean())), 1
    return TableSource(net, search, held_out, head, run, lengths=lengths)


def _model_of(recipe: TableRecipe, options: SourceOptions, space: SearchSpace) -> Path:
    """Return the folder of the encoder that a recipe starts from.

    Raises:
        UsageError: it is not given, is no model, is truncated, or does not fit the space.
    """
    from supernet.bert_classifier import SentenceConfig, SentenceFamily
    from supernet.interop.huggingface import warm_start

    if options.start_from is None:
        raise UsageError(
            f"table {recipe.name} starts from a trained encoder: --start-from DIR names a folder of"
            " transformers with config.json, model.safetensors and its vocabulary"
        )
    folder, length = options.start_from, sentences.TINY_LENGTH if options.tiny else sentences.LENGTH
    starting(get_task("bert-enwiki"), folder)  # refuses what no task of masked words starts from
    try:
        config = SentenceConfig(int(warm_start.configuration(folder)["vocab_size"]), max_positions=length)
        warm_start.check_start(folder, SentenceFamily(space, config))
    except (InexpressibleError, UnreadableModelError) as error:
        raise UsageError(f"--start-from {folder}: {error}") from None
    return folder


def _start(net: SuperNet, model: Path) -> str:
    """Start a supernet of sentence classifiers from an encoder that fits; return a text about it."""
    from supernet.interop.huggingface import warm_start

    start = warm_start.initialise(net, model, order="norm")
    return f"a trained {start.kind}, sha256 {start.sha256}, heads and channels by descending norm"
