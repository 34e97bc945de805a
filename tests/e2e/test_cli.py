"""The command line: quick to answer, clear about mistakes, the same for people and for scripts."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from benchmarks.cli.main import COMMANDS

HAT = {
    "encoder_embed_dim": 640,
    "encoder_layers": 6,
    "encoder_ffn": [2048] * 6,
    "encoder_heads": [4] * 6,
    "decoder_embed_dim": 512,
    "decoder_layers": 2,
    "decoder_ffn": [1024, 512],
    "decoder_self_heads": [4, 2],
    "decoder_cross_heads": [2, 4],
    "decoder_cross_source": [-1, 2],
}


def processor_seconds():
    """Processor time of all programs started here that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS)])
def test_help_is_quick(bench, words):
    best = 10.0
    for _ in range(3):
        began = processor_seconds()  # other programs take none of it
        done = bench(*words, "--help")
        best = min(best, processor_seconds() - began)
        assert done.returncode == 0
    assert best < 0.5
    assert all(name in done.stdout for name in COMMANDS) or words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "nt"), "no suite 'nt'"),
        (("run", "mt", "--tier", "smal"), "no tier 'smal'. Did you mean 'small'?"),
        (("run", "mt", "--task", "mt-multi30k"), "Did you mean 'mt-multi30k-en-de'?"),
        (("run", "mt", "--task", "mt-tatoeba-en-de"), "has no tier 'smoke'"),
        (("run", "mt", "--methods", "mos-nueron"), "no method 'mos-nueron'. Did you mean 'mos-neuron'?"),
        (("run", "mt", "--methods", "./none.py:None"), "cannot read"),
        (("run", "mt", "--profile", "nvidia-h20"), "no profile 'nvidia-h20'"),
        (("run", "mt", "--profile", "nvidia-h200.v1"), "this machine is not nvidia-h200.v1"),
        (("run", "mt", "--seeds", "0"), "--seeds '0'"),
        (("run", "mt", "--budget-scale", "0"), "a budget must be above zero"),
        (("run", "mt", "--budget-scale", "-1"), "a budget must be above zero"),
        (("run", "mt", "--budget-scale", "nan"), "a budget must be above zero"),
        (("run", "mt", "--option", "hat"), "METHOD.NAME=VALUE"),
        (("run", "mt", "--option", "hat.aftr=scratch"), "Did you mean 'after'?"),
        (("plan", "mt", "--budget-scale", "0.1"), "enough for all of this plan: --budget-scale 0.3"),
        (("run", "mt", "--budget-scale", "1e308"), "more than can be counted"),
        (("run", "mt", "--option", "hot.after=continue"), "'hot' is not among this run's methods"),
        (("run", "mt", "--tier", "small", "--task", "mt-multi30k-en-de", "--data-dir", "nowhere"), "nowhere"),
        (("compare", "hat"), "it has no records"),
        (("compare", "hot"), "Did you mean 'hat'?"),
        (("report", "mt"), "no records in"),
        (("test-method", "hot"), "Did you mean 'hat'?"),
        (("test-method", "hat", "--option", "hot.after=x"), "no tested method 'hot'. Did you mean 'hat'?"),
        (("test-method", "hat", "--task", "mt-multi30k-en-de", "--tier", "chek"), "choose one: --tier small"),
        (("run", "mt", "--methods", "hat", "--ruleset", "external"), "hat declares no trials"),
        (("cost", "--space", "hat-space9", "a.json"), "no space 'hat-space9'"),
        (("cost", "--space", "hat-space1", "none.json"), "cannot read 'none.json'"),
        (("profiles", "--data-dir", "nowhere"), "no data folder 'nowhere'"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(bench, words, said, request):
    if "nvidia-h200.v1" in words:
        from benchmarks.hardware import profiles

        if profiles.matching() == "nvidia-h200.v1":
            pytest.skip("this machine is one")
    done = bench(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ") and said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_plans_and_touches_nothing(bench, tmp_path: Path):
    done = bench("run", "mt", "--dry-run", "--seeds", "2", "--profile", "undeclared")
    assert done.returncode == 0, done.stderr
    # All that is installed, ours and the test plugin's, but for those of another suite.
    listed = json.loads(bench("list", "methods", "--json").stdout)
    count = sum(method["tasks"].startswith(("all", "suite mt")) for method in listed)
    assert count < len(listed)
    assert count > 6 and f"{count} methods x 2 seeds = {2 * count} runs, 0 done, about" in done.stdout
    assert "training tokens a second" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_plan_for_scripts(bench):
    done = bench("plan", "mt", "--methods", "scratch", "--json", "--profile", "undeclared")
    plan = json.loads(done.stdout)
    hat, scratch = plan["runs"]
    assert scratch["spec"]["follows"] == hat["id"] and hat["spec"]["method"] == "hat"
    assert plan["notes"] == ["scratch follows hat: its runs are added to the plan"]
    assert plan["estimate_seconds"] > 0


def test_list_prints_methods_tasks_and_records(bench):
    methods = {row["name"]: row for row in json.loads(bench("list", "methods", "--json").stdout)}
    assert methods["scratch"]["follows"] == "hat" and methods["tiny-good"]["from"] == "tiny-task"
    tasks = {(row["name"], row["tier"]) for row in json.loads(bench("list", "tasks", "--json").stdout)}
    assert ("mt-synthetic-en-de", "smoke") in tasks and ("mt-multi30k-en-de", "small") in tasks
    profiles = {row["name"] for row in json.loads(bench("list", "profiles", "--json").stdout)}
    assert {"cpu-2core-avx512.v1", "nvidia-h200.v1"} <= profiles
    assert "mos-neuron" in bench("list", "methods").stdout


def test_cost_of_an_architecture(bench, tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps(HAT))
    done = bench("cost", "--space", "hat-space1", "a.json", "--json")
    found = json.loads(done.stdout)
    assert found["bytes"] == 4 * found["params"] and found["params_body"] < found["params"]
    assert found["architecture"] == HAT
    text = bench("cost", "--space", "hat-space1", "a.json", "--vocab", "8000", "6000").stdout
    assert "parameters" in text and "MACs" in text and "bytes" in text
    (tmp_path / "b.json").write_text(json.dumps({**HAT, "decoder_layers": 9}))
    assert "decoder_layers" in bench("cost", "--space", "hat-space1", "b.json").stderr
    (tmp_path / "c.json").write_text("[1")
    assert bench("cost", "--space", "hat-space1", "c.json").returncode == 2


def test_doctor_checks_the_machine(bench):
    done = bench("doctor", "--json")
    checks = {check["what"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["torch"]["verdict"] == "ok" and {"profile", "disk", "cpu"} <= set(checks)
    assert bench("doctor", "--data-dir", "nowhere").returncode == 1


def test_table_profiles_are_evaluated_on_published_data(bench, data_dir: Path):
    if not (data_dir / "published").is_dir():
        pytest.skip("no published latency tables in the data folder")
    done = bench("profiles", "--data-dir", str(data_dir), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tables"]


def test_the_leaderboard_follows_from_the_published_records(bench):
    root = Path(__file__).parents[2] / "results"
    if not (root / "records").is_dir():
        pytest.skip("no published records")
    done = bench("leaderboard", "--check", "--results", str(root))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_records_are_reported_and_compared(bench, records, tmp_path: Path):
    words = ("run", "tiny", "--methods", "tiny-good,tiny-after", "--profile", "undeclared")
    done = bench(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in (
        "table.md",
        "table.csv",
        "pareto.png",
        "pareto.svg",
        "hypervolume.png",
        "budget.svg",
        "site/index.html",
    ):
        assert (tmp_path / "results/local/tiny-smoke" / name).stat().st_size > 0
    assert "site/index.html" in done.stdout
    (good,) = [r for r in records() if r["spec"]["method"] == "tiny-good"]
    assert good["energy"]["source"] and good["provenance"]["data"] == {"tiny": "0" * 64}
    # The environment is the workers', which decides the order of sets and the speed of threads.
    assert good["provenance"]["env"]["PYTHONHASHSEED"] == "0"
    assert {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(good["provenance"]["env"])
    assert good["ledger"]["totals"]["predictor_calls"] == 17 and good["ledger"]["totals"]["probes"] == 4
    assert good["candidates"][0]["limit_share"] == 0.5
    compared = json.loads(bench("compare", "tiny-good", "tiny-after", "--suite", "tiny", "--json").stdout)
    assert compared
    assert "tiny-after" in bench("compare", "tiny-good", "tiny-after", "--suite", "tiny").stdout
    # Another budget is another comparison.
    assert bench(*words, "--budget-scale", "2").returncode == 0
    refused = bench("compare", "tiny-good", "tiny-after", "--suite", "tiny")
    assert refused.returncode == 2 and "budget" in refused.stderr
    assert bench("report", "tiny").returncode == 0
    # A damaged record is left out, named, and run again.
    file = next((tmp_path / "results/local/tiny-smoke/records").rglob(f"{good['id']}.json"))
    file.write_text(file.read_text()[:-50])
    told = bench("report", "tiny")
    assert told.returncode == 0 and f"{good['id']}.json" in told.stderr
