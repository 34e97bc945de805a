"""Where the weights and the vocabulary of a published row are: a record holds neither."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.api import UsageError
from benchmarks.records import store
from benchmarks.records.record import Candidate, Record
from benchmarks.records.selection import headline_candidates
from benchmarks.records.text import sanitize
from benchmarks.runs.plan import Folders
from benchmarks.runs.repeat import repeat_command


@dataclass(frozen=True)
class Delivery:
    """One candidate of a record, as it lies on disk."""

    record: Record
    candidate: Candidate
    folder: Path
    """Exported sub-network; its weights are those that the record names."""

    @property
    def label(self) -> str:
        """For people and folder names."""
        spec = self.record["spec"]
        return f"{spec['method']}-{spec['task']}-{self.record['id'][:8]}-{self.candidate['index']:02d}"


def chosen(record: Record, index: int | None) -> Candidate:
    """The candidate ``index``; by default the best one of the record's last target.

    Raises:
        UsageError: there is none.
    """
    candidates = record["candidates"]
    if not candidates:
        raise UsageError(f"record {record['id']} ended without a candidate: there is nothing to export")
    if index is None:
        return list(headline_candidates(candidates).values())[-1]
    for candidate in candidates:
        if candidate["index"] == index:
            return candidate
    known = ", ".join(str(candidate["index"]) for candidate in candidates[:40])
    raise UsageError(f"record {record['id']} has no candidate {index}: choose one of {known}")


def find(record: Record, index: int | None, path: Path | None, results: Path) -> Delivery:
    """The exported sub-network of a record's candidate.

    Args:
        record: of the run.
        index: of the candidate; see ``chosen``.
        path: of the record's file, beside whose store a run leaves its folder.
        results: folder of results, and of local ones in ``local``.

    Raises:
        UsageError: its weights are not on this machine, or not those of the record.
    """
    candidate, spec = chosen(record, index), record["spec"]
    # A record of another machine names folders here: nothing but plain names may.
    if not all(re.fullmatch(r"[\w.-]{1,80}", str(spec[part])) for part in ("suite", "tier")):
        raise UsageError(f"record {record['id']} is of no suite and tier that could have run here")
    local = results / "local"
    roots = [results, local, local / "verify", Path("results/local"), Path("results/local/verify")]
    homes = [Folders(root, spec["suite"], spec["tier"]).runs for root in roots]
    depth = len(store.relative_path(record).parts)
    if path is not None and len(path.absolute().parents) > depth:
        homes.insert(0, path.absolute().parents[depth] / "runs")
    for runs in homes:
        folder = runs / record["id"] / "candidates" / f"{candidate['index']:02d}"
        if folder.is_dir():
            return Delivery(record, candidate, _same(folder, candidate))
    raise UsageError(
        f"the weights of run {record['id']} are not on this machine, and a record holds none\n"
        f"make them again, to the bit on a machine like its own: supernet-bench verify {record['id']}\n"
        "or make others, and export the record of that run, under results/local:"
        f" {repeat_command(record, here=True)}"
    )


def _same(folder: Path, candidate: Mapping[str, Any]) -> Path:
    import hashlib

    try:
        found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{folder}: its weights cannot be read ({error.strerror})") from None
    if found != candidate["weights_sha256"]:
        raise UsageError(
            f"{folder}: its weights have sha256 {found[:12]}..., and the record names"
            f" {sanitize(candidate['weights_sha256'], 12)}...: they are of another run, or were changed\n"
            "name the record of the run that left them"
        )
    return folder


def vocabulary(
    delivery: Delivery,
    results: Path,
    data_dir: Path | None,
    say: Callable[[str], None],
    start: Path | None = None,
) -> tuple[Path, Any, Any]:
    """File of the vocabulary that a network speaks, with the task's prepared data and its tier.

    Raises:
        UsageError: the task or its data is not here, or gives another vocabulary.
    """
    from benchmarks.tasks import get_task, prepare, starting

    spec = delivery.record["spec"]
    task = starting(get_task(spec["task"]), start)
    tier = task.tier(spec["tier"], "cpu")
    cache = Folders(results, spec["suite"], spec["tier"]).cache
    prepared = prepare(task, tier, cache, data_dir, say)
    here, there = prepared.digests.get("vocabulary"), delivery.record["provenance"]["data"].get("vocabulary")
    if here != there:
        raise UsageError(
            f"the data of {spec['task']} {spec['tier']} give another vocabulary here"
            f" ({str(here)[:12]}, the record's is {sanitize(there, 12)}): its words would be others'\n"
            "take the commit that made the record, and its data: --data-dir DIR, or --start-from DIR"
        )
    for name in ("tokenizer.json", "vocabulary.model"):
        if (prepared.folder / name).is_file():
            return prepared.folder / name, prepared, tier
    raise UsageError(f"{spec['task']} has no vocabulary that could travel")
