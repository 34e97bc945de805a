"""Image classification: the images are the published ones, splits are apart, the test split is sealed."""

from __future__ import annotations

import dataclasses
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from benchmarks.api import UsageError
from benchmarks.measurement.workload import Workload
from benchmarks.stats import bleu
from benchmarks.tasks import Prepared, cifar, images
from benchmarks.tasks.datasets import datasets
from benchmarks.tasks.tiers import Tier
from benchmarks.tasks.vision import VisionTask, cifar10, cifar10_resnet, digits, digits_resnet, easy_vqa
from supernet.data.images import ImageBatches, Images, augment
from supernet.elastic import SuperNet
from supernet.train import Recipe, Sandwich, Trainer
from supernet.weights import SharedSlices


def silent(line: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def tier() -> Tier:
    return digits.tier("check", "cpu")


@pytest.fixture(scope="module")
def prepared(tier: Tier, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return digits.prepare(tier, tmp_path_factory.mktemp("cache"), None, silent)


def test_every_digit_is_in_one_split(tier: Tier, prepared: Prepared) -> None:
    assert prepared.sealed is not None
    files = prepared.folder / "train.npz", prepared.folder / "valid.npz", prepared.sealed / "test.npz"
    splits = [images.read_images(prepared.folder, path) for path in files]
    assert [len(split) for split in splits] == [1797 - 160, 60, 100]
    both = torch.cat([split.pixels for split in splits])
    raw = images.digits(tier.data, None, silent)
    read = np.concatenate([raw.train["pixels"], raw.test["pixels"]])
    assert sorted(map(bytes, both.numpy())) == sorted(map(bytes, read))
    assert not list(prepared.folder.glob("*test*")), "the open folder has nothing of the test split"


def test_prepared_once_and_found_again(tier: Tier, prepared: Prepared) -> None:
    lines: list[str] = []
    assert digits.prepare(tier, prepared.folder.parents[1], None, lines.append) == prepared
    assert not lines


def test_evaluation_is_the_mean_over_images_under_any_batches(
    tier: Tier, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = digits.family(tier, prepared).build(digits.family(tier, prepared).space.smallest())
    some = digits.validation(prepared)
    found = digits.evaluate(module, some, "cpu")
    assert digits.evaluate(module, some, "cpu") == found
    monkeypatch.setattr("benchmarks.tasks.vision.EVALUATION_TOKENS", {"cpu": 17 * 7})
    small = digits.evaluate(module, digits.validation(prepared), "cpu")
    assert small.loss == pytest.approx(found.loss, rel=1e-6)
    assert small.metrics == found.metrics
    assert len(digits.validation_batches(some, "cpu", 0.5)[0].labels) <= 30


def test_a_score_has_its_interval_and_recipe(tier: Tier, prepared: Prepared) -> None:
    family = digits.family(tier, prepared)
    module = family.build(family.space.smallest())
    figure = digits.score(module, prepared, tier, "cpu")["test"]["test"]["accuracy"]
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert figure["signature"] == "acc|top:1|n:100|classes:10|version:1|ci:wilson95"
    with pytest.raises(ValueError, match="sealed"):
        digits.score(module, dataclasses.replace(prepared, sealed=None), tier, "cpu")


@settings(max_examples=50)
@given(st.integers(1, 500), st.data())
def test_the_interval_is_scipys(items: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, items))
    theirs = binomtest(hits, items).proportion_ci(method="wilson")
    ours = bleu.proportion(hits, items, "x")
    assert ours.low == pytest.approx(100 * theirs.low, abs=1e-5)
    assert ours.high == pytest.approx(100 * theirs.high, abs=1e-5)


def test_residual_networks_are_given_as_many_images() -> None:
    for ours, theirs in ((digits_resnet, digits), (cifar10_resnet, cifar10)):
        assert ours.tiers() == theirs.tiers()
        for name in ours.tiers():
            tier, other = ours.tier(name, "cpu"), theirs.tier(name, "cpu")
            assert tier.workload == other.workload and tier.data == other.data
            family, work = ours.family(tier, Prepared(Path(), None, {}, 0, 10)), Workload.of(tier.workload)
            with torch.device("meta"):
                module, source = family.build(family.space.smallest()), work.source("meta")
                assert work.run(module, source).shape == (1, 10)


@pytest.mark.parametrize("task", [digits, cifar10])
def test_an_image_counts_for_its_patches_and_class_token(task: VisionTask) -> None:
    for name in task.tiers():
        for device in ("cpu", "cuda"):
            tier = task.tier(name, device)
            family = task.family(tier, Prepared(Path(), None, {}, 0, tier.vocab))
            assert tier.workload["source_len"] == family.tokens
            work = Workload.of(tier.workload)
            assert (work.image, work.channels) == (family.config.image, family.config.channels)
            with torch.device("meta"):
                assert work.run(family.build(family.space.smallest()), work.source("meta")).shape == (1, 10)


def some_images(count: int = 20, size: int = 4, **shown: object) -> Images:
    pixels = torch.arange(count * 2 * size * size).view(count, 2, size, size).remainder(251).to(torch.uint8)
    return Images(pixels, torch.arange(count) % 3, (100.0, 50.0), (10.0, 20.0), 5, **shown)  # type: ignore[arg-type]


def test_batches_hold_every_image_once_an_epoch_normalised() -> None:
    some = some_images()
    stream = iter(ImageBatches(some, 25, seed=3))
    epoch = [next(stream) for _ in range(4)]
    assert [batch.tokens for batch in epoch] == [25] * 4
    mean, deviation = torch.tensor([100.0, 50.0]), torch.tensor([10.0, 20.0])
    shown = torch.cat([batch.images for batch in epoch]) * deviation[:, None, None] + mean[:, None, None]
    assert sorted(map(bytes, shown.round().to(torch.uint8).numpy())) == sorted(
        map(bytes, some.pixels.numpy())
    )


@settings(max_examples=30)
@given(st.integers(0, 3), st.booleans(), st.integers(0, 2**31))
def test_moved_images_are_windows_of_padded_ones(crop: int, flip: bool, seed: int) -> None:
    some = some_images().pixels + 1
    found = augment(some, crop, flip, torch.Generator().manual_seed(seed))
    padded = torch.nn.functional.pad(some, (crop,) * 4)
    for before, after in zip(padded, found, strict=True):
        windows = [before[:, y : y + 4, x : x + 4] for y in range(2 * crop + 1) for x in range(2 * crop + 1)]
        windows += [window.flip(2) for window in windows if flip]
        assert any(torch.equal(window, after) for window in windows)


def test_a_stream_goes_on_where_it_stood() -> None:
    whole = iter(ImageBatches(some_images(crop=1, flip=True), 25, seed=7))
    expected = [next(whole) for _ in range(9)]
    first = ImageBatches(some_images(crop=1, flip=True), 25, seed=7)
    source = iter(first)
    for _ in range(5):
        next(source)
    second = ImageBatches(some_images(crop=1, flip=True), 25, seed=7)
    second.restore(first.state())
    for batch, other in zip(expected[5:], second, strict=False):
        assert torch.equal(batch.images, other.images) and torch.equal(batch.labels, other.labels)


def test_ranks_share_an_epoch_without_overlap() -> None:
    ranks = [iter(ImageBatches(some_images(), 25, seed=1, rank=r, world=2)) for r in range(2)]
    shown = torch.cat([next(rank).images for _ in range(2) for rank in ranks])
    assert len({bytes(image.numpy()) for image in shown}) == 20


def test_too_few_images_for_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="20 images of 5 tokens make no batch of 4 tokens"):
        ImageBatches(some_images(), 4, seed=0)


class Some:
    """A stream of a few batches that keeps count."""

    def __init__(self, source: ImageBatches, total: int) -> None:
        self.source, self.total, self.spent = source, total, 0

    def __iter__(self):
        for batch in self.source:
            if self.spent >= self.total:
                return
            self.spent += batch.tokens
            batch.prepaid = 3
            yield batch

    def state(self) -> dict:
        return {"source": self.source.state(), "spent": self.spent}

    def restore(self, state: dict) -> None:
        self.source.restore(state["source"])
        self.spent = state["spent"]


class Kept:
    """Keeps the state after ``after`` updates, as a run that is killed there."""

    def __init__(self, after: int, given: dict | None = None) -> None:
        self.left, self.kept, self.given = after, None, given

    def due(self) -> bool:
        self.left -= 1
        return self.left == 0

    def save(self, state: dict) -> None:
        if self.kept is None:
            self.kept = {
                "trainer": {k: v.clone() if torch.is_tensor(v) else v for k, v in state["trainer"].items()},
                "batches": state["batches"],
            }
            moments = state["trainer"]["moments"]
            self.kept["trainer"]["moments"] = {k: v.clone() for k, v in moments.items()}

    def load(self) -> dict | None:
        return self.given


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tier: Tier, prepared: Prepared) -> None:
    family, some = digits.family(tier, prepared), digits.training(prepared)

    def run(keeper: Kept) -> torch.Tensor:
        net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(0)))
        recipe = Recipe(learning_rate=1e-3, label_smoothing=0.1)
        stream = Some(digits.batches(some, 17 * 8, 4, "cpu"), 17 * 8 * 8)
        Trainer(net, recipe, Sandwich(), seed=5).fit(stream, keeper)
        return net.source.flat.detach().clone()

    keeper = Kept(after=4)
    whole = run(keeper)
    assert torch.equal(run(Kept(after=99, given=keeper.kept)), whole)


# CIFAR-10


def test_cifar10_is_the_published_one(data_dir: Path) -> None:
    if not (data_dir / "cifar10").is_dir():
        pytest.skip(f"no cifar10 in {data_dir}")
    found = cifar.decode_median_residuals(data_dir / "cifar10" / "test.med.xz")
    with np.load(data_dir / "cifar10" / "labels.npz", allow_pickle=False) as arrays:
        labels = arrays["test"]
    assert found.shape == (10_000, 3, 32, 32)
    assert np.bincount(labels).tolist() == [1000] * 10
    # Published means of the test images' channels, in bytes.
    assert np.allclose(found.mean((0, 2, 3)) / 255, [0.4942142, 0.4851313, 0.4504090], atol=1e-6)


@pytest.mark.slow
def test_both_layouts_of_cifar10_prepare_the_same(data_dir: Path, tmp_path: Path) -> None:
    if not (data_dir / "cifar10").is_dir():
        pytest.skip(f"no cifar10 in {data_dir}")
    packed = cifar.cifar10({}, data_dir, silent)
    records = np.hstack([packed.train["labels"][:, None], packed.train["pixels"].reshape(50_000, -1)])
    records = records[np.random.default_rng(0).permutation(50_000)]
    (tmp_path / "cifar10").mkdir()
    for i in range(5):
        records[i * 10_000 : (i + 1) * 10_000].tofile(tmp_path / "cifar10" / f"data_batch_{i + 1}.bin")
    test = np.hstack([packed.test["labels"][:, None], packed.test["pixels"].reshape(10_000, -1)])
    test.tofile(tmp_path / "cifar10" / "test_batch.bin")
    official = cifar.cifar10({}, tmp_path, silent)
    assert official.digests == packed.digests
    assert np.array_equal(official.train["pixels"], packed.train["pixels"])
    # The published mean of the training images' first channel.
    assert packed.train["pixels"][:, 0].mean() / 255 == pytest.approx(0.49139968, abs=1e-8)
    test[0, 5] ^= 1
    test.tofile(tmp_path / "cifar10" / "test_batch.bin")
    with pytest.raises(UsageError, match="the test images in .* are not CIFAR-10's"):
        cifar.cifar10({}, tmp_path, silent)


def test_bad_cifar10_ends_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no folder '.*cifar10' with the files labels.npz(.|\n)*--data-dir"):
        cifar.cifar10({}, tmp_path, silent)
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(UsageError, match=r"'.*labels.npz' is missing: expected 30,266 bytes"):
        cifar.cifar10({}, tmp_path, silent)
    for file, declared in datasets()["cifar10"].files.items():
        (tmp_path / "cifar10" / file).write_bytes(
            bytes(10) if file.startswith("train") else bytes(declared.size)
        )
    with pytest.raises(UsageError, match=r"has been altered|is cut short"):
        cifar.cifar10({}, tmp_path, silent)
    (tmp_path / "cifar10" / "data_batch_1.bin").write_bytes(bytes(100))
    with pytest.raises(UsageError, match=r"data_batch_1.bin' is cut short or too long: expected 30,730,000"):
        cifar.cifar10({}, tmp_path, silent)
    hostile = tmp_path / "bomb.xz"
    hostile.write_bytes(lzma.compress(bytes(40_000_000)))
    with pytest.raises(UsageError, match="unpacks to 30,720,001 bytes or more"):
        cifar.decode_median_residuals(hostile)
    hostile.write_bytes(b"no xz")
    with pytest.raises(UsageError, match="not packed by xz"):
        cifar.decode_median_residuals(hostile)


# Easy-VQA


def test_questions_of_easy_vqa_are_read_and_parted_by_image(data_dir: Path, tmp_path: Path) -> None:
    if not (data_dir / "easy_vqa").is_dir():
        pytest.skip(f"no easy_vqa in {data_dir}")
    tier = easy_vqa.tier("small", "cpu")
    prepared = easy_vqa.prepare(tier, tmp_path, data_dir, silent)
    train, valid = easy_vqa.training(prepared), easy_vqa.validation(prepared)
    assert len(train) + len(valid) == 38_575 and len(valid.pixels) == 400 and len(train.pixels) == 3_600
    assert prepared.sealed is not None
    test = images.read_images(prepared.folder, prepared.sealed / "test.npz")
    assert len(test) == 9_673 and prepared.target_vocab == 13
    assert test.texts is not None and (test.texts != 1).all(), "every word of the test questions is known"
    # Published: 67.0 % are right without the image, by the most frequent answer to each question.
    assert train.texts is not None
    votes: dict[bytes, dict[int, int]] = {}
    for text, label in zip(train.texts.numpy(), train.labels.tolist(), strict=True):
        seen = votes.setdefault(bytes(text), {})
        seen[label] = seen.get(label, 0) + 1
    best = {text: max(seen, key=lambda label: seen[label]) for text, seen in votes.items()}
    asked = zip(test.texts.numpy(), test.labels.tolist(), strict=True)
    hits = [best.get(bytes(text)) == label for text, label in asked]
    assert np.mean(hits) == pytest.approx(0.67, abs=0.005)
    batch = next(iter(easy_vqa.batches(train, 29 * 4, 0, "cpu")))
    family = easy_vqa.family(tier, prepared)
    module = family.build(family.space.smallest())
    assert batch.tokens == 29 * 4 == 4 * (family.tokens + family.config.text)
    assert module(*batch.inputs).shape == (4, 13)
    work = Workload.of(tier.workload)
    assert work.run(module, work.source("cpu")).shape == (1, 13)


def test_examples_that_share_an_image_show_it() -> None:
    some = some_images(3)
    which, texts = torch.tensor([2, 2, 0, 1]), torch.arange(8).view(4, 2)
    pairs = dataclasses.replace(some, labels=torch.arange(4), which=which, texts=texts)
    batch = pairs.first(3).batch(torch.tensor([2, 0]))
    assert torch.equal(batch.images, some.batch(torch.tensor([0, 2])).images)
    assert batch.texts is not None and batch.texts.tolist() == [[4, 5], [0, 1]]
    assert batch.labels.tolist() == [2, 0] and len(batch.inputs) == 2
