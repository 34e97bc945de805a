"""Small parallel text in English, French, Japanese and German for tests of folders."""

from __future__ import annotations

import itertools
from pathlib import Path

ANIMALS = {
    "en": ["dog", "cat", "horse", "bird", "fish", "cow", "mouse", "lion"],
    "fr": ["chien", "chat", "cheval", "oiseau", "poisson", "boeuf", "rat", "lion"],
    "ja": ["犬", "猫", "馬", "鳥", "魚", "牛", "鼠", "獅子"],
    "de": ["Hund", "Kater", "Esel", "Vogel", "Fisch", "Ochse", "Hase", "Bär"],
}
PATTERNS = {
    "en": ["The {} is in the garden with the {}.", "They have seen that the {} was not with the {}."],
    "fr": ["Le {} est dans le jardin avec le {}.", "Ils ont vu que le {} ne est pas avec le {}."],
    "ja": ["{}は{}と庭にいます。", "{}が{}と一緒ではなかったことを彼らは見ました。"],
    "de": ["Der {} ist mit dem {} in dem Garten.", "Die haben gesehen, dass der {} nicht mit dem {} war."],
}


def pairs(source: str, target: str) -> list[tuple[str, str]]:
    """Return 112 sentence pairs, no two alike on either side."""
    chosen = []
    for i, j in itertools.permutations(range(8), 2):
        for pattern in range(2):
            both = (
                PATTERNS[side][pattern].format(ANIMALS[side][i], ANIMALS[side][j])
                for side in (source, target)
            )
            chosen.append(tuple(both))
    return chosen  # type: ignore[return-value]


def write(folder: Path, source: str = "en", target: str = "fr") -> Path:
    """Write line-aligned files of three splits and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    every = pairs(source, target)
    for split, part in (("train", every[:80]), ("valid", every[80:96]), ("test", every[96:])):
        for side, language in enumerate((source, target)):
            (folder / f"{split}.{language}").write_text(lines(pair[side] for pair in part), encoding="utf-8")
    return folder


def lines(texts: object) -> str:
    """Return texts as lines of a file."""
    return "".join(f"{text}\n" for text in texts)  # type: ignore[attr-defined]
