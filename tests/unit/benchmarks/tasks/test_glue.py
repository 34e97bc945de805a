"""Fine-tuning data of encoders: safe reading, sealed rows, one recipe, honest tables."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.analysis.table import build_table
from benchmarks.api import UsageError
from benchmarks.leaderboard import submission
from benchmarks.leaderboard.site import table_files
from benchmarks.records import integrity, selection, store
from benchmarks.report.markdown import markdown
from benchmarks.stats import intervals, quantities
from benchmarks.tasks import finetuning, get_task, glue, text
from benchmarks.tasks.bert import BertTask
from benchmarks.tasks.glue import TASKS
from supernet.bert import CLS, PAD, SEP
from supernet.space import get_space
from tests.fake_records import fake

PAIR = TASKS["rte"]


def packed(folder: Path, content: str) -> Path:
    path = folder / "train.tsv.gz"
    path.write_bytes(gzip.compress(content.encode()))
    return path


def read(folder: Path, content: str, task: glue.GlueTask = PAIR) -> list[glue.Row]:
    return glue.read_table(packed(folder, content), task, 1 << 20)


def test_a_field_ends_at_a_tab_with_any_quotes_in_it(tmp_path: Path) -> None:
    found = read(tmp_path, 'sentence1\tsentence2\tlabel\n"A\tB "" b"\tentailment\r\n x\ty\tnot_entailment\n')
    assert found == [(('"A', 'B "" b"'), "entailment"), ((" x", "y"), "not_entailment")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", r"line 1: columns '', rte has sentence1, sentence2, label"),
        ("sentence\tlabel\n", r"line 1: columns 'sentence\\tlabel', rte has sentence1, sentence2, label"),
        ("sentence1\tsentence2\tlabel\na\tb\n", r"line 2: 2 columns, not 3"),
        ("sentence1\tsentence2\tlabel\na\tb\tentailment\na\tb\tc\tentailment\n", r"line 3: 4 columns, not 3"),
        ("sentence1\tsentence2\tlabel\n \tb\tentailment\n", r"line 2: a sentence is empty"),
        (
            "sentence1\tsentence2\tlabel\na\tb\t1\n",
            r"line 2: no label '1': rte has entailment, not_entailment",
        ),
        ("sentence1\tsentence2\tlabel\na\tb\tentailment\n\n", r"line 3: 1 columns, not 3"),
    ],
)
def test_an_invalid_table_is_refused(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(UsageError, match="train.tsv.gz', " + said):
        read(tmp_path, content)


@pytest.mark.parametrize("label", ["5.01", "-0.1", "nan", "inf", "much", ""])
def test_an_invalid_similarity_is_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(UsageError, match="line 2: no label .*: sts-b has numbers from 0 to 5"):
        read(tmp_path, f"sentence1\tsentence2\tlabel\na\tb\t{label}\n", TASKS["sts-b"])


@given(st.binary(max_size=200))
def test_any_bytes_give_rows_or_one_message(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = tmp_path_factory.mktemp("hostile") / "train.tsv.gz"
    path.write_bytes(gzip.compress(b"sentence\tlabel\n" + body))
    try:
        found = glue.read_table(path, TASKS["cola"], 1 << 20)
    except UsageError as error:
        assert str(path) in str(error)
    else:
        assert all(label in ("0", "1") and texts[0].strip() for texts, label in found)


def test_the_official_files(data_dir: Path, tmp_path: Path) -> None:
    said: list[str] = []
    for name in ("sst-2", "cola", "rte", "sts-b", "wnli"):
        digests = glue.prepare(name, tmp_path, data_dir, said.append)
        assert sorted(digests) == [f"glue/{TASKS[name].source}/{split}.tsv.gz" for split in ("dev", "train")]
        found = glue.read(name, tmp_path)
        assert tuple(len(found[split]) for split in ("train", "dev")) == TASKS[name].rows
        assert glue.prepare(name, tmp_path, None, said.append) == digests, "made once and then found"
    assert len(said) == 5
    assert glue.read("wnli", tmp_path)["dev"][0] == (
        ("The drain is clogged with hair. It has to be cleaned.", "The hair has to be cleaned."),
        "0",
    )


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"(?s)no folder '.*glue'.*RTE/.*--data-dir names the folder above glue/"
    ):
        glue.prepare("rte", tmp_path / "sealed", tmp_path, print)
    (tmp_path / "glue").mkdir()
    with pytest.raises(UsageError, match=r"RTE/train.tsv.gz' is missing: expected 328,706 bytes"):
        glue.prepare("rte", tmp_path / "sealed", tmp_path, print)
    with pytest.raises(UsageError, match="glue cannot be fetched by checksum.*\n.*--data-dir FOLDER"):
        glue.prepare("rte", tmp_path / "sealed", None, print)
    assert not list((tmp_path / "sealed").glob("finetune-*")), "nothing half made"


def test_generated_rows_are_balanced_and_apart(tmp_path: Path) -> None:
    digests = glue.prepare("number", tmp_path, None, print)
    found = glue.read("number", tmp_path)
    assert set(digests) == {"number/train", "number/dev"}
    for split, size in zip(("train", "dev"), TASKS["number"].rows, strict=True):
        labels = [label for _, label in found[split]]
        assert len(labels) == size and labels.count("many") == labels.count("one")
    train, dev = ({texts for texts, _ in found[split]} for split in ("train", "dev"))
    assert len(train) + len(dev) == sum(TASKS["number"].rows) and not train & dev
    for starts, answer in ((("We ", "These ", "Three "), "many"), (("I ", "He ", "She "), "one")):
        said = [label for rows in found.values() for (line,), label in rows if line.startswith(starts)]
        assert len(said) > 20 and set(said) == {answer}
    # An encoder is trained on sentences of split train; those of dev are of another one.
    tier = get_task("bert-synthetic-en").tier("smoke", "cpu")
    assert not {line for (line,) in dev} & set(text.synthetic(tier.data, None, print).train)


class Hub(types.ModuleType):
    """Stands in for the library ``datasets``."""

    def __init__(self, labels: list[str], lines: int = 4, label: int | None = None) -> None:
        super().__init__("datasets")
        self.labels, self.lines, self.label = labels, lines, label
        self.asked: list[tuple[str, str, str]] = []

    def load_dataset(self, name: str, configuration: str, split: str) -> Any:
        self.asked.append((name, configuration, split))
        there = [
            {
                "sentence1": f"a {i}",
                "sentence2": f"b\t{i}",
                "label": i % 2 if self.label is None else self.label,
            }
            for i in range(self.lines)
        ]

        class Table(list):  # type: ignore[type-arg]
            features = {"label": types.SimpleNamespace(names=self.labels)}

        return Table(there)


def hub(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setitem(TASKS, "mrpc", dataclasses.replace(TASKS["mrpc"], rows=(4, 4)))


def test_tasks_for_users_with_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = Hub(["not_equivalent", "equivalent"])
    hub(monkeypatch, module)
    digests = glue.prepare("mrpc", tmp_path, None, print)
    assert module.asked == [("nyu-mll/glue", "mrpc", "train"), ("nyu-mll/glue", "mrpc", "validation")]
    assert set(digests) == {"mrpc/train", "mrpc/dev"}
    assert glue.read("mrpc", tmp_path)["dev"][1] == (("a 1", "b\t1"), "equivalent")


def test_faults_of_a_downloaded_task_are_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cases = [
        (None, r"datasets, which is not installed\n.*pip install 'supernet-bench\[glue\]'"),
        (Hub(["no", "yes"]), "row 1: no label 'no': mrpc has not_equivalent, equivalent"),
        (Hub(["not_equivalent", "equivalent"], label=-1), "row 1: no label -1"),
        (Hub(["not_equivalent", "equivalent"], lines=3), "3 rows of train in hub:mrpc, 4 are expected"),
        (types.ModuleType("datasets"), "not installed"),
    ]
    for module, said in cases:
        hub(monkeypatch, module)
        with pytest.raises(UsageError, match=said):
            glue.prepare("mrpc", tmp_path, None, print)
    broken = Hub([])
    broken.load_dataset = lambda *a, **k: 1 / 0  # type: ignore[method-assign]
    hub(monkeypatch, broken)
    with pytest.raises(UsageError, match="could not be read .ZeroDivisionError"):
        glue.prepare("mrpc", tmp_path, None, print)


def test_an_unknown_task_is_refused() -> None:
    glue.check(["sst-2", "rte"])
    with pytest.raises(UsageError, match="no task of fine-tuning is called 'sst2': known are sst-2, cola"):
        glue.check(["sst2"])


@pytest.mark.parametrize("name", ["bert-synthetic-en", "bert-enwiki"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_tier_declares_its_fine_tuning_tasks(name: str, device: str) -> None:
    task = get_task(name)
    for tier in (task.tier(tier, device) for tier in task.tiers() if tier != "check"):
        settings = finetuning.Settings(**tier.finetune)
        glue.check(settings.tasks)
        smallest = min(min(TASKS[one].rows[0], settings.train_most) for one in settings.tasks)
        assert all(settings.epochs_of(one) >= 1 for one in settings.tasks)
        assert settings.batch <= smallest * (1 - settings.held_out)
        assert settings.seeds >= (5 if tier.name == "small" else 2)
        assert len(set(settings.learning_rates)) == len(settings.learning_rates) > 1


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 40))
def test_the_longer_sentence_is_cut_first(first: int, second: int, room: int) -> None:
    ids = [list(range(first)), list(range(second))]
    lengths = [first, second]
    while sum(lengths) > room:
        lengths[lengths[0] < lengths[1]] -= 1
    kept = finetuning.truncate(ids, room)
    assert sum(map(len, kept)) == sum(lengths)
    assert sorted(map(len, kept)) == sorted(lengths)
    assert all(part == whole[: len(part)] for part, whole in zip(kept, ids, strict=True))
    assert finetuning.truncate(ids[:1], room) == [ids[0][:room]]


@pytest.fixture(scope="module")
def pieces() -> Any:
    return text.learn(["the old man sees a bank", "a bank of the river", "he sees the old river"] * 20, 54)


def test_rows_as_tokens(pieces: Any) -> None:
    task = dataclasses.replace(PAIR, length=12)
    short, long = (("the man", "a bank"), "entailment"), (("the " * 30, "a bank"), "not_entailment")
    found = finetuning.examples(task, [short, long], pieces)
    the, man, a, bank = (one for part in short[0] for one in pieces.encode(part).ids)
    assert found.tokens[0].tolist() == [CLS, the, man, SEP, a, bank, SEP, *[PAD] * 5]
    assert found.segments[0].tolist() == [0, 0, 0, 0, 1, 1, 1, *[0] * 5]
    assert found.tokens[1].tolist() == [CLS, *[the] * 7, SEP, a, bank, SEP]
    assert found.labels.tolist() == [0, 1]
    numbers = finetuning.examples(TASKS["sts-b"], [(("a", "the"), "5.0"), (("a", "a"), "2.5")], pieces)
    assert numbers.tokens.shape == (2, 96) and numbers.labels.tolist() == [1.0, 0.5]
    single = finetuning.examples(TASKS["cola"], [(("the man",), "1")], pieces)
    assert single.tokens[0, :5].tolist() == [CLS, the, man, SEP, PAD] and not single.segments.any()


def test_metrics_are_their_definitions() -> None:
    rng = np.random.default_rng(0)
    labels, said = rng.integers(0, 2, 50), rng.normal(size=(50, 2))
    choice = said.argmax(1)
    hit, false = ((choice == 1) & (labels == 1)).sum(), ((choice == 1) & (labels == 0)).sum()
    missed, right = ((choice == 0) & (labels == 1)).sum(), ((choice == 0) & (labels == 0)).sum()
    product = math.sqrt((hit + false) * (hit + missed) * (right + false) * (right + missed))
    assert finetuning.compute_metric("accuracy", said, labels) == pytest.approx(2 * (hit + right))
    assert finetuning.compute_metric("f1", said, labels) == pytest.approx(
        200 * hit / (2 * hit + false + missed)
    )
    assert finetuning.compute_metric("mcc", said, labels) == pytest.approx(
        100 * (hit * right - false * missed) / product
    )
    numbers = np.arange(50.0)
    for metric in ("spearman", "pearson"):
        assert finetuning.compute_metric(metric, numbers[:, None], -numbers) == pytest.approx(-100)
        assert finetuning.compute_metric(metric, np.full((50, 1), np.nan), numbers) == 0
    assert finetuning.compute_metric("spearman", np.exp(numbers[:, None] / 5), numbers) == pytest.approx(100)
    assert finetuning.compute_metric("mcc", np.full((50, 2), np.nan), labels) == 0


def small(task: str, **changes: Any) -> finetuning.Settings:
    table = {"learning_rates": (1e-5, 3e-3), "epochs": 3, "batch": 16, "seeds": 3, "train_most": 320}
    return finetuning.Settings((task,), **(table | {"held_out": 0.2, "warmup": 0.1} | changes))


@pytest.fixture(scope="module")
def encoder(pieces: Any) -> Any:
    from supernet.bert import BertConfig, family_of

    space = get_space("bert-smoke")
    config = BertConfig(pieces.get_vocab_size(), dropout=0.0, attention_dropout=0.0, max_positions=32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return family_of(space)(space, config).build(space.smallest()).requires_grad_(False)


def test_a_task_is_measured_by_the_rate_that_a_part_of_train_chooses(pieces: Any, encoder: Any) -> None:
    rng = np.random.default_rng(0)
    words = ["bank", "river", "old", "the"]

    def drawn(n: int) -> list[glue.Row]:
        labels = rng.integers(0, 2, n)
        return [((" ".join(["man" if y else "he", *rng.choice(words, 4)]),), str(y)) for y in labels]

    splits = {"train": drawn(400), "dev": drawn(100)}
    found = finetuning.measure(encoder, TASKS["cola"], splits, pieces, small("cola"), "cpu")
    figure = found["mcc"]
    assert list(found) == ["mcc"] and figure["value"] > 90
    interval = intervals.t_interval(figure["values"])
    assert figure["value"] == pytest.approx(interval.mean, abs=1e-5) and len(figure["values"]) == 3
    assert figure["low"] == pytest.approx(interval.low, abs=1e-5)
    assert figure["deviation"] == pytest.approx(np.std(figure["values"], ddof=1), abs=1e-5)
    for part in ("glue:cola", "split:dev", "n:100", "train:320", "lr:0.003", "grid:1e-05,0.003", "ep:3"):
        assert part in figure["signature"].split("|")
    for part in ("held-out:64", "bs:16", "len:32", "seeds:3", "ci:t95-over-fine-tuning-seeds", "version:1"):
        assert part in figure["signature"].split("|")
    assert "width 256" in figure["unfit"]
    # Dev chooses nothing: with its labels turned round the same copies say the same.
    turned = splits | {"dev": [(texts, str(1 - int(y))) for texts, y in splits["dev"]]}
    again = finetuning.measure(encoder, TASKS["cola"], turned, pieces, small("cola"), "cpu")
    assert again["mcc"]["values"] == pytest.approx([-value for value in figure["values"]])
    by_task = small("cola", epochs={"cola": 3, "rte": 9})
    assert finetuning.measure(encoder, TASKS["cola"], splits, pieces, by_task, "cpu") == found
    schema = json.loads((Path(store.__file__).parent / "schema" / "record-1.json").read_text())
    jsonschema.validate(figure, {"$defs": schema["$defs"], "$ref": "#/$defs/figure"})


@pytest.mark.parametrize(("length", "used"), [(16, 16), (64, 32)])
def test_a_pair_and_a_number_are_measured(pieces: Any, encoder: Any, length: int, used: int) -> None:
    """Rows longer than the network has positions are cut to them."""
    task = dataclasses.replace(TASKS["sts-b"], length=length)
    rng = np.random.default_rng(0)
    splits = {
        split: [
            (("the man", word), label) for word, label in zip(("bank", "old"), ("5.0", "1.0"), strict=True)
        ]
        * (n // 2)
        for split, n in (("train", 640), ("dev", 20))
    }
    rng.shuffle(splits["train"])  # type: ignore[arg-type]
    found = finetuning.measure(encoder, task, splits, pieces, small("sts-b", seeds=1, train_most=640), "cpu")
    assert list(found) == ["spearman", "pearson"] and found["pearson"]["value"] > 90
    assert f"|len:{used}|" in found["pearson"]["signature"]
    assert found["pearson"]["low"] is None is found["pearson"]["deviation"]
    assert "unfit" not in found["pearson"]


def test_a_task_without_seal_cannot_be_fine_tuned_on() -> None:
    task = get_task("bert-synthetic-en")
    assert isinstance(task, BertTask)
    with pytest.raises(ValueError, match="sealed"):
        task.finetune(None, types.SimpleNamespace(sealed=None), None, "number", "cpu")  # type: ignore[arg-type]


def figure(values: list[float], task: str, rate: float = 1e-3, **more: Any) -> dict[str, Any]:
    over = finetuning.summarize_seeds(values, f"metric:x|glue:{task}|lr:{rate:g}|grid:1,2|version:1")
    return over | more


def tuned_record(method: str, seed: int, shift: float = 0.0) -> dict[str, Any]:
    record = fake(method, seed, limits=(0.6,))
    record["candidates"][0]["test"] = {
        "a-set": {"accuracy": figure([80 + shift, 82 + shift], "a-set", 1e-3 * seed)},
        "b-set": {
            "pearson": figure([50.0, 50.0], "b-set"),
            "spearman": figure([60 + shift, 64 + shift], "b-set"),
        },
        "cola": {"mcc": figure([1.0, -1.0], "cola", unfit="too small | for it")},
        "test": {"mlm_accuracy": {"value": 40.0, "low": 39.0, "high": 41.0, "signature": "mlm:x|version:1"}},
    }
    return integrity.seal(
        {k: v for k, v in record.items() if k not in ("id", "digest", "seal", "seals", "schema")}
    )


def test_fine_tuned_test_sets_decide_nothing() -> None:
    record = tuned_record("hat", 1)
    candidate = record["candidates"][0]
    assert next(iter(candidate["test"])) == "a-set"
    assert selection.deciding_set(candidate) == "test" and selection.metric_of(record) == "mlm_accuracy"
    assert not [told for told in submission.find_problems(record) if told.startswith("test.")]


@pytest.mark.parametrize("seeds", [1, 3])
def test_fine_tuned_copies_have_a_table_with_a_mean_over_tasks_that_rank(seeds: int) -> None:
    found = [tuned_record("hat", seed) for seed in range(1, seeds + 1)]
    found += [tuned_record("scratch", seed, 2.0 + seed / 10) for seed in range(1, seeds + 1)]
    table = build_table(found)
    direct, copies, versus = table.scores
    assert (direct.metric, direct.sets) == ("mlm_accuracy", ["test"])
    heads = ["a-set: accuracy %", "b-set: Spearman x 100", "b-set: Pearson x 100", "cola: MCC x 100"]
    heads.insert(0, "mean over tasks")
    assert copies.sets == heads
    line = copies.frame.set_index("method").loc["hat"]
    mark = " f" if seeds == 1 else ""
    over = intervals.interval([80.0, 82.0], quantities.of_metric("accuracy"))
    span = f" [{over.low:.1f}, {over.high:.1f}]{mark}" if seeds == 1 else ""  # equal figures show no spread
    assert line["a-set: accuracy %"] == "81.0 +- 1.4" + span
    # The mean over tasks is taken copy by copy: (80 + 60) / 2 and (82 + 64) / 2.
    assert line["mean over tasks"].startswith("71.5 +- 2.1")
    assert "cola (too small | for it)" in copies.notes[1] and "a-set" not in copies.notes[1]
    assert copies.signature.count("lr:chosen") == 3 and "0.00" not in copies.signature
    difference = versus.frame.set_index("method")
    assert list(difference.index) == ["scratch"] and versus.sets == heads[:3]
    ours = [2.0 + seed / 10 for seed in range(1, seeds + 1)]
    interval = intervals.t_interval(ours)
    expected = f"{interval.mean:+.1f}"
    if seeds > 1:
        expected += f" [{interval.low:+.1f}, {interval.high:+.1f}]{mark}"
    assert difference["a-set: accuracy %"]["scratch"] == expected
    shown = markdown(table, "t").replace("\\", "")
    assert "fine-tuned copies on each test set" in shown and copies.notes[1] in shown
    assert "Left out of the mean" in markdown(table, "t")
    sets = table_files.below(table, {}, {}, brief=False)["sets"]
    assert "Left out of the mean" in sets["fine-tuned"]["signature"]
    kinds = dict(zip(table.sets["set"], table.sets["interval"], strict=True))
    assert kinds == dict.fromkeys(("a-set", "b-set", "cola"), "fine-tunings" if seeds == 1 else "seeds") | {
        "test": "sentences" if seeds == 1 else "seeds"
    }


def test_records_without_fine_tuning_have_no_such_table() -> None:
    table = build_table([fake("hat", 1)])
    assert not [one for one in table.scores if "fine-tuned" in one.metric]
