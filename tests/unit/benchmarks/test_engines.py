"""Engines: configurations as benchopt's, workers by estimated length, texts that their tools read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from benchmarks.api import UsageError
from benchmarks.engines import parallel_config, processes, scripts
from benchmarks.engines.parallel_config import groups, read
from tests import ROOT

SLURM = """\
backend: script
jobs: 8
slurm_partition: gpu
slurm_gres: gpu:h100:1
slurm_time: "04:00:00"
slurm_array_parallelism: 16
slurm_setup: [module load cuda]
slurm_additional_parameters: {account: abc}
"""
SAVES = "import signal, sys, time; signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))"


def config(folder: Path, text: str = SLURM):
    path = folder / "engine.yml"
    path.write_text(text)
    return read(path)


def plan(count: int, seconds: float | None, methods=("hat", "nas-bert")):
    runs = [
        SimpleNamespace(spec=SimpleNamespace(method=methods[n % len(methods)]), estimate=seconds)
        for n in range(count)
    ]
    return SimpleNamespace(pending=runs)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("jobs: 2\n", 1, "no backend"),
        ("jobs: 2\nbackend: slurm\n", 2, "allowed: local submitit script k8s ray"),
        ("backend: script\njobz: 2\n", 2, "Did you mean 'jobs'?"),
        ("backend: script\njobs: two\n", 2, "wrong kind"),
        ("backend: script\njobs: 0\n", 2, "above zero"),
        ("backend: script\njobs: true\n", 2, "wrong kind"),
        ("backend: script\noverrides: {hat: 3}\n", 2, "overrides"),
        ("backend: script\nhours: .inf\n", 2, "above zero"),
        ("backend: script\nhours: 0x" + "f" * 500 + "\n", 2, "at most 1,000,000"),
        ("backend: script\njobs: [0x" + "f" * 5000 + "]\n", 2, "cannot be read"),
        ("backend: script\noverrides: " + "[" * 40_000 + "\n", 2, "more than 20 deep"),
        ("- a\n", 1, "no mapping"),
    ],
)
def test_a_mistake_is_one_message_with_its_line(tmp_path, text, line, message):
    with pytest.raises(UsageError, match=f"engine.yml:{line}: ") as caught:
        config(tmp_path, text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("'30'", 0.5),
        ("'90:00'", 1.5),
        ("04:00:00", 4),
        ("10:00:00", 10),
        ("'1-12:00:00'", 36),
        ("'2-00'", 48),
    ],
)
def test_times_of_slurm_are_read(tmp_path, text, hours):
    assert config(tmp_path, f"backend: script\nslurm_time: {text}\n").hours == hours


@pytest.mark.parametrize("text", ["'x'", "'1:2:3:4'", "5", "'" + "9" * 400 + "'"])
def test_a_time_that_is_none_or_too_short(tmp_path, text):
    with pytest.raises(UsageError, match="slurm_time"):
        config(tmp_path, f"backend: script\nslurm_time: {text}\n")


def test_workers_follow_the_estimate_and_never_outnumber_the_runs(tmp_path):
    made = config(tmp_path)
    (group,) = groups(made, plan(10_000, 205.0))
    # 570 hours of runs, in workers of 8 x 3.9 hours, and a spare seventh.
    assert group.count == 21 and group.runs == 10_000 and not group.methods
    assert groups(made, plan(9, 1e5))[0].count == 2, "eight at a time: two workers have them all"
    assert groups(made, plan(9, None))[0].count == 2 and groups(made, plan(0, 1.0)) == []


def test_overrides_are_workers_of_their_own(tmp_path):
    made = config(tmp_path, SLURM + 'overrides: {nas-bert: {slurm_time: "08:00:00", jobs: 2}}\n')
    first, second = groups(made, plan(100, 3600.0))
    assert (first.methods, second.methods) == (["hat"], ["nas-bert"])
    assert second.config.hours == 8 and second.config.jobs == 2
    assert second.config.slurm["partition"] == "gpu" and first.runs + second.runs == 100
    assert second.arguments[-2:] == ["--methods", "nas-bert"]


def test_an_sbatch_script_is_bash_and_never_above_the_array_limit(tmp_path):
    made = config(tmp_path, SLURM + "workers: 2500\n")
    (group,) = groups(made, plan(100_000, 205.0))
    texts = scripts.sbatch(tmp_path / "it's a study.yml", group)
    arrays = [line for text in texts for line in text.splitlines() if "--array" in line]
    assert [line.split("=")[1] for line in arrays] == ["0-999%16", "0-999%16", "0-499%16"]
    for text in texts:
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
        assert text.startswith("#!/bin/bash\n#SBATCH --job-name") and "module load cuda\n" in text
        assert "#SBATCH --account=abc\n" in text and "--signal=B:USR1@120" in text


def test_a_value_cannot_end_its_line(tmp_path):
    made = config(tmp_path, SLURM + 'slurm_comment: "a\\nrm -rf /"\n')
    with pytest.raises(UsageError, match="one line"):
        scripts.sbatch(tmp_path / "s.yml", groups(made, plan(1, 1.0))[0])


def test_a_worker_is_asked_to_save_when_slurm_ends_its_job(tmp_path):
    """The script of a job passes the signal on, and ends with the worker's exit code."""
    (group,) = groups(config(tmp_path), plan(1, 1.0))
    (text,) = scripts.sbatch(tmp_path / "s.yml", group)
    fake = f"{SAVES}; print(1, flush=True); time.sleep(60)"
    lines = [line for line in text.splitlines() if not line.startswith(("#", "module"))]
    lines[0] = f'python3 -c "{fake}" &'
    job = subprocess.Popen(["bash", "-c", "\n".join(lines)], stdout=subprocess.PIPE)
    job.stdout.readline()
    job.send_signal(10)
    assert job.wait(20) == 75


def test_a_manifest_is_an_indexed_job(tmp_path):
    text = "backend: k8s\nimage: a/b:1\nclaim: results\nmount: /results\ngpus: 1\nworkers: 3\n"
    made = config(tmp_path, text)
    (job,) = yaml.safe_load_all(scripts.kubernetes(Path("/results/s.yml"), groups(made, plan(9, 60.0))))
    assert job["spec"]["completionMode"] == "Indexed" and job["spec"]["completions"] == 3
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["command"][:3] == ["supernet-bench", "work", "/results/s.yml"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1}
    with pytest.raises(UsageError, match="no claim"):
        made = config(tmp_path, "backend: k8s\nimage: a/b:1\n")
        scripts.kubernetes(Path("/results/s.yml"), groups(made, plan(9, 60.0)))


K8S = "backend: k8s\nimage: a/b:1\nclaim: results\nmount: /results\ncpus: 4\nmemory: 16Gi\ngpus: 1\n"


def test_a_manifest_keeps_to_the_schema_of_kubernetes(tmp_path):
    """By the OpenAPI schemas of Kubernetes, strictly: a key that it does not know is refused."""
    schemas = pytest.importorskip("kubernetes_validate")
    made = config(tmp_path, K8S + "slurm_array_parallelism: 2\noverrides: {nas-bert: {gpus: 2}}\n")
    text = scripts.kubernetes(Path("/results/s.yml"), groups(made, plan(100, 3600.0)))
    jobs = list(yaml.safe_load_all(text))
    assert [job["metadata"]["name"] for job in jobs] == ["supernet-bench-0", "supernet-bench-1"]
    for job in jobs:
        for version in ("1.31", schemas.latest_version()):
            schemas.validate(job, version, strict=True)
        assert job["spec"]["parallelism"] <= job["spec"]["completions"]
    jobs[0]["spec"]["completion_mode"] = "Indexed"
    with pytest.raises(schemas.ValidationError):
        schemas.validate(jobs[0], "1.31", strict=True)


def test_a_worker_call_is_pickled_without_its_process():
    cloudpickle = pytest.importorskip("cloudpickle")
    call = processes.WorkerCall(["python3", "-c", "pass"])
    assert call() == 0
    again = cloudpickle.loads(cloudpickle.dumps(call))
    assert again.words == call.words and again._process is None


CHECKPOINTED = """
import os, signal, sys, threading, types
from benchmarks.engines.processes import WorkerCall
helpers = types.SimpleNamespace(DelayedSubmission=lambda call: call.words[-1])
sys.modules["submitit"] = types.SimpleNamespace(helpers=helpers)
call = WorkerCall([sys.executable, "-c", sys.argv[1]])
signal.signal(signal.SIGUSR2, lambda *_: print(call.checkpoint() == sys.argv[1]))
threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGUSR2)).start()
print(call())
"""
"""A submission as submitit runs it: its handler calls ``checkpoint`` while the call waits for the worker."""


def test_a_checkpoint_in_a_signal_handler_ends_the_call():
    worker = f"{SAVES}; time.sleep(60)"
    words = [sys.executable, "-c", CHECKPOINTED, worker]
    output = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert output.stdout.split() == ["True", "75"], output.stderr


def test_submitit_runs_workers_with_its_local_executor(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    made = config(tmp_path, "backend: submitit\ncluster: local\nworkers: 2\nslurm_gres: gpu:1\n")
    (group,) = groups(made, plan(9, 60.0))
    out = tmp_path / "out"
    out.mkdir()
    script = f"import os,tempfile; tempfile.mkstemp(dir={str(out)!r})"
    monkeypatch.setattr(processes, "words", lambda *_: ["python3", "-c", script])
    jobs = processes.submit(tmp_path / "s.yml", group, tmp_path / "logs")
    assert [job.result() for job in jobs] == [0, 0] and len(list(out.iterdir())) == 2


def test_an_engine_that_is_not_installed_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    made = config(tmp_path, "backend: submitit\n")
    with pytest.raises(UsageError, match=r"supernet-bench\[slurm\]"):
        processes.submit(tmp_path / "s.yml", groups(made, plan(1, 1.0))[0], tmp_path)
    assert parallel_config.BACKENDS[0] == "local"
