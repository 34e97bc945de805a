"""Masked words on the whole English Wikipedia, and GLUE: the papers' tier of encoders.

BookCorpus, which the papers add, is not distributed any more.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.tasks.bert import BertTask
from benchmarks.tasks.datasets import Say
from benchmarks.tasks.text import Texts
from benchmarks.tasks.tiers import Table, Tier, merged, tier_of, tier_table

HUB, SNAPSHOT = "wikimedia/wikipedia", "20231101.en"
REVISION = "b04c8d1ceb2f5cd4588862100d08de323dccfbaa"
"""Commit of the data set on the hub; git checks every file by it."""
HELD_OUT = 1000
"""One article of so many tests, the next one validates."""
SETTINGS, TIERS = "bert-enwiki", ("paper", "paper-small")
"""Task and tier of ``bert.toml`` that the papers' tier lies over."""


def wikipedia(settings: Table, data_dir: Path | None, say: Say) -> Texts:
    """Read the English Wikipedia of November 2023; ``settings`` has the characters of each split.

    Raises:
        UsageError: the library is not installed or cannot fetch the articles.
    """
    try:
        from datasets import load_dataset
    except ImportError:
        raise UsageError(
            "Wikipedia is read through the library datasets, which is not installed\n"
            "install it: python -m pip install 'supernet-bench[glue]'"
        ) from None
    say(f"reading {HUB}, {SNAPSHOT} (about 20 GB are fetched on first use)")
    splits: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    room = {split: float(settings[f"{split}_characters"]) for split in splits}
    try:
        rows = load_dataset(HUB, SNAPSHOT, split="train", revision=REVISION)
        for split, article in divided(row["text"] for row in rows):
            if room[split] > 0:
                splits[split].append(article)
                room[split] -= len(article)
            elif room["train"] <= 0:
                break
    except Exception as error:  # the library raises many kinds; all concern the network or its cache
        raise UsageError(
            f"{HUB} could not be read ({type(error).__name__}: {str(error)[:200]})\n"
            "try again with a network: what was fetched is kept"
        ) from error
    return Texts(splits["train"], splits["valid"], {"test": splits["test"]})


def divided(articles: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the split of each article, by its number, and the article without empty lines."""
    special = {0: "test", 1: "valid"}
    for number, article in zip(itertools.count(), articles, strict=False):
        lines = [line.strip() for line in article.split("\n") if line.strip()]
        if lines:
            yield special.get(number % HELD_OUT, "train"), "\n".join(lines)


class WikipediaTask(BertTask):
    """Masked words on the papers' data, with the papers' hyper-parameters."""

    def tiers(self) -> tuple[str, ...]:
        """Return the names of its tiers."""
        return TIERS

    def own_tier(self, tier: str, device: str) -> Tier:
        """Return the settings of a tier for networks that start untrained.

        Raises:
            UsageError: the task has no such tier.
        """
        if tier not in self.tiers():
            raise UsageError(f"task '{self.name}' has no tier '{tier}'; it has: {', '.join(TIERS)}")
        own = tomllib.loads(Path(__file__).with_name("encoders.toml").read_text(encoding="utf-8"))
        return tier_of(self.name, tier, device, merged(tier_table(self.tables, SETTINGS, tier), own["paper"]))

    def started(self, start: Path) -> WikipediaTask:
        """Return a copy of the task with this ``start``."""
        task = WikipediaTask(self.name, self.read)
        task.start = start
        return task

    def declared(self, tier: Tier) -> dict[str, str]:
        """Return the inputs that determine a tier's data: the hub's commit, and files of GLUE at hand."""
        return {**super().declared(tier), f"hub/{HUB}/{SNAPSHOT}": REVISION}


wikipedia_task = WikipediaTask("bert-wikipedia", wikipedia)
