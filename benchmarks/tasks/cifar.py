"""CIFAR-10 (Krizhevsky 2009): its declared, losslessly packed files, and its official binary version."""

from __future__ import annotations

import hashlib
import lzma
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.api import UsageError
from benchmarks.tasks.datasets import Say, datasets, locate
from benchmarks.tasks.images import Splits
from benchmarks.tasks.tiers import Table

SIDE, CHANNELS, FILE = 32, 3, 10_000
"""Side in pixels, channels, and images of a file in both layouts."""
SHA256 = {
    "train": "72083841cd0fa633f09b24c0833cf6d6a1809caff400317117334e0aa6b0ed46",
    "test": "f1bbb931260cda782c84c1948c82d910e2c193cb1d56756293f445027090946b",
}
"""SHA-256 of each split's records (label, then red, green and blue planes) sorted by their bytes, so that it
does not depend on the layout."""

Bytes = NDArray[np.uint8]


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
        if digests[f"cifar10/{split}"] != SHA256[split]:
            raise UsageError(
                f"the {split} images in '{place}' are not CIFAR-10's: the records in the order of their bytes"
                f" have sha256 {digests[f'cifar10/{split}']}, expected {SHA256[split]}\n"
                f"put the official binary version there (data_batch_1.bin ... test_batch.bin)"
            )
        shape = -1, CHANNELS, SIDE, SIDE
        splits[split] = {"pixels": rows[:, 1:].reshape(shape), "labels": rows[:, 0].copy()}
    return Splits(splits["train"], splits["test"], digests)


def _read_official(paths: list[Path]) -> Bytes:
    """Read the records ``[N, 3073]`` of files of the official binary version."""
    width = 1 + CHANNELS * SIDE**2
    parts = []
    for path in paths:
        size = path.stat().st_size if path.is_file() else 0
        if size != FILE * width:
            raise UsageError(
                f"'{path}' is {'cut short or too long' if size else 'missing'}: expected"
                f" {FILE * width:,} bytes, found {size:,}\nunpack CIFAR-10's binary version again there"
            )
        parts.append(np.fromfile(path, dtype=np.uint8).reshape(FILE, width))
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
    size = CHANNELS * FILE * SIDE**2
    try:
        data = lzma.LZMADecompressor().decompress(path.read_bytes(), size + 1)
    except (OSError, lzma.LZMAError) as error:
        raise UsageError(f"'{path}' is not packed by xz: {error}") from None
    if len(data) != size:
        raise UsageError(f"'{path}' unpacks to {len(data):,} bytes or more, not {size:,}")
    planes = np.frombuffer(data, np.uint8).reshape(-1, SIDE, SIDE)
    # Images are restored side by side, pixel by pixel. Predictions need 16 bits; residuals wrap at 8.
    residuals = np.ascontiguousarray(planes.transpose(1, 2, 0)).astype(np.int16)
    out = np.zeros_like(residuals)
    for y in range(SIDE):
        for x in range(SIDE):
            if x and y:
                west, north = out[y, x - 1], out[y - 1, x]
                low, high = np.minimum(west, north), np.maximum(west, north)
                guess = np.clip(west + north - out[y - 1, x - 1], low, high)
            else:
                guess = out[y, x - 1] if x else out[y - 1, x] if y else np.int16(0)
            out[y, x] = (residuals[y, x] + guess) & 255
    green, red, blue = out.reshape(SIDE, SIDE, CHANNELS, -1).transpose(2, 3, 0, 1)
    images: Bytes = np.stack([(red + green) & 255, green, (blue + green) & 255], 1).astype(np.uint8)
    return images
