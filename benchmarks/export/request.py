"""Request of an export, and the result of a target's writer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.export.source import StoredCandidate, Vocabulary, find_vocabulary
from benchmarks.records.canonical import JsonView
from benchmarks.records.folders import local_results

if TYPE_CHECKING:
    from torch import nn

    from benchmarks.records.runtime_latencies import RuntimeLatency

Row = tuple[str, str, str]
"""Name, figure and signature of one check."""


@dataclass(frozen=True)
class ExportRequest:
    """One candidate to be exported, and the user's choices.

    Attributes:
        stored: the candidate.
        precision: ``fp32`` or ``int8`` in every linear layer; None for the candidate's own policy.
        time: True to time the copy interleaved with PyTorch.
        results: folder of results.
        data_dir: folder of real data, for the vocabulary; None for none.
        start: folder of the pre-trained model that the run started from; None for none.
        say: shows one line to the user.
    """

    stored: StoredCandidate
    precision: str | None
    time: bool
    results: Path
    data_dir: Path | None
    start: Path | None
    say: Callable[[str], None]

    def policy(self, about: JsonView, module: nn.Module) -> dict[str, str]:
        """Return the precision of each layer in the copy; empty for float32."""
        from supernet.quantization import precisions

        if self.precision == "int8":
            return precisions.uniform_int8(module)
        return dict(about["policy"] or {}) if self.precision is None else {}

    def vocabulary(self) -> Vocabulary:
        """Return the vocabulary of the candidate's network.

        Raises:
            UsageError: the task or its data is not here, or gives another vocabulary.
        """
        return find_vocabulary(self.stored, local_results(self.results), self.data_dir, self.say, self.start)


@dataclass(frozen=True)
class Written:
    """Result of a writer.

    Attributes:
        checks: comparison of the copy with the original.
        auto_class: auto class of transformers that reads the folder; empty for other targets.
        latency: latency of the copy; None if it was not timed.
    """

    checks: list[Row]
    auto_class: str = ""
    latency: RuntimeLatency | None = None
