"""Checkpoints are read without executing what stands in them."""

import argparse
import io
import os
import pickle
import random
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from supernet.interop import pickle_reader


class Payload:
    """Pickles as a call that creates a file."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def contents() -> dict[str, Any]:
    shared = torch.arange(12, dtype=torch.float32).view(3, 4)
    weights = OrderedDict(a=shared, rest=shared[1:], across=shared.t(), half=torch.ones(2).half())
    weights["count"] = torch.tensor([7])
    weights["parameter"] = torch.nn.Parameter(torch.zeros(2, 2))
    return {"args": argparse.Namespace(arch="transformer", layers=3, deep=[{"x": 1.5}]), "model": weights}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
def test_pickle_reader_reads_as_torch_does(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "some.pt"
    torch.save(contents(), path, _use_new_zipfile_serialization=zipped)
    found, expected = pickle_reader.load(path), torch.load(path, weights_only=False)
    assert list(found["model"]) == list(expected["model"])
    for name, tensor in expected["model"].items():
        assert found["model"][name].dtype == tensor.dtype
        assert torch.equal(found["model"][name], tensor)
    assert vars(found["args"]) == vars(expected["args"])
    assert not isinstance(found["args"], argparse.Namespace)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
@pytest.mark.parametrize("function", [os.mkdir, Path.touch, exec, torch.save, pickle.loads])
def test_a_pickle_that_carries_code_executes_nothing(tmp_path: Path, function: Any, zipped: bool) -> None:
    victim = tmp_path / "executed"
    code = f"open({str(victim)!r}, 'w').close()"
    arguments = {
        os.mkdir: (str(victim),),
        Path.touch: (victim,),
        exec: (code,),
        torch.save: ([1], str(victim)),
        pickle.loads: (pickle.dumps(Payload(exec, code)),),
    }[function]
    path = tmp_path / "evil.pt"
    evil = contents() | {"args": Payload(function, *arguments)}
    torch.save(evil, path, _use_new_zipfile_serialization=zipped)
    if function in (Path.touch, torch.save):
        assert isinstance(pickle_reader.load(path)["args"], pickle_reader.Inert)
    else:
        with pytest.raises(pickle_reader.UnsafePickleError, match=r"it names \S+, .*nothing was executed"):
            pickle_reader.load(path)
    assert not victim.exists()
    torch.load(path, weights_only=False)  # the payload is live
    assert victim.exists()


def test_attributes_set_on_classes_do_not_outlive_the_load(tmp_path: Path) -> None:
    # GLOBAL, then BUILD with (None, {"__init__": "x"}), which sets attributes of the class itself.
    for module, name in (
        ("argparse", "Namespace"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("collections", "OrderedDict"),
    ):
        raw = b"\x80\x02" + f"c{module}\n{name}\n".encode() + b"(N}U\x08__init__U\x01xstb."
        path = tmp_path / "poison.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", raw)
        with pytest.raises(ValueError, match="poison.pt"):
            pickle_reader.load(path)
    assert argparse.Namespace(a=1).a == 1
    assert pickle_reader.Inert().__class__.__init__ is pickle_reader.Inert.__init__


def test_damaged_files_are_one_message(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.pt", tmp_path / "broken.pt"
    for zipped in (True, False):
        torch.save(contents(), whole, _use_new_zipfile_serialization=zipped)
        raw = whole.read_bytes()
        for end in (0, 1, 20, len(raw) // 2, len(raw) - 9):
            path.write_bytes(raw[:end])
            with pytest.raises(ValueError, match="broken.pt: not a whole PyTorch checkpoint"):
                pickle_reader.load(path)
    for text in (b"hello\n", b"PK\x03\x04", pickle.dumps({"a": 1}), b"\x80\x02."):
        path.write_bytes(text)
        with pytest.raises(ValueError, match="not a whole PyTorch checkpoint"):
            pickle_reader.load(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="no dictionary"):
        pickle_reader.load(path)
    with pytest.raises(ValueError, match="cannot be read"):
        pickle_reader.load(tmp_path / "absent.pt")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
def test_a_small_file_cannot_fill_the_memory(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "large.pt"
    large = {"model": {"a": torch.zeros(1).expand(10**6, 10**6)}}
    torch.save(large, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="in a storage of 1"):
        pickle_reader.load(path)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    good, path = tmp_path / "good.pt", tmp_path / "bad.pt"
    torch.save({"model": torch.zeros(4)}, good)
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("data/0"):
                data = data[:8]
            new.writestr(entry.filename, data)
    with pytest.raises(ValueError, match="storage 0 is shorter"):
        pickle_reader.load(path)
    state = io.BytesIO()
    torch.save({"model": torch.zeros(4)}, state, _use_new_zipfile_serialization=False)
    path.write_bytes(state.getvalue().replace(b"K\x04", b"K\x05"))  # elements, size
    with pytest.raises(ValueError, match="bad.pt"):
        pickle_reader.load(path)


class WithSlots:
    """Pickles with a state of two parts, one of them of slots."""

    __slots__ = ("__dict__", "rate")

    def __init__(self) -> None:
        self.rate, self.name = 0.5, "Adam"


class WithTuple:
    """Pickles with a state that is a tuple, such as a generator's."""

    def __getstate__(self) -> Any:
        return ("MT19937", (1, 2, 3), 4)

    def __setstate__(self, state: Any) -> None:
        pass


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_numpy_and_generators_beside_the_model(tmp_path: Path, zipped: bool, protocol: int) -> None:
    if not zipped and protocol != 2:
        pytest.skip("the older form has protocol 2")
    numbers = [
        np.float64(27.5),
        np.float32(0.25),
        np.int64(-3),
        np.uint8(200),
        np.bool_(True),
        np.array(7)[()],
    ]
    others = [
        np.arange(6).reshape(2, 3),
        np.array(["a", "b"]),
        np.array([None, 1], dtype=object),
        np.str_("word"),
        np.datetime64("2020-01-01"),
        np.random.default_rng(0),
        np.random.RandomState(0),
        np.random.get_state(),
        random.Random(0),
        random.getstate(),
        WithSlots(),
        WithTuple(),
        np.dtype([("a", "f4")]),
        {1, 2},
        1 + 2j,
        frozenset("ab"),
        bytearray(b"x"),
        Path("a/b"),
        torch.Generator().get_state(),
        slice(1, 2),
        range(3),
    ]
    path = tmp_path / "some.pt"
    whole = contents() | {"extra_state": {"best": numbers, "others": others}}
    torch.save(whole, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    extra = pickle_reader.load(path)["extra_state"]
    assert extra["best"] == numbers and [type(n) for n in extra["best"]] == [
        float,
        float,
        int,
        int,
        bool,
        int,
    ]
    assert len(extra["others"]) == len(others)
    slots = extra["others"][10]
    assert isinstance(slots, pickle_reader.Inert) and vars(slots) == {"rate": 0.5, "name": "Adam"}


HOSTILE = {
    # PROTO 2, EMPTY_LIST, LONG_BINPUT 0x1fffffff: the C unpickler reserves 4 GiB for its memo.
    "memo": b"\x80\x02]r\xff\xff\xff\x1f.",
    # A tuple of a tuple twice, 40 times over, as the key of a dictionary, and as an item of a set.
    "key": b"\x80\x02})" + b"q\x00h\x00\x86" * 40 + b"K\x01s.",
    "keys": b"\x80\x02}()" + b"q\x00h\x00\x86" * 40 + b"K\x01u.",
    "item": b"\x80\x04\x8f()" + b"q\x00h\x00\x86" * 40 + b"\x90.",
    "frozen": b"\x80\x04()" + b"q\x00h\x00\x86" * 40 + b"\x91.",
    "pairs": b"\x80\x02ccollections\nOrderedDict\n(](" + b")" + b"q\x00h\x00\x86" * 40 + b"K\x01\x86etR.",
    "kind": b"\x80\x02)" + b"q\x00h\x00\x86" * 40 + b"K\x01\x86K\x01K\x01\x87Q.",
    "size": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NK\x00)" + b"q\x00h\x00\x86" * 40 + b")tR.",
}


READ_EACH = """
import resource, sys
from pathlib import Path
from supernet.interop import pickle_reader
for name in sys.argv[2:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        pickle_reader.load(Path(sys.argv[1], name, "hostile.pt"))
        refusal = "read"
    except ValueError as error:
        refusal = str(error)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(name, more, " ".join(refusal.split()), flush=True)
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Name -> KiB by which the process grew, and message, of every hostile file that was got past."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, content in HOSTILE.items():
        (folder / name).mkdir()
        with zipfile.ZipFile(folder / name / "hostile.pt", "w") as archive:
            archive.writestr("a/data.pkl", content)
    command = [sys.executable, "-c", READ_EACH, str(folder), *HOSTILE]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except subprocess.TimeoutExpired as ended:
        output = (ended.stdout or b"").decode()
    lines = [line.split(" ", 2) for line in output.splitlines()]
    return {name: (int(more), message) for name, more, message in lines}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_few_bytes_neither_hang_nor_fill_the_memory(
    refusals: dict[str, tuple[int, str]], name: str
) -> None:
    assert name in refusals, "the process hung or died at this file or at one before it"
    more, message = refusals[name]
    assert "hostile.pt: " in message and more < 65536
