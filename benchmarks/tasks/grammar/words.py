"""The lexicon of the synthetic task, read from ``lexicon.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, repr=False, eq=False)
class Noun:
    """A noun of either language; ``gender`` is m, f, n, or w for a weak masculine.

    Places also have prepositions of location and direction: ``at`` and ``to``, in German ``bei`` and ``zu``.
    """

    classes: frozenset[str]
    singular: str
    plural: str
    german: str
    gender: str
    german_many: str
    at: str = ""
    to: str = ""
    bei: str = ""
    zu: str = ""

    def __repr__(self) -> str:
        return self.german


@dataclass(frozen=True, repr=False, eq=False)
class Verb:
    """A verb; ``german`` has a bar after a separable prefix. See the lexicon for ``frame``."""

    classes: frozenset[str]
    base: str
    third: str
    past: str
    german: str
    er: str
    participle: str
    auxiliary: str
    frame: str
    preposition: str

    def __repr__(self) -> str:
        return f"{self.german}/{self.frame}"


@dataclass(frozen=True, repr=False, eq=False)
class Adjective:
    """``stem`` takes endings; ``german`` stands alone, as after *ist*."""

    classes: frozenset[str]
    english: str
    stem: str
    german: str

    def __repr__(self) -> str:
        return self.german


@dataclass(frozen=True, repr=False, eq=False)
class Word:
    """A word that is not inflected; ``also``: tenses of a time, forms of a modal,
    classes that a modifier goes with, pronoun of an addressee."""

    english: str
    german: str
    also: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return self.german


@dataclass(frozen=True)
class Lexicon:
    """All words, and the groups that drawing needs."""

    nouns: tuple[Noun, ...]
    places: tuple[Noun, ...]
    verbs: tuple[Verb, ...]
    adjectives: tuple[Adjective, ...]
    modifiers: tuple[Word, ...]
    times: tuple[Word, ...]
    manners: tuple[Word, ...]
    conjunctions: tuple[Word, ...]
    modals: tuple[Word, ...]
    addressees: tuple[Word, ...]
    by_class: dict[frozenset[str], tuple[Noun, ...]]
    """Nouns that are in any of a set of classes, for every set that a verb asks for."""
    clear: tuple[Noun, ...]
    """Nouns, places apart, whose English has one translation in any context."""
    describing: dict[Noun, tuple[Adjective, ...]]
    """Adjectives that may stand before a noun."""
    extending: dict[Noun, tuple[Word, ...]]
    """Modifiers that make a compound with a noun."""
    taking: dict[Noun, tuple[Verb, ...]]
    """Verbs whose plain object (accusative, dative or prepositional) a noun may be."""


@cache
def lexicon() -> Lexicon:
    """Read the words of ``lexicon.toml``."""
    rows = tomllib.loads(Path(__file__).with_name("lexicon.toml").read_text(encoding="utf-8"))
    nouns = tuple(Noun(frozenset(row[5:]), *row[:5]) for row in rows["nouns"])
    places = tuple(Noun(frozenset(["place", *row[9:]]), *row[:9]) for row in rows["places"])
    verbs = tuple(Verb(frozenset(row[9:]), *row[:9]) for row in rows["verbs"])
    adjectives = tuple(Adjective(frozenset(row[3:]), *row[:3]) for row in rows["adjectives"])
    wanted = {verb.classes for verb in verbs} | {frozenset([name]) for name in ("person", "town")}
    english = [noun.singular for noun in nouns]
    flat = {
        name: tuple(
            Word(row[0], row[1], tuple(row[1:] if name == "modals" else row[2:])) for row in rows[name]
        )
        for name in ("modifiers", "times", "manners", "conjunctions", "modals", "addressees")
    }
    return Lexicon(
        nouns=nouns,
        places=places,
        verbs=verbs,
        adjectives=adjectives,
        by_class={key: tuple(noun for noun in (*nouns, *places) if noun.classes & key) for key in wanted},
        describing={
            noun: tuple(word for word in adjectives if word.classes & noun.classes)
            for noun in (*nouns, *places)
        },
        taking={
            noun: tuple(
                v for v in verbs if v.classes & noun.classes and v.frame not in ("none", "to", "that", "give")
            )
            for noun in nouns
        },
        clear=tuple(noun for noun in nouns if english.count(noun.singular) == 1),
        extending={
            noun: tuple(word for word in flat["modifiers"] if noun.classes.intersection(word.also))
            for noun in (*nouns, *places)
        },
        **flat,
    )
