"""Messages for errors of the operating system, such as a full disk or a read-only folder."""

from __future__ import annotations

import argparse
import errno
import os

_DENIED = "it must be a place that you may read and write"
_FULL = "free some space there; typed again, the command goes on where it was"
REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _DENIED,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENOTDIR: "a folder is needed there: move the file away",
    errno.EEXIST: "a folder is needed there: move the file away",
    errno.EISDIR: "a file is needed there, not a folder",
    errno.ENOENT: "see whether the path is right, and whether something has removed it meanwhile",
    errno.EMFILE: "raise the limit of open files: ulimit -n 4096",
    errno.ENAMETOOLONG: "give a shorter path",
}
"""Number of an error -> what its user can do."""
ELSEWHERE = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)
)
"""Errors that another folder for the results mends as well."""


def message(error: OSError, options: argparse.Namespace | None) -> str:
    """Return the place, the problem and a remedy.

    Args:
        error: of any file operation.
        options: of the command, or None while it reads its arguments.
    """
    results = getattr(options, "results", None)
    place = error.filename
    if place is None and error.errno in (errno.ENOSPC, errno.EDQUOT):
        given = (getattr(options, name, None) for name in ("out", "to", "results"))
        place = next((place for place in given if place is not None), None)  # a write names no file
    problem = f"{os.fsdecode(place)}: " if place is not None and not isinstance(place, int) else ""
    problem += error.strerror or str(error)
    remedy = REMEDIES.get(error.errno or 0, "")
    if remedy and results is not None and error.errno in ELSEWHERE:
        remedy += ". Or write elsewhere: --results DIR"
    return f"{problem}\n{remedy}" if remedy else problem
