"""The papers' preparation of sentence pairs: Moses, lengths and ratios, lower case where the paper has it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

Pair = tuple[str, str]


@dataclass(frozen=True)
class Preparation:
    """Steps of one paper's preparation.

    Attributes:
        normalised: punctuation is normalised and unprintable characters are removed first.
        aggressive: hyphens inside words are tokens of their own, as ``@-@``.
        lower: everything is lower-cased.
        longest: most tokens of a training sentence.
        ratio: largest ratio of the lengths of the two sides of a training pair.
    """

    normalised: bool
    aggressive: bool
    lower: bool
    longest: int
    ratio: float = 1.5

    def tokenise(self, line: str, language: str) -> str:
        """Return a line as tokens that spaces divide."""
        tools = moses(language)
        if self.normalised:
            line = tools.normalise(line)
            line = "".join(c for c in line if not unicodedata.category(c).startswith("C"))
        tokens = tools.tokenise(line, self.aggressive)
        return tokens.lower() if self.lower else tokens

    def raw(self, line: str) -> str:
        """Return a test line in the case in which outputs are scored."""
        return line.lower() if self.lower else line

    def keeps(self, source: str, target: str) -> bool:
        """Return whether a tokenised training pair is neither empty, too long nor too unlike in length."""
        a, b = (len(side.split()) for side in (source, target))
        shortest, longest = min(a, b), max(a, b)
        return shortest > 0 and longest <= self.longest and longest <= self.ratio * shortest

    def training(self, pairs: Iterable[Pair], languages: Pair) -> Iterator[Pair]:
        """Yield the tokenised pairs that are kept."""
        for pair in pairs:
            source, target = (self.tokenise(side, code) for side, code in zip(pair, languages, strict=True))
            if self.keeps(source, target):
                yield source, target


def detokenise(line: str, language: str) -> str:
    """Return tokens as running text; hyphens are joined again."""
    joined = line.replace(" @-@ ", "-")
    return moses(language).detokenise(joined.split())


def split_hyphens(line: str) -> str:
    """Split compounds at hyphens, as the scoring script of Vaswani et al. (2017) does before BLEU."""
    return re.sub(r"(\S)-(\S)", r"\1 ##AT##-##AT## \2", line)


class Moses(NamedTuple):
    """Tools of one language."""

    normalise: Callable[[str], str]
    tokenise: Callable[[str, bool], str]
    """Tokens of a line; True splits hyphens inside words."""
    detokenise: Callable[[list[str]], str]


@cache
def moses(language: str) -> Moses:
    """Return the tools of a language, those of sacremoses."""
    from sacremoses import MosesDetokenizer, MosesPunctNormalizer, MosesTokenizer

    tokeniser = MosesTokenizer(language)

    def tokenise(line: str, aggressive: bool) -> str:
        tokens: str = tokeniser.tokenize(line, aggressive_dash_splits=aggressive, return_str=True)
        return tokens

    return Moses(MosesPunctNormalizer(language).normalize, tokenise, MosesDetokenizer(language).detokenize)
