"""Networks under fairseq's names and options, without fairseq; tests/fairseq asks fairseq itself."""

import argparse
import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import ROOT

torch = pytest.importorskip("torch")

from baselines.fairseq_transformer import FairseqTransformer
from benchmarks.api import Skip, TaskInfo
from benchmarks.cli.main import main
from benchmarks.tasks import corpus
from supernet import export
from supernet.data.sentence_pairs import PairData
from supernet.elastic import SuperNet
from supernet.interop import pickle_reader
from supernet.interop.fairseq import checkpoint as fairseq
from supernet.interop.fairseq import command, databin, training
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space, seq2seq_space
from supernet.train import Recipe
from supernet.weights import SharedSlices

SPACE = seq2seq_space(
    "tiny", embed=(32, 24), ffn=(48, 16), heads=(4, 2), qkv_dim=16, encoder_layers=2, decoder_layers=(2, 1)
)
UNIFORM: dict[str, Any] = {
    "encoder_embed_dim": 32,
    "encoder_layers": 2,
    "encoder_ffn": [48, 48],
    "encoder_heads": [4, 4],
    "decoder_embed_dim": 32,
    "decoder_layers": 2,
    "decoder_ffn": [16, 16],
    "decoder_self_heads": [2, 2],
    "decoder_cross_heads": [2, 2],
    "decoder_cross_source": [-1, -1],
}


def exported(folder: Path, share: str = "all", **changed: Any) -> Path:
    """A sub-network with random weights, biases too."""
    family = Seq2SeqFamily(SPACE, Seq2SeqConfig(20, 20, share=share, max_positions=40))
    source = SharedSlices(family, torch.Generator().manual_seed(1))
    source.flat.data.add_(0.1 * torch.randn(source.flat.shape, generator=torch.Generator().manual_seed(2)))
    architecture = SPACE.architecture(UNIFORM | changed)
    export.save(folder, SuperNet(family, source).export(architecture), family.spec(), architecture)
    return folder


@pytest.mark.parametrize("share", ["all", "decoder", "none"])
def test_a_network_comes_back_from_fairseqs_form(tmp_path: Path, share: str) -> None:
    folder = exported(tmp_path / "net", share)
    fairseq.to_fairseq(folder, tmp_path / "out" / "net.pt")
    found = fairseq.network(tmp_path / "out" / "net.pt", (20, 20))
    source = torch.randint(4, 20, (3, 6), generator=torch.Generator().manual_seed(3))
    expected = export.load(folder)[0](source, source)
    assert torch.allclose(found.network()(source, source), expected, atol=1e-5)
    assert found.family.config.share == share
    assert found.architecture["decoder_ffn"] == (16, 16)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"encoder_ffn": [48, 16]}, "feed-forward widths 16, 48 in one encoder"),
        ({"decoder_cross_heads": [2, 4]}, "numbers of heads 2, 4 in one decoder"),
        ({"decoder_cross_source": [-1, 1]}, "cross-attention over several encoder layers"),
    ],
)
def test_networks_that_fairseq_cannot_represent_are_refused(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fairseq.to_fairseq(exported(tmp_path / "net", **changed), tmp_path / "net.pt")
    assert not (tmp_path / "net.pt").exists()


def test_heads_wider_than_the_network_are_refused() -> None:
    narrow = get_space("mt-smoke").smallest()
    with pytest.raises(ValueError, match="heads divide the width"):
        fairseq.uniform(narrow, 64)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("encoder_normalize_before", True), ("decoder_learned_pos", True), ("activation_fn", "gelu")],
)
def test_other_transformers_are_refused_with_the_difference(tmp_path: Path, setting: str, value: Any) -> None:
    path = tmp_path / "net.pt"
    fairseq.to_fairseq(exported(tmp_path / "net"), path)
    found = torch.load(path, weights_only=False)
    setattr(found["args"], setting, value)
    torch.save(found, path)
    with pytest.raises(ValueError, match=f"model 'transformer'.* its {setting} is {value!r}"):
        fairseq.network(path)


def test_other_checkpoints_are_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "net.pt", tmp_path / "imported"
    for found, message in (
        ({"state_dict": {}}, "no checkpoint of fairseq's"),
        (
            {"args": argparse.Namespace(arch="resnet"), "model": {"conv.weight": torch.zeros(1)}},
            "another kind of model",
        ),
        ([1], "holds no dictionary"),
        ({"args": argparse.Namespace(), "model": {"encoder.embed_tokens.weight": 3}}, "no checkpoint of"),
    ):
        torch.save(found, path)
        assert main(["import", "fairseq", str(path), "--to", str(out)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and message in said and said.count("\n") == 1
    assert not out.exists()


def test_import_holds_the_data_against_the_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, data = tmp_path / "net.pt", tmp_path / "bin"
    fairseq.to_fairseq(exported(tmp_path / "net"), path)
    data.mkdir()

    def dictionaries(size: int) -> None:
        for side in ("en", "de"):
            symbols = [*databin.SPECIAL, *map(str, range(4, size))]
            databin.write_dictionary(data / f"dict.{side}.txt", symbols, [1] * size)
            databin.write_sentences(data / f"valid.en-de.{side}", [[4, 5], [6]], size)

    words = ["import", "fairseq", str(path), "--data", str(data), "--to"]
    dictionaries(21)
    assert main([*words, str(tmp_path / "a")]) == 2
    assert "dictionary has 21 symbols and the checkpoint embeds 20" in capsys.readouterr().err
    dictionaries(20)
    assert main([*words, str(tmp_path / "b")]) == 0
    assert "valid loss" in capsys.readouterr().out
    export.load(tmp_path / "b")
    assert main([*words, str(tmp_path / "b")]) == 2
    assert "not empty" in capsys.readouterr().err
    file = data / "valid.en-de.de.bin"
    file.write_bytes(file.read_bytes()[:-2])
    assert main([*words, str(tmp_path / "c")]) == 2
    assert "not a whole fairseq dataset" in capsys.readouterr().err
    dictionaries(20)
    databin.write_sentences(data / "valid.en-de.de", [[4, 5], [6] * 40], 20)
    assert main([*words, str(tmp_path / "d")]) == 2
    assert "target sentence 2 of valid has 40 tokens, and at most 39 fit" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("form", ["args", "cfg"])
def test_data_of_the_other_direction_is_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / "net.pt"
    fairseq.to_fairseq(exported(tmp_path / "net"), path)
    content = torch.load(path, weights_only=False)
    sides = {"source_lang": "de", "target_lang": "en"}
    if form == "args":
        vars(content["args"]).update(sides)
    else:
        content["cfg"] = {"model": content.pop("args"), "task": sides}
    torch.save(content, path)
    with pytest.raises(ValueError, match="translates de-en and the data is en-de"):
        fairseq.network(path, languages=("en", "de"))
    fairseq.network(path, languages=("de", "en"))
    fairseq.network(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_a_training_that_diverged_are_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "net.pt"
    fairseq.to_fairseq(exported(tmp_path / "net"), path)
    content = torch.load(path, weights_only=False)
    content["model"]["decoder.layers.1.fc2.bias"][3] = value
    torch.save(content, path)
    with pytest.raises(ValueError, match="decoder.1.feed_forward.fc2.bias holds NaN or infinite numbers"):
        fairseq.network(path)


def test_prepared_data_is_that_of_the_data_bin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export-data", "mt-synthetic-en-de", "--tier", "check", "--results", str(tmp_path), "--json"]
    assert main([*words, "--to", str(tmp_path / "bin")]) == 0
    assert json.loads(capsys.readouterr().out)["tests"] == {"test": "test"}
    (prepared,) = (tmp_path / "cache" / "prepared").glob("mt*")
    for split in ("train", "valid"):
        pairs = corpus.read_pairs(prepared / f"{split}.npz")
        found = PairData(*databin.read_split(tmp_path / "bin", split))
        for side in ("source", "target"):
            assert np.array_equal(getattr(found, side), getattr(pairs, side))
            assert np.array_equal(getattr(found, f"{side}_length"), getattr(pairs, f"{side}_length"))
    subwords = corpus.load_vocabulary(prepared)
    english, german = databin.dictionaries(tmp_path / "bin")
    assert english == german == [subwords.id_to_piece(i) for i in range(500)]
    assert len(databin.read_split(tmp_path / "bin", "test")[0]) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "cache"]
    assert main(["export-data", "bert-enwiki", "--to", str(tmp_path / "other")]) == 2
    assert "does not translate" in capsys.readouterr().err


def test_without_fairseq_the_baseline_is_skipped_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    info = TaskInfo("mt-synthetic-en-de", "mt", "smoke", "bleu")
    for python in ("/nowhere/python", "/bin/false"):
        monkeypatch.setenv(command.VARIABLE, python)
        answer = FairseqTransformer().supports(info)
        assert isinstance(answer, Skip)
        assert python in answer.reason and command.INSTALL in answer.reason
    assert len(command.INSTALL.splitlines()) == 2
    other = FairseqTransformer().supports(TaskInfo("bert-synthetic-en", "bert", "smoke", "loss"))
    assert isinstance(other, Skip) and "suite mt" in other.reason


def test_requirements_of_fairseq_are_listed_once() -> None:
    text = (ROOT / "noxfile.py").read_text()
    needs = next(
        ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and "FAIRSEQ_NEEDS" in ast.unparse(node.targets[0])
    )
    assert len(needs) > 5 and all(need in command.INSTALL for need in needs)
    assert "fairseq==0.12.2" in text and "fairseq==0.12.2" in command.INSTALL


def test_batches_are_counted_as_a_slow_reading_of_fairseq_does() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        lengths = rng.integers(2, 30, (2, 60))
        batches: list[list[int]] = [[]]
        for source, target in sorted(zip(*lengths.tolist(), strict=True)):
            size = max(source, target)
            if batches[-1] and max([*batches[-1], size]) * (len(batches[-1]) + 1) > 64:
                batches.append([])
            batches[-1].append(size)
        assert training.count_batches(lengths, 64) == len(batches)


def test_the_command_line_states_network_and_recipe() -> None:
    sizes = {"encoder": 2, "decoder": 1}
    space = fairseq.standard_space(32, sizes, {"encoder": 4, "decoder": 2}, {"encoder": 64, "decoder": 48})
    assert space.size() == 1
    family = Seq2SeqFamily(space, Seq2SeqConfig(20, 20, dropout=0.1, max_positions=50))
    recipe = Recipe(schedule="cosine", warmup=0.1, batch_tokens=300, average_checkpoints=5)
    words = training.options(family, recipe, 200, "cpu")
    line = " ".join(words)
    for stated in (
        "--encoder-layers 2 --encoder-attention-heads 4",
        "--decoder-ffn-embed-dim 48 --decoder-layers 1 --decoder-attention-heads 2",
        "--dropout 0.1",
        "--max-source-positions 50",
        "--share-all-embeddings",
        "--lr-scheduler cosine --warmup-updates 20 --lr-period-updates 180",
        "--max-tokens 300",
        "--save-interval-updates 10 --keep-interval-updates 5",
        "--cpu",
    ):
        assert stated in line
    assert "learned-pos" not in line and "normalize-before" not in line


def test_a_written_checkpoint_holds_nothing_but_plain_types(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    fairseq.to_fairseq(exported(tmp_path / "net"), path)
    with torch.serialization.safe_globals([argparse.Namespace]):
        found = torch.load(path, weights_only=True)
    assert set(pickle_reader.load(path)["model"]) == set(found["model"])
