"""What other programs need, and what they cannot do."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingPackageError(ValueError):
    """A runtime that is not installed."""


class InexpressibleError(ValueError):
    """What another program has no words for; the message says what and why."""


class UnreadableModelError(ValueError):
    """A file or folder that is not what it is taken for."""


def require(package: str, extra: str) -> ModuleType:
    """The module of an optional package.

    Raises:
        MissingPackageError: it is not installed, or it cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"{package} cannot be imported ({error}): python3 -m pip install 'supernet-bench[{extra}]'"
        ) from error
