"""Tasks of the user's own: words after --task, settings, sealed declarations, records that describe them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tasks
from benchmarks.api import UsageError
from benchmarks.cli import main
from benchmarks.leaderboard import submission
from benchmarks.runs import repeat, user_declarations
from benchmarks.tasks import get_task, prepare
from benchmarks.tasks.folders import settings
from benchmarks.tasks.folders.sources import FolderTask, TaskFlags, find
from benchmarks.tasks.folders.translation import FolderTranslation
from benchmarks.verification import reproduce
from tests.fake_records import fake
from tests.unit.benchmarks.tasks.folders.sentences import lines, write

FLAGS = TaskFlags("en", "fr")


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_DECLARED", {})


def quiet(_line: str) -> None:
    pass


def prepared_notes(task: Any, cache: Path, tier: str = "check") -> list[str]:
    ready = prepare(task, task.tier(tier, "cpu"), cache, None, quiet)
    notes: list[str] = task.notes(ready)
    return notes


@pytest.mark.parametrize(("target", "tokenizer"), [("fr", "13a"), ("ja", "ja-mecab")])
def test_a_language_pair_in_few_lines(tmp_path: Path, target: str, tokenizer: str) -> None:
    folder = write(tmp_path / "news", "en", target)
    text = f'name = "animals"\nsource = "en"\ntarget = "{target}"\n'
    (folder / "task.toml").write_text(text)
    task: Any = find(f"text:{folder}", TaskFlags())
    assert (task.name, task.suite, task.languages) == (f"text-animals-en-{target}", "mt", ("en", target))
    notes = prepared_notes(task, tmp_path / "cache")
    assert notes[0] == "pairs: train 80, valid 16, test 16"
    fewer = [note for note in notes if note.startswith("vocabulary: ") and "gives no 500" in note]
    assert len(fewer) == (target == "fr")
    references = [pair.strip() for pair in (folder / f"test.{target}").read_text("utf-8").splitlines()]
    score = task.scorers(references, references)["bleu"](slice(None))
    assert score.value == pytest.approx(100)
    assert f"tok:{tokenizer}" in score.signature
    assert find(task.name, TaskFlags()) is task


def test_japanese_text_comes_back_from_the_subwords(tmp_path: Path) -> None:
    from benchmarks.tasks import corpus

    folder = write(tmp_path / "data", "en", "ja")
    task: Any = find(f"text:{folder}", TaskFlags("en", "ja"))
    ready = prepare(task, task.tier("check", "cpu"), tmp_path / "cache", None, quiet)
    subwords = corpus.load_vocabulary(ready.folder)
    for line in (folder / "train.ja").read_text("utf-8").splitlines():
        assert subwords.decode(subwords.encode(line)) == line


def test_long_sentences_are_left_out_counted_and_cut(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    for split in ("train", "valid", "test"):
        for side in ("en", "fr"):
            with (folder / f"{split}.{side}").open("a") as file:
                file.write("word mot " * 5000 + "\n")
    task: Any = find(f"text:{folder}", FLAGS)
    notes = prepared_notes(task, tmp_path / "cache")
    assert notes[0] == "pairs: train 80, valid 16, test 17"  # a long source of a test is cut, not left out
    assert "1 pairs of train of 200 subwords or more left out, first: pair 81" in notes
    assert "1 pairs of valid of 200 subwords or more left out, first: pair 17" in notes
    assert "1 sources of test are too long for the network: they are cut" in notes


@pytest.mark.parametrize(
    ("vocab", "message"),
    [
        (10, r"^vocab = 10: single characters of the text need 32 subwords\nset vocab to 32 or more"),
        (9000, r"^vocab = 9000: the text gives at most \d+ subwords\nset vocab to \d+ or less"),
    ],
)
def test_a_vocabulary_that_the_text_does_not_give_names_the_limit(
    tmp_path: Path, vocab: int, message: str
) -> None:
    folder = write(tmp_path / "data")
    (folder / "task.toml").write_text(f"[check]\nvocab = {vocab}\n")
    with pytest.raises(UsageError, match=message):
        prepared_notes(find(f"text:{folder}", FLAGS), tmp_path / "cache")


def test_equal_data_in_another_form_has_equal_digests(tmp_path: Path) -> None:
    plain = write(tmp_path / "a" / "news")
    table = tmp_path / "b" / "news"
    table.mkdir(parents=True)
    for split in ("train", "valid", "test"):
        sides = [(plain / f"{split}.{side}").read_text("utf-8").splitlines() for side in ("en", "fr")]
        (table / f"{split}.tsv").write_text(lines("\t".join(row) for row in zip(*sides, strict=True)))
    digests = []
    for folder in (plain, table):
        task = find(f"text:{folder}", FLAGS)
        digests.append(prepare(task, task.tier("check", "cpu"), tmp_path / "cache", None, quiet).digests)
    assert digests[0] == digests[1]


def test_changed_data_is_prepared_anew_and_has_another_digest(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    task = find(f"text:{folder}", FLAGS)
    tier = task.tier("check", "cpu")
    first = prepare(task, tier, tmp_path / "cache", None, quiet)
    assert prepare(task, tier, tmp_path / "cache", None, quiet).folder == first.folder
    path = folder / "valid.en"
    path.write_text(path.read_text().replace("The", "A", 1))
    second = prepare(task, tier, tmp_path / "cache", None, quiet)
    assert {k for k in first.digests if first.digests[k] != second.digests[k]} == {"valid"}


SETTINGS = """
source = "en"
target = "fr"
[all.model]
dropout = 0.2
[check]
vocab = 90
budget = { cpu = { tokens = 5000 }, cuda = { tokens = 6000 } }
"""


def test_settings_lie_over_a_tier_of_ours(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    (tmp_path / "mine.toml").write_text(SETTINGS)
    task = find(f"text:{folder}", TaskFlags(settings=tmp_path / "mine.toml"))
    plain = find(f"text:{write(tmp_path / 'other')}", FLAGS)
    tier, ours = task.tier("check", "cpu"), plain.tier("check", "cpu")
    assert (tier.vocab, tier.model["dropout"], tier.budget["tokens"]) == (90, 0.2, 5000)
    assert task.tier("check", "cuda").budget["tokens"] == 6000
    assert tier.budget["probes"] == ours.budget["probes"] == 8
    assert tier.recipe == ours.recipe
    assert tier.sha256 != ours.sha256
    assert task.tiers() == ("check", "smoke", "small", "paper")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source = 3", "source = 3: a text is needed"),
        ("seed = 'a'", "mine.toml': seed = 'a': a whole number is needed"),
        ("seed = -1", "mine.toml': seed = -1: 0 or more is needed"),
        ("seed = true", "seed = True: a whole number is needed"),
        ("columns = 'en'", "columns = 'en': a list is needed"),
        ("columns = [1, 2]", r"columns = \[1, 2\]: names are needed"),
        ("columns = []", r"columns = \[\]: names are needed"),
        ("name = ''", "name = '': a Latin letter or a digit is needed"),
        ("splits = 3", "splits = 3: a table is needed"),
        (
            "[splits]\ntset = 'test'",
            r"mine.toml': \[splits\] tset: it is train, valid or test\. Did you mean",
        ),
        ("[splits]\ntrain = 5", r"mine.toml': \[splits\] train = 5: the name of a file"),
        ("[splits]\nvalid = 0", r"mine.toml': \[splits\] valid = 0: .*to draw from 1 up is needed"),
        ("[splits]\nvalid = -3", r"\[splits\] valid = -3: the name of a file"),
        ("[splits]\nvalid = true", r"\[splits\] valid = True: the name of a file"),
        ("[splits]\ntest = [1]", r"\[splits\] test = \[1\]: the name of a file"),
        ("[splits]\ntest = []", r"\[splits\] test = \[\]: the name of a file"),
        ("[splits]\nvalid = { a = 'b' }", r"\[splits\] valid = \{'a': 'b'\}: the name of a file"),
        ("[check]\nvocab = 1", r"check\.vocab = 1: a whole number of 6 or more is needed"),
        ("[all]\nvocab = 90.5", r"all\.vocab = 90\.5: a whole number of 6 or more"),
        ("[all]\nvocab = 10000000000", r"all\.vocab = 10000000000: a whole number"),
        ("[check]\nspace = 3", r"check\.space = 3: a text is needed"),
        ('sorce = "en"', r"no setting of text in .*mine.toml' 'sorce'\. Did you mean 'source'"),
        ("[check]\nvocabulary = 9", r"check: no setting 'vocabulary'\. Did you mean 'vocab'"),
        ("[check]\nvocab = 'many'", r'check\.vocab = "many": a number is needed'),
        ("[check.recipe]\nlearning_rat = 1", r"check\.recipe: no setting 'learning_rat'\. Did you mean"),
        ("[check]\nrecipe = 3", r"check\.recipe = 3: a table is needed"),
        ("check = 3", "check = 3: a table is needed"),
        ("pretokenized = 'mose'", "choose none or moses"),
        ("[check]\nvocab = 2026-01-01", r"check: vocab = 2026-01-01: a text, a finite number"),
        ("[check.data]\nx = [{ y = 07:30:00 }]", r"check: data: x: y = 07:30:00: a text, a finite number"),
        ("[check.recipe]\nlearning_rate = nan", r"learning_rate = nan: a text, a finite number"),
        ("a = [", "is not TOML"),
        ("\xff", "is not TOML"),
        ("name = 'x'", "its source language is not named"),
        ("source = 'en'\ntarget = 'en'", "are both en"),
        ("source = 'en'\ntarget = '../x'", r"its target language is \.\./x"),
        ("source = 'en'\ntarget = 'fr'\ntokenizer = '13b'", "no tokenizer of sacreBLEU '13b'"),
    ],
)
def test_a_wrong_setting_names_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    folder = write(tmp_path / "data")
    file = tmp_path / "mine.toml"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=message):
        find(f"text:{folder}", TaskFlags(settings=file))


def test_no_process_of_a_search_gets_the_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "secret-place")
    find(f"text:{folder}", FLAGS).tier("check", "cpu")
    (declaration,) = tasks.declared()
    sent = pickle.dumps(declaration.unsealed())
    assert b"secret-place" not in sent.replace(b"text-secret-place-en-fr", b"")
    again: Any = pickle.loads(sent)
    assert again.folder is None
    task: Any = again.load()
    assert task.tier("check", "cpu") == declaration.load().tier("check", "cpu")
    with pytest.raises(UsageError, match="say where its data lies"):
        prepare(task, task.tier("check", "cpu"), tmp_path / "cache", None, quiet)


def test_a_record_describes_its_task_and_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "data")
    task = find(f"text:{folder}", FLAGS)
    profile = user_declarations.profiles.get("undeclared")
    described = json.loads(json.dumps(user_declarations.describe(task.name, profile)))
    assert str(tmp_path) not in json.dumps(described)
    monkeypatch.setattr(tasks, "_DECLARED", {})
    record = {"spec": {"task": task.name, "profile": "undeclared"}, "declared": described}
    with user_declarations.restored(record):
        assert get_task(task.name).tier("check", "cpu").sha256 == task.tier("check", "cpu").sha256
        with user_declarations.restored(record, folder):
            assert prepare(
                get_task(task.name), task.tier("check", "cpu"), tmp_path / "c", None, quiet
            ).digests
        (outer,) = tasks.declared()
        assert isinstance(outer, FolderTask) and outer.folder is None
    assert tasks.declared() == ()


@pytest.mark.parametrize(
    "described",
    [
        3, {"task": 3}, {"task": {"kind": "text"}}, {"task": {"kind": "x", "options": {}, "tiers": {}}},
        {"task": {"kind": "text", "options": {"source": 3}, "tiers": {}}},
        {"task": {"kind": "text", "options": {}, "tiers": {"check": 3}}},
        {"profile": {"device": "cpu"}}, {"profile": 3},
    ],
)  # fmt: skip
def test_a_hostile_description_declares_nothing(described: Any) -> None:
    record = {"spec": {"task": "text-x-en-fr", "profile": "theirs"}, "declared": described}
    with user_declarations.restored(record):
        assert tasks.declared() == ()


def test_records_are_described_alike_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that one record describes is unknown again to the next, which describes none of its name."""
    task = find(f"text:{write(tmp_path / 'data')}", FLAGS)
    described = user_declarations.describe(task.name, user_declarations.profiles.get("undeclared"))
    monkeypatch.setattr(tasks, "_DECLARED", {})
    plain = fake(task=task.name)
    with_task = {**plain, "declared": described}
    orders = [[plain, with_task], [with_task, plain]]
    words = [{"declared" in r: repeat.repeat_command(r) for r in order} for order in orders]
    assert words[0] == words[1] and words[0][False] != words[0][True]
    problems = [{"declared" in r: submission.find_problems(r) for r in order} for order in orders]
    assert problems[0] == problems[1]
    assert tasks.declared() == ()


def test_a_record_of_the_users_task_with_todays_settings_is_drawn_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = find(f"text:{write(tmp_path / 'data')}", FLAGS)
    described = user_declarations.describe(task.name, user_declarations.profiles.get("undeclared"))
    today = task.tier("smoke", "cpu").sha256
    monkeypatch.setattr(tasks, "_DECLARED", {})
    current, former = ({**fake(task=task.name, seed=seed), "declared": described} for seed in (1, 2))
    for record, settings_ in ((current, today), (former, "0" * 64)):
        record["spec"] |= {"tier": "smoke", "settings_sha256": settings_}
    drawn = reproduce.draw([former, current])
    assert drawn is not None and drawn[:2] == (current, 1)


def test_a_users_own_declaration_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = find(f"text:{write(tmp_path / 'data')}", FLAGS)
    described = user_declarations.describe(task.name, user_declarations.profiles.get("undeclared"))
    record = {"spec": {"task": task.name, "profile": "undeclared"}, "declared": described}
    before = tasks.declared()
    with pytest.raises(RuntimeError), user_declarations.restored(record):
        raise RuntimeError
    assert tasks.declared() == before != ()


def test_a_description_shadows_no_installed_task() -> None:
    with pytest.raises(UsageError, match="is an installed one"):
        tasks.declare(FolderTask("text", "mt-multi30k-en-de", None))


def test_words_that_name_no_task(tmp_path: Path) -> None:
    for word, message in (
        (f"text:{tmp_path}/none", "no such folder"),
        ("mine.py", r"name the class after a colon: --task mine\.py:MyTask"),
        ("./none.py:Mine", "no file"),
        ("txt:folder", "no task 'txt:folder'"),
    ):
        with pytest.raises(UsageError, match=message):
            find(word, FLAGS)
    (tmp_path / "bad.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "other.py").write_text("class Mine:\n    pass\n")
    with pytest.raises(UsageError, match="does not load: ModuleNotFoundError"):
        find(f"{tmp_path}/bad.py:Mine", FLAGS)
    with pytest.raises(UsageError, match="is no task: it lacks name, suite"):
        find(f"{tmp_path}/other.py:Mine", FLAGS)


def test_a_broken_task_stops_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    from importlib.metadata import EntryPoint

    whole = tasks._installed()
    (tmp_path / "raises_at_import.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = "raises-at-import", "absent"
    broken = {name: EntryPoint(name, f"{name.replace('-', '_')}:task", tasks.GROUP) for name in names}
    monkeypatch.setattr(tasks, "_installed", lambda: {**whole, **broken})
    assert main.main(["list", "tasks"]) == 0
    assert capsys.readouterr().out.count("broken: ") == 2
    words = ["plan", "mt", "--methods", "scratch", "--results", str(tmp_path / "r")]
    assert main.main(words) == 0
    assert main.main([*words, "--task", "absent"]) == 2
    assert "task 'absent' does not load" in capsys.readouterr().err


def test_commands_take_the_words(tmp_path: Path, capsys: Any) -> None:
    folder = write(tmp_path / "a,b")
    words = ["--tier", "check", "--source", "en", "--target", "fr", "--results", str(tmp_path / "r")]
    task = ["--task", f"text:{folder}"]
    assert main.main(["plan", "mt", "--methods", "scratch", *task, *words]) == 0
    shown = capsys.readouterr().out
    assert "note: text-a-b-en-fr: pairs: train 80, valid 16, test 16" in shown
    assert main.main(["plan", "bert", *task, *words]) == 2
    assert "is of suite 'mt', not of 'bert'" in capsys.readouterr().err
    assert main.main(["export-data", task[1], "--to", str(tmp_path / "bin"), *words]) == 0
    assert (tmp_path / "bin" / "train.en-fr.fr.idx").is_file()


@pytest.mark.parametrize(
    "flags", [TaskFlags(source="xx"), TaskFlags(target="yy"), TaskFlags(settings=Path("/nonexistent.toml"))]
)
def test_flags_of_folders_are_refused_beside_other_tasks(tmp_path: Path, flags: TaskFlags) -> None:
    (tmp_path / "own.py").write_text(
        "class Mine:\n    name, suite, metric = 'mine', 'mt', 'bleu'\n    tiers = tier = prepare = None\n"
    )
    for word in ("mt-synthetic-en-de", "bert-synthetic-en", f"{tmp_path}/own.py:Mine"):
        with pytest.raises(UsageError, match="no effect on .*, only on text:FOLDER.*\n.*name a folder"):
            find(word, flags)
    assert tasks.declared() == ()


def test_flags_without_a_folder_are_refused_by_commands(tmp_path: Path, capsys: Any) -> None:
    missing = ["--task-settings", "/nonexistent.toml", "--results", str(tmp_path / "r")]
    plans = (["plan", "bert"], ["plan", "mt", "--task", "mt-synthetic-en-de"], ["test-method", "scratch"])
    for words in plans:
        assert main.main([*words, *missing]) == 2
        assert "--task-settings /nonexistent.toml: no effect on" in capsys.readouterr().err


def test_flags_of_a_folder_stay_its_own_beside_another_task(tmp_path: Path, capsys: Any) -> None:
    word = f"mt-synthetic-en-de,text:{write(tmp_path / 'news')}"
    words = ["plan", "mt", "--task", word, "--tier", "check", "--source", "en", "--target", "fr"]
    assert main.main([*words, "--methods", "scratch", "--results", str(tmp_path / "r")]) == 0
    assert "text-news-en-fr" in capsys.readouterr().out


def test_every_tier_of_every_kind_can_be_read() -> None:
    for kind in settings.KINDS:
        for tier in settings.tiers_of(kind):
            for device in ("cpu", "cuda"):
                read = settings.tier(kind, "t", tier, device, {}, {})
                assert {"valid", "test"} <= set(read.data)
                assert not read.counted and not read.finetune


def test_scores_of_the_folder_task_are_those_of_its_class() -> None:
    assert FolderTranslation.units.metric == "bleu"
    assert list(FolderTranslation.units.metrics) == ["bleu", "chrf"]
