"""The synthetic grammar: what it says, in both languages, and how it is split."""

import hashlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tasks.grammar import corpus, derive, english, german, split_of
from benchmarks.tasks.grammar.derive import Clause, Dice, NounPhrase, Pronoun, Sentence
from benchmarks.tasks.grammar.words import Adjective, Noun, Verb, Word, lexicon

WORDS = lexicon()


def noun(name: str, determiner: str = "the", **rest) -> NounPhrase:
    found = {repr(x): x for x in (*WORDS.nouns, *WORDS.places)}[name]
    return NounPhrase(found, determiner, **rest)


def verb(name: str) -> Verb:
    return next(x for x in WORDS.verbs if repr(x).split("/")[0] == name)


def word(kind: str, name: str) -> Word:
    return next(x for x in getattr(WORDS, kind) if x.english == name)


def adjective(name: str) -> Adjective:
    return next(x for x in WORDS.adjectives if x.german == name)


def simple(subject, german_verb, direct=None, tense="present", **rest) -> Clause:
    return Clause(subject, verb(german_verb), tense, direct=direct, **rest)


MAN, WOMAN, HE, ME = noun("Mann"), noun("Frau"), Pronoun("he"), Pronoun("I")
IT = {"m": Pronoun("it", "m"), "f": Pronoun("it", "f"), "n": Pronoun("it", "n")}
BECAUSE, MUST = word("conjunctions", "because"), word("modals", "must")
TODAY, GLADLY = word("times", "today"), word("manners", "gladly")

CASES = {
    "separable": (
        Sentence(simple(MAN, "auf|machen", noun("Tür"))),
        "The man opens the door.",
        "Der Mann macht die Tür auf.",
    ),
    "separable, verb last": (
        Sentence(simple(WOMAN, "ab|fahren"), simple(MAN, "auf|machen", noun("Tür")), BECAUSE),
        "The woman leaves because the man opens the door.",
        "Die Frau fährt ab, weil der Mann die Tür aufmacht.",
    ),
    "perfect bracket; particle of a pronoun": (
        Sentence(simple(MAN, "an|rufen", HE, "past", time=TODAY)),
        "The man called him today.",
        "Der Mann hat ihn heute angerufen.",
    ),
    "perfect with sein, dative": (
        Sentence(simple(ME, "folgen", WOMAN, "past")),
        "I followed the woman.",
        "Ich bin der Frau gefolgt.",
    ),
    "weak masculine, adjective": (
        Sentence(simple(MAN, "sehen", noun("Junge", "a", adjective=adjective("jung")))),
        "The man sees a young boy.",
        "Der Mann sieht einen jungen Jungen.",
    ),
    "ditransitive, both English orders": (
        Sentence(simple(HE, "geben", noun("Buch"), indirect=noun("Kind"), shifted=True)),
        "He gives the book to the child.",
        "Er gibt dem Kind das Buch.",
    ),
    "kein": (
        Sentence(simple(ME, "kaufen", noun("Lampe", "a"), negative=True)),
        "I do not buy a lamp.",
        "Ich kaufe keine Lampe.",
    ),
    "nicht before manner": (
        Sentence(simple(MAN, "kaufen", noun("Lampe"), "past", negative=True, manner=GLADLY)),
        "The man did not buy the lamp gladly.",
        "Der Mann hat die Lampe nicht gern gekauft.",
    ),
    "time, manner, place": (
        Sentence(simple(MAN, "gehen", time=TODAY, manner=GLADLY, place=noun("Schule"))),
        "The man goes gladly to the school today.",
        "Der Mann geht heute gern in die Schule.",
    ),
    "inversion, contraction": (
        Sentence(simple(MAN, "gehen", time=TODAY, fronted=True, place=noun("Bank"))),
        "Today the man goes to the bank.",
        "Heute geht der Mann zur Bank.",
    ),
    "the other bank": (
        Sentence(simple(MAN, "schwimmen", place=noun("Ufer"))),
        "The man swims to the bank.",
        "Der Mann schwimmt ans Ufer.",
    ),
    "the other key": (
        Sentence(simple(MAN, "drücken", noun("Taste"))),
        "The man presses the key.",
        "Der Mann drückt die Taste.",
    ),
    "know that": (
        Sentence(simple(MAN, "wissen"), simple(WOMAN, "kennen", Pronoun("she"))),
        "The man knows that the woman knows her.",
        "Der Mann weiß, dass die Frau sie kennt.",
    ),
    "must not": (
        Sentence(simple(MAN, "auf|stehen", tense="modal", modal=MUST, negative=True)),
        "The man must not get up.",
        "Der Mann darf nicht aufstehen.",
    ),
    "it by gender": (
        Sentence(
            simple(MAN, "kaufen", noun("Tisch")),
            Clause(IT["m"], None, "present", adjective=adjective("alt")),
            BECAUSE,
        ),
        "The man buys the table because it is old.",
        "Der Mann kauft den Tisch, weil er alt ist.",
    ),
    "it as an object": (
        Sentence(simple(MAN, "finden", noun("Lampe")), simple(WOMAN, "suchen", IT["f"]), BECAUSE),
        "The man finds the lamp because the woman looks for it.",
        "Der Mann findet die Lampe, weil die Frau sie sucht.",
    ),
    "compound, subordinate first": (
        Sentence(
            simple(MAN, "kaufen", noun("Tisch", "a", modifier=word("modifiers", "kitchen"))),
            simple(WOMAN, "kaufen", noun("Mantel", "", plural=True, modifier=word("modifiers", "winter"))),
            BECAUSE,
            second_first=True,
        ),
        "Because the woman buys winter coats, the man buys a kitchen table.",
        "Weil die Frau Wintermäntel kauft, kauft der Mann einen Küchentisch.",
    ),
    "du": (
        Sentence(
            simple(Pronoun("du"), "vergessen", noun("Tasche", "your"), asked="yes"),
            addressee=word("addressees", "Anna"),
        ),
        "Anna, do you forget your bag?",
        "Anna, vergisst du deine Tasche?",
    ),
    "ihr": (
        Sentence(
            simple(Pronoun("ihr"), "vergessen", noun("Tasche", "your"), asked="yes"),
            addressee=word("addressees", "children"),
        ),
        "Children, do you forget your bag?",
        "Kinder, vergesst ihr eure Tasche?",
    ),
    "Sie": (
        Sentence(
            simple(Pronoun("Sie"), "vergessen", noun("Koffer", "your"), "past"),
            addressee=word("addressees", "Mr Weber"),
        ),
        "Mr Weber, you forgot your suitcase.",
        "Herr Weber, Sie haben Ihren Koffer vergessen.",
    ),
    "relative clause, dative plural": (
        Sentence(
            simple(
                noun("Kind", "", plural=True, relative=simple(WOMAN, "helfen", gap="direct")), "warten", WOMAN
            )
        ),
        "Children whom the woman helps wait for the woman.",
        "Kinder, denen die Frau hilft, warten auf die Frau.",
    ),
    "relative clause with a preposition, at the end": (
        Sentence(
            simple(ME, "sehen", noun("Hund", relative=simple(MAN, "denken", None, "past", gap="direct")))
        ),
        "I see the dog of which the man thought.",
        "Ich sehe den Hund, an den der Mann gedacht hat.",
    ),
    "who, whom": (
        Sentence(simple(WOMAN, "warten", asked="whom")),
        "For whom does the woman wait?",
        "Auf wen wartet die Frau?",
    ),
    "dative plural with n": (
        Sentence(simple(None, "helfen", noun("Gast", "two", plural=True), asked="who")),
        "Who helps two guests?",
        "Wer hilft zwei Gästen?",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_constructions_are_derived_as_expected(name: str) -> None:
    sentence, expected_english, expected_german = CASES[name]
    assert english(sentence) == expected_english
    assert german(sentence) == expected_german


def drawn(seed: int, count: int) -> list[Sentence]:
    dice = Dice(np.random.default_rng(seed))
    return [derive(dice) for _ in range(count)]


def test_context_resolves_every_ambiguity() -> None:
    said: dict[str, str] = {}
    for sentence in drawn(3, 20_000):
        assert said.setdefault(english(sentence), german(sentence)) == german(sentence)


def test_every_word_is_used() -> None:
    text = " ".join(repr(sentence) for sentence in drawn(4, 20_000))
    kinds = (
        "nouns",
        "places",
        "verbs",
        "adjectives",
        "modifiers",
        "times",
        "manners",
        "conjunctions",
        "modals",
    )
    for kind in (*kinds, "addressees"):
        for entry in getattr(WORDS, kind):
            assert re.search(rf"[=( ]{re.escape(repr(entry))}[,)]", text), f"{kind}: {entry!r} never drawn"


def test_lemmas_name_words_uniquely() -> None:
    for group in (WORDS.nouns + WORDS.places, WORDS.verbs, WORDS.adjectives, WORDS.times, WORDS.addressees):
        assert len({repr(x) for x in group}) == len(group)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_sentences_are_well_formed(seed: int) -> None:
    for sentence in drawn(seed, 5):
        for line in (english(sentence), german(sentence)):
            assert line[0].isupper()
            assert line[-1] in ".?"
            assert "  " not in line
            assert not re.search(r" [,.?]|,[,.?]|, *$|None", line), line
            assert line == line.strip()


def test_splits_are_disjoint_and_belong_to_the_derivation() -> None:
    one = corpus({"train": 3000, "valid": 150, "test": 300}, np.random.default_rng(1))
    two = corpus({"train": 3000, "valid": 150, "test": 300}, np.random.default_rng(2))
    assert [len(one[name]) for name in ("train", "valid", "test")] == [3000, 150, 300]
    sides = [
        {name: {pair[side] for pair in made[name]} for name in made} for made in (one, two) for side in (0, 1)
    ]
    for a in sides[::2]:
        for b in sides[::2]:  # no sentence held out by one seed is trained on by another
            assert not a["train"] & (b["valid"] | b["test"])
            assert not a["valid"] & b["test"]
    assert all(len(set(pairs)) == len(pairs) for pairs in one.values())
    for sentence in drawn(5, 200):
        assert split_of(sentence) == split_of(sentence)


def test_the_same_seed_gives_the_same_bytes_on_every_machine() -> None:
    made = corpus({"train": 500, "valid": 20, "test": 40}, np.random.default_rng(7))
    text = "\n".join(f"{a}\t{b}" for name in ("train", "valid", "test") for a, b in made[name])
    assert made == corpus({"train": 500, "valid": 20, "test": 40}, np.random.default_rng(7))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "8c1a537cd1c841e3"


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="dev"):
        corpus({"dev": 1}, np.random.default_rng(1))


def test_an_exhausted_grammar_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import benchmarks.tasks.grammar as grammar

    only = drawn(1, 1)[0]
    monkeypatch.setattr(grammar, "derive", lambda dice: only)
    with pytest.raises(ValueError, match="of 5 asked for"):
        grammar.corpus({split_of(only): 5}, np.random.default_rng(1))


def test_words_that_share_an_english_form_never_meet() -> None:
    """Two nouns of one English word have no class in common, so that no verb takes both."""
    every: list[Noun] = [*WORDS.nouns, *WORDS.places]
    for i, a in enumerate(every):
        for b in every[i + 1 :]:
            if a.singular == b.singular:
                assert not (a.classes & b.classes) - {"place"}, (a, b)
