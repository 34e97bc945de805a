"""The command that makes a record's run again, and what others need to have for it. No torch."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

from benchmarks.api import BUDGETED_KINDS, UsageError
from benchmarks.options import typed
from benchmarks.records.canonical import JsonView
from benchmarks.records.record import Provenance, Record
from benchmarks.records.spec import SELF, Spec, allowances, ruleset_of
from benchmarks.records.text import sanitize
from benchmarks.runs.plan import scale_budget
from benchmarks.runs.user_declarations import restored


def repeat_command(record: Record, leaders: Mapping[str, Record] | None = None, *, here: bool = False) -> str:
    """Return the command of ``command_words`` as it is typed.

    A run whose tier has other settings by now is that of its own commit, which comes first.
    """
    with restored(record):
        words = command_words(record, leaders, here=here)
        command = " ".join([_quoted(sanitize(word, 200)) for word in words])
        commit = record["provenance"].get("commit")
        if here or not commit or not has_former_settings(record["spec"]):
            return command
    return f"git switch --detach {shlex.quote(sanitize(commit, 40))} && {command}"


_quoted = lru_cache(maxsize=4096)(shlex.quote)
"""``shlex.quote`` of words of bounded length; most runs have the same."""


def command_words(
    record: Record, leaders: Mapping[str, Record] | None = None, *, here: bool = False
) -> list[str]:
    """Return the words of the command whose plan has a record's specification.

    Args:
        leaders: records by id, among which options of the run that this one follows are looked for.
        here: on this machine, whatever it is: without the record's profile.
    """
    with restored(record):
        return _words(record, leaders or {}, here)


def _words(record: Record, leaders: Mapping[str, Record], here: bool) -> list[str]:
    spec, origin = record["spec"], record["provenance"]
    words = ["supernet-bench", "run", spec["suite"], *_task(record), "--tier", spec["tier"]]
    words += ["--methods", method_word(spec, origin), "--seeds", f"{spec['seed']},"]
    own_profile = "profile" in record.get("declared", {})
    words += [] if here else ["--profile", f"./{spec['profile']}.toml" if own_profile else spec["profile"]]
    chain, leader = [spec], spec
    while (leads := leaders.get(str(leader["follows"]))) is not None:
        leader = leads["spec"]
        chain.append(leader)
    for link in chain:
        for name, value in sorted(link["options"].items()):
            words += ["--option", f"{link['method']}.{name}={typed(value)}"]
    former = not here and has_former_settings(spec)
    if (scale := _typed_scale(origin.get("command", ())) if former else _scale(spec)) != 1:
        words += ["--budget-scale", repr(scale) if scale % 1 else f"{scale:g}"]
    if (ruleset := ruleset_of(spec)) != SELF:
        words += ["--ruleset", ruleset]
    if (jobs := origin.get("jobs")) not in (None, 1):
        words += ["--jobs", str(jobs)]  # it decides the number of threads
    if _given(origin["data"]):
        words += ["--data-dir", "DIR"]
    if "start" in origin["data"]:
        untrained = origin["data"]["start"] == "nothing"
        words += ["--start-from", "nothing" if untrained else "DIR"]
    return words


def _task(record: Record) -> list[str]:
    """Return ``--task`` and what goes with it, for a task of the user's own with its kind of folder."""
    described = record.get("declared", {}).get("task")
    if not isinstance(described, Mapping):
        return ["--task", record["spec"]["task"]]
    if described.get("kind") == "file":
        return ["--task", str(described.get("word"))]
    words = ["--task", f"{described.get('kind')}:DIR"]
    options = described.get("options")
    for side in ("source", "target"):
        if isinstance(options, Mapping) and isinstance(options.get(side), str):
            words += [f"--{side}", options[side]]
    return words


def method_word(spec: Spec, origin: Provenance) -> str:
    """Return the value of ``--methods``: a name, or the file that has the class."""
    word = origin["method"].get("word") if isinstance(origin.get("method"), Mapping) else None
    return word if isinstance(word, str) and word else str(spec["method"])


def _given(data: Mapping[str, str]) -> bool:
    """Return whether a run read files that nobody can fetch, so that ``--data-dir`` has to name them."""
    from benchmarks.tasks.datasets import datasets

    folders = {name.partition("/")[0] for name in data if "/" in name}
    return any(dataset.url is None for name, dataset in datasets().items() if name in folders)


def has_former_settings(spec: Spec) -> bool:
    """Return whether the tier of a run has other settings here than it had; False if it is not known here."""
    return _is_former(spec["task"], spec["settings_sha256"], spec["tier"], spec["profile"])


@lru_cache(maxsize=4096)
def _is_former(task: str, settings: str, tier: str, profile: str) -> bool:
    from benchmarks.hardware import profiles
    from benchmarks.tasks import get_task

    try:
        return get_task(task).tier(tier, profiles.get(profile).device).sha256 != settings
    except UsageError:
        return False


def _typed_scale(command: Sequence[str]) -> float:
    """Return the value of ``--budget-scale`` in the words of a command; 1 without one."""
    for word, after in zip(command, [*command, ""][1:], strict=True):
        option, _, value = word.partition("=")
        if option == "--budget-scale":
            with suppress(ValueError):
                return float(value or after)
    return 1.0


def _scale(spec: Spec) -> float:
    """Return the share of the tier's allowance, in as few digits as give the specification's own.

    It is 1 where the tier is not known here.
    """
    own = tuple(spec["budget"].get(kind) for kind in BUDGETED_KINDS)
    about = spec["task"], spec["settings_sha256"], spec["tier"], spec["profile"]
    return _factor(*about, allowances(spec), own)


@lru_cache(maxsize=4096)
def _factor(
    task: str, settings: str, tier: str, profile: str, parts: int, own: tuple[float | None, ...]
) -> float:
    """Return ``_scale``; ``settings`` keeps tasks of one name and different settings apart in the cache."""
    from benchmarks.hardware import profiles
    from benchmarks.tasks import get_task

    try:
        device = profiles.get(profile).device
        due = get_task(task).tier(tier, device).budget
    except UsageError:
        return 1.0
    budget = dict(zip(BUDGETED_KINDS, own, strict=True))
    counted = [kind for kind in BUDGETED_KINDS if kind != "seconds"]
    # Seconds are exact, tokens hardly rounded; a tier may have had other seconds when the record was made.
    for kinds in (BUDGETED_KINDS, counted):
        for kind in ("seconds", "tokens"):
            ratio = (budget[kind] or 0) / (due[kind] * parts)
            for digits in range(1, 17):
                factor = float(f"{ratio:.{digits}g}")
                try:
                    scaled = scale_budget(due, factor * parts)
                except UsageError:
                    break
                if all(scaled[k] == budget[k] for k in kinds):
                    return factor
    ratio = (budget["tokens"] or 0) / (due["tokens"] * parts)
    return float(f"{ratio:.4g}") or 1.0


def obstacles(record: Record, known: set[str]) -> Iterator[str]:
    """Yield the reasons why others cannot run a record again: its code or its method is nowhere to be had.

    Args:
        known: digests of methods of published records.
    """
    origin, spec = record["provenance"], record["spec"]
    yield from ((f"provenance.{field}: {text}") for field, text in code_obstacles(origin))
    for number, part in enumerate(origin.get("resumed_from", ())):
        if part["dirty_sha256"]:
            yield f"provenance.resumed_from.{number}.dirty_sha256: begun with changes that were not committed"
    method = origin.get("method")
    if method is None:  # a record of before methods said where they are from
        if spec["method_sha256"] not in known and not _installed(spec["method"]):
            yield (
                f"provenance.method: none, and no installed method is '{sanitize(spec['method'], 60)}':"
                f" run it again with this version. {HOW_TO_PUBLISH}"
            )
    elif not isinstance(method, Mapping) or not is_obtainable(method, origin):
        word = sanitize(method.get("word") if isinstance(method, Mapping) else method, 80)
        yield f"provenance.method: {word} is in no package, commit or URL that is named. {HOW_TO_PUBLISH}"


HOW_TO_PUBLISH = (
    "Bring the method in a package, commit and push its file to a repository, or state in its class"
    ' url = "https://..." of its file; then run it again'
)


def code_obstacles(origin: JsonView) -> Iterator[tuple[str, str]]:
    """Yield ``(field, what is wrong)`` where nobody can get the code that made something."""
    package = origin.get("package")
    named = isinstance(package, Mapping) and all(
        isinstance(package.get(key), str) and package[key] for key in ("name", "version")
    )
    if not origin.get("commit") and not named:
        yield (
            "commit",
            "none, and no package and version; others must be able to get the code that made it: run it in a"
            " clone, or from an installed release",
        )
    if origin.get("dirty_sha256"):
        yield "dirty_sha256", "made with changes that were not committed or released: commit them, run again"


def is_obtainable(method: JsonView, origin: JsonView) -> bool:
    """Return whether provenance names a package and version, a commit, or an address of a method."""

    def text(key: str) -> bool:
        return isinstance(method.get(key), str) and bool(method[key])

    if text("package") and text("version"):
        return True
    if text("path") and origin.get("commit"):  # in the tree of the commit that made the record
        return True
    if text("repository") and text("commit"):
        return True
    return text("url") and re.fullmatch(r"https?://[^\s/]+/\S+", method["url"]) is not None


def _installed(name: str) -> bool:
    from benchmarks import registry

    try:
        registry.find(name)
    except UsageError:
        return False
    return True
