"""Table of the pilots that a folder has: what each reached, and which still gain from further tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.records.canonical import JsonObject
from benchmarks.studies.bert_recipe.plan import Pilot

COLUMNS = ("pilot", "updates", "M tokens", "masked words, %", "loss", "rank", "seconds", "remarks")
LITTLE = 1.0
"""Points of masked-word accuracy that a fifth more tokens must not add once a budget is enough."""


def read(out: Path, pilots: Sequence[Pilot]) -> dict[str, JsonObject]:
    """Return name -> facts of the pilots that were measured."""
    files = {pilot.name: out / f"{pilot.name}.json" for pilot in pilots}
    return {
        name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items() if path.is_file()
    }


def rows(facts: Mapping[str, JsonObject]) -> list[list[str]]:
    """Return the lines of the table; figures of largest, typical and smallest network stand side by side."""
    lines = []
    for name, pilot in facts.items():
        networks = pilot["networks"].values()
        lines.append(
            [
                name,
                f"{pilot['updates']:,}",
                f"{pilot['tokens'] / 1e6:.0f}",
                " / ".join(f"{network['accuracy']:.1f}" for network in networks),
                " / ".join(f"{network['loss']:.2f}" for network in networks),
                " / ".join(f"{network['effective_rank']:.0f}" for network in networks),
                f"{pilot['seconds']:.0f}",
                "; ".join(remarks(name, facts)),
            ]
        )
    return lines


def remarks(name: str, facts: Mapping[str, JsonObject]) -> list[str]:
    """Return remarks on a pilot: networks that learnt nothing, gains of further tokens, fine-tuned copies."""
    pilot, texts = facts[name], []
    idle = [which for which, network in pilot["networks"].items() if not network["learnt"]]
    if idle:
        texts.append(f"within 0.1 nats of word frequencies ({pilot['unigram_loss']:.2f}): {', '.join(idle)}")
    longer = next((facts[other] for other in facts if other.startswith(f"{name}-x")), None)
    if longer is not None:
        share = longer["pilot"]["tokens"] / pilot["pilot"]["tokens"] - 1
        gains = {
            which: longer["networks"][which]["accuracy"] - network["accuracy"]
            for which, network in pilot["networks"].items()
        }
        text = ", ".join(f"{which} {gain:+.1f}" for which, gain in gains.items())
        enough = max(gains.values()) < LITTLE
        texts.append(f"{share:.0%} more tokens: {text}" + ("" if enough else ", still gaining"))
    for task, by_epochs in pilot.get("finetuned", {}).items():
        scores = {epochs: next(iter(metrics.values())) for epochs, metrics in by_epochs.items()}
        each = (
            f"{n}: {s['value']:.1f} ({min(s['values']):.1f} to {max(s['values']):.1f})"
            for n, s in scores.items()
        )
        texts.append(f"{task} by epochs (mean, copies): {', '.join(each)}")
    return texts
