"""Checks that a task keeps its contract: settings, data, batches, evaluation and score of small networks.

They run in this process, on the processor, with untrained networks of the smallest architecture.
"""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from benchmarks.api import BUDGETED_KINDS, UsageError
from benchmarks.conformance.checks import FAILED, OK, OPEN, Check
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.records.text import sanitize
from benchmarks.stats import quantities
from benchmarks.stats.quantities import Quantity
from benchmarks.stats.task_units import TaskUnits
from benchmarks.tasks import DEVICES, Prepared, Stream, Task, TierSettings, prepare, units_of

if TYPE_CHECKING:
    from torch import nn

    from supernet.model_family import ModelFamily
    from supernet.train import Batch

T = TypeVar("T")

MENDED = "Mend what it names."
"""Fix of a fault that is the user's and not the task's."""
BATCHES = 3
"""Batches of a stream that are compared."""
SEED, OTHER_SEED = 1, 2


class FaultError(Exception):
    """Violation of the contract; the message is what was observed."""


class UnjudgedError(Exception):
    """Reason why a check cannot be made, such as an earlier fault."""


@dataclass
class TaskTrial:
    """A task under test with what its checks share.

    Attributes:
        home: folder for two caches, cleared first.
        data_dir: folder of real data, if the task needs some.
        say: shows one line to the user.
    """

    task: Task
    tier_name: str
    home: Path
    data_dir: Path | None
    say: Callable[[str], None]
    tier: TierSettings | None = None
    """Result of an earlier check, as the next three are; None if it has failed."""
    units: TaskUnits | None = None
    prepared: Prepared | None = None
    network: nn.Module | None = None

    def unsealed(self) -> Prepared:
        """Return the prepared data as a search gets them."""
        return replace(earlier(self.prepared, "prepared"), sealed=None)


def earlier(result: T | None, name: str) -> T:
    """Return the result of an earlier check.

    Raises:
        UnjudgedError: that check has failed.
    """
    if result is None:
        raise UnjudgedError(f"no {name}: see above")
    return result


def check_task(trial: TaskTrial) -> list[Check]:
    """Return the verdicts of all checks, in the order in which failures should be fixed."""
    shutil.rmtree(trial.home, ignore_errors=True)
    return [_run(trial, *row) for row in CHECKS]


def _run(trial: TaskTrial, name: str, check: Callable[[TaskTrial], str], reason: str, fix: str) -> Check:
    try:
        return Check(name, OK, check(trial))
    except UnjudgedError as error:
        return Check(name, OPEN, sanitize(error, 200))
    except UsageError as error:
        lines = "; ".join(str(error).splitlines())
        return Check(name, FAILED, sanitize(lines, 400), "A plan refuses the task with this message.", MENDED)
    except FaultError as error:
        return Check(name, FAILED, sanitize(error, 400), reason, fix)
    except Exception as error:  # a stranger's task may raise anything
        return Check(name, FAILED, sanitize(f"{type(error).__name__}: {error}", 400), reason, fix)


def check_settings(trial: TaskTrial) -> str:
    """Check that every tier can be read on every kind of device, alike each time, with proper allowances."""
    from benchmarks.lab.batches import recipe_of
    from benchmarks.measurement.workload import Workload
    from supernet.space import get_space

    task, seen = trial.task, set()
    if not task.tiers():
        raise FaultError("tiers() is empty")
    for name in task.tiers():
        for device in DEVICES:
            tier = task.tier(name, device)
            where = f"tier {name} on {device}"
            if task.tier(name, device).sha256 != tier.sha256:
                raise FaultError(f"{where}: two readings have two digests (sha256)")
            for kind in BUDGETED_KINDS:
                amount = tier.budget.get(kind, 0)
                if not (math.isfinite(amount) and amount > 0):
                    raise FaultError(f"{where}: its budget has {amount:g} {kind}")
            recipe_of(tier.recipe)
            Workload.of(tier.workload)
            get_space(tier.space)
            if not (getattr(tier, "limits", ()) or getattr(tier, "windows", ())):
                raise FaultError(f"{where}: neither limits nor windows")
        seen.add(task.tier(name, "cpu").sha256)
    if len(seen) < len(task.tiers()):
        raise FaultError("two tiers have one digest (sha256)")
    trial.tier = task.tier(trial.tier_name, "cpu")
    return f"{len(task.tiers())} tiers on {len(DEVICES)} kinds of device"


def check_units(trial: TaskTrial) -> str:
    """Check that the deciding metric has a quantity."""
    units = units_of(trial.task)
    trial.units = units
    return f"{', '.join(units.metrics)}; an item is one {units.item}"


def check_data(trial: TaskTrial) -> str:
    """Check that data are prepared alike twice, with the test split in a folder of its own."""
    tier = earlier(trial.tier, "tier")
    first, second = (
        prepare(trial.task, tier, trial.home / cache, trial.data_dir, trial.say) for cache in ("a", "b")
    )
    if dict(first.digests) != dict(second.digests) or not first.digests:
        raise FaultError("prepared twice, the digests of the data differ" if first.digests else "no digests")
    if first.sealed is None:
        raise FaultError("prepare() gives no sealed folder")
    opened, sealed = first.folder.resolve(), first.sealed.resolve()
    if sealed == opened or opened in sealed.parents or sealed in opened.parents:
        raise FaultError("the sealed folder is not apart from the folder of training and validation data")
    if not (opened.is_dir() and sealed.is_dir()):
        raise FaultError("a folder of prepared data does not exist")
    trial.prepared = first
    sizes = {split: len(getattr(trial.task, split)(trial.unsealed())) for split in ("training", "validation")}
    if not all(sizes.values()):
        raise FaultError(f"empty splits: {sizes}")
    return ", ".join(f"{split} {size:,}" for split, size in sizes.items())


def check_networks(trial: TaskTrial) -> str:
    """Check that the family builds the smallest and the largest network of its space."""
    import torch

    family = trial.task.family(earlier(trial.tier, "tier"), trial.unsealed())
    counts = []
    for arch in (family.space.smallest(), family.space.largest()):
        torch.manual_seed(SEED)
        network = family.build(arch)
        counts.append(sum(parameter.numel() for parameter in network.parameters()))
        trial.network = trial.network or network
    if counts[0] > counts[1]:
        raise FaultError(f"the smallest network has {counts[0]:,} parameters, the largest {counts[1]:,}")
    return f"{counts[0]:,} to {counts[1]:,} parameters"


def check_batches(trial: TaskTrial) -> str:
    """Check that the order of training batches is fixed by the seed, and goes on from a saved state."""
    task, tier = trial.task, earlier(trial.tier, "tier")
    training = task.training(trial.unsealed())
    size = int(tier.recipe["batch_tokens"])

    def first(stream: Iterable[object], count: int = BATCHES) -> list[str]:
        return [_digest(batch) for batch in islice(iter(stream), count)]

    def stream(seed: int) -> Stream:
        return task.batches(training, size, seed, "cpu")

    expected = first(stream(SEED))
    if first(stream(SEED)) != expected:
        raise FaultError("two streams of one seed give other batches")
    if first(stream(OTHER_SEED)) == expected:
        raise FaultError("streams of two seeds give the same batches")
    begun, resumed = stream(SEED), stream(SEED)
    first(begun, 1)
    resumed.restore(begun.state())
    if first(resumed, BATCHES - 1) != expected[1:]:
        raise FaultError("a stream restored after its first batch does not go on with the second")
    return f"{BATCHES} batches of at most {size:,} tokens"


def _digest(batch: object) -> str:
    """Return a text that is equal for equal batches."""
    import torch

    names = vars(batch) if hasattr(batch, "__dict__") else getattr(batch, "__slots__", ())
    parts = {name: getattr(batch, name) for name in names}
    tensors = {name: value for name, value in parts.items() if isinstance(value, torch.Tensor)}
    return repr({name: (value.shape, value.flatten().tolist()) for name, value in sorted(tensors.items())})


def check_evaluation(trial: TaskTrial) -> str:
    """Check that a network gets one finite loss each time, and is not changed by it."""
    task, network = trial.task, earlier(trial.network, "network")
    if not hasattr(task, "validation_batches"):
        raise FaultError("it lacks validation_batches(split, device, share)")
    before = copy.deepcopy(network.state_dict())
    network.train()
    valid = task.validation(trial.unsealed())
    losses = [task.evaluate(network, valid, "cpu", "fp32").loss for _ in range(2)]
    if not math.isfinite(losses[0]) or losses[0] != losses[1]:
        raise FaultError(f"one network has the losses {losses[0]:.9g} and {losses[1]:.9g}")
    after = network.state_dict()
    if any(not before[name].equal(after[name]) for name in before):
        raise FaultError("evaluate() changes the network's weights or buffers")
    every, part = (list(task.validation_batches(valid, "cpu", share)) for share in (1.0, 0.1))
    if not 1 <= len(part) <= len(every):
        raise FaultError(f"a tenth of the validation data is {len(part)} of {len(every)} batches")
    return f"loss {losses[0]:.4g} twice; {len(every)} batches, a tenth is {len(part)}"


def check_training(trial: TaskTrial) -> str:
    """Check that one update with a batch has a finite gradient."""
    import torch

    from benchmarks.lab.batches import recipe_of
    from supernet.elastic import SuperNet
    from supernet.train import SinglePath, Trainer
    from supernet.weights import SharedSlices

    task, tier = trial.task, earlier(trial.tier, "tier")
    family = cast("ModelFamily", task.family(tier, trial.unsealed()))
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(SEED), "cpu"))
    stream = task.batches(task.training(trial.unsealed()), int(tier.recipe["batch_tokens"]), SEED, "cpu")
    Trainer(net, recipe_of(tier.recipe), SinglePath(), SEED).fit(_Few(stream, BATCHES))
    if not bool(torch.isfinite(net.source.flat).all()):
        raise FaultError(f"after {BATCHES} updates weights are not finite")
    return f"{BATCHES} updates"


class _Few:
    """The first batches of a stream, as the trainer takes them."""

    def __init__(self, stream: Stream, count: int) -> None:
        self._stream, self._count = stream, count
        self.total, self.spent = float(count), 0.0

    def __iter__(self) -> Iterator[Batch]:
        for batch in islice(iter(self._stream), self._count):
            self.spent += 1
            yield batch

    def state(self) -> JsonObject:
        state: JsonObject = self._stream.state()
        return state

    def restore(self, state: object) -> None:
        self._stream.restore(state)


def check_sealing(trial: TaskTrial) -> str:
    """Check that a process without the test split cannot score."""
    try:
        _score(trial, trial.unsealed())
    except UnjudgedError:
        raise
    except Exception as error:
        return f"refused: {sanitize(error, 80)}"
    raise FaultError("score() gives figures without the sealed folder")


def check_score(trial: TaskTrial) -> str:
    """Check that a score repeats, and has the declared metrics with intervals, in their range."""
    first, second = (_score(trial, earlier(trial.prepared, "prepared")) for _ in range(2))
    if first["test"] != second["test"] or first.get("test_loss") != second.get("test_loss"):
        raise FaultError("one network scored twice has two scores")
    units = earlier(trial.units, "units")
    for name, metrics in first["test"].items():
        if units.metric not in metrics:
            raise FaultError(f"test set {name} has no '{units.metric}'")
        for metric, figure in metrics.items():
            quantity: Quantity | None = units.metrics.get(metric, quantities.METRICS.get(metric))
            if quantity is None:
                raise FaultError(f"metric '{metric}' of {name} is not in units")
            if problem := quantity.trespass(figure["value"]):
                raise FaultError(f"{name}.{metric}: {problem}")
            if not figure["low"] <= figure["value"] <= figure["high"]:
                raise FaultError(f"{name}.{metric}: {figure['value']:g} is outside its own interval")
            if "version:" not in str(figure.get("signature")):
                raise FaultError(
                    f"{name}.{metric}: its signature names no version, such as acc|n:9|version:1"
                )
    return ", ".join(f"{name}: {m[units.metric]['value']:.3g}" for name, m in first["test"].items())


def _score(trial: TaskTrial, prepared: Prepared) -> JsonView:
    tier, network = earlier(trial.tier, "tier"), earlier(trial.network, "network")
    return trial.task.score(network, prepared, tier, "cpu", "fp32")


CHECKS: tuple[tuple[str, Callable[[TaskTrial], str], str, str], ...] = (
    (
        "settings", check_settings,
        "A run is compared with those of equal settings, which their digest stands for.",
        "Read tiers from constants: TOML, and benchmarks.tasks.base.TieredTask.",
    ),
    (
        "units", check_units,
        "Tables take names, ranges and directions from the task.",
        "Declare units, a benchmarks.stats.task_units.TaskUnits, with the deciding metric first.",
    ),
    (
        "data", check_data,
        "Runs are compared where digests of their data are equal; the test split is sealed off.",
        "Fix every draw by a seed; write the test split to a folder of its own.",
    ),
    (
        "networks", check_networks,
        "A search draws from the whole space.",
        "Return a family of supernet whose sizes fit the data: vocabulary, classes, positions.",
    ),
    (
        "batches", check_batches,
        "A resumed run must see the batches that an uninterrupted one does.",
        "Let batch i depend on the seed and i alone, with state() and restore().",
    ),
    (
        "evaluation", check_evaluation,
        "Methods decide by the validation loss, and a resumed one must decide alike.",
        "Switch to eval() and no_grad(), restore the mode, and evaluate in one fixed order.",
    ),
    (
        "training", check_training,
        "Every method trains through the trainer of supernet.",
        "Give batches the interface of supernet.train.Batch.",
    ),
    (
        "sealing", check_sealing,
        "A search that could score would choose by the test split.",
        "Read test data from prepared.sealed alone; raise ValueError if it is None.",
    ),
    (
        "score", check_score,
        "A figure without its interval and recipe cannot be compared.",
        "Return value, low, high and signature of every metric; see benchmarks.tasks.mt.",
    ),
)  # fmt: skip
"""Name, function, reason and fix of every check."""
