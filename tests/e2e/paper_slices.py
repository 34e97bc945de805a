"""Tasks of the papers' tier in one per cent, for whole runs on two cores.

Spaces, model, recipe, search, decoding and workload are the tier's own. One per cent of evaluations, of
probes and of the batches of an update are allowed, and tokens for an update or two a phase: one per cent of
all tokens takes an hour on two cores in the smallest task, and weeks in the largest. Words are generated, as
many as the tier's vocabulary needs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runs.plan import scale_budget
from benchmarks.tasks.bert import NOTHING
from benchmarks.tasks.papers import corpora
from benchmarks.tasks.papers.encoders import WikipediaTask, wikipedia_task
from benchmarks.tasks.papers.translation import PaperTranslation
from benchmarks.tasks.text import Texts
from benchmarks.tasks.tiers import Tier, merged, tier_of, tier_table
from tests.unit.benchmarks.tasks.papers.archives_of import sgml, tar

SHARE = 0.01
"""Share of the evaluations, of the probes and of the batches of an update."""
LETTERS = {"de": ("bdfgklmnprst", "aeiou"), "en": ("cghjqvwxyz", "aeiou")}
"""Consonants and vowels of either language's words."""


def words(language: str, count: int) -> list[str]:
    """Return generated words of three syllables."""
    syllables = [a + b for a, b in itertools.product(*LETTERS[language])]
    return ["".join(parts) for parts in itertools.islice(itertools.product(syllables, repeat=3), count)]


def pairs(count: int, length: int, known: int) -> list[tuple[str, str]]:
    """Return pairs of German and English sentences, translated word by word; each word is used."""
    lexicon = [*zip(words("de", known), words("en", known), strict=True)]
    drawn = np.random.default_rng(1).permutation(np.resize(np.arange(known), count * length))
    return [
        (" ".join(lexicon[i][0] for i in line), " ".join(lexicon[i][1] for i in line))
        for line in drawn.reshape(count, length)
    ]


def sliced(name: str, table: Mapping[str, Any], device: str, tokens: float) -> Tier:
    """Return a tier's settings with the allowance, and the batches of an update, of a slice."""
    whole = tier_of(name, "paper", device, table)
    budget = {device: {**scale_budget(whole.budget, SHARE), "tokens": tokens}}
    recipe = {"accumulate": math.ceil(SHARE * whole.recipe["accumulate"])}
    return tier_of(name, "paper", device, merged(table, {"budget": budget, "recipe": recipe}))


class Translation(PaperTranslation):
    """IWSLT'14 De-En, read from ``archive``."""

    tokens = 30_000.0

    def __init__(self) -> None:
        super().__init__("iwslt14-de-en")
        self.paper, self.name = self.name, f"slice-{self.name}"

    def tiers(self) -> tuple[str, ...]:
        """Return the only tier."""
        return ("paper",)

    def tier(self, tier: str, device: str) -> Tier:
        """Return the settings of the slice."""
        return sliced(self.name, tier_table(self.tables, self.paper, tier), device, self.tokens)


def archive() -> bytes:
    """Return IWSLT'14's archive with 3,000 generated pairs."""
    members = {}
    for side, code in enumerate(("de", "en")):
        sentences = [pair[side] for pair in pairs(3000, 12, 6000)]
        members[f"de-en/train.tags.de-en.{code}"] = "".join(f"{line}\n" for line in sentences[:2950])
        for n, part in enumerate(corpora.IWSLT_TESTS):
            test = sentences[2950 + 5 * n : 2955 + 5 * n]
            members[f"de-en/IWSLT14.{part}.de-en.{code}.xml"] = sgml(test)
    return tar(members)


class Encoders(WikipediaTask):
    """The papers' tier of encoders on generated articles, from untrained networks and without fine-tuning."""

    tokens = 40_000.0
    start = NOTHING

    def tiers(self) -> tuple[str, ...]:
        """Return the only tier."""
        return ("paper",)

    def own_tier(self, tier: str, device: str) -> Tier:
        """Return the settings of the slice."""
        table = tier_table(self.tables, "bert-enwiki", tier)
        paper = wikipedia_task.tier(tier, device)
        recipe = {"clip_norm": paper.recipe["clip_norm"]}
        ours = merged(table, {"model": paper.model, "recipe": recipe, "finetune": {"tasks": []}})
        return sliced(self.name, ours, device, self.tokens)


def read_texts(settings: object, data_dir: Path | None, say: object) -> Texts:
    """Return generated articles; each word stands in two of them."""
    articles = [english for _, english in pairs(1200, 60, 36_000)]
    return Texts(articles[:1192], articles[1192:1196], {"test": articles[1196:]})


iwslt14 = Translation()
encoders = Encoders("slice-bert-wikipedia", read_texts)
