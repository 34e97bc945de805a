"""Parallel text of a folder: line-aligned files, tables (TSV) or a fairseq ``data-bin``."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.api import UsageError
from benchmarks.tasks.corpus import Corpus, Pair
from benchmarks.tasks.folders import languages
from benchmarks.tasks.folders.lines import PACKED, Report, place, read_lines, shown, unpacked_name
from benchmarks.tasks.folders.splits import assign, draw_split
from supernet.interop.fairseq.databin import read_dictionary, read_sentences

LINES, TABLE, DATA_BIN = "lines", "table", "data-bin"
UNKNOWN = "<unk>"
SUFFIXES = ("", *PACKED)


@dataclass(frozen=True)
class PairFile:
    """One set of sentence pairs in a folder: ``paths`` are two sides, or one table."""

    kind: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Reading:
    """Instructions for reading a folder of parallel text; see ``docs/own.md``."""

    source: str
    target: str
    splits: Mapping[str, object]
    columns: tuple[str, ...] = ()
    """Languages of a table's columns; empty: as its first line states, else source and target."""
    pretokenized: str = "none"
    """``none`` or ``moses``."""
    seed: int = 1
    valid: int = 1000
    test: int = 1000
    """Pairs that are drawn out of training where no file has the split."""

    @property
    def languages(self) -> tuple[str, str]:
        """Source and target."""
        return self.source, self.target


def pair_files(folder: Path, source: str, target: str) -> dict[str, PairFile]:
    """Return the sets of pairs in a folder by name, such as ``train``.

    Raises:
        UsageError: there is no such folder, a side is missing, or a set is there twice.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder '{folder}' with parallel text\ngive one that exists: --task text:FOLDER")
    sets: dict[str, PairFile] = {}

    def add(name: str, kind: str, *paths: Path) -> None:
        if name in sets:
            both = ", ".join(path.name for path in (*sets[name].paths, *paths))
            raise UsageError(f"'{folder}' has '{name}' twice ({both}): move one of them away")
        sets[name] = PairFile(kind, paths)

    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        name = unpacked_name(path)
        if name.endswith(".tsv"):
            add(name.removesuffix(".tsv"), TABLE, path)
        elif name.endswith(f".{source}") and name.removesuffix(f".{source}") != "dict":
            stem = name.removesuffix(f".{source}")
            others = [p for suffix in SUFFIXES if (p := folder / f"{stem}.{target}{suffix}").is_file()]
            if not others:
                raise UsageError(
                    f"'{path}' has no '{stem}.{target}' beside it: each split needs both sides\n"
                    f"--source and --target are the endings of the files; here {source} and {target}"
                )
            for other in others:
                add(stem, LINES, path, other)
        elif name.endswith(f".{source}.idx"):
            split, pair = name.removesuffix(f".{source}.idx").rpartition(".")[::2]
            if pair in (f"{source}-{target}", f"{target}-{source}"):
                prefixes = (folder / f"{split}.{pair}.{side}" for side in (source, target))
                add(split, DATA_BIN, *prefixes)
    if not sets:
        raise UsageError(
            f"'{folder}' has no parallel text of {source} and {target}: train.{source} and train.{target}, "
            f"train.tsv, or a fairseq data-bin\nfiles in it: {_listed(folder)}"
        )
    return sets


def _listed(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "none"


def read(folder: Path, how: Reading, report: Report) -> Corpus:
    """Read, clean and split the parallel text of a folder.

    Raises:
        UsageError: a file is damaged or its sides do not belong together; names file and line.
    """
    files = pair_files(folder, how.source, how.target)
    if how.columns and not any(file.kind == TABLE for file in files.values()):
        raise UsageError(
            f"columns = {list(how.columns)} in task.toml is for tables, and '{folder}' has no .tsv\n"
            "leave it out, or put a table there"
        )
    chosen = assign(folder, how.splits, files, report)
    pools: dict[str, list[Pair]] = {}
    tests: dict[str, list[Pair]] = {}
    for split, names in (("train", chosen.train), ("valid", chosen.valid)):
        pools[split] = [pair for name in names for pair in _read(files[name], split, how, report)]
    for label, name in chosen.tests.items():
        tests[label] = _read(files[name], label, how, report)
    given = {"train": chosen.train, "valid": chosen.valid}
    given |= {label: (name,) for label, name in chosen.tests.items()}
    for split, names in given.items():
        if names and not {**pools, **tests}[split]:
            raise UsageError(_no_pairs(folder, split, [files[name] for name in names], report))
    if not tests:
        asked = chosen.drawn.get("test")
        tests["test"], pools["train"] = draw_split(
            folder, "test", pools["train"], asked, how.test, draw, how.seed, "pairs"
        )
        report.facts.append(_drawn_note("test", tests["test"], how))
    if not chosen.valid:
        asked = chosen.drawn.get("valid")
        pools["valid"], pools["train"] = draw_split(
            folder, "valid", pools["train"], asked, how.valid, draw, how.seed + 1, "pairs"
        )
        report.facts.append(_drawn_note("valid", pools["valid"], how))
    _report_duplicates(pools, tests, report)
    return Corpus(pools["train"], pools["valid"], tests)


def _no_pairs(folder: Path, split: str, files: Sequence[PairFile], report: Report) -> str:
    """Return the message for a split whose files give no pair."""
    paths = " and ".join(path.name for file in files for path in file.paths)
    empty, _ = report.counts.get(_empty_sides(split), (0, ""))
    read_lines_ = (
        f"{empty:,} pairs of lines were read, each with an empty side" if empty else "no line was read"
    )
    return (
        f"'{folder}': no sentence pair for {split} in {paths}: {read_lines_}\n"
        f'put a sentence and its translation on each line, or name other files: [splits] {split} = "NAME" in'
        " task.toml"
    )


def _empty_sides(split: str) -> str:
    """Return the words that count the pairs of a split without one of their sides."""
    return f"pairs with an empty side left out of {split}"


def _drawn_note(split: str, pairs: Sequence[Pair], how: Reading) -> str:
    return f"{split}: {len(pairs):,} pairs drawn out of train (seed {how.seed}); equal sources stay together"


def _read(file: PairFile, split: str, how: Reading, report: Report) -> list[Pair]:
    """Return the pairs of one set, without those that have an empty side."""
    readers = {LINES: _read_sides, TABLE: _read_table, DATA_BIN: _read_data_bin}
    sides = readers[file.kind](file.paths, how, report)
    if how.pretokenized == "moses" or file.kind == DATA_BIN:
        join = [languages.detokenizer(language) for language in how.languages]
        sides = [[join[side](line) for line in sides[side]] for side in (0, 1)]
    paths = file.paths if len(file.paths) == 2 else file.paths * 2
    languages.check_languages(sides, how.languages, paths, report)
    pairs, copies = [], 0
    for number, pair in enumerate(zip(*sides, strict=True), 1):
        if not (pair[0] and pair[1]):
            report.count(_empty_sides(split), place(paths[not pair[1]], number))
            continue
        copies += pair[0] == pair[1] and any(map(str.isalpha, pair[0]))
        pairs.append(pair)
    if copies > max(languages.FEWEST, len(pairs) / 2):
        raise UsageError(
            f"'{paths[0]}' and '{paths[1]}': {copies:,} of {len(pairs):,} pairs have two equal sides, such as"
            f" {shown(next(a for a, b in pairs if a == b))}\none side is a copy of the other"
        )
    if copies:
        report.count(f"pairs of {split} with two equal sides kept", paths[0].name, copies)
    return pairs


def _read_sides(paths: Sequence[Path], how: Reading, report: Report) -> list[list[str]]:
    sides = [read_lines(path, report) for path in paths]
    counts = [len(side) for side in sides]
    if counts[0] != counts[1]:
        short = int(counts[1] < counts[0])
        more = sides[1 - short][counts[short]]
        raise UsageError(
            f"'{paths[0]}' has {counts[0]:,} lines, '{paths[1]}' has {counts[1]:,}: they must match\n"
            f"{paths[1 - short].name} goes on at line {counts[short] + 1}: {shown(more)}"
        )
    return sides


def _read_table(paths: Sequence[Path], how: Reading, report: Report) -> list[list[str]]:
    (path,) = paths
    lines = read_lines(path, report, tabs=True)
    columns = how.columns
    head = [cell.strip().lower() for cell in lines[0].split("\t")] if lines else []
    first = 0
    if not columns and {how.source.lower(), how.target.lower()} <= set(head):
        columns, first = tuple(head), 1
        report.facts.append(f"{path.name}: columns by its first line, {', '.join(columns)}")
    elif not columns:
        columns = how.source, how.target
        report.facts.append(f"{path.name}: column 1 is {how.source}, column 2 is {how.target}")
    try:
        places = [[c.lower() for c in columns].index(language.lower()) for language in how.languages]
    except ValueError:
        raise UsageError(
            f"'{path}': columns are {', '.join(columns)}; {how.source} and {how.target} are needed"
        ) from None
    sides: list[list[str]] = [[], []]
    for number, line in enumerate(lines[first:], first + 1):
        cells = line.split("\t") if line else [""] * len(columns)
        if len(cells) != len(columns):
            raise UsageError(
                f"'{path}', line {number}: {len(cells)} columns, expected {len(columns)}"
                f" ({', '.join(columns)}): {shown(line)}\n"
                'a tab inside a sentence has to be a space; other columns: columns = ["en", "fr", "note"]'
            )
        for side in (0, 1):
            sides[side].append(cells[places[side]].strip())
    return sides


def _read_data_bin(paths: Sequence[Path], how: Reading, report: Report) -> list[list[str]]:
    """Return the text of a ``data-bin``: subword marks removed, symbols joined by spaces."""
    sides: list[list[str]] = []
    try:
        for prefix, language in zip(paths, how.languages, strict=True):
            symbols = read_dictionary(prefix.parent / f"dict.{language}.txt")
            sentences = read_sentences(prefix, len(symbols)).lists()
            pieces = any(symbol.startswith("\u2581") for symbol in symbols)
            texts = []
            for number, sentence in enumerate(sentences, 1):
                words = [symbols[i] for i in sentence.tolist()]
                if UNKNOWN in words:
                    report.count(f"sentences with {UNKNOWN} left out", place(prefix, number))
                    words = []
                texts.append(_joined(words, pieces=pieces))
            sides.append(texts)
    except ValueError as error:
        raise UsageError(f"{error}\nmake the data-bin again with fairseq-preprocess") from None
    if len(sides[0]) != len(sides[1]):
        raise UsageError(
            f"'{paths[0]}.idx' has {len(sides[0]):,} sentences, '{paths[1]}.idx' has {len(sides[1]):,}:"
            " they are not of one corpus\nmake the data-bin again with fairseq-preprocess"
        )
    return sides


def _joined(words: Sequence[str], *, pieces: bool) -> str:
    """Return the words of subwords: of SentencePiece (``pieces``), or of subword-nmt (``@@``)."""
    if pieces:
        return "".join(words).replace("\u2581", " ").strip()
    text = " ".join(words)
    return text.replace("@@ ", "").removesuffix("@@")


def draw(pairs: Sequence[Pair], most: int, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Return ``most`` pairs at random, and the rest; pairs with equal sources or targets stay together."""
    group = _groups(pairs)
    order = np.random.default_rng(seed).permutation(len(pairs))
    members: dict[int, list[int]] = {}
    for index, number in enumerate(group):
        members.setdefault(number, []).append(index)
    taken: set[int] = set()
    for index in order.tolist():
        if len(taken) >= most:
            break
        together = members[group[index]]
        if index not in taken and len(taken) + len(together) <= most:
            taken.update(together)
    return [pairs[i] for i in sorted(taken)], [pair for i, pair in enumerate(pairs) if i not in taken]


def _groups(pairs: Sequence[Pair]) -> list[int]:
    """Return a number for each pair, equal for pairs that share a side, however indirectly."""
    parent = list(range(len(pairs)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for side in (0, 1):
        first: dict[str, int] = {}
        for index, pair in enumerate(pairs):
            a, b = root(first.setdefault(pair[side], index)), root(index)
            parent[max(a, b)] = min(a, b)
    return [root(index) for index in range(len(pairs))]


def _report_duplicates(
    pools: Mapping[str, Sequence[Pair]], tests: Mapping[str, Sequence[Pair]], report: Report
) -> None:
    """Add facts about pairs and sources that stand in training and in another split, too."""
    train, sources = set(pools["train"]), {pair[0] for pair in pools["train"]}
    for split, pairs in (("valid", pools["valid"]), *tests.items()):
        known = sum(pair in train for pair in pairs)
        alike = sum(pair[0] in sources for pair in pairs)
        if alike:
            report.facts.append(
                f"duplicates: {alike:,} of {len(pairs):,} sources of {split} stand in train, too,"
                f" {known:,} with the same target"
            )
    repeated = sum(n - 1 for n in Counter(pools["train"]).values())
    if repeated:
        report.facts.append(f"duplicates: {repeated:,} pairs of train repeat an earlier one")
    valid = set(pools["valid"])
    for name, pairs in tests.items():
        if shared := sum(pair in valid for pair in pairs):
            report.facts.append(f"duplicates: {shared:,} pairs of {name} stand in valid, too")


def digests(folder: Path, files: Mapping[str, PairFile]) -> list[str]:
    """Return the SHA-256 of every file that a folder's text is read from, with its name."""
    paths: list[Path] = []
    for file in files.values():
        if file.kind == DATA_BIN:
            paths += [Path(f"{prefix}{end}") for prefix in file.paths for end in (".idx", ".bin")]
        else:
            paths += file.paths
    paths += sorted(folder.glob("dict.*.txt")) if any(f.kind == DATA_BIN for f in files.values()) else []
    lines = []
    for path in sorted(set(paths)):
        try:
            with path.open("rb") as opened:
                lines.append(f"{path.name} {hashlib.file_digest(opened, 'sha256').hexdigest()}")
        except OSError as error:
            raise UsageError(f"'{path}' cannot be read: {error.strerror}") from None
    return lines
