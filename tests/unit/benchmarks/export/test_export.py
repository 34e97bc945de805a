"""``supernet-bench export``: from a record to a folder that the real runtime reads, or to one message."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.api import UsageError
from benchmarks.cli import main
from benchmarks.export import model_card, source
from benchmarks.export.targets import TARGETS
from benchmarks.measurement.tracing import random_inputs
from benchmarks.records import runtime_latencies, store
from benchmarks.records.spec import spec_id
from benchmarks.runs import repeat
from benchmarks.runs.plan import Folders
from benchmarks.stats import bleu
from benchmarks.tasks import get_task
from supernet import decode, export
from supernet.elastic import SuperNet
from supernet.families import image_family
from supernet.space import get_space
from supernet.weights import SharedSlices
from tests.fake_records import fake
from tests.processor import needs_vnni

HOSTILE = "x|y</td> `$(rm -rf)` [a](http://b)\n# ![img](c)\u202e"


def needs(*packages: str):
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def left(results: Path, task_name: str, edits: dict, family=None, at: str = "check", **changes) -> Path:
    """A record and what its run leaves on disk; its network has learnt nothing. With a ``family``, that of a
    task whose data are not here."""
    task = get_task(task_name)
    tier = task.tier(at, "cpu")
    folders = Folders(results / "local", task.suite, at)
    digests = {"images": "0" * 64}
    if family is None:
        prepared = task.prepare(tier, folders.cache, None, lambda _: None)
        family, digests = task.family(tier, prepared), dict(prepared.digests)
    values = {**family.space.largest().to_dict(), **edits}
    architecture = family.space.architecture(values)
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(1)))
    record = fake(task=task_name, tier=at, limits=[None], message=HOSTILE)
    record["spec"]["suite"] = task.suite
    record["candidates"][0]["architecture"] = architecture.to_dict()
    record["candidates"][0]["test"] = {"test": record["candidates"][0]["test"]["pooled"]}
    record["provenance"]["data"] = digests
    record["provenance"]["commit"] = HOSTILE
    for name, value in changes.items():
        record["spec"][name] = value
    run = folders.runs / spec_id(record["spec"]) / "candidates" / "00"
    module, generator = net.export(architecture), torch.Generator().manual_seed(2)
    for parameter in module.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    digest = export.save(run, module, family.spec(), architecture)
    record["candidates"][0]["weights_sha256"] = digest
    return store.write(folders.store, record)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results with a translator and an encoder."""
    results = tmp_path_factory.mktemp("results")
    pair = left(results, "mt-synthetic-en-de", {"decoder_cross_source": [-1, -1]})
    image = left(results, "vision-digits", {})
    return results, pair, left(results, "bert-synthetic-en", {}), image


def call(results: Path, record: Path | str, *more: str) -> int:
    return main.main(["export", str(record), "--results", str(results), *more])


@needs("transformers")
@pytest.mark.parametrize(("which", "auto"), [(1, "AutoModelForSeq2SeqLM"), (2, "AutoModelForMaskedLM")])
def test_a_row_becomes_a_folder_of_transformers(made, which, auto, tmp_path):
    import transformers

    out = tmp_path / "out"
    assert call(made[0], made[which], "--to", "huggingface", "--out", str(out)) == 0
    text = (out / "README.md").read_text()
    assert auto in text and "Where" not in text
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    __import__("supernet.interop.huggingface.automodels")
    model = getattr(transformers, auto).from_pretrained(out)
    given = tokenizer("the dog sees a cat", return_tensors="pt")
    assert given["input_ids"].max() < model.config.vocab_size
    more = {"decoder_input_ids": torch.tensor([[2]])} if which == 1 else {}
    assert torch.isfinite(model(**given, **more).logits).all()


@needs("transformers")
def test_a_classifier_of_images_becomes_a_folder_of_transformers(made, tmp_path):
    import transformers

    out = tmp_path / "out"
    assert call(made[0], made[3], "--to", "huggingface", "--out", str(out)) == 0
    assert "AutoModelForImageClassification" in (out / "README.md").read_text()
    model = transformers.AutoModelForImageClassification.from_pretrained(out)
    module, _ = export.load(source.find_candidate(store.load(made[3]), None, made[3], made[0]).folder)
    pixels = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(model(pixel_values=pixels).logits, module(pixels), atol=1e-5)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Results with a network of images and texts, whose task's data are not here."""
    family = image_family(get_space("vl-smoke"), 13, image=64, channels=3, vocab=30, text=12)
    results = tmp_path_factory.mktemp("questions")
    return results, left(results, "vl-easy-vqa", {}, family, "small"), family


@needs("transformers")
def test_a_network_of_images_and_texts_becomes_a_folder_of_transformers(asked, tmp_path):
    import transformers

    out = tmp_path / "out"
    assert call(*asked[:2], "--to", "huggingface", "--out", str(out)) == 0
    text = (out / "README.md").read_text()
    assert "AutoModelForVisualQuestionAnswering" in text and "no tokenizer" in text
    model = transformers.AutoModelForVisualQuestionAnswering.from_pretrained(out)
    module, _ = export.load(source.find_candidate(store.load(asked[1]), None, asked[1], asked[0]).folder)
    inputs = random_inputs(asked[2], 2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = model(pixel_values=inputs[0], input_ids=inputs[1], labels=torch.tensor([0, 1]))
        assert torch.allclose(found.logits, module(*inputs), atol=1e-5) and found.loss > 0


@needs("onnx", "onnxruntime")
def test_a_network_of_images_and_texts_becomes_an_onnx_file(asked, tmp_path, capsys):
    import onnxruntime

    out = tmp_path / "out"
    assert call(*asked[:2], "--to", "onnx", "--out", str(out), "--time", "--json") == 0
    told = {x["what"]: x["value"] for x in json.loads(capsys.readouterr().out)["checks"]}
    assert float(told["same largest logit"].rstrip("%")) >= 99.5 and "latency p50, ms, 95 %" in told
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    module, _ = export.load(source.find_candidate(store.load(asked[1]), None, asked[1], asked[0]).folder)
    inputs = random_inputs(asked[2], 3, torch.Generator().manual_seed(0))
    given = {one.name: x.numpy() for one, x in zip(session.get_inputs(), inputs, strict=True)}
    said = torch.from_numpy(session.run(None, given)[0])
    with torch.no_grad():
        torch.testing.assert_close(said, module(*inputs), rtol=1e-4, atol=1e-4)


@needs("transformers")
def test_a_policy_has_no_words_in_transformers(asked, capsys, tmp_path):
    words = ["--to", "huggingface", "--precision", "int8", "--out", str(tmp_path / "out")]
    assert call(*asked[:2], *words) == 2
    said = capsys.readouterr().err
    assert "cannot represent a policy of precisions: --precision fp32" in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


@needs("ctranslate2")
def test_a_translator_becomes_a_folder_of_ctranslate2(made, tmp_path, capsys):
    out = tmp_path / "out"
    assert call(made[0], made[1], "--to", "ctranslate2", "--out", str(out), "--time", "--json") == 0
    told = {x["what"]: x for x in json.loads(capsys.readouterr().out)["checks"]}
    ours, theirs = told["BLEU in PyTorch, fp32"], told["BLEU in ctranslate2"]
    assert float(theirs["value"]) == pytest.approx(float(ours["value"]), abs=0.5)
    assert "ctranslate2-" in theirs["signature"] and "tok:13a" in theirs["signature"]
    latency = told["latency p50, ms, 95 %"]
    assert "|rt:ctranslate2-" in latency["signature"] and "|search:yes|" in latency["signature"]
    assert "|steps:13|" in latency["signature"] and "|thr:1|" in latency["signature"]
    assert (out / "vocabulary.model").is_file() and "ctranslate2" in (out / "README.md").read_text()


@needs("onnx", "onnxruntime")
@pytest.mark.parametrize(
    ("which", "precision", "timed"),
    [
        (1, "fp32", True),
        (2, "fp32", False),
        pytest.param(2, "int8", True, marks=needs_vnni),
        (3, "fp32", False),
        pytest.param(3, "int8", False, marks=needs_vnni),
    ],
)
def test_a_row_becomes_an_onnx_file(made, which, precision, timed, tmp_path, capsys):
    out = tmp_path / "out"
    more = ["--time"] if timed else []
    words = ["--to", "onnx", "--out", str(out), "--precision", precision, "--json", *more]
    assert call(made[0], made[which], *words) == 0
    said = json.loads(capsys.readouterr().out)
    told = {x["what"]: x for x in said["checks"]}
    assert float(told["same largest logit"]["value"].rstrip("%")) >= 99.5
    if precision == "fp32":
        assert float(told["largest difference of two logits"]["value"]) <= 1e-4
    compared = told["same largest logit"]["signature"]
    assert "of valid" in compared and "rows:1 " not in compared
    if timed:
        signature = told["latency p50, ms, 95 %"]["signature"]
        assert "|rt:ort-" in signature and f"|prec:{precision}" in signature and "|search:no|" in signature
        kept = runtime_latencies.LATENCIES.load(Path(said["latency"]))
        record = store.load(made[which])
        assert Path(said["latency"]).is_relative_to(made[0] / "local/runtimes" / record["id"])
        assert (kept["policy"], kept["latency"]["signature"]) == (precision, signature)
        assert kept["weights_sha256"] == record["candidates"][0]["weights_sha256"]
        assert runtime_latencies.LATENCIES.of_record(record, [Path(said["latency"])]) == [kept]
    else:
        assert said["latency"] is None


@pytest.fixture(scope="module")
def scored(made, tmp_path_factory):
    """Results with a translator whose record has the scores of its very network."""
    results = tmp_path_factory.mktemp("scored")
    path = left(results, "mt-synthetic-en-de", {"decoder_cross_source": [-1, -1]})
    record = store.load(path)
    task = get_task("mt-synthetic-en-de")
    tier = task.tier("check", "cpu")
    prepared = task.prepare(tier, Folders(results / "local", task.suite, "check").cache, None, lambda _: None)
    module, _ = export.load(source.find_candidate(record, None, path, results).folder)
    return results, path, record, task.score(module, prepared, tier, "cpu")


def with_sentences(path: Path, record: dict, sentences: dict) -> Path:
    changed = json.loads(json.dumps(record))
    changed["candidates"][0]["sentences"] = sentences
    path.unlink(missing_ok=True)
    return store.write(path.parents[3], changed)


@needs("transformers", "ctranslate2")
@pytest.mark.parametrize(("to", "runtime"), [("huggingface", "transformers"), ("ctranslate2", "ctranslate2")])
def test_a_translators_copy_is_compared_with_pytorch_and_with_the_record(
    scored, to, runtime, tmp_path, capsys
):
    results, path, record, score = scored
    path = with_sentences(path, record, score["sentences"])
    assert call(results, path, "--to", to, "--out", str(tmp_path / "out"), "--json") == 0
    told = {x["what"]: x for x in json.loads(capsys.readouterr().out)["checks"]}
    assert float(told["same translations"]["value"].rstrip("%")) >= 95
    there, here = told["BLEU in the record, test"], told[f"BLEU in {runtime}, test"]
    assert float(there["value"]) == pytest.approx(score["test"]["test"]["bleu"]["value"], abs=0.01)
    assert float(here["value"]) == pytest.approx(float(there["value"]), abs=0.5)
    assert "first 20 of test" in here["signature"]


@needs("transformers")
def test_generate_reads_its_rules_from_the_folder(scored, tmp_path):
    import transformers

    results, path, record, score = scored
    path = with_sentences(path, record, score["sentences"])
    assert call(results, path, "--to", "huggingface", "--out", str(tmp_path / "out")) == 0
    __import__("supernet.interop.huggingface.automodels")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out")
    module, _ = export.load(source.find_candidate(record, None, path, results).folder)
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")(["a dog sees the cat", "a cat"])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(x) for x in words["input_ids"]], True, 1)
    rules = get_task("mt-synthetic-en-de").tier("check", "cpu").decode
    ours = decode.translate(module, [x[:-1] for x in words["input_ids"]], **rules)
    rows = model.generate(ids, attention_mask=(ids != 1).long()).tolist()
    assert [row[1 : row.index(2, 1)] for row in rows] == [hypothesis.tokens for hypothesis in ours]


@needs("ctranslate2")
def test_a_copy_that_contradicts_its_card_is_refused(scored, tmp_path, capsys):
    results, path, record, score = scored
    perfect = ["a sentence of seven words is here"] * 20
    forged = score["sentences"] | {"bleu": bleu.sentence_counts(perfect, perfect)}
    path = with_sentences(path, record, forged)
    assert call(results, path, "--to", "ctranslate2", "--out", str(tmp_path / "out")) == 2
    assert "the copy would contradict its card" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_card_shows_a_strangers_text_and_obeys_none_of_it(made):
    record = store.load(made[1])
    found = source.find_candidate(record, None, made[1], made[0])
    text = model_card.render_card(found, TARGETS["onnx"], [(HOSTILE, HOSTILE, HOSTILE)], HOSTILE)
    for mark in ("</td>", "`$(", "](http", "# ![img", "[a]"):
        assert mark not in text.replace("\\<", "").replace("\\`", "").replace("\\]", "").replace("\\#", "")
    assert "\u202e" not in text and "\n# !" not in text
    assert record["candidates"][0]["weights_sha256"] in text and "supernet-bench run mt" in text
    score = record["candidates"][0]["test"]["test"]["bleu"]
    assert f"{score['value']:.4g}" in text and "tok:13a" in text


@pytest.mark.parametrize(
    ("which", "words", "why"),
    [
        (2, ["--to", "ctranslate2"], "CTranslate2 translates, and this network does not"),
        (2, ["--to", "huggingface", "--precision", "int8"], "cannot represent a policy"),
        (3, ["--to", "fairseq"], "fairseq's Transformer translates"),
        (1, ["--to", "onnx", "--candidate", "9"], "has no candidate 9: choose one of 0"),
    ],
)
def test_impossible_exports_are_one_message(made, which, words, why, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    assert call(made[0], made[which], *words, "--out", str(tmp_path / "out")) == 2
    said = capsys.readouterr().err
    assert why in said and said.startswith("error: ") and "Traceback" not in said
    assert not list(tmp_path.iterdir())  # nothing half-written


def test_weights_that_are_absent_altered_or_truncated(made, tmp_path, capsys):
    results = tmp_path / "results"
    shutil.copytree(made[0], results)
    path = results / made[1].relative_to(made[0])
    record = store.load(path)
    folder = source.find_candidate(record, None, path, results).folder
    (folder / "architecture.json").write_text("{")
    assert call(results, path, "--to", "onnx") == 2
    assert "not an exported sub-network" in capsys.readouterr().err
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    assert call(results, path, "--to", "onnx") == 2
    assert "the record names" in capsys.readouterr().err
    shutil.rmtree(folder)
    assert call(results, record["id"][:8], "--to", "onnx") == 2
    said = capsys.readouterr().err
    assert "not on this machine" in said
    assert "supernet-bench run mt --task mt-synthetic-en-de --tier check" in said
    assert "--seeds 1," in said


def test_an_existing_folder_and_an_unknown_record_are_left_alone(made, tmp_path, capsys):
    (tmp_path / "kept").write_text("mine")
    assert call(made[0], made[1], "--to", "onnx", "--out", str(tmp_path / "kept")) == 2
    assert "is there already" in capsys.readouterr().err and (tmp_path / "kept").read_text() == "mine"
    assert call(made[0], "../../etc", "--to", "onnx") == 2
    assert "no record" in capsys.readouterr().err


def test_a_runtime_that_is_not_installed(made, tmp_path, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert call(made[0], made[2], "--to", "onnx", "--out", str(tmp_path / "out")) == 2
    assert "pip install 'supernet-bench[onnx]'" in capsys.readouterr().err


def test_another_vocabulary_is_refused(made, tmp_path, capsys):
    pytest.importorskip("transformers")
    results = tmp_path / "results"
    shutil.copytree(made[0], results)
    path = results / made[2].relative_to(made[0])
    record = store.load(path)
    record["provenance"]["data"]["vocabulary"] = "0" * 64
    path.unlink()
    store.write(path.parents[3], record)
    assert call(results, path, "--to", "huggingface") == 2
    assert "another vocabulary" in capsys.readouterr().err


def test_the_command_that_makes_weights_again_has_the_scale_and_the_options():
    record = fake(task="mt-synthetic-en-de", tier="smoke")
    spec = record["spec"]
    tier = get_task("mt-synthetic-en-de").tier("smoke", "cpu")
    spec |= {"budget": {"tokens": tier.budget["tokens"] * 0.5}, "settings_sha256": tier.sha256}
    spec |= {"options": {"a": 2}, "method": "x; rm -rf ~"}
    said = repeat.repeat_command(record)
    assert "--budget-scale 0.5" in said and "--option 'x; rm -rf ~.a=2'" in said
    assert "--methods 'x; rm -rf ~'" in said


def test_a_translator_becomes_a_checkpoint_of_fairseq(made, tmp_path, capsys):
    from supernet.interop import pickle_reader

    out = tmp_path / "out"
    assert call(made[0], made[1], "--to", "fairseq", "--out", str(out)) == 0
    assert "encoder.layers.0.fc1.weight" in pickle_reader.load(out / "checkpoint.pt")["model"]
    assert call(made[0], made[2], "--to", "fairseq", "--out", str(tmp_path / "no")) == 2
    assert "fairseq's Transformer translates" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["vocabulary.model", "tokenizer.json"])
def test_a_vocabulary_that_is_damaged_is_one_message(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\x07not a vocabulary")
    with pytest.raises(UsageError, match=f"{name}: not a vocabulary") as caught:
        source.check_vocabulary(path)
    assert str(tmp_path) in str(caught.value).splitlines()[1]
