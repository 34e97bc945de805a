"""Verdicts on the papers' claims for a terminal and as Markdown; ``benchmarks.claims.judge`` reaches them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import pandas as pd

from benchmarks.analysis.number_format import NONE
from benchmarks.claims import hypotheses
from benchmarks.claims.hypotheses import LOOKS, NOT_TESTED, UNDECIDED, Claim, ClaimVerdict, Evidence
from benchmarks.records.text import sanitize
from benchmarks.report.table_markup import escape_markdown, markdown_table, rich_table
from benchmarks.stats.rounding import p_text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

RULES = (
    "A claim on records is tested once seeds 1 to n (never below 6) are paired, and once more at seeds 1 "
    "to 2n; no other number of seeds counts. Supported or refuted: the t-test of the paired differences "
    "against the stated margin has a p below 0.025 after Holm over all claims of the paper on that task "
    "and tier, so that a family has a wrong verdict in at most 5 % of cases, over both looks. Undecided: "
    "it has not. Not tested: too few paired seeds or supernets, or no design here tests it. The 95 % "
    "interval is of the comparison alone. Confounded: the two methods differ in more than the claim is "
    "about, and the effect is not that difference's alone. Only runs that ended by themselves count, on one "
    "hardware profile, one allowance and one set of settings at a time; another such group of records "
    "that decides the opposite leaves the claim undecided. The board prints the same test for the pairs "
    "that it shares. A claim on a study must hold on each table that it names, or on some table where it "
    "is existential. Where one table decides, to refute the former or to support the latter, p of "
    "Student's test against the margin must be below 0.05 after Holm over its tables, too. It has one "
    "look and is in no family with other claims. Its rule names its replicates: "
    "searches of closed tables vary over supernets, figures of measured networks are bounded."
)


class EvidenceTexts(TypedDict):
    """Evidence of a verdict as plain texts."""

    where: str
    text: str
    records: Sequence[str]


def effect(verdict: ClaimVerdict) -> str:
    """Return ``+0.19 [-1.64, +2.02]``, one for each pair of a study; or why there is no interval."""
    if len(verdict.claim.pairs) > 1 and verdict.evidence:
        return "; ".join(f"{part.profile} {_interval(verdict.claim, part)}" for part in verdict.evidence)
    return _interval(verdict.claim, verdict)


def _interval(claim: Claim, result: ClaimVerdict | Evidence) -> str:
    if result.effect is None:
        return NONE
    mean = format(result.effect, claim.form)
    if result.low is None or result.high is None:
        return f"{mean} (one seed: no interval)"
    return f"{mean} [{result.low:{claim.form}}, {result.high:{claim.form}}]"


def _paper(verdict: ClaimVerdict) -> str:
    value = verdict.claim.value
    sign = "" if verdict.claim.unit == "ratio" else "+"
    return NONE if value is None else format(value, f"{sign}g")


class TerminalClaims:
    """All verdicts for a rich console: one table a paper, then what would decide the open ones."""

    def __init__(self, verdicts: Sequence[ClaimVerdict]) -> None:
        self.verdicts = verdicts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the tables and the lines under them."""
        from rich.padding import Padding
        from rich.text import Text

        for paper, title in hypotheses.papers().items():
            heads = ("id", "claim", "paper", "ours [95 %]", "n", "verdict")
            rows = []
            for v in self.verdicts:
                if v.claim.paper == paper:
                    ours = effect(v) + (f" {v.claim.unit}" if effect(v) != NONE else "")
                    claim = v.claim.id, v.claim.statement
                    rows.append((*claim, _paper(v), ours, str(v.n), verdict_with_reason(v)))
            right = ("paper", "ours [95 %]", "n")
            yield Text(title, style="bold")
            yield rich_table(pd.DataFrame(rows, columns=heads), right=right, unbroken=("id", "n"))
            yield Text()
        for v in self.verdicts:
            if v.claim.remark:
                yield Padding(Text(f"{v.claim.id}: {v.claim.remark}"), (0, 0, 0, 1))
        for v in self.verdicts:
            if v.records:
                yield Padding(Text(f"{v.claim.id}: records {' '.join(v.records)}", style="dim"), (0, 0, 0, 1))
        claims_of: dict[str, list[str]] = {}
        for v in self.verdicts:
            if v.command:
                claims_of.setdefault(v.command, []).append(v.claim.id)
        for command, names in claims_of.items():
            yield Text(f"to decide {', '.join(names)}:")
            yield Padding(Text(command, overflow="fold"), (0, 0, 0, 2))
        for v in self.verdicts:
            if why := without_command(v):
                yield Text(f"to decide {v.claim.id}: {why}")
        yield Text()
        yield Text(RULES, style="dim")


def verdict_with_reason(verdict: ClaimVerdict) -> str:
    """Return the verdict with its confounds and its reason, and whether the claim has a remark."""
    return f"{verdict.words}: {verdict.why}" + ("; see its remark" if verdict.claim.remark else "")


def without_command(verdict: ClaimVerdict) -> str:
    """Return why no command would decide an open claim; empty if one would, or if it is decided."""
    if verdict.command or verdict.verdict not in (UNDECIDED, NOT_TESTED) or verdict.claim.untested:
        return ""
    if any(part.looks == len(LOOKS) for part in verdict.evidence):
        return "no command can: both looks are spent, and it takes a new claim on new seeds"
    return f"no command can yet: {sanitize(verdict.why)}"


def markdown(verdicts: Sequence[ClaimVerdict]) -> str:
    """Return a page: a table for each paper, then every claim with its evidence."""
    generated = "Generated from `records/` and `studies/` by `supernet-bench leaderboard`; do not edit."
    parts = ["# The papers' claims", generated, RULES]
    for paper, title in hypotheses.papers().items():
        ours = [v for v in verdicts if v.claim.paper == paper]
        parts += [f"## {escape_markdown(title)}", _table(ours)]
        parts += [_details(v) for v in ours]
    return "\n\n".join(parts) + "\n"


def _table(verdicts: Sequence[ClaimVerdict]) -> str:
    rows = []
    for v in verdicts:
        claim = v.claim.id, v.claim.statement, _paper(v)
        rows.append(map(sanitize, (*claim, effect(v), v.claim.unit, str(v.n), verdict_with_reason(v))))
    heads = ["id", "claim", "paper", "ours [95 %]", "unit", "n", "verdict"]
    return markdown_table(pd.DataFrame(map(list, rows), columns=heads))


def evidence(verdict: ClaimVerdict) -> list[EvidenceTexts]:
    """Return the evidence of a verdict: where it is, its figures, and the records used."""
    texts: list[EvidenceTexts] = []
    for part in verdict.evidence:
        test, correction = "t-test p", ""
        if part.is_p_of_study:
            test, correction = "p", " after the study's correction"
        elif verdict.claim.study:
            correction = " after Holm" if len(verdict.claim.pairs) > 1 else ""
        p = "" if part.p is None else f", {test} {p_text(part.p)}{correction}"
        over = f"; mean over {', '.join(part.parts)}" if part.parts else ""
        replicates = f" over {len(part.seeds)} {verdict.claim.replicates}" if part.seeds else ""
        figures = f"{_interval(verdict.claim, part)}{replicates}{p}: {part.verdict},"
        text = sanitize(f"{figures} {part.why}{over}", 600)
        texts.append({"where": sanitize(part.where), "text": text, "records": part.records})
    return texts


def _details(verdict: ClaimVerdict) -> str:
    claim = verdict.claim
    lines = [
        ("The paper", claim.figure),
        ("What we measure", claim.estimand),
        *([("Confounded with", claim.confounded)] if claim.confounded else []),
        *([("Remark, after the measurements", claim.remark)] if claim.remark else []),
        ("Supported by", claim.rule),
        ("Verdict", verdict_with_reason(verdict)),
    ]
    shown = [f"- {name}: {escape_markdown(sanitize(text, 600))}" for name, text in lines]
    for part in evidence(verdict):
        ids = " ".join(f"`{i}`" for i in part["records"])
        line = f"- {escape_markdown(part['where'])}: {escape_markdown(part['text'])}"
        shown.append(line + (f"; records {ids}" if ids else ""))
    shown += [f"- Left out: {escape_markdown(sanitize(why))}" for why in verdict.left_out]
    if verdict.command:
        shown.append(f"- To decide it: `{verdict.command}`")
    elif without_command(verdict):
        shown.append(f"- To decide it: {escape_markdown(without_command(verdict))}")
    return f"### {escape_markdown(claim.id)}\n\n{escape_markdown(claim.statement)}\n\n" + "\n".join(shown)
