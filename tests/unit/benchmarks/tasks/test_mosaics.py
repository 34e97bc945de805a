"""Questions about mosaics: every answer is true, questions say little, no picture is in two splits."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.api import UsageError
from benchmarks.tasks import images, mosaics
from benchmarks.tasks.vision import fashion_mosaics
from supernet.data.images import Images, mosaic

WORDS = mosaics.vocabulary(mosaics.DIGITS, 3)
SETTINGS = {"seed": 5, "tiles": "digits", "grid": 3, "length": 8, "tiles_valid": 300}
SETTINGS |= {"train": 6000, "valid": 50, "test": 400}


@pytest.fixture(scope="module")
def splits() -> images.Splits:
    return mosaics.mosaics(SETTINGS, None, lambda line: None)


def truth(question: str, seen: list[str]) -> str:
    """Read off the classes of nine places."""
    words = question.split()
    if words[:2] == ["is", "there"]:
        return "yes" if words[3] in seen else "no"
    if words[0] == "how":
        return str(seen.count(words[2]))
    if words[0] == "what":
        place = seen.index(words[5])
        assert seen.count(words[5]) == 1 and place % 3
        return seen[place - 1]
    return "yes" if seen[int(words[1]) - 1] == seen[int(words[3]) - 1] else "no"


def asked(text: np.ndarray) -> str:
    return " ".join(WORDS[i] for i in text if i)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_every_answer_is_true(splits: images.Splits, split: str) -> None:
    part = getattr(splits, split)
    found = mosaics_of(split)
    answers = (*mosaics.ANSWERS, *mosaics.DIGITS)
    for text, which, label in zip(part["texts"], part["which"], part["labels"], strict=True):
        seen = [mosaics.DIGITS[found[i]] for i in which]
        assert answers[label] == truth(asked(text), seen)


def mosaics_of(split: str) -> np.ndarray:
    """Class of each picture of a split, as ``mosaics`` parts them."""
    raw = images.digits({"seed": 5, "test": 360}, None, lambda line: None)
    if split == "test":
        return raw.test["labels"]
    order = np.random.default_rng(5).permutation(len(raw.train["labels"]))
    return raw.train["labels"][np.sort(order[:300] if split == "valid" else order[300:])]


def test_no_picture_is_in_two_splits(splits: images.Splits) -> None:
    assert splits.valid is not None
    parts = [splits.train, splits.valid, splits.test]
    pictures = [{p.tobytes() for p in part["pixels"]} for part in parts]
    assert sum(map(len, pictures)) == len(set.union(*pictures)) == 1797
    assert all(part["which"].max() < len(part["pixels"]) for part in parts)


def test_questions_hardly_predict_their_answers(splits: images.Splits) -> None:
    by_template: dict[str, Counter[int]] = defaultdict(Counter)
    for text, label in zip(splits.train["texts"], splits.train["labels"], strict=True):
        words = asked(text).split()
        by_template["like" if "like" in words else words[0]][int(label)] += 1
    assert len(by_template) == 4
    for counts in by_template.values():
        total = sum(counts.values())
        assert total == pytest.approx(1500, abs=150)
        assert max(counts.values()) < 1.35 * total / len(counts), "balanced answers"
    # A half, a quarter, a ninth and a half of the four templates, and what chance adds in a small sample.
    assert mosaics.question_only_accuracy(splits.train, splits.test) == pytest.approx(0.34, abs=0.07)
    assert mosaics.question_only_accuracy(splits.train, splits.train) > 0.34


def test_the_floor_is_the_share_of_most_frequent_answers() -> None:
    def split(rows: list[tuple[int, int]]) -> dict[str, np.ndarray]:
        return {"texts": np.array([[t, 0] for t, _ in rows]), "labels": np.array([a for _, a in rows])}

    train = split([(1, 5), (1, 5), (1, 6), (2, 7)])
    assert mosaics.question_only_accuracy(train, split([(1, 5), (1, 6), (2, 7), (3, 5)])) == 0.5


def test_a_mosaic_is_laid_row_by_row_and_each_picture_mirrored_alone() -> None:
    tiles = torch.arange(9)[None, :, None, None, None].expand(1, 9, 1, 2, 2)
    whole = mosaic(tiles)[0, 0]
    assert whole.shape == (6, 6)
    assert whole[::2, ::2].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]] and whole[1, 1] == 0
    pixels = torch.tensor([[[[1, 2]] * 2], [[[3, 4]] * 2]], dtype=torch.uint8)
    some = Images(pixels, torch.tensor([0]), (0.0,), (1.0,), 5, flip=True, which=torch.tensor([[0, 1, 1, 0]]))
    assert some.batch(torch.tensor([0])).images[0, 0, 0].tolist() == [1, 2, 3, 4]
    generator = torch.Generator().manual_seed(0)
    seen = {tuple(some.batch(torch.tensor([0]), generator).images[0, 0, 0].tolist()) for _ in range(40)}
    assert seen == {(a, b, c, d) for a, b in ((1, 2), (2, 1)) for c, d in ((3, 4), (4, 3))}


def test_the_task_prepares_its_check_tier(tmp_path: Path) -> None:
    lines: list[str] = []
    tier = fashion_mosaics.tier("check", "cpu")
    prepared = fashion_mosaics.prepare(tier, tmp_path, None, lines.append)
    assert any("answered without looking" in line for line in lines)
    train, valid = fashion_mosaics.training(prepared), fashion_mosaics.validation(prepared)
    assert (len(train), len(valid)) == (2000, 60) and prepared.target_vocab == tier.vocab
    batch = next(iter(fashion_mosaics.batches(train, 960, 0, "cpu")))
    family = fashion_mosaics.family(tier, prepared)
    assert batch.images.shape[1:] == (1, 16, 16)
    assert len(batch.labels) == 96 and family.build(family.space.smallest())(*batch.inputs).shape == (96, 16)
    assert batch.tokens == 96 * tier.workload["source_len"]


def test_fashion_mnist_is_read_whole(data_dir: Path, tmp_path: Path) -> None:
    if not (data_dir / "fashion_mnist").is_dir():
        pytest.skip(f"no fashion_mnist in {data_dir}")
    found, digests = mosaics.fashion(data_dir, lambda line: None)
    assert found["train"]["pixels"].shape == (60_000, 1, 28, 28) and len(digests) == 4
    assert np.bincount(found["train"]["labels"]).tolist() == [6000] * 10
    assert np.bincount(found["test"]["labels"]).tolist() == [1000] * 10


def test_unfitting_settings_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2x2"):
        mosaics.mosaics(SETTINGS | {"grid": 1}, None, lambda line: None)
    with pytest.raises(UsageError, match="class without one"):
        mosaics.mosaics(SETTINGS | {"tiles_valid": 3}, None, lambda line: None)
    (tmp_path / "a.gz").write_bytes(b"no gzip")
    with pytest.raises(UsageError, match="not packed by gzip"):
        mosaics._read_idx(tmp_path / "a.gz", (3,))
