"""Engines: configurations as benchopt's, workers by estimated length, texts that their tools read."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from benchmarks.api import UsageError
from benchmarks.engines import parallel_config, processes, scripts
from benchmarks.engines.parallel_config import groups, read
from benchmarks.runs.leases import Leases
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


def plan(count: int, seconds: float | None, methods=("hat", "nas-bert"), home: Path = Path("/none")):
    specs = [SimpleNamespace(id=f"{n:016x}", method=methods[n % len(methods)]) for n in range(count)]
    runs = [SimpleNamespace(spec=spec, estimate=seconds) for spec in specs]
    return SimpleNamespace(pending=runs, runs=runs, folders=SimpleNamespace(home=home))


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
        ("backend: script\noverrides:\n  nas-bert:\n    backend: nonsense\n", 4, "all workers share it"),
        ("backend: script\noverrides:\n  nas-bert:\n    cluster: local\n", 4, "all workers share it"),
        ("backend: script\noverrides:\n  nas-bert:\n    overrides: {}\n", 4, "all workers share it"),
        ("backend: script\noverrides:\n  nas-bert:\n    1: 2\n", 4, "1: no such key"),
        ("backend: script\noverrides:\n  nas-bert:\n    jobs: 2\n    jobs: 3\n", 5, "keep one"),
        ("backend: script\noverrides:\n  nas-bert:\n    hours: 12 h\n", 4, "wrong kind"),
        ("backend: script\nslurm_setup: module load cuda\n", 2, "slurm_setup: [module load cuda]"),
        ("backend: script\nslurm_setup: 5\n", 2, "a list of lines"),
        ("backend: script\nslurm_setup: [5]\n", 2, "a list of lines"),
        ("backend: script\nslurm_additional_parameters: --account=abc\n", 2, "{account: abc}"),
        ("backend: script\nslurm_additional_parameters: {account: [abc]}\n", 2, "account: one value"),
        ("backend: script\nslurm_gres: [gpu:1]\n", 2, "one value"),
        ("backend: script\nslurm_mem: 0x" + "f" * 5000 + "\n", 2, "cannot be read"),
        ("backend: script\nslurm_array_parallelism: '4'\n", 2, "'4': a whole number"),
        ("backend: script\nslurm_array_parallelism: true\n", 2, "True: a whole number"),
        ("backend: script\nslurm_array_parallelism: 0\n", 2, "above zero"),
        ("backend: script\nslurm_a b: 1\n", 2, "no such key"),
        ('backend: script\nslurm_comment: "a\\nrm -rf /"\n', 2, "one line"),
        ('backend: script\nslurm_additional_parameters: {"a\\nrm -rf /": 1}\n', 2, "one line"),
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


@pytest.mark.parametrize("form", ["{}", "overrides: {{nas-bert: {{{}}}}}"])
@pytest.mark.parametrize(
    "line", ["slurm_time: " + time for time in ("x", "'1:2:3:4'", "5", "9" * 400)] + ["hours: 0.005"]
)
def test_a_time_that_is_none_or_too_short_is_refused(tmp_path, form, line):
    with pytest.raises(UsageError, match=line.partition(":")[0]):
        config(tmp_path, f"backend: script\n{form.format(line)}\n")


@pytest.mark.parametrize(
    ("line", "hours"),
    [("hours: 12", 12), ("slurm_time: 10:00:00", 10), ("jobs: 2", 4), ("slurm_time: ''", 4)][:3],
)
def test_the_time_of_an_override_is_its_own(tmp_path, line, hours):
    read_config = config(tmp_path, f"{SLURM}overrides: {{nas-bert: {{{line}}}}}\n")
    _, special = groups(read_config, plan(2, 60.0))
    assert special.config.hours == hours
    (text,) = scripts.sbatch(tmp_path / "s.yml", special)
    assert f"#SBATCH --time={hours:02d}:00:00\n" in text


def test_an_override_of_a_method_that_does_not_exist_is_refused(tmp_path):
    read_config = config(tmp_path, SLURM + "overrides: {nas-bart: {jobs: 2}}\n")
    with pytest.raises(UsageError, match="no method 'nas-bart'. Did you mean 'nas-bert'?"):
        parallel_config.require_methods(read_config, [plan(2, 60.0)])
    parallel_config.require_methods(read_config, [plan(2, 60.0, methods=("nas-bart",))])


def test_workers_make_failed_runs_again_where_some_have_ended(tmp_path):
    with Leases(tmp_path, {}) as leases:
        for number, state in enumerate(("failed", "done", "free", "skipped")):
            assert leases.take(f"{number:016x}")
            leases.end(f"{number:016x}", state)
    made = config(tmp_path, SLURM + "overrides: {nas-bert: {jobs: 2}, teacher: {jobs: 3}}\n")
    (hat, nas_bert, teacher) = groups(
        made, plan(4, 60.0, ("hat", "teacher", "teacher", "nas-bert"), tmp_path)
    )
    assert "--retry-failed" in hat.arguments and "--retry-failed" in nas_bert.arguments
    assert "--retry-failed" not in teacher.arguments, "its leases are free, or it was moved away"


@pytest.mark.parametrize(
    ("line", "directive"),
    [
        ("slurm_exclusive: true", "--exclusive"),
        ("slurm_exclusive: false", None),
        ("slurm_gres:", None),
        ("slurm_mem: 0", "--mem=0"),
        ("slurm_time_min: 10:00:00", "--time-min=10:00:00"),
        ("slurm_begin: 2026-11-30T10:00:00", "--begin=2026-11-30T10:00:00"),
        ("slurm_additional_parameters: {time-min: 10:00:00}", "--time-min=10:00:00"),
        ("slurm_additional_parameters: {exclusive: no}", None),
        ("slurm_additional_parameters:", None),
        ("slurm_setup:", None),
    ],
)
def test_a_directive_is_as_the_file_has_it_and_empty_values_are_none(tmp_path, line, directive):
    directives = []
    for text in ("backend: script\n", f"backend: script\n{line}\n"):
        (group,) = groups(config(tmp_path, text), plan(1, 60.0))
        directives.append(scripts.sbatch(tmp_path / "s.yml", group)[0].splitlines())
    added = [text for text in directives[1] if text not in directives[0]]
    assert added == ([f"#SBATCH {directive}"] if directive else [])


def test_an_override_takes_a_directive_back(tmp_path):
    text = "backend: script\nslurm_exclusive: true\noverrides: {nas-bert: {slurm_exclusive: false}}\n"
    first, special = groups(config(tmp_path, text), plan(2, 60.0))
    assert first.config.slurm == {"exclusive": True} and special.config.slurm == {}


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


def test_a_folder_cannot_end_a_line_of_a_script(tmp_path):
    with pytest.raises(UsageError, match="line break"):
        scripts.sbatch(tmp_path / "a\nrm -rf /" / "s.yml", groups(config(tmp_path), plan(1, 1.0))[0])


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_worker_is_asked_to_save_when_slurm_ends_its_job(tmp_path, number):
    """The script of a job passes the signal on, and ends with the worker's exit code."""
    (group,) = groups(config(tmp_path), plan(1, 1.0))
    (text,) = scripts.sbatch(tmp_path / "s.yml", group)
    fake = f"{SAVES}; print(1, flush=True); time.sleep(60)"
    script = with_worker(text, f'python3 -c "{fake}"')
    for commands in (script, script.replace("; done", "; sleep .5; done")):  # it may end before the next look
        with subprocess.Popen(["bash", "-c", commands], stdout=subprocess.PIPE) as job:
            job.stdout.readline()
            job.send_signal(number)
            assert job.wait(20) == 75


def with_worker(script: str, worker: str) -> str:
    """Return the commands of a job's script, with another worker."""
    lines = [line for line in script.splitlines() if not line.startswith(("#", "module"))]
    return "\n".join([f"{worker} &", *lines[1:]])


@pytest.mark.parametrize(("worker", "code"), [("no-such-command", 127), ("exit 3", 3), ("true", 0)])
def test_a_job_ends_as_its_worker_however_soon_that_ends(tmp_path, worker, code):
    (group,) = groups(config(tmp_path), plan(1, 1.0))
    (text,) = scripts.sbatch(tmp_path / "s.yml", group)
    late = with_worker(text, worker).replace("while ", "sleep .1; while ")
    for script in [late] + 20 * [with_worker(text, worker)]:
        assert subprocess.run(["bash", "-c", script], stderr=subprocess.DEVNULL).returncode == code


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
