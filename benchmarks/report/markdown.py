"""A ``Table`` as Markdown: every text is escaped, control characters are gone already."""

from __future__ import annotations

from benchmarks.analysis.table import Table
from benchmarks.records.text import sanitize
from benchmarks.report import texts
from benchmarks.report.table_markup import escape_markdown, markdown_table


def markdown(table: Table, title: str, level: int = 1) -> str:
    """Return the whole comparison as Markdown: table, footnotes, differences, each test set, signatures.

    Args:
        table: to show.
        title: any text.
        level: of the heading; those inside are one deeper.
    """
    head, inner = "#" * level, "#" * (level + 1)
    parts = [f"{head} {escape_markdown(sanitize(title))}", escape_markdown(texts.caption(table))]
    if table.notices:
        conclusion, *reasons = map(escape_markdown, table.notices)
        parts.append("\n".join([f"> **{conclusion}**", ">", *(f"> - {reason}" for reason in reasons)]))
    parts.append(markdown_table(texts.cells(table)))
    parts.append(_bullets(texts.footnotes(table)))
    if table.carbon is not None:
        parts += [
            f"{inner} Emissions of the search, as declared",
            escape_markdown(texts.emissions_note(table)),
        ]
        parts.append(markdown_table(texts.emissions(table)))
    if table.failures:
        parts += [f"{inner} Runs that are not compared", _bullets(table.failures)]
    if table.verdicts:
        parts += [f"{inner} Run again", texts.SECOND_RUNS_NOTE, markdown_table(texts.second_runs(table))]
    against = f"{inner} Against {escape_markdown(str(table.baseline))}"
    if len(table.comparisons):
        frame = texts.paired_differences(table)
        parts += [f"{against}, paired over seeds", texts.PAIRED_NOTE, markdown_table(frame)]
    if len(table.sentences):
        note, frame = escape_markdown(texts.SENTENCES_NOTE), texts.sentence_differences(table)
        parts += [f"{against}, over test sentences, one trained network each", note, markdown_table(frame)]
    for scores in table.scores:
        recipe = f"Brackets as above; made as {_code(scores.signature)}."
        parts += [f"{inner} {escape_markdown(scores.name)} on each test set", recipe]
        parts += [markdown_table(scores.frame), *map(escape_markdown, scores.notes)]
    if table.signatures:
        lines = [f"- {escape_markdown(k)}: {_code(v)}" for k, v in table.signatures.items()]
        parts += [f"{inner} How each figure was made", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`"
