"""Weights and vocabulary of a published row, found on this machine: a record holds neither."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from benchmarks.api import UsageError
from benchmarks.records import store
from benchmarks.records.folders import local_results
from benchmarks.records.record import Candidate, Record
from benchmarks.records.selection import headline_candidates
from benchmarks.records.text import sanitize
from benchmarks.runs.plan import Folders
from benchmarks.runs.repeat import repeat_command

if TYPE_CHECKING:
    from benchmarks.tasks import Prepared
    from benchmarks.tasks.tiers import Tier


@dataclass(frozen=True)
class StoredCandidate:
    """One candidate of a record with its exported sub-network on disk.

    Attributes:
        record: the record.
        candidate: its candidate.
        folder: folder of the exported sub-network, whose weights have the digest in the record.
    """

    record: Record
    candidate: Candidate
    folder: Path

    @property
    def label(self) -> str:
        """Name for folders."""
        spec = self.record["spec"]
        return f"{spec['method']}-{spec['task']}-{self.record['id'][:8]}-{self.candidate['index']:02d}"


def choose_candidate(record: Record, index: int | None) -> Candidate:
    """Return the candidate ``index``; by default the best one of the record's last target.

    Raises:
        UsageError: there is no such candidate.
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


def find_candidate(record: Record, index: int | None, path: Path, results: Path) -> StoredCandidate:
    """Find the exported sub-network of a record's candidate.

    Args:
        record: record of the run.
        index: index of the candidate; see ``choose_candidate``.
        path: file of the record, beside whose store a run leaves its folder.
        results: folder of results; see ``local_results`` for local ones.

    Raises:
        UsageError: its weights are not on this machine, or differ from the record's digest.
    """
    candidate, spec = choose_candidate(record, index), record["spec"]
    # A record of another machine names folders here: nothing but plain names may.
    if not all(re.fullmatch(r"[\w.-]{1,80}", str(spec[part])) for part in ("suite", "tier")):
        raise UsageError(f"record {record['id']} is of no suite and tier that could have run here")
    here = Folders(local_results(), spec["suite"], spec["tier"])
    roots = [results, local_results(results), here.results]
    homes = [Folders(root, spec["suite"], spec["tier"]).runs for root in roots]
    depth = len(store.relative_path(record).parts)
    if len(path.absolute().parents) > depth:
        homes.insert(0, path.absolute().parents[depth] / "runs")
    for runs in homes:
        folder = runs / record["id"] / "candidates" / f"{candidate['index']:02d}"
        if folder.is_dir():
            return StoredCandidate(record, candidate, _check_weights(folder, candidate))
    raise UsageError(
        f"the weights of run {record['id']} are not on this machine, and a record holds none\n"
        f"run it here, then export the record that is left in {here.store}:"
        f" {repeat_command(record, here=True)}"
    )


def _check_weights(folder: Path, candidate: Candidate) -> Path:
    try:
        sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{folder}: its weights cannot be read ({error.strerror})") from None
    if sha256 != candidate["weights_sha256"]:
        raise UsageError(
            f"{folder}: its weights have sha256 {sha256[:12]}..., and the record names"
            f" {sanitize(candidate['weights_sha256'], 12)}...: they are of another run, or were changed\n"
            "name the record of the run that left them"
        )
    return folder


@dataclass(frozen=True)
class Vocabulary:
    """Vocabulary of a network.

    Attributes:
        file: its file.
        prepared: prepared data of the network's task.
        tier: tier of the network's task.
    """

    file: Path
    prepared: Prepared
    tier: Tier


def find_vocabulary(
    stored: StoredCandidate,
    results: Path,
    data_dir: Path | None,
    say: Callable[[str], None],
    start: Path | None = None,
) -> Vocabulary:
    """Find the vocabulary of a network, and prepare its task's data.

    Args:
        stored: the network.
        results: folder of results, with the cache of prepared data.
        data_dir: folder of real data; None if the task generates its own.
        say: shows one line to the user.
        start: folder of the pre-trained model that the run started from; None for none.

    Raises:
        UsageError: the task or its data is not here, gives another vocabulary, or its file is damaged.
    """
    from benchmarks.tasks import get_task, prepare, starting

    spec = stored.record["spec"]
    task = starting(get_task(spec["task"]), start)
    tier = cast("Tier", task.tier(spec["tier"], "cpu"))
    cache = Folders(results, spec["suite"], spec["tier"]).cache
    prepared = prepare(task, tier, cache, data_dir, say)
    here = prepared.digests.get("vocabulary")
    recorded = stored.record["provenance"]["data"].get("vocabulary")
    if here != recorded:
        raise UsageError(
            f"the data of {spec['task']} {spec['tier']} give another vocabulary here"
            f" ({str(here)[:12]}, the record's is {sanitize(recorded, 12)}): its words would be others'\n"
            "take the commit that made the record, and its data: --data-dir DIR, or --start-from DIR"
        )
    for name in ("tokenizer.json", "vocabulary.model"):
        if (prepared.folder / name).is_file():
            check_vocabulary(prepared.folder / name)
            return Vocabulary(prepared.folder / name, prepared, tier)
    raise UsageError(f"{spec['task']} has no vocabulary that could travel")


def check_vocabulary(path: Path) -> None:
    """Refuse the file of a vocabulary that its library cannot load.

    Raises:
        UsageError: it is damaged.
    """
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer

    try:
        if path.suffix == ".json":
            Tokenizer.from_str(path.read_text())
        else:
            SentencePieceProcessor(model_proto=path.read_bytes())
    except Exception as error:  # the libraries raise RuntimeError and bare Exception
        raise UsageError(
            f"{path}: not a vocabulary: {sanitize(error, 200)}\n"
            f"remove the folder, and the next command prepares it again: {path.parent}"
        ) from None
