"""Parallel text in a folder: every form gives the same pairs; bad data is one message or is counted."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.api import UsageError
from benchmarks.tasks.folders.lines import Report
from benchmarks.tasks.folders.pairs import Reading, draw, read
from supernet.interop.fairseq.databin import SPECIAL, write_dictionary, write_sentences
from tests.unit.benchmarks.tasks.folders.sentences import lines, pairs, write

EN_FR = Reading("en", "fr", {})


def read_(folder: Path, how: Reading = EN_FR) -> tuple[object, list[str]]:
    report = Report()
    return read(folder, how, report), report.notes()


def as_table(folder: Path, head: bool, swap: bool, table: Path) -> None:
    table.mkdir()
    for split in ("train", "valid", "test"):
        sides = [(folder / f"{split}.{side}").read_text("utf-8").splitlines() for side in ("en", "fr")]
        names = ["en", "fr"]
        if swap:
            sides.reverse()
            names.reverse()
        rows = [tuple(names), *zip(*sides, strict=True)] if head else list(zip(*sides, strict=True))
        (table / f"{split}.tsv").write_text(lines("\t".join(row) for row in rows), encoding="utf-8")


def as_data_bin(folder: Path, data: Path) -> None:
    """Write words as symbols, as fairseq-preprocess does with text that is split at spaces."""
    data.mkdir()
    for side in ("en", "fr"):
        texts = {
            s: (folder / f"{s}.{side}").read_text("utf-8").splitlines() for s in ("train", "valid", "test")
        }
        words = sorted({word for split in texts.values() for text in split for word in text.split()})
        symbols = [*SPECIAL, *words]
        write_dictionary(data / f"dict.{side}.txt", symbols, [1] * len(symbols))
        for split, those in texts.items():
            ids = ([symbols.index(word) for word in text.split()] for text in those)
            write_sentences(data / f"{split}.en-fr.{side}", ids, len(symbols))


def test_every_form_gives_the_same_pairs(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain")
    expected, notes = read_(plain)
    assert notes == []
    packed = tmp_path / "packed"
    packed.mkdir()
    for path in plain.iterdir():
        pack, suffix = (gzip.compress, ".gz") if path.suffix == ".en" else (lzma.compress, ".xz")
        (packed / f"{path.name}{suffix}").write_bytes(pack(path.read_bytes()))
    windows = tmp_path / "windows"
    windows.mkdir()
    for path in plain.iterdir():
        text = b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n")
        (windows / path.name).write_bytes(text)
    as_table(plain, True, True, tmp_path / "head")
    as_table(plain, False, False, tmp_path / "table")
    as_data_bin(plain, tmp_path / "bin")
    for name in ("packed", "windows", "head", "table", "bin"):
        assert read_(tmp_path / name)[0] == expected, name
    assert any("CRLF" in note for note in read_(windows)[1])
    assert any("byte-order marks" in note and note.startswith("6 ") for note in read_(windows)[1])


def inside(what: str, name: str) -> str:
    return f"1 lines with {what} inside, replaced by spaces, first: {name} line 5"


def spoil(folder: Path, name: str, change: object) -> None:
    path = folder / name
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]


def on_line(number: int, text: bytes) -> object:
    def change(data: bytes) -> bytes:
        rows = data.split(b"\n")
        rows[number - 1] = text
        return b"\n".join(rows)

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "train.fr",
            lambda d: d + b"encore\n",
            r"train\.en' has 80 lines, .*train\.fr' has 81.*\n.* line 81: 'encore'",
        ),
        ("train.en", lambda d: d.replace(b"\n", b"", 1), r"has 79 lines.*80"),
        ("valid.en", on_line(7, b"caf\xe9 noir"), r"valid\.en', line 7: byte 0xe9 is not UTF-8"),
        ("test.en", lambda d: d.decode().encode("utf-16"), r"test\.en' is UTF-16.*\n.*iconv"),
    ],
)
def test_unreadable_folders_are_one_message(tmp_path: Path, name: str, change: object, message: str) -> None:
    folder = write(tmp_path / "data")
    spoil(folder, name, change)
    with pytest.raises(UsageError, match=message):
        read_(folder)


@pytest.mark.parametrize(
    ("name", "text", "note"),
    [
        ("train.en", b"", "1 pairs with an empty side left out of train, first: train.en line 5"),
        ("train.fr", b"  ", "1 pairs with an empty side left out of train, first: train.fr line 5"),
        ("test.fr", b"a\xe2\x80\xa8b", inside("U+2028 separators", "test.fr")),
        ("valid.en", b"a\0b", inside("NUL characters", "valid.en")),
        ("train.en", b"a\tb", inside("tabs", "train.en")),
        ("train.en", b"a\rb", inside("carriage returns", "train.en")),
        ("train.en", b"a\x0bb\x0cc", inside("control characters", "train.en")),
        (
            "train.en", b"Le chien est dans le jardin.",
            "1 lines of the en side that read as fr, first: train.en line 5",
        ),
    ],
)  # fmt: skip
def test_repaired_lines_are_counted_and_shift_no_other(
    tmp_path: Path, name: str, text: bytes, note: str
) -> None:
    folder = write(tmp_path / "data")
    before, _ = read_(folder)
    spoil(folder, name, on_line(5, text))
    after, notes = read_(folder)
    assert note in notes
    kept = {
        "train": (before.train, after.train), "valid": (before.valid, after.valid),  # type: ignore[attr-defined]
        "test": (before.tests["test"], after.tests["test"]),  # type: ignore[attr-defined]
    }  # fmt: skip
    for split, (old, new) in kept.items():
        changed = [pair for pair in new if pair not in old]
        assert len(changed) <= 1
        if split != name.partition(".")[0]:
            assert old == new
        assert [p for p in new if p in old] == [
            p for i, p in enumerate(old) if split != name.partition(".")[0] or i != 4
        ]


def test_swapped_sides_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    (folder / "train.en").rename(folder / "x")
    (folder / "train.fr").rename(folder / "train.en")
    (folder / "x").rename(folder / "train.fr")
    with pytest.raises(
        UsageError, match=r"train\.en' is to be in en, and 80 of 80 lines read as fr.*line 1.*\n.* swapped\?"
    ):
        read_(folder)


def test_a_copy_of_the_other_side_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    for split in ("train", "valid", "test"):
        (folder / f"{split}.gl").write_bytes((folder / f"{split}.en").read_bytes())
    with pytest.raises(
        UsageError, match=r"train\.gl': 80 of 80 pairs have two equal sides, such as 'The dog"
    ):
        read_(folder, Reading("en", "gl", {}))


@pytest.mark.parametrize(
    ("row", "columns"), [("a\tb\tc", 3), ("a b", 1)],
)  # fmt: skip
def test_a_row_with_other_columns_names_file_and_line(tmp_path: Path, row: str, columns: int) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.tsv").write_text(lines(["x y\tz"] * 30 + [row]))
    with pytest.raises(UsageError, match=rf"train\.tsv', line 31: {columns} columns, expected 2"):
        read_(folder)


def test_a_dictionary_of_another_size_is_refused(tmp_path: Path) -> None:
    as_data_bin(write(tmp_path / "plain"), tmp_path / "bin")
    path = tmp_path / "bin" / "dict.fr.txt"
    path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:5]), encoding="utf-8")
    with pytest.raises(UsageError, match=r"en-fr\.fr: tokens from .*the dictionary has 9"):
        read_(tmp_path / "bin")


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        read_(tmp_path / "none")
    (tmp_path / "data").mkdir()
    with pytest.raises(UsageError, match=r"no parallel text of en and fr.*\nfiles in it|files in it: none"):
        read_(tmp_path / "data")
    (tmp_path / "data" / "train.en").write_text("a\n")
    with pytest.raises(UsageError, match=r"train\.en' has no 'train\.fr' beside it"):
        read_(tmp_path / "data")
    write(tmp_path / "data")
    (tmp_path / "data" / "train.tsv").write_text("a\tb\n")
    with pytest.raises(UsageError, match="has 'train' twice"):
        read_(tmp_path / "data")


def test_one_corpus_without_splits_is_split_without_shared_sides(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    every = (
        pairs("en", "fr") + [("The dog is in the garden with the cat.", "Ce chien est dans le jardin.")] * 3
    )
    for side, language in enumerate(("en", "fr")):
        (folder / f"europarl.{language}").write_text(lines(pair[side] for pair in every), encoding="utf-8")
    corpus, notes = read_(folder)
    test, valid = corpus.tests["test"], corpus.valid  # type: ignore[attr-defined]
    assert (len(test), len(valid)) == (11, 10)
    for a in (0, 1):
        sides = [{pair[a] for pair in part} for part in (corpus.train, valid, test)]  # type: ignore[attr-defined]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert "train: europarl, the only set without the name of a split" in notes
    assert "duplicates: 2 pairs of train repeat an earlier one" in notes


def test_duplicates_across_given_splits_are_reported(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    for language in ("en", "fr"):
        first = (folder / f"train.{language}").read_text("utf-8").splitlines()[:3]
        spoil(folder, f"test.{language}", lambda d, first=first: d + lines(first).encode())
    assert (
        "duplicates: 3 of 19 sources of test stand in train, too, 3 with the same target" in read_(folder)[1]
    )


def test_splits_by_the_users_table(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    how = Reading("en", "fr", {"train": "train", "valid": 5, "test": {"old": "test", "new": "valid"}})
    corpus, _ = read_(folder, how)
    assert {name: len(those) for name, those in corpus.tests.items()} == {"old": 16, "new": 16}  # type: ignore[attr-defined]
    assert len(corpus.valid) == 5  # type: ignore[attr-defined]
    message = r"train = 'trian': no such name in '.*data'\. Did you mean 'train'"
    with pytest.raises(UsageError, match=message):
        read_(folder, Reading("en", "fr", {"train": "trian"}))


def one_corpus(folder: Path, english: str, french: str) -> Path:
    folder.mkdir()
    (folder / "train.en").write_text(english, newline="")
    (folder / "train.fr").write_text(french, newline="")
    return folder


@pytest.mark.parametrize(
    ("english", "french", "message"),
    [
        ("", "", r"no sentence pair for train in train\.en and train\.fr: no line was read\nput a sentence"),
        ("\n" * 300, "\n" * 300, "300 pairs of lines were read, each with an empty side"),
        ("a\n" * 4, "\n" * 4, "4 pairs of lines were read, each with an empty side"),
        ("a\n", "b\n", "train has 1 pairs: too few to draw test from\nadd text, or give test files"),
        ("a\n" * 300, "b\n" * 300, "none of the 300 pairs of train can be drawn for test: equal ones stay"),
        ("a\rb\rc\r", "d\re\rf\r", r"train\.en' ends its lines by carriage returns alone.*\n.*tr '\\r'"),
    ],
)
def test_a_corpus_without_pairs_names_counts_and_reason(
    tmp_path: Path, english: str, french: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_(one_corpus(tmp_path / "data", english, french))


def test_a_given_split_without_pairs_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    for side in ("en", "fr"):
        (folder / f"valid.{side}").write_text("")
    with pytest.raises(UsageError, match=r"no sentence pair for valid in valid\.en and valid\.fr"):
        read_(folder)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_split_as_large_as_training_names_both_numbers(tmp_path: Path, split: str) -> None:
    folder = write(tmp_path / "data")
    message = rf"\[splits\] {split} = 1,000, and train has 80 pairs: too few.*\nset {split} to 8, or give"
    with pytest.raises(UsageError, match=message):
        read_(folder, Reading("en", "fr", {split: 1000}))


def test_columns_without_a_table_are_refused(tmp_path: Path) -> None:
    how = Reading("en", "fr", {}, columns=("en", "fr"))
    with pytest.raises(UsageError, match=r"columns = \['en', 'fr'\] in task\.toml is for tables"):
        read_(write(tmp_path / "data"), how)


@pytest.mark.parametrize(("source", "target"), [("en", "fr"), ("fr", "en"), ("en", "ja"), ("ja", "en")])
def test_a_side_that_copies_the_other_is_not_called_swapped(tmp_path: Path, source: str, target: str) -> None:
    folder = write(tmp_path / "data", source, target)
    for copied, other in ((source, target), (target, source)):
        write(folder, source, target)
        (folder / f"train.{copied}").write_bytes((folder / f"train.{other}").read_bytes())
        message = (
            rf"train\.{copied}' is to be in {copied}, .*\nboth sides read as {other}: put the {copied} text"
        )
        with pytest.raises(UsageError, match=message):
            read_(folder, Reading(source, target, {}))


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz")), max_size=40), st.integers(1, 9)
)
def test_drawn_pairs_share_no_side_with_the_rest(every: list[tuple[str, str]], most: int) -> None:
    taken, rest = draw(every, most, 1)
    assert len(taken) <= most
    assert sorted(taken + rest) == sorted(every)
    for side in (0, 1):
        assert not {pair[side] for pair in taken} & {pair[side] for pair in rest}
