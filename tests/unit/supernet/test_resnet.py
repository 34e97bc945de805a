"""Residual networks: counts that others published, features that others compute, statistics of one's own."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.lab.candidates import is_intact
from mos.mixture import Mixture
from supernet import export
from supernet.cost import cost, policy_units
from supernet.data.images import ImageBatches, Images
from supernet.elastic import FORWARD_COST, SuperNet
from supernet.families import family_of, image_family
from supernet.interop.huggingface.export import to_huggingface
from supernet.quantization.calibration import stored_ranges
from supernet.quantization.precisions import units
from supernet.resnet import ResNetConfig, ResNetFamily, norms
from supernet.space import get_space, resnet_space
from supernet.train import Recipe, Sandwich, SinglePath, Trainer
from supernet.weights import SharedSlices

SPACE = resnet_space("r", stages=(1, 1), deeper=1, widths=(32, 48), stem_width=16, stem_stride=1)
LARGE = resnet_space("l", stages=(1, 2), deeper=1, widths=(32, 48), stem_width=16)
seeds = st.integers(0, 2**32 - 1)


def family(space=SPACE, image: int = 8) -> ResNetFamily:
    return ResNetFamily(space, ResNetConfig(4, image=image))


def data(count: int = 48) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % 4, (127.0,) * 3, (74.0,) * 3, 5, crop=1)


class Few:
    """A stream of a few batches."""

    def __init__(self, count: int) -> None:
        self.source, self.total, self.spent = ImageBatches(data(), 40, seed=1), count, 0

    def __iter__(self):
        for batch in self.source:
            if self.spent == self.total:
                return
            self.spent += 1
            batch.prepaid = 3
            yield batch

    def state(self) -> dict:
        return {"source": self.source.state(), "spent": self.spent}

    def restore(self, state: dict) -> None:
        self.source.restore(state["source"])
        self.spent = state["spent"]


class Kept:
    """Keeps the state after some updates, as a run that is killed there."""

    def __init__(self, after: int, given: dict | None = None) -> None:
        self.left, self.kept, self.given = after, None, given

    def due(self) -> bool:
        self.left -= 1
        return self.left == 0

    def save(self, state: dict) -> None:
        if self.kept is None:
            self.kept = copied(state)

    def load(self) -> dict | None:
        return self.given


def copied(value):
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {k: copied(v) for k, v in value.items()}
    return type(value)(map(copied, value)) if isinstance(value, (list, tuple)) else value


def trained(fam: ResNetFamily, keeper: Kept | None = None, updates: int = 7) -> SuperNet:
    net = SuperNet(fam, SharedSlices(fam, torch.Generator().manual_seed(0)))
    sampling = SinglePath() if fam.single else Sandwich()
    recipe = Recipe(learning_rate=1e-3, label_smoothing=0.0)
    return Trainer(net, recipe, sampling, seed=5).fit(Few(updates), keeper)


def images() -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def net() -> SuperNet:
    return trained(family())


@settings(max_examples=20)
@given(seeds)
def test_built_exported_and_collapsed_networks_are_the_subnetwork(net: SuperNet, seed: int) -> None:
    fam = net.family
    arch = fam.space.sample(np.random.default_rng(seed))
    built = {name: tuple(p.shape) for name, p in fam.build(arch).named_parameters()}
    assert built == fam.collapsed(arch).extents(arch)
    with torch.no_grad():
        bound = net.activate(arch)(images()).clone()
        assert torch.allclose(net.export(arch)(images()), bound, atol=1e-5)
        alone = net.collapse(arch)
        alone.model.eval()
        assert torch.allclose(alone.activate(alone.space.largest())(images()), bound, atol=1e-5)


@settings(max_examples=20)
@given(st.sampled_from([(SPACE, 8), (LARGE, 32), (LARGE, 33)]), seeds)
def test_macs_equal_those_torch_counts_on_the_built_module(case: tuple, seed: int) -> None:
    fam = family(*case)
    arch = fam.space.sample(np.random.default_rng(seed))
    with torch.device("meta"):
        model, some = fam.build(arch), torch.zeros(1, 3, case[1], case[1])
    with FlopCounterMode(display=False) as counter:
        model(some)
    counted = cost(fam, arch, source_len=5, target_len=1)
    assert 2 * counted.macs == counter.get_total_flops()
    assert counted.params == sum(p.numel() for p in model.parameters())


def test_statistics_are_those_of_the_last_training_batches(net: SuperNet) -> None:
    arch = net.space.smallest()
    model = net.activate(arch)
    seen: list[torch.Tensor] = []
    first = model.stem["first"]
    hook = first.conv.register_forward_hook(lambda _m, _x, y: seen.append(y.detach()))
    with torch.no_grad():
        for inputs, _ in net.statistics_batches:
            model(*inputs)
    hook.remove()
    assert len(seen) == 4
    means = torch.stack([y.mean((0, 2, 3)) for y in seen]).mean(0)
    variances = torch.stack([y.var((0, 2, 3)) for y in seen]).mean(0)
    assert torch.allclose(first.norm.running_mean, means, atol=1e-5)
    assert torch.allclose(first.norm.running_var, variances, atol=1e-5)


def test_estimating_is_charged_as_forward_passes() -> None:
    fam = family()
    net = trained(fam)
    charged: list[float] = []
    net.meter = charged.append
    net.activate(fam.space.smallest())
    net.export(fam.space.largest())
    assert charged == [pytest.approx(4 * 40 * FORWARD_COST)] * 2
    net.model.train()
    net.activate(fam.space.smallest())
    assert len(charged) == 2, "in training every batch has its own"


def test_a_network_alone_keeps_running_averages_free_of_charge() -> None:
    fam = family()
    arch = fam.space.smallest()
    single = fam.restrict_to(arch)
    net = SuperNet(single, SharedSlices(single, torch.Generator().manual_seed(0)))
    charged: list[float] = []
    Trainer(net, Recipe(), SinglePath(), seed=5).fit(Few(20))
    net.meter = charged.append
    model = net.activate(single.space.largest())
    assert not charged and not net.statistics_batches
    assert all(norm.running_mean.abs().sum() > 0 for norm in norms(model))
    with torch.no_grad():
        assert torch.equal(net.export(arch)(images()), model(images()))


def test_an_untrained_network_exports_and_evaluates_alike() -> None:
    fam = family()
    net = SuperNet(fam, SharedSlices(fam, torch.Generator().manual_seed(0)))
    arch = fam.space.smallest()
    with torch.no_grad():
        assert torch.allclose(net.export(arch)(images()), net.activate(arch).eval()(images()), atol=1e-5)


@pytest.mark.parametrize("alone", [False, True])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(alone: bool) -> None:
    fam = family()
    fam = fam.restrict_to(fam.space.smallest()) if alone else fam
    keeper = Kept(after=4)
    whole = trained(fam, keeper)
    again = trained(fam, Kept(after=99, given=keeper.kept))
    assert torch.equal(whole.source.flat, again.source.flat)
    arch = fam.space.smallest()
    with torch.no_grad():
        assert torch.equal(whole.export(arch)(images()), again.export(arch)(images()))


def test_an_export_survives_the_disk_with_its_statistics(net: SuperNet, tmp_path) -> None:
    arch = net.space.smallest()
    module = net.export(arch)
    export.save(tmp_path, module, net.family.spec(), arch)
    read, about = export.load(tmp_path)
    assert torch.equal(read(images()), module(images()))
    again = export.network(read, about)
    again.model.eval()
    assert torch.equal(again.activate(again.space.largest())(images()), module(images()))


def test_an_export_survives_the_disk_with_its_ranges(net: SuperNet, tmp_path) -> None:
    arch, charged = net.space.smallest(), []
    plain, module = net.export(arch), net.export(arch)
    net.meter = charged.append
    net.calibrate(module)
    assert charged == [net.calibration_cost] == [net.statistics_cost] and charged[0] > 0
    digests = [
        export.save(tmp_path / name, m, net.family.spec(), arch) for name, m in (("a", plain), ("b", module))
    ]
    assert digests[0] != digests[1]  # ranges are what is deployed, too
    read, _ = export.load(tmp_path / "b")
    assert stored_ranges(read) == stored_ranges(module) and set(stored_ranges(read)) == set(units(module))
    assert not stored_ranges(export.load(tmp_path / "a")[0])
    assert torch.equal(read(images()), module(images()))
    for other in (copy.deepcopy(read), read):  # what other formats and further training take has none
        assert not stored_ranges(export.network(other, export.load(tmp_path / "b")[1]).model)
    assert to_huggingface(read, export.load(tmp_path / "b")[1]).eval() is not None


GOOD = [-1.0, 1.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("head", [0.0, 1.0], "four numbers in float32"),
        ("head", torch.tensor(GOOD, dtype=torch.float64), "four numbers in float32"),
        ("head", [math.nan] * 4, "no two ranges of finite numbers"),
        ("head", [1.0, -1.0, 0.0, 2.0], "no two ranges of finite numbers"),
        ("head", [-1.0, 1.0, 0.0, math.inf], "no two ranges of finite numbers"),
        ("head", [-3e38, 3e38, 0.0, 2.0], "no two ranges of finite numbers"),
        ("nosuch", GOOD, "no such layer"),
        ("head.weight", GOOD, "no such layer"),
        ("blocks", GOOD, "no such layer"),
        ("", GOOD, "no such layer"),
        ("head", None, "'head' is in int8s and has no activation range"),
    ],
)
def test_ranges_that_no_calibration_makes_are_a_corrupt_export(
    net: SuperNet, tmp_path, name: str, values, why: str
) -> None:
    arch, module = net.space.smallest(), net.export(net.space.smallest())
    export.save(tmp_path, module, net.family.spec(), arch, {"head": "int8s"})
    weights = load_file(tmp_path / "model.safetensors") | {"head.activation_range": torch.tensor(GOOD)}
    weights.pop("head.activation_range") if values is None else None
    if values is not None:
        key = f"{name}.activation_range".lstrip(".") if name else "activation_range"
        weights[key] = values if isinstance(values, torch.Tensor) else torch.tensor(values)
    save_file(weights, tmp_path / "model.safetensors")
    about = json.loads((tmp_path / "architecture.json").read_text())
    about["weights_sha256"] = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    (tmp_path / "architecture.json").write_text(json.dumps(about))
    with pytest.raises(export.CorruptExportError, match=re.escape(why)):
        export.load(tmp_path)
    (tmp_path / "architecture.json").write_text(json.dumps(about | {"policy": ["head"]}))
    with pytest.raises(export.CorruptExportError):
        export.load(tmp_path)
    assert not is_intact(tmp_path, about["weights_sha256"])


def test_calibration_needs_batches(net: SuperNet) -> None:
    bare = SuperNet(net.family, net.source)
    with pytest.raises(ValueError, match="keeps none: call net.keep_batches"):
        bare.calibrate(bare.export(net.space.smallest()))


def test_a_mixture_of_one_expert_is_plain_sharing(net: SuperNet) -> None:
    fam = net.family
    mixed = SuperNet(fam, Mixture(fam, torch.Generator().manual_seed(0), experts=1))
    plain = SharedSlices(fam, torch.Generator().manual_seed(0))
    plain.load(mixed.source.bake(fam.space.largest()))
    alone = SuperNet(fam, plain)
    for one in (mixed, alone):
        one.model.eval()
    with torch.no_grad():
        for seed in range(4):
            arch = fam.space.sample(np.random.default_rng(seed))
            assert torch.allclose(mixed.activate(arch)(images()), alone.activate(arch)(images()), atol=1e-5)


# The published network


def resnet50() -> tuple[ResNetFamily, object]:
    """ResNet-50's blocks, 3, 4, 6 and 3, of a quarter's inner width, with the stem's middle convolution."""
    fam = family_of(get_space("simq-resnet50"), [1000])
    values = fam.space.largest().to_dict()
    for i, count in enumerate((3, 4, 6, 3)):
        values |= {f"layers_{i}": count, f"expand_{i}": [25] * count}
    return fam, fam.space.architecture(values)


def test_resnet_50_is_torchvisions_but_for_its_stem() -> None:
    # torchvision's table: 25,557,032 parameters; 4.089 G multiply-adds. Its stem is one 7x7 convolution with
    # a norm over 64 channels, at 112 pixels; ours are three 3x3 ones over 32, 32 and 64 channels.
    fam, arch = resnet50()
    found = cost(fam, arch, source_len=1, target_len=1)
    theirs, ours = 49 * 3 * 64, 9 * (3 * 32 + 32 * 32 + 32 * 64)
    assert found.params == 25_557_032 - theirs - 2 * 64 + ours + 2 * (32 + 32 + 64)
    assert found.macs == 4_089_184_256 + 112**2 * (ours - theirs)


def test_features_are_those_of_transformers_resnet_d_with_the_same_weights() -> None:
    transformers = pytest.importorskip("transformers")
    space = resnet_space(
        "d", stages=(2, 2), deeper=0, widths=(32, 64), stem_width=16, expand=(25,), width=(100,)
    )
    fam = ResNetFamily(space, ResNetConfig(4, image=32))
    config = transformers.RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[32, 64], depths=[2, 2], out_features=["stage2"]
    )
    theirs = transformers.RTDetrResNetBackbone(config).eval()
    ours = fam.build(space.largest())
    with torch.no_grad():
        for one in ours.parameters():
            one.normal_(std=0.2, generator=torch.Generator().manual_seed(one.numel()))
        for norm in norms(ours):
            norm.running_mean.normal_(generator=torch.Generator().manual_seed(3))
            norm.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(4))
        mine = [m for name in ours.active for m in layers(ours.blocks[name])]
        yours = [m for m in theirs.encoder.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
        assert len(mine) == len(yours)
        for a, b in zip(mine, yours, strict=True):
            b.load_state_dict(a.state_dict(), strict=False)
        x = torch.rand(2, 16, 9, 9, generator=torch.Generator().manual_seed(5))
        expected = theirs.encoder(x).last_hidden_state
        for name in ours.active:
            x = ours.blocks[name](x)
        assert torch.allclose(x, expected, rtol=1e-4, atol=1e-4)


def layers(block: nn.Module) -> list[nn.Module]:
    """Convolutions and norms in the order in which transformers has them: the shortcut first."""
    parts = [block.shortcut] if block.shortcut is not None else []
    return [m for part in [*parts, block.reduce, block.spatial, block.expand] for m in (part.conv, part.norm)]


def test_size_and_policy_units_of_the_papers_space() -> None:
    fam = family_of(get_space("simq-resnet50"), [1000])
    allowed = fam.space.allowed
    assert len(allowed) == 29
    # Published: 61 convolutions, each of two precisions in two modes; three values where the stem has two
    # meanings (its middle convolution is there, or not).
    size = math.log10(math.prod(map(len, allowed))) + 61 * math.log10(4)
    assert round(size + math.log10(3 / 2), 1) == 50.6
    units = list(policy_units(fam, fam.space.largest()))
    assert len(units) == 61 + 1 and units[-1] == "head", "the published code leaves the classifier in fp32"


def test_values_that_build_the_same_network_are_those_of_the_published_rounding() -> None:
    fam = family_of(get_space("simq-resnet50"), [1000])
    genes = fam.space.largest().genes
    alike = []
    for i, options in enumerate(fam.space.allowed):
        found = {
            tuple(fam.extents(fam.space.from_genes([*genes[:i], value, *genes[i + 1 :]])).items())
            for value in options
        }
        assert len(found) > 1, f"gene {i} is dead"
        alike += [i] if len(found) < len(options) else []
    # Half of 40 and of 48 channels both round to 24: the stem's first width has two values for one network.
    assert alike == [1]


def test_images_of_a_space_with_stages_are_a_resnets() -> None:
    assert isinstance(image_family(get_space("resnet-smoke"), 10, image=8, channels=1), ResNetFamily)
