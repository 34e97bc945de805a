"""``supernet-bench completion``: a script that completes commands, flags and names in bash and zsh."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

from benchmarks.api import UsageError

EPILOG = (
    "bash: supernet-bench completion bash > ~/.local/share/bash-completion/completions/supernet-bench; zsh:"
    ' eval "$(supernet-bench completion zsh)" in ~/.zshrc, below compinit'
)
WORDS = """\
_supernet_bench_words() {{  # COMMAND FLAG-BEFORE: sets offered
    case "$1 $2" in
{values}
        *) case "$1" in
            '') offered={commands} ;;
{flags}
        esac ;;
    esac
}}
"""
BASH = """\
_supernet_bench() {
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" command="" offered="" head=""
    [ "$COMP_CWORD" -gt 1 ] && command="${COMP_WORDS[1]}"
    [ "$word" = "=" ] && word=""  # --flag=value comes as three words
    [ "$before" = "=" ] && before="${COMP_WORDS[COMP_CWORD-2]}"
    _supernet_bench_words "$command" "$before"
    case "$word" in *,*) head="${word%,*}," ;; esac
    COMPREPLY=($(compgen -P "$head" -W "$offered" -- "${word##*,}"))
    [ ${#COMPREPLY[@]} -eq 0 ] && COMPREPLY=($(compgen -f -- "$word"))
    return 0
}
complete -o filenames -F _supernet_bench supernet-bench
"""
ZSH = """\
_supernet_bench() {
    local word="${words[CURRENT]}" before="${words[CURRENT-1]}" command=""
    (( CURRENT > 2 )) && command="${words[2]}"
    if [[ "$word" == --*=* ]]; then
        before="${word%%=*}"
        compset -P '*='
    fi
    local offered=""
    _supernet_bench_words "$command" "$before"
    compset -P '*,'
    compadd -- ${=offered} || _files
}
compdef _supernet_bench supernet-bench
"""
SHELLS = {"bash": BASH, "zsh": ZSH}
"""Shell -> the function that offers words, and its registration."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument("shell", choices=("bash", "zsh"), help="shell that reads the script")


def run(options: argparse.Namespace) -> int:
    """Print the script; return 0."""
    print(script(options.shell), end="")
    return 0


def script(shell: str) -> str:
    """Return the completion script of a shell."""
    from benchmarks.cli.main import parser

    top = parser()
    (commands,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    names = _names()
    values = [
        f"        {shlex.quote(name)}' '{flag}) offered={shlex.quote(' '.join(known))} ;;"
        for name, command in commands.choices.items()
        for flag, known in _values(command, names)
    ]
    flags = []
    for name, command in commands.choices.items():
        words = [flag for action in command._actions for flag in action.option_strings]
        for action in command._actions:
            words += [] if action.option_strings else _known(action, names)
        flags.append(f"            {shlex.quote(name)}) offered={shlex.quote(' '.join(words))} ;;")
    body = WORDS.format(
        commands=shlex.quote(" ".join(commands.choices)), values="\n".join(values), flags="\n".join(flags)
    )
    return body + SHELLS[shell]


def _names() -> dict[str, list[str]]:
    """Return the names known for arguments that take no fixed choices, by the argument's destination."""
    from benchmarks import registry
    from benchmarks.hardware import profiles
    from benchmarks.tasks import task_names, tasks_by_name

    suites = {task.suite for task in tasks_by_name().values() if not isinstance(task, UsageError)}
    methods = sorted(registry.installed())
    return {
        "methods": methods, "baseline": methods, "task": task_names(), "suite": sorted(suites),
        "profile": [*profiles.names(), "auto", profiles.UNDECLARED],
        "tier": ["check", "smoke", "small", "paper"],
    }  # fmt: skip


def _known(action: argparse.Action, names: dict[str, list[str]]) -> list[str]:
    return [str(choice) for choice in action.choices] if action.choices else names.get(action.dest, [])


def _values(command: argparse.ArgumentParser, names: dict[str, list[str]]) -> Iterator[tuple[str, list[str]]]:
    """Yield each flag of a command that takes one of known values, and those values."""
    for action in command._actions:
        if known := _known(action, names):
            yield from ((flag, known) for flag in action.option_strings)
