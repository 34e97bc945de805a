"""Sanitising of texts in records and in messages about them: a method or a stranger's machine wrote them."""

from __future__ import annotations

from collections.abc import Sequence


def sanitize(text: object, limit: int = 300) -> str:
    """Return one printable line of at most ``limit`` characters, without control or direction characters."""
    cleaned = str(text)
    if not cleaned.isprintable():
        cleaned = "".join(c if c.isprintable() else " " for c in cleaned)
    if " " in cleaned:  # the only white space that is printable; most texts are one word
        cleaned = " ".join(cleaned.split())
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 3] + "..."


def printable(text: str) -> str:
    """Return a text of the same length, with ``?`` for every character that is not printable."""
    return "".join(c if c.isprintable() else "?" for c in text)


def ascii_excerpt(value: object) -> str:
    """Return Python's ASCII form of a value, cut to 60 characters."""
    return text if len(text := ascii(value)) <= 60 else text[:57] + "..."


def without_folders(command: Sequence[str]) -> list[str]:
    """Return a command fit for publication: every path is cut to its last part, also in ``--name=path``."""
    return [_without_folders(word) for word in command]


def _without_folders(word: str) -> str:
    name, equals, value = word.partition("=")
    if equals and "/" not in name:
        return f"{name}={_without_folders(value)}"
    return ",".join(_last_part(part) for part in word.split(","))


def _last_part(word: str) -> str:
    """Return ``mine.py:Mine`` of ``/home/me/mine.py:Mine``, ``data`` of ``../data/``; addresses stay."""
    if "://" in word or "/" not in word:
        return word
    return word.rstrip("/").rpartition("/")[2]
