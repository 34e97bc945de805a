"""Questions about mosaics, small pictures in a square: what is where, how often, and whether two are alike.

Visual questions without a download of their own: the pictures are those of Fashion-MNIST (Xiao et al. 2017),
or of digits for a quick check. Four templates, each as often as the others; within a template the answer is
drawn first and the mosaic made to fit, so that a question says as little as possible about its answer. No
picture of one split is in a mosaic of another.
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

Array = NDArray[Any]

CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FASHION = {"train": ("train", 60_000), "test": ("t10k", 10_000)}
"""Split -> how its files begin, and its images."""
SIDE = 28
MOST = 3
"""A count is asked up to this number."""
ANSWERS = ("yes", "no", *map(str, range(MOST + 1)))
"""Before the classes, which are answers too."""
LENGTH = 7
"""Words of the longest question."""


def mosaics(settings: Mapping[str, Any], data_dir: Path | None, say: Say) -> Splits:
    """Mosaics and questions about them.

    Args:
        settings: ``tiles``: ``fashion_mnist`` or ``digits``; ``grid``: pictures of a side; ``train``,
            ``valid`` and ``test``: questions, each about a mosaic of its own; ``tiles_valid``: pictures of
            train that validation mosaics are made of; ``length`` of a question in words; ``seed``.

    Raises:
        UsageError: a file is missing or not what it should be, or questions do not fit.
    """
    grid, length = int(settings["grid"]), int(settings["length"])
    if grid < 2 or length < LENGTH:
        raise UsageError(
            f"mosaics of {grid}x{grid} and questions of {length} words: at least 2x2 and {LENGTH}"
        )
    if settings["tiles"] == "digits":
        found = digits({"seed": settings["seed"], "test": 360}, data_dir, say)
        pools, digests, classes = {"train": found.train, "test": found.test}, found.digests, DIGITS
    else:
        pools, digests = fashion(data_dir, say)
        classes = CLOTHES
    words = vocabulary(classes, grid)
    number = {word: i for i, word in enumerate(words)}
    rng = np.random.default_rng(settings["seed"])
    order = rng.permutation(len(pools["train"]["labels"]))
    held = np.sort(order[: settings["tiles_valid"]])
    kept = np.sort(order[settings["tiles_valid"] :])
    tiles = {split: pools["test" if split == "test" else "train"] for split in ("train", "valid", "test")}
    which = {"train": kept, "valid": held, "test": np.arange(len(pools["test"]["labels"]))}
    say(f"drawing questions about mosaics of {grid}x{grid} (seed {settings['seed']})")
    made = {}
    for split, pool in tiles.items():
        some = {name: values[which[split]] for name, values in pool.items()}
        made[split] = questions(some, classes, grid, int(settings[split]), length, number, rng)
    say(f"answered without looking: {100 * floor(made['train'], made['test']):.1f} % of the test questions")
    return Splits(made["train"], made["test"], digests, words, made["valid"])


def fashion(data_dir: Path | None, say: Say) -> tuple[dict[str, Split], dict[str, str]]:
    """Fashion-MNIST from ``fashion_mnist/`` below ``data_dir``: pictures of each split, checksums of files.

    Raises:
        UsageError: a file is missing or not what it should be.
    """
    data = datasets()["fashion_mnist"]
    files = locate(data, data_dir, say)
    found: dict[str, Split] = {}
    for split, (start, count) in FASHION.items():
        pixels = _idx(files[f"{start}-images-idx3-ubyte.gz"], (count, SIDE, SIDE))
        labels = _idx(files[f"{start}-labels-idx1-ubyte.gz"], (count,))
        found[split] = {"pixels": pixels[:, None], "labels": labels}
    return found, data.digests()


def _idx(path: Path, shape: tuple[int, ...]) -> Array:
    """The bytes of a packed idx file, behind its header: two zeros, 8, the number of axes, their sizes."""
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
    """Words of questions in the order of their ids; ``1``, ``2`` and so on are places, row by row."""
    plain = ("is", "there", "a", "how", "many", "are", "what", "left", "of", "the", "like", "?")
    return ("<pad>", "<unknown>", *plain, *map(str, range(1, grid**2 + 1)), *classes)


def questions(
    pool: Split,
    classes: tuple[str, ...],
    grid: int,
    count: int,
    length: int,
    number: Mapping[str, int],
    rng: np.random.Generator,
) -> Split:
    """``count`` questions about as many mosaics of the pictures in ``pool``."""
    cells = grid**2
    by_class = [np.flatnonzero(pool["labels"] == label) for label in range(len(classes))]
    if not all(map(len, by_class)):
        raise UsageError("too few pictures: there is a class without one")
    texts = np.zeros((count, length), dtype=np.int16)
    shown = np.zeros((count, cells), dtype=np.int64)
    labels = np.zeros(count, dtype=np.uint8)
    templates = (presence, amount, left_of, alike)
    for row, kind in enumerate(rng.integers(len(templates), size=count)):
        question, answer, seen = templates[kind](classes, grid, rng)
        ids = [number[word] for word in question.split()]
        texts[row, : len(ids)], labels[row], shown[row] = ids, answer, seen
    # One picture of each class that is shown, drawn anew for every place.
    sizes = np.array([len(found) for found in by_class])
    chosen = (rng.random(shown.shape) * sizes[shown]).astype(np.int64)
    ragged = np.concatenate(by_class)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    which = ragged[starts[shown] + chosen]
    return {"pixels": pool["pixels"], "which": which.astype(np.int32), "texts": texts, "labels": labels}


Asked = tuple[str, int, Array]
"""A question, the number of its answer, and the class of each place."""


def _without(some: int, count: int, classes: int, rng: np.random.Generator) -> Array:
    """``count`` classes, none of which is ``some``."""
    found: Array = (some + 1 + rng.integers(classes - 1, size=count)) % classes
    return found


def presence(classes: tuple[str, ...], grid: int, rng: np.random.Generator) -> Asked:
    """Whether there is one of a class; where there is, once or twice."""
    asked, answer = int(rng.integers(len(classes))), int(rng.integers(2))
    seen = _without(asked, grid**2, len(classes), rng)
    if not answer:
        seen[rng.permutation(grid**2)[: rng.integers(1, 3)]] = asked
    return f"is there a {classes[asked]} ?", answer, seen


def amount(classes: tuple[str, ...], grid: int, rng: np.random.Generator) -> Asked:
    """How many there are of a class."""
    asked, there = int(rng.integers(len(classes))), int(rng.integers(MOST + 1))
    seen = _without(asked, grid**2, len(classes), rng)
    seen[rng.permutation(grid**2)[:there]] = asked
    return f"how many {classes[asked]} are there ?", ANSWERS.index(str(there)), seen


def left_of(classes: tuple[str, ...], grid: int, rng: np.random.Generator) -> Asked:
    """What is left of the only one of a class."""
    answer = int(rng.integers(len(classes)))
    asked = int(_without(answer, 1, len(classes), rng)[0])
    seen = _without(asked, grid**2, len(classes), rng)
    place = int(rng.integers(grid)) * grid + int(rng.integers(1, grid))
    seen[place], seen[place - 1] = asked, answer
    return f"what is left of the {classes[asked]} ?", len(ANSWERS) + answer, seen


def alike(classes: tuple[str, ...], grid: int, rng: np.random.Generator) -> Asked:
    """Whether two places show the same class."""
    first, second = sorted(rng.permutation(grid**2)[:2].tolist())
    answer = int(rng.integers(2))
    seen: Array = rng.integers(len(classes), size=grid**2)
    seen[second] = seen[first] if not answer else _without(int(seen[first]), 1, len(classes), rng)[0]
    return f"is {first + 1} like {second + 1} ?", answer, seen


def floor(train: Split, test: Split) -> float:
    """Share of ``test`` answered right by the most frequent answer in ``train`` to the very question: what
    the questions alone are worth. A question never asked before counts as answered wrong."""
    tallies: dict[bytes, Array] = {}
    most = int(max(train["labels"].max(), test["labels"].max())) + 1
    for text, label in zip(train["texts"], train["labels"], strict=True):
        tallies.setdefault(text.tobytes(), np.zeros(most, dtype=np.int64))[label] += 1
    best = {text: int(tally.argmax()) for text, tally in tallies.items()}
    right = [best.get(t.tobytes()) == int(a) for t, a in zip(test["texts"], test["labels"], strict=True)]
    return float(np.mean(right))
