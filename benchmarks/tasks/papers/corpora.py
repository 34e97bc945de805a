"""Readers of the papers' parallel corpora, each from its pinned files, prepared as in its paper.

WMT'14 has the training data and the test set of that year's task; HAT's En-De archive, prepared by others,
has a later News Commentary. IWSLT'14 follows fairseq's preparation, which HAT uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tasks.corpus import Corpus, Pair
from benchmarks.tasks.datasets import Say
from benchmarks.tasks.papers.archives import (
    member_lines,
    memory_pairs,
    packed_lines,
    paired,
    segments,
)
from benchmarks.tasks.papers.downloads import downloads, obtain, pinned_digest
from benchmarks.tasks.papers.preparation import Preparation
from benchmarks.tasks.tiers import Table

IWSLT_TESTS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
"""The five sets that are one test set."""
IWSLT_VALID = 23
"""One training pair of so many validates."""
FRENCH_VALID = 1333
"""One training pair of so many validates, in HAT's preparation of En-Fr."""
TAGS = ("<url>", "<talkid>", "<keywords>")
"""Lines of IWSLT's training files that are no text; titles and descriptions are text inside tags."""


@dataclass(frozen=True)
class Source:
    """Place of one corpus: a declared file, and its members if it is an archive.

    Attributes:
        download: name of the declared file.
        members: the two members, source first; None: a packed TSV file.
        columns: columns of the source and target language in the TSV file.
        memory: True if the packed file is a translation memory (TMX), not TSV.
    """

    download: str
    members: Pair | None = None
    columns: tuple[int, int] = (1, 0)
    memory: bool = False


@dataclass(frozen=True)
class PaperCorpus:
    """Corpora of one task, source language first, and how its paper prepares them."""

    languages: Pair
    sources: Sequence[Source]
    preparation: Preparation
    valid: Pair | None
    """Members of ``wmt-dev`` that validate; None: training pairs do."""
    test: Pair = ("", "")
    """Members of ``wmt-dev`` that test; their name is the set's."""
    every: int = 0
    """One training pair of so many validates."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all declared files."""
        names = [source.download for source in self.sources]
        return (*dict.fromkeys(names), *(("wmt-dev",) if self.test[0] else ()))


def _wmt(*stems: tuple[str, str], pair: str, source: str, target: str) -> tuple[Source, ...]:
    return tuple(Source(name, (f"{stem}.{pair}.{source}", f"{stem}.{pair}.{target}")) for name, stem in stems)


WMT = Preparation(normalised=True, aggressive=True, lower=False, longest=250)
CORPORA = {
    "wmt14-en-de": PaperCorpus(
        ("en", "de"),
        _wmt(
            ("europarl-v7", "training/europarl-v7"),
            ("commoncrawl", "commoncrawl"),
            ("news-commentary-v9", "training/news-commentary-v9"),
            pair="de-en", source="en", target="de",
        ),
        WMT,
        ("dev/newstest2013.en", "dev/newstest2013.de"),
        ("dev/newstest2014-deen-ref.en.sgm", "dev/newstest2014-deen-src.de.sgm"),
    ),
    "wmt14-en-fr": PaperCorpus(
        ("en", "fr"),
        (
            *_wmt(
                ("europarl-v7", "training/europarl-v7"),
                ("commoncrawl", "commoncrawl"),
                ("un", "un/undoc.2000"),
                ("news-commentary-v9", "training/news-commentary-v9"),
                pair="fr-en", source="en", target="fr",
            ),
            Source("giga-fren", ("giga-fren.release2.fixed.en.gz", "giga-fren.release2.fixed.fr.gz")),
        ),
        WMT,
        None,
        ("dev/newstest2014-fren-ref.en.sgm", "dev/newstest2014-fren-src.fr.sgm"),
        FRENCH_VALID,
    ),
    "wmt19-en-de": PaperCorpus(
        ("en", "de"),
        (
            Source("europarl-v9-de-en"),
            *_wmt(("commoncrawl", "commoncrawl"), pair="de-en", source="en", target="de"),
            Source("news-commentary-v14-de-en"),
            Source("wikititles-v1-de-en"),
            Source("rapid2019-de-en", ("rapid2019.de-en.en", "rapid2019.de-en.de")),
            Source("paracrawl-v3-en-de", memory=True),
        ),
        WMT,
        ("dev/newstest2017-ende-src.en.sgm", "dev/newstest2017-ende-ref.de.sgm"),
        ("dev/newstest2018-ende-src.en.sgm", "dev/newstest2018-ende-ref.de.sgm"),
    ),
    "iwslt14-de-en": PaperCorpus(
        ("de", "en"),
        (Source("iwslt14-de-en", ("de-en/train.tags.de-en.de", "de-en/train.tags.de-en.en")),),
        Preparation(normalised=False, aggressive=False, lower=True, longest=175),
        None,
        every=IWSLT_VALID,
    ),
}  # fmt: skip


def read(name: str, settings: Table, data_dir: Path | None, say: Say) -> Corpus:
    """Read one task's corpora: training and validation pairs as tokens, test pairs as raw text.

    Args:
        name: one of ``CORPORA``.
        settings: ``most_pairs``, if given, is the number of training pairs read from each corpus.
        data_dir: folder with ``papers/``; None: files are fetched.
        say: shows a line to the user.

    Raises:
        UsageError: a file is missing, damaged or altered, or its two sides do not belong together.
    """
    corpus = CORPORA[name]
    files = {file: obtain(downloads()[file], data_dir, say) for file in corpus.files}
    most = int(settings.get("most_pairs", 0)) or None
    train: list[Pair] = []
    for source in corpus.sources:
        say(f"{name}: reading and tokenising {source.download}")
        kept = corpus.preparation.training(
            _pairs(source, corpus.languages, files[source.download], most), corpus.languages
        )
        train += kept
    valid: list[Pair]
    if corpus.valid is not None:
        raw = _test_pairs(files["wmt-dev"], corpus.valid)
        valid = [_tokens(corpus, pair) for pair in raw]
    else:
        valid = train[corpus.every - 1 :: corpus.every]
        del train[corpus.every - 1 :: corpus.every]
    return Corpus(train, valid, dict(_tests(corpus, files)))


def digests(name: str, data_dir: Path | None, say: Say) -> dict[str, str]:
    """Return the checksum of every file of a task; one that nobody published one of is obtained first."""
    files = [downloads()[file] for file in CORPORA[name].files]
    return {f"papers/{d.file}": d.sha256 or pinned_digest(obtain(d, data_dir, say)) for d in files}


def _pairs(source: Source, languages: Pair, path: Path, most: int | None) -> Iterator[Pair]:
    """Yield the raw pairs of one corpus, at most ``most``."""
    both: Iterator[Pair]
    if source.memory:
        both = memory_pairs(packed_lines(path), *languages)
    elif source.members is None:
        rows = (line.split("\t") for line in packed_lines(path))
        first, second = source.columns
        both = ((row[first], row[second]) for row in rows if len(row) > max(first, second))
    else:
        sides = [member_lines(path, member) for member in source.members]
        if source.download.startswith("iwslt"):
            sides = [_without_tags(side) for side in sides]
        both = paired(sides[0], sides[1], path.name)
    for number, pair in enumerate(both):
        if number == most:
            return
        yield pair


def _without_tags(lines: Iterator[str]) -> Iterator[str]:
    """Yield text lines; a title's and a description's tags are taken off."""
    for line in lines:
        if not any(tag in line for tag in TAGS):
            for tag in ("title", "description"):
                line = line.replace(f"<{tag}>", "").replace(f"</{tag}>", "")
            yield line.strip()


def _test_pairs(path: Path, members: Pair) -> list[Pair]:
    """Return the pairs of a test set in an archive, SGML or plain lines."""
    sides = [
        segments(member_lines(path, member))
        if member.endswith((".sgm", ".xml"))
        else [*member_lines(path, member)]
        for member in members
    ]
    return [*paired(iter(sides[0]), iter(sides[1]), f"{path.name}: {members[0]}")]


def _tests(corpus: PaperCorpus, files: dict[str, Path]) -> Iterator[tuple[str, list[Pair]]]:
    """Yield name and raw pairs of the test set."""
    if corpus.test[0]:
        pairs, name = _test_pairs(files["wmt-dev"], corpus.test), corpus.test[0].split("/")[1].split("-")[0]
    else:
        a, b = corpus.languages
        stems = [f"de-en/IWSLT14.{part}.de-en" for part in IWSLT_TESTS]
        path = files["iwslt14-de-en"]
        pairs, name = [], "iwslt14"
        for stem in stems:
            pairs += _test_pairs(path, (f"{stem}.{a}.xml", f"{stem}.{b}.xml"))
    yield name, [(corpus.preparation.raw(s), corpus.preparation.raw(t)) for s, t in pairs]


def _tokens(corpus: PaperCorpus, pair: Pair) -> Pair:
    source, target = (
        corpus.preparation.tokenise(side, code) for side, code in zip(pair, corpus.languages, strict=True)
    )
    return source, target
