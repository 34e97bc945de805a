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
