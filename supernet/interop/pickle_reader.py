"""PyTorch checkpoints read without executing what stands in them.

``torch.save`` writes a pickle, and a pickle may name any function of any module and call it. Here a
name is never imported: tensors, storages and ordered dictionaries are made by this file, anything else
becomes an :class:`Inert` object that remembers its attributes and does nothing. What no model has a use for,
such as ``os.system``, is refused by name, so that whoever was sent such a file hears of it. Both of PyTorch's
forms are read: the zip archive (since 1.6) and the sequence of pickles before it, in which HAT's checkpoints
are.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

MAGIC = 0x1950A86A20F9469CFC6C
"""What the older form begins with (PyTorch's ``serialization.py``)."""
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
MODULES = ("torch", "torch.storage", "torch.cuda")
"""Where storages are said to come from."""


SUSPECT = frozenset(
    "_pickle code ctypes importlib marshal nt os pickle posix runpy shutil socket subprocess sys".split()
)
"""Modules of which a model's file names nothing."""
SUSPECT_BUILTINS = frozenset("__import__ breakpoint compile eval exec execfile input open".split())


class CarriesCode(ValueError):
    """A pickle that would have more than a model made; the message names what."""


class Inert:
    """Stands for an object of a class that is not loaded: takes whatever a pickle gives it, does nothing.

    Its attributes are those that the pickle sets (``vars``), such as those of an ``argparse.Namespace``.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __call__(self, *arguments: Any, **named: Any) -> Inert:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Nothing."""

    extend = add = append


class Storage:
    """A flat tensor as pickles name it; ``data`` may be filled in after the pickle has been read."""

    def __init__(self, data: Tensor) -> None:
        self.data = data


def strided(
    storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any
) -> Tensor:
    """A tensor over a storage; PyTorch refuses one that reaches beyond its end."""
    if not isinstance(storage, Storage) or min((offset, *size, *stride), default=0) < 0:
        raise ValueError("a tensor that lies in no storage")
    if math.prod(size) > storage.data.numel():  # one number may stand for a million of them
        raise ValueError(f"a tensor of {size} in a storage of {storage.data.numel()}")
    # Filled in later, so it must be a view, also of what is a view of another type.
    return storage.data.as_strided(size, stride, offset)


def itself(data: Tensor, *rest: Any) -> Tensor:
    """A parameter as the plain tensor that it is made of."""
    return data


MADE: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): strided,
    ("torch._utils", "_rebuild_tensor_v2"): strided,
    ("torch._utils", "_rebuild_parameter"): itself,
}
TYPES: dict[tuple[str, str], type] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
}


class Unpickler(pickle.Unpickler):
    """Imports nothing: names are looked up in ``STORAGES``, ``MADE`` and ``TYPES``, or made inert.

    Args:
        storage: ``(key, dtype, elements)`` -> that storage.
    """

    def __init__(self, file: Any, storage: Callable[[str, torch.dtype, int], Storage]) -> None:
        super().__init__(file, encoding="utf-8")
        self._storage = storage
        # New for each load: what a pickle may set on a class or a function is gone with it.
        self._found: dict[tuple[str, str], Any] = {
            name: lambda *given, make=make: make(*given) for name, make in MADE.items()
        }

    def find_class(self, module: str, name: str) -> Any:
        if module in MODULES and name in STORAGES:
            return STORAGES[name]
        if (module, name) in TYPES:
            return TYPES[module, name]
        builtin = module in ("builtins", "__builtin__") and name in SUSPECT_BUILTINS
        if builtin or module.partition(".")[0] in SUSPECT:
            shown = "".join(c if c.isprintable() else "?" for c in f"{module}.{name}"[:80])
            raise CarriesCode(f"carries code: it names {shown}, which no model does; nothing was executed")
        return self._found.setdefault((module, name), type("Inert", (Inert,), {"__qualname__": name}))

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, key, _, elements, *view = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or any(part is not None for part in view):
            raise ValueError(f"a stored object of kind {str(kind)[:40]!r}")
        return self._storage(str(key), dtype, int(elements))


def load(path: Path) -> dict[str, Any]:
    """What ``torch.save`` wrote of a dictionary, tensors on the processor.

    Raises:
        CarriesCode: it names what no model does.
        ValueError: it is no such file, or a damaged one.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            found = _zipped(file, size) if zipfile.is_zipfile(file) else _sequence(file, size)
    except CarriesCode as error:
        raise CarriesCode(f"{path}: {error}") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # whatever a broken pickle brings about
        raise ValueError(
            f"{path}: not a whole PyTorch checkpoint ({error or type(error).__name__})"
        ) from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds no dictionary, as checkpoints do")
    return found


def _zipped(file: BinaryIO, size: int) -> Any:
    """The archive ``NAME/data.pkl`` with ``NAME/data/KEY``."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        top = next((name[: -len("data.pkl")] for name in entries if name.endswith("data.pkl")), None)
        if top is None:
            raise ValueError("no data.pkl in it")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise ValueError("compressed, which PyTorch's are not")
        if sum(entry.file_size for entry in entries.values()) > size:
            raise ValueError("its parts are larger than the whole")
        storages: dict[str, Storage] = {}

        def storage(key: str, dtype: torch.dtype, elements: int) -> Storage:
            if key not in storages:
                raw = bytearray(archive.read(f"{top}data/{key}"))
                storages[key] = Storage(
                    torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
                )
            if storages[key].data.dtype != dtype or storages[key].data.numel() < elements:
                raise ValueError(f"storage {key} is shorter than stated, or of two types")
            return storages[key]

        return Unpickler(io.BytesIO(archive.read(f"{top}data.pkl")), storage).load()


def _sequence(file: BinaryIO, size: int) -> Any:
    """A magic number, a version, facts of the machine, the object, the storages' keys, their contents."""
    file.seek(0)
    storages: dict[str, Storage] = {}

    def storage(key: str, dtype: torch.dtype, elements: int) -> Storage:
        if key not in storages:
            held = sum(one.data.nbytes for one in storages.values())
            if not 0 <= elements * dtype.itemsize <= size - held:
                raise ValueError(f"storage {key} is larger than the file")
            storages[key] = Storage(torch.zeros(elements, dtype=dtype))
        return storages[key]

    def following() -> Any:
        return Unpickler(file, storage).load()

    if (begun := file.read(2)) == b"PK":
        raise ValueError("a zip archive that ends too early")
    if begun != b"\x80\x02":  # every one of them starts like this; text files do not
        raise ValueError("neither a zip archive nor a pickle as torch.save writes one")
    file.seek(0)
    if following() != MAGIC:
        raise ValueError("another pickle")
    following(), following()
    found = following()
    for key in following():
        data = storages[str(key)].data
        if int.from_bytes(file.read(8), "little") != data.numel():
            raise ValueError(f"storage {key} is of another length than stated")
        raw = bytearray(file.read(data.numel() * data.element_size()))
        if len(raw) != data.numel() * data.element_size():
            raise ValueError("it ends too early")
        if raw:
            data.copy_(torch.frombuffer(raw, dtype=data.dtype))
    return found
