"""What runs in a process of its own: a search, a scoring, the reference measurement.

Imports nothing heavy at the top: the command that plans and supervises imports this module too.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import IO, Any

from benchmarks.api import BudgetExhausted, Method, Skip, TaskInfo, UsageError
from benchmarks.hardware import timing_lock
from benchmarks.hardware.file_lock import lock
from benchmarks.hardware.load import TreeSeconds, end_children
from benchmarks.lab.journal import CorruptFileError, Journal, ReplayDivergedError
from benchmarks.lab.ledger import Clock, Ledger
from benchmarks.options import IGNORED, Options
from benchmarks.records.assembly import SEARCH_FILE
from benchmarks.records.spec import SELF, allowances, ruleset_of
from benchmarks.records.store import write_text
from benchmarks.registry import load
from benchmarks.runs.executor import ASK_TO_STOP
from benchmarks.runs.heartbeat import JOURNAL, Heartbeat, read_heartbeat, write_outcome

SKIPPED = "skip.json"
"""Written instead of an outcome by a method that does not apply to the task."""
STOPPED_CODE = 75
"""Exit code of a run that was asked to stop and will go on."""


class Terminated(BaseException):
    """SIGTERM: the supervisor found the time to be over."""


def search(job: Mapping[str, Any]) -> None:
    """Run one method's search; leaves ``search.json`` (or ``skip.json``) in the run's folder.

    The job has no path of the sealed test split, and neither has anything that it names.
    """
    folder = Path(job["folder"])
    clock = Clock()
    lock = _sole(folder)
    if (folder / SEARCH_FILE).exists():
        return  # another command was faster
    spec = job["spec"]
    ledger = Ledger(spec["budget"], clock, allowances(spec))
    before = read_heartbeat(folder)
    before = {
        "active": before.get("active_before", 0.0) + before.get("active", 0.0),
        "off": before.get("off", {}),
        "cpu": before.get("cpu", 0.0),
    }
    state: dict[str, Any] = {"lab": None, "said": [], "cpu": TreeSeconds()}
    heart = state["heart"] = Heartbeat(folder, lambda: _beat(ledger, clock, before, state))

    def end(status: str, message: str) -> None:
        heart.close()
        write_outcome(folder, status, message)

    code = 0
    try:
        _handle_signals(state)
        found = _search(job, folder, ledger, state)
        if isinstance(found, Skip):
            write_text(folder / SKIPPED, json.dumps({"reason": str(found.reason)}))
        else:
            end(*found)
    except Terminated:
        allowed, ledger.stopped_by = ledger.allowance["seconds"], "seconds"
        end("budget", f"did not stop by itself: terminated after 102 % of its {allowed:g} seconds")
    except ReplayDivergedError as error:
        traceback.print_exc()
        end("failed", f"{error}. What it left is set aside, the next attempt starts afresh")
        _set_aside(folder)
    except Exception as error:
        traceback.print_exc()
        end("failed", _told(error, job["source"]))
    except BaseException as error:
        from benchmarks.lab.checkpoints import Interrupted

        if isinstance(error, Interrupted | KeyboardInterrupt):
            heart.close()
            code = STOPPED_CODE
        else:  # SystemExit and the like: leaving the process is no way to end a search
            traceback.print_exc()
            end("failed", _told(error, job["source"]))
    sys.stdout.flush()
    sys.stderr.flush()
    lock.close()
    end_children()
    os._exit(code)  # a method's own threads must not keep the process


def _search(
    job: Mapping[str, Any], folder: Path, ledger: Ledger, state: dict[str, Any]
) -> tuple[str, str] | Skip:
    """The search proper: ``(status, message)``, or the method's reason not to run."""
    with ledger.clock.pause("start"):
        import numpy as np
        import torch

        from benchmarks.hardware import profiles, threads
        from benchmarks.lab.batches import derive_seed
        from benchmarks.lab.candidates import ContractViolationError
        from benchmarks.lab.lab import BenchLab
        from benchmarks.measurement.workload import RUNTIMES, Workload
        from benchmarks.tasks import get_task

        spec = job["spec"]
        threads.apply(profiles.get(spec["profile"]), job["jobs"])
        checks = job.get("checks")
        salt = () if checks is None else checks["salt"]
        seed = derive_seed(spec["seed"], spec["task"], spec["method"], "global", *salt)

        def seed_globals() -> None:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)

        seed_globals()
        make: Callable[..., BenchLab] = BenchLab
        if checks is not None:
            where, _, name = str(job["lab"]).partition(":")
            watched = getattr(importlib.import_module(where), name)(job["source"])
            seed_globals()
            make = watched(folder, checks)
        task = get_task(spec["task"])
        tier = task.tier(spec["tier"], job["device"])
        # A method may have to know them before it has a Lab.
        there = RUNTIMES[Workload.of(tier.workload).runtime]
        settings = dict(tier.settings) | {"precisions": there}
        info = TaskInfo(task.name, task.suite, spec["tier"], task.metric, settings)
    kind = load(job["source"])
    options = Options(kind.options, spec["options"])
    method = kind()
    answer = method.supports(info)
    if isinstance(answer, Skip):
        return answer
    if answer is not None:
        raise ContractViolationError(f"supports() returned {answer!r}: None, or Skip('why not')")
    with ledger.clock.pause("start"):
        journal = _journal(folder, state["said"])
        lab = make(
            folder,
            info,
            task,
            tier,
            job["prepared"],
            ledger=ledger,
            journal=journal,
            seed=spec["seed"],
            method=spec["method"],
            device=job["device"],
            limits=job["limits"],
            reference_ms=job["reference_ms"],
            options=options,
            checkpoint_seconds=job["checkpoint_seconds"],
            say=state["said"].append,
        )
        lab.given = tuple(_given(lab, *entry) for entry in job["given"])
        lab.leader_artifacts = job.get("left")
        lab.published_probes = {(call, key): ms for call, key, ms in job.get("timed", ())}
        lab.on_proposal = state["heart"].write
        state["lab"] = lab
    with ExitStack() as at_work:
        at_work.callback(lab.close)
        with ledger.clock.pause("timing lock"):
            at_work.enter_context(timing_lock.working())
        if ruleset_of(spec) == SELF:
            return _iterate(method, lab, options)
        told = []
        for number, trial in enumerate(spec["trials"], 1):
            seed_globals()
            options = Options(kind.options, trial)
            lab.begin_trial(number, options)
            with ledger.in_phase(f"trial {number}"):
                told.append((number, *_iterate(kind(), lab, options)))
            if told[-1][1] == "failed":
                break
    worst = max((status for _, status, _ in told), key=("done", "budget", "failed").index)
    return worst, "; ".join(f"trial {number}: {message}" for number, _, message in told if message)


def _given(lab: Any, limit: Any, values: Any, space: Any) -> tuple[Any, Any]:
    """One entry of ``lab.given`` from plain values."""
    from benchmarks.api import Window
    from supernet.space import SearchSpace

    of = lab.space if space is None else SearchSpace.from_dict(space)
    return Window(*limit) if isinstance(limit, list | tuple) else limit, of.architecture(values)


def _iterate(method: Method, lab: Any, options: Options) -> tuple[str, str]:
    """Take proposals until the method ends or its allowance does; name options that it did not read."""
    status, message = _propose(method, lab)
    if options.ignored:
        message = f"{message}; {IGNORED}: {', '.join(options.ignored)}".lstrip("; ")
    return status, message


def _propose(method: Method, lab: Any) -> tuple[str, str]:
    """Take proposals until the method ends or its allowance does.

    ``done``: it returned, or let the refusal of tokens, evaluations or probes rise after it had
    proposed something. ``budget``: the clock cut it, or a refusal left it with nothing.
    """
    message, before = "", lab.proposals
    try:
        found = method.search(lab.method_view())
        if not hasattr(found, "__iter__"):
            from benchmarks.lab.candidates import ContractViolationError

            raise ContractViolationError(
                f"search() returned {found!r}: yield what lab.candidate(...) returns"
            )
        for item in found:
            if not lab.accept(item):
                raise BudgetExhausted("seconds", 0, 0)
    except BudgetExhausted as refused:
        message = str(refused)
        if refused.kind == "seconds" or lab.proposals == before:
            lab.ledger.stopped_by = lab.ledger.stopped_by or refused.kind
            return "budget", message
    if lab.proposals == before:
        return "failed", "search() ended without a candidate: yield what lab.candidate(...) returns"
    return "done", message


def score(job: Mapping[str, Any]) -> None:
    """Score what a search proposed on the sealed test split; leaves ``score.json``."""
    from benchmarks.scoring.score import score_run

    lock = _sole(Path(job["folder"]))
    with timing_lock.working():
        score_run(Path(job["folder"]), prepared=job["prepared"], device=job["device"], jobs=job["jobs"])
    lock.close()


def reference(job: Mapping[str, Any]) -> None:
    """Measure the reference network once, or count it where the tier does; leaves ``{"ms": ...}`` in the file
    ``job["out"]``."""
    from benchmarks.hardware import profiles, threads
    from benchmarks.measurement import counted, latency, serving
    from benchmarks.measurement.workload import Workload, reference_network
    from benchmarks.tasks import get_task

    threads.apply(profiles.get(job["profile"]))
    task = get_task(job["task"])
    tier = task.tier(job["tier"], job["device"])
    family, workload = task.family(tier, job["prepared"]), Workload.of(tier.workload)
    if prices := getattr(tier, "counted", {}):
        ms = counted.milliseconds(family, family.space.largest(), workload, job["device"], prices)
        write_text(Path(job["out"]), json.dumps({"ms": ms, "key": job["key"]}))
        return
    network = reference_network(family)
    module = serving.serve(network, None, workload, job["device"])
    with timing_lock.exclusive():
        # The median of a few medians: one spell of a busy machine must not set every limit.
        times = sorted(latency.probe_latency(module, tier.workload, job["device"]) for _ in range(5))
    write_text(Path(job["out"]), json.dumps({"ms": times[2], "key": job["key"]}))


def _sole(folder: Path) -> IO[str]:
    """Wait until this is the only process that works on the run; until the file is closed."""
    file = (folder / "lock").open("w")
    lock(file)
    return file


def _journal(folder: Path, said: list[str]) -> Journal:
    """The run's journal; a damaged one goes aside together with what builds on it."""
    try:
        return Journal(folder / JOURNAL)
    except CorruptFileError as error:
        said.append(f"{error}: journal and checkpoints are moved aside, the run starts afresh")
        _set_aside(folder)
        return Journal(folder / JOURNAL)


def _handle_signals(state: dict[str, Any]) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        lab = state["lab"]
        if lab is None:
            raise KeyboardInterrupt  # nothing has begun
        lab.stopping = True

    def terminate(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    signal.signal(ASK_TO_STOP, stop)
    signal.signal(signal.SIGTERM, terminate)


def _beat(
    ledger: Ledger, clock: Clock, before: Mapping[str, Any], state: Mapping[str, Any]
) -> dict[str, Any]:
    lab = state["lab"]
    active, now = clock.active, clock.now()
    off = dict(before["off"])
    for reason, seconds in tuple(clock.off.items()):
        off[reason] = off.get(reason, 0.0) + seconds
    return {
        "clock": now,
        "active": active,
        "active_before": before["active"],
        "lost": before["active"] + active - now,
        "off": off,
        "pause": clock.reason,
        "cpu": before["cpu"] + state["cpu"].read(),
        "stopped_by": ledger.stopped_by,
        "phase": ledger.phase,
        "progress": lab.note if lab else (0, 0, ""),
        "proposals": lab.proposals if lab else 0,
        "search_log": list(lab.search_log) if lab else [],
        "said": list(state["said"]),
        "ledger": ledger.report(),
    }


def _told(error: BaseException, source: str) -> str:
    """One line for the record: what was raised, and where in the method's own file."""
    where = source.rpartition(":")[0]
    module = sys.modules.get(where)
    file = getattr(module, "__file__", where)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    kind = (
        ""
        if isinstance(error, UsageError) or type(error).__name__ == "ContractViolationError"
        else f"{type(error).__name__}: "
    )
    return f"{kind}{error}{place}"[:500] or type(error).__name__


def _set_aside(folder: Path) -> None:
    """Put the journal and the checkpoints of a run that cannot go on where nothing reads them."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for name in (JOURNAL, "checkpoints"):
        if (folder / name).exists():
            os.rename(folder / name, folder / f"{name}.{stamp}.aside")
