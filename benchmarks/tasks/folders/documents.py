"""Masked language modelling on the plain text in a user's folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonView
from benchmarks.tasks import Prepared, text
from benchmarks.tasks.bert import BertTask
from benchmarks.tasks.datasets import Say, sha256
from benchmarks.tasks.folders import settings
from benchmarks.tasks.folders.lines import PACKED, Report, read_lines, unpacked_name
from benchmarks.tasks.folders.splits import assign, draw_split
from benchmarks.tasks.prepared_data import RawData, read_info, write_info
from benchmarks.tasks.tiers import Tier

if TYPE_CHECKING:
    from benchmarks.tasks.folders.sources import FolderTask

_GIVEN = re.compile(r"give ([\d,]+) word pieces")
REQUIRED = 2
"""Fewest rows of tokens that a split needs."""


class FolderText(BertTask):
    """A task of masked language modelling on a user's plain text.

    Args:
        declared: the declaration of the folder.
    """

    def __init__(self, declared: FolderTask) -> None:
        super().__init__(declared.name, self._read)
        self.declaration = declared

    def tiers(self) -> tuple[str, ...]:
        """Return the names of its tiers, smallest first."""
        return settings.tiers_of(settings.MLM)

    def own_tier(self, tier: str, device: str) -> Tier:
        """Return a tier of ours with the user's settings on top, for networks that start untrained."""
        declared = self.declaration
        return settings.tier(settings.MLM, self.name, tier, device, declared.tiers, declared.options)

    def started(self, start: Path) -> FolderText:
        """Return a copy of the task with this ``start``."""
        task = FolderText(self.declaration)
        task.start = start
        return task

    def _read(self, data: Any, _data_dir: Path | None, _say: Say) -> text.Texts:
        return read(self.declaration.place(), data, self._report)

    def prepare(self, tier: Tier, cache: Path, data_dir: Path | None, progress: Say) -> Prepared:
        """Prepare the folder's text, or find it prepared: equal files are read once.

        Raises:
            UsageError: a file is no text, or there is too little of it.
        """
        self._report = Report()
        return super().prepare(tier, cache, data_dir, progress)

    def prepare_data(self, raw: RawData[text.Texts], tier: Tier) -> Prepared:
        """Return the prepared text.

        Raises:
            UsageError: the text is too small.
        """
        raw.reproducible = True  # the digests of the files stand for them
        pieces: Sequence[str] = ()
        if self.model_folder is not None:
            from supernet.interop.huggingface.warm_start import pieces as words

            pieces = words(self.model_folder)
        folder = self.declaration.place()
        code = [text.code_version(), *map(sha256, sorted(Path(__file__).parent.glob("*.py")))]
        inputs = {
            "vocab": tier.vocab,
            "fixed": settings.names_vocabulary(self.declaration.tiers, tier.name),
            "files": [f"{path.name} {sha256(path)}" for path in text_files(folder).values()],
            "pieces": list(pieces),
            "batch": int(tier.recipe["batch_tokens"]),
            "code": code,
        }
        opened, sealed, info = raw.folders(
            inputs,
            lambda texts: {},
            text.write_tests,
            lambda texts, fresh: self._write_open(texts, fresh, tier, raw.say, pieces),
        )
        return Prepared(opened, sealed, info["digests"], info["vocab"], info["vocab"])

    def notes(self, prepared: Prepared) -> list[str]:
        """Return how the folder was read and what was left out, for the plan."""
        notes: list[str] = read_info(prepared.folder)["notes"]
        return notes

    def _write_open(
        self, texts: text.Texts, folder: Path, tier: Tier, say: Say, pieces: Sequence[str]
    ) -> None:
        fixed = bool(pieces) or settings.names_vocabulary(self.declaration.tiers, tier.name)
        try:
            text.write_open(texts, folder, {}, tier.data, tier.vocab, say, pieces)
        except UsageError as error:
            fewer = _GIVEN.search(str(error))
            if fixed or fewer is None:
                raise
            size = int(fewer[1].replace(",", ""))
            self._report.facts.append(f"vocabulary: {size:,} word pieces, the text gives no {tier.vocab:,}")
            text.write_open(texts, folder, {}, tier.data, size, say, pieces)
        needed = read_info(folder)["vocab"]
        if needed > tier.vocab and not pieces:
            if fixed:
                raise UsageError(
                    f"vocab = {tier.vocab}: single characters of the text need {needed:,} word pieces\n"
                    f"set vocab to {needed} or more in task.toml"
                )
            self._report.facts.append(
                f"vocabulary: {needed:,} word pieces, the text has more single characters than {tier.vocab:,}"
            )
        info, length = read_info(folder), int(tier.data["length"])
        batch = settings.items_of_batch(self.name, tier, length, "row")
        for split, needed in (("train", max(REQUIRED, batch)), ("valid", REQUIRED)):
            with np.load(folder / f"{split}.npz", allow_pickle=False) as arrays:
                rows = (int(arrays["length"].sum()) + len(arrays["length"])) // (length - 1)
            if rows < needed:
                raise UsageError(
                    f"{self.name}: the text of {split} fills {rows} rows of {length} tokens, of {needed} that"
                    " are needed\n"
                    "give more text, shorter rows (data.length in task.toml), or smaller batches"
                    " (recipe.batch_tokens)"
                )
        write_info(folder, {**info, "notes": self._report.notes()})


def text_files(folder: Path) -> dict[str, Path]:
    """Return the text files of a folder by name without ``.txt`` and packing.

    Raises:
        UsageError: there is no such file, or one is there twice.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        plain = unpacked_name(path)
        if not (path.is_file() and plain.endswith(".txt")):
            continue
        name = plain.removesuffix(".txt")
        if name in files:
            raise UsageError(
                f"'{folder}' has '{name}' twice ({files[name].name}, {path.name}): move one away"
            )
        files[name] = path
    if not files:
        endings = ", ".join(f"*.txt{suffix}" for suffix in ("", *PACKED))
        raise UsageError(f"'{folder}' has no text: {endings}\nput train.txt there, or any text files")
    return files


def read(folder: Path, data: JsonView, report: Report) -> text.Texts:
    """Read, clean and split the documents of a folder.

    Raises:
        UsageError: a file is no UTF-8 text, or a split is empty; names file and line.
    """
    files = text_files(folder)
    chosen = assign(folder, data.get("splits", {}), files, report, several=True)
    how = data.get("documents")

    def documents(names: Sequence[str]) -> list[str]:
        return [document for name in names for document in read_documents(files[name], how, report)]

    pools = {"train": documents(chosen.train), "valid": documents(chosen.valid)}
    tests = {label: documents([name]) for label, name in chosen.tests.items()}
    filled = {"train": chosen.train, "valid": chosen.valid}
    filled |= {label: (name,) for label, name in chosen.tests.items()}
    for split, names in filled.items():
        if names and not {**pools, **tests}[split]:
            lines = sum(len(read_lines(files[name], Report())) for name in names)
            paths = ", ".join(files[name].name for name in names)
            raise UsageError(
                f"'{folder}': no document for {split} in {paths}: {lines:,} lines were read, none with text\n"
                f'put text there, or name other files: [splits] {split} = "NAME" in task.toml'
            )
    seed = int(data.get("seed", 1))
    if not tests:
        asked = chosen.drawn.get("test")
        tests["test"], pools["train"] = draw_split(
            folder, "test", pools["train"], asked, int(data["test"]), draw, seed, "documents"
        )
        report.facts.append(f"test: {len(tests['test']):,} documents drawn out of train (seed {seed})")
    if not chosen.valid:
        asked = chosen.drawn.get("valid")
        pools["valid"], pools["train"] = draw_split(
            folder, "valid", pools["train"], asked, int(data["valid"]), draw, seed + 1, "documents"
        )
        report.facts.append(f"valid: {len(pools['valid']):,} documents drawn out of train (seed {seed})")
    sizes = {**pools, **tests}
    train = {hashlib.sha256(document.encode()).digest() for document in pools["train"]}
    for split, kept in sizes.items():
        known = sum(hashlib.sha256(document.encode()).digest() in train for document in kept)
        if split != "train" and known:
            report.facts.append(
                f"duplicates: {known:,} of {len(kept):,} documents of {split} stand in train, too"
            )
    if repeated := len(pools["train"]) - len(train):
        report.facts.append(f"duplicates: {repeated:,} documents of train repeat an earlier one")
    report.facts.insert(0, "documents: " + ", ".join(f"{name} {len(kept):,}" for name, kept in sizes.items()))
    return text.Texts(pools["train"], pools["valid"], tests)


def read_documents(path: Path, how: str | None, report: Report) -> list[str]:
    """Read the documents of a file.

    Args:
        path: text, plain or packed.
        how: ``blank-lines`` between documents, ``lines`` (each line is a document) or ``files`` (the file is
            one document); None: blank lines if there are some, else lines.
        report: collects what is handled.
    """
    lines = read_lines(path, report)
    if how is None:
        how = "blank-lines" if "" in lines else "lines"
        what = "a blank line ends a document" if how == "blank-lines" else "each line is a document"
        report.facts.append(f"{path.name}: {what}")
    if how == "lines":
        return [line for line in lines if line]
    blocks = ["\n".join(block) for kind, block in groupby(lines, key=bool) if kind]
    return blocks if how == "blank-lines" else ["\n".join(blocks)] if blocks else []


def draw(documents: Sequence[str], most: int, seed: int) -> tuple[list[str], list[str]]:
    """Return ``most`` documents at random, and the rest; equal documents stay together."""
    places: dict[str, list[int]] = {}
    for index, document in enumerate(documents):
        places.setdefault(document, []).append(index)
    taken: set[int] = set()
    for index in np.random.default_rng(seed).permutation(len(documents)).tolist():
        together = places[documents[index]]
        if len(taken) >= most:
            break
        if index not in taken and len(taken) + len(together) <= most:
            taken.update(together)
    return [documents[i] for i in sorted(taken)], [d for i, d in enumerate(documents) if i not in taken]


def make(declared: FolderTask) -> FolderText:
    """Return the task of a folder."""
    return FolderText(declared)
