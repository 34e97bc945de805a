"""Processes of runs: a search, a scoring, the measurement of a reference network.

Imports nothing heavy at the top: the command that plans and supervises imports this module too.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from benchmarks.api import BudgetExhausted, Method, Skip, TaskInfo, UsageError, Window
from benchmarks.hardware import timing_lock
from benchmarks.lab.journal import ReplayDivergedError
from benchmarks.options import IGNORED, Options
from benchmarks.records.probe_keys import PublishedProbes
from benchmarks.records.spec import SELF, allowances
from benchmarks.records.store import write_text
from benchmarks.registry import load
from benchmarks.runs import encrypted_references
from benchmarks.runs.channel import Channel, Pulse, ReportedClock, ReportedJournal, ReportedLedger
from benchmarks.runs.executor import ASK_TO_STOP, hold_lock
from benchmarks.runs.heartbeat import JOURNAL
from benchmarks.runs.job import LeaderCandidate, ReferenceJob, ScoreJob, SearchJob
from benchmarks.suggestions import suggest

if TYPE_CHECKING:
    from benchmarks.lab.lab import BenchLab
    from supernet.space import Architecture

SKIPPED = "skip.json"
"""File written instead of an outcome if the method does not apply to the task."""
STOPPED_CODE = 75
"""Exit code of a run that was asked to stop and will go on."""


class Terminated(BaseException):
    """Raised at SIGTERM: by the supervisor's clock the time is over."""


def search(job: SearchJob, channel: Channel) -> None:
    """Run one session of a method's search, and report it to the supervisor.

    Args:
        job: arguments of the session.
        channel: to the supervisor, which writes all files of the run but the Lab's own.
    """
    ledger = ReportedLedger(channel, job.spec.budget, ReportedClock(channel), allowances(job.spec.to_dict()))
    session = _Session(ledger, channel)
    session.pulse = Pulse(channel, session.state)

    def end(status: str, message: str, aside: bool = False) -> None:
        session.close()
        channel.ask("end", status, message, aside)

    code = 0
    try:
        _handle_signals(session)
        result = _search(job, session)
        if isinstance(result, Skip):
            channel.ask("skip", str(result.reason))
        else:
            end(*result)
    except Terminated:
        allowed, ledger.stopped_by = ledger.allowance["seconds"], "seconds"
        end("budget", f"did not stop by itself: terminated after 102 % of its {allowed:g} seconds")
    except ReplayDivergedError as error:
        traceback.print_exc()
        end("failed", f"{error}. What it left is set aside, the next attempt starts afresh", aside=True)
    except Exception as error:
        traceback.print_exc()
        end("failed", _describe(error, job.source))
    except BaseException as error:
        from benchmarks.lab.checkpoints import Interrupted

        if isinstance(error, Interrupted | KeyboardInterrupt):
            session.close()
            code = STOPPED_CODE
        else:  # SystemExit and the like: a search must not end by leaving the process
            traceback.print_exc()
            end("failed", _describe(error, job.source))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a method's own threads must not keep the process


class _Session:
    """State of one session of a search, which its pulse and the signal handlers share."""

    def __init__(self, ledger: ReportedLedger, channel: Channel) -> None:
        self.ledger, self.channel = ledger, channel
        self.lab: BenchLab | None = None
        self.pulse: Pulse | None = None
        self.messages: list[str] = []

    def state(self) -> Mapping[str, object]:
        """Return the state that the heartbeat reports."""
        lab = self.lab
        return {
            "stopped_by": self.ledger.stopped_by,
            "progress": lab.note if lab else (0, 0, ""),
            "search_log": list(lab.search_log) if lab else [],
            "messages": list(self.messages),
        }

    def close(self) -> None:
        """Report a last time."""
        if self.pulse is not None:
            self.pulse.close()


def _search(job: SearchJob, session: _Session) -> tuple[str, str] | Skip:
    """Return ``(status, message)`` of a search, or the method's reason not to run.

    Raises:
        ContractViolationError: the method breaks the rules of ``benchmarks.api``.
    """
    ledger, spec = session.ledger, job.spec
    with ledger.clock.pause("start"):
        import numpy as np
        import torch

        from benchmarks.hardware import profiles, threads
        from benchmarks.lab.batches import derive_seed
        from benchmarks.lab.candidates import ContractViolationError
        from benchmarks.lab.lab import BenchLab
        from benchmarks.measurement.workload import RUNTIMES, Workload
        from benchmarks.tasks import get_task
        from supernet.quantization.precisions import int8_of

        threads.apply(profiles.get(spec.profile), job.jobs)
        salt = () if job.lab is None else job.lab.salt
        seed = derive_seed(spec.seed, spec.task, spec.method, "global", *salt)

        def seed_globals() -> None:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)

        seed_globals()
        make_lab: Callable[..., BenchLab] = BenchLab
        if job.lab is not None:
            module, _, name = job.lab.function.partition(":")
            factory = getattr(importlib.import_module(module), name)(job.source)
            seed_globals()
            make_lab = factory(job.folder, job.lab.settings)
        task = get_task(spec.task)
        tier = task.tier(spec.tier, job.device)
        # Declared here, too, for methods whose `supports` depends on them.
        precisions = RUNTIMES[Workload.of(tier.workload).runtime]
        int8 = int8_of(getattr(task.family(tier, job.prepared), "deployed_int8", "int8"), precisions)
        settings = dict(tier.settings) | {"precisions": precisions, "deployed_int8": int8}
        info = TaskInfo(task.name, task.suite, spec.tier, task.metric, settings)
    kind = load(job.source, job.method_sha256)
    options = Options(kind.options, spec.options)
    method = kind()
    answer = method.supports(info)
    if isinstance(answer, Skip):
        return answer
    if answer is not None:
        raise ContractViolationError(f"supports() returned {answer!r}: None, or Skip('why not')")
    with ledger.clock.pause("start"):
        journal = ReportedJournal(session.channel, job.folder / JOURNAL)
        lab = make_lab(
            job.folder,
            info,
            task,
            tier,
            job.prepared,
            ledger=ledger,
            journal=journal,
            seed=spec.seed,
            method=spec.method,
            device=job.device,
            limits=job.limits,
            reference_ms=job.reference_ms,
            options=options,
            checkpoint_seconds=job.checkpoint_seconds,
            say=session.messages.append,
        )
        if kind.follows is not None:  # a tier's parent gives weights alone
            lab.given = tuple(_leader_entry(lab, candidate) for candidate in job.leader_candidates)
        lab.leader_artifacts, lab.starts = job.leader_artifacts, job.starts
        lab.published_probes = PublishedProbes(job.probe_answers)
        session.lab = lab
    with ExitStack() as at_work:
        at_work.callback(lab.close)
        with ledger.clock.pause("timing lock"):
            at_work.enter_context(timing_lock.working())
        if spec.ruleset == SELF:
            return _run_method(method, lab, options)
        results = []
        for number, trial in enumerate(spec.trials, 1):
            seed_globals()
            options = Options(kind.options, trial)
            lab.begin_trial(number, options)
            with ledger.in_phase(f"trial {number}"):
                results.append((number, *_run_method(kind(), lab, options)))
            if results[-1][1] == "failed":
                break
    worst = max((status for _, status, _ in results), key=("done", "budget", "failed").index)
    return worst, "; ".join(f"trial {number}: {message}" for number, _, message in results if message)


def _leader_entry(lab: BenchLab, candidate: LeaderCandidate) -> tuple[float | Window | None, Architecture]:
    """Return one entry of ``lab.given`` from plain values."""
    from supernet.space import SearchSpace

    target, values, space = candidate
    own = lab.space if space is None else SearchSpace.from_dict(space)
    return Window(*target) if isinstance(target, Sequence) else target, own.architecture(values)


def _run_method(method: Method, lab: BenchLab, options: Options) -> tuple[str, str]:
    """Run ``method.search`` to its end; name options in the message that the method did not read."""
    status, message = _take_proposals(method, lab)
    if options.ignored:
        message = f"{message}; {IGNORED}: {', '.join(options.ignored)}".lstrip("; ")
    return status, message


def _take_proposals(method: Method, lab: BenchLab) -> tuple[str, str]:
    """Accept candidates until the method ends or its allowance does; return status and message.

    ``done``: it returned, or let the refusal of tokens, evaluations or probes rise after its first
    candidate. ``budget``: the clock stopped it, or a refusal left it without a candidate.
    """
    message, before = "", lab.proposals
    try:
        candidates = method.search(lab.method_view())
        if not hasattr(candidates, "__iter__"):
            from benchmarks.lab.candidates import ContractViolationError

            raise ContractViolationError(
                "yield what lab.candidate(...) returns: search() returned a value of type"
                f" {type(candidates).__name__}"
            )
        for candidate in candidates:
            if not lab.accept(candidate):
                raise BudgetExhausted("seconds", 0, 0)
    except BudgetExhausted as refused:
        message = str(refused)
        if refused.kind == "seconds" or lab.proposals == before:
            lab.ledger.stopped_by = lab.ledger.stopped_by or refused.kind
            return "budget", message
    if lab.proposals == before:
        return "failed", "search() ended without a candidate: yield what lab.candidate(...) returns"
    return "done", message


def score(job: ScoreJob) -> None:
    """Score the candidates of a search on the sealed test split; leave ``score.json``."""
    from benchmarks.scoring.revalidation import score_checked

    with (
        hold_lock(job.folder),
        timing_lock.working(),
        encrypted_references.readable(job.prepared, job.encrypted) as prepared,
    ):
        score_checked(job.folder, prepared, job.device, job.jobs, job.references_sha256)


def reference(job: ReferenceJob) -> None:
    """Measure a task's reference network, or count its latency if the tier does; write ``job.out``."""
    from benchmarks.hardware import profiles, threads
    from benchmarks.measurement import counted, latency, serving
    from benchmarks.measurement.workload import Workload, reference_network
    from benchmarks.tasks import get_task

    threads.apply(profiles.get(job.profile))
    task = get_task(job.task)
    tier = task.tier(job.tier, job.device)
    family, workload = task.family(tier, job.prepared), Workload.of(tier.workload)
    if table := getattr(tier, "counted", {}):
        prices = counted.Prices.of(table)
        ms = counted.milliseconds(family, family.space.largest(), workload, job.device, prices)
        write_text(job.out, json.dumps({"ms": ms, "key": job.key}))
        return
    network = reference_network(family)
    module = serving.serve(network, None, workload, job.device)
    with timing_lock.exclusive():
        # The median of a few medians: one spell of a busy machine must not set every limit.
        times = sorted(latency.probe_latency(module, tier.workload, job.device) for _ in range(5))
    write_text(job.out, json.dumps({"ms": times[2], "key": job.key}))


def _handle_signals(session: _Session) -> None:
    """Let the Lab stop at ``ASK_TO_STOP``, and raise ``Terminated`` at SIGTERM."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        if session.lab is None:
            raise KeyboardInterrupt  # nothing has begun
        session.lab.stopping = True

    def terminate(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    signal.signal(ASK_TO_STOP, stop)
    signal.signal(signal.SIGTERM, terminate)


def _describe(error: BaseException, source: str) -> str:
    """Return one line for the record: the error, and its place in the method's own file."""
    where = source.rpartition(":")[0]
    module = sys.modules.get(where)
    file = getattr(module, "__file__", where)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    expected = isinstance(error, UsageError) or type(error).__name__ == "ContractViolationError"
    kind = "" if expected else f"{type(error).__name__}: "
    return f"{kind}{error}{_nearest(error)}{place}"[:500] or type(error).__name__


def _nearest(error: BaseException) -> str:
    """Return a hint at the public attribute nearest to one that an object lacks; empty if there is none."""
    if not isinstance(error, AttributeError) or not error.name:
        return ""
    names = (name for name in object.__dir__(error.obj) if not name.startswith("_"))
    return f". {near}" if (near := suggest(error.name, names)) else ""
