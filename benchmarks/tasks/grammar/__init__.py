"""A seeded synchronous grammar: English-like sentences and their German-like translations.

A sentence is drawn once, as a derivation (``derive``), and written out twice (``english``,
``german``). What a network has to learn: gender and case agreement, verb-final clauses, separable
verbs, the perfect bracket, inversion, adverbs in the order time, manner, place, compounds, and words
whose translation the rest of the sentence decides (*bank*: Bank or Ufer; *you*: du, ihr or Sie;
*it*: er, sie or es by the gender of what it stands for; *know*: kennen or wissen).

The hash of the derivation decides its split, so no derivation occurs in two, whatever the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from benchmarks.tasks.grammar.derive import Dice, Sentence, derive
from benchmarks.tasks.grammar.english import english
from benchmarks.tasks.grammar.german import german

__all__ = ["Pair", "corpus", "derive", "english", "german", "split_of"]

Pair = tuple[str, str]

SHARES = {"test": 0.10, "valid": 0.05}
"""Share of all derivations that falls to each held-out split; the rest is for training."""

PATIENCE = 50
"""Draws per requested sentence, after which a request is refused as more than the grammar has."""


def fingerprint(sentence: Sentence) -> bytes:
    """Return eight bytes that identify a derivation, the same on every machine."""
    return hashlib.blake2b(repr(sentence).encode(), digest_size=8).digest()


def split_of(sentence: Sentence) -> str:
    """Return the split of a derivation (``train``, ``valid`` or ``test``), whatever the seed."""
    point = int.from_bytes(fingerprint(sentence), "big") / 2**64
    for name, share in SHARES.items():
        if point < share:
            return name
        point -= share
    return "train"


def corpus(sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, list[Pair]]:
    """Draw distinct sentence pairs ``(English, German)`` for each split of ``sizes``.

    Args:
        sizes: number of sentences of each split: ``train``, ``valid``, ``test``.
        rng: determines the sentences, but not the split that a sentence belongs to.

    Raises:
        ValueError: an unknown split, or more distinct sentences than the grammar has.
    """
    unknown = set(sizes) - {"train", *SHARES}
    if unknown:
        raise ValueError(f"no split {sorted(unknown)[0]!r}: choose among train, valid, test")
    pairs: dict[str, list[Pair]] = {name: [] for name in sizes}
    requested, drawn, dice = sum(sizes.values()), 0, Dice(rng)
    seen: set[bytes] = set()
    for _ in range(1000 + PATIENCE * requested):
        if drawn == requested:
            return pairs
        sentence = derive(dice)
        split, mark = split_of(sentence), fingerprint(sentence)
        if len(pairs.get(split, ())) >= sizes.get(split, 0) or mark in seen:
            continue
        seen.add(mark)
        pairs[split].append((english(sentence), german(sentence)))
        drawn += 1
    raise ValueError(f"the grammar gave {drawn} distinct sentences of {requested} asked for: ask for fewer")
