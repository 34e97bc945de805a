"""Fronts of BLEU and latency in ONNX Runtime: translation searched at several limits for one core.

Published winners of the tiers ``front`` are rebuilt from their records and timed on this machine's processor,
in turns with the tier's reference network, in several builds. Their searches had latencies counted at prices
that were fitted to this runtime; the front has timed ones.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.records import study_files
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.records.record import Record
from benchmarks.records.study_files import ClaimFigure, StudyOutcome
from benchmarks.studies.interval_text import interval_text
from benchmarks.studies.mt_front.analysis import (
    COMPARED,
    CONTINUED,
    KNEE,
    SEEDS,
    SESSIONS,
    FrontPoint,
    beside,
    compare,
    differences,
    hypervolumes,
    over_limits,
    split_incomplete,
    timing_errors,
)
from benchmarks.studies.mt_front.timing import (
    BUILDS,
    network_key,
    select_winners,
    summarize,
    time_network,
)
from benchmarks.studies.published_winners import (
    NONE_OMITTED,
    OmittedRecords,
    judge_again,
    load_present,
    processor_profile,
    require_networks,
    time_in_rounds,
)
from benchmarks.tasks.datasets import Say

SUMMARY = "fronts of BLEU and latency in ONNX Runtime, of translation searched at several limits"
READS = "records"
SUITE, TIER = "mt", "front"
RULE = (
    "a method's front is better where the hypervolume of its winners (BLEU, latency over the reference's, to"
    " the frozen reference point), minus the other's of the same seed, differs from 0 by Student's test over"
    f" {SEEDS} seeds, p below 5 % after Holm over its family of comparisons, in each of {SESSIONS} sessions"
    " or more in which all winners were timed anew. Two families: those planned before the first run, and"
    " those with HAT going on from inherited weights, which came after the others' first verdict and before"
    " their own runs. Sessions were added to the rule when a second one had other differences than the first:"
    " no spread over seeds has their luck. Until there are two, figures are interim and have no p."
)
NOTES = (
    "Per cell: BLEU of all test sets pooled and latency over the reference network's, timed on one core,"
    " means over seeds, BLEU with its 95 % t-interval; in brackets the decoder layers of the winners.",
    "Each method by its own recipe: hat, random-search, scratch and lts train winners from nothing; the"
    " mixtures and hat-sandwich go on from inherited weights, which bignas and matformer leave as they are;"
    " minitron distils what it pruned. scratch has hat's architectures and no search to pay for. Differences"
    " between these groups are of the whole recipe. Seeds are paired for the order of their batches alone.",
)
SEED = 1
"""Seed of the order of timings, and of their draws."""


def run(folder: Path, say: Say) -> StudyOutcome:
    """Time every winner of the tiers ``front``, and compare methods by the fronts of their seeds.

    Args:
        folder: of records, such as ``results/records``.
        say: receives lines of progress.

    Raises:
        UsageError: no such records can be compared, or this machine matches no declared CPU profile.
    """
    profile = processor_profile("mt-front")
    absent = (
        f"no records of tier {TIER} in {folder}: supernet-bench run mt --task mt-multi30k-en-de --tier {TIER}"
        " makes them"
    )
    present, omitted = load_present(folder, _is_published, absent)
    winners = list(select_winners(present))
    require_networks(len(winners), folder)
    networks = {
        network_key(record, winner.product): (record, winner.product) for record, _, winner in winners
    }
    random = np.random.default_rng(SEED)
    builds = time_in_rounds(networks, BUILDS, lambda network: time_network(*network), random, say)
    points = [
        summarize(record, limit, winner, builds[network_key(record, winner.product)], profile)
        for record, limit, winner in winners
    ]
    return outcome(points, profile.name, omitted, earlier_sessions(folder.parent))


def earlier_sessions(results: Path) -> list[JsonObject]:
    """Return the sessions on the study's page, with their commits; none without a page.

    Raises:
        InvalidRecordError: the page's file was changed after it was written.
    """
    path = results / study_files.FOLDER / "mt-front.json"
    if not path.is_file():
        return []
    study_files.load(path, figures=False)
    return _sessions(json.loads(path.read_text("utf-8")))


def _sessions(page: JsonObject) -> list[JsonObject]:
    """Return the sessions of a page, the last one with the commit that timed it."""
    source = page.get("measured") or page["written"]
    *before, last = page["sessions"]
    return [*before, {**last, "commit": source["commit"]}]


def rejudge(path: Path) -> StudyOutcome:
    """Return the outcome of a study's file by the rule of today; its timings stay.

    Raises:
        InvalidRecordError: the file is of another study, or was changed after it was written.
    """

    def judge(old: JsonObject) -> StudyOutcome:
        points = [FrontPoint(**point) for point in old["points"]]
        return outcome(points, old["profile"], OmittedRecords(**old["omitted"]), old["sessions"][:-1])

    return judge_again(path, "mt-front", judge)


def _is_published(record: Record) -> bool:
    spec = record["spec"]
    return (spec["suite"], spec["tier"], record["status"]) == (SUITE, TIER, "done")


def outcome(
    points: Sequence[FrontPoint],
    profile: str,
    omitted: OmittedRecords = NONE_OMITTED,
    earlier: Sequence[JsonView] = (),
) -> StudyOutcome:
    """Return the outcome of all timings, of which there is at least one.

    Args:
        points: all winners.
        profile: of the machine.
        omitted: records that were left out.
        earlier: sessions before, as ``earlier_sessions`` returns them.
    """
    from benchmarks.report.plots.style import render
    from benchmarks.studies.mt_front import plot

    kept, left_out = split_incomplete(points)
    volumes = hypervolumes(kept)
    exploratory, apart = beside(kept), differences(volumes, COMPARED + CONTINUED)
    bleu = {name: exploratory[name]["bleu"] for name in apart}
    now: JsonObject = {"commit": None, "profile": profile, "differences": apart, "bleu": bleu}
    sessions = [*earlier, now]
    counted = [of_same_winners(session, now) for session in sessions]
    figures = compare(counted)
    luck = timing_errors(kept, np.random.default_rng(SEED))
    notes = [
        *NOTES,
        _timing_text(kept),
        *(_comparison_text(name, figure, luck.get(name), counted) for name, figure in figures.items()),
        f"The frozen reference point is far from the winners: 0.01 of the fastest winner's latency is worth"
        f" {0.01 * fastest_bleu(kept):.2f} of hypervolume.",
        *(_exploratory_text(name, parts) for name, parts in exploratory.items()),
        *gains(kept),
        *limits_kept(kept),
        f"Timed on {profile}, in turns with the reference; other programs took up to"
        f" {max(point.others_cpu for point in points):g} processors. Signature: {points[0].signature}",
    ]
    if earlier:
        commits = ", ".join(str(session["commit"])[:12] for session in earlier)
        notes.append(
            f"Earlier sessions were timed at commit {commits}. Table, picture, timing errors and all that is"
            " called exploratory have the last one's timings."
        )
    if left_out:
        notes.append(f"Left out, without a winner at each limit: {', '.join(left_out)}.")
    notes += omitted.notes
    limits = sorted({point.limit for point in kept})
    rows = [
        [
            task,
            method,
            str(len(seeds)),
            interval_text(list(seeds.values())),
            *_cells(kept, task, method, limits),
        ]
        for (task, method), seeds in volumes.items()
    ]
    return StudyOutcome(
        title="Translation in ONNX Runtime: fronts of BLEU and latency",
        question="Searched at five latency limits within decoder depths: which method's networks have the"
        " better front in a runtime where launches are cheap and width is paid for?",
        rule=RULE,
        columns=("task", "method", "seeds", "hypervolume", *(f"limit {limit:g}" for limit in limits)),
        rows=rows,
        notes=notes,
        facts={
            "study": "mt-front",
            "profile": profile,
            "points": [asdict(point) for point in points],
            "paired": figures,
            "beside": exploratory,
            "timing_errors": luck,
            "omitted": asdict(omitted),
            "sessions": sessions,
        },
        pictures=render(lambda: plot.draw(kept)),
    )


def of_same_winners(session: JsonView, now: JsonView) -> dict[str, list[float]]:
    """Return a session's differences between winners that are those of now, on the machine of now.

    Winners of a run that was made again have another BLEU, which no session of timings moves.
    """
    if session["profile"] != now["profile"]:
        return {}
    return {
        name: list(values)
        for name, values in session["differences"].items()
        if name in now["bleu"] and np.array_equal(session["bleu"][name], now["bleu"][name])
    }


def _timing_text(points: Sequence[FrontPoint]) -> str:
    """Return the sentence on the error of timings, and on how far the intervals have it."""
    planned = {method for pair in COMPARED for method in pair}
    winners = [(point.task, point.method, *point.ratios) for point in points if point.method in planned]
    return (
        f"Timing error: standard error of a mean difference by the spread of {BUILDS} builds of each network."
        " Intervals over seeds have it as far as a method's seeds have networks of their own: the planned"
        f" methods' {len(winners)} winners are {len(set(winners))} networks, counted method by method."
        " The luck of a session, in which all networks are timed, is in neither."
    )


def fastest_bleu(points: Sequence[FrontPoint]) -> float:
    """Return the mean BLEU of each run's fastest winner."""
    fastest: dict[tuple[str, str, int], FrontPoint] = {}
    for point in points:
        run = point.task, point.method, point.seed
        if run not in fastest or point.ratio < fastest[run].ratio:
            fastest[run] = point
    return float(np.mean([point.bleu for point in fastest.values()]))


def _cells(points: Sequence[FrontPoint], task: str, method: str, limits: Sequence[float]) -> Iterator[str]:
    for limit in limits:
        mine = [p for p in points if (p.task, p.method, p.limit) == (task, method, limit)]
        if not mine:
            yield "–"
            continue
        bleu = interval_text([p.bleu for p in mine], ".1f", 0, 100)
        depths = sorted({p.decoder_layers for p in mine})
        yield f"{bleu} at {np.mean([p.ratio for p in mine]):.2f} ({', '.join(map(str, depths))})"


def _comparison_text(
    name: str, figure: ClaimFigure, luck: float | None, sessions: Sequence[Mapping[str, Sequence[float]]]
) -> str:
    values = list(figure["values"])
    word, p = "interim", ""
    if "p" in figure:
        word = "undecided" if figure["p"] >= 0.05 else "better" if np.mean(values) > 0 else "worse"
        p = f", p {figure['p']:.2g} after correction, the largest of a session"
    each = [f"{np.mean(session[name]):+.2f}" for session in sessions if name in session]
    error = "" if luck is None else f", timing error {luck:.2f}"
    return (
        f"{name}: {word}, {interval_text(values, '+.2f')} hypervolume over {len(values)} seeds"
        f" (by session {', '.join(each)}){error}{p}."
    )


def _exploratory_text(name: str, parts: Mapping[str, Sequence[float]]) -> str:
    """Return the sentence on ``beside`` for one comparison."""
    forms = {
        "volume": ("hypervolume", "+.2f"),
        "bleu": ("BLEU", "+.2f"),
        "ratio": ("latency over the reference's", "+.3f"),
        "inherited": ("BLEU of inherited weights", "+.2f"),
        "counted": ("hypervolume of counted latencies", "+.2f"),
        "knee": (f"hypervolume to {KNEE[0]:g} BLEU and the reference's latency", "+.2f"),
        "bleu_alone": ("gain of the other's hypervolume by this BLEU alone", "+.2f"),
        "latency_alone": ("by these latencies alone", "+.2f"),
    }
    cells = [
        f"{forms[part][0]} {interval_text(list(values), forms[part][1])}" for part, values in parts.items()
    ]
    return f"{name}, means over limits: {', '.join(cells)} (exploratory, uncorrected)."


def gains(points: Sequence[FrontPoint]) -> Iterator[str]:
    """Yield a sentence for each method whose winners were trained beyond inherited weights."""
    gained = over_limits(
        points, lambda point: None if point.inherited_bleu is None else point.bleu - point.inherited_bleu
    )
    for (task, method), seeds in gained.items():
        cell = interval_text(list(seeds.values()), "+.2f")
        yield f"{task}, {method}: winners minus the same with inherited weights {cell} BLEU (exploratory)."


def limits_kept(points: Sequence[FrontPoint]) -> list[str]:
    """Return sentences on networks that are slower on this machine than their limit, which was counted."""
    from_loose_to_tight = sorted(points, key=lambda point: -point.limit)
    networks = {(point.task, *point.ratios): point for point in from_loose_to_tight}
    over = [point for point in networks.values() if point.ratio > point.limit]
    most = max(point.ratio / point.limit for point in points)
    late = Counter(point.method for point in points if point.ratio > point.limit)
    by_method = ", ".join(f"{method} {count}" for method, count in sorted(late.items())) or "none"
    widths: dict[int, list[float]] = {}
    for point in networks.values():
        widths.setdefault(point.decoder_width, []).append(point.ratio / point.counted - 1)
    by_width = ", ".join(f"{width}: {100 * np.mean(off):+.0f} %" for width, off in sorted(widths.items()))
    return [
        f"{len(over)} of {len(networks)} networks take longer here than their limit, which their search"
        f" counted: {100 * max(0.0, most - 1):.0f} % at most. Winners over their limit: {by_method}. Timed"
        f" minus counted latency, by decoder width: {by_width}."
    ]
