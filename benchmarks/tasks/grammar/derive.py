"""Derivations: what a sentence says, before either language says it.

A derivation is a tree of frozen dataclasses whose ``repr`` is canonical. Chances are constants of
the language, chosen so that sentences stay short and every construction is frequent enough to learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from benchmarks.tasks.grammar.words import Adjective, Lexicon, Noun, Verb, Word, lexicon

T = TypeVar("T")

DETERMINERS = ("the", "the", "the", "the", "a", "a", "this", "every", "my", "his", "her", "our")
"""Before a singular; repeated ones are likelier."""
PLURALS = ("the", "the", "these", "my", "her", "two", "three", "many", "some", "")
"""Before a plural; the empty one is no determiner."""
SPEAKERS = ("I", "he", "she", "we", "they")


class Dice:
    """Cheap draws from a numpy generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.stock: list[float] = []

    def roll(self) -> float:
        """A number in [0, 1)."""
        if not self.stock:
            self.stock = self.rng.random(4096).tolist()
        return self.stock.pop()

    def chance(self, p: float) -> bool:
        """True with probability ``p``."""
        return self.roll() < p

    def pick(self, options: Sequence[T]) -> T:
        """One of ``options``, uniformly."""
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
    """One clause. In a relative clause the noun it describes is missing: ``gap`` says as what.

    ``verb`` None is *to be* with ``adjective``. ``tense``: present, past, future or modal.
    ``asked``: empty, or what is asked for: yes, who, whom, where, when.
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
    """A main clause and what goes with it. ``conjunction`` None with ``second`` is *that*."""

    main: Clause
    second: Clause | None = None
    conjunction: Word | None = None
    second_first: bool = False
    addressee: Word | None = None


def derive(dice: Dice) -> Sentence:
    """Draw one sentence."""
    return Drawing(dice, lexicon()).sentence()


class Drawing:
    """The drawing of one sentence; ``you`` is its second person, where it has one."""

    def __init__(self, dice: Dice, words: Lexicon) -> None:
        self.dice, self.words = dice, words
        self.you = ""

    def sentence(self) -> Sentence:
        dice, kind = self.dice, self.dice.roll()
        if kind < 0.40:
            return Sentence(self.fronted(self.clause()))
        if kind < 0.62:
            main, conjunction = self.clause(), dice.pick(self.words.conjunctions)
            second = self.clause(after=main)
            if conjunction.english == "before":
                second = replace(second, negative=False)
            # What a pronoun stands for comes first, so only sentences without one may be turned round.
            free = not any(isinstance(x, Pronoun) and x.gender for x in (second.subject, second.direct))
            turned = free and dice.chance(0.4)
            return Sentence(main, second, conjunction, turned)
        if kind < 0.74:
            verb = dice.pick([v for v in self.words.verbs if v.frame == "that"])
            tense = dice.pick(("present", "present", "past"))
            main = Clause(self.subject(), verb, tense, negative=dice.chance(0.2))
            return Sentence(main, self.clause())
        if kind < 0.90:
            addressee = dice.pick(self.words.addressees)
            self.you = addressee.also[0]
            main = self.clause(subject=Pronoun(self.you))
            if dice.chance(0.6):
                main = self.question(main, ("yes", "yes", "yes", "where", "when", "whom"))
            return Sentence(main, addressee=addressee)
        return Sentence(self.question(self.clause(), ("yes", "yes", "who", "whom", "where", "when")))

    def question(self, clause: Clause, kinds: tuple[str, ...]) -> Clause:
        """``clause`` as a question, of a kind that it can be."""
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

    def fronted(self, clause: Clause) -> Clause:
        """The time first, now and then."""
        return replace(clause, fronted=True) if clause.time and self.dice.chance(0.35) else clause

    def clause(self, subject: NounPhrase | Pronoun | None = None, after: Clause | None = None) -> Clause:
        """A clause; ``after`` is one whose participants its pronouns may stand for."""
        dice = self.dice
        direct: NounPhrase | Pronoun | None = None
        thing = after.direct if after else None
        known = thing.noun if isinstance(thing, NounPhrase) and "person" not in thing.noun.classes else None
        if known and isinstance(thing, NounPhrase) and dice.chance(0.6):
            pronoun = Pronoun(
                "they" if thing.plural else "it", "pl" if thing.plural else known.gender.replace("w", "m")
            )
            if dice.chance(0.5) and self.words.describing[known]:
                return self.being(pronoun, known, after)
            verbs = [v for v in self.words.taking[known] if v.frame in ("acc", "dat")]
            if verbs:
                return self.doing(subject or self.subject(after), dice.pick(verbs), pronoun, after)
        if dice.chance(0.15) and subject is None:
            phrase = self.phrase(dice.pick(self.words.clear), plain=True)
            return self.being(phrase, phrase.noun, after)
        verb = dice.pick(self.words.verbs)
        while verb.frame == "that":
            verb = dice.pick(self.words.verbs)
        subject = subject or self.subject(after)
        if verb.frame not in ("none", "to"):
            direct = self.object(verb)
        return self.doing(subject, verb, direct, after)

    def tense(self, after: Clause | None) -> str:
        """A tense; in a clause beside another one that goes with its tense."""
        if after is None:
            return self.dice.pick(("present", "present", "past", "past", "future", "modal"))
        return "past" if after.tense == "past" else self.dice.pick(("present", "present", "modal"))

    def being(self, subject: NounPhrase | Pronoun, noun: Noun, after: Clause | None) -> Clause:
        """``subject`` is so; ``noun`` is what it is."""
        options, tense = self.words.describing[noun], self.tense(after).replace("modal", "present")
        return Clause(
            subject, None, tense, adjective=self.dice.pick(options), negative=self.dice.chance(0.15)
        )

    def doing(
        self,
        subject: NounPhrase | Pronoun,
        verb: Verb,
        direct: NounPhrase | Pronoun | None,
        after: Clause | None,
    ) -> Clause:
        """``subject`` does something, in some tense, somehow, somewhere."""
        dice, words = self.dice, self.words
        tense, negative = self.tense(after), dice.chance(0.18)
        modal = (
            dice.pick([m for m in words.modals if not (negative and m.english == "may")])
            if tense == "modal"
            else None
        )
        indirect, shifted, place = None, False, None
        if verb.frame == "give":
            indirect = self.person() if dice.chance(0.7) else self.speaker()
            shifted = " " in verb.base or isinstance(direct, Pronoun) or dice.chance(0.4)
        if verb.frame == "to" or (verb.frame == "none" and verb.classes and dice.chance(0.8)):
            place = self.place(verb.classes)
        elif verb.frame == "acc" and "thing" in verb.classes and dice.chance(0.15):
            place = self.place(frozenset(["town"]))
        time = dice.pick([t for t in words.times if tense in t.also]) if dice.chance(0.4) else None
        manner = dice.pick(words.manners) if dice.chance(0.2) else None
        return Clause(
            subject, verb, tense, modal, negative, None, direct, indirect, shifted, time, False, manner, place
        )

    def subject(self, after: Clause | None = None) -> NounPhrase | Pronoun:
        """Who does it; perhaps the subject of the clause before."""
        earlier = after.subject if after else None
        if isinstance(earlier, NounPhrase) and self.dice.chance(0.4):
            if earlier.plural:
                return Pronoun("they")
            for word in ("he", "she"):
                if word in earlier.noun.classes:
                    return Pronoun(word)
        return self.speaker() if self.dice.chance(0.25) else self.person()

    def speaker(self) -> Pronoun:
        """A person by pronoun alone."""
        return Pronoun(self.dice.pick(SPEAKERS))

    def person(self) -> NounPhrase:
        """A person by name of what they are."""
        return self.phrase(self.dice.pick(self.words.by_class[frozenset(["person"])]))

    def object(self, verb: Verb) -> NounPhrase | Pronoun:
        """What a verb is done to."""
        if "person" in verb.classes and self.dice.chance(0.25):
            return self.speaker()
        return self.phrase(self.dice.pick(self.words.by_class[verb.classes]))

    def place(self, setting: frozenset[str]) -> NounPhrase:
        """A place of a setting, mostly a certain one."""
        found = self.phrase(self.dice.pick(self.words.by_class[setting]), plain=True)
        return replace(found, determiner="the", plural=False) if self.dice.chance(0.6) else found

    def phrase(self, noun: Noun, plain: bool = False) -> NounPhrase:
        """A noun with what surrounds it; ``plain`` without a relative clause."""
        dice, words = self.dice, self.words
        plural = dice.chance(0.25)
        determiner = dice.pick(PLURALS if plural else DETERMINERS)
        if self.you and determiner in ("my", "his", "her", "our", "this"):
            determiner = "your"
        options = words.describing[noun]
        adjective = dice.pick(options) if options and dice.chance(0.3) else None
        extending = words.extending[noun]
        modifier = dice.pick(extending) if extending and dice.chance(0.3) else None
        relative = None if plain or not dice.chance(0.1) else self.relative(noun)
        return NounPhrase(noun, determiner, plural, adjective, modifier, relative)

    def relative(self, noun: Noun) -> Clause:
        """What ``noun`` does or what is done to it: short, so that the rest of the sentence stays clear."""
        dice, words = self.dice, self.words
        tense = dice.pick(("present", "past"))
        if "person" in noun.classes and dice.chance(0.5):
            verb = dice.pick([v for v in words.verbs if v.frame in ("acc", "dat", "none")])
            direct = (
                None
                if verb.frame == "none"
                else self.phrase(dice.pick(words.by_class[verb.classes]), plain=True)
            )
            return Clause(None, verb, tense, direct=direct, gap="subject")
        subject = self.phrase(dice.pick(words.by_class[frozenset(["person"])]), plain=True)
        return Clause(subject, dice.pick(words.taking[noun]), tense, gap="direct")
