"""Checks of the conformance suite: one verdict each over a method's runs, every failure explained. No torch.

A failure states what was observed, the reason why it matters, and the fix. Checks that rest on a run that was
not made are not judged rather than failed: one fault is one failure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.api import BUDGETED_KINDS
from benchmarks.conformance.suite import FinishedRun, Runs
from benchmarks.options import IGNORED
from benchmarks.records.record import Candidate
from benchmarks.records.text import sanitize

OK, FAILED, OPEN = "ok", "FAILED", "not judged"
EXPORT_TOLERANCE = 1e-4
"""Largest difference of any output (a logit) between supernet and exported sub-network, float32."""
SPLIT_PACKAGES = ("tasks", "scoring", "runs")
"""Packages of the harness that hold the path of the test data."""
READ = "Read each option through lab.options, or do not declare it: one that nothing reads has no effect."
NOT_ENDED = "the search did not end well: see above"
FIELD_NAMES = {
    "architecture": "the architecture",
    "weights_sha256": "the weights",
    "valid": "the validation score",
    "origin": "the origin",
    "spent": "what had been spent at the time",
}
"""Compared fields of a candidate -> name in a message."""


@dataclass(frozen=True)
class Check:
    """Verdict of one check: ``ok``, ``FAILED`` or ``not judged``.

    Attributes:
        name: name of the check.
        verdict: the verdict.
        observed: observation that the verdict rests on.
        reason: reason why a failure matters.
        fix: change to the method that would mend a failure.
    """

    name: str
    verdict: str
    observed: str
    reason: str = ""
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the check for ``--json``, under stable keys."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "seen": self.observed,
            "why": self.reason,
            "mend": self.fix,
        }


def judge(runs: Runs) -> list[Check]:
    """Return the verdicts of all checks, in the order in which failures should be fixed."""
    return [
        check_contract(runs),
        check_budget(runs),
        check_seeding(runs),
        check_random_state(runs),
        check_resume(runs),
        check_export(runs),
        check_test_split(runs),
    ]


def check_contract(runs: Runs) -> Check:
    """Check that a run ends without an error, yields proper candidates, reads its options, stays outside."""
    name, outcome = "contract", runs.undisturbed.outcome
    reason = "A run that breaks the contract is a failed record: it enters no table."
    if outcome["status"] == "failed":
        fix = "Mend what the message names; the line in brackets is yours. The log has the whole traceback."
        return Check(name, FAILED, sanitize(outcome["message"], 400), reason, fix)
    if IGNORED in outcome["message"]:
        return Check(name, FAILED, sanitize(outcome["message"], 400), reason, READ)
    tuned = runs.tuned.outcome if runs.tuned else {"status": "done", "message": ""}
    if crash := _crash(tuned=runs.tuned):
        return Check(name, OPEN, crash)
    if tuned["status"] == "failed" or IGNORED in tuned["message"]:
        observed = f"under external tuning: {sanitize(tuned['message'], 400)}"
        fix = f"Every trial is a run of its own under other options. {READ}"
        return Check(name, FAILED, observed, reason, fix)
    inside = _private_uses(runs.undisturbed, "contract")
    inside += [f"imports {m} ({f})" for m, f in runs.imports.items() if not _holds_data(m)]
    if inside:
        reason = "What lies below benchmarks.api changes without notice, and the method would break with it."
        fix = "Take everything from the public names of benchmarks.api and from supernet."
        return Check(name, FAILED, "; ".join(inside), reason, fix)
    if not outcome["candidates"]:
        return Check(name, OPEN, "nothing was proposed within the allowance")
    count, calls = len(outcome["candidates"]), len(runs.undisturbed.calls)
    return Check(name, OK, f"{count} candidate{'s' * (count > 1)}, {calls} calls of the Lab")


def check_budget(runs: Runs) -> Check:
    """Check that a run stops by itself, spends what its ledger charges, and survives refused charges."""
    name, run = "budget", runs.undisturbed
    reason = (
        "Only equal budgets are compared: what is not charged, or not stopped, makes the comparison unfair."
    )
    if run.outcome["status"] == "budget":
        fix = (
            "Ask lab.budget.left(...) or lab.train_batches(share) before you begin something, keep a part for"
            " it, and yield a first candidate early: candidates yielded before the end count."
        )
        message, proposed = sanitize(run.outcome["message"], 200), len(run.outcome["candidates"])
        observed = f"{message}; {proposed} candidates were proposed by then"
        return Check(name, FAILED, observed, reason, fix)
    faults = [*_private_uses(run, "budget"), *_uncharged(runs)]
    if faults:
        fix = (
            "Draw batches from lab.train_batches(share, passes) with the passes you make over each, train"
            " with supernet.train.Trainer or call net.meter(tokens) for every further pass, score with"
            " lab.evaluate only, and leave the ledger to the harness."
        )
        return Check(name, FAILED, "; ".join(faults), reason, fix)
    if runs.refused is None:
        return Check(name, OPEN, NOT_ENDED)
    if crash := _crash(refused=runs.refused):
        return Check(name, OPEN, crash)
    refused = runs.refused.outcome
    if refused["status"] == "failed" or refused.get("stopped_by") == "seconds":
        reason = "On a slower machine or a smaller budget the allowance ends earlier than you planned for."
        fix = (
            "Let BudgetExhausted rise, or catch it, yield the best so far and return. Do not try the same"
            " charge again: what is spent stays spent."
        )
        message = sanitize(refused["message"], 200)
        observed = f"when every charge was refused from half-way on: {message}"
        return Check(name, FAILED, observed, reason, fix)
    shares = run.outcome["ledger"]["share"]
    spent = ", ".join(f"{kind} {shares.get(kind, 0):.0%}" for kind in BUDGETED_KINDS)
    return Check(name, OK, f"stopped by itself at {spent}; refused charges end it well")


def _uncharged(runs: Runs) -> Iterator[str]:
    """Yield a line for each kind that exceeds its allowance, or of which more was used than charged."""
    run = runs.undisturbed
    for kind in BUDGETED_KINDS:
        if run.total(kind) > runs.budget[kind] * (1 + 1e-9):
            yield f"{run.total(kind):g} {kind} were spent of {runs.budget[kind]:g}"
    used = {
        "evaluations": sum(evaluation_cost(key) for call, key in run.calls if call == "evaluate"),
        "probes": sum(call == "probe" for call, _ in run.calls),
        "tokens": run.observed.trained_tokens if run.observed else 0,
    }
    for kind, amount in used.items():
        if amount > run.total(kind) + 0.5:
            verb = "were trained on" if kind == "tokens" else "were made"
            yield f"{amount:g} {kind} {verb}, {run.total(kind):g} were charged"


def evaluation_cost(key: str) -> float:
    """Return the evaluations that one call of ``Lab.evaluate`` costs, from the key of its journal entry."""
    # an architecture, under a policy a list behind it, and for a part of an evaluation objective and share
    share = re.search(r" \w+ ([\d.e+-]+)$", key)
    return float(share[1]) if share else 1.0


def check_seeding(runs: Runs) -> Check:
    """Check that a seed repeats under any PYTHONHASHSEED, and that another seed gives another result."""
    name, run = "seeding", runs.undisturbed
    reason = (
        "A row that its own seed does not bring back cannot be verified, and paired seeds are not paired."
    )
    if runs.perturbed is None or runs.reseeded is None:
        return Check(name, OPEN, NOT_ENDED)
    crash = _crash(
        repeated=runs.repeated, rehashed=runs.rehashed, perturbed=runs.perturbed, reseeded=runs.reseeded
    )
    if crash:
        return Check(name, OPEN, crash)
    if runs.repeated is not None and runs.repeated.digest != run.digest:
        fix = (
            "Draw every random number from lab.rng (or numpy.random.default_rng([lab.seed, ...])), decide"
            " nothing by time, and do not depend on what other processes do."
        )
        observed = f"two runs with seed 1 differ: {difference(run, runs.repeated)}"
        return Check(name, FAILED, observed, reason, fix)
    if runs.rehashed is not None and runs.rehashed.digest != run.digest:
        fix = "Do not iterate over a set or use hash(): sort first, or use a dict, which keeps its order."
        observed = f"the same seed under another PYTHONHASHSEED differs: {difference(run, runs.rehashed)}"
        return Check(name, FAILED, observed, reason, fix)
    weights = [[c["weights_sha256"] for c in r.outcome["candidates"]] for r in (run, runs.reseeded)]
    if weights[0] == weights[1]:
        reason = "Seeds that all give one result make an interval of zero width that means nothing."
        fix = "Use lab.rng and lab.seed, not a seed of your own, and lab.supernet() for initial weights."
        return Check(name, FAILED, "seeds 1 and 2 proposed the very same networks", reason, fix)
    observed = "equal seeds do the same to the last bit, also under another PYTHONHASHSEED; others differ"
    return Check(name, OK, observed)


def check_random_state(runs: Runs) -> Check:
    """Check that a run neither moves nor reads the global random generators."""
    name, run = "random-state", runs.undisturbed
    reason = (
        "Global random state belongs to everyone: any library that draws from it changes your result, and"
        " reseeding it changes theirs."
    )
    fix = "Take lab.rng, or a torch.Generator seeded from lab.seed, and pass it to every function that draws."
    moved = dict(run.observed.moved) if run.observed else {}
    if moved and runs.traced is not None and runs.traced.observed is not None:
        moved |= runs.traced.observed.moved
    if moved:
        places = "; ".join(f"{kind} was moved" + (f" in {at}" if at else "") for kind, at in moved.items())
        return Check(name, FAILED, f"global random state was used: {places}", reason, fix)
    if runs.perturbed is None:
        return Check(name, OPEN, NOT_ENDED)
    if crash := _crash(perturbed=runs.perturbed, repeated=runs.repeated, rehashed=runs.rehashed):
        return Check(name, OPEN, crash)
    if runs.perturbed.digest != run.digest:
        if _repeats(runs) and runs.rehashed is not None and runs.rehashed.digest == run.digest:
            observed = f"other global random states change the result: {difference(run, runs.perturbed)}"
            return Check(name, FAILED, observed, reason, fix)
        return Check(name, OPEN, "two runs differ for another reason: see seeding")
    return Check(name, OK, "left alone, and without influence")


def check_resume(runs: Runs) -> Check:
    """Check that a run that is killed in the middle and resumed ends as an undisturbed one."""
    name = "resume"
    if runs.resumed is None:
        return Check(name, OPEN, NOT_ENDED)
    if crash := _crash(resumed=runs.resumed, repeated=runs.repeated):
        return Check(name, OPEN, crash)
    if not _repeats(runs):
        return Check(name, OPEN, "two undisturbed runs differ already: see seeding")
    times = f"killed {runs.resumed.interruptions} time{'s' * (runs.resumed.interruptions != 1)}"
    if runs.resumed.digest != runs.undisturbed.digest:
        reason = "Long runs are interrupted; one that resumes elsewhere than it stood is another experiment."
        fix = (
            "Keep state in lab.checkpoint(name) only and all of it (Trainer.fit does, when given one); files"
            " in lab.scratch outlive a kill, so read nothing there that a fresh start would not write again."
        )
        observed = f"{times} and resumed, it differs: {difference(runs.undisturbed, runs.resumed)}"
        return Check(name, FAILED, observed, reason, fix)
    if not runs.resumed.interruptions:
        return Check(name, OPEN, "it was over before it could be killed")
    return Check(name, OK, f"{times} in the middle: equal to the last bit")


def check_export(runs: Runs) -> Check:
    """Check that exported sub-networks give the supernet's outputs."""
    name, observed = "export", runs.undisturbed.observed
    if observed is None or not observed.exports:
        return Check(name, OPEN, "no candidate was exported")
    worst = max(observed.exports, key=lambda entry: entry.distance)
    if not worst.distance <= EXPORT_TOLERANCE:
        reason = "The search ranks by the supernet's outputs, and the table shows the exported network's."
        fix = (
            "Make your WeightSource's bake() give the very weights that bind() does, and hand lab.candidate"
            " the network that you evaluated."
        )
        losses = f"{worst.supernet_loss:.4f} in the supernet, {worst.exported_loss:.4f} exported"
        apart = f"outputs up to {worst.distance:.3g} apart (allowed {EXPORT_TOLERANCE:g})"
        return Check(name, FAILED, f"candidate {worst.index}: {apart}; validation loss {losses}", reason, fix)
    return Check(name, OK, f"outputs at most {worst.distance:.1e} apart")


def check_test_split(runs: Runs) -> Check:
    """Check that a run does not reach for the sealed test data."""
    name, observed = "test-split", runs.undisturbed.observed
    faults = _private_uses(runs.undisturbed, "test split")
    faults += [f"imports {m} ({file})" for m, file in runs.imports.items() if _holds_data(m)]
    faults += [
        f"reached for {sanitize(file, 80)} of the sealed test split" + (f" in {at}" if at else "")
        for file, at in (observed.sealed if observed else {}).items()
    ]
    if faults:
        reason = "A method that has seen the test data is tuned on it, and its row is worth nothing."
        fix = "Train on lab.train_batches and choose by lab.evaluate: nothing else of the data is yours."
        return Check(name, FAILED, "; ".join(faults), reason, fix)
    if observed is None:
        return Check(name, OPEN, NOT_ENDED)
    return Check(name, OK, "not touched")


def _crash(**runs: FinishedRun | None) -> str:
    """Return a line on the first of some runs whose process ended without an outcome; empty if none did."""
    for name, run in runs.items():
        if run is not None and run.crashed:
            return f"the run '{name}' crashed: {sanitize(run.outcome['message'], 200)}"
    return ""


def _repeats(runs: Runs) -> bool:
    return runs.repeated is None or runs.repeated.digest == runs.undisturbed.digest


def _private_uses(run: FinishedRun, check: str) -> list[str]:
    """Return a line for each non-public attribute that the method used and that fails a check."""
    uses = run.private.get(check, {})
    return [f"takes {sanitize(what, 60)} ({at}), which is not in benchmarks.api" for what, at in uses.items()]


def _holds_data(module: str) -> bool:
    return module.split(".")[1] in SPLIT_PACKAGES


def difference(ours: FinishedRun, theirs: FinishedRun) -> str:
    """Return a description of the first thing in which two runs differ."""
    if ours.outcome["status"] != theirs.outcome["status"]:
        message = sanitize(theirs.outcome["message"], 200)
        return f"one ended as {ours.outcome['status']}, the other as {theirs.outcome['status']} ({message})"
    for number, (a, b) in enumerate(zip(ours.calls, theirs.calls, strict=False)):
        if a != b:
            calls = f"{a[0]} of another architecture" if a[0] == b[0] else f"{a[0]} and {b[0]}"
            return f"call {number} of the Lab is {calls}"
    if len(ours.calls) != len(theirs.calls):
        return f"{len(ours.calls)} and {len(theirs.calls)} calls of the Lab"
    candidates: Sequence[Candidate] = ours.outcome["candidates"]
    for first, second in zip(candidates, theirs.outcome["candidates"], strict=False):
        for key, words in FIELD_NAMES.items():
            if _without_seconds(first.get(key)) != _without_seconds(second.get(key)):
                return f"{words} of candidate {first['index']}"
    for kind in ("tokens", "evaluations", "probes"):
        if ours.total(kind) != theirs.total(kind):
            return f"{ours.total(kind):g} and {theirs.total(kind):g} {kind} charged"
    return "what was booked, or when the validation loss improved"


def _without_seconds(value: object) -> object:
    return {k: v for k, v in value.items() if k != "seconds"} if isinstance(value, dict) else value
