"""Reader of PyTorch checkpoints that executes nothing in them.

``torch.save`` writes a pickle, and a pickle may name any function of any module and call it. Here a
name is never imported: tensors, storages, NumPy numbers and ordered dictionaries are built by this file,
anything else becomes an :class:`Inert` object that keeps its attributes and does nothing. Names without use
in a model, such as ``os.system``, are refused, with a message for the receiver of such a file. Both of
PyTorch's forms are read: the zip archive (since 1.6) and the sequence of pickles before it, which HAT's
checkpoints have.

The interpreter's own unpickler in C is not used: an index of 4 bytes makes it reserve gigabytes, and nested
tuples of 60 bytes, used as a key, keep it hashing for ever.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

MAGIC = 0x1950A86A20F9469CFC6C
"""First pickle of the older form (PyTorch's ``serialization.py``)."""
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
"""Modules under which pickles name storages."""


SUSPECT = frozenset(
    "_pickle code ctypes importlib marshal nt os pickle posix runpy shutil socket subprocess sys".split()
)
"""Modules without any use in a model's file."""
SUSPECT_BUILTINS = frozenset("__import__ breakpoint compile eval exec execfile input open".split())


class UnsafePickleError(ValueError):
    """Refusal of a pickle that names functions without use in a model; the message gives the name."""


class Inert:
    """Object of a class that is not loaded: accepts any arguments, items and state, and does nothing.

    Its attributes are those that the pickle sets (``vars``), such as those of an ``argparse.Namespace``.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __call__(self, *arguments: Any, **named: Any) -> Inert:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Keep named attributes, those of slots too; a state of another form is dropped."""
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                vars(self).update((name, value) for name, value in part.items() if isinstance(name, str))

    def append(self, item: Any) -> None:
        """Drop the item."""

    extend = add = append


class NumberType(Inert):
    """NumPy's type of a number, by its code (``f8``) and byte order."""

    def __init__(self, code: Any = "", *rest: Any) -> None:
        self.code = code if isinstance(code, str) else ""
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "=", "|"):
            self.order = state[1]


class Storage:
    """Flat tensor as pickles name it; ``data`` may be filled in after the pickle has been read."""

    def __init__(self, data: Tensor) -> None:
        self.data = data


def strided(
    storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any
) -> Tensor:
    """Return a tensor over a storage; PyTorch refuses one that reaches beyond its end.

    Raises:
        ValueError: no storage, sizes that are no whole numbers from 0, or more elements than it holds.
    """
    numbers = [offset, *size, *stride]
    valid = len(numbers) < 64 and all(type(n) is int and 0 <= n < 2**63 for n in numbers)
    if not isinstance(storage, Storage) or not valid:
        raise ValueError("a tensor that lies in no storage")
    if math.prod(size) > storage.data.numel():  # one number may stand for a million of them
        raise ValueError(f"a tensor of {size} in a storage of {storage.data.numel()}")
    # Filled in later, so it must be a view, also of a view of another type.
    return storage.data.as_strided(size, stride, offset)


def itself(data: Tensor, *rest: Any) -> Tensor:
    """Return a parameter as its plain tensor."""
    return data


def number(kind: NumberType, raw: bytes) -> bool | int | float | Inert:
    """Return a NumPy scalar as a Python number; other scalars (strings, dates) are inert."""
    plain = isinstance(kind, NumberType) and kind.code[:1] in tuple("biuf") and kind.code[1:] in tuple("1248")
    if not plain or not isinstance(raw, bytes) or len(raw) != int(kind.code[1:]):
        return Inert()
    value: bool | int | float = np.frombuffer(raw, np.dtype(kind.code).newbyteorder(kind.order))[0].item()
    return value


def latin(text: str, encoding: str = "latin1") -> bytes:
    """Return the bytes that Python 2's protocols write as text."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes in another encoding than latin1")
    return text.encode("latin1")


def plain_keys(keys: Iterable[Any]) -> None:
    """Refuse keys other than text and numbers: hashing nested tuples can take for ever.

    Raises:
        ValueError: another key.
    """
    for key in keys:
        if not (key is None or isinstance(key, (str, bytes, int, float, torch.dtype))):
            raise ValueError(f"a {type(key).__name__} as a key")


def ordered(pairs: Iterable[Any] = ()) -> OrderedDict[Any, Any]:
    """Return an ordered dictionary of key and value pairs."""
    items = [(key, value) for key, value in pairs]
    plain_keys(key for key, _ in items)
    return OrderedDict(items)


def unordered(items: Iterable[Any] = ()) -> set[Any]:
    """Return a set of plain items."""
    items = list(items)
    plain_keys(items)
    return set(items)


BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor"): strided,
    ("torch._utils", "_rebuild_tensor_v2"): strided,
    ("torch._utils", "_rebuild_parameter"): itself,
    ("numpy.core.multiarray", "scalar"): number,
    ("numpy._core.multiarray", "scalar"): number,
    ("_codecs", "encode"): latin,
    ("collections", "OrderedDict"): ordered,
    ("builtins", "set"): unordered,
    ("__builtin__", "set"): unordered,
}


class Unpickler(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """Unpickler without imports: names are looked up in ``STORAGES`` and ``BUILDERS``, or made inert.

    Args:
        storage: ``(key, dtype, elements)`` -> that storage.
    """

    dispatch = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]

    def __init__(self, file: Any, storage: Callable[[str, torch.dtype, int], Storage]) -> None:
        super().__init__(file, encoding="utf-8")
        self._storage = storage
        # New for each load: attributes that a pickle sets on a class or a function are gone with it.
        self._names: dict[tuple[str, str], Any] = {
            name: lambda *given, build=build: build(*given) for name, build in BUILDERS.items()
        }
        self._names |= dict.fromkeys((("numpy", "dtype"), ("numpy.dtype", "dtype")), NumberType)

    def find_class(self, module: str, name: str) -> Any:
        if module in MODULES and name in STORAGES:
            return STORAGES[name]
        builtin = module in ("builtins", "__builtin__") and name in SUSPECT_BUILTINS
        if builtin or module.partition(".")[0] in SUSPECT:
            shown = "".join(c if c.isprintable() else "?" for c in f"{module}.{name}"[:80])
            raise UnsafePickleError(
                f"carries code: it names {shown}, which no model does; nothing was executed"
            )
        inert = type("Inert", (Inert,), {"__qualname__": name})
        return self._names.setdefault((module, name), inert)

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, key, _, elements, *view = pid
        plain = isinstance(key, (str, int)) and isinstance(elements, int) and all(v is None for v in view)
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not plain:
            shown = repr(kind[:40]) if isinstance(kind, str) else type(kind).__name__
            raise ValueError(f"a stored object of kind {shown}")
        return self._storage(str(key), dtype, elements)

    def _refuse_keys(self, first: int, step: int) -> None:
        """Check the items above the mark, every ``step``-th of which becomes a key."""
        plain_keys(self.stack[first::step])

    def load_setitem(self) -> None:
        plain_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        self._refuse_keys(0, 2)
        super().load_setitems()

    def load_dict(self) -> None:
        self._refuse_keys(0, 2)
        super().load_dict()

    def load_additems(self) -> None:
        self._refuse_keys(0, 1)
        super().load_additems()

    def load_frozenset(self) -> None:
        self._refuse_keys(0, 1)
        super().load_frozenset()

    def load_build(self) -> None:
        """Set the state of an inert object; attributes of anything else stay as they are."""
        if not isinstance(self.stack[-2], (Inert, OrderedDict)):
            raise ValueError(f"a state for a {type(self.stack[-2]).__name__}")
        state = self.stack.pop()
        if isinstance(target := self.stack[-1], Inert):
            target.__setstate__(state)

    dispatch |= {
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
        pickle.BUILD[0]: load_build,
    }


def load(path: Path) -> dict[str, Any]:
    """Return the dictionary that ``torch.save`` wrote, tensors on the processor.

    Raises:
        UnsafePickleError: it names a function without use in a model.
        ValueError: it is no such file, or a damaged one.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            content = _zipped(file, size) if zipfile.is_zipfile(file) else _sequence(file, size)
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{path}: {error}") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # whatever a broken pickle brings about
        reason = str(error)[:200] or type(error).__name__
        raise ValueError(f"{path}: not a whole PyTorch checkpoint ({reason})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds no dictionary, as checkpoints do")
    return content


def _zipped(file: BinaryIO, size: int) -> Any:
    """Read the archive ``NAME/data.pkl`` with ``NAME/data/KEY``."""
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
    """Read the older form: magic number, version, machine, object, storages' keys, storages."""
    file.seek(0)
    storages: dict[str, Storage] = {}

    def storage(key: str, dtype: torch.dtype, elements: int) -> Storage:
        if key not in storages:
            held = sum(other.data.nbytes for other in storages.values())
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
    content = following()
    for key in following():
        data = storages[str(key)].data
        if int.from_bytes(file.read(8), "little") != data.numel():
            raise ValueError(f"storage {key} is of another length than stated")
        raw = bytearray(file.read(data.numel() * data.element_size()))
        if len(raw) != data.numel() * data.element_size():
            raise ValueError("it ends too early")
        if raw:
            data.copy_(torch.frombuffer(raw, dtype=data.dtype))
    return content
