"""Axes: a range of values, its round ticks, and places on it in percent."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_STEPS: Final = (1, 2, 5, 10)
"""Round steps between ticks, times a power of ten."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from ``low`` to ``high``."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Iterable[float], *, from_zero: bool, n_ticks: int = 5) -> "Axis":
        """The axis of ``values`` that ends at ticks, about ``n_ticks`` of them."""
        listed = list(values)
        low, high = (0.0 if from_zero else min(listed)), max(listed)
        step = _round_step((high - low or abs(high) or 1.0) / (n_ticks - 1))
        first, last = math.floor(low / step), math.ceil(high / step)
        last += first == last
        ticks = tuple(number * step for number in range(first, last + 1))
        return cls(ticks[0], ticks[-1], ticks)

    @classmethod
    def up_to(cls, length: int, n_ticks: int = 6) -> "Axis":
        """The axis of the positions in a text of ``length`` tokens, which ends where it does."""
        step = max(1, int(_round_step(length / (n_ticks - 1))))
        return cls(0, length, tuple(range(0, length + 1, step)))

    def percent(self, value: float) -> float:
        """Place of ``value``, 0 at ``low`` and 100 at ``high``."""
        return round(100 * (value - self.low) / (self.high - self.low), 3)

    @property
    def labels(self) -> list[str]:
        """Labels of the ticks: as many decimals as tell them apart."""
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return [f"{tick:,.{decimals}f}" for tick in self.ticks]


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return power * next(one for one in _STEPS if one * power >= step * (1 - 1e-9))
