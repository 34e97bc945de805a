"""Derivations: the content of a sentence, drawn before it is written in either language.

A derivation is a tree of frozen dataclasses whose ``repr`` is canonical: it decides the split, so that no
class or field may be renamed. Probabilities are constants of the language, chosen so that sentences stay
short and every construction is frequent enough to learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from benchmarks.tasks.grammar.words import Adjective, Lexicon, Noun, Verb, Word, lexicon

T = TypeVar("T")

DETERMINERS = ("the", "the", "the", "the", "a", "a", "this", "every", "my", "his", "her", "our")
"""Determiners of a singular; repeated ones are likelier."""
PLURALS = ("the", "the", "these", "my", "her", "two", "three", "many", "some", "")
"""Determiners of a plural; the empty one stands for none."""
SPEAKERS = ("I", "he", "she", "we", "they")


class Dice:
    """Cheap draws from a numpy generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.stock: list[float] = []

    def roll(self) -> float:
        """Return a number in [0, 1)."""
        if not self.stock:
            self.stock = self.rng.random(4096).tolist()
        return self.stock.pop()

    def chance(self, p: float) -> bool:
        """Return True with probability ``p``."""
        return self.roll() < p

    def pick(self, options: Sequence[T]) -> T:
        """Return one of ``options``, uniformly."""
        return options[int(self.roll() * len(options))]


@dataclass(frozen=True)
class Pronoun:
    """A personal pronoun: I, he, she, we, they, du, ihr, Sie; or it, of a German gender."""

    word: str
    gender: str = ""


@dataclass(frozen=True)
class NounPhrase:
    """``the red kitchen table which ...``; ``modifier`` is the first part of a compound."""

    noun: Noun
    determiner: str
    plural: bool = False
    adjective: Adjective | None = None
    modifier: Word | None = None
    relative: Clause | None = None


@dataclass(frozen=True)
class Clause:
    """One clause. A relative clause lacks the noun that it describes: ``gap`` is its role in the clause.

    ``verb`` None is *to be* with ``adjective``. ``tense``: present, past, future or modal. ``asked`` is the
    kind of question (yes, who, whom, where, when), empty for a statement.
    """

    subject: NounPhrase | Pronoun | None
    verb: Verb | None
    tense: str
    modal: Word | None = None
    negative: bool = False
    adjective: Adjective | None = None
    direct: NounPhrase | Pronoun | None = None
    indirect: NounPhrase | Pronoun | None = None
    shifted: bool = False
    time: Word | None = None
    fronted: bool = False
    manner: Word | None = None
    place: NounPhrase | None = None
    gap: str = ""
    asked: str = ""


@dataclass(frozen=True)
class Sentence:
    """A main clause, perhaps with a second one; without a ``conjunction``, *that* links the two."""

    main: Clause
    second: Clause | None = None
    conjunction: Word | None = None
    second_first: bool = False
    addressee: Word | None = None


def derive(dice: Dice) -> Sentence:
    """Draw one sentence."""
    return Drawing(dice, lexicon()).draw_sentence()


class Drawing:
    """State of drawing one sentence; ``you`` is its second person, empty if it has none."""

    def __init__(self, dice: Dice, words: Lexicon) -> None:
        self.dice, self.words = dice, words
        self.you = ""

    def draw_sentence(self) -> Sentence:
        dice, kind = self.dice, self.dice.roll()
        if kind < 0.40:
            return Sentence(self.maybe_front_time(self.draw_clause()))
        if kind < 0.62:
            main, conjunction = self.draw_clause(), dice.pick(self.words.conjunctions)
            second = self.draw_clause(after=main)
            if conjunction.english == "before":
                second = replace(second, negative=False)
            # What a pronoun stands for comes first, so only sentences without one may be turned round.
            free = not any(isinstance(x, Pronoun) and x.gender for x in (second.subject, second.direct))
            turned = free and dice.chance(0.4)
            return Sentence(main, second, conjunction, turned)
        if kind < 0.74:
            verb = dice.pick([v for v in self.words.verbs if v.frame == "that"])
            tense = dice.pick(("present", "present", "past"))
            main = Clause(self.draw_subject(), verb, tense, negative=dice.chance(0.2))
            return Sentence(main, self.draw_clause())
        if kind < 0.90:
            addressee = dice.pick(self.words.addressees)
            self.you = addressee.also[0]
            main = self.draw_clause(subject=Pronoun(self.you))
            if dice.chance(0.6):
                main = self.as_question(main, ("yes", "yes", "yes", "where", "when", "whom"))
            return Sentence(main, addressee=addressee)
        return Sentence(self.as_question(self.draw_clause(), ("yes", "yes", "who", "whom", "where", "when")))

    def as_question(self, clause: Clause, kinds: tuple[str, ...]) -> Clause:
        """Turn ``clause`` into a question of one of ``kinds``; a yes-or-no question if that does not fit."""
        kind = self.dice.pick(kinds)
        if kind == "who" and clause.verb:
            return replace(clause, asked=kind, subject=None, negative=False)
        animate = isinstance(clause.direct, NounPhrase) and "person" in clause.direct.noun.classes
        if kind == "whom" and animate and clause.verb and clause.verb.frame != "give":
            return replace(clause, asked=kind, direct=None, negative=False)
        if kind == "where" and clause.place:
            return replace(clause, asked=kind, place=None, negative=False)
        if kind == "when" and clause.time:
            return replace(clause, asked=kind, time=None, negative=False)
        return replace(clause, asked="yes")

    def maybe_front_time(self, clause: Clause) -> Clause:
        """Put the time of a clause first, with probability 0.35."""
        return replace(clause, fronted=True) if clause.time and self.dice.chance(0.35) else clause

    def draw_clause(self, subject: NounPhrase | Pronoun | None = None, after: Clause | None = None) -> Clause:
        """Draw a clause, whose pronouns may refer to participants of ``after``."""
        dice = self.dice
        direct: NounPhrase | Pronoun | None = None
        thing = after.direct if after else None
        known = thing.noun if isinstance(thing, NounPhrase) and "person" not in thing.noun.classes else None
        if known and isinstance(thing, NounPhrase) and dice.chance(0.6):
            pronoun = Pronoun(
                "they" if thing.plural else "it", "pl" if thing.plural else known.gender.replace("w", "m")
            )
            if dice.chance(0.5) and self.words.describing[known]:
                return self.draw_being(pronoun, known, after)
            verbs = [v for v in self.words.taking[known] if v.frame in ("acc", "dat")]
            if verbs:
                return self.draw_doing(subject or self.draw_subject(after), dice.pick(verbs), pronoun, after)
        if dice.chance(0.15) and subject is None:
            phrase = self.draw_phrase(dice.pick(self.words.clear), plain=True)
            return self.draw_being(phrase, phrase.noun, after)
        verb = dice.pick(self.words.verbs)
        while verb.frame == "that":
            verb = dice.pick(self.words.verbs)
        subject = subject or self.draw_subject(after)
        if verb.frame not in ("none", "to"):
            direct = self.draw_object(verb)
        return self.draw_doing(subject, verb, direct, after)

    def draw_tense(self, after: Clause | None) -> str:
        """Draw a tense that agrees with the tense of ``after``."""
        if after is None:
            return self.dice.pick(("present", "present", "past", "past", "future", "modal"))
        return "past" if after.tense == "past" else self.dice.pick(("present", "present", "modal"))

    def draw_being(self, subject: NounPhrase | Pronoun, noun: Noun, after: Clause | None) -> Clause:
        """Draw a clause with *to be* and an adjective that fits ``noun``."""
        options, tense = self.words.describing[noun], self.draw_tense(after).replace("modal", "present")
        return Clause(
            subject, None, tense, adjective=self.dice.pick(options), negative=self.dice.chance(0.15)
        )

    def draw_doing(
        self,
        subject: NounPhrase | Pronoun,
        verb: Verb,
        direct: NounPhrase | Pronoun | None,
        after: Clause | None,
    ) -> Clause:
        """Draw tense, modal, indirect object, time, manner and place of a clause with a full verb."""
        dice, words = self.dice, self.words
        tense, negative = self.draw_tense(after), dice.chance(0.18)
        modal = (
            dice.pick([m for m in words.modals if not (negative and m.english == "may")])
            if tense == "modal"
            else None
        )
        indirect, shifted, place = None, False, None
        if verb.frame == "give":
            indirect = self.draw_person() if dice.chance(0.7) else self.draw_speaker()
            shifted = " " in verb.base or isinstance(direct, Pronoun) or dice.chance(0.4)
        if verb.frame == "to" or (verb.frame == "none" and verb.classes and dice.chance(0.8)):
            place = self.draw_place(verb.classes)
        elif verb.frame == "acc" and "thing" in verb.classes and dice.chance(0.15):
            place = self.draw_place(frozenset(["town"]))
        time = dice.pick([t for t in words.times if tense in t.also]) if dice.chance(0.4) else None
        manner = dice.pick(words.manners) if dice.chance(0.2) else None
        return Clause(
            subject, verb, tense, modal, negative, None, direct, indirect, shifted, time, False, manner, place
        )

    def draw_subject(self, after: Clause | None = None) -> NounPhrase | Pronoun:
        """Draw a subject, possibly a pronoun for the subject of ``after``."""
        earlier = after.subject if after else None
        if isinstance(earlier, NounPhrase) and self.dice.chance(0.4):
            if earlier.plural:
                return Pronoun("they")
            for word in ("he", "she"):
                if word in earlier.noun.classes:
                    return Pronoun(word)
        return self.draw_speaker() if self.dice.chance(0.25) else self.draw_person()

    def draw_speaker(self) -> Pronoun:
        """Draw a personal pronoun."""
        return Pronoun(self.dice.pick(SPEAKERS))

    def draw_person(self) -> NounPhrase:
        """Draw a noun phrase for a person."""
        return self.draw_phrase(self.dice.pick(self.words.by_class[frozenset(["person"])]))

    def draw_object(self, verb: Verb) -> NounPhrase | Pronoun:
        """Draw the direct object of a verb."""
        if "person" in verb.classes and self.dice.chance(0.25):
            return self.draw_speaker()
        return self.draw_phrase(self.dice.pick(self.words.by_class[verb.classes]))

    def draw_place(self, setting: frozenset[str]) -> NounPhrase:
        """Draw a place of a setting, definite with probability 0.6."""
        place = self.draw_phrase(self.dice.pick(self.words.by_class[setting]), plain=True)
        return replace(place, determiner="the", plural=False) if self.dice.chance(0.6) else place

    def draw_phrase(self, noun: Noun, plain: bool = False) -> NounPhrase:
        """Draw a noun phrase around a noun; a ``plain`` one has no relative clause."""
        dice, words = self.dice, self.words
        plural = dice.chance(0.25)
        determiner = dice.pick(PLURALS if plural else DETERMINERS)
        if self.you and determiner in ("my", "his", "her", "our", "this"):
            determiner = "your"
        options = words.describing[noun]
        adjective = dice.pick(options) if options and dice.chance(0.3) else None
        extending = words.extending[noun]
        modifier = dice.pick(extending) if extending and dice.chance(0.3) else None
        relative = None if plain or not dice.chance(0.1) else self.draw_relative(noun)
        return NounPhrase(noun, determiner, plural, adjective, modifier, relative)

    def draw_relative(self, noun: Noun) -> Clause:
        """Draw a short relative clause that describes ``noun``."""
        dice, words = self.dice, self.words
        tense = dice.pick(("present", "past"))
        if "person" in noun.classes and dice.chance(0.5):
            verb = dice.pick([v for v in words.verbs if v.frame in ("acc", "dat", "none")])
            direct = (
                None
                if verb.frame == "none"
                else self.draw_phrase(dice.pick(words.by_class[verb.classes]), plain=True)
            )
            return Clause(None, verb, tense, direct=direct, gap="subject")
        subject = self.draw_phrase(dice.pick(words.by_class[frozenset(["person"])]), plain=True)
        return Clause(subject, dice.pick(words.taking[noun]), tense, gap="direct")
