"""Images: readers of each dataset, a validation split out of training, a sealed test split."""

from __future__ import annotations

import hashlib
import io
import lzma
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.api import UsageError
from benchmarks.tasks import Prepared
from benchmarks.tasks.datasets import Say, datasets, locate, read_lines, sha256
from benchmarks.tasks.prepare import RawData, read_info, write_info
from benchmarks.tasks.tiers import Table

if TYPE_CHECKING:
    from supernet.data.images import Images

CIFAR_SIDE, CIFAR_CHANNELS, CIFAR_FILE = 32, 3, 10_000
"""Side in pixels, channels, and images of a file in both layouts."""
CIFAR_SHA256 = {
    "train": "72083841cd0fa633f09b24c0833cf6d6a1809caff400317117334e0aa6b0ed46",
    "test": "f1bbb931260cda782c84c1948c82d910e2c193cb1d56756293f445027090946b",
}
"""SHA-256 of each split's records (label, then red, green and blue planes) sorted by their bytes, so that it
does not depend on the layout."""

Bytes = NDArray[np.uint8]
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


def cifar10(settings: Table, data_dir: Path | None, say: Say) -> Splits:
    """Read CIFAR-10 (Krizhevsky 2009) from ``cifar10/`` below ``data_dir``.

    Either the declared files or the official binary version will do: ``data_batch_1.bin`` to
    ``data_batch_5.bin`` and ``test_batch.bin``.

    Raises:
        UsageError: a file is missing, cut short or altered.
    """
    data = datasets()["cifar10"]
    official = data_dir is not None and (data_dir / data.name / "data_batch_1.bin").is_file()
    say("reading CIFAR-10")
    if official and data_dir is not None:
        folder = data_dir / data.name
        names = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
        records = {split: _read_official([folder / n for n in files]) for split, files in names.items()}
        place = folder
    else:
        files = locate(data, data_dir, say)
        records = _read_compact(files)
        place = next(iter(files.values())).parent
    splits, digests = {}, {}
    for split, unsorted in records.items():
        # The two layouts have the images in different orders.
        keys = [record.tobytes() for record in unsorted]
        rows = unsorted[sorted(range(len(unsorted)), key=keys.__getitem__)]
        digests[f"cifar10/{split}"] = hashlib.sha256(rows.tobytes()).hexdigest()
        if digests[f"cifar10/{split}"] != CIFAR_SHA256[split]:
            raise UsageError(
                f"the {split} images in '{place}' are not CIFAR-10's: the records in the order of their bytes"
                f" have sha256 {digests[f'cifar10/{split}']}, expected {CIFAR_SHA256[split]}\n"
                f"put the official binary version there (data_batch_1.bin ... test_batch.bin)"
            )
        shape = -1, CIFAR_CHANNELS, CIFAR_SIDE, CIFAR_SIDE
        splits[split] = {"pixels": rows[:, 1:].reshape(shape), "labels": rows[:, 0].copy()}
    return Splits(splits["train"], splits["test"], digests)


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


def _read_official(paths: list[Path]) -> Bytes:
    """Read the records ``[N, 3073]`` of files of the official binary version."""
    width = 1 + CIFAR_CHANNELS * CIFAR_SIDE**2
    parts = []
    for path in paths:
        size = path.stat().st_size if path.is_file() else 0
        if size != CIFAR_FILE * width:
            raise UsageError(
                f"'{path}' is {'cut short or too long' if size else 'missing'}: expected"
                f" {CIFAR_FILE * width:,} bytes, found {size:,}\nunpack CIFAR-10's binary version again there"
            )
        parts.append(np.fromfile(path, dtype=np.uint8).reshape(CIFAR_FILE, width))
    return np.concatenate(parts)


def _read_compact(files: Mapping[str, Path]) -> dict[str, Bytes]:
    """Read the records of each split from losslessly packed planes and a file of labels."""
    try:
        with np.load(files["labels.npz"], allow_pickle=False) as arrays:
            labels = {split: arrays[split].astype(np.uint8) for split in ("train", "test")}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"'{files['labels.npz']}' does not hold labels: {error}") from None
    packed = {split: sorted(f for f in files if f.startswith(split)) for split in labels}
    records = {}
    with ThreadPoolExecutor() as pool:
        jobs = {n: pool.submit(decode_median_residuals, files[n]) for names in packed.values() for n in names}
    for split, names in packed.items():
        images = np.concatenate([jobs[name].result() for name in names])
        records[split] = np.hstack([labels[split][:, None], images.reshape(len(images), -1)])
    return records


def decode_median_residuals(path: Path) -> Bytes:
    """Decode images ``[N, 3, 32, 32]`` from xz-packed residuals of the median edge predictor of LOCO-I.

    A residual is a pixel minus the median of its left neighbour, its upper neighbour and their sum less the
    diagonal neighbour (Weinberger et al. 2000). The planes are G, R - G and B - G.

    Raises:
        UsageError: the file is not packed by xz, or unpacks to another size.
    """
    size = CIFAR_CHANNELS * CIFAR_FILE * CIFAR_SIDE**2
    try:
        data = lzma.LZMADecompressor().decompress(path.read_bytes(), size + 1)
    except (OSError, lzma.LZMAError) as error:
        raise UsageError(f"'{path}' is not packed by xz: {error}") from None
    if len(data) != size:
        raise UsageError(f"'{path}' unpacks to {len(data):,} bytes or more, not {size:,}")
    planes = np.frombuffer(data, np.uint8).reshape(-1, CIFAR_SIDE, CIFAR_SIDE)
    # Images are restored side by side, pixel by pixel. Predictions need 16 bits; residuals wrap at 8.
    residuals = np.ascontiguousarray(planes.transpose(1, 2, 0)).astype(np.int16)
    out = np.zeros_like(residuals)
    for y in range(CIFAR_SIDE):
        for x in range(CIFAR_SIDE):
            if x and y:
                west, north = out[y, x - 1], out[y - 1, x]
                low, high = np.minimum(west, north), np.maximum(west, north)
                guess = np.clip(west + north - out[y - 1, x - 1], low, high)
            else:
                guess = out[y, x - 1] if x else out[y - 1, x] if y else np.int16(0)
            out[y, x] = (residuals[y, x] + guess) & 255
    green, red, blue = out.reshape(CIFAR_SIDE, CIFAR_SIDE, CIFAR_CHANNELS, -1).transpose(2, 3, 0, 1)
    images: Bytes = np.stack([(red + green) & 255, green, (blue + green) & 255], 1).astype(np.uint8)
    return images


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
        lambda splits, fresh: _write(fresh / "test.npz", splits.test),
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
    _write(folder / "train.npz", train)
    _write(folder / "valid.npz", valid)
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


def _write(path: Path, split: Split) -> None:
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
