"""Errors of exchange with other programs, and the import of optional packages."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingPackageError(ValueError):
    """An optional package is not installed."""


class InexpressibleError(ValueError):
    """The target format cannot represent this network; the message gives the reason."""


class UnreadableModelError(ValueError):
    """A file or folder is not of the expected format, or damaged."""


def require(package: str, extra: str) -> ModuleType:
    """Import an optional package and return its module.

    Raises:
        MissingPackageError: it is not installed, or it cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"{package} cannot be imported ({error}): python3 -m pip install 'supernet-bench[{extra}]'"
        ) from error
