"""English text of a derivation."""

from __future__ import annotations

from benchmarks.tasks.grammar.derive import Clause, NounPhrase, Pronoun, Sentence

NOMINATIVE = {"du": "you", "ihr": "you", "Sie": "you"}
OBJECTIVE = {"I": "me", "he": "him", "she": "her", "we": "us", "they": "them"} | NOMINATIVE
PLURAL = {"I", "we", "they", "du", "ihr", "Sie"}
"""Pronouns that take the base form of a verb."""
ASKING = {"who": "who", "whom": "whom", "where": "where", "when": "when"}


def english(sentence: Sentence) -> str:
    """Return the English text of a derivation."""
    main, second = sentence.main, sentence.second
    words = write_clause(main)
    if second is not None:
        link = [sentence.conjunction.english] if sentence.conjunction else ["that"]
        words = (
            [*link, *write_clause(second), ",", *words]
            if sentence.second_first
            else [*words, *link, *write_clause(second)]
        )
    if sentence.addressee:
        words = [sentence.addressee.english, ",", *words]
    return write_text(words, "?" if main.asked else ".")


def write_text(words: list[str], end: str) -> str:
    """Join words to a sentence: no space before punctuation, a capital at the start."""
    line = " ".join(word for word in words if word).replace(" ,", ",")
    return line[0].upper() + line[1:] + end


def is_third_singular(subject: NounPhrase | Pronoun | None) -> bool:
    """Return whether the verb stands in its third person singular, as it does after *who*."""
    if isinstance(subject, Pronoun):
        return subject.word not in PLURAL
    return subject is None or not subject.plural


def write_clause(c: Clause, head: NounPhrase | None = None) -> list[str]:
    """Return the words of a clause; a relative clause describes ``head``."""
    subject = head if c.gap == "subject" and head else c.subject
    auxiliary, verb = select_verbs(c, subject)
    who = write_subject(c.subject) if c.subject else []
    negation = ["not"] if c.negative else []
    particle: list[str] = []
    if c.verb and " " in verb:
        verb, _, rest = verb.partition(" ")
        particle = [rest]
    tail = write_objects(c, particle)
    if c.manner:
        tail.append(c.manner.english)
    if c.place and c.verb:
        tail += [c.place.noun.to if c.verb.frame == "to" else c.place.noun.at, *write_phrase(c.place)]
    if c.time and not c.fronted:
        tail.append(c.time.english)
    front = [c.time.english] if c.time and c.fronted else []
    if c.asked in ("", "who"):
        start = [ASKING["who"]] if c.asked else [*front, *who]
        return [*start, *join_negation(auxiliary, negation), verb, *tail]
    asking = [ASKING[c.asked]] if c.asked in ASKING else []
    if c.asked == "whom" and c.verb and c.verb.preposition:
        asking.insert(0, c.verb.preposition)
    return [*asking, auxiliary, *who, *negation, verb, *tail]


def join_negation(auxiliary: str, negation: list[str]) -> list[str]:
    """Join an auxiliary and its negation; *can not* becomes one word."""
    return ["cannot"] if auxiliary == "can" and negation else [auxiliary, *negation]


def select_verbs(c: Clause, subject: NounPhrase | Pronoun | None) -> tuple[str, str]:
    """Return the auxiliary (empty if there is none) and the verb."""
    singular = is_third_singular(subject)
    if c.verb is None:
        first = isinstance(subject, Pronoun) and subject.word == "I"
        now, then = ("am", "was") if first else ("is", "was") if singular else ("are", "were")
        return {"present": now, "past": then}.get(c.tense, "will"), "be" if c.tense == "future" else ""
    if c.tense == "future":
        return "will", c.verb.base
    if c.modal:
        return c.modal.english, c.verb.base
    if c.negative or c.asked not in ("", "who"):
        return "did" if c.tense == "past" else "does" if singular else "do", c.verb.base
    return "", c.verb.past if c.tense == "past" else c.verb.third if singular else c.verb.base


def write_objects(c: Clause, particle: list[str]) -> list[str]:
    """Return all objects behind the verb, with its particle."""
    if c.verb is None:
        return [c.adjective.english] if c.adjective else []
    given = [] if c.direct is None else write_object(c.direct)
    if c.verb.frame == "give" and c.indirect is not None:
        to = write_object(c.indirect)
        return [*particle, *given, "to", *to] if c.shifted else [*to, *given]
    before = [c.verb.preposition] if c.verb.preposition and c.asked != "whom" and c.gap != "direct" else []
    if isinstance(c.direct, Pronoun):
        return [*before, *given, *particle]
    return [*particle, *before, *given]


def write_subject(x: NounPhrase | Pronoun) -> list[str]:
    """Return the words of a subject."""
    return [NOMINATIVE.get(x.word, x.word)] if isinstance(x, Pronoun) else write_phrase(x)


def write_object(x: NounPhrase | Pronoun) -> list[str]:
    """Return the words of an object."""
    return [OBJECTIVE.get(x.word, x.word)] if isinstance(x, Pronoun) else write_phrase(x)


def write_phrase(p: NounPhrase) -> list[str]:
    """Return the words of a noun phrase with its relative clause."""
    noun = p.noun.plural if p.plural else p.noun.singular
    words = [p.adjective.english if p.adjective else "", p.modifier.english if p.modifier else "", noun]
    words = [word for word in words if word]
    determiner = "an" if p.determiner == "a" and words[0][0] in "aeio" else p.determiner
    return [determiner, *words, *write_relative(p)]


def write_relative(p: NounPhrase) -> list[str]:
    """Return the words of the relative clause of a noun phrase."""
    if p.relative is None:
        return []
    person = "person" in p.noun.classes
    if p.relative.gap == "subject":
        return ["who" if person else "which", *write_clause(p.relative, p)]
    before = p.relative.verb.preposition if p.relative.verb else ""
    return [before, "whom" if person else "which", *write_clause(p.relative, p)]
