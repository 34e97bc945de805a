"""Test splits as encrypted files, for searches that nothing keeps from reading this user's files. No torch.

The key is drawn anew by each command and never written: it is in the command's memory and in that of the
scoring, both of which refuse other processes of the user a look. What this stops and what it does not is in
``docs/integrity.md``.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.runs.isolation import hide_memory
from benchmarks.tasks import Prepared
from benchmarks.tasks.datasets import locked

PREFIX = "supernet-bench-references-"
"""Beginning of the names of folders of encrypted files and of decrypted splits, with the process's id."""
NONCE = 12
"""Bytes of the nonce of AES-GCM, which stand before the text."""


@dataclass(frozen=True)
class EncryptedReferences:
    """An encrypted test split.

    Attributes:
        file: nonce and AES-256-GCM of a tar archive.
        key: 32 bytes.
        name: of the split's folder in the archive.
        scratch: folder of the command for decrypted splits.
    """

    file: Path
    key: bytes
    name: str
    scratch: Path

    def __repr__(self) -> str:
        return f"EncryptedReferences({self.name})"  # the key belongs into no log

    def unpack(self, folder: Path) -> None:
        """Write the split, and what lay beside it, into a folder.

        Raises:
            UsageError: the file was changed.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        content = self.file.read_bytes()
        try:
            plain = AESGCM(self.key).decrypt(content[:NONCE], content[NONCE:], None)
        except (InvalidTag, ValueError):
            raise UsageError("the encrypted test references were changed: type the command again") from None
        with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
            archive.extractall(folder, filter="data")


@contextmanager
def encrypted(prepared: Mapping[str, Prepared]) -> Iterator[Mapping[str, EncryptedReferences]]:
    """Encrypt the test splits of tasks, and take the readable ones away while inside.

    A command that is killed leaves none behind: the next one prepares them again.

    Args:
        prepared: task -> its data.

    Yields:
        Task -> its encrypted split; none for a task without one.
    """
    hide_memory()
    remove_stale()
    folders = {task: data.sealed for task, data in prepared.items() if data.sealed is not None}
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=_memory()) as home:
        packed = {task: _encrypt(folder, Path(home)) for task, folder in folders.items()}
        try:
            for folder in folders.values():
                for path in _with_siblings(folder):
                    shutil.rmtree(path, ignore_errors=True)
            yield packed
        finally:
            for task, folder in folders.items():
                with locked(folder.with_name(f".{folder.name}.lock")):
                    packed[task].unpack(folder.parent)


@contextmanager
def readable(prepared: Prepared, references: EncryptedReferences | None) -> Iterator[Prepared]:
    """Yield a task's data with a readable test split, decrypted for this process if need be.

    Args:
        prepared: the task's data.
        references: None: the split lies where ``prepared`` has it.
    """
    if references is None:
        yield prepared
        return
    hide_memory()
    with tempfile.TemporaryDirectory(dir=references.scratch) as folder:
        place = Path(folder, "sealed")
        references.unpack(place)
        yield replace(prepared, sealed=place / references.name)


def remove_stale() -> None:
    """Remove the folders of commands that were killed."""
    for folder in _memory().glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        try:
            os.kill(int(pid), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)
        except (PermissionError, OverflowError):
            continue


def _memory() -> Path:
    """Return a folder that no disk holds, if there is one."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


def _with_siblings(folder: Path) -> list[Path]:
    """Return a split's folder, and the labels of fine-tuning that lie beside it in ``cache/sealed``."""
    beside = sorted(folder.parent.glob("finetune-*")) if folder.parent.name == "sealed" else []
    return [path for path in (folder, *beside) if path.is_dir()]


def _encrypt(folder: Path, home: Path) -> EncryptedReferences:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    plain, key, nonce = io.BytesIO(), secrets.token_bytes(32), secrets.token_bytes(NONCE)
    with (
        locked(folder.with_name(f".{folder.name}.lock")),
        tarfile.open(fileobj=plain, mode="w") as archive,
    ):
        if not folder.is_dir():
            raise UsageError(f"another command has just encrypted {folder}: type the command again")
        for path in _with_siblings(folder):
            archive.add(path, arcname=path.name)
    file = home / f"{secrets.token_hex(8)}.encrypted"
    file.touch(0o600)
    file.write_bytes(nonce + AESGCM(key).encrypt(nonce, plain.getvalue(), None))
    scratch = home / "readable"
    with suppress(FileExistsError):
        scratch.mkdir(0o700)
    return EncryptedReferences(file, key, folder.name, scratch)
