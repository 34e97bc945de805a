"""ImageNet (Russakovsky et al. 2015) and VQA v2 (Goyal et al. 2017), from folders that a user has.

Their official test labels are not public: both are tested on the official validation split, and validated on
images taken from training.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from benchmarks.api import UsageError
from benchmarks.tasks import Prepared, images
from benchmarks.tasks.datasets import Say
from benchmarks.tasks.folders.lines import Report
from benchmarks.tasks.folders.pictures import load
from benchmarks.tasks.images import Split, Splits
from benchmarks.tasks.papers.downloads import downloads, obtain, pinned_digest
from benchmarks.tasks.prepared_data import RawData
from benchmarks.tasks.tiers import Table, Tier
from benchmarks.tasks.vision import VisionTask

ENDINGS = (".jpeg", ".jpg")
CLASSES = 1000
ANSWERS = 3129
"""Most frequent answers, which are the classes."""
UNKNOWN = -100
"""Label of an answer that is no class: always wrong, and without a loss (torch's ``ignore_index``)."""
FILES = {
    "train": ("vqa2-questions-train", "vqa2-annotations-train"),
    "test": ("vqa2-questions-val", "vqa2-annotations-val"),
}
PICTURES = {"train": "train2014", "test": "val2014"}
"""Split -> COCO's folder and the middle of its file names."""


class Question(TypedDict):
    """One question of VQA v2 with its most frequent answer."""

    image: int
    words: list[str]
    answer: str


def folder_of(data_dir: Path | None, name: str, needed: Iterable[str], source: str) -> Path:
    """Return a folder below ``data_dir`` that has the needed folders.

    Raises:
        UsageError: it is not there.
    """
    missing = [name if data_dir is None else str(data_dir / name / part) for part in needed]
    if data_dir is None:
        raise UsageError(
            f"{name} cannot be fetched: {source}\ngive the folder above {name}/: --data-dir FOLDER"
        )
    for part in missing:
        if not Path(part).is_dir():
            raise UsageError(f"no folder '{part}'\nput it there: {source}")
    return data_dir / name


def listing(folder: Path) -> str:
    """Return a digest of the names and sizes of all images below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in ENDINGS:
            digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


def imagenet(settings: Table, data_dir: Path | None, say: Say) -> Splits:
    """Read ``imagenet/train/CLASS/*.JPEG`` and ``imagenet/val/CLASS/*.JPEG``, cut square and scaled.

    Raises:
        UsageError: a folder is missing, the classes are not a thousand or differ, or an image is damaged.
    """
    folder = folder_of(data_dir, "imagenet", ("train", "val"), IMAGENET_SOURCE)
    names = {
        part: sorted(p.name for p in (folder / part).iterdir() if p.is_dir()) for part in ("train", "val")
    }
    classes = int(settings.get("classes", CLASSES))
    if names["train"] != names["val"] or len(names["train"]) != classes:
        raise UsageError(
            f"'{folder}': {len(names['train']):,} classes in train and {len(names['val']):,} in val, expected"
            f" the same {classes:,}\nput images of val into a folder for each class, as those of train are"
        )
    splits = {}
    for part in ("train", "val"):
        paths = [
            (path, label)
            for label, name in enumerate(names[part])
            for path in sorted((folder / part / name).iterdir())
            if path.suffix.lower() in ENDINGS
        ]
        say(f"reading {len(paths):,} images of ImageNet's {part}")
        labels = np.array([label for _, label in paths], dtype=np.int64)
        splits[part] = {"pixels": pixels([path for path, _ in paths], settings), "labels": labels}
    return Splits(splits["train"], splits["val"], {})


def pixels(paths: Sequence[Path], settings: Table) -> np.ndarray:
    """Return images as bytes ``[N, 3, side, side]``.

    Raises:
        UsageError: an image is damaged.
    """
    side, report = int(settings["side"]), Report()
    out = np.empty((len(paths), 3, side, side), dtype=np.uint8)
    for number, path in enumerate(paths):
        out[number] = load(path, side, 3, report)
    return out


def vqa2(settings: Table, data_dir: Path | None, say: Say) -> Splits:
    """Read VQA v2: questions are fetched, COCO's images lie in ``vqa2/train2014`` and ``vqa2/val2014``.

    An answer is the most frequent one of ten; questions whose answer is none of the 3,129 most frequent in
    training are left out of training, and are wrong in the test.

    Raises:
        UsageError: a file or image is missing, damaged or altered.
    """
    folder = folder_of(data_dir, "vqa2", PICTURES.values(), VQA_SOURCE)
    questions = {
        split: read_questions(*(obtain(downloads()[name], data_dir, say) for name in names))
        for split, names in FILES.items()
    }
    counted = Counter(question["answer"] for question in questions["train"])
    answers = [answer for answer, _ in sorted(counted.items(), key=lambda item: (-item[1], item[0]))][
        :ANSWERS
    ]
    number = {answer: i for i, answer in enumerate(answers)}
    words = ("<pad>", "<unknown>", *sorted({w for q in questions["train"] for w in q["words"]}))
    ids = {word: i for i, word in enumerate(words)}
    splits: dict[str, Split] = {}
    for split, asked in questions.items():
        kept = [q for q in asked if split == "test" or q["answer"] in number]
        shown = sorted({q["image"] for q in kept})
        place = {image: i for i, image in enumerate(shown)}
        say(f"reading {len(shown):,} images of {PICTURES[split]}")
        middle = PICTURES[split]
        texts = np.zeros((len(kept), int(settings["length"])), dtype=np.int16)
        for row, question in zip(texts, kept, strict=True):
            known = [ids.get(word, 1) for word in question["words"][: len(row)]]
            row[: len(known)] = known
        splits[split] = {
            "pixels": pixels(
                [folder / middle / f"COCO_{middle}_{image:012}.jpg" for image in shown], settings
            ),
            "which": np.array([place[q["image"]] for q in kept]),
            "texts": texts,
            "labels": np.array([number.get(q["answer"], UNKNOWN) for q in kept]),
        }
    return Splits(splits["train"], splits["test"], {}, words)


def read_questions(questions: Path, annotations: Path) -> list[Question]:
    """Return the questions of one split with their answers.

    Raises:
        UsageError: a file is damaged, or a question has no answer.
    """
    asked, given = (read_json(path) for path in (questions, annotations))
    try:
        answers = {int(row["question_id"]): row["multiple_choice_answer"] for row in given["annotations"]}
        return [
            {
                "image": int(row["image_id"]),
                "words": row["question"].lower().replace("?", " ?").replace(",", " ,").split(),
                "answer": answers[int(row["question_id"])],
            }
            for row in asked["questions"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"'{questions}' and '{annotations}' do not belong together: {error!r}\nfetch both again"
        ) from None


def read_json(path: Path) -> Mapping[str, list[Mapping[str, str]]]:
    """Return the one JSON file in a zip archive.

    Raises:
        UsageError: the archive is damaged or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".json"))
            if archive.getinfo(name).file_size > MOST_JSON:
                raise ValueError(f"{name} unpacks to more than {MOST_JSON:,} bytes")
            parsed: Mapping[str, list[Mapping[str, str]]] = json.loads(archive.read(name))
        return parsed
    except (OSError, ValueError, zipfile.BadZipFile, RecursionError) as error:
        raise UsageError(f"'{path}' cannot be read: {error}\nfetch it again: rm '{path}'") from None


MOST_JSON = 1 << 30
"""Most bytes that questions or annotations may unpack to."""
IMAGENET_SOURCE = "ILSVRC 2012 from image-net.org, train/CLASS/ and val/CLASS/, under its own terms"
VQA_SOURCE = "COCO 2014 images (train2014.zip and val2014.zip of cocodataset.org), unpacked there"


class FolderTask(VisionTask):
    """A task on images in a folder; they are known by their names and sizes, which the record states."""

    tables = Path(__file__).with_name("pictures.toml")
    absent_tiers = {
        "paper": "how the papers' supernets at 224 pixels were trained is not published; small has 64 pixels"
    }

    def prepare(self, tier: Tier, cache: Path, data_dir: Path | None, progress: Say) -> Prepared:
        """Prepare the data of a tier, or find it prepared.

        Raises:
            UsageError: a folder or file is missing, damaged or altered.
        """
        name, parts, source = PLACES[self.name]
        folder = folder_of(data_dir, name, parts, source)
        digests = {f"{name}/{part}": listing(folder / part) for part in parts}
        if name == "vqa2":
            for file in (downloads()[file] for files in FILES.values() for file in files):
                digests[f"papers/{file.file}"] = pinned_digest(obtain(file, data_dir, progress))
        raw = RawData(
            name=f"{self.name}-{tier.name}",
            reader=lambda: self.read(tier.data, data_dir, progress),
            declared=digests,
            settings=tier.data,
            reproducible=True,
            cache=cache,
            say=progress,
        )
        prepared = images.prepare(raw, tier.workload["source_len"], Path(__file__))
        return Prepared(
            prepared.folder, prepared.sealed, digests, prepared.source_vocab, prepared.target_vocab
        )

    def declared(self, tier: Tier) -> dict[str, str]:
        """Return the name of the data; the digests of a user's copy are in the record."""
        return {self.name: PLACES[self.name][2]}


PLACES: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "vision-imagenet64": ("imagenet", ("train", "val"), IMAGENET_SOURCE),
    "vl-vqa2": ("vqa2", tuple(PICTURES.values()), VQA_SOURCE),
}
"""Task -> its folder below ``--data-dir``, the folders in it, and where they come from."""

imagenet64 = FolderTask("vision-imagenet64", imagenet)
vqa = FolderTask("vl-vqa2", vqa2)
