"""German text of a derivation: word order, agreement, case.

Order. The finite verb stands second in a main clause, first in a question, last in any other. Between
it and the other verb forms stand, in this order: subject (unless it comes first), pronoun objects,
person given to, time, object, *nicht*, manner, place, object with a preposition.
"""

from __future__ import annotations

from benchmarks.tasks.grammar.derive import Clause, NounPhrase, Pronoun, Sentence
from benchmarks.tasks.grammar.english import write_text
from benchmarks.tasks.grammar.words import Verb

CASES = {"nom": 0, "acc": 1, "dat": 2}
GENDERS = {"m": 0, "w": 0, "f": 1, "n": 2, "pl": 3}
ARTICLE = (("der", "die", "das", "die"), ("den", "die", "das", "die"), ("dem", "der", "dem", "den"))
RELATIVE = (ARTICLE[0], ARTICLE[1], ("dem", "der", "dem", "denen"))
STRONG = (("er", "e", "es", "e"), ("en", "e", "es", "e"), ("em", "er", "em", "en"))
WEAK = (("e", "e", "e", "en"), ("en", "e", "e", "en"), ("en", "en", "en", "en"))
MIXED = (("er", "e", "es", "en"), ("en", "e", "es", "en"), ("en", "en", "en", "en"))
EIN = (("", "e", "", "e"), ("en", "e", "", "e"), ("em", "er", "em", "en"))
"""Endings by case and gender (plural last): *dieser* and adjectives without an article, adjectives after
*der*, adjectives after *ein*, and *ein* itself."""

STRONG_STEMS = {"this": "dies", "these": "dies", "every": "jed", "many": "viel", "some": "einig"}
EIN_STEMS = {"a": "ein", "no": "kein", "my": "mein", "his": "sein", "her": "ihr", "our": "unser"}
YOUR = {"du": "dein", "ihr": "euer", "Sie": "Ihr"}
NUMBERS = {"two": "zwei", "three": "drei"}

PERSONS = {"I": 0, "du": 1, "he": 2, "she": 2, "it": 2, "we": 3, "ihr": 4, "they": 5, "Sie": 5}
PRONOUNS = {
    "I": ("ich", "mich", "mir"),
    "du": ("du", "dich", "dir"),
    "he": ("er", "ihn", "ihm"),
    "she": ("sie", "sie", "ihr"),
    "we": ("wir", "uns", "uns"),
    "ihr": ("ihr", "euch", "euch"),
    "they": ("sie", "sie", "ihnen"),
    "Sie": ("Sie", "Sie", "Ihnen"),
    "n": ("es", "es", "ihm"),
}
THINGS = {"m": "he", "f": "she", "n": "n"}
"""Gender of a thing -> its pronoun."""

HABEN = ("habe", "hast", "hat", "haben", "habt", "haben")
SEIN = ("bin", "bist", "ist", "sind", "seid", "sind")
WAR = ("war", "warst", "war", "waren", "wart", "waren")
WERDEN = ("werde", "wirst", "wird", "werden", "werdet", "werden")
WISSEN = ("weiß", "weißt", "weiß", "wissen", "wisst", "wissen")

CONTRACTED = {
    ("in", "dem"): "im",
    ("in", "das"): "ins",
    ("an", "dem"): "am",
    ("an", "das"): "ans",
    ("zu", "dem"): "zum",
    ("zu", "der"): "zur",
    ("bei", "dem"): "beim",
    ("von", "dem"): "vom",
}


class German:
    """Writer of one sentence; ``you`` selects *dein*, *euer* or *Ihr*."""

    def __init__(self, you: str) -> None:
        self.you = you

    def write_clause(self, c: Clause, order: str, head: NounPhrase | None = None) -> list[str]:
        """Return the words of a clause; ``order``: main, inverted, question, or last (the finite verb)."""
        subject = head if c.gap == "subject" and head else c.subject
        finite, end = select_verbs(c, person_index(subject))
        if order == "last":
            opening = [] if c.subject is None else self.write_noun(c.subject, "nom")
            return [*opening, *self.write_middle(c), *close_clause(finite, end, c)]
        first = self.write_first(c)
        if first is None or order == "inverted":
            front = [c.time.german] if c.time and c.fronted and order == "main" else []
            opening = [] if c.subject is None else self.write_noun(c.subject, "nom")
        else:
            front, opening = first, [] if c.subject is None else self.write_noun(c.subject, "nom")
            if c.asked in ("", "who"):
                opening = []
        return [*front, finite, *opening, *self.write_middle(c), *end]

    def write_first(self, c: Clause) -> list[str] | None:
        """Return the words before the finite verb of a main clause; None if that or the time comes first."""
        if c.asked == "yes" or (c.time and c.fronted):
            return None
        if c.asked == "who":
            return ["wer"]
        if c.asked == "where":
            return ["wohin" if c.verb and c.verb.frame == "to" else "wo"]
        if c.asked == "when":
            return ["wann"]
        if c.asked == "whom" and c.verb:
            preposition, case = government(c.verb)
            return [preposition, "wem" if case == "dat" else "wen"]
        return [] if c.subject is None else self.write_noun(c.subject, "nom")

    def write_middle(self, c: Clause) -> list[str]:
        """Return the words between the subject and the last verb forms."""
        if c.verb is None:
            return ["nicht" if c.negative else "", c.adjective.german if c.adjective else ""]
        preposition, case = government(c.verb)
        none = c.negative and not preposition and is_unspecific(c.direct)
        direct = [] if c.direct is None else self.write_noun(c.direct, case, preposition, none)
        indirect = [] if c.indirect is None else self.write_noun(c.indirect, "dat")
        time = [c.time.german] if c.time and not c.fronted else []
        words = list(direct) if isinstance(c.direct, Pronoun) and not preposition else []
        words += [*indirect, *time]
        if not isinstance(c.direct, Pronoun) and not preposition:
            words += direct
        if c.negative and not none:
            words.append("nicht")
        if c.manner:
            words.append(c.manner.german)
        if c.place:
            going = c.verb.frame == "to"
            where = c.place.noun.zu if going else c.place.noun.bei
            words += self.write_noun(c.place, "acc" if going and where != "zu" else "dat", where)
        return [*words, *direct] if preposition else words

    def write_noun(
        self, x: NounPhrase | Pronoun, case: str, preposition: str = "", none: bool = False
    ) -> list[str]:
        """Return the words of a participant in a case; ``none`` turns *ein* into *kein*."""
        if isinstance(x, Pronoun):
            word = THINGS.get(x.gender, "they") if x.gender else x.word
            return [preposition, PRONOUNS[word][CASES[case]]]
        k, g = CASES[case], GENDERS["pl" if x.plural else x.noun.gender]
        article, endings = self.select_article("no" if none else x.determiner, k, g)
        if (preposition, article) in CONTRACTED and x.determiner == "the":
            preposition, article = CONTRACTED[preposition, article], ""
        adjective = x.adjective.stem + endings[k][g] if x.adjective else ""
        noun = x.noun.german_many if x.plural or (x.noun.gender == "w" and case != "nom") else x.noun.german
        if x.plural and case == "dat" and noun[-1] not in "ns":
            noun += "n"
        if x.modifier:
            noun = x.modifier.german + noun.lower()
        return [preposition, article, adjective, noun, *self.write_relative(x)]

    def select_article(self, determiner: str, k: int, g: int) -> tuple[str, tuple[tuple[str, ...], ...]]:
        """Return a determiner in case ``k`` and gender ``g``, and the endings of an adjective after it."""
        if determiner == "the":
            return ARTICLE[k][g], WEAK
        if determiner in STRONG_STEMS:
            weak = determiner in ("this", "these", "every")
            return STRONG_STEMS[determiner] + STRONG[k][g], WEAK if weak else STRONG
        stem = YOUR[self.you] if determiner == "your" else EIN_STEMS.get(determiner)
        if stem is None:
            return NUMBERS.get(determiner, ""), STRONG
        ending = EIN[k][g]
        return ("eur" if stem == "euer" and ending else stem) + ending, MIXED

    def write_relative(self, p: NounPhrase) -> list[str]:
        """Return the words of the relative clause of a noun phrase, between commas."""
        c = p.relative
        if c is None:
            return []
        preposition, case = government(c.verb) if c.verb and c.gap == "direct" else ("", "nom")
        pronoun = RELATIVE[CASES[case]][GENDERS["pl" if p.plural else p.noun.gender]]
        return [",", preposition, pronoun, *self.write_clause(c, "last", p), ","]


def german(sentence: Sentence) -> str:
    """Return the German text of a derivation."""
    main, second = sentence.main, sentence.second
    writer = German(sentence.addressee.also[0] if sentence.addressee else "")
    if second is None:
        words = writer.write_clause(main, "main")
    else:
        link = sentence.conjunction.german if sentence.conjunction else "dass"
        below = [link, *writer.write_clause(second, "last")]
        if sentence.second_first:
            words = [*below, ",", *writer.write_clause(main, "inverted")]
        else:
            words = [*writer.write_clause(main, "main"), ",", *below]
    if sentence.addressee:
        words = [sentence.addressee.german, ",", *words]
    words = [word for word in words if word]
    kept = [w for w, after in zip(words, [*words[1:], ","], strict=True) if not (w == "," and after == ",")]
    return write_text(kept, "?" if main.asked else ".")


def is_unspecific(x: NounPhrase | Pronoun | None) -> bool:
    """Return whether *nicht* and this participant merge into *kein*."""
    return isinstance(x, NounPhrase) and x.determiner in ("a", "")


def government(verb: Verb) -> tuple[str, str]:
    """Return the preposition (empty if there is none) and the case of a verb's object."""
    if "+" in verb.frame:
        preposition, _, case = verb.frame.partition("+")
        return preposition, case
    return "", "dat" if verb.frame == "dat" else "acc"


def person_index(subject: NounPhrase | Pronoun | None) -> int:
    """Return 0 to 5 for ich, du, er, wir, ihr, sie; *wer* counts as *er*."""
    if isinstance(subject, Pronoun):
        return PERSONS[subject.word]
    return 5 if subject is not None and subject.plural else 2


def select_verbs(c: Clause, who: int) -> tuple[str, list[str]]:
    """Return the finite form and the forms that close a main clause."""
    if c.verb is None:
        if c.tense == "future":
            return WERDEN[who], ["sein"]
        return (WAR if c.tense == "past" else SEIN)[who], []
    prefix, bar, stem = c.verb.german.rpartition("|")
    if c.tense == "past":
        return (HABEN if c.verb.auxiliary == "h" else SEIN)[who], [c.verb.participle]
    if c.tense == "future":
        return WERDEN[who], [prefix + stem]
    if c.modal:
        # English "must not" is German "darf nicht".
        forms = MAY_NOT if c.negative and c.modal.english == "must" else c.modal.also
        return forms[who], [prefix + stem]
    return conjugate_present(stem, c.verb.er, who), [prefix] if bar else []


MAY_NOT = ("darf", "darfst", "darf", "dürfen", "dürft", "dürfen")


def close_clause(finite: str, end: list[str], c: Clause) -> list[str]:
    """Return the verb forms at the end of a clause whose finite verb is last; a prefix joins its verb."""
    joins = c.verb is not None and c.tense == "present" and bool(end)
    return [end[0] + finite] if joins else [*end, finite]


def conjugate_present(infinitive: str, er: str, who: int) -> str:
    """Return a present form; ``er`` is the third person, whose vowel the second shares."""
    if infinitive == "wissen":
        return WISSEN[who]
    if who in (3, 5):
        return infinitive
    stem = infinitive.removesuffix("en") if infinitive.endswith("en") else infinitive.removesuffix("n")
    if who == 0:
        return "angle" if infinitive == "angeln" else stem + "e"
    if who == 1:
        changed = er.removesuffix("t")
        return er if changed[-1] in "sßz" else changed + "st"
    if who == 2:
        return er
    return stem + ("et" if stem[-1] in "td" else "t")
