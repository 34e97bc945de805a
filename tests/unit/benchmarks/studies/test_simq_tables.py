"""Producers of tables: the commands on tiny networks, and sentences without overlap or needless padding."""

import re
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from benchmarks.api import UsageError
from benchmarks.cli import simq_tables
from benchmarks.cli.main import main
from benchmarks.studies.simq_tables import build as table_building
from benchmarks.studies.simq_tables import sentences, sources, teacher
from benchmarks.studies.simq_tables.recipes import recipe_of
from benchmarks.studies.simq_tables.sentences import LabelledSentences, Shuffled, load_corpus, split_sentences
from benchmarks.studies.simq_tables.sources import SourceOptions, prepare_source
from simq.archive import Archive
from simq.searchers.search import SEARCHERS
from simq.tabular.build import build_table, layer_space
from simq.tabular.sampled import SurrogateEvaluator, read_sampled
from simq.tabular.table import Table, enumerate_points, read_table
from supernet import supernet_file
from supernet.cost import policy_units, weight_bytes
from supernet.data.images import ImageBatch
from supernet.interop.huggingface import warm_start

KINDS = ("vit", "vl", "text", "resnet")
COMMAND = ("study", "simq-tables")


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_that_builds_tables(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path)
    where = ["--device", "cpu", "--cache", folder, "--out", folder, "--tokens", f"{kind}=2e3"]
    assert main([*COMMAND, "build", kind, "--tiny", "--commit", "abc", *where]) == 0
    table = read_table(tmp_path / f"simq-{kind}.npz")
    assert table.head["commit"] == "abc" and len(table.points) == (72 if kind == "resnet" else 12 + 144)
    assert table.head["labels"] >= 20 and table.head["held_out_labels"] >= 16
    net, about = supernet_file.load(tmp_path / f"simq-{kind}.safetensors")
    assert about["weights_sha256"] == table.head["weights_sha256"] and about["table"] == f"simq-{kind}"
    assert (enumerate_points(layer_space(net.family)) == table.points).all()
    difference = re.search("run alone differs by ([0-9.e-]+)", capsys.readouterr().out)
    assert difference is not None and float(difference[1]) < 1e-5
    assert (table.head.get("question_only", 0) > 20) == (kind == "vl")


def build(kinds: str, folder: Path, *words: str) -> int:
    where = ["--device", "cpu", "--cache", str(folder), "--out", str(folder)]
    if "--supernets" not in words:
        where += [word for kind in kinds.split() for word in ("--tokens", f"{kind}=2e3")]
    return main([*COMMAND, "build", *kinds.split(), "--tiny", "--commit", "abc", *where, *words])


def refuse_training(*_: object, **__: object) -> None:
    raise AssertionError("a supernet was trained")


def test_static_int8_enters_beside_a_trained_supernet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build("resnet", tmp_path) == 0
    old = read_table(tmp_path / "simq-resnet.npz")
    assert build("resnet", tmp_path, "--precisions", "fp32,int8s", "--supernets", str(tmp_path)) == 0
    new = read_table(tmp_path / "simq-resnet-fp32-int8s.npz")
    assert new.head["weights_sha256"] == old.head["weights_sha256"]
    assert new.space.alphabet == ("fp32", "int8s")
    plain, low = (table.uniform["fp32"] for table in (old, new))
    # Folded batch norms change float32 in the last bits alone.
    assert abs(old.columns["loss"][plain] - new.columns["loss"][low]).max() < 1e-3
    assert (new.columns["loss"][new.uniform["int8s"]] != old.columns["loss"][old.uniform["int8"]]).any()
    assert (new.columns["bytes"] == old.columns["bytes"]).all()
    difference = re.findall("run alone differs by ([0-9.e-]+)", capsys.readouterr().out)
    assert float(difference[-1]) < 2e-2


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_precision_a_linear_is_sampled_and_searched(kind: str, tmp_path: Path) -> None:
    words = ["--linear", "--sampled", "60", "--precisions", "fp32,int8s"]
    assert build(kind, tmp_path, *words) == 0
    table = read_sampled(tmp_path / f"simq-{kind}-fp32-int8s-linear-sampled.npz")
    net, _ = supernet_file.load(tmp_path / f"simq-{kind}-fp32-int8s-linear-sampled.safetensors")
    names = {layer for unit in table.space.units for layer in unit.layers}
    assert names == set(policy_units(net.family, net.space.largest())) and len(table.genomes) == 60
    assert all(len(unit.layers) == 1 for unit in table.space.units)
    assert set(table.head["surrogate"]) == {"median_error", "rank_correlation"}
    evaluator = SurrogateEvaluator(table, net.family)
    rows = evaluator(table.genomes)
    assert rows[:, 0] == pytest.approx(table.columns["loss"], rel=1e-6)
    architecture, policy = table.space.decode(table.genomes[7].tolist())
    assert rows[7, 1] == weight_bytes(net.family, architecture, policy)
    archive = Archive(evaluator, 30)
    SEARCHERS["linas"].make(10, 100).search(archive, np.random.default_rng(0))
    assert len(archive.rows) == 30


def test_a_teacher_trains_the_student_and_must_share_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build("vit-kd", tmp_path) == 2
    assert "--teacher FILE" in capsys.readouterr().err
    assert build("resnet", tmp_path) == 0
    assert build("vit-kd", tmp_path) == 2
    assert "a teacher of the same task reaches 50%" in capsys.readouterr().err
    monkeypatch.setattr(teacher, "LEAST", 0.0)
    assert build("vit-kd", tmp_path) == 0
    table = read_table(tmp_path / "simq-vit-kd.npz")
    assert "taught by the largest network of table resnet" in table.head["recipe"]


def test_mixtures_are_of_the_batchs_own_images_and_every_pass_learns_the_teacher() -> None:
    images = torch.eye(4).view(4, 1, 2, 2)
    batch = ImageBatch(images, torch.arange(4), 4)
    first, again = (next(iter(teacher.MixedImages([batch], seed))) for seed in (3, 3))
    assert torch.equal(first.images, again.images) and torch.equal(first.labels, batch.labels)
    assert torch.allclose(first.images.flatten(1).sum(1), torch.ones(4)) and (first.images >= 0).all()
    assert not torch.equal(first.images, images)
    lesson = teacher.MatchTeacher(nn.Flatten())
    student = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    loss, kept = lesson(student, batch, None)
    assert torch.equal(kept, images.flatten(1))
    expected = torch.nn.functional.cross_entropy(student(images), kept.softmax(-1), reduction="sum")
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert torch.equal(lesson(student, batch, kept)[0], loss)


def test_wrong_forms_are_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, text in (
        (["--precisions", "fp32,int9"], "choose from fp32, bf16, int8, w4, int8s"),
        (["--precisions", "fp32,fp32"], "each precision once"),
        (["--linear"], "add --sampled N"),
        (["--supernets", str(tmp_path)], "--supernets names the folder"),
    ):
        assert build("resnet", tmp_path, *words) == 2
        assert text in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["vit", "vl"])
def test_held_out_items_are_the_tables_first_then_the_rest_of_the_split(kind: str, tmp_path: Path) -> None:
    words = [*COMMAND, "held-out", kind, "--tiny", "--cache", str(tmp_path), "--out", str(tmp_path)]
    assert main(words) == 0
    written = load_file(tmp_path / f"simq-{kind}.items.safetensors")
    recipe = recipe_of(kind, tiny=True)
    source = prepare_source(kind, recipe, SourceOptions(tmp_path, tiny=True), lambda line: None)
    first = torch.cat([batch.inputs[0] for batch in source.held_out])
    assert len(first) == recipe.units[1] and torch.equal(written["inputs0"][: len(first)], first)
    assert source.test is not None
    test = source.test.batch(slice(None))
    for key, x in zip(("inputs0", "inputs1"), test.inputs, strict=False):
        assert sorted(row.numpy().tobytes() for row in written[key]) == sorted(
            row.numpy().tobytes() for row in x
        )
    assert written["labels"].bincount().equal(test.labels.bincount())


def test_wrong_arguments_are_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = ["--cache", str(tmp_path)]
    assert main([*COMMAND, "build", "vitt", *cache]) == 2
    assert "no table 'vitt'. Did you mean 'vit'?" in capsys.readouterr().err
    assert main([*COMMAND, "held-out", "vit", "--start-from", "nothing", *cache]) == 2
    assert "--start-from nothing: none of these tables starts from an encoder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tokens", "vit=many"], "--tokens vit=many: TABLE=N, a finite N above 0"),
        *((["--tokens", f"vit={n}"], f"--tokens vit={n}: TABLE=N") for n in ("", "0", "-5", "nan", "inf")),
        (["--tokens", "resnet=5"], "table resnet is not built, only vit"),
        (["--tokens", "vit=5", "--supernets", "trained"], "--supernets trains nothing"),
        (["--teacher", "file", "--supernets", "trained"], "--supernets trains nothing"),
        (["--teacher", "file"], "none of these tables has a teacher: vit-kd"),
    ],
)
def test_training_options_without_effect_are_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMAND, "build", "vit", "--tiny", "--cache", str(tmp_path / "cache"), *words]) == 2
    assert message in capsys.readouterr().err and not [*tmp_path.iterdir()], "nothing was prepared"


@pytest.mark.parametrize(
    ("kind", "words", "message"),
    [
        ("vit", ["--precisions", "fp32,int8s"], "int8s in a table of all points is for residual networks"),
        ("resnet", ["--precisions", "fp32,w4"], "w4 is for linear layers"),
        (
            "resnet",
            ["--linear", "--sampled", "20", "--precisions", "fp32,int8,w4"],
            "w4 shares steps among 32",
        ),
        ("resnet", ["--linear", "--sampled", "40", "--precisions", "fp32,w4"], "16 were drawn of 16 in all"),
        ("vit", ["--sampled", "157"], "156 were drawn of 156 in all"),
        ("vit", ["--sampled", "4"], "--sampled 4: at least 20 points"),
        ("minilm", ["--sampled", "20"], "w4 shares steps among 32 inputs, and 16 are no multiple"),
    ],
)
def test_spaces_are_checked_before_training(
    kind: str,
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sources, "fit", refuse_training)
    if kind == "minilm":
        words = [*words, "--start-from", str(encoder(tmp_path / "model"))]
    assert build(kind, tmp_path, *words) == 2
    assert message in capsys.readouterr().err
    assert not [*tmp_path.glob("simq-*")]


def test_every_table_is_checked_before_the_first_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sources, "fit", refuse_training)
    assert build("resnet vit", tmp_path, "--precisions", "fp32,int8s") == 2
    assert "table simq-vit-fp32-int8s: int8s in a table of all points" in capsys.readouterr().err
    assert build("vit vit-kd resnet", tmp_path) == 2
    assert "the teacher is the supernet of another table" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert build("vit", tmp_path, "--out", str(tmp_path / "file")) == 2
    assert "a folder is needed there" in capsys.readouterr().err


def test_supernet_is_written_before_its_networks_are_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def with_nan(*arguments: object, **named: object) -> Table:
        table = build_table(*arguments, **named)  # type: ignore[arg-type]
        table.columns["loss"][3] = np.nan
        return table

    monkeypatch.setattr(table_building, "build_table", with_nan)
    words = ["--precisions", "fp32,int8"]
    assert build("vit", tmp_path, *words) == 2
    message = capsys.readouterr().err
    assert "column loss is nan at point [" in message and "simq-vit-fp32-int8.safetensors" in message
    assert not [*tmp_path.glob("*.npz")]
    monkeypatch.undo()
    monkeypatch.setattr(sources, "fit", refuse_training)
    assert build("vit", tmp_path, *words, "--supernets", str(tmp_path)) == 0
    assert np.isfinite(read_table(tmp_path / "simq-vit-fp32-int8.npz").columns["loss"]).all()


def test_reused_supernet_keeps_its_own_recipe(tmp_path: Path) -> None:
    assert build("text", tmp_path) == 0
    head = read_table(tmp_path / "simq-text.npz").head
    assert "2000 tokens of passes" in head["recipe"] and len(head["pretraining"]) == 2
    again = tmp_path / "again"
    for folder in (tmp_path, again):
        assert build("text", tmp_path, "--supernets", str(folder), "--out", str(again)) == 0
        reused = read_table(again / "simq-text.npz").head
        assert [reused[name] for name in ("recipe", "pretraining")] == [head["recipe"], head["pretraining"]]
    net, _ = supernet_file.load(again / "simq-text.safetensors")
    supernet_file.save(again / "simq-text.safetensors", net, {"table": "simq-text"})  # as files were before
    assert build("text", tmp_path, "--supernets", str(again), "--out", str(again)) == 0
    reused = read_table(again / "simq-text.npz").head
    assert reused["recipe"] == "not recorded" and reused["pretraining"] == ["not recorded"]


def test_reused_supernet_keeps_the_encoder_that_it_started_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, other = encoder(tmp_path / "first"), encoder(tmp_path / "other", max_position_embeddings=50)
    words = ["--sampled", "20", "--precisions", "fp32,int8"]
    assert build("minilm", tmp_path, *words, "--start-from", str(first)) == 0
    head = read_sampled(tmp_path / "simq-minilm-fp32-int8-sampled.npz").head
    words += ["--supernets", str(tmp_path), "--out", str(tmp_path / "again")]
    assert build("minilm", tmp_path, *words, "--start-from", str(other)) == 2
    assert f"sha256 {warm_start.digest(first)}" in capsys.readouterr().err
    assert build("minilm", tmp_path, *words, "--start-from", str(first)) == 0
    again = read_sampled(tmp_path / "again" / "simq-minilm-fp32-int8-sampled.npz").head
    assert again["pretraining"] == head["pretraining"] and again["recipe"] == head["recipe"]


def test_teacher_has_the_seed_and_form_of_its_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(teacher, "LEAST", 0.0)
    assert build("resnet", tmp_path) == 0
    words = ["--seed", "2", "--precisions", "fp32,int8"]
    assert build("vit-kd", tmp_path, *words) == 2, "the only teacher is of another seed"
    assert "simq-resnet-s2-fp32-int8.safetensors" in capsys.readouterr().err
    assert build("resnet vit-kd", tmp_path, *words) == 0
    assert f"taught by {tmp_path / 'simq-resnet-s2-fp32-int8.safetensors'}" in capsys.readouterr().out
    assert build("vit-kd", tmp_path, "--precisions", "fp32,int8") == 0
    assert f"taught by {tmp_path / 'simq-resnet.safetensors'}" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no supernet", None])
def test_damaged_supernets_are_one_message(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build("vit", tmp_path) == 0
    file = tmp_path / "simq-vit.safetensors"
    file.write_bytes(file.read_bytes()[:-40] if content is None else content)
    monkeypatch.setattr(sources, "fit", refuse_training)
    for kind, words in (("vit", ["--supernets", str(tmp_path)]), ("vit-kd", ["--teacher", str(file)])):
        assert build(kind, tmp_path, *words) == 2
        message = capsys.readouterr().err
        assert f"{file}: no supernet" in message and "build its table again" in message


def test_a_seed_and_tokens_change_name_and_training_alone() -> None:
    plain, other = recipe_of("vit"), recipe_of("vit", seed=2, tokens=1e6)
    assert (other.name, other.tokens) == ("simq-vit-s2", 1e6) and other.recipe == plain.recipe


def test_no_phrase_of_a_held_sentence_is_trained_on() -> None:
    texts = ["a b c d", "a b", "c d", "e f g", "f g", "h i", "b", "x y", "d h"]
    rows = [((text,), str(i % 2)) for i, text in enumerate(texts)]
    for count in (1, 2):
        train, held = split_sentences(rows, [(("x y",), "0")], count)
        whole = {"a b c d", "e f g", "h i", "x y", "d h"}
        assert len(held) == count and {texts[0] for texts, _ in held} <= whole
        for (sentence,), _ in held:
            assert all(f" {row[0][0]} " not in f" {sentence} " for row in train)
        assert all(row[0][0] != "x y" for row in train)
        kept = {row[0][0] for row in train} | {text for (text,), _ in held}
        lost = set(texts) - kept - {"x y"}
        assert all(any(f" {text} " in f" {s[0]} " for s, _ in held) for text in lost)


def test_batches_have_every_sentence_once_and_hardly_any_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, 50, (40, 12), generator=generator)
    lengths = torch.randint(1, 13, (40,), generator=generator)
    tokens[torch.arange(12) >= lengths[:, None]] = 0
    some = LabelledSentences(tokens.int(), torch.arange(40))
    batches = some.batches(9)
    assert sorted(torch.cat([b.labels for b in batches]).tolist()) == list(range(40))
    for batch in batches:
        there = (batch.images != 0).sum(1)
        assert there.tolist() == lengths[batch.labels].tolist() and batch.images.shape[1] == there.max()
    first = [b.labels.tolist() for b, _ in zip(Shuffled(some, 16, 3), range(4), strict=False)]
    assert first == [b.labels.tolist() for b, _ in zip(Shuffled(some, 16, 3), range(4), strict=False)]
    assert len(set(first[0] + first[1])) == 32 and first[0] != first[2]


def test_a_made_corpus_is_found_again_without_a_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load_corpus(tmp_path, True, None, lambda line: None)
    monkeypatch.setattr("benchmarks.tasks.text.learn", None)
    again = load_corpus(tmp_path, True, None, lambda line: None)
    assert torch.equal(made.search.tokens, again.search.tokens) and made.vocab == again.vocab == 300
    assert made.rows is not None and len(made.rows) > 100
    assert made.rows.rows.shape[1] == made.train.tokens.shape[1] == 24


def test_tiny_sentences_are_never_taken_for_real_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = load_corpus(tmp_path, True, None, lambda line: None)

    def prepare(*_: object) -> None:
        raise LookupError("real sentences are prepared")

    monkeypatch.setattr(sentences, "_prepare", prepare)
    with pytest.raises(LookupError):
        load_corpus(tmp_path, False, None, lambda line: None)
    (file,) = tmp_path.glob("sentences*.npz")
    other = tmp_path / "sentences.npz"
    other.write_bytes(file.read_bytes())  # as files were named before
    with pytest.raises(UsageError, match=r"sentences.npz' holds other sentences: length 24, needed 64"):
        load_corpus(tmp_path, False, None, lambda line: None)
    monkeypatch.setattr(sentences, "LENGTH", sentences.TINY_LENGTH)
    with pytest.raises(UsageError, match=r"holds other sentences: digests {}, needed .*: delete it"):
        load_corpus(tmp_path, False, None, lambda line: None)
    assert len(load_corpus(tmp_path, True, None, lambda line: None).search) == len(tiny.search)


@pytest.mark.parametrize("kept", [0, 100, -40])
def test_damaged_sentences_are_one_message(kept: int, tmp_path: Path) -> None:
    load_corpus(tmp_path, True, None, lambda line: None)
    (file,) = tmp_path.glob("sentences*.npz")
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UsageError, match="is damaged .*: delete it"):
        load_corpus(tmp_path, True, None, lambda line: None)


def encoder(folder: Path, **sizes: int) -> Path:
    """Folder of a trained encoder in the layout of transformers, whose pieces are letters."""
    transformers = pytest.importorskip("transformers", reason="needs the extra huggingface")
    letters = string.ascii_lowercase
    pieces = ["[PAD]", *letters, "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"##{letter}" for letter in letters)]
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    shape |= {"vocab_size": len(pieces), "max_position_embeddings": 40}
    config = transformers.BertConfig(**shape | sizes)
    model = transformers.BertModel(config, add_pooling_layer=False)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return folder


def test_a_table_starts_from_a_trained_encoder_and_its_word_pieces(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = encoder(tmp_path / "model")
    options = SourceOptions(tmp_path, tiny=True, start_from=model)
    source = prepare_source("minilm", recipe_of("minilm", tiny=True), options, print)
    network = source.net.export(source.net.space.largest()).eval()
    theirs = pytest.importorskip("transformers").BertModel.from_pretrained(model).eval()
    ids = torch.tensor([warm_start.special_first(warm_start.vocabulary(model), 57)])[0]
    tokens = source.search[0].inputs[0]
    with torch.inference_mode():
        ours = network.encode(tokens, padded=True)
        expected = theirs(ids[tokens], attention_mask=(tokens != 0).long()).last_hidden_state
    assert torch.allclose(ours[tokens != 0], expected[tokens != 0], atol=1e-5)
    assert "MISSING" not in capfd.readouterr().err.split("BertModel")[0]

    words = ["--start-from", str(model), "--linear", "--sampled", "20", "--precisions", "fp32,int8s"]
    assert build("minilm", tmp_path, *words) == 0
    table = read_sampled(tmp_path / "simq-minilm-fp32-int8s-linear-sampled.npz")
    (text,) = table.head["pretraining"]
    assert text.startswith(f"a trained bert, sha256 {warm_start.digest(model)}")
    shown = [unit for unit in table.space.units if "attention" in unit.layers[0]]
    assert len(shown) == 2 * 4, "a precision a linear layer of attention"


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (None, "--start-from DIR names a folder of transformers"),
        ({}, "its config.json cannot be read"),
        ({"vocab_size": 60}, "the model has 60 word pieces, its vocabulary 57"),
        ({"num_hidden_layers": 1}, "has 1 layers, the supernet up to 2"),
        ({"num_attention_heads": 4}, "channels of a head: 8 in the model, 16"),
    ],
)
def test_encoders_that_do_not_fit_are_one_message(
    sizes: dict[str, int] | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [] if sizes is None else ["--start-from", str(tmp_path / "model")]
    if sizes:
        encoder(tmp_path / "model", **sizes)
    assert build("minilm", tmp_path, "--sampled", "20", *words) == 2
    assert message in capsys.readouterr().err
    assert not [*tmp_path.glob("*.npz")], "nothing was prepared"


def test_a_space_too_large_is_sampled_and_an_encoder_given_for_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(encoder(tmp_path / "model"))
    assert build("minilm", tmp_path, "--start-from", model) == 2
    assert "add --sampled N" in capsys.readouterr().err
    assert build("minilm", tmp_path, "--start-from", "nothing", "--sampled", "20") == 2
    assert "its config.json cannot be read" in capsys.readouterr().err
    assert build("text", tmp_path, "--start-from", model) == 2
    assert "starts from an encoder: minilm" in capsys.readouterr().err


def test_all_tables_are_those_that_need_no_encoder() -> None:
    assert simq_tables._known([]) == ["vit", "resnet", "text", "vit-kd", "vl"]
