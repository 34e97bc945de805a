"""Images: readers of each dataset, a validation split out of training, a sealed test split."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.api import UsageError
from benchmarks.tasks import Prepared
from benchmarks.tasks.datasets import Say, datasets, locate, read_lines, sha256
from benchmarks.tasks.prepared_data import RawData, read_info, write_info
from benchmarks.tasks.tiers import Table

if TYPE_CHECKING:
    from supernet.data.images import Images

Split = Mapping[str, NDArray[Any]]
"""Arrays ``pixels`` ``[M, C, H, W]`` and ``labels`` ``[N]``.

Questions also have ``texts`` ``[N, L]`` and ``which`` ``[N]``, the number of each question's image, or
``[N, G * G]``, the numbers of the images in its mosaic, row by row."""


@dataclass(frozen=True)
class Splits:
    """Raw images of each split."""

    train: Split
    test: Split
    digests: Mapping[str, str]
    """Checksums of the data that was read, for provenance."""
    words: tuple[str, ...] = ()
    """Vocabulary of questions, in the order of the ids."""
    valid: Split | None = None
    """Validation split; None: it is taken from ``train``."""


def digits(settings: Table, data_dir: Path | None, say: Say) -> Splits:
    """Read the 1,797 handwritten digits of 8x8 pixels in scikit-learn (UCI, Alpaydin and Kaynak 1998).

    ``settings``: ``test`` images are drawn for the test split, by ``seed``.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = bunch.images.astype(np.uint8)[:, None] * 15  # 17 levels of grey
    labels = bunch.target.astype(np.uint8)
    order = np.random.default_rng(settings["seed"]).permutation(len(labels))
    test, train = order[: settings["test"]], order[settings["test"] :]
    digest = {"digits": hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()}
    splits = [{"pixels": pixels[index], "labels": labels[index]} for index in (train, test)]
    return Splits(splits[0], splits[1], digest)


def easy_vqa(settings: Table, data_dir: Path | None, say: Say) -> Splits:
    """Read easy-VQA (Zhou 2019): questions about one coloured shape in an image of 64x64, with 13 answers.

    ``settings.length`` is the most words of a question; longer ones are cut.

    Raises:
        UsageError: a file is missing or altered.
    """
    data = datasets()["easy_vqa"]
    files = locate(data, data_dir, say)
    answers = files["answers.txt"].read_text(encoding="utf-8").split()
    try:
        with np.load(files["images.npz"], allow_pickle=False) as arrays:
            images = {split: arrays[split].transpose(0, 3, 1, 2) for split in ("train", "test")}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"'{files['images.npz']}' does not hold images: {error}") from None
    rows = {}
    for split in images:
        lines = read_lines(files[f"{split}_questions.tsv.gz"], data.unpacked)[1:]
        rows[split] = [line.split("\t") for line in lines]
    asked = {split: [question.replace("?", " ?").split() for _, question, _ in rows[split]] for split in rows}
    words = ("<pad>", "<unknown>", *sorted({word for question in asked["train"] for word in question}))
    number = {word: i for i, word in enumerate(words)}
    splits = {}
    for split, questions in asked.items():
        texts = np.zeros((len(questions), settings["length"]), dtype=np.int16)
        for row, question in zip(texts, questions, strict=True):
            ids = [number.get(word, 1) for word in question[: settings["length"]]]
            row[: len(ids)] = ids
        splits[split] = {
            "pixels": np.ascontiguousarray(images[split]),
            "which": np.array([int(image) for image, _, _ in rows[split]]),
            "texts": texts,
            "labels": np.array([answers.index(answer) for _, _, answer in rows[split]]),
        }
    return Splits(splits["train"], splits["test"], data.digests(), words)


def prepare(raw: RawData[Splits], tokens: int, reader_file: Path) -> Prepared:
    """Prepare the images of one task and tier, or find them prepared.

    Args:
        raw: see ``write_open`` for its settings.
        tokens: tokens that one image is charged as.
        reader_file: the file with the code of ``raw.reader``.
    """
    folder, sealed, info = raw.folders(
        {"tokens": tokens, "code": [sha256(Path(__file__)), sha256(reader_file)]},
        _split_digests,
        lambda splits, fresh: write_split(fresh / "test.npz", splits.test),
        lambda splits, fresh: write_open(splits, fresh, raw.settings, tokens),
    )
    return Prepared(folder, sealed, info["digests"], len(info["words"]), info["classes"])


def _split_digests(splits: Splits) -> dict[str, str]:
    arrays = {"train": splits.train, "valid": splits.valid or {}, "test": splits.test}
    return {name: _digest(split) for name, split in arrays.items()}


def write_open(splits: Splits, folder: Path, settings: Table, tokens: int) -> None:
    """Write training and validation images, with their statistics in ``info.json``.

    Args:
        splits: raw images.
        folder: empty folder.
        settings: ``valid`` images are held out of training by ``seed``, unless validation is given; ``crop``
            and ``flip`` as in ``supernet.data.images.Images``.
        tokens: tokens that one image is charged as.
    """
    train, valid = splits.train, splits.valid
    if valid is None:
        # Held-out questions are about held-out images.
        order = np.random.default_rng(settings["seed"]).permutation(len(train["pixels"]))
        held, kept = order[: settings["valid"]], order[settings["valid"] :]
        train, valid = _subset(splits.train, kept), _subset(splits.train, held)
    write_split(folder / "train.npz", train)
    write_split(folder / "valid.npz", valid)
    pixels = train["pixels"]
    info = {
        "mean": np.round(pixels.mean((0, 2, 3), dtype=np.float64), 4).tolist(),
        "deviation": np.round(pixels.std((0, 2, 3), dtype=np.float64), 4).tolist(),
        "crop": settings["crop"],
        "flip": settings["flip"],
        "tokens": tokens,
        "classes": int(splits.train["labels"].max()) + 1,
        "words": list(splits.words),
        "digests": dict(splits.digests),
    }
    write_info(folder, info)


def _digest(split: Split) -> str:
    digest = hashlib.sha256()
    for name, values in sorted(split.items()):
        digest.update(f"{name} {values.dtype} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _subset(split: Split, images: NDArray[np.int64]) -> Split:
    """Return the images of these numbers, with the questions about them."""
    if "which" not in split:
        return {name: values[images] for name, values in split.items()}
    place = np.full(len(split["pixels"]), -1)
    place[images] = np.arange(len(images))
    asked = np.flatnonzero(place[split["which"]] >= 0)
    questions = {name: split[name][asked] for name in ("labels", "texts")}
    return questions | {"pixels": split["pixels"][images], "which": place[split["which"][asked]]}


def write_split(path: Path, split: Split) -> None:
    """Write the arrays of one split."""
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **split)


def read_images(folder: Path, path: Path) -> Images:
    """Read the images of a file, normalised as ``info.json`` of the prepared folder states.

    Args:
        folder: prepared folder.
        path: ``train.npz`` or ``valid.npz`` there, or ``test.npz`` of the sealed split.
    """
    import torch

    from supernet.data.images import Images

    info = read_info(folder)
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    texts, which = (tensors[name].long() if name in tensors else None for name in ("texts", "which"))
    return Images(
        tensors["pixels"],
        tensors["labels"].long(),
        tuple(info["mean"]),
        tuple(info["deviation"]),
        info["tokens"],
        info["crop"],
        info["flip"],
        texts,
        which,
    )
