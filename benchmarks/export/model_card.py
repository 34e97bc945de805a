"""The model card of an exported model: its network, figures and provenance, as the folder's README.

Every text of a record is escaped, because a record may be a stranger's.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.export.request import Row
from benchmarks.export.source import StoredCandidate
from benchmarks.export.targets import Target
from benchmarks.records.record import Candidate
from benchmarks.records.selection import direct
from benchmarks.records.text import sanitize
from benchmarks.report.table_markup import escape_markdown
from benchmarks.runs.repeat import repeat_command


def render_card(
    stored: StoredCandidate, target: Target, checks: Sequence[Row], licence: str, auto: str = "AutoModel"
) -> str:
    """Return a model card as Markdown, with the few fields in front of it that model hubs read.

    Args:
        stored: the exported candidate.
        target: the runtime that it was exported to.
        checks: comparison of the copy with the original, and its latency.
        licence: licence of the data that the weights were trained on, in words.
        auto: auto class of transformers that reads the folder.
    """
    record, candidate = stored.record, stored.candidate
    spec, provenance = record["spec"], record["provenance"]
    front = ["---", "license: other", "tags: [supernet-bench]", "library_name: " + target.library, "---"]
    parts = [
        "\n".join(front),
        f"# {escape_markdown(sanitize(spec['method'], 80))} on {escape_markdown(sanitize(spec['task'], 80))}",
        f"One sub-network that {escape_markdown(sanitize(spec['method'], 80))} found, exported by"
        f" supernet-bench from record `{sanitize(record['id'], 16)}`, candidate {candidate['index']}.",
        target.loading.format(auto=auto),
        "## Figures",
        "Figures of the record, on its own machine and in PyTorch:",
        render_table(_measured(candidate)),
        "Figures of this copy, on the machine that exported it:",
        render_table(checks),
        "## Network",
        render_table([(key, _short(value), "") for key, value in candidate["architecture"].items()]),
        "## Provenance",
        render_table(
            [
                ("task, tier, seed", f"{spec['task']}, {spec['tier']}, {spec['seed']}", ""),
                ("profile", str(spec["profile"]), ""),
                ("commit", str(provenance.get("commit")), ""),
                ("weights", f"sha256 {candidate['weights_sha256']}", ""),
                *((f"data: {name}", f"sha256 {value}", "") for name, value in provenance["data"].items()),
                ("run again", repeat_command(record), ""),
            ]
        ),
        "## Licence",
        "The program is MIT-licensed. The weights were trained on data with terms of their own:"
        f" {escape_markdown(sanitize(licence))}.",
    ]
    return "\n\n".join(parts) + "\n"


def render_table(rows: Sequence[Row]) -> str:
    """Return a Markdown table of names, figures and signatures, escaped; "none" if there are no rows."""
    if not rows:
        return "none"
    lines = ["| what | value | signature |", "| :-- | :-- | :-- |"]
    lines += ["| " + " | ".join(escape_markdown(sanitize(cell, 300)) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _measured(candidate: Candidate) -> list[Row]:
    """Return the figures of a record: quality on every test set, latency, size."""
    rows: list[Row] = []
    for name, scores in direct(candidate):
        for metric, score in scores.items():
            span = f" [{_figure(score.get('low'))}, {_figure(score.get('high'))}]"
            rows.append((f"{metric} on {name}", _figure(score["value"]) + span, str(score["signature"])))
    latency = candidate.get("latency") or {}
    for name, value in (("p50", latency.get("p50")), ("p90", latency.get("p90"))):
        if value is not None:
            rows.append((f"latency {name}, ms", _figure(value), str(latency.get("signature"))))
    cost = candidate.get("cost") or {}
    rows += [(part, str(count), "") for part, count in cost.items() if isinstance(count, int | float)]
    return rows


def _figure(value: float | None) -> str:
    return f"{value:.4g}" if value is not None else "none"


def _short(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
