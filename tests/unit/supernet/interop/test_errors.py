"""Messages about runtimes that are not installed."""

from __future__ import annotations

import pytest

from supernet.interop.errors import MissingPackageError, require


def test_a_runtime_that_is_not_there_is_named_with_what_to_type():
    with pytest.raises(MissingPackageError, match=r"pip install 'supernet-bench\[ctranslate2\]'"):
        require("a_package_that_nobody_has", "ctranslate2")
