from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.api import ProfileMismatchError, UsageError
from benchmarks.hardware import probe, profiles
from benchmarks.hardware.profiles import Profile, differences, enforce, get, matching, names, resolve

CPU, H100, GPU = "cpu-2core-avx512.v1", "nvidia-h100.v1", "nvidia-h200.v1"
OLD = "cpu-2core-avx2.v1"
ISA = ["avx2", "avx512_bf16", "avx512_vnni", "avx512bw", "avx512dq", "avx512f", "avx512vl", "fma"]


def box(**other: Any) -> dict[str, Any]:
    return {"arch": "x86_64", "cpus": 2, "cpu": "some", "isa": ISA, "memory_gib": 8.0, "gpus": []} | other


def h200(**other: Any) -> dict[str, Any]:
    return {"name": "NVIDIA H200", "memory_gib": 140.4, "driver": "580.1", "uuid": "GPU-1"} | other


@pytest.fixture
def afresh() -> Iterator[None]:
    probe.probe.cache_clear()
    yield
    probe.probe.cache_clear()


def test_every_shipped_profile_can_be_read() -> None:
    assert names() == [OLD, CPU, H100, GPU]
    for name in names():
        profile = get(name)
        assert profile.device in ("cpu", "cuda")
        assert profile.threads == profile.machine["cpus"]
        assert profile.summary
        assert set(profile.energy) == {"cpu_watts", "ram_watts"}


@pytest.mark.parametrize(
    ("found", "is_"),
    [
        (box(), CPU),
        (box(cpus=16, gpus=[h200()]), GPU),
        (box(cpus=2, gpus=[h200()]), CPU),  # a GPU driven by two threads: as a processor only
        (box(cpus=16), None),
        (box(cpus=4), None),
        (box(isa=["avx2", "fma"]), OLD),
        (box(isa=ISA[:-3]), None),
        (box(arch="aarch64", isa=[]), None),
        (box(cpus=16, gpus=[h200(), h200()]), None),
        (box(cpus=16, gpus=[h200(memory_gib=70.0)]), None),  # a partition
        (box(cpus=16, gpus=[h200(memory_gib=None)]), None),
        (box(cpus=16, gpus=[h200(name="NVIDIA H100")]), None),
    ],
)
def test_the_matching_profile_is_found(found: dict[str, Any], is_: str | None) -> None:
    assert matching(found) == is_


def test_a_wrong_machine_is_refused_with_every_difference_and_a_command() -> None:
    with pytest.raises(ProfileMismatchError) as raised:
        enforce(GPU, box())
    assert str(raised.value).splitlines() == [
        "this machine is not nvidia-h200.v1",
        "  gpu       declared NVIDIA H200 x1        found none",
        "  threads   declared 16                    found 2",
        "run on what this machine is: --profile cpu-2core-avx512.v1, or measure it apart from all others:"
        " --profile undeclared",
    ]
    with pytest.raises(ProfileMismatchError) as raised:
        enforce(CPU, box(cpus=64, isa=["avx2", "fma"], gpus=[h200(name="NVIDIA L4")] * 2))
    said = str(raised.value)
    assert "threads   declared 2 " in said and "found 64" in said
    assert "isa       declared avx512f avx512bw" in said and "found none of these" in said
    assert "none of the declared profiles" in said and said.endswith("--profile undeclared")
    with pytest.raises(ProfileMismatchError, match="130 GiB or more +found 70 GiB"):
        enforce(GPU, box(cpus=16, gpus=[h200(memory_gib=70.1)]))
    with pytest.raises(ProfileMismatchError, match="found NVIDIA L4 x2, NVIDIA H200 x1"):
        enforce(GPU, box(cpus=16, gpus=[h200(name="NVIDIA L4"), h200(name="NVIDIA L4"), h200()]))


def test_enforce_passes_a_fitting_machine() -> None:
    assert enforce(CPU, box()).threads == 2
    assert enforce(GPU, box(cpus=16, gpus=[h200(driver="1.0")])).device == "cuda"
    assert enforce("undeclared", box(cpus=3, arch="riscv64")).threads is None
    assert not differences(Profile("x", "cpu", 1), box(arch="anything"))


def test_unknown_profile_is_met_with_a_guess() -> None:
    with pytest.raises(UsageError) as raised:
        get("cpu-2core-avx512.v2")
    assert "Did you mean 'cpu-2core-avx512.v1'?" in str(raised.value)
    names = "cpu-2core-avx2.v1 cpu-2core-avx512.v1 nvidia-h100.v1 nvidia-h200.v1 undeclared"
    assert f"known: {names}" in str(raised.value)
    for hostile in ("../profiles/cpu-2core-avx512.v1", "", "\0"):
        with pytest.raises(UsageError):
            get(hostile)


def test_auto_resolves_to_the_matching_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "probe", lambda: box(cpus=7, gpus=[h200()]))
    assert resolve("auto") == "undeclared"
    assert get("undeclared").device == "cuda"
    monkeypatch.setattr(profiles, "probe", box)
    assert resolve("auto") == CPU
    assert get("undeclared").device == "cpu"
    assert resolve(GPU) == GPU
    with pytest.raises(UsageError):
        resolve("nvidia")


def test_a_profile_file_with_a_slip_is_refused(tmp_path: Path) -> None:
    good = 'summary = "s"\ndevice = "cpu"\nthreads = 1\n[machine]\n'
    for text in (good + "cpu = 2\n", "colour = 1\n" + good, good.replace("cpu", "tpu")):
        path = tmp_path / f"{len(text)}-{hash(text)}.toml"
        path.write_text(text)
        with pytest.raises(UsageError, match="toml"):
            profiles.read(path)


def test_probe_of_this_machine(afresh: None) -> None:
    found = probe.probe()
    assert found["cpus"] >= 1 and found["memory_gib"] > 0 and found["arch"]
    assert probe.probe() is found


def test_probing_imports_no_torch() -> None:
    code = (
        "import sys; from benchmarks.hardware import energy, profiles\n"
        "from benchmarks.records import provenance; profiles.matching();"
        "provenance.machine(); sys.exit('torch' in sys.modules or 'codecarbon' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_cpuinfo_gives_model_and_flags(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(
        "processor\t: 0\nmodel name\t: A B: C\nflags\t\t: fma avx2\n\nprocessor\t: 1\nflags : none\n"
    )
    assert probe._cpuinfo(path) == ("A B: C", ["avx2", "fma"])
    path.write_text("Features : asimd fp\n")
    assert probe._cpuinfo(path)[1] == ["asimd", "fp"]
    assert probe._cpuinfo(tmp_path / "none")[1] == []


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "200000 100000"}, 2.0),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": ""}, None),
        ({"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_quotas_of_containers_limit_the_cores(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert probe._quota(tmp_path, tmp_path / "none") == quota


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/job/step\n", {"cpu.max": "max 100000", "job/cpu.max": "50000 100000"}, 0.5),
        ("0::/job/step\n", {"job/cpu.max": "200000 100000", "job/step/cpu.max": "50000 100000"}, 0.5),
        ("0::/job/step\n", {"job/cpu.max": "50000 100000", "job/step/cpu.max": "max 100000"}, 0.5),
        ("0::/job\n", {"other/cpu.max": "50000 100000"}, None),
        ("0::/../../etc\n", {"cpu.max": "150000 100000"}, 1.5),
        (
            "5:cpu,cpuacct:/slurm\n4:memory:/\n",
            {"cpu/slurm/cpu.cfs_quota_us": "50000", "cpu/slurm/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        ("\x00nonsense", {}, None),
    ],
)
def test_quotas_of_nested_groups(
    tmp_path: Path, membership: str, files: dict[str, str], quota: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "self").write_text(membership)
    assert probe._quota(tmp_path, tmp_path / "self") == quota


@pytest.mark.parametrize(
    ("allowed", "kept"),
    [
        (None, "abc"),
        ("", ""),
        ("-1", ""),
        ("1", "b"),
        ("2,0", "ca"),
        ("0,7,1", "a"),
        ("GPU-b", "b"),
        ("nonsense", ""),
    ],
)
def test_visible_gpus_follow_the_variable_of_cuda(
    monkeypatch: pytest.MonkeyPatch, allowed: str | None, kept: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    found = probe._visible([h200(name=x, uuid=f"GPU-{x}") for x in "abc"])
    assert "".join(g["name"] for g in found) == kept


def fake_smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_gpus_by_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_smi(tmp_path, "echo 'NVIDIA H200, 143771, 580.159.03, GPU-abc'", monkeypatch)
    (gpu,) = probe._nvidia_smi()
    assert gpu == {"name": "NVIDIA H200", "memory_gib": 140.4, "driver": "580.159.03", "uuid": "GPU-abc"}
    fake_smi(tmp_path, "echo 'Failed to initialize NVML'; exit 9", monkeypatch)
    assert probe._nvidia_smi() == []
    fake_smi(tmp_path, "echo no devices were found", monkeypatch)
    assert probe._nvidia_smi() == []
    fake_smi(tmp_path, "exec sleep 30", monkeypatch)
    monkeypatch.setattr(probe, "GPU_QUERY_SECONDS", 0.1)
    assert probe._nvidia_smi() == []


def test_threads_are_applied_and_a_missing_gpu_is_refused() -> None:
    import torch

    from benchmarks.hardware import threads

    before = torch.get_num_threads()
    try:
        assert threads.apply(Profile("x", "cpu", 1)) == 1
        assert threads.declared() == 1
        assert threads.apply(Profile("undeclared", "cpu", None)) == 1
        assert threads.declared() is None
        if not torch.cuda.is_available():
            with pytest.raises(ProfileMismatchError, match="install a CUDA build"):
                threads.apply(get(GPU))
    finally:
        torch.set_num_threads(before)
