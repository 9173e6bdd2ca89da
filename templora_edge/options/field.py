"""Dataclass fields that are options: default, range, flag and help text."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass, replace
from enum import StrEnum
from itertools import chain
from numbers import Integral, Real
from pathlib import Path
from types import UnionType
from typing import Any, Self, Union, get_args, get_origin

from templora_edge.errors import OptionError


def option(
    *flags: str,
    default: Any = None,
    paper: Any = None,
    help: str = "",  # noqa: A002 # as typer calls it
    metavar: str | None = None,
    min: float | None = None,  # noqa: A002
    max: float | None = None,  # noqa: A002
    above: float | None = None,
    below: float | None = None,
    label: str = "",
    unit: str = "",
    also: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that is an option; with a default of None it is open.

    Args:
        flags: command-line flags, if any.
        default: default value; `MISSING` makes the field a required argument.
        paper: the paper's value, for an option that presets set.
        help: help text of the flags.
        metavar: placeholder of the value in the help.
        min, max: range, inclusive.
        above, below: range, exclusive.
        label: the option's name in messages; default: the name of the field.
        unit: unit of the value in messages.
        also: strings that are accepted in place of a value.
    """
    metadata = {
        "flags": flags, "help": help, "metavar": metavar, "min": min, "max": max, "above": above,
        "below": below, "label": label, "unit": unit, "paper": paper, "also": also,
    }  # fmt: skip
    return field(default=default, metadata=metadata)


def options_in(*sections: type) -> Iterator[Field[Any]]:
    """The fields of ``sections`` that have flags, then those of nested sections."""
    inner: list[type] = []
    for one in chain.from_iterable(map(fields, sections)):
        if one.metadata.get("flags"):
            yield one
        inner += [kind for kind in kinds_of(one) if is_dataclass(kind)]
    if inner:
        yield from options_in(*inner)


def kinds_of(one: Field[Any]) -> tuple[type, ...]:
    """The types that a field accepts, except None; for a tuple, the types of its elements."""
    kinds: list[type] = []
    for kind in _choices(one):
        kinds += get_args(kind) if get_origin(kind) is tuple else [kind]
    return tuple(kind for kind in kinds if isinstance(kind, type) and kind is not type(None))


def takes_several(one: Field[Any]) -> bool:
    """Whether a field is a tuple."""
    return any(get_origin(kind) is tuple for kind in _choices(one))


def _choices(one: Field[Any]) -> tuple[Any, ...]:
    """The members of a union, or the one type."""
    return get_args(one.type) if get_origin(one.type) in (Union, UnionType) else (one.type,)


def check(one: Field[Any], value: Any) -> None:
    """Check that a field accepts ``value``.

    Raises:
        OptionError: the value has another type, or is out of range.
    """
    _check_range(one, _converted(one, value))


def require(condition: bool, message: str) -> None:
    """Raise OptionError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise OptionError(message)


class Section:
    """Options that belong together.

    Building one converts every value to the type of its option, and checks its range. None stands
    for the default.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            value = _converted(one, getattr(self, one.name))
            object.__setattr__(self, one.name, value)
            _check_range(one, value)

    def changed(self, **values: Any) -> Self:
        """A copy with ``values``, by option name, set in this section or in nested ones.

        Strings are converted to enumerations and paths where the option needs them.

        Raises:
            OptionError: a value is out of its range.
            TypeError: no option has that name.
        """
        if unknown := values.keys() - self._known(values):
            raise TypeError(f"unknown option: {', '.join(sorted(unknown))}")
        changes: dict[str, Any] = {}
        for one in fields(self):  # type: ignore[arg-type]
            inner = getattr(self, one.name)
            if one.name in values and self._is_option(one):
                changes[one.name] = values[one.name]
            elif isinstance(inner, Section) and (known := inner._known(values)):
                changes[one.name] = inner.changed(**known)
        return replace(self, **changes)  # type: ignore[type-var]

    @classmethod
    def _is_option(cls, _: Field[Any]) -> bool:
        """Whether `changed` accepts the field's name; here also those of whole sections."""
        return True

    def _known(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The ``values`` that are options of this section or of nested ones."""
        found = {}
        for one in fields(self):  # type: ignore[arg-type]
            if one.name in values and self._is_option(one):
                found[one.name] = values[one.name]
            elif isinstance(inner := getattr(self, one.name), Section):
                found |= inner._known(values)
        return found


def _converted(one: Field[Any], value: Any) -> Any:
    """``value`` in the type of a field: strings as enumerations or paths, sequences as tuples."""
    if value is None and one.default_factory is not MISSING:
        return one.default_factory()
    if value is None and one.default is not MISSING:
        return one.default
    words = one.metadata.get("also", ())
    if value in words:
        return value
    kinds = kinds_of(one)
    if takes_several(one) and isinstance(value, list | tuple):
        return tuple(_converted_to(kinds, one.name, item) for item in value)
    return _converted_to(kinds, one.name, value, words)


def _converted_to(
    kinds: tuple[type, ...], name: str, value: Any, words: tuple[str, ...] = ()
) -> Any:
    """``value`` as one of ``kinds``; ``words`` were accepted too."""
    expected = " or ".join([*words, *(kind.__name__ for kind in kinds)])
    for kind in kinds:
        if isinstance(value, str) and issubclass(kind, StrEnum):
            expected = f"one of {', '.join(kind)}"
            if value in list(kind):
                return kind(value)
        elif isinstance(value, str) and issubclass(kind, Path):
            return Path(value)
        elif _is_a(value, kind):
            return int(value) if kind is int else value  # of numpy's integers, too
    raise OptionError(f"{name} is {value!r}; expected {expected}")


def _is_a(value: Any, kind: type) -> bool:
    """Whether ``value`` has the type ``kind``; an integer is a float, True is no number."""
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    numbers: dict[type, type] = {int: Integral, float: Real}
    return isinstance(value, numbers.get(kind, kind))


def _check_range(one: Field[Any], value: Any) -> None:
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return
    low, high, above, below = (one.metadata.get(key) for key in ("min", "max", "above", "below"))
    label, unit = (one.metadata.get(key) for key in ("label", "unit"))
    if low is not None and high is not None:
        expected = f"{low} to {high}"
    elif below is not None:
        expected = f"{low} to below {below}"
    elif above is not None:
        expected = f"above {above}, and finite"
    elif low is not None:
        expected = "at least 1" if low == 1 else f"{low} or more"
    else:
        expected = "a finite number"
    inside = (
        (isinstance(value, int) or math.isfinite(value))
        and (low is None or value >= low)
        and (high is None or value <= high)
        and (above is None or value > above)
        and (below is None or value < below)
    )
    unit = f" {unit}" if unit else ""
    require(inside, f"{label or one.name} is {value}{unit}; expected {expected}")
