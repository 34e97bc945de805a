"""Completion by bash and zsh."""

from __future__ import annotations

import subprocess

from benchmarks.cli import completion, main
from benchmarks.registry import installed


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
