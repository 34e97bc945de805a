"""Words typed wrongly, in the usage's order, completed by a shell, or piped on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.cli import completion, main
from benchmarks.registry import installed
from supernet.space import get_space


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["comprae", "hat"], "compare"),
        (["list", "taks"], "tasks"),
        (["plan", "mt", "--methds", "hat"], "--methods"),
        (["plan", "mt", "--ruleset", "extern"], "external"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(
    words: list[str], nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(words)
    assert ended.value.code == main.USAGE
    assert f"Did you mean '{nearest}'?" in capsys.readouterr().err


def complete(*words: str) -> list[str]:
    """Words that bash offers for the last one."""
    typed = " ".join(f"'{word}'" for word in words)
    code = f"{completion.script('bash')}\nCOMP_WORDS=(supernet-bench {typed}); COMP_CWORD={len(words)}\n"
    code += '_supernet_bench; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "--norc", "-c", code], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.split()


def test_bash_completes_commands_flags_and_names() -> None:
    assert set(complete("")) == set(main.COMMANDS)
    assert complete("comp") == ["compare", "completion"]
    assert complete("run", "mt", "--meth") == ["--methods"]
    assert set(complete("run", "mt", "--methods", "mos-")) == {n for n in installed() if n.startswith("mos-")}
    assert "mt-multi30k-en-de" in complete("plan", "mt", "--task", "mt-")
    assert complete("list", "ta") == ["tasks"]


def test_zsh_reads_the_same_script() -> None:
    assert completion.script("zsh") == (
        "autoload -U +X bashcompinit && bashcompinit\n" + completion.script("bash")
    )


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


def test_no_word_of_a_table_is_broken_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.table import Table

    from benchmarks.cli.console import print_rich

    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table(*(f"column{i}" for i in range(12)))
    table.add_row(*(f"unbreakable-word-{i}" for i in range(12)))
    print_rich(table)
    shown = capsys.readouterr().out
    assert all(f"unbreakable-word-{i}" in shown for i in range(12))
