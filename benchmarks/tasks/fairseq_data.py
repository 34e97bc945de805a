"""Export of a translation task's prepared data as a fairseq ``data-bin``, with the same token ids."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.api import UsageError
from benchmarks.tasks import Prepared, Task, corpus
from benchmarks.tasks.mt import MTTask
from supernet.interop.fairseq.databin import write_dictionary, write_sentences

SPLITS = ("train", "valid")


def require_translation(task: Task | MTTask) -> MTTask:
    """Return the task, checked to be a translation task of this project.

    Raises:
        UsageError: it is another one, whose prepared data has no sentence pairs.
    """
    if not isinstance(task, MTTask):
        raise UsageError(
            f"task '{task.name}' does not translate: only sentence pairs make a data-bin; for tasks that do,"
            " type supernet-bench list tasks"
        )
    return task


def export(prepared: Prepared, languages: tuple[str, str], folder: Path) -> list[str]:
    """Write dictionaries, training and validation data, and the test sets as ``test``, ``test1``...

    ``fairseq-train`` and ``fairseq-generate`` read the folder, which appears complete or not at all.

    Returns:
        The names of the test sets, in order.

    Raises:
        ValueError: this process has no access to the test split.
    """
    if prepared.sealed is None:
        raise ValueError("the test split is sealed off from this process")
    tests = corpus.read_tests(prepared.sealed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write(prepared, tests, languages, fresh)
        fresh.chmod(0o755)
        os.replace(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return list(tests)


def _write(
    prepared: Prepared,
    tests: dict[str, tuple[list[str], list[str]]],
    languages: tuple[str, str],
    folder: Path,
) -> None:
    subwords = corpus.load_vocabulary(prepared.folder)
    vocab = subwords.get_piece_size()
    pair = "-".join(languages)

    def write(split: str, side: int, sentences: Iterable[Sequence[int]]) -> None:
        write_sentences(folder / f"{split}.{pair}.{languages[side]}", sentences, vocab)

    for split in SPLITS:
        pairs = corpus.read_pairs(prepared.folder / f"{split}.npz")
        for side, (flat, length) in enumerate(
            ((pairs.source, pairs.source_length), (pairs.target, pairs.target_length))
        ):
            write(split, side, [part.tolist() for part in np.split(flat, np.cumsum(length)[:-1])])
            if split == "train":
                symbols = [subwords.id_to_piece(i) for i in range(vocab)]
                counts = np.bincount(flat, minlength=vocab).tolist()
                write_dictionary(folder / f"dict.{languages[side]}.txt", symbols, counts)
    for number, lines in enumerate(tests.values()):
        for side in (0, 1):
            write(f"test{number or ''}", side, subwords.encode(lines[side], out_type=int))
