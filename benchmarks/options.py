"""Options of methods: checked against their declaration, and as a method receives them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.api import Option, OptionValue, OptionValues, UsageError

WORDS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
IGNORED = "options it never asked for"
"""Words of a run's message for options that were given and never read."""
LISTED = "see them all: supernet-bench list methods"


def parse(words: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return ``hat.after=continue`` as ``{"hat": {"after": "continue"}}``; values stay texts.

    Raises:
        UsageError: a word of another form, or one option with two values.
    """
    given: dict[str, dict[str, str]] = {}
    for word in words:
        where, equals, text = word.partition("=")
        method, dot, name = where.partition(".")
        if not (equals and dot and method and name):
            raise UsageError(
                f"--option '{word}': write METHOD.NAME=VALUE, such as --option mos-neuron.experts=4\n{LISTED}"
            )
        before = given.setdefault(method, {}).setdefault(name, text)
        if before != text:
            raise UsageError(f"--option {where} has two values, '{before}' and '{text}': give one")
    return given


def checked(
    method: str, declared: Sequence[Option], given: OptionValues, where: str = ""
) -> dict[str, OptionValue]:
    """Return the given options of one method, typed, without those that stand at their default.

    Args:
        method: its name, for the message.
        given: texts of the command line, or typed values.
        where: what stands before an option in the message; as on the command line by default.

    Raises:
        UsageError: an option that is not declared, a value that is not allowed, or one without effect.
    """
    where = where or f"--option {method}."
    known = {option.name: option for option in declared}
    own: dict[str, OptionValue] = {}
    for name, value in given.items():
        if name not in known:
            raise UsageError(_undeclared(method, name, value, known, where))
        own[name] = _typed(known[name], value, where)
    complete = {name: own.get(name, option.default) for name, option in known.items()}
    kept = {name: value for name, value in own.items() if value != known[name].default}
    for name in kept:
        idle = known[name].idle
        if idle is not None and complete[idle[0]] == idle[1]:
            raise UsageError(
                f"{where}{name}={typed(kept[name])} changes nothing where"
                f" {idle[0]} is {typed(idle[1])}: leave one of the two out"
            )
    return kept


def completed(declared: Sequence[Option], given: OptionValues) -> dict[str, OptionValue]:
    """Return every declared option with the value of ``given``, else its default.

    Raises:
        UsageError: ``given`` has an option that is not declared, or a value that is not allowed.
    """
    known = {option.name: option for option in declared}
    strange = sorted(set(given) - set(known))
    if strange:
        raise UsageError(f"option '{strange[0]}' is not declared; declared: {' '.join(known) or 'none'}")
    try:
        own = {name: known[name].check(value) for name, value in given.items() if value is not None}
    except ValueError as error:
        raise UsageError(f"option {error}") from None
    return {name: option.default for name, option in known.items()} | own


def _typed(option: Option, value: object, where: str) -> OptionValue:
    """Return a value in the type of an option, from its text where it is one."""
    own = value
    if isinstance(value, str) and option.kind is not str:
        text = value.strip()
        if option.kind is bool:
            own = WORDS.get(text.lower(), value)
        elif option.kind is int and re.fullmatch(r"[+-]?\d{1,18}", text):
            own = int(text)
        elif option.kind is float:
            try:
                own = float(text)
            except ValueError:
                own = value
    try:
        return option.check(own)
    except ValueError:
        near = difflib.get_close_matches(str(value), [str(c) for c in option.choices], n=1, cutoff=0.5)
        guess = f" Did you mean '{near[0]}'?" if near else ""
        default = "computed" if option.default is None else typed(option.default)
        raise UsageError(
            f"{where}{option.name}={value}: '{value}' is not allowed.{guess}\n"
            f"allowed: {option.allowed} (default: {default}): {option.help}"
        ) from None


def _undeclared(method: str, name: str, value: object, known: Mapping[str, Option], where: str) -> str:
    """Return the message for an option that a method does not declare."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    guess = f" Did you mean '{near[0]}'?" if near else ""
    first = f"{where}{name}={value}: {method} declares no option '{name}'.{guess}"
    those = "; ".join(f"{option.name} ({option.allowed})" for option in known.values())
    return f"{first}\noptions of {method}: {those or 'none'}\n{LISTED}"


def typed(value: object) -> str:
    """Return a value as it is typed on the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class Options(OptionValues):
    """The complete options of a method; notes which were read, and refuses what is not declared.

    Args:
        declared: of the method.
        given: of the run; the others have their defaults.
    """

    def __init__(self, declared: Sequence[Option], given: OptionValues) -> None:
        self._values, self._given = completed(declared, given), set(given)
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> OptionValue:
        if key not in self._values:
            raise UsageError(
                f"lab.options[{key!r}]: the method declares no such option; declare it in the class body:"
                f' options = (Option("{key}", ...),)'
            )
        self.asked.add(key)
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        self.asked.update(self._values)
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def ignored(self) -> list[str]:
        """Given options that the method never read."""
        return sorted(self._given - self.asked)
