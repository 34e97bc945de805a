"""Profiles of the user's: written from a probe, read from a file, in records and tables."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.api import UsageError
from benchmarks.cli import main
from benchmarks.comparability import grouping
from benchmarks.hardware import probe, profiles, user_profiles
from benchmarks.leaderboard import submission
from benchmarks.runs import user_declarations
from tests.fake_records import fake

I7 = "11th Gen Intel(R) Core(TM) i7-1185G7 @ 3.00GHz"
RTX = ("NVIDIA GeForce RTX 4090", 23.6)
MACHINES: dict[str, dict[str, Any]] = {
    "laptop": {"arch": "x86_64", "cpus": 8, "cpu": I7, "isa": ["avx2", "fma", "avx512f"]},
    "a100": {"arch": "x86_64", "cpus": 12, "cpu": "AMD EPYC 7V13", "isa": ["avx2"], "gpus": [("A100", 79.3)]},
    "two rtx": {"arch": "x86_64", "cpus": 24, "cpu": "AMD Ryzen 9", "isa": ["avx2"], "gpus": [RTX, RTX]},
    "arm": {"arch": "aarch64", "cpus": 4, "cpu": "Neoverse-N1", "isa": ["asimd", "asimddp"]},
    "nameless": {"arch": "aarch64", "cpus": 1, "cpu": "", "isa": []},
    "odd": {"arch": "x86_64", "cpus": 2, "cpu": 'a "quoted" \\ name\u00e9\n', "isa": ["avx2"]},
}


def machine(**fields: Any) -> Any:
    gpus = [{"name": n, "memory_gib": m, "driver": "1", "uuid": "u"} for n, m in fields.pop("gpus", [])]
    return {"memory_gib": 16.0, "gpus": gpus, **fields}


TOML = "summary='x'\ndevice='cpu'\nthreads=1\n[machine]\narch='a'\ncpus=1\n"


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "_DECLARED", {})


@pytest.mark.parametrize("kind", MACHINES)
def test_a_machine_fits_the_profile_that_is_written_of_it(kind: str, tmp_path: Path) -> None:
    here = machine(**MACHINES[kind])
    path = tmp_path / f"{user_profiles.suggested_name(here)}.toml"
    path.write_text(user_profiles.text_of(here), encoding="utf-8")
    name = user_profiles.declare_file(str(path))
    profile = profiles.enforce(name, here)
    assert profile.device == ("cuda" if here["gpus"] else "cpu")
    assert profile.threads == here["cpus"]
    record = {"fingerprint": "f"}
    assert list(submission.machine_differences(name, here | record)) == []  # such a record is published
    for other in MACHINES:
        if other != kind:
            elsewhere = machine(**MACHINES[other])
            assert profiles.differences(profile, elsewhere), other
            assert list(submission.machine_differences(name, elsewhere | record)), other


@given(
    st.text(max_size=30),
    st.integers(1, 512),
    st.lists(st.sampled_from(user_profiles.DECISIVE_FLAGS), unique=True),
)
def test_a_profile_is_readable_under_any_name_of_a_processor(cpu: str, cpus: int, isa: list[str]) -> None:
    import tomllib

    here = machine(arch="x86_64", cpus=cpus, cpu=cpu.encode("utf-8", "replace").decode(), isa=isa)
    assert user_profiles.NAME.fullmatch(user_profiles.suggested_name(here))
    profile = profiles.checked("x", tomllib.loads(user_profiles.text_of(here)), "x")
    assert not profiles.differences(profile, here)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("summary = 'x'", "device is missing: a text is needed"),
        ("[machine", "is not TOML"),
        ("colour = 1", "unknown fields colour\nknown: summary"),
        ("machine = 3", "a table is needed"),
        (
            "summary='x'\ndevice='tpu'\nthreads=1\n[machine]\narch='a'\ncpus=1",
            "device 'tpu', choose cpu or cuda",
        ),
        (TOML.replace("threads=1", "threads=0"), "threads 0, from 1"),
        (TOML + "isa=[1, 'avx2']", r"machine.isa is \[1, 'avx2'\]: a list of texts is needed"),
        (TOML + "lacks=[['avx2']]", r"machine.lacks is \[\['avx2'\]\]: a list of texts is needed"),
        (
            "summary='x'\ndevice='cpu'\nthreads='2'\n[machine]\narch='a'\ncpus=1",
            "threads is '2': a whole number",
        ),
        (TOML.replace("'cpu'", "'cuda'"), "needs machine.gpu"),
        (TOML.replace("cpus=1", ""), "machine.cpus is missing"),
        (
            "summary='x'\ndevice='cpu'\nthreads=1\n[machine]\narch='a'\ncpus=1\n[energy]\nwatts=3",
            "energy has watts",
        ),
    ],
)
def test_a_wrong_profile_names_file_and_field(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.v1.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        user_profiles.declare_file(str(path))


def test_names_of_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        user_profiles.declare_file("./none.toml")
    good = user_profiles.text_of(machine(**MACHINES["laptop"]))
    for name, message in (("Mine.toml", "lower-case"), ("nvidia-h100.v1.toml", "declared here already")):
        (tmp_path / name).write_text(good)
        with pytest.raises(UsageError, match=message):
            user_profiles.declare_file(str(tmp_path / name))


def test_the_command_writes_one_and_a_plan_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(["profiles", "new", "--out", "mine.v1.toml"]) == 0
    assert main.main(["profiles", "new", "--out", "mine.v1.toml"]) == 2
    assert "is there already" in capsys.readouterr().err
    words = ["plan", "mt", "--methods", "scratch", "--profile", "./mine.v1.toml", "--results", "r"]
    assert main.main(words) == 0
    assert "profile mine.v1 (this machine matches)" in capsys.readouterr().out
    text = Path("mine.v1.toml").read_text().replace('arch = "', 'arch = "not-')
    Path("other.v1.toml").write_text(text)
    assert main.main([*words[:5], "./other.v1.toml"]) == 0
    assert "profile other.v1 (not this machine: left to workers that match)" in capsys.readouterr().out
    assert main.main(["run", *words[1:5], "./other.v1.toml"]) == 2
    assert "this machine is not other.v1" in capsys.readouterr().err


def test_records_under_it_describe_it_and_share_no_table_with_another_of_its_name() -> None:
    profile = profiles.checked(
        "mine.v1", {"summary": "s", "device": "cpu", "threads": 2, "machine": {"arch": "a", "cpus": 2}}, "x"
    )
    profiles.declare(profile)
    described = user_declarations.describe("mt-synthetic-en-de", profile)
    machine_ = {"arch": "a", "cpus": 2}
    expected = {"device": "cpu", "threads": 2, "summary": "s", "machine": machine_, "energy": {}}
    assert described == {"profile": expected}
    plain, mine = fake(), {**fake(), "declared": described}
    other = {**fake(), "declared": {"profile": {**described["profile"], "threads": 1}}}
    keys = [tuple(grouping.facts(r).items()) for r in (plain, mine, other)]
    assert len(set(keys)) == 3
    profiles._DECLARED.clear()
    with user_declarations.restored({"spec": {"task": "t", "profile": "mine.v1"}, "declared": described}):
        assert profiles.get("mine.v1") == profile
    assert not profiles.is_known("mine.v1")
    with user_declarations.restored(
        {"spec": {"task": "t", "profile": "nvidia-h100.v1"}, "declared": described}
    ):
        assert profiles.get("nvidia-h100.v1").device == "cuda"
    assert profiles.is_known("nvidia-h100.v1")


def test_another_system_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(probe, "sys", SimpleNamespace(platform="darwin"))  # of the library, nothing is
    with pytest.raises(UsageError, match="runs need Linux"):
        probe.require_linux()
    study = tmp_path / "study.yaml"
    study.write_text("suite: mt\ntier: check\nmethods: scratch\n")
    results = ["--results", str(tmp_path / "results")]
    for words in (
        ["run", "mt", "--methods", "scratch"], ["verify"], ["test-method", "scratch"],
        ["test-task", "mt-synthetic-en-de"], ["work", str(study)],
    ):  # fmt: skip
        assert main.main([*words, *results]) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith("error: runs need Linux") and not shown.out, words
    assert main.main(["plan", "mt", "--tier", "check", "--methods", "scratch", *results]) == 0
    assert main.main(["doctor", *results]) == 1
    assert "runs need Linux" in capsys.readouterr().out
    assert not (tmp_path / "results" / "mt-check").exists()
