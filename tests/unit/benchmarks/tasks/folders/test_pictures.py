"""Images in folders of classes: sizes, channels, splits, duplicates, damaged files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import tasks
from benchmarks.api import UsageError
from benchmarks.tasks import prepare
from benchmarks.tasks.folders import pictures
from benchmarks.tasks.folders.lines import Report
from benchmarks.tasks.folders.sources import TaskFlags, find


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_DECLARED", {})


def write(folder: Path, count: int = 20, size: tuple[int, int] = (8, 8)) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog", "eel"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image = Image.fromarray(rng.integers(0, 255, (size[1], size[0]), dtype=np.uint8))
            image.save(folder / name / f"{i}.png")
    return folder


def ready(folder: Path, cache: Path, tier: str = "check") -> tuple[Any, Any]:
    task: Any = find(f"images:{folder}", TaskFlags())
    return task, prepare(task, task.tier(tier, "cpu"), cache, None, lambda _: None)


def test_classes_without_splits(tmp_path: Path) -> None:
    task, prepared = ready(write(tmp_path / "pets"), tmp_path / "cache")
    assert (task.name, task.suite, prepared.target_vocab) == ("images-pets", "simq", 3)
    notes = task.notes(prepared)
    assert notes[0] == "images: train 48, valid 6, test 6; 3 classes, 1 x 8 x 8"
    train, valid = task.training(prepared), task.validation(prepared)
    assert (len(train), len(valid)) == (48, 6)
    assert sorted(np.bincount(np.asarray(valid.labels))) == [2, 2, 2]


@pytest.mark.parametrize(
    ("count", "tier", "message"),
    [
        (1, "check", r"no image can be drawn for test \(train 3, valid 0, test 0\).*\n.*a folder test/"),
        (2, "check", r"no image can be drawn for valid \(train 3, valid 0, test 3\).*\n.*a folder valid/"),
        (8, "check", r"train has 18 images .*, and one training batch takes 32\n.*recipe\.batch_tokens"),
        (20, "small", "train has 48 images .*, and one training batch takes 128"),
    ],
)
def test_too_few_images_are_refused_and_leave_nothing(
    tmp_path: Path, count: int, tier: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ready(write(tmp_path / "pets", count), tmp_path / "cache", tier)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_batch_below_one_image_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "pets")
    (folder / "task.toml").write_text("[check.recipe]\nbatch_tokens = 16\n")
    with pytest.raises(UsageError, match=r"batch_tokens is 16, and one image takes 17 tokens\nset it to 17"):
        ready(folder, tmp_path / "cache")


def test_larger_batches_are_checked_on_prepared_images(tmp_path: Path) -> None:
    folder = write(tmp_path / "pets")
    ready(folder, tmp_path / "cache")
    (folder / "task.toml").write_text("[check.recipe]\nbatch_tokens = 1700\n")
    with pytest.raises(UsageError, match="train has 48 images .*, and one training batch takes 100"):
        ready(folder, tmp_path / "cache")


def test_given_splits_must_have_classes_of_training(tmp_path: Path) -> None:
    write(tmp_path / "p" / "train")
    write(tmp_path / "p" / "test", 3)
    task, prepared = ready(tmp_path / "p", tmp_path / "cache")
    assert task.notes(prepared)[0] == "images: train 54, valid 6, test 9; 3 classes, 1 x 8 x 8"
    (tmp_path / "p" / "test" / "dog").rename(tmp_path / "p" / "test" / "dgo")
    with pytest.raises(UsageError, match=r"class 'dgo' of test is not in train\. Did you mean 'dog'"):
        ready(tmp_path / "p", tmp_path / "cache")


def test_duplicates_and_labels_that_disagree_are_reported(tmp_path: Path) -> None:
    write(tmp_path / "p" / "train")
    write(tmp_path / "p" / "test", 3)
    first = (tmp_path / "p" / "train" / "cat" / "0.png").read_bytes()
    (tmp_path / "p" / "train" / "dog" / "0.png").write_bytes(first)
    (tmp_path / "p" / "test" / "cat" / "0.png").write_bytes(first)
    report = Report()
    splits = pictures.class_files(tmp_path / "p", report)
    pictures.read(splits, {"valid": 5}, 8, 1, report, lambda _: None)
    notes = " | ".join(report.notes())
    assert "images of test stand in train, too" in notes
    assert "1 images of train that stand under another class, too" in notes


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_mode_gives_the_channels_asked_for(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode in ("CMYK", "I;16") else "a.png")
    Image.new("L", (30, 20), 255).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(path)
    for channels in (1, 3):
        report = Report()
        pixels = pictures.load(path, 8, channels, report)
        assert (pixels.shape, pixels.dtype) == ((channels, 8, 8), np.uint8)
        assert report.notes() == [
            "1 images cut to their middle square and scaled to 8 pixels, first: " + f"{path.name} of 30 x 20"
        ]
        if mode != "I;16":
            assert pixels.min() == 255


def test_an_image_of_the_right_size_is_taken_as_it_is(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.array_equal(pictures.load(tmp_path / "a.png", 8, 3, Report()), values.transpose(2, 0, 1))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "pets")
    (folder / "dog" / "3.png").write_bytes((folder / "dog" / "3.png").read_bytes()[:40])
    with pytest.raises(UsageError, match=r"dog/3\.png' is no readable image"):
        ready(folder, tmp_path / "cache")
    (folder / "dog" / "3.png").unlink()
    (folder / "dog" / "notes.md").write_text("x")
    task, prepared = ready(folder, tmp_path / "cache")
    assert "1 files that are no images left out, first: notes.md" in task.notes(prepared)
    for path in (folder / "eel").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match=r"eel' has no image"):
        ready(folder, tmp_path / "cache")
    with pytest.raises(UsageError, match="0 classes of images"):
        ready(write(tmp_path / "flat") / "cat", tmp_path / "cache")
