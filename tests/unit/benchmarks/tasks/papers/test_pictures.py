"""ImageNet and VQA v2 from folders, in small."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.api import UsageError
from benchmarks.cli import main
from benchmarks.tasks.papers import pictures
from tests.unit.benchmarks.tasks.papers.archives_of import lay, zipped

SETTINGS = {"side": 8, "length": 5, "classes": 2, "seed": 1, "valid": 2, "crop": 0, "flip": False}


def quiet(_line: str) -> None:
    pass


def draw(path: Path, shade: int, size: tuple[int, int] = (20, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 255 - shade)).save(path)


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    for part, count in (("train", 6), ("val", 3)):
        for label, name in enumerate(("n01", "n02")):
            for n in range(count):
                draw(tmp_path / "imagenet" / part / name / f"{n}.JPEG", 250 * label)
    return tmp_path


@pytest.fixture
def vqa(tmp_path: Path, contents: dict[str, bytes]) -> Path:
    folder = lay(tmp_path / "mine", contents)
    for part, count in (("train2014", 6), ("val2014", 3)):
        for n in range(count):
            draw(folder / "vqa2" / part / f"COCO_{part}_{n:012}.jpg", 40 * n)
    return folder


def test_imagenet_is_read_from_folders(imagenet: Path) -> None:
    splits = pictures.imagenet(SETTINGS, imagenet, quiet)
    assert splits.train["pixels"].shape == (12, 3, 8, 8) and splits.test["pixels"].shape == (6, 3, 8, 8)
    assert splits.train["labels"].tolist() == [0] * 6 + [1] * 6
    assert (splits.train["pixels"][:6, 0] < 20).all() and (splits.train["pixels"][6:, 0] > 230).all()


@pytest.mark.parametrize("name", ["vision-imagenet64", "vl-vqa2"])
def test_a_paper_tier_is_refused_with_the_reason(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["plan", "simq", "--task", name, "--tier", "paper"]) == main.USAGE
    shown = capsys.readouterr().err
    assert "has no tier 'paper'; it has: small" in shown and "224 pixels" in shown


def test_imagenet_that_is_not_as_it_should_be(imagenet: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be fetched: ILSVRC.*\ngive the folder above imagenet/"):
        pictures.imagenet(SETTINGS, None, quiet)
    with pytest.raises(UsageError, match=r"no folder '.*nowhere.*'\nput it there: ILSVRC"):
        pictures.imagenet(SETTINGS, imagenet / "nowhere", quiet)
    with pytest.raises(UsageError, match=r"2 classes in train and 2 in val, expected the same 1,000\nput"):
        pictures.imagenet({**SETTINGS, "classes": 1000}, imagenet, quiet)
    (imagenet / "imagenet" / "train" / "n01" / "0.JPEG").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"0\.JPEG"):
        pictures.imagenet(SETTINGS, imagenet, quiet)


def test_vqa2_is_read_from_its_files(declared, vqa: Path) -> None:
    splits = pictures.vqa2(SETTINGS, vqa, quiet)
    assert splits.train["pixels"].shape == (6, 3, 8, 8) and splits.test["pixels"].shape == (3, 3, 8, 8)
    assert splits.train["labels"].tolist() == [2, 0, 1] * 4, "answers by frequency, then by letters"
    assert splits.train["which"].tolist() == [n % 6 for n in range(12)]
    known = [splits.words[i] for i in splits.train["texts"][3]]
    assert known == ["is", "it", "3", "?", "<pad>"]


def test_an_answer_that_training_lacks_is_wrong(declared, vqa: Path, contents) -> None:
    other = [{"question_id": n, "multiple_choice_answer": "never seen"} for n in range(6)]
    file = vqa / "papers" / declared["vqa2-annotations-val"].file
    file.write_bytes(zipped({"annotations": other}))
    labels = pictures.vqa2(SETTINGS, vqa, quiet).test["labels"]
    assert set(labels.tolist()) == {pictures.UNKNOWN}
    loss = F.cross_entropy(torch.zeros(6, 3), torch.from_numpy(labels), reduction="none")
    assert loss.tolist() == [0] * 6, "the label is one that torch takes"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"PK", "cannot be read"),
        (zipped({}), "do not belong together"),
        (zipped({"annotations": []}), "together"),
    ],
)
def test_damaged_annotations_are_refused(declared, vqa: Path, body: bytes, fault: str) -> None:
    (vqa / "papers" / declared["vqa2-annotations-train"].file).write_bytes(body)
    with pytest.raises(UsageError, match=fault):
        pictures.vqa2(SETTINGS, vqa, quiet)


def test_tasks_of_pictures_are_prepared(declared, vqa: Path, imagenet: Path, tmp_path: Path) -> None:
    for task, folder, classes in ((pictures.imagenet64, imagenet, 2), (pictures.vqa, vqa, 3)):
        tier = task.tier("small", "cpu")
        tier = replace(tier, data={**tier.data, **SETTINGS}, model={**tier.model, "image": 8})
        prepared = task.prepare(tier, tmp_path / "cache", folder, quiet)
        assert prepared.target_vocab == classes and len(task.training(prepared)) > 0
        assert all(len(digest) == 64 for digest in prepared.digests.values())
        assert task.prepare(tier, tmp_path / "cache", folder, lambda line: pytest.fail(line)) == prepared
    draw(imagenet / "imagenet" / "train" / "n01" / "more.JPEG", 3)
    task = pictures.imagenet64
    tier = task.tier("small", "cpu")
    tier = replace(tier, data={**tier.data, **SETTINGS})
    again = task.prepare(tier, tmp_path / "cache", imagenet, quiet)
    assert len(task.training(again)) == 11, "another folder is other data"
    assert task.training(again).pixels.float().isfinite().all()
