"""The papers' translation tasks: their hyper-parameters, published scoring, and a slice of a run."""

import numpy as np
import pytest
import sacrebleu

from benchmarks.tasks.papers import translation
from benchmarks.tasks.papers.translation import PaperTranslation, tokenised_bleu

TASKS = {
    task.key: task
    for task in (
        translation.wmt14_en_de,
        translation.wmt14_en_fr,
        translation.wmt19_en_de,
        translation.iwslt14_de_en,
    )
}
PUBLISHED = {
    # HAT, configs/wmt*/supertransformer/space0.yml and its commands: 128 batches of 4,096 tokens an update
    "wmt": {
        "updates": 40_000, "tokens_an_update": 128 * 4096, "rate": 1e-3, "warmup_updates": 10_000,
        "schedule": "cosine", "dropout": 0.3, "attention_dropout": 0.1, "share": "all", "decay": 0.0,
        "average": 0, "embed": (640, 512), "ffn": (3072, 2048, 1024), "heads": (8, 4), "source_len": 30,
        "beam": 4, "lenpen": 0.6, "precision": "fp16",
    },
    # HAT, configs/iwslt14.de-en/supertransformer/space1.yml, one GPU; averaging: issue 4 of its repository
    "iwslt": {
        "updates": 50_000, "tokens_an_update": 4096, "rate": 5e-4, "warmup_updates": 10_000,
        "schedule": "inverse-sqrt", "dropout": 0.375, "attention_dropout": 0.1, "share": "none",
        "decay": 1e-4, "average": 10, "embed": (640, 512), "ffn": (2048, 1024, 512), "heads": (4, 2),
        "source_len": 23, "beam": 5, "lenpen": 1.0, "precision": "fp32",
    },
}  # fmt: skip
VOCABULARIES = {"wmt14-en-de": 32_000, "wmt14-en-fr": 40_000, "wmt19-en-de": 40_000, "iwslt14-de-en": 10_000}
SEARCH = {"parents": 25, "mutants": 50, "crossovers": 50, "generations": 30, "mutation_probability": 0.3}
"""HAT's evolutionary search (section 3.3 and evolution.py): a population of 125, 30 iterations."""
PROBES = 2000
"""Architectures of HAT's latency data set."""


@pytest.mark.parametrize("key", [*TASKS])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_tier_has_the_papers_hyper_parameters(key: str, device: str) -> None:
    from supernet.space import get_space

    published = PUBLISHED[key.rstrip("-abcdefghijklmnopqrstuvwxyz").rstrip("0123456789")]
    tier = TASKS[key].tier("paper", device)
    recipe, space = tier.recipe, get_space(tier.space)
    supernet_tokens = published["updates"] * published["tokens_an_update"]
    assert recipe["batch_tokens"] * recipe["accumulate"] == published["tokens_an_update"]
    assert tier.budget["tokens"] == pytest.approx(supernet_tokens * (1 + len(tier.limits)), rel=1e-2)
    share = 1 - tier.settings["retrain_share"]
    assert share * tier.budget["tokens"] == pytest.approx(supernet_tokens, rel=1e-2)
    assert recipe["learning_rate"] == published["rate"] and recipe["schedule"] == published["schedule"]
    assert recipe["warmup"] * published["updates"] == pytest.approx(published["warmup_updates"])
    assert (recipe["weight_decay"], recipe["average_checkpoints"]) == (
        published["decay"],
        published["average"],
    )
    assert recipe["betas"] == [0.9, 0.98] and recipe["label_smoothing"] == 0.1 and recipe["clip_norm"] == 0
    if device == "cuda":
        assert recipe["precision"] == published["precision"]
    model = tier.model
    assert (model["dropout"], model["attention_dropout"]) == (
        published["dropout"],
        published["attention_dropout"],
    )
    assert model["share"] == published["share"] and tier.vocab == VOCABULARIES[key]
    assert space.choice("encoder_embed_dim").options == published["embed"]
    assert space.choice("encoder_ffn").options == published["ffn"]
    assert space.choice("encoder_heads").options == published["heads"]
    assert {name: tier.settings[name] for name in SEARCH} == SEARCH
    assert tier.settings["predictor_probes"] == tier.budget["probes"] == PROBES
    assert tier.budget["evaluations"] == SEARCH["generations"] * 125
    assert (tier.workload["source_len"], tier.workload["beam"]) == (published["source_len"], 5)
    assert (tier.decode["beam"], tier.decode["lenpen"]) == (published["beam"], published["lenpen"])


def test_tokenised_bleu_is_that_of_split_tokens() -> None:
    references = ["the state @-@ of @-@ the @-@ art dog is in the garden .", "a cat sees a dog now ."]
    outputs = ["the state @-@ of @-@ the @-@ art dog was in the garden .", "a cat sees the dog now ."]
    score = tokenised_bleu(outputs, references, lower=False)
    split = [[line.replace(" @-@ ", " ##AT##-##AT## ") for line in side] for side in (outputs, references)]
    expected = sacrebleu.corpus_bleu(split[0], [split[1]], tokenize="none", force=True).score
    assert score.value == pytest.approx(expected, abs=1e-6) and 0 < expected < 100
    assert "tok:moses-hyphens" in score.signature and "case:mixed" in score.signature
    assert "case:lc" in tokenised_bleu(outputs, references, lower=True).signature
    assert tokenised_bleu(references, references, lower=False).value == pytest.approx(100)


def smaller(task: PaperTranslation, monkeypatch: pytest.MonkeyPatch, vocab: int = 120):
    """Give a task's tier a vocabulary that 100 sentences have."""
    from dataclasses import replace

    tier = replace(task.tier("paper", "cpu"), vocab=vocab)
    monkeypatch.setattr(task, "tier", lambda name, device: tier)
    return tier


@pytest.mark.slow
def test_a_slice_of_the_tier_runs(declared, tmp_path, monkeypatch) -> None:
    """The tier's own space, recipe and decoding on few tokens: one per cent takes an hour on two cores."""
    import torch

    from benchmarks.lab.batches import recipe_of
    from supernet import SharedSlices, SuperNet
    from supernet.train import SinglePath, Trainer

    task = TASKS["iwslt14-de-en"]
    tier = smaller(task, monkeypatch)
    prepared = task.prepare(tier, tmp_path / "cache", None, lambda line: None)
    family = task.family(tier, prepared)
    recipe = recipe_of(tier.recipe)
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(1)))

    class Slice:
        total, spent = 1e-5 * tier.budget["tokens"], 0.0

        def __iter__(self):
            for batch in task.batches(task.training(prepared), recipe.batch_tokens, 5, "cpu"):
                if self.spent + batch.tokens > self.total:
                    return
                self.spent += batch.tokens
                yield batch

    Trainer(net, recipe, SinglePath(), 1).fit(Slice())
    module = net.export(family.space.smallest())
    score = task.score(module, prepared, tier, "cpu")
    assert 0 <= score["test"]["iwslt14"]["bleu_tok"]["value"] <= 100 and score["test_loss"] > 0
    assert task.evaluate(module, task.validation(prepared), "cpu").loss > 0


@pytest.mark.parametrize("key", [*TASKS])
def test_data_is_prepared_and_scored(declared, tmp_path, monkeypatch, key: str) -> None:
    task = TASKS[key]
    tier = smaller(task, monkeypatch)
    prepared = task.prepare(tier, tmp_path / "cache", None, lambda line: None)
    again = task.prepare(tier, tmp_path / "cache", None, lambda line: pytest.fail(line))
    assert again == prepared
    assert all(len(sha) == 64 for sha in prepared.digests.values())
    train = task.training(prepared)
    assert len(train) > 50 and train.target_tokens > 500
    monkeypatch.setattr(type(task), "evaluate", lambda self, module, pairs, device, precision: _Loss())
    tests = translation.corpus.read_tests(prepared.sealed)
    ((name, (_, references)),) = tests.items()
    tokens = [task.corpus.preparation.tokenise(line, task.languages[1]) for line in references]
    monkeypatch.setattr(type(task), "translate", lambda self, *_: tokens)
    score = task.score(None, prepared, tier, "cpu")
    assert set(score["test"][name]) == {*task.units.metrics}
    assert score["test"][name]["bleu_tok"]["value"] == pytest.approx(100)
    assert score["test"][name]["bleu"]["value"] == pytest.approx(100), (
        "detokenised, it is the reference again"
    )
    with pytest.raises(ValueError, match="sealed off"):
        task.score(None, translation.Prepared(prepared.folder, None, {}, 1, 1), tier, "cpu")


class _Loss:
    loss = 1.0


def test_pairs_are_written_as_the_reader_takes_them(tmp_path) -> None:
    chunks = [([[1, 2], [3]], [[4], [5, 6, 7]]), ([[8]], [[9]])]
    translation.write_pairs(tmp_path / "x.npz", iter(chunks))
    pairs = translation.corpus.read_pairs(tmp_path / "x.npz")
    assert (pairs.source.tolist(), pairs.source_length.tolist()) == ([1, 2, 3, 8], [2, 1, 1])
    assert (pairs.target.tolist(), pairs.target_length.tolist()) == ([4, 5, 6, 7, 9], [1, 3, 1])
    assert np.issubdtype(pairs.source.dtype, np.integer)
