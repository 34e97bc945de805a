"""From published images to prepared arrays: a validation split out of training, a sealed test split.

The cache is addressed by all that went into it: checksums of the data, settings and this code.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.api import UsageError
from benchmarks.tasks import Prepared
from benchmarks.tasks.datasets import Say, build, datasets, locate, read_lines, sha256

if TYPE_CHECKING:
    from supernet.data.images import Images

INFO = "info.json"
CIFAR_SIDE, CIFAR_CHANNELS, CIFAR_FILE = 32, 3, 10_000
"""Pixels of a side; channels; images of a file, in both layouts."""
CIFAR_SHA256 = {
    "train": "72083841cd0fa633f09b24c0833cf6d6a1809caff400317117334e0aa6b0ed46",
    "test": "f1bbb931260cda782c84c1948c82d910e2c193cb1d56756293f445027090946b",
}
"""Of each split's records (label, then red, green and blue planes) in the order of their bytes: the same
whichever layout they came in."""

Bytes = NDArray[np.uint8]
Split = Mapping[str, NDArray[Any]]
"""``pixels`` ``[N, C, H, W]`` and ``labels`` ``[N]``; of questions also their ``texts`` ``[N, L]`` and
``which`` ``[N]`` of the images each is about, or ``[N, G * G]``: of mosaics of images, row by row."""


@dataclass(frozen=True)
class Splits:
    """Raw images; validation is taken from ``train``, unless it is given. ``digests`` are of what was read,
    for provenance; ``words`` are known in questions, in the order of their ids."""

    train: Split
    test: Split
    digests: Mapping[str, str]
    words: tuple[str, ...] = ()
    valid: Split | None = None


def digits(settings: Mapping[str, Any], data_dir: Path | None, say: Say) -> Splits:
    """The 1,797 handwritten digits of 8x8 pixels that scikit-learn brings along (UCI, Alpaydin and Kaynak
    1998); ``settings``: ``seed``, and ``test`` images, drawn by it."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = found.images.astype(np.uint8)[:, None] * 15  # 17 levels of grey
    labels = found.target.astype(np.uint8)
    order = np.random.default_rng(settings["seed"]).permutation(len(labels))
    test, train = order[: settings["test"]], order[settings["test"] :]
    digest = {"digits": hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()}
    splits = [{"pixels": pixels[some], "labels": labels[some]} for some in (train, test)]
    return Splits(splits[0], splits[1], digest)


def cifar10(settings: Mapping[str, Any], data_dir: Path | None, say: Say) -> Splits:
    """CIFAR-10 (Krizhevsky 2009) from ``cifar10/`` below ``data_dir``: the declared files, or the official
    binary version, ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``.

    Raises:
        UsageError: a file is missing, cut short or altered.
    """
    data = datasets()["cifar10"]
    official = data_dir is not None and (data_dir / data.name / "data_batch_1.bin").is_file()
    say("reading CIFAR-10")
    if official and data_dir is not None:
        folder = data_dir / data.name
        names = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
        records = {split: _official([folder / n for n in files]) for split, files in names.items()}
        place = folder
    else:
        files = locate(data, data_dir, say)
        records = _compact(files)
        place = next(iter(files.values())).parent
    splits, digests = {}, {}
    for split, found in records.items():
        # Sorted by their bytes: the two layouts have the images in different orders.
        found = found[sorted(range(len(found)), key=[one.tobytes() for one in found].__getitem__)]
        digests[f"cifar10/{split}"] = hashlib.sha256(found.tobytes()).hexdigest()
        if digests[f"cifar10/{split}"] != CIFAR_SHA256[split]:
            raise UsageError(
                f"the {split} images in '{place}' are not CIFAR-10's: the records in the order of their bytes"
                f" have sha256 {digests[f'cifar10/{split}']}, expected {CIFAR_SHA256[split]}\n"
                f"put the official binary version there (data_batch_1.bin ... test_batch.bin)"
            )
        shape = -1, CIFAR_CHANNELS, CIFAR_SIDE, CIFAR_SIDE
        splits[split] = {"pixels": found[:, 1:].reshape(shape), "labels": found[:, 0].copy()}
    return Splits(splits["train"], splits["test"], digests)


def easy_vqa(settings: Mapping[str, Any], data_dir: Path | None, say: Say) -> Splits:
    """Easy-VQA (Zhou 2019): questions about one coloured shape in an image of 64x64 pixels, with 13 answers;
    ``settings``: ``length`` of a question in words, at most.

    Raises:
        UsageError: a file is missing or not what it should be.
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


def _official(paths: list[Path]) -> Bytes:
    """Records ``[N, 3073]`` of files of the official binary version."""
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


def _compact(files: Mapping[str, Path]) -> dict[str, Bytes]:
    """Records of each split from losslessly packed planes and a file of labels."""
    try:
        with np.load(files["labels.npz"], allow_pickle=False) as arrays:
            labels = {split: arrays[split].astype(np.uint8) for split in ("train", "test")}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"'{files['labels.npz']}' does not hold labels: {error}") from None
    packed = {split: sorted(f for f in files if f.startswith(split)) for split in labels}
    found = {}
    with ThreadPoolExecutor() as pool:
        jobs = {n: pool.submit(unpredicted, files[n]) for names in packed.values() for n in names}
    for split, names in packed.items():
        images = np.concatenate([jobs[name].result() for name in names])
        found[split] = np.hstack([labels[split][:, None], images.reshape(len(images), -1)])
    return found


def unpredicted(path: Path) -> Bytes:
    """Images ``[N, 3, 32, 32]`` of a file that holds, by xz, how far each pixel is from the median of its
    left and upper neighbour and of their sum without the diagonal one, on planes G, R - G and B - G.

    Raises:
        UsageError: it is no such file, or of another size.
    """
    size = CIFAR_CHANNELS * CIFAR_FILE * CIFAR_SIDE**2
    try:
        data = lzma.LZMADecompressor().decompress(path.read_bytes(), size + 1)
    except (OSError, lzma.LZMAError) as error:
        raise UsageError(f"'{path}' is not packed by xz: {error}") from None
    if len(data) != size:
        raise UsageError(f"'{path}' unpacks to {len(data):,} bytes or more, not {size:,}")
    apart = np.frombuffer(data, np.uint8).reshape(-1, CIFAR_SIDE, CIFAR_SIDE)
    # A pixel of all images lies together: they are restored side by side. Bytes wrap around as they should,
    # predictions are made in 16 bits.
    apart = np.ascontiguousarray(apart.transpose(1, 2, 0)).astype(np.int16)
    out = np.zeros_like(apart)
    for y in range(CIFAR_SIDE):
        for x in range(CIFAR_SIDE):
            if x and y:
                left, up = out[y, x - 1], out[y - 1, x]
                guess = np.clip(left + up - out[y - 1, x - 1], np.minimum(left, up), np.maximum(left, up))
            else:
                guess = out[y, x - 1] if x else out[y - 1, x] if y else np.int16(0)
            out[y, x] = (apart[y, x] + guess) & 255
    green, red, blue = out.reshape(CIFAR_SIDE, CIFAR_SIDE, CIFAR_CHANNELS, -1).transpose(2, 3, 0, 1)
    images: Bytes = np.stack([(red + green) & 255, green, (blue + green) & 255], 1).astype(np.uint8)
    return images


def prepare(
    name: str,
    read: Callable[[], Splits],
    *,
    declared: Mapping[str, str],
    settings: Mapping[str, Any],
    tokens: int,
    maker: Path,
    ours: bool,
    cache: Path,
    say: Say,
) -> Prepared:
    """Make or find the prepared images of one task and tier.

    Training and validation images go to ``cache/prepared``, the test split to ``cache/sealed``; each
    appears whole or not at all.

    Args:
        name: of task and tier, for people who look into the cache.
        read: gives the raw images; one of ours is called only when there is something to make.
        declared: checksums of the published files, where it has some.
        settings: of the data.
        tokens: of one image.
        maker: the file with the code of ``read``.
        ours: what ``read`` gives follows from all the others; otherwise images tell data apart.
    """
    made_from = {"data": dict(declared), "settings": dict(settings), "tokens": tokens}
    made_from["code"] = [sha256(Path(__file__)), sha256(maker)]
    read_once: list[Splits] = []

    def splits() -> Splits:
        if not read_once:
            read_once.append(read())
        return read_once[0]

    if not ours:
        every = {"train": splits().train, "valid": splits().valid or {}, "test": splits().test}
        made_from["read"] = {name: _digest(split) for name, split in every.items()}
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
    folder, sealed = cache / "prepared" / f"{name}-{key}", cache / "sealed" / f"{name}-{key}"
    build(sealed, lambda fresh: _write(fresh / "test.npz", splits().test))
    if build(folder, lambda fresh: write_open(splits(), fresh, settings, tokens)):
        say(f"{name}: prepared in {folder}")
    info = json.loads((folder / INFO).read_text())
    return Prepared(folder, sealed, info["digests"], len(info["words"]), info["classes"])


def write_open(splits: Splits, folder: Path, settings: Mapping[str, Any], tokens: int) -> None:
    """Training and validation images, and what is known of them."""
    train, valid = splits.train, splits.valid
    if valid is None:
        # Held-out questions are about held-out images.
        order = np.random.default_rng(settings["seed"]).permutation(len(train["pixels"]))
        held, kept = order[: settings["valid"]], order[settings["valid"] :]
        train, valid = _of(splits.train, kept), _of(splits.train, held)
    _write(folder / "train.npz", train)
    _write(folder / "valid.npz", valid)
    pixels = train["pixels"]
    about = {
        "mean": np.round(pixels.mean((0, 2, 3), dtype=np.float64), 4).tolist(),
        "deviation": np.round(pixels.std((0, 2, 3), dtype=np.float64), 4).tolist(),
        "crop": settings["crop"],
        "flip": settings["flip"],
        "tokens": tokens,
        "classes": int(splits.train["labels"].max()) + 1,
        "words": list(splits.words),
        "digests": dict(splits.digests),
    }
    (folder / INFO).write_text(json.dumps(about, indent=1) + "\n")


def _digest(split: Split) -> str:
    found = hashlib.sha256()
    for name, values in sorted(split.items()):
        found.update(f"{name} {values.dtype} {values.shape}\n".encode())
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def _of(split: Split, images: NDArray[np.int64]) -> Split:
    """What is about the images of these numbers."""
    if "which" not in split:
        return {name: values[images] for name, values in split.items()}
    place = np.full(len(split["pixels"]), -1)
    place[images] = np.arange(len(images))
    asked = np.flatnonzero(place[split["which"]] >= 0)
    found = {name: split[name][asked] for name in ("labels", "texts")}
    return found | {"pixels": split["pixels"][images], "which": place[split["which"][asked]]}


def _write(path: Path, split: Split) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **split)


def read_images(folder: Path, path: Path) -> Images:
    """The images of a file, shown as ``folder``, which is prepared, says.

    Args:
        folder: with ``info.json``.
        path: ``train.npz`` or ``valid.npz`` there, or ``test.npz`` of the sealed split.
    """
    import torch

    from supernet.data.images import Images

    info = json.loads((folder / INFO).read_text())
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
        found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    texts, which = (found[name].long() if name in found else None for name in ("texts", "which"))
    return Images(
        found["pixels"],
        found["labels"].long(),
        tuple(info["mean"]),
        tuple(info["deviation"]),
        info["tokens"],
        info["crop"],
        info["flip"],
        texts,
        which,
    )
