"""fairseq's data-bin, dictionaries and their two binary forms, without fairseq."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet.interop.fairseq import databin

SENTENCES = [[4, 5, 6], [], [9], [7, 7, 7, 7, 8]]


def older(prefix: Path, sentences: list[list[int]], width: int = 4) -> None:
    """The form before mmap, as its description has it: tokens counted from 1, offsets in tokens."""
    rows = [[*sentence, databin.EOS] for sentence in sentences]
    lengths = [len(row) for row in rows]
    flat = [token + 1 for row in rows for token in row]
    Path(f"{prefix}.bin").write_bytes(np.array(flat, dtype=f"<i{width}").tobytes())
    index = b"TNTIDX\x00\x00" + struct.pack("<QQQQQ", 1, {4: 4, 8: 5}[width], width, len(rows), len(rows))
    for numbers in (range(len(rows) + 1), [0, *np.cumsum(lengths)], lengths):
        index += np.array(list(numbers), dtype="<i8").tobytes()
    Path(f"{prefix}.idx").write_bytes(index)


def as_lists(found: databin.Sentences) -> list[list[int]]:
    return [sentence.tolist() for sentence in found.lists()]


@pytest.mark.parametrize("vocab", [10, 70_000])
def test_written_sentences_are_read_unchanged(tmp_path: Path, vocab: int) -> None:
    databin.write_sentences(tmp_path / "x", SENTENCES, vocab)
    assert as_lists(databin.read_sentences(tmp_path / "x", vocab)) == SENTENCES


@pytest.mark.parametrize("width", [4, 8])
def test_the_older_format_of_databin_is_read(tmp_path: Path, width: int) -> None:
    older(tmp_path / "x", SENTENCES, width)
    assert as_lists(databin.read_sentences(tmp_path / "x", 10)) == SENTENCES


@pytest.mark.parametrize("form", ["mmap", "older"])
def test_truncated_data_is_one_message(tmp_path: Path, form: str) -> None:
    prefix = tmp_path / "x"
    for ending in ("idx", "bin"):
        if form == "mmap":
            databin.write_sentences(prefix, SENTENCES, 10)
        else:
            older(prefix, SENTENCES)
        file = Path(f"{prefix}.{ending}")
        whole = file.read_bytes()
        for end in range(len(whole)):
            file.write_bytes(whole[:end])
            with pytest.raises(ValueError, match="not a whole fairseq dataset"):
                databin.read_sentences(prefix, 10)
    file.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        databin.read_sentences(prefix, 10)


@pytest.mark.parametrize("count", [2**31, 2**62, 2**64 - 1])
def test_an_index_that_states_too_much_allocates_nothing(tmp_path: Path, count: int) -> None:
    databin.write_sentences(tmp_path / "x", SENTENCES, 10)
    index = tmp_path / "x.idx"
    raw = bytearray(index.read_bytes())
    raw[18:26] = struct.pack("<Q", count)
    index.write_bytes(raw)
    with pytest.raises(ValueError, match=f"states {count:,} entries"):
        databin.read_sentences(tmp_path / "x", 10)


@given(data=st.data())
@settings(max_examples=150)
def test_altered_bytes_give_sentences_or_a_message(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    prefix = tmp_path_factory.mktemp("fuzz") / "x"
    databin.write_sentences(prefix, SENTENCES, 10) if data.draw(st.booleans()) else older(prefix, SENTENCES)
    index = Path(f"{prefix}.idx")
    raw = bytearray(index.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    index.write_bytes(raw)
    try:
        found = databin.read_sentences(prefix, 10)
    except ValueError as error:
        assert str(prefix) in str(error)
    else:
        assert found.tokens.max() < 10
        assert len(found.tokens) == found.lengths.sum() <= 26


def test_a_folder_of_two_sides(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no data-bin"):
        databin.languages(tmp_path)
    for side, more in (("en", [[4]]), ("de", [])):
        symbols = [*databin.SPECIAL, *"abcdef"]
        databin.write_dictionary(tmp_path / f"dict.{side}.txt", symbols, [1] * len(symbols))
        databin.write_sentences(tmp_path / f"valid.en-de.{side}", SENTENCES, 10)
        databin.write_sentences(tmp_path / f"test.en-de.{side}", SENTENCES + more, 10)
    source, target = databin.read_split(tmp_path, "valid")
    assert [s.tolist() for s in source] == [t.tolist() for t in target] == SENTENCES
    with pytest.raises(ValueError, match="5 sources and 4 targets"):
        databin.read_split(tmp_path, "test")
    with pytest.raises(ValueError, match="cannot be read"):
        databin.read_split(tmp_path, "train")


def test_tokens_beyond_the_dictionary_are_refused(tmp_path: Path) -> None:
    databin.write_sentences(tmp_path / "x", SENTENCES, 10)
    with pytest.raises(ValueError, match="the dictionary has 9"):
        databin.read_sentences(tmp_path / "x", 9)


def test_dictionaries_survive_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "dict.en.txt"
    symbols = [*databin.SPECIAL, "▁the", "a\u00a0b", "\u2028", "#", "x y"]
    databin.write_dictionary(path, symbols, range(len(symbols)))
    assert databin.read_dictionary(path) == symbols
    path.write_text("a 3\nb 2\na 1 #fairseq:overwrite\nmadeupword0000 0\n")
    assert databin.read_dictionary(path) == [*databin.SPECIAL, "a", "b", "a", "madeupword0000"]
    for text, message in (("a 3\nb\n", "line 2"), ("a 3\na 4\n", "is in it already"), ("a b\n", "line 1")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            databin.read_dictionary(path)
    path.write_bytes(b"\xff\xfe 3\n")
    with pytest.raises(ValueError, match="not a readable dictionary"):
        databin.read_dictionary(path)
    with pytest.raises(ValueError, match="cannot hold"):
        databin.write_dictionary(path, [*databin.SPECIAL, "a\nb"], range(5))
    with pytest.raises(ValueError, match="starts with"):
        databin.write_dictionary(path, ["a", "b", "c", "d"], range(4))
