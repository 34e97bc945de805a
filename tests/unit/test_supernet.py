"""The library's exported names, its page's examples, and batches of any iterable."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import islice
from typing import Any

import pytest

import supernet
from supernet.data.plain_batches import PlainBatches
from tests import ROOT


def test_every_exported_name_is_there() -> None:
    for name in supernet.__all__:
        assert getattr(supernet, name) is not None
        assert name in dir(supernet)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = supernet.nothing


def test_the_package_alone_loads_no_torch() -> None:
    code = "import supernet, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_examples_of_the_page_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "supernet.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    space: dict[str, Any] = {}
    for block in blocks:
        exec(block, space)
    assert len(space["sha256"]) == 64


@pytest.mark.parametrize("batches", [[1, 2, 3], lambda epoch: [f"{epoch}a", f"{epoch}b"]])
def test_plain_batches_go_on_where_they_were(batches: Any) -> None:
    expected = list(PlainBatches(batches, 7))
    assert len(expected) == 7
    for stop in range(1, 7):
        stream = PlainBatches(batches, 7)
        first = list(islice(iter(stream), stop))
        resumed = PlainBatches(batches, 7)
        resumed.restore(stream.state())
        assert first + list(resumed) == expected
        assert resumed.spent == resumed.total == 7


def test_batches_that_cannot_be_iterated_again() -> None:
    for batches, updates, message in (([], 1, "no batch"), ([1], 0, "at least 1"), (iter([1]), 1, "used up")):
        with pytest.raises(ValueError, match=message):
            list(PlainBatches(batches, updates))


def test_the_trainer_takes_tuples_of_tensors_as_it_takes_batches() -> None:
    import torch

    from supernet.data.images import ImageBatch

    family = supernet.ViTFamily(
        supernet.get_space("vit-smoke"), supernet.ViTConfig(classes=10, image=8, channels=1)
    )
    draw = torch.Generator().manual_seed(2)
    plain = [
        (torch.rand(8, 1, 8, 8, generator=draw), torch.randint(10, (8,), generator=draw)) for _ in range(3)
    ]
    weights = []
    for batches in (plain, [ImageBatch(pixels, labels, 8) for pixels, labels in plain]):
        net = supernet.SuperNet(family, supernet.SharedSlices(family, torch.Generator().manual_seed(1)))
        trainer = supernet.Trainer(net, supernet.Recipe(learning_rate=1e-2), supernet.SinglePath(), seed=1)
        before = net.source.flat.detach().clone()
        trainer.fit(batches)
        assert trainer.updates == 3 and not before.equal(net.source.flat)
        trainer.fit(lambda epoch, batches=batches: batches, updates=4)
        assert trainer.updates == 7
        weights.append(net.source.flat.detach())
    assert weights[0].equal(weights[1])


def test_batches_that_are_no_batches() -> None:
    with pytest.raises(ValueError, match="updates=N"):
        PlainBatches(lambda epoch: [])
    for batch in ((1, 2), [object()], ()):
        with pytest.raises(TypeError, match="tensors are needed"):
            list(PlainBatches([batch]))
