"""Languages of a translation task: sacreBLEU's tokenizer, detokenisation, and text in the wrong language."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.stats.bleu import TOKENIZER
from benchmarks.suggestions import unknown
from benchmarks.tasks.folders.lines import Report, evenly, place, shown

TOKENIZERS = {
    "ja": "ja-mecab", "zh": "zh", "ko": "ko-mecab", "th": "char", "lo": "char", "km": "char", "my": "char",
}  # fmt: skip
"""Language -> sacreBLEU's tokenizer; 13a for every language that separates words by spaces."""
KNOWN_TOKENIZERS = ("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char")
PACKAGES = {"ja-mecab": "sacrebleu[ja]", "ko-mecab": "sacrebleu[ko]"}
"""Tokenizer -> the extra of sacreBLEU that brings it."""

CHECKED = 20_000
"""Most lines of a file whose language is judged, evenly spaced."""
FEWEST = 10
"""Fewest judged lines of which a file is refused."""
WORDS_FOREIGN, SCRIPT_FOREIGN = 0.2, 0.5
"""Share of a line from which it counts as another language's: of its words or of its letters.

Words are function words of that language; letters are of its script.
"""

_SCRIPTS = {
    "ja": "\u3040-\u30ff\u4e00-\u9fff", "zh": "\u4e00-\u9fff\u3400-\u4dbf",
    "ko": "\uac00-\ud7af\u1100-\u11ff",
    "ru": "\u0400-\u04ff", "uk": "\u0400-\u04ff", "bg": "\u0400-\u04ff", "sr": "\u0400-\u04ff",
    "el": "\u0370-\u03ff", "ar": "\u0600-\u06ff", "fa": "\u0600-\u06ff", "ur": "\u0600-\u06ff",
    "he": "\u0590-\u05ff", "hi": "\u0900-\u097f", "th": "\u0e00-\u0e7f", "ka": "\u10a0-\u10ff",
}  # fmt: skip
_LATIN = "A-Za-z\u00c0-\u024f"
_WORDS = {
    "en": "the of and to in is that it for was with on are as this be at by an not you his have from they",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an",
    "fr": "le la les de des du et un une est en que qui dans pour sur pas au avec il elle ce nous vous je",
    "es": "el la los las de del y un una es en que por con para no se su lo al como más pero está fue",
    "it": "il lo la gli le di del della e un una è in che per con non si da sono come più anche nel alla",
    "pt": "o a os as de do da dos e um uma é em que por com para não se na no como mais mas foi ao",
    "nl": "de het een en van in is dat op te zijn met voor niet aan er om ook als maar bij hij uit naar",
    "sv": "och i att det som en på är av för med till den har de inte om ett var jag så men från",
    "da": "og i at det som en på er af for med til den har de ikke om et var jeg så men fra",
    "pl": "i w na z do nie się to jest że o jak po za ale od co przez tak czy dla był tego już",
    "cs": "a v na se je že s z do o i to za jako k by pro ale po si jsou podle byl jsem",
    "ro": "și în de la a cu pe nu este că o un să din mai ca pentru sunt au fost ce sau lui",
}
_SPLIT = re.compile(r"[^\W\d_]+")


def tokenizer_of(language: str, asked: str | None) -> str:
    """Return sacreBLEU's tokenizer for a target language, checked to be installed.

    Args:
        language: code such as ``ja``, of which the part before ``-`` or ``_`` counts.
        asked: the user's choice; None for that of the language.

    Raises:
        UsageError: there is no such tokenizer, or a package for it is missing.
    """
    name = asked or TOKENIZERS.get(base(language), TOKENIZER)
    if name not in KNOWN_TOKENIZERS:
        raise unknown("tokenizer of sacreBLEU", name, KNOWN_TOKENIZERS, 'set one: tokenizer = "13a"')
    from sacrebleu.metrics.bleu import BLEU

    try:
        BLEU(tokenize=name)
    except (ImportError, RuntimeError):
        raise UsageError(
            f"sacreBLEU's tokenizer {name} for '{language}' needs a package that is not here\n"
            f"install it: pip install '{PACKAGES.get(name, 'sacrebleu')}', or score by characters:"
            ' tokenizer = "char" in task.toml'
        ) from None
    return name


def base(language: str) -> str:
    """Return a language's code without region and script: ``pt`` of ``pt_BR``."""
    return re.split(r"[-_]", language.lower(), maxsplit=1)[0]


def detokenizer(language: str) -> Callable[[str], str]:
    """Return a function that joins Moses-tokenised text again; languages without spaces lose them."""
    from sacremoses import MosesDetokenizer

    moses = MosesDetokenizer(lang=base(language))
    spaceless = base(language) in ("ja", "zh", "th", "lo", "km", "my")
    wide = (
        _SCRIPTS.get(base(language), "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff") + "\u3000-\u303f\uff00-\uffef"
    )
    between = re.compile(f"(?<=[{wide}]) +| +(?=[{wide}])")

    def join(line: str) -> str:
        text: str = moses.detokenize(line.replace("@-@", "-").split(), unescape=True)
        return between.sub("", text) if spaceless else text

    return join


def check_languages(
    sides: Sequence[Sequence[str]], languages: tuple[str, str], paths: Sequence[Path], report: Report
) -> None:
    """Count lines of one side that are in the other's language; refuse a side where most are.

    Languages without a script of their own or known function words are not judged.

    Raises:
        UsageError: most of a side's lines are in the other's language; names file and line.
    """
    codes = base(languages[0]), base(languages[1])
    if codes[0] == codes[1] or not (_known(codes[0]) and _known(codes[1])):
        return
    read = [_foreign_lines(sides[side], codes[side], codes[1 - side]) for side in (0, 1)]
    mostly = [len(foreign) > judged / 2 for judged, foreign in read]
    for side, (judged, foreign) in enumerate(read):
        if not foreign:
            continue
        own, other = languages[side], languages[1 - side]
        if judged >= FEWEST and mostly[side]:
            remedy = (
                f"are the sides swapped? --source {languages[1]} --target {languages[0]}"
                if all(mostly)
                else f"both sides read as {other}: put the {own} text into {paths[side].name}"
            )
            raise UsageError(
                f"'{paths[side]}' is to be in {own}, and {len(foreign):,} of {judged:,} lines read as {other}"
                f", such as line {foreign[0] + 1}: {shown(sides[side][foreign[0]])}\n{remedy}"
            )
        first = place(paths[side], foreign[0] + 1)
        report.count(f"lines of the {own} side that read as {codes[1 - side]}", first, len(foreign))


def _foreign_lines(lines: Sequence[str], own: str, other: str) -> tuple[int, list[int]]:
    """Return the number of judged lines, and the indices of those that are in the other language."""
    judged, foreign = 0, []
    for number in evenly(len(lines), CHECKED):
        ours, theirs = likeness(lines[number], own, other), likeness(lines[number], other, own)
        judged += bool(ours or theirs)
        if theirs > ours and theirs >= (SCRIPT_FOREIGN if _scripted(own, other) else WORDS_FOREIGN):
            foreign.append(number)
    return judged, foreign


def likeness(line: str, language: str, against: str) -> float:
    """Return the share of a line that speaks for a language: letters of its script, or function words.

    Letters count where the language's script is not that of ``against``.
    """
    if _scripted(language, against):
        return _share(line, _SCRIPTS.get(language, _LATIN))
    words = [word.lower() for word in _SPLIT.findall(line)]
    known = _FUNCTION_WORDS.get(language, frozenset())
    return sum(word in known for word in words) / max(1, len(words))


_FUNCTION_WORDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}


def _share(line: str, letters: str) -> float:
    total = sum(character.isalpha() for character in line)
    return len(re.findall(f"[{letters}]", line)) / total if total else 0.0


def _known(language: str) -> bool:
    return language in _SCRIPTS or language in _WORDS


def _scripted(own: str, other: str) -> bool:
    """Return whether the other language has a script that this one does not share."""
    return _SCRIPTS.get(own) != _SCRIPTS.get(other)
