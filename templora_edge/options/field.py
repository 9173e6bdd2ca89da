"""A dataclass field that is an option: its default, its range, its flag and its help."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import Field, field, fields, is_dataclass, replace
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Any, Self, get_args, get_origin

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
) -> Any:
    """A field that is an option; open until `Options.resolve` where the default is None.

    Args:
        flags: of the command line, if it has any.
        default: `MISSING` makes it a required argument.
        paper: the paper's value, of an option that presets differ in.
        min, max: its range, both included.
        above, below: its range, not included.
        label: what messages call it; default: its name.
        unit: what messages count it in.
    """
    metadata = {
        "flags": flags, "help": help, "metavar": metavar, "min": min, "max": max, "above": above,
        "below": below, "label": label, "unit": unit, "paper": paper,
    }  # fmt: skip
    return field(default=default, metadata=metadata)


def options_in(*sections: type) -> Iterator[Field[Any]]:
    """The fields of ``sections`` that have flags; those of the sections within them come after."""
    inner: list[type] = []
    for one in chain.from_iterable(map(fields, sections)):
        if one.metadata.get("flags"):
            yield one
        inner += [kind for kind in kinds_of(one) if is_dataclass(kind)]
    if inner:
        yield from options_in(*inner)


def kinds_of(one: Field[Any]) -> tuple[type, ...]:
    """The types that a field takes, None aside; of a tuple, those of its elements."""
    kinds = get_args(one.type) or (one.type,)
    return tuple(kind for kind in kinds if isinstance(kind, type) and kind is not type(None))


def require(condition: bool, message: str) -> None:
    """Reject options with ``message`` unless ``condition`` holds."""
    if not condition:
        raise OptionError(message)


class Section:
    """Options that belong together. Building one checks the range of every value that is given."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            _check_range(one, getattr(self, one.name))

    def changed(self, **values: Any) -> Self:
        """With ``values``, by name, in this section or in a section within it.

        Strings stand for enumerations and paths.

        Raises:
            OptionError: a value is out of its range.
            TypeError: there is no option of that name.
        """
        if unknown := values.keys() - self._known(values):
            raise TypeError(f"unknown option: {', '.join(sorted(unknown))}")
        changes: dict[str, Any] = {}
        for one in fields(self):  # type: ignore[arg-type]
            inner = getattr(self, one.name)
            if one.name in values and self._is_option(one):
                changes[one.name] = _converted(one, values[one.name])
            elif isinstance(inner, Section) and (known := inner._known(values)):
                changes[one.name] = inner.changed(**known)
        return replace(self, **changes)  # type: ignore[type-var]

    @classmethod
    def _is_option(cls, _: Field[Any]) -> bool:
        """Whether a field can be named itself: here also a section within, as a whole."""
        return True

    def _known(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of ``values`` that are options of this section, or of sections within it."""
        found = {}
        for one in fields(self):  # type: ignore[arg-type]
            if one.name in values and self._is_option(one):
                found[one.name] = values[one.name]
            elif isinstance(inner := getattr(self, one.name), Section):
                found |= inner._known(values)
        return found


def _converted(one: Field[Any], value: Any) -> Any:
    """``value`` in the type of a field: strings as enumerations or paths, sequences as tuples."""
    if value is not None and get_origin(one.type) is tuple:
        return tuple(value)
    if isinstance(value, str):
        for kind in kinds_of(one):
            if issubclass(kind, StrEnum):
                expected = ", ".join(kind)
                message = f"{one.name} is {value!r}; expected one of {expected}"
                require(value in list(kind), message)
                return kind(value)
            if issubclass(kind, Path):
                return Path(value)
    return value


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
