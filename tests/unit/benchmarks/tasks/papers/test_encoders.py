"""Wikipedia through ``datasets``, and the papers' tier of encoders."""

import sys
import types

import pytest

from benchmarks.api import UsageError
from benchmarks.tasks.papers import encoders

PUBLISHED = {
    # SuperShaper and mixture-of-supernets: 128 rows of 128 tokens x 8 GPUs x 2 accumulated, 125,000 steps
    "tokens_an_update": 128 * 8 * 2 * 128,
    "updates": 125_000,
    "rate": 5e-4,
    "warmup_updates": 10_000,
    "betas": [0.9, 0.98],
    "decay": 0.01,
    "rows": 128,
    "vocab": 30_522,
}
WINDOWS = [
    (4_000_000, 5_140_000),
    (8_000_000, 10_000_000),
    (28_000_000, 30_000_000),
    (58_000_000, 60_000_000),
]
"""Four of the windows of sizes of mixture-of-supernets."""


class Hub(types.ModuleType):
    """Stands in for the library ``datasets``."""

    def __init__(self, articles: list[str], error: Exception | None = None) -> None:
        super().__init__("datasets")
        self.articles, self.error, self.asked = articles, error, []

    def load_dataset(self, name: str, configuration: str, **more: str) -> list[dict[str, str]]:
        self.asked.append((name, configuration, more))
        if self.error:
            raise self.error
        return [{"text": article} for article in self.articles]


def settings(train: float) -> dict[str, float]:
    return {"train_characters": train, "valid_characters": 30, "test_characters": 30}


def test_articles_are_divided_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub([f"Title {n}\n\n  Words of it. \n" for n in range(2500)])
    monkeypatch.setitem(sys.modules, "datasets", hub)
    texts = encoders.wikipedia(settings(1e9), None, lambda line: None)
    assert texts.tests["test"] == ["Title 0\nWords of it.", "Title 1000\nWords of it."]
    assert texts.valid == ["Title 1\nWords of it.", "Title 1001\nWords of it."]
    assert len(texts.train) == 2500 - 6 and "\n\n" not in texts.train[0]
    assert hub.asked == [
        ("wikimedia/wikipedia", "20231101.en", {"split": "train", "revision": encoders.REVISION})
    ]
    assert len(encoders.wikipedia(settings(100), None, lambda line: None).train) < 10


def test_without_library_or_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"not installed\ninstall it: .*supernet-bench\[glue\]"):
        encoders.wikipedia(settings(1), None, lambda line: None)
    monkeypatch.setitem(sys.modules, "datasets", Hub([], ConnectionError("no route")))
    with pytest.raises(UsageError, match=r"could not be read \(ConnectionError: no route\)\ntry again"):
        encoders.wikipedia(settings(1), None, lambda line: None)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_tier_has_the_papers_hyper_parameters(device: str) -> None:
    tier = encoders.wikipedia_task.tier("paper", device)
    recipe = tier.recipe
    assert recipe["batch_tokens"] * recipe["accumulate"] == PUBLISHED["tokens_an_update"]
    settings, path = tier.settings, PUBLISHED["updates"] * PUBLISHED["tokens_an_update"]
    supernet = tier.budget["tokens"] * (1 - settings["teacher_share"]) * (1 - settings["retrain_share"])
    assert supernet == pytest.approx(3 * path, rel=1e-2)  # the sandwich's three sub-networks
    assert recipe["learning_rate"] == PUBLISHED["rate"] and recipe["betas"] == PUBLISHED["betas"]
    assert recipe["warmup"] * PUBLISHED["updates"] == pytest.approx(PUBLISHED["warmup_updates"])
    assert (recipe["weight_decay"], recipe["clip_norm"]) == (PUBLISHED["decay"], 0)
    assert tier.model["dropout"] == tier.model["attention_dropout"] == 0
    assert tier.data["length"] == tier.workload["source_len"] == PUBLISHED["rows"]
    assert tier.vocab == PUBLISHED["vocab"] and tier.space == "supershaper"
    smaller = encoders.wikipedia_task.tier("paper-small", device)
    assert smaller.space == "mos-bert-v5.1" and [*smaller.windows, *tier.windows] == WINDOWS
    assert len(tier.finetune["tasks"]) == 8 and "wnli" not in tier.finetune["tasks"]


def test_wikipedia_is_that_of_a_pinned_commit() -> None:
    task = encoders.wikipedia_task
    assert encoders.REVISION in task.declared(task.tier("paper", "cpu")).values()
    with pytest.raises(UsageError, match="has no tier 'smoke'"):
        task.tier("smoke", "cpu")
