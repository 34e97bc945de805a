"""Freed memory is handed out again."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

CODE = """
import json, resource, sys
import torch
from supernet import allocator

def faults(numbers):
    for _ in range(60):
        torch.ones(numbers)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(numbers)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

own = faults(15_000_000)
said = allocator.keep_freed()
print(json.dumps([own, said, faults(15_000_000)]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of the GNU C library alone")
def test_tensors_get_the_pages_of_those_that_went():
    done = subprocess.run(
        [sys.executable, "-c", CODE], check=True, capture_output=True, text=True, timeout=120
    )
    own, said, kept = json.loads(done.stdout)
    assert said
    assert own > 20 * 10  # 60 MB each time, in pages of at most 2 MiB; fewer would make this test void
    assert kept < own / 20


def test_elsewhere_the_setting_returns_false(monkeypatch):
    from supernet import allocator

    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert allocator.keep_freed() is False
