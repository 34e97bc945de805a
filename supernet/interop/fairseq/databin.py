"""fairseq's dictionaries and binary data, read and written without fairseq.

A ``data-bin`` folder has, of every split and side, ``train.en-de.en.idx`` and ``.bin``, and a ``dict.en.txt``
a side. Both of fairseq's binary forms are read, ``mmap`` (the default of ``fairseq-preprocess``) and the
older one (``lazy``, ``cached``); ``mmap`` is written. Every size that a file states is checked against the
file's size first.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
"""First symbols of every dictionary, which no dictionary file lists."""
EOS = 2
MAPPED, OLDER = b"MMIDIDX\x00\x00", b"TNTIDX\x00\x00"
INTEGERS = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2", 9: "<u4", 10: "<u8"}
"""fairseq's codes of integer types; its other codes are of floats, which no token is."""
OVERWRITE = " #fairseq:overwrite"


@dataclass(frozen=True)
class Sentences:
    """Token ids of one side of a split, end to end, with the length of each sentence, end tokens included."""

    tokens: np.ndarray
    lengths: np.ndarray

    def lists(self) -> list[np.ndarray]:
        """Return one array a sentence, without its end token."""
        ends = np.cumsum(self.lengths)
        parts = np.split(self.tokens, ends[:-1]) if len(ends) else []
        return [part[:-1] if len(part) and part[-1] == EOS else part for part in parts]


def read_dictionary(path: Path) -> list[str]:
    """Return the symbols of a dictionary in the order of their ids, the special ones first.

    Raises:
        ValueError: it cannot be read, or a line is not ``symbol count``; names the line.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable dictionary ({error})") from None
    symbols, known = list(SPECIAL), set(SPECIAL)
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
        line = line.rstrip()
        again = line.endswith(OVERWRITE)
        symbol, space, count = line.removesuffix(OVERWRITE).rpartition(" ")
        if not space or not count.lstrip("-").isdigit():
            raise ValueError(
                f"{path}, line {number}: {line[:60]!r} is not '<symbol> <count>', as fairseq has it"
            )
        if symbol in known and not again:
            raise ValueError(f"{path}, line {number}: {symbol[:60]!r} is in it already")
        known.add(symbol)
        symbols.append(symbol)
    return symbols


def write_dictionary(path: Path, symbols: Sequence[str], counts: Sequence[int]) -> None:
    """Write all symbols but the special ones, which must come first.

    Raises:
        ValueError: other special symbols, or one that a line cannot hold.
    """
    if tuple(symbols[: len(SPECIAL)]) != SPECIAL:
        raise ValueError(f"a dictionary of fairseq starts with {', '.join(SPECIAL)}, not {symbols[:4]}")
    lines = []
    for symbol, count in zip(symbols[len(SPECIAL) :], counts[len(SPECIAL) :], strict=True):
        if not symbol or any(letter in symbol for letter in "\n\r"):
            raise ValueError(f"a dictionary of fairseq cannot hold the symbol {symbol!r}")
        lines.append(f"{symbol} {count}\n")
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def write_sentences(prefix: Path, sentences: Iterable[Sequence[int]], vocab: int) -> None:
    """Write ``prefix.bin`` and ``prefix.idx``; sentences come without end tokens and get one."""
    dtype = np.dtype("<u2" if vocab < 65500 else "<u4")  # fairseq's own choice for these sizes
    lengths = []
    with Path(f"{prefix}.bin").open("wb") as file:
        for sentence in sentences:
            file.write(np.array([*sentence, EOS], dtype=dtype).tobytes())
            lengths.append(len(sentence) + 1)
    sizes = np.array(lengths, dtype="<i4")
    starts = (np.cumsum(sizes, dtype="<i8") - sizes) * dtype.itemsize
    code = next(code for code, name in INTEGERS.items() if np.dtype(name) == dtype)
    with Path(f"{prefix}.idx").open("wb") as file:
        file.write(MAPPED + struct.pack("<QBQ", 1, code, len(sizes)))
        file.write(sizes.tobytes() + starts.astype("<i8").tobytes())


def languages(folder: Path) -> tuple[str, str]:
    """Return source and target language of a ``data-bin``, from its files' names.

    Raises:
        ValueError: there are no such files, or of several pairs.
    """
    named = {path.name.split(".")[1] for path in folder.glob("*.*-*.*.idx")}
    if len(named) != 1:
        raise ValueError(f"{folder}: no data-bin of one pair of languages (such as valid.en-de.en.idx)")
    source, _, target = named.pop().partition("-")
    return source, target


def dictionaries(folder: Path) -> tuple[list[str], list[str]]:
    """Return the symbols of a ``data-bin``'s source and target.

    Raises:
        ValueError: as ``languages`` and ``read_dictionary``.
    """
    source, target = (read_dictionary(folder / f"dict.{side}.txt") for side in languages(folder))
    return source, target


def read_split(folder: Path, split: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return sources and targets of a split (``train``, ``valid``, ``test``) of a ``data-bin``, without end
    tokens.

    Raises:
        ValueError: as ``read_sentences``, or the sides have not as many sentences.
    """
    pair = languages(folder)
    source, target = (
        read_sentences(folder / f"{split}.{'-'.join(pair)}.{side}", len(symbols)).lists()
        for side, symbols in zip(pair, dictionaries(folder), strict=True)
    )
    if len(source) != len(target):
        raise ValueError(f"{folder}: {split} has {len(source)} sources and {len(target)} targets")
    return source, target


def read_sentences(prefix: Path, vocab: int) -> Sentences:
    """Read ``prefix.idx`` and ``prefix.bin`` of either form.

    Args:
        vocab: size of the dictionary; every token must lie below.

    Raises:
        ValueError: a file is missing, truncated or of another kind, or a token is not in the dictionary.
    """
    index, data = Path(f"{prefix}.idx"), Path(f"{prefix}.bin")
    try:
        with index.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            magic = file.read(len(MAPPED))
            if magic == MAPPED:
                dtype, lengths, starts, shift = _mapped(file, size)
            elif magic.startswith(OLDER):
                file.seek(len(OLDER))
                dtype, lengths, starts, shift = _older(file, size)
            else:
                raise ValueError("neither of fairseq's mmap nor of its older form")
            tokens = _gather(np.fromfile(data, dtype="u1"), dtype, lengths, starts)
    except OSError as error:
        raise ValueError(f"{prefix}: cannot be read ({error.strerror}: {error.filename})") from None
    except ValueError as error:
        raise ValueError(f"{prefix}: not a whole fairseq dataset: {error}") from None
    tokens = tokens.astype(np.int64) - shift
    if len(tokens) and not (0 <= tokens.min() and tokens.max() < vocab):
        raise ValueError(
            f"{prefix}: tokens from {tokens.min()} to {tokens.max()}, and the dictionary has {vocab}: they do"
            " not belong together"
        )
    return Sentences(tokens, lengths)


def _numbers(file: BinaryIO, form: str, size: int) -> tuple[int, ...]:
    raw = file.read(struct.calcsize(form))
    if len(raw) != struct.calcsize(form):
        raise ValueError(f"the index ends after {size} bytes")
    return struct.unpack(form, raw)


def _array(file: BinaryIO, dtype: str, count: int, size: int) -> np.ndarray:
    """Read ``count`` numbers, after a check that the file is long enough for them."""
    need = count * np.dtype(dtype).itemsize
    if need > size - file.tell():
        raise ValueError(f"the index states {count:,} entries and ends after {size:,} bytes")
    return np.frombuffer(file.read(need), dtype=dtype)


def _dtype(code: int) -> np.dtype:
    if code not in INTEGERS:
        raise ValueError(f"type code {code} is none of integers")
    return np.dtype(INTEGERS[code])


def _mapped(file: BinaryIO, size: int) -> tuple[np.dtype, np.ndarray, np.ndarray, int]:
    """Return type, lengths in tokens, starts in bytes, and the offset of each token's id."""
    version, code, count = _numbers(file, "<QBQ", size)
    if version != 1:
        raise ValueError(f"version {version}, not 1")
    dtype = _dtype(code)
    return dtype, _array(file, "<i4", count, size).astype(np.int64), _array(file, "<i8", count, size), 0


def _older(file: BinaryIO, size: int) -> tuple[np.dtype, np.ndarray, np.ndarray, int]:
    """Return the same of TorchNet's form, which counts tokens from 1."""
    version, code, width, count, dimensions = _numbers(file, "<QQQQQ", size)
    dtype = _dtype(code)
    if version != 1 or width != dtype.itemsize or dimensions != count:
        raise ValueError(
            f"version {version}, {width} bytes a token, {dimensions} dimensions of {count} sentences"
        )
    if not np.array_equal(_array(file, "<i8", count + 1, size), np.arange(count + 1)):
        raise ValueError("sentences that are no rows of tokens")
    starts = _array(file, "<i8", count + 1, size)[:-1]
    if len(starts) and not (0 <= starts.min() and starts.max() < 1 << 56):
        raise ValueError("a sentence lies outside the data")
    return dtype, _array(file, "<i8", count, size), starts * width, 1


def _gather(raw: np.ndarray, dtype: np.dtype, lengths: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the tokens of all sentences end to end, as both forms store them."""
    if not len(lengths):
        return np.zeros(0, dtype=dtype)
    most = len(raw) // dtype.itemsize
    if lengths.min() < 0 or lengths.max() > most:
        raise ValueError(f"a sentence of {lengths.max():,} tokens in {len(raw):,} bytes")
    ends = np.cumsum(lengths)
    if ends[-1] > most:
        raise ValueError(f"the index states {ends[-1]:,} tokens, the data has {most:,}")
    if not np.array_equal(starts, (ends - lengths) * dtype.itemsize):
        raise ValueError("sentences that do not lie end to end")
    return raw[: int(ends[-1]) * dtype.itemsize].view(dtype)
