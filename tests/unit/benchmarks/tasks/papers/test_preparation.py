"""The papers' preparation of sentences."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.tasks.papers.preparation import Preparation, detokenise, split_hyphens

WMT = Preparation(normalised=True, aggressive=True, lower=False, longest=250)
IWSLT = Preparation(normalised=False, aggressive=False, lower=True, longest=175)


def test_tokens_are_those_of_the_papers_scripts() -> None:
    assert WMT.tokenise("A well-known “dog”, he said.", "en").startswith("A well @-@ known &quot; dog")
    assert WMT.tokenise("a\u200bb\u0007c", "en") == "abc"
    assert IWSLT.tokenise("Ein Wohl-bekannter Hund.", "de") == "ein wohl-bekannter hund ."
    assert IWSLT.raw("Ein Hund.") == "ein hund." and WMT.raw("Ein Hund.") == "Ein Hund."


def test_running_text_comes_back() -> None:
    for line in ("A well-known dog, he said.", "It's 3-4 o'clock (or so)."):
        assert detokenise(WMT.tokenise(line, "en"), "en") == line
    assert detokenise(WMT.tokenise("Der Zoo-Besuch & mehr.", "de"), "de") == "Der Zoo-Besuch & mehr."


def test_lengths_and_ratios() -> None:
    assert WMT.keeps("a b", "a b c") and not WMT.keeps("a b", "a b c d")
    assert not WMT.keeps("", "") and not WMT.keeps("a", "")
    assert WMT.keeps("a " * 250, "a " * 250) and not WMT.keeps("a " * 251, "a " * 250)
    pairs = [("Ein Hund.", "A dog."), ("Nein", "No, of course not, never ever.")]
    assert [*IWSLT.training(pairs, ("de", "en"))] == [("ein hund .", "a dog .")]


def test_hyphens_are_split_as_by_the_published_script() -> None:
    assert (
        split_hyphens("state-of-the-art - yes")
        == "state ##AT##-##AT## of ##AT##-##AT## the ##AT##-##AT## art - yes"
    )


@given(st.lists(st.text("ab", min_size=2, max_size=5), min_size=1, max_size=5))
def test_splitting_leaves_no_hyphen_inside_a_word(words: list[str]) -> None:
    tokens = split_hyphens("-".join(words)).split()
    assert [token for token in tokens if "AT" not in token] == words
