"""``supernet-bench completion``: a script that completes commands, flags and names in bash and zsh."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

EPILOG = (
    "bash: supernet-bench completion bash > ~/.local/share/bash-completion/completions/supernet-bench; zsh:"
    ' eval "$(supernet-bench completion zsh)" in ~/.zshrc'
)
SCRIPT = """\
_supernet_bench() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        words={commands}
    else
        case "${{COMP_WORDS[1]}} $before" in
{values}
            *) case "${{COMP_WORDS[1]}}" in
{flags}
            esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    [ ${{#COMPREPLY[@]}} -eq 0 ] && COMPREPLY=($(compgen -f -- "$word"))
    return 0
}}
complete -o filenames -F _supernet_bench supernet-bench
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument("shell", choices=("bash", "zsh"), help="shell that reads the script")


def run(options: argparse.Namespace) -> int:
    """Print the script; return 0."""
    print(script(options.shell), end="")
    return 0


def script(shell: str) -> str:
    """Return the completion script of a shell; zsh reads bash's by ``bashcompinit``."""
    from benchmarks.cli.main import parser

    top = parser()
    (commands,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    values = [
        f"            {shlex.quote(name)}' '{flag}) words={shlex.quote(' '.join(known))} ;;"
        for name, command in commands.choices.items()
        for flag, known in _values(command)
    ]
    flags = []
    for name, command in commands.choices.items():
        words = [flag for action in command._actions for flag in action.option_strings]
        words += [str(choice) for a in command._actions if not a.option_strings for choice in a.choices or ()]
        flags.append(f"                {shlex.quote(name)}) words={shlex.quote(' '.join(words))} ;;")
    body = SCRIPT.format(
        commands=shlex.quote(" ".join(commands.choices)), values="\n".join(values), flags="\n".join(flags)
    )
    return ("autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else "") + body


def _values(command: argparse.ArgumentParser) -> Iterator[tuple[str, list[str]]]:
    """Yield each flag of a command that takes one of known values, and those values."""
    from benchmarks import registry
    from benchmarks.hardware import profiles
    from benchmarks.tasks import task_names

    names = {
        "methods": sorted(registry.installed()),
        "task": task_names(),
        "profile": [*profiles.names(), "auto", profiles.UNDECLARED],
        "tier": ["check", "smoke", "small", "paper"],
    }
    for action in command._actions:
        known = [str(choice) for choice in action.choices] if action.choices else names.get(action.dest, [])
        if known:
            yield from ((flag, known) for flag in action.option_strings)
