"""Image classification on the images in a user's folder, one folder a class."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonView
from benchmarks.suggestions import suggest
from benchmarks.tasks import Prepared, images
from benchmarks.tasks.datasets import Say, sha256
from benchmarks.tasks.folders import settings
from benchmarks.tasks.folders.lines import Report
from benchmarks.tasks.folders.splits import TEST, TRAIN, VALID, drawn_size
from benchmarks.tasks.prepared_data import RawData, read_info, write_info
from benchmarks.tasks.tiers import Tier
from benchmarks.tasks.vision import VisionTask

if TYPE_CHECKING:
    from benchmarks.tasks.folders.sources import FolderTask

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
MODES = {1: "L", 3: "RGB"}
"""Channels -> mode of Pillow."""
SHUFFLED = 0
"""Seed of the order of images, whose files come class by class."""
MOST_PIXELS = 1 << 26
"""Pixels of an image above which it is refused: it may be a bomb."""
BEGINNINGS: Mapping[str, tuple[str, ...]] = {"train": TRAIN, "valid": VALID, "test": TEST}


class FolderImages(VisionTask):
    """A task of classifying the images of a user's folder.

    Args:
        declared: the declaration of the folder.
    """

    def __init__(self, declared: FolderTask) -> None:
        super().__init__(declared.name, self._read)
        self.declaration = declared

    def tiers(self) -> tuple[str, ...]:
        """Return the names of its tiers, smallest first."""
        return settings.tiers_of(settings.IMAGES)

    def tier(self, tier: str, device: str) -> Tier:
        """Return a tier of ours with the user's settings on top.

        Raises:
            UsageError: the task has no such tier.
        """
        declared = self.declaration
        chosen = settings.tier(settings.IMAGES, self.name, tier, device, declared.tiers, declared.options)
        for key in ("image", "channels"):
            if chosen.model.get(key) != chosen.workload.get(key):
                raise UsageError(
                    f"{self.name} {tier}: model.{key} is {chosen.model.get(key)}, workload.{key} is"
                    f" {chosen.workload.get(key)}: set both alike in task.toml"
                )
        return chosen

    def _read(self, data: Any, _data_dir: Path | None, _say: Say) -> images.Splits:
        raise ValueError(f"{self.name}: read by prepare")

    def prepare(self, tier: Tier, cache: Path, data_dir: Path | None, progress: Say) -> Prepared:
        """Prepare the folder's images, or find them prepared: equal files are read once.

        Raises:
            UsageError: an image is damaged, the classes of the splits differ, or a split has too few images.
        """
        report, folder = Report(), self.declaration.place()
        splits = class_files(folder, report)
        side, channels = int(tier.model["image"]), int(tier.model["channels"])
        tokens = int(tier.workload["source_len"])
        batch = settings.items_of_batch(self.name, tier, tokens, "image")

        def read_enough() -> images.Splits:
            read_splits = read(splits, tier.data, side, channels, report, progress)
            require_images(self.name, read_splits, batch)
            return read_splits

        raw = RawData(
            name=f"{self.name}-{tier.name}",
            reader=read_enough,
            declared={},
            settings=tier.data,
            reproducible=True,
            cache=cache,
            say=progress,
        )
        files = [p for classes in splits.values() for paths in classes.values() for p in paths]
        code = [Path(images.__file__), *sorted(Path(__file__).parent.glob("*.py"))]
        inputs = {
            "side": side,
            "channels": channels,
            "tokens": tokens,
            "batch": batch,
            "files": [f"{path.relative_to(folder).as_posix()} {sha256(path)}" for path in files],
            "code": [sha256(path) for path in code],
        }

        def write_open(read_splits: images.Splits, fresh: Path) -> None:
            images.write_open(read_splits, fresh, tier.data, tokens)
            info = read_info(fresh)
            classes = sorted(splits["train"])
            write_info(fresh, {**info, "classes": len(classes), "notes": report.notes(), "names": classes})

        opened, sealed, info = raw.folders(
            inputs,
            lambda _: {},
            lambda read_splits, fresh: images.write_split(fresh / "test.npz", read_splits.test),
            write_open,
        )
        return Prepared(opened, sealed, info["digests"], len(info["words"]), info["classes"])

    def notes(self, prepared: Prepared) -> list[str]:
        """Return how the folder was read and what was left out, for the plan."""
        notes: list[str] = read_info(prepared.folder)["notes"]
        return notes


def class_files(folder: Path, report: Report) -> dict[str, dict[str, list[Path]]]:
    """Return split -> class -> image files, of ``train/cat/1.png`` or, without splits, ``cat/1.png``.

    Raises:
        UsageError: there are fewer than two classes, an empty one, or one that training lacks.
    """
    top = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    splits: dict[str, dict[str, list[Path]]] = {}
    for split, beginnings in BEGINNINGS.items():
        for path in top:
            inner = [p for p in path.iterdir() if p.is_dir()]
            if path.name.lower() in beginnings and inner:
                if split in splits:
                    raise UsageError(f"'{folder}' has two folders for {split}, such as '{path.name}'")
                splits[split] = _classes(path, report)
    if "train" not in splits:
        if splits:
            raise UsageError(f"'{folder}' has {', '.join(splits)} and no folder 'train'")
        splits["train"] = _classes(folder, report)
    train = splits["train"]
    if len(train) < 2:
        raise UsageError(
            f"'{folder}' has {len(train)} classes of images: one folder a class, at least two\n"
            "such as train/cat/1.png and train/dog/1.png, or cat/1.png and dog/1.png"
        )
    for split, classes in splits.items():
        for name in classes:
            if name not in train:
                raise UsageError(
                    f"'{folder}': class '{name}' of {split} is not in train. {suggest(name, train)}\n"
                    f"train has {', '.join(sorted(train)[:12])}"
                )
        for name in sorted(set(train) - set(classes)):
            report.count(f"classes without an image in {split}", name)
    return splits


def _classes(folder: Path, report: Report) -> dict[str, list[Path]]:
    classes: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."):
        files = []
        for file in sorted(path.rglob("*")):
            if file.is_file() and file.suffix.lower() in ENDINGS and file.name[0] != ".":
                files.append(file)
            elif file.is_file():
                report.count("files that are no images left out", file.name)
        if not files:
            raise UsageError(
                f"'{path}' has no image ({', '.join(ENDINGS)})\nfill the class, or remove its folder"
            )
        classes[path.name] = files
    return classes


def read(
    splits: Mapping[str, Mapping[str, list[Path]]],
    data: JsonView,
    side: int,
    channels: int,
    report: Report,
    say: Say,
) -> images.Splits:
    """Read the images of all splits, cut to squares and scaled to ``side`` pixels.

    Raises:
        UsageError: an image is damaged or too large.
    """
    names = sorted(splits["train"])
    arrays: dict[str, dict[str, NDArray[Any]]] = {}
    for split, classes in splits.items():
        say(f"reading {sum(map(len, classes.values())):,} images of {split}")
        files = [(path, names.index(name)) for name, paths in classes.items() for path in paths]
        # The first part of a split, on which methods may judge, must have all classes.
        order = np.random.default_rng(SHUFFLED).permutation(len(files))
        files = [files[i] for i in order.tolist()]
        arrays[split] = {
            "pixels": np.stack([load(path, side, channels, report) for path, _ in files]),
            "labels": np.array([label for _, label in files], dtype=np.int64),
        }
    seed = int(data.get("seed", 1))
    for split, shift in (("test", 0), ("valid", 1)):
        if split not in arrays:
            train = arrays["train"]
            most = drawn_size(len(train["labels"]), int(data[split]))
            drawn, kept = draw(train["pixels"], train["labels"], most, seed + shift)
            arrays[split], arrays["train"] = (
                {key: values[index] for key, values in train.items()} for index in (drawn, kept)
            )
            report.facts.append(f"{split}: {len(drawn):,} images drawn out of train (seed {seed})")
    _report_duplicates(arrays, report)
    sizes = ", ".join(f"{split} {len(arrays[split]['labels']):,}" for split in ("train", "valid", "test"))
    report.facts.insert(0, f"images: {sizes}; {len(names)} classes, {channels} x {side} x {side}")
    digests = {
        split: hashlib.sha256(part["pixels"].tobytes() + part["labels"].tobytes()).hexdigest()
        for split, part in arrays.items()
    }
    digests["classes"] = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return images.Splits(arrays["train"], arrays["test"], digests, (), arrays["valid"])


def require_images(task: str, splits: images.Splits, batch: int) -> None:
    """Refuse splits that are too small to train and to judge a network.

    Args:
        task: name of the task.
        splits: images of all splits.
        batch: images of one training batch.

    Raises:
        UsageError: validation or test data are empty, or training data fill no batch.
    """
    assert splits.valid is not None
    counts = {
        name: len(part["labels"])
        for name, part in (("train", splits.train), ("valid", splits.valid), ("test", splits.test))
    }
    held = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    for name in ("test", "valid"):
        if not counts[name]:
            raise UsageError(
                f"{task}: no image can be drawn for {name} ({held}): a class gives one up if it has two that"
                f" differ\nadd images to the classes, or a folder {name}/ with a folder for each class"
            )
    if counts["train"] < batch:
        raise UsageError(
            f"{task}: train has {counts['train']:,} images ({held}), and one training batch takes {batch:,}\n"
            "add images, or make batches smaller (recipe.batch_tokens in task.toml)"
        )


def load(path: Path, side: int, channels: int, report: Report) -> NDArray[np.uint8]:
    """Return the pixels ``[channels, side, side]`` of an image file, its middle square scaled.

    Raises:
        UsageError: the file is damaged or has more than ``MOST_PIXELS``.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    raise UsageError(f"'{path}' has {opened.width} x {opened.height} pixels: at most 2^26")
                image = ImageOps.exif_transpose(opened)
                if image.size != (side, side):
                    what = f"images cut to their middle square and scaled to {side} pixels"
                    report.count(what, f"{path.name} of {image.width} x {image.height}")
                if getattr(opened, "n_frames", 1) > 1:
                    report.count("images of which the first frame alone is read", path.name)
                if image.mode in ("P", "LA", "PA", "RGBA"):
                    # Transparency shows white, as viewers have it.
                    layer = image.convert("RGBA")
                    image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
                image = ImageOps.fit(image.convert(MODES[channels]), (side, side), Image.Resampling.BOX)
    except UsageError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds
        raise UsageError(f"'{path}' is no readable image: {error}\nreplace it, or remove it") from None
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def draw(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], most: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of ``most`` images, of every class its share, and of the rest."""
    rng = np.random.default_rng(seed)
    drawn: list[int] = []
    for label in np.unique(labels).tolist():
        members = rng.permutation(np.flatnonzero(labels == label))
        share = min(len(members) - 1, max(1, round(most * len(members) / len(labels))))
        keys: dict[bytes, list[int]] = {}
        for index in members.tolist():
            keys.setdefault(pixels[index].tobytes(), []).append(index)
        unique = [together[0] for together in keys.values() if len(together) == 1]
        drawn += unique[:share]
    chosen = np.array(sorted(drawn), dtype=np.int64)
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)


def _report_duplicates(arrays: Mapping[str, Mapping[str, NDArray[Any]]], report: Report) -> None:
    """Add facts about images that stand in training and in another split, or under two labels."""
    seen: dict[bytes, int] = {}
    for image, label in zip(arrays["train"]["pixels"], arrays["train"]["labels"].tolist(), strict=True):
        key = image.tobytes()
        if seen.setdefault(key, label) != label:
            report.count("images of train that stand under another class, too", f"class number {label}")
    for split in ("valid", "test"):
        known = sum(image.tobytes() in seen for image in arrays[split]["pixels"])
        if known:
            total = len(arrays[split]["labels"])
            report.facts.append(f"duplicates: {known:,} of {total:,} images of {split} stand in train, too")


def make(declared: FolderTask) -> FolderImages:
    """Return the task of a folder."""
    return FolderImages(declared)
