"""The command ``cost``: arguments in any order, and architectures in HAT's format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.cli import main
from supernet.space import get_space

HAT = """encoder-embed-dim-subtransformer: 512
encoder-layer-num-subtransformer: 6
encoder-ffn-embed-dim-all-subtransformer: [2048, 2048, 2048, 2048, 2048, 2048]
encoder-self-attention-heads-all-subtransformer: [4, 4, 4, 4, 4, 2]
decoder-embed-dim-subtransformer: 512
decoder-layer-num-subtransformer: 1
decoder-ffn-embed-dim-all-subtransformer: [2048]
decoder-self-attention-heads-all-subtransformer: [4]
decoder-ende-attention-heads-all-subtransformer: [4]
decoder-arbitrary-ende-attn-all-subtransformer: [-1]
"""


def test_cost_in_any_order_and_of_hats_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, yaml = tmp_path / "a.json", tmp_path / "a.yml"
    path.write_text(json.dumps(get_space("hat-space1").smallest().to_dict()))
    yaml.write_text(HAT)
    costs = []
    for words in (
        ["--space", "hat-space1", "--vocab", "1000", "2000", str(path)],
        [str(path), "--space", "hat-space1", "--vocab", "1000", "2000"],
    ):
        assert main.main(["cost", "--json", *words]) == 0
        costs.append(json.loads(capsys.readouterr().out))
    assert costs[0] == costs[1]
    assert main.main(["cost", "--json", "--space", "hat-space1", str(yaml)]) == 0
    assert json.loads(capsys.readouterr().out)["params"] > 1e6
    for words in (["--space", "hat-space1"], ["--space", "hat-space1", "--vocab", "1", "2", "3", str(path)]):
        assert main.main(["cost", *words]) == main.USAGE
    assert "no architecture" in capsys.readouterr().err


EXPECTED = "expected an object of field -> value"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("null", f"a.json: {EXPECTED}, found NoneType"),
        ("[1]", f"a.json: {EXPECTED}, found list"),
        ('{"architecture": null}', f"a.json, architecture: {EXPECTED}, found NoneType"),
        ('{"architecture": [1]}', f"a.json, architecture: {EXPECTED}, found list"),
        ('{"architecture": "x"}', f"a.json, architecture: {EXPECTED}, found str"),
        ('{"architecture": {"architecture": {}}}', "a.json: "),
        ("{}", "a.json: "),
        ("{", "a.json: "),
    ],
)
def test_a_file_without_an_architecture_is_one_message(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text(text)
    assert main.main(["cost", "--space", "hat-space1", str(tmp_path / "a.json")]) == main.USAGE
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.startswith("error: ") and not shown.out


@pytest.mark.parametrize("wrong", [None, True, "x", [], {}, [None], [[1]], 1.5, -1])
def test_a_field_of_another_type_is_one_message(
    wrong: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = get_space("hat-space1").smallest().to_dict()
    for field in sound:
        for values in ({**sound, field: wrong}, {"architecture": {**sound, field: wrong}}):
            (tmp_path / "a.json").write_text(json.dumps(values))
            assert main.main(["cost", "--space", "hat-space1", str(tmp_path / "a.json")]) == main.USAGE
            assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'a.json'}: "), (field, wrong)
