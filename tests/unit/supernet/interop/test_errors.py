"""Messages about runtimes that are not installed."""

from __future__ import annotations

import pytest

from supernet.interop.errors import MissingPackageError, require


def test_a_missing_runtime_is_named_with_the_install_command():
    with pytest.raises(MissingPackageError, match=r"pip install 'supernet-bench\[ctranslate2\]'"):
        require("a_package_that_nobody_has", "ctranslate2")
