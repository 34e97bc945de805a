"""Claims judged by a study: one verdict over all the pairs that a claim names. Imports no torch.

A claim on every pair is supported where every pair supports it, and refuted where one refutes it. A claim on
some pair (``quantifier``) is supported where one supports it, and refuted where every pair does. Anything
else is undecided, with the verdict of each pair. A pair that the study withdrew, lacks, calls interim, or has
with too few replicates is not tested. Where the study has a p of its own, corrected over its comparisons,
that must be below 5 % too: a comparison has one verdict. Other pairs have p values of Student's test against
the margin, corrected by Holm over the pairs of a claim, which bind where one pair decides: to refute "every",
to support "some".
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.claims.hypotheses import (
    NOT_TESTED,
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Claim,
    ClaimVerdict,
    Evidence,
    decide,
    margin_test,
)
from benchmarks.records.study_files import MEASURED, READ_DATA, TIMES_TIER, TIMES_UPDATES, Study
from benchmarks.records.text import sanitize
from benchmarks.stats import intervals


def judge(claim: Claim, studies: Mapping[str, Study]) -> ClaimVerdict:
    """Return the verdict on a claim that names a study."""
    study = studies.get(claim.study)
    if study is None:
        return ClaimVerdict(claim, NOT_TESTED, f"no study {claim.study}", command=command_for(claim))
    if lacking := [pair for pair in claim.pairs if pair not in study.paired]:
        why = f"study {claim.study} has no pair '{lacking[0]}'"
        return ClaimVerdict(claim, NOT_TESTED, why, command=command_for(claim))
    sampled = [p for p in claim.pairs if study.paired[p].bounds is None and study.paired[p].p is None]
    tested = {pair: margin_test(claim, study.paired[pair].values) for pair in sampled}
    adjusted = intervals.holm({pair: p for pair, p in tested.items() if p is not None})
    evidence = tuple(_evidence(claim, study, pair, adjusted.get(pair)) for pair in claim.pairs)
    verdicts = {entry.verdict for entry in evidence}
    if len(evidence) == 1:
        verdict, why = evidence[0].verdict, evidence[0].why
    elif len(verdicts) == 1:
        verdict = verdicts.pop()
        why = f"each of its {len(evidence)} tables is {verdict}"
    elif claim.quantifier == "some" and SUPPORTED in verdicts:
        reached = [entry.profile for entry in evidence if entry.verdict == SUPPORTED]
        verdict, why = SUPPORTED, f"some network reaches it: {', '.join(reached)}"
    elif claim.quantifier == "every" and REFUTED in verdicts:
        against = [entry.profile for entry in evidence if entry.verdict == REFUTED]
        verdict, why = REFUTED, f"not on every table: {', '.join(against)}"
    else:
        verdict = UNDECIDED
        why = "its tables differ: " + ", ".join(f"{entry.profile} {entry.verdict}" for entry in evidence)
    only = evidence[0] if len(evidence) == 1 else None
    return ClaimVerdict(
        claim,
        verdict,
        why,
        effect=only.effect if only else None,
        low=only.low if only else None,
        high=only.high if only else None,
        n=min((len(entry.seeds) for entry in evidence if entry.seeds), default=0),
        evidence=evidence,
        command=command_for(claim) if verdict in (UNDECIDED, NOT_TESTED) and _few(claim, study) else "",
    )


def _few(claim: Claim, study: Study) -> bool:
    """Return whether more tables, seeds on them or sessions of the study could decide the claim."""
    more = claim.replicates == "paired seeds" or claim.study in MEASURED
    figures = [study.paired[pair] for pair in claim.pairs if not study.paired[pair].withdrawn]
    return more and any(len(figure.values) < claim.n or figure.interim for figure in figures)


def _evidence(claim: Claim, study: Study, pair: str, p: float | None) -> Evidence:
    figure = study.paired[pair]
    if figure.withdrawn:
        where = f"study {study.name}, {pair}"
        why = sanitize(figure.withdrawn, 200)
        return Evidence(where, pair.partition(":")[0], (), None, None, None, None, NOT_TESTED, why, ())
    commit = sanitize(study.commit[:12]) if study.commit else "not known"
    where, table = f"study {study.name}, {pair}, commit {commit}", pair.partition(":")[0]
    seeds = tuple(range(1, max(len(figure.values), figure.count) + 1))
    if figure.unit != claim.unit or not seeds:
        why = f"its unit is {sanitize(figure.unit, 60)}" if seeds else f"0 of {claim.n} {claim.replicates}"
        verdict = UNDECIDED if seeds else NOT_TESTED
        return Evidence(where, table, seeds, None, None, None, None, verdict, why, ())
    interval = intervals.t_interval(figure.values)
    if figure.bounds is not None:
        interval = intervals.Interval(figure.values[0], *figure.bounds, claim.n)
    verdict, why = decide(claim, interval)
    alone = REFUTED if claim.quantifier == "every" else SUPPORTED
    if figure.p is not None:
        p = figure.p
        if p >= intervals.ALPHA and verdict in (SUPPORTED, REFUTED):
            verdict, why = UNDECIDED, f"p {p:.3g} after the study's correction over its comparisons"
    elif p is not None and p >= intervals.ALPHA and verdict == alone:
        verdict, why = UNDECIDED, f"p {p:.3g} after Holm over the claim's {len(claim.pairs)} tables"
    if figure.interim:
        verdict, why, p = NOT_TESTED, f"interim: {sanitize(figure.interim, 200)}", None
    figures = interval.mean, interval.low, interval.high, p
    return Evidence(where, table, seeds, *figures, verdict, why, (), is_p_of_study=figure.p is not None)


def command_for(claim: Claim) -> str:
    """Return the commands that make the study, after the runs, trainings or timings that it lacks."""
    name = MEASURED.get(claim.study, claim.study)
    reads = claim.study in READ_DATA or claim.study in MEASURED
    study = f"supernet-bench study {name}" + (" --data-dir DIR" if reads else "")
    if claim.study in TIMES_UPDATES:
        # A pair is "TASK TIER on PROFILE: KIND - KIND"; whoever types this types it on each profile.
        places = dict.fromkeys(tuple(pair.partition(" on ")[0].split()) for pair in claim.pairs)
        timed = [f"{study} --task {task} --tier {tier}" for task, tier in places]
        return " && ".join([*timed, f"supernet-bench study {claim.study}"])
    return " && ".join([*_runs(claim), study])


def _runs(claim: Claim) -> list[str]:
    """Return the commands of the runs whose winners the claim's study times; none if it reads no tier's."""
    if claim.study not in TIMES_TIER:
        return []
    commands = []
    for pair in claim.pairs:
        task, _, both = pair.partition(": ")
        methods = [method.split() for method in both.split(" - ")]
        words = ["supernet-bench", "run", claim.suite, "--task", task, "--tier", TIMES_TIER[claim.study]]
        words += ["--data-dir", "DIR", "--methods", ",".join(name for name, *_ in methods)]
        for name, *options in methods:
            for option in options:
                words += ["--option", f"{name}.{option}"]
        words += ["--seeds", str(claim.n)]
        commands.append(" ".join(words))
    return commands
