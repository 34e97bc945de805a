"""What the runs of the conformance suite say: one verdict a check, each failure explained. No torch.

A failure is told as what was seen, why it matters, and how to mend it. Checks that rest on a run that
did not come about are not judged rather than failed: one fault is one failure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.api import LIMITED
from benchmarks.conformance.suite import Ended, Runs
from benchmarks.options import IGNORED
from benchmarks.records.text import sanitize

OK, FAILED, OPEN = "ok", "FAILED", "not judged"
EXPORT_TOLERANCE = 1e-4
"""Largest difference of any output (a logit) between supernet and exported sub-network, float32."""
SPLIT_MODULES = ("tasks", "data", "score", "metrics", "ready", "worker")
"""Parts of the harness that know where test data is."""


@dataclass(frozen=True)
class Check:
    """One check's verdict: ``ok``, ``FAILED`` or ``not judged``."""

    name: str
    verdict: str
    seen: str
    why: str = ""
    mend: str = ""

    def to_dict(self) -> dict[str, str]:
        """For ``--json``."""
        return asdict(self)


def judge(runs: Runs) -> list[Check]:
    """Every check, in the order in which they are best mended."""
    return [
        contract(runs),
        budget(runs),
        seeding(runs),
        random_state(runs),
        resume(runs),
        export(runs),
        test_split(runs),
    ]


def contract(runs: Runs) -> Check:
    """It ends without an error, yields what ``lab.candidate`` made, reads its options, stays outside."""
    name, outcome = "contract", runs.whole.outcome
    why = "A run that breaks the contract is a failed record: it enters no table."
    if outcome["status"] == "failed":
        mend = "Mend what the message names; the line in brackets is yours. The log has the whole traceback."
        return Check(name, FAILED, sanitize(outcome["message"], 400), why, mend)
    if IGNORED in outcome["message"]:
        return Check(name, FAILED, sanitize(outcome["message"], 400), why, READ)
    tuned = runs.tuned.outcome if runs.tuned else {"status": "done", "message": ""}
    if tuned["status"] == "failed" or IGNORED in tuned["message"]:
        told = f"under external tuning: {sanitize(tuned['message'], 400)}"
        return Check(name, FAILED, told, why, f"Every trial is a run of its own under other options. {READ}")
    inside = _inside(runs.whole, "contract")
    inside += [f"imports {m} ({f})" for m, f in runs.imports.items() if not _knows_data(m)]
    if inside:
        why = "What lies below benchmarks.api changes without notice, and the method would break with it."
        mend = "Take everything from the public names of benchmarks.api and from supernet."
        return Check(name, FAILED, "; ".join(inside), why, mend)
    if not outcome["candidates"]:
        return Check(name, OPEN, "nothing was proposed within the allowance")
    count = len(outcome["candidates"])
    return Check(name, OK, f"{count} candidate{'s' * (count > 1)}, {len(runs.whole.calls)} calls of the Lab")


def budget(runs: Runs) -> Check:
    """It stops by itself, spends what its ledger says, and lives with refused charges."""
    name, whole = "budget", runs.whole
    why = "Only equal budgets are compared: what is not charged, or not stopped, makes the comparison unfair."
    if whole.outcome["status"] == "budget":
        mend = (
            "Ask lab.budget.left(...) or lab.train_batches(share) before you begin something, keep a part for"
            " it, and yield a first candidate early: what was yielded counts, whatever happens later."
        )
        said = sanitize(whole.outcome["message"], 200)
        proposed = len(whole.outcome["candidates"])
        return Check(name, FAILED, f"{said}; {proposed} candidates were proposed by then", why, mend)
    told = [*_inside(whole, "budget"), *_uncharged(runs)]
    if told:
        mend = (
            "Draw batches from lab.train_batches(share, passes) with the passes you make over each, train"
            " with supernet.train.Trainer or call net.meter(tokens) for every further pass, score with"
            " lab.evaluate only, and leave the ledger to the harness."
        )
        return Check(name, FAILED, "; ".join(told), why, mend)
    refused = runs.refused
    if refused is None:
        return Check(name, OPEN, NOT_ENDED)
    status, said = refused.outcome["status"], sanitize(refused.outcome["message"], 200)
    if status == "failed" or "did not stop" in said or said.startswith("seconds:"):
        why = "On a slower machine or a smaller budget the allowance ends earlier than you planned for."
        mend = (
            "Let BudgetExhausted rise, or catch it, yield the best so far and return. Do not try the same"
            " charge again: what is spent stays spent."
        )
        return Check(name, FAILED, f"when every charge was refused from half-way on: {said}", why, mend)
    shares = whole.outcome["ledger"]["share"]
    spent = ", ".join(f"{kind} {shares.get(kind, 0):.0%}" for kind in LIMITED)
    return Check(name, OK, f"stopped by itself at {spent}; refused charges end it well")


def _uncharged(runs: Runs) -> Iterator[str]:
    whole = runs.whole
    for kind in LIMITED:
        if whole.total(kind) > runs.budget[kind] * (1 + 1e-9):
            yield f"{whole.total(kind):g} {kind} were spent of {runs.budget[kind]:g}"
    made = {
        "evaluations": sum(evaluated(key) for call, key in whole.calls if call == "evaluate"),
        "probes": sum(call == "probe" for call, _ in whole.calls),
        "tokens": whole.seen.get("passes", 0),
    }
    for kind, amount in made.items():
        if amount > whole.total(kind) + 0.5:
            what = "were trained on" if kind == "tokens" else "were made"
            yield f"{amount:g} {kind} {what}, {whole.total(kind):g} were charged"


def evaluated(key: str) -> float:
    """What one call of ``Lab.evaluate`` costs, by the key that it is journaled under."""
    # an architecture, under a policy a list behind it, and for a part of an evaluation objective and share
    share = re.search(r" \w+ ([\d.e+-]+)$", key)
    return float(share[1]) if share else 1.0


def seeding(runs: Runs) -> Check:
    """The same seed does the same, under any PYTHONHASHSEED; another seed does something else."""
    name = "seeding"
    why = "A row that its own seed does not bring back cannot be verified, and paired seeds are not paired."
    if runs.same is None or runs.other is None:
        return Check(name, OPEN, NOT_ENDED)
    if runs.again is not None and runs.again.digest != runs.whole.digest:
        mend = (
            "Draw every random number from lab.rng (or numpy.random.default_rng([lab.seed, ...])), decide"
            " nothing by time, and do not depend on what other processes do."
        )
        told = f"two runs with seed 1 differ: {difference(runs.whole, runs.again)}"
        return Check(name, FAILED, told, why, mend)
    if runs.hashed is not None and runs.hashed.digest != runs.whole.digest:
        mend = "Do not iterate over a set or use hash(): sort first, or use a dict, which keeps its order."
        told = f"the same seed under another PYTHONHASHSEED differs: {difference(runs.whole, runs.hashed)}"
        return Check(name, FAILED, told, why, mend)
    weights = [[c["weights_sha256"] for c in r.outcome["candidates"]] for r in (runs.whole, runs.other)]
    if weights[0] == weights[1]:
        why = "Seeds that all give one result make an interval of zero width that says nothing."
        mend = "Use lab.rng and lab.seed, not a seed of your own, and lab.supernet() for initial weights."
        return Check(name, FAILED, "seeds 1 and 2 proposed the very same networks", why, mend)
    told = "equal seeds do the same to the last bit, also under another PYTHONHASHSEED; others differ"
    return Check(name, OK, told)


def random_state(runs: Runs) -> Check:
    """It neither moves nor reads the global generators."""
    name = "random-state"
    why = (
        "Global random state belongs to everyone: any library that draws from it changes your result, and"
        " reseeding it changes theirs."
    )
    mend = "Take lab.rng, or a torch.Generator seeded from lab.seed, and pass it on to whatever draws."
    moved: dict[str, str] = dict(runs.whole.seen.get("moved", {}))
    if moved and runs.traced is not None:
        moved |= runs.traced.seen.get("moved", {})
    if moved:
        told = "; ".join(f"{kind} was moved" + (f" in {at}" if at else "") for kind, at in moved.items())
        return Check(name, FAILED, f"global random state was used: {told}", why, mend)
    if runs.same is None:
        return Check(name, OPEN, NOT_ENDED)
    if runs.same.digest != runs.whole.digest:
        if _repeats(runs) and runs.hashed is not None and runs.hashed.digest == runs.whole.digest:
            told = f"other global random states change the result: {difference(runs.whole, runs.same)}"
            return Check(name, FAILED, told, why, mend)
        return Check(name, OPEN, "two runs differ for another reason: see seeding")
    return Check(name, OK, "left alone, and without influence")


def resume(runs: Runs) -> Check:
    """Killed in the middle and started again, it ends as if nothing had been."""
    name = "resume"
    if runs.resumed is None:
        return Check(name, OPEN, NOT_ENDED)
    if not _repeats(runs):
        return Check(name, OPEN, "two undisturbed runs differ already: see seeding")
    times = f"killed {runs.resumed.interruptions} time{'s' * (runs.resumed.interruptions != 1)}"
    if runs.resumed.digest != runs.whole.digest:
        why = "Long runs are interrupted; one that resumes elsewhere than it stood is another experiment."
        mend = (
            "Keep state in lab.checkpoint(name) only and all of it (Trainer.fit does, when given one); files"
            " in lab.scratch outlive a kill, so read nothing there that a fresh start would not write again."
        )
        told = f"{times} and resumed, it differs: {difference(runs.whole, runs.resumed)}"
        return Check(name, FAILED, told, why, mend)
    if not runs.resumed.interruptions:
        return Check(name, OPEN, "it was over before it could be killed")
    return Check(name, OK, f"{times} in the middle: equal to the last bit")


def export(runs: Runs) -> Check:
    """An exported sub-network says what the supernet says."""
    name, found = "export", runs.whole.seen.get("exports", [])
    if not found:
        return Check(name, OPEN, "no candidate was exported")
    worst = max(found, key=lambda entry: float(entry["apart"]))
    if not worst["apart"] <= EXPORT_TOLERANCE:
        why = "The search ranks by the supernet's outputs, and the table shows the exported network's."
        mend = (
            "Make your WeightSource's bake() give the very weights that bind() does, and hand lab.candidate"
            " the network that you evaluated."
        )
        told = (
            f"candidate {worst['index']}: outputs up to {worst['apart']:.3g} apart (allowed"
            f" {EXPORT_TOLERANCE:g}); validation loss {worst['supernet']:.4f} in the supernet,"
            f" {worst['exported']:.4f} exported"
        )
        return Check(name, FAILED, told, why, mend)
    return Check(name, OK, f"outputs at most {worst['apart']:.1e} apart")


def test_split(runs: Runs) -> Check:
    """It does not reach for the sealed test data."""
    name = "test-split"
    told = _inside(runs.whole, "test split")
    told += [f"imports {m} ({file})" for m, file in runs.imports.items() if _knows_data(m)]
    told += [
        f"reached for {sanitize(file, 80)} of the sealed test split" + (f" in {at}" if at else "")
        for file, at in runs.whole.seen.get("sealed", {}).items()
    ]
    if told:
        why = "A method that has seen the test data is tuned on it, and its row is worth nothing."
        mend = "Train on lab.train_batches and choose by lab.evaluate: nothing else of the data is yours."
        return Check(name, FAILED, "; ".join(told), why, mend)
    if not runs.whole.seen:
        return Check(name, OPEN, NOT_ENDED)
    return Check(name, OK, "not touched")


READ = "Read each option through lab.options, or do not declare it: one that nothing reads has no effect."
NOT_ENDED = "the search did not end well: see above"


def _repeats(runs: Runs) -> bool:
    return runs.again is None or runs.again.digest == runs.whole.digest


def _inside(ended: Ended, check: str) -> list[str]:
    found: Mapping[str, str] = ended.seen.get("inside", {}).get(check, {})
    return [
        f"takes {sanitize(what, 60)} ({at}), which is not in benchmarks.api" for what, at in found.items()
    ]


def _knows_data(module: str) -> bool:
    return module.split(".")[1] in SPLIT_MODULES


def difference(ours: Ended, theirs: Ended) -> str:
    """The first thing in which two runs differ, in words."""
    if ours.outcome["status"] != theirs.outcome["status"]:
        said = sanitize(theirs.outcome["message"], 200)
        return f"one ended as {ours.outcome['status']}, the other as {theirs.outcome['status']} ({said})"
    for number, (one, two) in enumerate(zip(ours.calls, theirs.calls, strict=False)):
        if one != two:
            same = one[0] == two[0]
            what = f"{one[0]} of another architecture" if same else f"{one[0]} and {two[0]}"
            return f"call {number} of the Lab is {what}"
    if len(ours.calls) != len(theirs.calls):
        return f"{len(ours.calls)} and {len(theirs.calls)} calls of the Lab"
    pairs: Any = zip(ours.outcome["candidates"], theirs.outcome["candidates"], strict=False)
    for one, two in pairs:
        for key in ("architecture", "weights_sha256", "valid", "origin", "spent"):
            apart = _untimed(one.get(key)) != _untimed(two.get(key))
            if apart:
                return f"{WORDS[key]} of candidate {one['index']}"
    for kind in ("tokens", "evaluations", "probes"):
        if ours.total(kind) != theirs.total(kind):
            return f"{ours.total(kind):g} and {theirs.total(kind):g} {kind} charged"
    return "what was booked, or when the validation loss improved"


WORDS = {
    "architecture": "the architecture",
    "weights_sha256": "the weights",
    "valid": "the validation score",
    "origin": "the origin",
    "spent": "what had been spent at the time",
}


def _untimed(value: Any) -> Any:
    return {k: v for k, v in value.items() if k != "seconds"} if isinstance(value, dict) else value
