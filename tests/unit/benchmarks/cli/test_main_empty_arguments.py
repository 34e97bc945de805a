"""Arguments that name nothing, as those of an unset variable, and figures that no run takes."""

from __future__ import annotations

import pytest

from benchmarks.cli.main import main


@pytest.mark.parametrize(
    "words",
    [
        ["--methods", ""],
        ["--methods", " "],
        ["--methods="],
        ["--task", ""],
        ["--seeds", ""],
        ["--results", ""],
        ["--data-dir="],
        ["--option", ""],
    ],
)
@pytest.mark.parametrize("command", [["plan", "mt"], ["run", "mt", "--dry-run"], ["run", "mt"]])
def test_an_empty_argument_is_no_default(command, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*command, *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {words[0]}") and "a shell variable that is not set" in error
    assert not list(tmp_path.iterdir())


def test_an_empty_suite_is_no_default(capsys):
    assert main(["report", ""]) == 2
    assert capsys.readouterr().err.startswith("error: report '': an empty argument")


@pytest.mark.parametrize("flag", ["--methods", "--task"])
def test_a_list_of_commas_names_nothing(flag, capsys):
    assert main(["plan", "mt", flag, " , "]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {flag} ' , ': names nothing") and "list them" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--checkpoint-seconds", "-1"], "--checkpoint-seconds: -1: zero or more"),
        (["--checkpoint-seconds", "nan"], "--checkpoint-seconds: nan: zero or more"),
        (["--carbon-intensity", "-5", "--pue", "0.1"], "--carbon-intensity -5"),
        (["--carbon-intensity", "5", "--pue", "0.1"], "--pue 0.1"),
        (["--pue", "1.5"], "need the grid's --carbon-intensity"),
        (["--hook", "nothing"], "no hook 'nothing'"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_plan_refuses_the_figures_that_its_run_refuses(more, words, message, tmp_path, capsys):
    typed = ["run", "mt", "--methods", "hat", "--profile", "undeclared", "--results", str(tmp_path), *more]
    try:
        code = main([*typed, *words])
    except SystemExit as ended:  # the parser's own refusal
        code = ended.code
    assert code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
