"""Options that know their unit, range and reason: one home for what the code, its checks and `--help` say of each.

The options of a stage are a frozen dataclass of `option(...)` fields, derived from `Options`. They are checked whenever
one is made: types, ranges, choices, and what concerns several of them. What is wrong is a UsageError of one line.
"""

import dataclasses
import difflib
import json
import numbers
import re
import reprlib
import textwrap
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from cantowhisper.contracts import UsageError

WIDTH = 100  # characters of a line of help
LARGEST = 2**53  # whole numbers up to this are floats too; infinity is beyond it


@dataclass(frozen=True)
class Rule:
    """What is known of one option besides its name, its type and its default."""

    reason: str
    unit: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    even: bool = False
    choices: Sequence = ()
    form: str = ""  # a regular expression that text matches as a whole
    group: str = ""  # heading in the help, for this option and those after it

    def range(self) -> str:
        """The range in words, such as "at least 1", "from 0 to 1", "above 0 and at most 30"; "" for none."""
        if self.least is not None and self.most is not None:
            return f"from {_figure(self.least)} to {_figure(self.most)}"
        ends = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return " and ".join(f"{words} {_figure(end)}" for words, end in ends.items() if end is not None)

    def holds(self, number: float) -> bool:
        """Whether a number is in range; NaN never is."""
        return (
            (self.least is None or number >= self.least)
            and (self.above is None or number > self.above)
            and (self.most is None or number <= self.most)
            and (self.below is None or number < self.below)
            and not (self.even and number % 2)
        )


def option(default: Any, reason: str, **rule) -> Any:
    """A dataclass field with a Rule: `batch_size: int = option(16, "clips in a step", unit="clips", least=1)`."""
    return dataclasses.field(default=default, metadata={"rule": Rule(reason, **rule)})


class Options:
    """Base of the frozen dataclasses that hold a stage's options.

    Subclasses set `stage`, the name that messages use, and may override `check`.
    """

    stage: typing.ClassVar[str] = "this stage"

    def __post_init__(self):
        for field in _fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))
        self.check()

    def check(self) -> None:
        """Refuse values that are right one by one and wrong together (UsageError)."""

    def with_overrides(self, **changes) -> Self:
        """A copy with some options changed; names that do not exist are refused."""
        for name in changes:
            type(self).field(name)
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """The defaults with some options changed."""
        return cls().with_overrides(**settings)

    @classmethod
    def field(cls, name: str) -> dataclasses.Field:
        """The dataclass field of an option, or a UsageError that names the options that exist."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if name in fields:
            return fields[name]
        near = difflib.get_close_matches(name, fields, n=2)
        there = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(fields)}"
        raise UsageError(f"{cls.stage} has no option {_shown(name)}; {there}")

    @classmethod
    def read(cls, pairs: Iterable[str]) -> dict[str, Any]:
        """`name=value` as written on a command line: JSON's numbers, true, false and null, or plain text.

        Options that are text take it as it stands: `salt=123` is no number.
        """
        settings = {}
        for pair in pairs:
            name, equals, text = pair.partition("=")
            if not equals:
                raise UsageError(f"--set takes key=value, not {_shown(pair)}")
            settings[name] = _read(cls.field(name), text)
        return settings

    @classmethod
    def help(cls, presets: Mapping[str, Self] | None = None) -> str:
        """Every option with its default, unit, range and reason, and its value in presets that change it."""
        lines = []
        for field in _fields(cls):
            rule = field.metadata["rule"]
            if rule.group:
                lines += ["", f"{rule.group}:"]
            facts = [describe(field)]
            facts += [
                f"{name} {_written(value)}"
                for name, preset in (presets or {}).items()
                if (value := getattr(preset, field.name)) != field.default
            ]
            lines.append(f"  {field.name}={_written(field.default)}  {'; '.join(facts)}")
            lines += textwrap.wrap(
                rule.reason, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False
            )
        return "\n".join(lines).strip("\n")


def describe(field: dataclasses.Field) -> str:
    """What an option takes, in words: "a number (seconds, above 0 and at most 30) or null"."""
    rule, (kind, optional) = field.metadata["rule"], _kind(field)
    if rule.choices:
        *most, last = map(str, rule.choices)
        words = f"{', '.join(most)} or {last}" if most else last
    else:
        words = {bool: "true or false", str: "text", float: "a number", int: "a whole number"}[kind]
        limits = ", ".join(filter(None, [rule.unit, rule.range()]))
        words = ("an even number" if rule.even else words) + (f" ({limits})" if limits else "")
    return words + (" or null" if optional else "")


def _fields(options: Options | type[Options]) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(options) if "rule" in field.metadata]  # type: ignore[arg-type]


def _kind(field: dataclasses.Field) -> tuple[type, bool]:
    """(type of the value, whether it may be None)."""
    kinds = typing.get_args(field.type) or (field.type,)
    return next(kind for kind in kinds if kind is not type(None)), type(None) in kinds


def _checked(field: dataclasses.Field, value: Any) -> Any:
    """The value in the option's own type, or a UsageError that says what the option takes."""
    rule, (kind, optional) = field.metadata["rule"], _kind(field)
    if value is None and optional:
        return None
    converted = _converted(value, kind)
    if converted is None or (rule.choices and converted not in rule.choices) or not _fits(converted, field):
        raise UsageError(f"{field.name} takes {describe(field)}; not {_shown(value)}")
    return converted


def _converted(value: Any, kind: type) -> Any:
    """A value as `kind`, None where it is of another: no number is text, no truth is a number, no fraction is whole."""
    if kind is bool or kind is str or isinstance(value, bool):
        return value if isinstance(value, kind) and isinstance(value, bool) == (kind is bool) else None
    if not isinstance(value, numbers.Real if kind is float else numbers.Integral):
        return None
    try:
        return kind(value)
    except OverflowError:  # a whole number beyond all floats
        return None


def _fits(value: Any, field: dataclasses.Field) -> bool:
    rule = field.metadata["rule"]
    if isinstance(value, str):  # empty only where that is the default
        return bool(re.fullmatch(rule.form or ".+", value)) if value.strip() else value == field.default
    return isinstance(value, bool) or (abs(value) <= LARGEST and rule.holds(value))


def _read(field: dataclasses.Field, text: str) -> Any:
    kind, optional = _kind(field)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if kind is not str or isinstance(value, str) or (value is None and optional) else text


def _written(value: Any) -> str:
    """A value as `--set` reads it."""
    return value if isinstance(value, str) and value else json.dumps(value)


def _figure(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def _shown(value: Any) -> str:
    return reprlib.repr(value)
