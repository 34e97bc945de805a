"""Make the tables of ``simq/tabular/data``: train a supernet and write down every point of its joint space.

``python -m tests.bench.tabulate --prepare-only --data-dir DIR --cache FOLDER`` makes the data, on any
machine; ``python -m tests.bench.tabulate --data-dir DIR --cache FOLDER --out FOLDER --commit HASH`` trains
and tabulates, on a GPU: ``NAME.npz``, the table, and ``NAME.safetensors``, the supernet. With ``--tiny``
everything is small enough for a test; such a table says nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.studies.simq_tables import sentences
from simq.tabular.build import build_table, layer_space
from simq.tabular.table import Table, write_table
from supernet import allocator, supernet_file
from supernet.data.images import Images
from supernet.elastic import SuperNet
from supernet.quantization.fake_quantize import FakeQuantized
from supernet.space import SearchSpace, layered_space, resnet_space
from supernet.train import Recipe, Sandwich, SinglePath, Trainer
from supernet.weights import SharedSlices

SEED = 1
"""Of a supernet, unless another is asked for, whose table is then called after it: ``simq-vit-s2``."""
REPORTS = 8
"""Times that training says how it goes."""
ESTIMATED = 512
"""Training images, as they are, that statistics of batch norms are estimated on."""


@dataclass(frozen=True)
class Kind:
    """A table to be made.

    Attributes:
        name: of the table.
        task: whose images it uses; none: sentences.
        units: images or sentences for searches, and held out; sentences: all there are.
        walked: of them at once.
        recipe: of the supernet's training.
        tokens: of the supernet's training, all passes counted.
        before: recipe and tokens of what comes before, with sentences: masked words by the largest network
            alone, then by the supernet.
    """

    name: str
    task: str
    units: tuple[int, int]
    walked: int
    recipe: Recipe
    tokens: float
    before: tuple[tuple[Recipe, float], ...] = ()


def recipe(rate: float, batch: int, decay: float = 0.05, smoothing: float = 0.1) -> Recipe:
    """What all have in common: AdamW, a cosine, bf16 on a GPU."""
    return Recipe(
        rate, 0.08, "cosine", weight_decay=decay, label_smoothing=smoothing, batch_tokens=batch, clip_norm=1.0
    )


ROWS = 16384
"""Tokens of a batch of text."""
# Batches of 1,024 images made too few updates: at equal passes a ViT learns more from a quarter of that.
KINDS = {
    "vit": Kind("simq-vit", "vision-cifar10", (1000, 1000), 1000, recipe(1e-3, 256 * 65), 1.8e9),
    "resnet": Kind("simq-resnet", "vision-cifar10-resnet", (1000, 1000), 500, recipe(2e-3, 192 * 65), 780e6),
    "text": Kind(
        "simq-text",
        "",
        (0, 0),
        700,
        recipe(3e-4, ROWS),
        65e6,
        before=(
            (recipe(1e-3, ROWS, 0.01, 0.0), 600e6),
            (recipe(1e-3, ROWS, 0.01, 0.0), 720e6),
        ),
    ),
    "vl": Kind("simq-vl", "vl-fashion-mosaics", (1500, 1500), 1500, recipe(1e-3, 256 * 45), 1.1e9),
}
TINY = {"vit": "vision-digits", "resnet": "vision-digits-resnet", "vl": "vl-fashion-mosaics"}


def tiny(key: str, kind: Kind) -> Kind:
    """The same, small enough for a test."""
    small = replace(kind.recipe, batch_tokens=512)
    before = tuple((replace(recipe, batch_tokens=512), 5e3) for recipe, _ in kind.before)
    return replace(
        kind, task=TINY.get(key, ""), units=(20, 16), walked=16, recipe=small, tokens=1e4, before=before
    )


def space_of(key: str, name: str, small: bool) -> SearchSpace:
    """The closed space of a table: 22,608 points in three precisions a layer, or 24,000 in two a block."""
    if key == "resnet":
        shape: dict[str, Any] = {"stages": (1, 1, 1), "widths": (128, 256, 512), "stem_width": 32}
        shape |= {"expand": (20, 35), "width": (65, 80, 100)}
        if small:
            shape |= {
                "stages": (1, 1),
                "widths": (32, 64),
                "expand": (35,),
                "width": (65, 100),
                "stem_width": 16,
            }
        return resnet_space(name, deeper=1, stem_stride=1, alike=True, stem=(1,), **shape)
    ffn = {"vit": (256, 1024), "text": (256, 768), "vl": (128, 512)}[key]
    patch = {"vit": 2 if small else 4, "vl": 8 if small else 14}.get(key)
    constants = ({"patch": patch} if patch else {}) | ({"experts": 2} if key == "vl" else {})
    if small:
        return layered_space(
            name, layers=(1, 2), heads=(1, 2), ffn=(32, 64), hidden=32, head_dim=32, **constants
        )
    return layered_space(name, layers=(2, 3, 4), heads=(2, 4), ffn=ffn, hidden=256, **constants)


@dataclass
class Made:
    """A supernet that is trained by ``train``, and the data of a table."""

    net: SuperNet
    search: list[Any]
    held_out: list[Any]
    said: dict[str, Any]
    train: Callable[[], None]
    lengths: tuple[int, int] = field(default=(1, 1))
    test: Images | None = None
    """The whole test split, ``held_out`` among it, where that is not all of it."""


class Stream:
    """Batches up to a number of tokens of passes."""

    def __init__(self, source: Iterable[Any], passes: float, total: float) -> None:
        self.source, self.passes, self.total, self.spent = source, passes, total, 0.0

    def __iter__(self) -> Iterator[Any]:
        for batch in self.source:
            if self.spent >= self.total:
                return
            self.spent += self.passes * batch.tokens
            batch.prepaid = self.passes
            yield batch

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Any) -> None: ...


def supernet(family: Any, device: str, seed: int) -> SuperNet:
    """Untrained."""
    return SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(seed), device))


def named(net: SuperNet) -> dict[str, torch.Tensor]:
    """All weights by name."""
    return {name: view for name, (view, _) in net.source.master.views.items()}


def load(net: SuperNet, weights: Mapping[str, torch.Tensor]) -> None:
    """Replace all weights of a supernet made by ``supernet``."""
    assert isinstance(net.source, SharedSlices)
    net.source.load(weights)


def fit(
    name: str,
    net: SuperNet,
    recipe: Recipe,
    batches: Iterable[Any],
    tokens: float,
    judged: list[Any],
    seed: int,
) -> None:
    """Train a supernet by the sandwich rule with in-place distillation, a single network by itself; say how
    it goes, and how the largest network does on ``judged``."""
    alone = net.space.size() == 1
    sampling: Any = SinglePath() if alone else Sandwich(distill=True)
    precision = "bf16" if net.device.type == "cuda" else "fp32"
    start, due = time.monotonic(), [tokens / REPORTS]

    def say(spent: float, total: float, text: str) -> None:
        if spent < due[0]:
            return
        due[0] += total / REPORTS
        largest = f"{accuracy(net, judged):.1f} %" if judged else "not looked at"
        took = time.monotonic() - start
        left = took * (total / spent - 1)
        print(f"{name}: {took:.0f} s, {left:.0f} s left, {text}, largest network {largest}", flush=True)

    trainer = Trainer(net, replace(recipe, precision=precision), sampling, seed)
    trainer.fit(Stream(batches, sampling.passes, tokens), progress=say)
    took = time.monotonic() - start
    print(f"{name}: trained in {took:.0f} s, {trainer.updates} updates", flush=True)


def accuracy(net: SuperNet, batches: list[Any], which: str = "largest") -> float:
    """Percentage that the largest or smallest network has right."""
    precision = net.source.dtype
    net.source.precision(torch.float32)
    module = net.export(getattr(net.space, which)()).to(net.device)
    net.source.precision(precision)
    with torch.inference_mode():
        hits = [(module(*batch.inputs).argmax(-1) == batch.labels).float().sum() for batch in batches]
    return 100 * float(sum(hits)) / sum(len(batch.labels) for batch in batches)


def apart(net: SuperNet, table: Table, batches: list[Any], count: int = 8) -> float:
    """The largest difference in loss between some points of a table and the same networks run alone, whose
    fp32 products are no TF32."""
    genomes = table.space.sample(count, np.random.default_rng(SEED))
    found = []
    for genome in genomes:
        architecture, policy = table.space.decode(genome)
        fake = FakeQuantized(net.export(architecture).to(net.device))
        module, total = fake.select([policy]), 0.0
        with torch.inference_mode():
            for batch in batches:
                if net.family.kind == "bert-sentences":
                    fake.pad((batch.inputs[0] != 0)[..., None])
                total += float(F.cross_entropy(module(*batch.inputs), batch.labels, reduction="sum"))
        found.append(total / sum(len(batch.labels) for batch in batches))
    return float(np.abs(table.values_of(["loss"], genomes)[:, 0] - found).max())


def of_images(key: str, kind: Kind, args: argparse.Namespace) -> Made:
    """A table of networks over images."""
    from benchmarks.tasks import images, mosaics, vision
    from supernet.data.images import evaluation_batches

    every = [
        vision.cifar10,
        vision.cifar10_resnet,
        vision.fashion_mosaics,
        vision.digits,
        vision.digits_resnet,
    ]
    task = next(task for task in every if task.name == kind.task)
    tier = task.tier("check" if args.tiny else "small", args.device)
    prepared = task.prepare(tier, args.cache, args.data_dir, print)
    net = supernet(task.family(tier, prepared, space_of(key, kind.name, args.tiny)), args.device, args.seed)
    train, sealed = task.training(prepared), prepared.sealed
    assert sealed is not None
    some = task.validation(prepared).first(kind.units[0])
    test = images.read_images(prepared.folder, sealed / "test.npz")
    held = test.spread(kind.units[1])
    sets = [evaluation_batches(x, kind.walked * x.tokens, device=args.device) for x in (some, held)]

    def run() -> None:
        batches: Any = task.batches(train, kind.recipe.batch_tokens, args.seed, args.device)
        fit(kind.name, net, kind.recipe, batches, kind.tokens, sets[0], args.seed)
        if net.statistics_batch_count:
            size = train.tokens * ESTIMATED // net.statistics_batch_count
            seen = evaluation_batches(train.first(min(ESTIMATED, len(train))), size, device=args.device)
            net.statistics_batches = [(batch.inputs, batch.tokens) for batch in seen]

    said: dict[str, Any] = {
        "task": task.name,
        "data_sha256": dict(prepared.digests),
        "validation": f"the first {len(some)} validation images",
        "held_out": f"{len(held)} images of the test split, at equal distances",
        "metric": "accuracy",
    }
    if train.texts is not None and held.texts is not None:
        known = {"texts": train.texts.numpy(), "labels": train.labels.numpy()}
        asked = {"texts": held.texts.numpy(), "labels": held.labels.numpy()}
        said["question_only"] = round(100 * mosaics.question_only_accuracy(known, asked), 2)
        print(f"{kind.name}: {said['question_only']:.1f} % of what is held out needs no image")
    if net.statistics_batch_count:
        said["statistics"] = f"of batch norms: the first {min(ESTIMATED, len(train))} training images"
    return Made(net, sets[0], sets[1], said, run, test=test)


def of_sentences(key: str, kind: Kind, args: argparse.Namespace) -> Made:
    """The table of classifiers of sentences: pre-trained on masked words, then fine-tuned as a supernet."""
    from supernet.bert import BertConfig, LayeredBert
    from supernet.bert_classifier import SentenceConfig, SentenceFamily
    from supernet.data.masked_text import MaskedBatches

    found = sentences.corpus(args.cache / "sentences.npz", args.tiny, args.data_dir, print)
    space, length = space_of(key, kind.name, args.tiny), found.train.tokens.shape[1]
    plain: dict[str, Any] = {"dropout": 0.0, "attention_dropout": 0.0, "max_positions": length}
    config = SentenceConfig(found.vocab, **plain | {"dropout": 0.1})
    net = supernet(SentenceFamily(space, config), args.device, args.seed)
    search, held = (some.to(args.device).batches(kind.walked) for some in (found.search, found.held_out))

    def run() -> None:
        family = LayeredBert(space, BertConfig(found.vocab, **plain))
        before = supernet(family.restrict_to(space.largest()), args.device, args.seed)
        for number, (recipe, tokens) in enumerate(kind.before):
            if number:
                # From here on every sub-network learns.
                whole = supernet(family, args.device, args.seed)
                load(whole, named(before))
                before = whole
            rows = MaskedBatches(found.rows, recipe.batch_tokens, args.seed + number, device=args.device)
            fit(f"{kind.name}, masked words {number + 1}", before, recipe, rows, tokens, [], args.seed)
        begun = named(before)
        load(net, named(net) | {n: x for n, x in begun.items() if not n.startswith("head.")})
        size = max(1, kind.recipe.batch_tokens // length)
        batches = sentences.Shuffled(found.train.to(args.device), size, args.seed)
        fit(kind.name, net, kind.recipe, batches, kind.tokens, search, args.seed)

    said = {
        "task": "generated sentences" if args.tiny else "SST-2",
        "data_sha256": found.digests,
        "pretraining": [
            f"masked words, {tokens:g} tokens of passes, rate {r.learning_rate:g}"
            for r, tokens in kind.before
        ],
        "validation": f"{len(found.search)} whole sentences of train, no phrase of which is trained on",
        "held_out": f"{len(found.held_out)} sentences, dev and test",
        "metric": "accuracy",
    }
    tokens = torch.cat([(batch.inputs[0] != 0).sum(1) for batch in search])
    return Made(net, search, held, said, run, (round(float(tokens.float().mean())), 1))


def make(key: str, kind: Kind, args: argparse.Namespace) -> tuple[Table, SuperNet]:
    """Train and fill."""
    made = of_images(key, kind, args) if kind.task else of_sentences(key, kind, args)
    made.train()
    net, r = made.net, kind.recipe
    for which in ("largest", "smallest"):
        said = [f"{accuracy(net, batches, which):.1f} %" for batches in (made.search, made.held_out)]
        print(f"{kind.name}: {which} network {said[0]} on search data, {said[1]} held out", flush=True)
    head = made.said | {
        "name": kind.name,
        "weights_sha256": supernet_file.digest(net.source),
        "commit": args.commit,
        "recipe": f"sandwich of 3, in-place distillation, {kind.tokens:g} tokens of passes, batches of"
        f" {r.batch_tokens}, rate {r.learning_rate:g}, label smoothing {r.label_smoothing:g},"
        f" weight decay {r.weight_decay:g}, seed {args.seed}",
        "lengths": list(made.lengths),
        "torch": torch.__version__,
    }
    start, due = time.monotonic(), [0]

    def progress(done: int, total: int) -> None:
        if done >= due[0]:
            due[0] += total // 10
            took = time.monotonic() - start
            print(f"{kind.name}: {done} of {total}, {took / done * (total - done):.0f} s left", flush=True)

    table = build_table(
        net,
        layer_space(net.family),
        made.search,
        made.held_out,
        head,
        lengths=made.lengths,
        progress=progress,
    )
    took, loss = time.monotonic() - start, table.columns["loss"]
    best = int(np.argmin(loss))
    print(f"{kind.name}: loss of points run alone differs by {apart(net, table, made.search):.1e} at most")
    counted = (("hits", "labels"), ("held_hits", "held_out_labels"))
    shares = [f"{100 * table.columns[hits][best] / table.head[n]:.1f} %" for hits, n in counted]
    print(f"{kind.name}: {len(loss)} points in {took:.0f} s, loss {loss.min():.3f} to {loss.max():.3f}")
    print(f"{kind.name}: accuracy at the lowest loss {shares[0]}, held out {shares[1]}", flush=True)
    return table, net


def main(words: list[str] | None = None) -> None:
    """Some tables or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; default all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--commit", default="unknown")
    parser.add_argument("--seed", type=int, default=SEED, help="of the supernet")
    parser.add_argument(
        "--tokens",
        action="append",
        default=[],
        metavar="KIND=N",
        help="of the supernet's training, all passes",
    )
    parser.add_argument("--prepare-only", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args(words)
    if args.prepare_only:
        args.device = "cpu"
    allocator.keep_freed()
    kinds = {key: tiny(key, kind) if args.tiny else kind for key, kind in KINDS.items()}
    for word in args.tokens:
        key, _, tokens = word.partition("=")
        if key not in kinds or not tokens:
            parser.error(f"--tokens {word}: KIND=N, of {', '.join(KINDS)}")
        kinds[key] = replace(kinds[key], tokens=float(tokens))
    if unknown := set(args.kinds) - set(kinds):
        parser.error(f"no table {', '.join(sorted(unknown))}: choose of {', '.join(KINDS)}")
    for key in args.kinds or KINDS:
        kind = kinds[key]
        if args.seed != SEED:
            kind = replace(kind, name=f"{kind.name}-s{args.seed}")
        if args.prepare_only:
            (of_images if kind.task else of_sentences)(key, kind, args)
            continue
        table, net = make(key, kind, args)
        args.out.mkdir(parents=True, exist_ok=True)
        write_table(table, args.out / f"{kind.name}.npz")
        supernet_file.save(args.out / f"{kind.name}.safetensors", net, {"table": kind.name})
        for file in (args.out / f"{kind.name}{end}" for end in (".npz", ".safetensors")):
            print(f"wrote {file}, {file.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
