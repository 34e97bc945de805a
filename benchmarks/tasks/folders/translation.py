"""Translation between any two languages, of the parallel text in a user's folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.api import UsageError
from benchmarks.stats import bleu
from benchmarks.stats.bleu import digest
from benchmarks.stats.quantities import METRICS
from benchmarks.stats.task_units import TaskUnits
from benchmarks.tasks import Prepared, corpus
from benchmarks.tasks.datasets import Say, sha256
from benchmarks.tasks.folders import languages, pairs, settings
from benchmarks.tasks.folders.lines import Report
from benchmarks.tasks.mt import MTTask
from benchmarks.tasks.prepared_data import RawData, read_info, write_info
from benchmarks.tasks.tiers import Tier

if TYPE_CHECKING:
    from benchmarks.tasks.folders.sources import FolderTask

_MOST = re.compile(r"<= (\d+)")
_LETTERS = re.compile(r"required_chars\D*\d+\D+(\d+)")
ROOM = 256
"""Subwords beside a text's single characters, where a tier's vocabulary is smaller than those."""


class FolderTranslation(MTTask):
    """A translation task on a user's parallel text.

    Args:
        declared: the declaration of the folder.
    """

    units = TaskUnits({name: METRICS[name] for name in ("bleu", "chrf")})

    def __init__(self, declared: FolderTask) -> None:
        super().__init__(declared.name, self._read)
        self.declaration = declared
        options = declared.options
        self.languages = options["source"], options["target"]
        self.tokenizer = languages.tokenizer_of(options["target"], options.get("tokenizer"))

    def tiers(self) -> tuple[str, ...]:
        """Return the names of its tiers, smallest first."""
        return settings.tiers_of(settings.TEXT)

    def tier(self, tier: str, device: str) -> Tier:
        """Return a tier of ours with the user's settings on top.

        Raises:
            UsageError: the task has no such tier.
        """
        data = {**self.declaration.options, "tokenizer": self.tokenizer}
        return settings.tier(settings.TEXT, self.name, tier, device, self.declaration.tiers, data)

    def _how(self, data: Any) -> pairs.Reading:
        return pairs.Reading(
            source=self.languages[0],
            target=self.languages[1],
            splits=data.get("splits", {}),
            columns=tuple(data.get("columns", ())),
            pretokenized=data.get("pretokenized", "none"),
            seed=int(data.get("seed", 1)),
            valid=int(data["valid"]),
            test=int(data["test"]),
        )

    def _read(self, data: Any, _data_dir: Path | None, _say: Say) -> corpus.Corpus:
        return pairs.read(self.declaration.place(), self._how(data), self._report)

    def prepare(self, tier: Tier, cache: Path, data_dir: Path | None, progress: Say) -> Prepared:
        """Prepare the folder's pairs, or find them prepared: equal files are read once.

        Raises:
            UsageError: a file is damaged, or its sides do not belong together; names file and line.
        """
        self._report = Report()
        folder, how = self.declaration.place(), self._how(tier.data)
        files = pairs.pair_files(folder, how.source, how.target)
        raw = RawData(
            name=f"{self.name}-{tier.name}",
            reader=lambda: self._read(tier.data, data_dir, progress),
            declared={},
            settings=tier.data,
            reproducible=True,
            cache=cache,
            say=progress,
        )
        inputs = {
            "vocab": tier.vocab,
            "fixed": settings.names_vocabulary(self.declaration.tiers, tier.name),
            "positions": tier.model["max_positions"],
            "files": pairs.digests(folder, files),
            "code": [
                corpus.code_version(),
                *(sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))),
            ],
        }
        opened, sealed, info = raw.folders(
            inputs,
            lambda read: {},
            corpus.write_tests,
            lambda read, fresh: self._write_open(read, fresh, tier, progress),
        )
        return Prepared(opened, sealed, info["digests"], info["vocab"], info["vocab"])

    def notes(self, prepared: Prepared) -> list[str]:
        """Return how the folder was read and what was left out, for the plan."""
        notes: list[str] = read_info(prepared.folder)["notes"]
        return [*notes, f"scored by BLEU with sacreBLEU's tokenizer {self.tokenizer}, chrF and TER"]

    def _write_open(self, read: corpus.Corpus, folder: Path, tier: Tier, say: Say) -> None:
        """Write vocabulary, training and validation pairs; count sentences that are too long."""
        report = self._report
        say(f"{self.name}: learning {tier.vocab:,} joint subwords on {len(read.train):,} pairs")
        fixed = settings.names_vocabulary(self.declaration.tiers, tier.name)
        model = learn([side for pair in read.train for side in pair], tier.vocab, report, fixed=fixed)
        (folder / corpus.VOCABULARY).write_bytes(model)
        subwords = corpus.load_vocabulary(folder)
        most = min(int(tier.data["max_tokens"]), int(tier.model["max_positions"]))
        sizes: dict[str, int] = {}
        for split, split_pairs in (("train", read.train), ("valid", read.valid)):
            sides = [subwords.encode([pair[side] for pair in split_pairs]) for side in (0, 1)]
            kept = [i for i in range(len(split_pairs)) if max(len(sides[0][i]), len(sides[1][i])) < most]
            if len(kept) < len(split_pairs):
                short = set(kept)
                lost = next(i for i in range(len(split_pairs)) if i not in short)
                what = f"pairs of {split} of {most} subwords or more left out"
                report.count(what, f"pair {lost + 1}", len(split_pairs) - len(kept))
            if not kept:
                raise UsageError(
                    f"{self.name}: every pair of {split} has {most} subwords or more\n"
                    f"raise data.max_tokens and model.max_positions in [{tier.name}] of task.toml"
                )
            sizes[split] = len(kept)
            corpus.write_pairs(folder / f"{split}.npz", *([side[i] for i in kept] for side in sides))
        for name, test_pairs in read.tests.items():
            lengths = [len(ids) for ids in subwords.encode([pair[0] for pair in test_pairs])]
            if long := sum(length > int(tier.model["max_positions"]) - 1 for length in lengths):
                report.facts.append(f"{long:,} sources of {name} are too long for the network: they are cut")
        sizes |= {name: len(test_pairs) for name, test_pairs in read.tests.items()}
        report.facts.insert(0, "pairs: " + ", ".join(f"{name} {size:,}" for name, size in sizes.items()))
        splits = {"train": read.train, "valid": read.valid, **read.tests}
        digests = {name: digest(f"{a}\t{b}" for a, b in split) for name, split in splits.items()}
        digests["vocabulary"] = hashlib.sha256(model).hexdigest()
        info = {"vocab": subwords.get_piece_size(), "digests": digests, "notes": report.notes()}
        write_info(folder, info)

    def scorers(self, outputs: list[str], references: list[str]) -> dict[str, bleu.Scorer]:
        """Return BLEU with the target language's tokenizer, and chrF."""
        return {
            "bleu": bleu.bleu_scorer(outputs, references, tokenizer=self.tokenizer),
            "chrf": bleu.chrf_scorer(outputs, references),
        }


def learn(sentences: Sequence[str], vocab: int, report: Report, *, fixed: bool) -> bytes:
    """Learn ``vocab`` joint subwords, or as many as the text needs or gives unless they are ``fixed``.

    Raises:
        UsageError: the text does not give the fixed number.
    """
    for _ in range(3):
        try:
            return corpus.learn(sentences, vocab)
        except UsageError as error:
            if (most := _MOST.search(str(error))) is not None:
                if fixed:
                    raise UsageError(
                        f"vocab = {vocab}: the text gives at most {int(most[1]):,} subwords\n"
                        f"set vocab to {most[1]} or less in task.toml, or give more text"
                    ) from None
                report.facts.append(f"vocabulary: {int(most[1]):,} subwords, the text gives no {vocab:,}")
                vocab = int(most[1])
            elif (letters := _LETTERS.search(str(error))) is not None:
                if fixed:
                    raise UsageError(
                        f"vocab = {vocab}: single characters of the text need {int(letters[1]):,} subwords\n"
                        f"set vocab to {letters[1]} or more in task.toml"
                    ) from None
                needed = int(letters[1]) + ROOM
                report.facts.append(
                    f"vocabulary: {needed:,} subwords, the text has more single characters than {vocab:,}"
                )
                vocab = needed
            else:
                raise
    return corpus.learn(sentences, vocab)


def make(declared: FolderTask) -> FolderTranslation:
    """Return the task of a folder."""
    return FolderTranslation(declared)
