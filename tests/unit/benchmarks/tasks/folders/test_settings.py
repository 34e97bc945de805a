"""Settings of a user's tiers: keys and types of values at every depth."""

from __future__ import annotations

import dataclasses
import inspect
import tomllib

import pytest

from benchmarks.api import UsageError
from benchmarks.measurement.counted import Prices
from benchmarks.measurement.workload import Workload
from benchmarks.tasks import finetuning
from benchmarks.tasks.folders import settings
from benchmarks.tasks.folders.settings import EXAMPLES, IMAGES, KINDS, MLM, MODELS, TEXT
from supernet.bert import BertConfig
from supernet.decode import translate
from supernet.resnet import ResNetConfig
from supernet.seq2seq import Seq2SeqConfig
from supernet.train.recipe import Recipe
from supernet.vit import ViTConfig


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (TEXT, "budget.cpu.tokns = 1e6", r"small\.budget\.cpu: no setting 'tokns'\. Did you mean 'tokens'\?"),
        (
            TEXT,
            'budget.cpu.tokens = "1e6"',
            r'small\.budget\.cpu\.tokens = "1e6": a number is needed',
        ),
        (TEXT, "budget.cuda.probes = true", r"small\.budget\.cuda\.probes = true: a number is needed"),
        (TEXT, "budget.tokens = 1e6", r"small\.budget: no setting 'tokens'\. Did you mean 'cpu\.tokens'\?"),
        (TEXT, "budget.cpu.probes = 9\nbudget.tokens = 1e6", r"small\.budget: no setting 'tokens'\. Did you"),
        (TEXT, "budget.gpu.tokens = 1e6", r"small\.budget: no setting 'gpu'"),
        (TEXT, "budget.cpu = 1e6", r"small\.budget\.cpu = 1000000\.0: a table is needed"),
        (TEXT, "budget = 1e6", r"small\.budget = 1000000\.0: a table is needed"),
        (TEXT, "data.max_token = 9", r"small\.data: no setting 'max_token'\. Did you mean 'max_tokens'\?"),
        (MLM, "data.lenght = 9", r"small\.data: no setting 'lenght'\. Did you mean 'length'\?"),
        (IMAGES, "data.flip = 1", r"small\.data\.flip = 1: true or false is needed"),
        (TEXT, "data.valid = 'all'", r'small\.data\.valid = "all": a number is needed'),
        (TEXT, "data.seed = '3'", r"small\.data: seed = '3': a whole number is needed"),
        (MLM, "data.seed = -3", r"small\.data: seed = -3: 0 or more is needed"),
        (TEXT, "model.dropuot = 0.1", r"small\.model: no setting 'dropuot'\. Did you mean 'dropout'\?"),
        (
            TEXT,
            "model.max_positions.gpu = 9",
            r'max_positions = \{"gpu": 9\}: a number is needed',
        ),
        (
            TEXT,
            "recipe.precision.gpu = 'fp32'",
            r"small\.recipe\.precision: no setting 'gpu'\. Did you mean",
        ),
        (TEXT, "model.dropout.cpu = 'low'", r'small\.model\.dropout\.cpu = "low": a number is needed'),
        (MLM, "model.share = 'all'", r"small\.model: no setting 'share'"),
        (IMAGES, "model.image = 'big'", r'small\.model\.image = "big": a number is needed'),
        (TEXT, "workload.beem = 4", r"small\.workload: no setting 'beem'\. Did you mean 'beam'\?"),
        (TEXT, "workload.runtime = 4", r"small\.workload\.runtime = 4: a text is needed"),
        (TEXT, "decode.lenpn = 1.0", r"small\.decode: no setting 'lenpn'\. Did you mean 'lenpen'\?"),
        (TEXT, "decode.beam = 'wide'", r'small\.decode\.beam = "wide": a number is needed'),
        (TEXT, "recipe.betas = ['a', 0.9]", r'small\.recipe\.betas = "a": a number is needed'),
        (TEXT, "recipe.average_span = 'all'", r'small\.recipe\.average_span = "all": a number is needed'),
        (
            MLM,
            "settings.teacher.widht = 64",
            r"small\.settings\.teacher: no setting 'widht'\. Did you mean",
        ),
        (MLM, "settings.teacher = 64", r"small\.settings\.teacher = 64: a table is needed"),
        (MLM, "settings.autodistil.one = 'a'", r'small\.settings\.autodistil\.one = "a": a list is needed'),
        (TEXT, "limits = 0.5", r"small\.limits = 0\.5: a list is needed"),
        (TEXT, "limits = ['half']", r'small\.limits = "half": a number is needed'),
        (TEXT, "windows = [1e6, 2e6]", r"small\.windows = 1000000\.0: a list is needed"),
        (TEXT, "throughput.cpu = 'fast'", r'small\.throughput\.cpu = "fast": a number is needed'),
        (
            TEXT,
            "counted.operator = 7",
            r"small\.counted: no setting 'operator'\. Did you mean",
        ),
        (
            TEXT,
            "counted.operators_us.conv1d = 'x'",
            r'small\.counted\.operators_us\.conv1d = "x": a number',
        ),
        (MLM, "finetune.epoch = 3", r"small\.finetune: no setting 'epoch'\. Did you mean 'epochs'\?"),
        (MLM, "finetune.tasks = [3]", r"small\.finetune\.tasks = 3: a text is needed"),
        (TEXT, "vocab = {}", r"small\.vocab = \{\}: a number is needed"),
        (TEXT, "cpu.vocab = 900", r"'task\.toml': small: no setting 'cpu'"),
    ],
)
def test_a_wrong_key_or_value_is_refused_at_any_depth(kind: str, text: str, message: str) -> None:
    for tier in ("small", "all"):
        table = tomllib.loads(f"[{tier}]\n{text}")
        with pytest.raises(UsageError, match=message.replace("small", tier)):
            settings.check(kind, table, "'task.toml'")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (TEXT, "budget.cpu.tokens = 1e6\nbudget.cuda = { tokens = 2e6, probes = 9 }"),
        (TEXT, "vocab = { cpu = 900, cuda = 4000 }"),
        (TEXT, "model.dropout = 0.1\nmodel.activation_dropout = { cpu = 0.1, cuda = 0.2 }"),
        (TEXT, "recipe.average_span = 0.5\nrecipe.precision = 'fp32'\nrecipe.betas = [0.9, 0.98]"),
        (TEXT, "workload.energy_seconds = 1\nworkload.runtime = { cpu = 'ort', cuda = 'torch' }"),
        (TEXT, "counted = { operator_us = 7, macs_per_us = 1500, operators_us = { conv1d = 190.0 } }"),
        (TEXT, "limits = []\nwindows = [[110e3, 140e3]]\nthroughput = 9000\ndecode.min_len = 2"),
        (MLM, "finetune = { tasks = ['cola'], epochs = { cola = 3 } }\nmodel.segments = 1"),
        (IMAGES, "data = { crop = 2, flip = false, valid = 9 }"),
        (TEXT, "data = { seed = 3, pretokenized = 'none' }"),
        (MLM, "data.splits.valid = 9"),
    ],
)
def test_settings_that_a_tier_may_have_are_allowed(kind: str, text: str) -> None:
    for tier in ("small", "all"):
        table = tomllib.loads(f"[{tier}]\n{text}")
        settings.check(kind, table, "'task.toml'")
        for device in ("cpu", "cuda"):
            settings.tier(kind, "t", "small", device, table, {})


def test_every_tier_of_ours_is_allowed_as_a_users() -> None:
    for kind in KINDS:
        for tier in settings.tiers_of(kind):
            settings.check(kind, {tier: settings._base(kind, tier)}, "'task.toml'")


def test_examples_have_every_field_that_a_tier_may_set() -> None:
    def fields(declared: type) -> set[str]:
        return {field.name for field in dataclasses.fields(declared)}  # type: ignore[arg-type]

    assert {*EXAMPLES["recipe"]} == fields(Recipe)
    assert {*EXAMPLES["workload"]} == fields(Workload) | {"energy_seconds"}
    assert {*EXAMPLES["counted"]} == fields(Prices)
    assert {*EXAMPLES["finetune"]} == fields(finetuning.Settings)
    assert {*EXAMPLES["decode"]} < {*inspect.signature(translate).parameters}
    assert {*MODELS[TEXT]} == fields(Seq2SeqConfig) - {"source_vocab", "target_vocab"}
    assert {*MODELS[MLM]} == fields(BertConfig) - {"vocab"}
    assert {*MODELS[IMAGES]} == fields(ViTConfig) - {"classes"} == fields(ResNetConfig) - {"classes"}
