"""Whatever a method does ends in one record that says what, and what it had proposed is kept."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import psutil
import pytest

BROKEN = {
    # class: status, what the message says, candidates kept
    "Babbles": ("done", "", 1),
    "Raises": ("failed", "ValueError: out of ideas (bad_methods.py:", 1),
    "Imports": ("failed", "ModuleNotFoundError: No module named 'no_such_module' (bad_methods.py:", 0),
    "Nothing": ("failed", "search() ended without a candidate", 0),
    "NoIterable": (
        "failed",
        "yield what lab.candidate(...) returns: search() returned a value of type NoneType",
        0,
    ),
    "Nonsense": ("failed", "search() yielded '42'", 1),
    "Forged": ("failed", "yield what lab.candidate(...) returns", 0),
    "Twice": ("failed", "candidate 0 twice", 1),
    "Stranger": ("failed", "not an architecture of space mt-smoke", 0),
    "EmitsNaN": ("failed", "not finite numbers (NaN or infinite)", 1),
    "ChargesNaN": ("failed", "cannot charge nan predictor_calls", 0),
    "Exits": ("failed", "SystemExit: 3", 1),
    "Dies": ("failed", "exit code 3", 1),
    "Killed": ("failed", "killed by SIGKILL, as when memory runs out", 1),
    "Answers": ("failed", "supports() returned True", 0),
    "Overspends": ("budget", "evaluations: asked for 1, 0 left", 0),
}


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return Path(shutil.copy(Path(__file__).parent / "bad_methods.py", tmp_path))


@pytest.mark.slow
def test_each_breach_is_one_record_and_the_rest_goes_on(bench, records, bad):
    words = ",".join(f"bad_methods.py:{name}" for name in [*BROKEN, "Refuses"])
    done = bench("run", "tiny", "--methods", words)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    found = {record["spec"]["method"].replace("-", ""): record for record in records()}
    for name, (status, said, kept) in BROKEN.items():
        record = found[name.lower()]
        assert (record["status"], len(record["candidates"])) == (status, kept), (name, record["message"])
        assert said in record["message"], name
    assert "refuses" not in found and "skipped: made for images, not for tiny-repeat" in done.stdout
    spent = found["overspends"]["ledger"]["totals"]
    assert spent["evaluations"] == 6

    again = bench(
        "run", "tiny", "--methods", "bad_methods.py:Raises,bad_methods.py:Overspends,bad_methods.py:Refuses"
    )
    assert "3 runs, 1 done" in again.stdout, "a failure is never served instead of a run"
    assert "skipped: made for images" in again.stdout and again.returncode == 1
    aside = [p.name for p in Path(bad.parent).rglob("*.failed-1.json")]
    assert aside == [f"{found['raises']['id']}.failed-1.json"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "grace"), [("Hangs", 1.5), ("HangsInC", 13), ("WillNotEnd", 13)])
def test_a_method_that_hangs_is_ended_and_keeps_its_candidates(bench, records, bad, name, grace):
    done = bench("run", "tiny", "--methods", f"bad_methods.py:{name}", "--budget-scale", "0.2")
    assert done.returncode == 1, "nothing comparable is left"
    assert "stopped by their seconds, shown and compared with none:" in done.stdout
    assert "Type the same command again" in done.stdout and "nothing comparable is left" in done.stdout
    (record,) = records()
    assert record["stopped_by"] == "seconds" and record["ledger"]["cpu_seconds"]["score"] > 0
    assert record["status"] == "budget" and "terminated after 102 % of its 12 seconds" in record["message"]
    (candidate,) = record["candidates"]
    assert candidate["test"]["pooled"]["bleu"]["value"] > 0, "what was proposed in time is scored"
    assert 12 <= record["ledger"]["totals"]["seconds"] < 12 + grace
    if name == "Hangs":
        (log,) = bad.parent.rglob("log.txt")
        mark = re.search(r"child: (\S+)", log.read_text())[1]
        assert ["sleep", mark] not in [one.info["cmdline"] for one in psutil.process_iter(["cmdline"])]
        again = bench("run", "tiny", "--methods", f"bad_methods.py:{name}", "--budget-scale", "0.2")
        assert "1 runs, 0 done" in again.stdout and again.returncode == 1
        (record,) = records()
        assert len(record["candidates"]) == 1, "it started afresh, with all of its seconds"
        assert [p.name for p in bad.parent.rglob("*.stopped-1.json")] == [f"{record['id']}.stopped-1.json"]


@pytest.mark.slow
def test_no_argument_or_variable_of_the_search_leads_to_the_sealed_split(bench, records, bad):
    done = bench("run", "tiny", "--methods", "bad_methods.py:Snoops")
    (record,) = records()
    assert (done.returncode, record["status"], record["message"]) == (0, "done", "")
    assert record["candidates"][0]["test"]["pooled"]["bleu"]["value"] > 0


def test_an_unread_option_is_reported(bench, records, bad):
    done = bench(
        "run",
        "tiny",
        "--methods",
        "bad_methods.py:Unread",
        "--option",
        "unread.after=x",
        "--option",
        "unread.other=y",
    )
    assert done.returncode == 1
    (record,) = records()
    assert record["message"].startswith("RuntimeError: after=x")
    assert record["spec"]["options"] == {"after": "x", "other": "y"}


def test_an_option_that_is_not_declared_can_neither_be_given_nor_read(bench, records, bad):
    words = ("run", "tiny", "--methods", "bad_methods.py:Unread", "--option")
    done = bench(*words, "unread.afte=x")
    assert done.returncode == 2 and "declares no option 'afte'. Did you mean 'after'?" in done.stderr
    assert not records()
    done = bench(*words, "unread.strict=yes")
    (record,) = records()
    assert done.returncode == 1 and "declares no such option" in record["message"], record["message"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import no_such_module\n",
            "no_such_module",
        ),
        ("raise RuntimeError('at import')\n", "RuntimeError: at import"),
    ],
)
def test_a_file_that_does_not_import_is_a_failed_record(bench, records, tmp_path, text, said):
    sound = (
        "from benchmarks.api import Method\nclass M(Method):\n    name = 'm'\n    def search(self, lab):\n"
    )
    (tmp_path / "m.py").write_text(f"{text}{sound}        yield\n")
    done = bench("run", "tiny", "--methods", "m.py:M")
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    (record,) = records()
    assert record["status"] == "failed" and said in record["message"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class M:\n    name = 'm'\n", "does not derive from Method"),
        ("from benchmarks.api import Method\nclass M(Method):\n    name = 'm'\n", "has no search"),
    ],
)
def test_a_class_that_no_run_could_call_is_refused_before_the_run(bench, records, tmp_path, text, said):
    (tmp_path / "m.py").write_text(text)
    done = bench("run", "tiny", "--methods", "m.py:M")
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert not records()
