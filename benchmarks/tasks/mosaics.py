"""Generated visual questions about mosaics: small pictures in a square grid.

The pictures are those of Fashion-MNIST (Xiao et al. 2017), or digits for a quick check. Four templates are
equally frequent. Within a template the answer is drawn first and the mosaic second, so that a question
reveals as little as possible of its answer. No picture of one split is in a mosaic of another.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.api import UsageError
from benchmarks.tasks.datasets import Say, datasets, locate
from benchmarks.tasks.images import Split, Splits, digits
from benchmarks.tasks.tiers import Table

Array = NDArray[Any]

CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FASHION = {"train": ("train", 60_000), "test": ("t10k", 10_000)}
"""Split -> first part of its files' names, and its number of images."""
SIDE = 28
"""Side of a picture in pixels."""
MOST = 3
"""Largest count that is asked for."""
ANSWERS = ("yes", "no", *map(str, range(MOST + 1)))
"""Answers before the classes, which are answers too."""
LENGTH = 7
"""Words of the longest question."""


def mosaics(settings: Table, data_dir: Path | None, say: Say) -> Splits:
    """Draw mosaics and questions about them.

    Args:
        settings: ``tiles``: ``fashion_mnist`` or ``digits``; ``grid``: pictures of a side; ``train``,
            ``valid`` and ``test``: questions, each about a mosaic of its own; ``tiles_valid``: pictures of
            train that validation mosaics are made of; ``length`` of a question in words; ``seed``.

    Raises:
        UsageError: a file is missing or altered, the grid or the questions are too small.
    """
    grid, length = int(settings["grid"]), int(settings["length"])
    if grid < 2 or length < LENGTH:
        raise UsageError(
            f"mosaics of {grid}x{grid} and questions of {length} words: at least 2x2 and {LENGTH}"
        )
    if settings["tiles"] == "digits":
        tiles = digits({"seed": settings["seed"], "test": 360}, data_dir, say)
        pools, digests, classes = {"train": tiles.train, "test": tiles.test}, tiles.digests, DIGITS
    else:
        pools, digests = fashion(data_dir, say)
        classes = CLOTHES
    words = vocabulary(classes, grid)
    number = {word: i for i, word in enumerate(words)}
    rng = np.random.default_rng(settings["seed"])
    order = rng.permutation(len(pools["train"]["labels"]))
    held = np.sort(order[: settings["tiles_valid"]])
    kept = np.sort(order[settings["tiles_valid"] :])
    pool_of = {split: pools["test" if split == "test" else "train"] for split in ("train", "valid", "test")}
    which = {"train": kept, "valid": held, "test": np.arange(len(pools["test"]["labels"]))}
    say(f"drawing questions about mosaics of {grid}x{grid} (seed {settings['seed']})")
    splits = {}
    for split, pool in pool_of.items():
        pictures = {name: values[which[split]] for name, values in pool.items()}
        splits[split] = draw_questions(pictures, classes, grid, int(settings[split]), length, number, rng)
    blind = question_only_accuracy(splits["train"], splits["test"])
    say(f"answered without looking: {100 * blind:.1f} % of the test questions")
    return Splits(splits["train"], splits["test"], digests, words, splits["valid"])


def fashion(data_dir: Path | None, say: Say) -> tuple[dict[str, Split], dict[str, str]]:
    """Read Fashion-MNIST from ``fashion_mnist/`` below ``data_dir``.

    Returns:
        The pictures of each split, and the checksums of the files.

    Raises:
        UsageError: a file is missing or altered.
    """
    data = datasets()["fashion_mnist"]
    files = locate(data, data_dir, say)
    pools: dict[str, Split] = {}
    for split, (start, count) in FASHION.items():
        pixels = _read_idx(files[f"{start}-images-idx3-ubyte.gz"], (count, SIDE, SIDE))
        labels = _read_idx(files[f"{start}-labels-idx1-ubyte.gz"], (count,))
        pools[split] = {"pixels": pixels[:, None], "labels": labels}
    return pools, data.digests()


def _read_idx(path: Path, shape: tuple[int, ...]) -> Array:
    """Read the bytes of a packed idx file; its header is two zeros, 8, the number of axes, their sizes."""
    header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
    size = len(header) + int(np.prod(shape))
    try:
        with gzip.open(path) as file:
            data = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"'{path}' is not packed by gzip: {error}") from None
    if not data.startswith(header) or len(data) != size:
        raise UsageError(f"'{path}' does not hold bytes of shape {shape}")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)


def vocabulary(classes: tuple[str, ...], grid: int) -> tuple[str, ...]:
    """Return the words of questions in the order of their ids; ``1``, ``2`` ... are places, row by row."""
    plain = ("is", "there", "a", "how", "many", "are", "what", "left", "of", "the", "like", "?")
    return ("<pad>", "<unknown>", *plain, *map(str, range(1, grid**2 + 1)), *classes)


def draw_questions(
    pool: Split,
    classes: tuple[str, ...],
    grid: int,
    count: int,
    length: int,
    number: Mapping[str, int],
    rng: np.random.Generator,
) -> Split:
    """Draw ``count`` questions, each about a mosaic of its own made of the pictures in ``pool``.

    Raises:
        UsageError: a class has no picture.
    """
    cells = grid**2
    by_class = [np.flatnonzero(pool["labels"] == label) for label in range(len(classes))]
    if not all(map(len, by_class)):
        raise UsageError("too few pictures: there is a class without one")
    texts = np.zeros((count, length), dtype=np.int16)
    shown = np.zeros((count, cells), dtype=np.int64)
    labels = np.zeros(count, dtype=np.uint8)
    templates = (ask_presence, ask_count, ask_left_of, ask_alike)
    for row, kind in enumerate(rng.integers(len(templates), size=count)):
        question, answer, seen = templates[kind](classes, grid, rng)
        ids = [number[word] for word in question.split()]
        texts[row, : len(ids)], labels[row], shown[row] = ids, answer, seen
    # A picture of its class is drawn anew for every place.
    sizes = np.array([len(pictures) for pictures in by_class])
    chosen = (rng.random(shown.shape) * sizes[shown]).astype(np.int64)
    ragged = np.concatenate(by_class)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    which = ragged[starts[shown] + chosen]
    return {"pixels": pool["pixels"], "which": which.astype(np.int32), "texts": texts, "labels": labels}


Asked = tuple[str, int, Array]
"""A question, the number of its answer, and the class at each place."""


def _draw_others(excluded: int, count: int, classes: int, rng: np.random.Generator) -> Array:
    """Draw ``count`` class numbers, none of which is ``excluded``."""
    drawn: Array = (excluded + 1 + rng.integers(classes - 1, size=count)) % classes
    return drawn


def ask_presence(classes: tuple[str, ...], grid: int, rng: np.random.Generator) -> Asked:
    """Ask for the presence of a class, which is shown once or twice if the answer is yes."""
    asked, answer = int(rng.integers(len(classes))), int(rng.integers(2))
    seen = _draw_others(asked, grid**2, len(classes), rng)
    if not answer:
        seen[rng.permutation(grid**2)[: rng.integers(1, 3)]] = asked
    return f"is there a {classes[asked]} ?", answer, seen


def ask_count(classes: tuple[str, ...], grid: int, rng: np.random.Generator) -> Asked:
    """Ask for the number of pictures of a class."""
    asked, count = int(rng.integers(len(classes))), int(rng.integers(MOST + 1))
    seen = _draw_others(asked, grid**2, len(classes), rng)
    seen[rng.permutation(grid**2)[:count]] = asked
    return f"how many {classes[asked]} are there ?", ANSWERS.index(str(count)), seen


def ask_left_of(classes: tuple[str, ...], grid: int, rng: np.random.Generator) -> Asked:
    """Ask for the class to the left of the only picture of another class."""
    answer = int(rng.integers(len(classes)))
    asked = int(_draw_others(answer, 1, len(classes), rng)[0])
    seen = _draw_others(asked, grid**2, len(classes), rng)
    place = int(rng.integers(grid)) * grid + int(rng.integers(1, grid))
    seen[place], seen[place - 1] = asked, answer
    return f"what is left of the {classes[asked]} ?", len(ANSWERS) + answer, seen


def ask_alike(classes: tuple[str, ...], grid: int, rng: np.random.Generator) -> Asked:
    """Ask for the equality of the classes at two places."""
    first, second = sorted(rng.permutation(grid**2)[:2].tolist())
    answer = int(rng.integers(2))
    seen: Array = rng.integers(len(classes), size=grid**2)
    seen[second] = seen[first] if not answer else _draw_others(int(seen[first]), 1, len(classes), rng)[0]
    return f"is {first + 1} like {second + 1} ?", answer, seen


def question_only_accuracy(train: Split, test: Split) -> float:
    """Return the accuracy on ``test``, from 0 to 1, of each question's most frequent answer in ``train``.

    A question that does not occur in ``train`` counts as answered wrong.
    """
    tallies: dict[bytes, Array] = {}
    most = int(max(train["labels"].max(), test["labels"].max())) + 1
    for text, label in zip(train["texts"], train["labels"], strict=True):
        tallies.setdefault(text.tobytes(), np.zeros(most, dtype=np.int64))[label] += 1
    best = {text: int(tally.argmax()) for text, tally in tallies.items()}
    right = [best.get(t.tobytes()) == int(a) for t, a in zip(test["texts"], test["labels"], strict=True)]
    return float(np.mean(right))
