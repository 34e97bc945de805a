"""The page without a script: the main columns of every table, and every claim with its verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from benchmarks.analysis.table import Table
from benchmarks.claims import hypotheses
from benchmarks.leaderboard import claims_page
from benchmarks.records.text import sanitize
from benchmarks.report import texts

MOST_ROWS = 100
"""Rows of one table; the downloads have all."""
_COLUMNS = ("method", "limit", "quality", "ratio", "params", "seconds", "status")
_WORDS = ("method", "limit", "status", "verified")
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'self' file:">
<title>supernet-bench leaderboard, plain tables</title>
<meta name="description" content="All tables of the leaderboard and all verdicts, without a script.">
<link rel="stylesheet" href="style.css">
</head>
<body>
<header>
<nav aria-label="Site"><a href="index.html">Leaderboard with charts</a></nav>
<h1>supernet-bench leaderboard, plain tables</h1>
<p>Every table of the leaderboard without a script. Figures from different tables are not comparable.</p>
</header>
<main>
"""
_FOOT = """</main>
<footer><p>Generated from the records by <code>supernet-bench leaderboard</code>.</p></footer>
</body>
</html>
"""


def _cell(text: object, *, head: bool = False, aligned_left: bool = False) -> str:
    name = "th" if head else "td"
    kind = ' class="left words"' if aligned_left else ""
    return f"<{name}{kind}>{escape(sanitize(text, 400))}</{name}>"


def _grid(
    caption: str, heads: Sequence[str], lines: Iterable[Sequence[object]], words: Sequence[bool]
) -> str:
    top = "".join(
        f'<th scope="col"{" class=left" if aligned_left else ""}>{escape(sanitize(head, 60))}</th>'
        for head, aligned_left in zip(heads, words, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(_cell(x, aligned_left=aligned_left) for x, aligned_left in zip(line, words, strict=True))
        + "</tr>\n"
        for line in lines
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(sanitize(caption, 120))}">'
        "<table>"
        f"<caption>{escape(sanitize(caption, 400))}</caption>"
        f"<thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def table(shown: Table, sentence: str) -> str:
    """Return one table as escaped HTML: its summary, its main columns, and its notices."""
    columns = texts.columns(shown)
    kept = [key for key in _COLUMNS if key in columns]
    lines = [[columns[key][1](row) for key in kept] for row in shown.each[:MOST_ROWS]]
    left_out = len(shown.each) - len(lines)
    caption = texts.caption(shown) + (f"; {left_out:,} more rows in the CSV file" if left_out > 0 else "")
    heads = [columns[key][0] for key in kept]
    notices = "".join(f"<li>{escape(sanitize(line, 600))}</li>" for line in shown.notices)
    return (
        f"<p>{escape(sanitize(sentence, 1000))}</p>\n"
        + (f"<ul>{notices}</ul>\n" if notices else "")
        + _grid(caption, heads, lines, [key in _WORDS for key in kept])
    )


def page(tables: Sequence[tuple[str, str]], judged: Sequence[hypotheses.ClaimVerdict]) -> str:
    """Return the whole page.

    Args:
        tables: title and escaped HTML of each table, in order.
        judged: all claims.
    """
    parts = [_HEAD, '<nav aria-label="Tables"><ul>\n']
    for number, (title, _) in enumerate(tables):
        parts.append(f'<li><a href="#table-{number}">{escape(sanitize(title, 200))}</a></li>\n')
    parts.append('<li><a href="#claims">The papers\' claims</a></li>\n</ul></nav>\n')
    for number, (title, text) in enumerate(tables):
        head = escape(sanitize(title, 200))
        parts.append(f'<section><h2 id="table-{number}">{head}</h2>\n{text}</section>\n')
    parts.append('<section><h2 id="claims">The papers\' claims</h2>\n')
    if judged:
        lines = [
            (v.claim.id, v.claim.paper, v.claim.statement, claims_page.effect(v), v.claim.unit, v.n,
             claims_page.verdict_with_reason(v))
            for v in judged
        ]  # fmt: skip
        heads = ("id", "paper", "claim", "ours [95 %]", "unit", "pairs", "verdict")
        aligned_left = [head != "pairs" for head in heads]
        parts.append(_grid("Every claim with its verdict", heads, lines, aligned_left))
    else:
        parts.append("<p>No claims are judged here.</p>\n")
    return "".join([*parts, "</section>\n", _FOOT])
