"""The program's parser: golden help texts, one module a command, nothing heavy loaded."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.cli import doctor, main, selection
from benchmarks.records.folders import local_results
from tests import ROOT
from tests.golden_files import FOLDER, require_golden

COLUMNS = "100"
HEAVY = {"torch", "pandas", "matplotlib", "numpy", "rich", "codecarbon", "scipy", "sklearn", "transformers"}


def parser_of(command: str) -> argparse.ArgumentParser:
    top = main.parser()
    if not command:
        return top
    (commands,) = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices[command]


@pytest.mark.parametrize("command", ["", *main.COMMANDS])
def test_help_is_the_golden_text(command: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", COLUMNS)
    text = parser_of(command).format_help()
    # Python 3.13 sets the column of subcommands two spaces wider, and then wraps none of their names.
    require_golden(f"help/{command or 'supernet-bench'}.txt", text, words=not command)


def test_every_golden_help_is_of_a_command():
    names = {path.stem for path in (FOLDER / "help").glob("*.txt")}
    assert names == {"supernet-bench", *main.COMMANDS}


@pytest.mark.parametrize("command", ["", *main.COMMANDS])
def test_every_argument_is_explained(command: str):
    for action in parser_of(command)._actions:
        assert action.help or action.metavar == "COMMAND", action


def parsers(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and those of its commands, at every depth."""
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for parser in action.choices.values():
                yield from parsers(parser)


def test_flags_are_typed_in_full(capsys: pytest.CaptureFixture[str]):
    """``run --detach`` starts the words that were typed without this flag: with ``--det`` it had no end."""
    assert not [parser.prog for parser in parsers(main.parser()) if parser.allow_abbrev]
    with pytest.raises(SystemExit):
        main.main(["run", "mt", "--det"])
    assert "unrecognized arguments: --det\nDid you mean '--detach'?" in capsys.readouterr().err


def test_one_file_a_command():
    shared = {
        "__init__",
        "main",
        "arguments",
        "bert_recipe",
        "configuration",
        "console",
        "gpu_precision",
        "launching",
        "mt_gap",
        "retraining",
        "record_argument",
        "selection",
        "simq_tables",
        "source_memo",
        "system_errors",
        "training_overhead",
    }
    files = {path.stem for path in Path(main.__file__).parent.glob("*.py")} - shared
    assert files == {command.module for command in main.COMMANDS.values()}


def loaded(words: str) -> set[str]:
    code = f"import sys; from benchmarks.cli import main; main.parser({words}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_parser_loads_nothing_heavy():
    assert not HEAVY & loaded("")


def test_help_of_the_program_loads_no_command():
    assert {name for name in loaded("[]") if name.startswith("benchmarks")} == {
        "benchmarks",
        "benchmarks.api",
        "benchmarks.cli",
        "benchmarks.cli.main",
    }


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [(UsageError("no such thing"), 2, "error: no such thing"), (KeyboardInterrupt(), 130, "interrupted")],
)
def test_errors_have_their_exit_codes(
    error: BaseException,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def fail(_options: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(doctor, "run", fail)
    assert main.main(["doctor"]) == code
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (RuntimeError("release unlocked lock"), 130, "interrupted"),
        (OSError(28, "No space left on device"), 2, "No space left"),
    ],
)
def test_an_error_that_an_interruption_has_caused_is_one_unless_it_has_a_message_of_its_own(
    error: Exception,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def fail(_options: argparse.Namespace) -> int:
        try:
            raise KeyboardInterrupt
        finally:
            raise error

    monkeypatch.setattr(doctor, "run", fail)
    assert main.main(["doctor"]) == code
    assert text in capsys.readouterr().err


LOSING = """
import os, signal, sys, time, weakref
from benchmarks.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background command ignores it

def lose(*_):
    os.kill(os.getpid(), signal.SIGINT)
    sum(range(100_000))

class Thing:
    pass

class Losing:
    __del__ = lose

def run(_options):
    if where == "destructor":
        Losing()
    else:
        thing = Thing()
        kept = weakref.ref(thing, lose)
        del thing
    time.sleep(20)

where = sys.argv.pop()
main.parser = lambda *_: type("Parser", (), {"parse_args": lambda *_: type("Options", (), {"run": run})})()
sys.exit(main.main())
"""


@pytest.mark.parametrize("where", ["destructor", "callback"])
def test_an_interruption_where_python_drops_it_still_ends_the_command(where: str):
    ran = subprocess.run(
        [sys.executable, "-c", LOSING, where], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (130, "")
    assert ran.stderr == "\ninterrupted: type the same command again, it goes on where it was\n"


ENDING = """
import atexit, os, signal, sys
from benchmarks.cli import main

def late():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # Python's end makes it deadly
            print("not ignored:", number)
        os.kill(os.getpid(), number)

atexit.register(late)  # before the program's own, and called after it
options = type("Options", (), {"run": lambda _: 0})
main.parser = lambda *_: type("Parser", (), {"parse_args": lambda *_: options})()
sys.exit(main.main())
"""


def test_a_signal_while_python_ends_changes_no_exit_code():
    ran = subprocess.run([sys.executable, "-c", ENDING], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_an_error_of_the_programs_own_stays_a_traceback(monkeypatch: pytest.MonkeyPatch):
    def fail(_options: argparse.Namespace) -> int:
        raise RuntimeError("a fault")

    monkeypatch.setattr(doctor, "run", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        main.main(["doctor"])


def test_a_variable_names_the_folder_of_this_machines_results(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SUPERNET_BENCH_RESULTS", str(tmp_path / "mine"))
    assert main.main(["report", "mt"]) == 2
    assert str(tmp_path / "mine") in capsys.readouterr().err
    assert main.main(["report", "mt", "--results", str(tmp_path / "other")]) == 2
    assert str(tmp_path / "other") in capsys.readouterr().err
    assert local_results() == tmp_path / "mine" and local_results(Path("x")) == Path("x/local")
    monkeypatch.setenv("SUPERNET_BENCH_RESULTS", "")
    assert local_results() == Path("results/local")


@pytest.mark.parametrize(
    "words",
    [
        ["validate", "PIPE"],
        ["verify", "PIPE"],
        ["export", "PIPE", "--to", "onnx"],
        ["plan", "mt", "--methods", "PIPE.py:Mine"],
        ["plan", "mt", "--config", "PIPE"],
        ["import", "fairseq", "PIPE", "--to", "out"],
        ["cost", "--space", "hat-space1", "PIPE"],
    ],
)
@pytest.mark.timeout(60)
def test_a_pipe_in_place_of_a_file_never_hangs(words, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.py")
    given = [word.replace("PIPE", str(tmp_path / "pipe")) for word in words]
    assert main.main(given) in (1, 2)
    printed = capsys.readouterr()
    assert "pipe" in printed.out + printed.err


def test_a_pipe_of_the_shell_is_read(tmp_path):
    command = f"{sys.executable} -m benchmarks plan mt --methods hat --config <(echo 'tier: check')"
    ran = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0 and "tier check" in ran.stdout


def test_another_commands_config_is_no_study_file(tmp_path, capsys):
    (tmp_path / "hat.yml").write_text("encoder-embed-dim-subtransformer: 512\n")
    (tmp_path / "model.pt").write_bytes(b"")
    words = ["import", "hat", str(tmp_path / "model.pt"), "--config", str(tmp_path / "hat.yml")]
    assert main.main([*words, "--to", str(tmp_path / "out")]) == 2
    assert "study file" not in capsys.readouterr().err


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


INTERRUPTED = """
import atexit, os, signal, sys
from benchmarks.cli import main

def interrupted(*_):
    raise KeyboardInterrupt

class Impatient:
    def write(self, text):
        os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C again, while the command says that it ends
        sys.__stderr__.write(text)
    def flush(self):
        sys.__stderr__.flush()

atexit.register(print, "an orderly end, in which threads of libraries crash")
main.parser = interrupted
sys.stderr = Impatient()
main.main()
"""


def test_ctrl_c_twice_ends_at_once_with_one_line():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "\ninterrupted: type the same command again, it goes on where it was\n"


def test_a_list_longer_than_any_file_name_is_split():
    methods = [f"mine.py:Method{number}" for number in range(40)]
    assert selection.split_methods(",".join(methods)) == methods
    tasks = [f"text:corpus{number}" for number in range(40)]
    assert selection.split_tasks(",".join(tasks)) == tasks


@pytest.mark.parametrize(
    "study",
    [
        "bert-recipe",
        "mt-gap-measure",
        "mt-retraining-measure",
        "simq-tables build",
        "training-overhead-measure",
    ],
)
@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_made(
    study: str,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    places = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    assert main.main(["study", *study.split(), *places, "--device", device]) == 2
    said = capsys.readouterr().err
    assert f"--device {device}: " in said and "without --device it is cpu" in said
    assert not list(tmp_path.iterdir())
