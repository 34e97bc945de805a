"""Completion by bash and zsh."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from benchmarks.cli import completion, main
from benchmarks.registry import installed


@cache
def _bash_script() -> str:
    return completion.script("bash")


def complete(*words: str) -> list[str]:
    """Words that bash offers for the last one."""
    typed = " ".join(f"'{word}'" for word in words)
    code = f"{_bash_script()}\nCOMP_WORDS=(supernet-bench {typed}); COMP_CWORD={len(words)}\n"
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


def test_bash_completes_after_commas_and_equals_signs_and_names_without_a_flag() -> None:
    assert complete("run", "mt", "--methods", "hat,mos-n") == ["hat,mos-neuron"]
    assert complete("run", "mt", "--task", "=", "mt-mul") == ["mt-multi30k-en-de"]
    assert "smoke" in complete("run", "mt", "--tier", "=")
    assert complete("compare", "hat", "mos-n") == ["mos-neuron"]
    assert complete("run", "m") == ["mt"]


def test_bash_completes_files_where_no_name_fits(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    assert complete("test-method", f"{tmp_path}/mi") == [f"{tmp_path}/mine.py"]


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "bind 'set bell-style none'"),
    "zsh": (["zsh", "-f", "-i"], "unsetopt beep; autoload -U compinit; compinit -u -D"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_completes_the_line(shell: str, tmp_path: Path) -> None:
    command, prepare = SHELLS[shell]
    if not shutil.which(command[0]):
        pytest.skip(f"needs {shell}")
    (tmp_path / "script").write_text(completion.script(shell))
    with typing_in(command, tmp_path) as shell_window:
        shell_window.type(f"{prepare}; source ./script; PS1='rea''dy> '\n")
        shell_window.expect("ready> ")
        for typed, completed in (
            ("compa", "compare "),
            ("run mt --meth", "run mt --methods "),
            ("run mt --methods mos-layer,mos-n", "mos-layer,mos-neuron "),
            ("plan mt --task=mt-mul", "--task=mt-multi30k-en-de "),
        ):
            shell_window.type(f"\x15supernet-bench {typed}\t")  # Ctrl-U clears the line
            shell_window.expect(completed)


class Window:
    """One end of a terminal in which a shell runs."""

    def __init__(self, terminal: int) -> None:
        self.terminal, self.shown = terminal, ""

    def type(self, text: str) -> None:
        self.shown = ""
        os.write(self.terminal, text.encode())

    def expect(self, text: str) -> None:
        ends = time.monotonic() + 30
        while text not in self.shown:
            assert time.monotonic() < ends, self.shown
            if select.select([self.terminal], [], [], 0.1)[0]:
                self.shown += os.read(self.terminal, 4096).decode(errors="replace")


@contextmanager
def typing_in(command: list[str], folder: Path) -> Iterator[Window]:
    """Start a shell in a terminal of its own; end it after the block."""
    ours, its = pty.openpty()
    env = {**os.environ, "TERM": "dumb", "HOME": str(folder), "HISTFILE": "/dev/null"}
    ends = {"stdin": its, "stdout": its, "stderr": its, "start_new_session": True}
    process = subprocess.Popen(command, cwd=folder, env=env, **ends)
    try:
        yield Window(ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(its)
