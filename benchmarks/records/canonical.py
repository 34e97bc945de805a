"""The canonical byte string of a JSON value, over which ids, digests and seals are taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]
"""An object of parsed JSON whose fields have not been checked."""
JsonView = Mapping[str, Any]
"""The same, read only."""


def canonical(value: object) -> bytes:
    """Return the one byte string of a JSON value: sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: a figure is not finite or a text has no UTF-8 form.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
