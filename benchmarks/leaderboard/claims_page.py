"""Verdicts on the papers' claims for a terminal and as Markdown; ``benchmarks.claims.judge`` reaches them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.analysis.number_format import NONE
from benchmarks.claims import hypotheses
from benchmarks.claims.hypotheses import LOOKS, NOT_TESTED, UNDECIDED, Claim, ClaimVerdict, Evidence, format_p
from benchmarks.records.text import sanitize
from benchmarks.report.text_formats import md

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

RULES = (
    "A claim on records is tested once seeds 1 to n (never below 6) are paired, and once more at seeds 1"
    " to 2n; no other number of seeds counts. Supported or refuted: the t-test of the paired differences"
    " against the stated margin has a p below 0.025 after Holm over all claims of the paper on that task"
    " and tier, so that a family has a wrong verdict in at most 5 % of cases, over both looks. Undecided:"
    " it has not. Not tested: too few paired seeds, or no design here tests it. The 95 % interval is of"
    " the comparison alone. Confounded: the two methods differ in more than the claim is about, and the"
    " effect is not the mixture's alone. Only runs that ended by themselves count, on one hardware"
    " profile, one allowance and one set of settings at a time; another such group of records that decides"
    " the opposite leaves the claim undecided. The board prints the same test for the pairs that it"
    " shares. A claim on a study must hold on each table that it names, or on some table where it is"
    " existential; its p values are corrected by Holm over them. Its rule names its replicates: searches of"
    " closed tables vary over supernets, figures of measured networks are bounded."
)


def effect(verdict: ClaimVerdict) -> str:
    """``+0.19 [-1.64, +2.02]``, or why there is no interval; over several pairs of a study, one for each."""
    if len(verdict.claim.pairs) > 1 and verdict.evidence:
        told = (f"{one.profile} {_interval(verdict.claim, one)}" for one in verdict.evidence)
        return "; ".join(told)
    return _interval(verdict.claim, verdict)


def _interval(claim: Claim, found: ClaimVerdict | Evidence) -> str:
    if found.effect is None:
        return NONE
    mean = f"{found.effect:+.{claim.digits}f}"
    if found.low is None or found.high is None:
        return f"{mean} (one seed: no interval)"
    return f"{mean} [{found.low:+.{claim.digits}f}, {found.high:+.{claim.digits}f}]"


def _paper(verdict: ClaimVerdict) -> str:
    value = verdict.claim.value
    return NONE if value is None else f"{value:+g}"


class Terminal:
    """All verdicts for a rich console: one table, then what would decide the open ones."""

    def __init__(self, verdicts: Sequence[ClaimVerdict]) -> None:
        self.verdicts = verdicts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the tables and the lines under them."""
        from rich.box import SIMPLE_HEAD
        from rich.padding import Padding
        from rich.table import Table as Grid
        from rich.text import Text

        for paper, title in hypotheses.papers().items():
            grid = Grid(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
            for head in ("id", "claim", "paper", "ours [95 %]", "n", "verdict"):
                left = head in ("id", "claim", "verdict")
                grid.add_column(head, justify="left" if left else "right", no_wrap=head in ("id", "n"))
            for v in self.verdicts:
                if v.claim.paper == paper:
                    unit = f" {v.claim.unit}" if effect(v) != NONE else ""
                    told = [v.claim.id, v.claim.statement, _paper(v), effect(v) + unit, str(v.n), said(v)]
                    grid.add_row(*map(Text, told))
            yield Text(title, style="bold")
            yield grid
            yield Text()
        for v in self.verdicts:
            if v.records:
                yield Padding(Text(f"{v.claim.id}: records {' '.join(v.records)}", style="dim"), (0, 0, 0, 1))
        wanted: dict[str, list[str]] = {}
        for v in self.verdicts:
            if v.command:
                wanted.setdefault(v.command, []).append(v.claim.id)
        for command, names in wanted.items():
            yield Text(f"to decide {', '.join(names)}:")
            yield Padding(Text(command, overflow="fold"), (0, 0, 0, 2))
        for v in self.verdicts:
            if why := without_command(v):
                yield Text(f"to decide {v.claim.id}: {why}")
        yield Text()
        yield Text(RULES, style="dim")


def said(verdict: ClaimVerdict) -> str:
    """Return the verdict with its confounds, if any, and its reason."""
    return f"{verdict.words}: {verdict.why}"


def without_command(verdict: ClaimVerdict) -> str:
    """Why no command would decide an open claim; empty where one would, or where it is decided."""
    if verdict.command or verdict.verdict not in (UNDECIDED, NOT_TESTED) or verdict.claim.untested:
        return ""
    if any(one.looks == len(LOOKS) for one in verdict.evidence):
        return "no command can: both looks are spent, and it takes a new claim on new seeds"
    return f"no command can yet: {sanitize(verdict.why)}"


def markdown(verdicts: Sequence[ClaimVerdict]) -> str:
    """A page: a table for each paper, then every claim with what it rests on."""
    made = "Generated from `records/` and `studies/` by `supernet-bench leaderboard`; do not edit."
    parts = ["# The papers' claims", made, RULES]
    for paper, title in hypotheses.papers().items():
        ours = [v for v in verdicts if v.claim.paper == paper]
        parts += [f"## {md(title)}", _table(ours)]
        parts += [_details(v) for v in ours]
    return "\n\n".join(parts) + "\n"


def _table(verdicts: Sequence[ClaimVerdict]) -> str:
    lines = ["| id | claim | paper | ours \\[95 %\\] | unit | n | verdict |"]
    lines.append("| :-- | :-- | --: | --: | :-- | --: | :-- |")
    for v in verdicts:
        told = [v.claim.id, v.claim.statement, _paper(v), effect(v), v.claim.unit, str(v.n), said(v)]
        lines.append("| " + " | ".join(md(sanitize(cell)) for cell in told) + " |")
    return "\n".join(lines)


def evidence(verdict: ClaimVerdict) -> list[dict[str, Any]]:
    """What a verdict rests on: where, what is told of it, and the records used."""
    found = []
    for one in verdict.evidence:
        holm = " after Holm" if len(verdict.claim.pairs) > 1 else ""
        searched = "sign-flip p" if verdict.claim.replicates == "paired seeds" else "p"
        test = searched if verdict.claim.study else "t-test p"
        p = "" if one.p is None else f", {test} {format_p(one.p)}{holm}"
        over = f"; mean over {', '.join(one.parts)}" if one.parts else ""
        over_what = f" over {len(one.seeds)} {verdict.claim.replicates}" if one.seeds else ""
        told = f"{_interval(verdict.claim, one)}{over_what}{p}: {one.verdict},"
        found.append(
            {
                "where": sanitize(one.where),
                "told": sanitize(f"{told} {one.why}{over}", 600),
                "records": one.records,
            }
        )
    return found


def _details(verdict: ClaimVerdict) -> str:
    claim = verdict.claim
    lines: list[tuple[str, Any]] = [
        ("The paper", claim.figure),
        ("What we measure", claim.estimand),
        *([("Confounded with", claim.confounded)] if claim.confounded else []),
        ("Supported by", claim.rule),
        ("ClaimVerdict", said(verdict)),
    ]
    shown = [f"- {name}: {md(sanitize(text, 600))}" for name, text in lines]
    for found in evidence(verdict):
        ids = " ".join(f"`{i}`" for i in found["records"])
        shown.append(f"- {md(found['where'])}: {md(found['told'])}" + (f"; records {ids}" if ids else ""))
    shown += [f"- Left out: {md(sanitize(why))}" for why in verdict.left_out]
    if verdict.command:
        shown.append(f"- To decide it: `{verdict.command}`")
    elif without_command(verdict):
        shown.append(f"- To decide it: {md(without_command(verdict))}")
    return f"### {md(claim.id)}\n\n{md(claim.statement)}\n\n" + "\n".join(shown)
