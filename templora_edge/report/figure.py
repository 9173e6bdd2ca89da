"""A figure: what is drawn over the positions of a text, with all places in percent."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from templora_edge.report.axis import Axis
from templora_edge.report.run import Block, TextRun

_FILLED: Final = 0.9
"""Share of a block's width that its bar fills."""

Values = Mapping[int, float]
"""Number of a block -> its value; a block without one is left out."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick of an axis."""

    at: float
    label: str
    is_zero: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """The mark of one block: a point, or a bar from its upper left corner."""

    block: int
    x: float
    y: float
    width: float = 0.0
    height: float = 0.0


@dataclass(frozen=True, slots=True)
class MarkSeries:
    """Marks of one kind."""

    name: str
    style: str
    """Name of their look."""
    marks: tuple[Mark, ...]
    note: str = ""
    """Text that the legend adds, such as a sum."""
    bars: bool = False

    @property
    def paths(self) -> list[str]:
        """Lines through the points of neighbouring blocks, as SVG writes them."""
        rows = groupby(enumerate(self.marks), key=lambda pair: pair[1].block - pair[0])
        lines = [[f"{mark.x},{mark.y}" for _, mark in row] for _, row in rows]
        return [" ".join(line) for line in lines if len(line) > 1 and not self.bars]


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its axes and words."""

    key: str
    title: str
    caption: str
    unit: str
    series: tuple[MarkSeries, ...]
    blocks: tuple[Mark, ...]
    """The whole height over each block."""
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    other_unit: str = ""
    other_ticks: tuple[Tick, ...] = ()
    """Ticks on the right."""


class Canvas:
    """The drawing area of a text: positions from left to right, values of an axis upwards."""

    def __init__(self, run: TextRun, y: Axis) -> None:
        self._blocks = {block.number: block for block in run.blocks}
        self._x, self._y = Axis.up_to(run.n_tokens), y

    def points(self, values: Values) -> tuple[Mark, ...]:
        """A point in the middle of each block that has a value."""
        return tuple(
            Mark(number, self._middle(self._blocks[number]), self._down(value))
            for number, value in values.items()
        )

    def bars(self, values: Values, base: Values | None = None) -> tuple[Mark, ...]:
        """A bar for each block that has a value other than 0, from 0 or its value in ``base``."""
        marks = []
        for number, value in values.items():
            begin = (base or {}).get(number, 0.0)
            ends = sorted((self._down(begin), self._down(begin + value)))
            whole = self._column(self._blocks[number])
            width = whole.width * _FILLED
            x = whole.x + (whole.width - width) / 2
            if value:
                marks.append(_mark(number, x, ends[0], width, ends[1] - ends[0]))
        return tuple(marks)

    @property
    def columns(self) -> tuple[Mark, ...]:
        """The whole height over each block."""
        return tuple(self._column(block) for block in self._blocks.values())

    @property
    def x_ticks(self) -> tuple[Tick, ...]:
        """Ticks of the positions."""
        return _ticks(self._x, [self._x.percent(tick) for tick in self._x.ticks])

    @property
    def y_ticks(self) -> tuple[Tick, ...]:
        """Ticks of the values."""
        return _ticks(self._y, [self._down(tick) for tick in self._y.ticks])

    def _column(self, block: Block) -> Mark:
        begin, end = self._x.percent(block.begin), self._x.percent(block.end)
        return _mark(block.number, begin, 0.0, end - begin, 100.0)

    def _middle(self, block: Block) -> float:
        return self._x.percent((block.begin + block.end) / 2)

    def _down(self, value: float) -> float:
        """Distance from the top, as SVG counts."""
        return round(100 - self._y.percent(value), 3)


def _mark(block: int, *places: float) -> Mark:
    return Mark(block, *(round(place, 3) for place in places))


def _ticks(axis: Axis, places: list[float]) -> tuple[Tick, ...]:
    return tuple(
        Tick(at, label, is_zero=tick == 0)
        for at, label, tick in zip(places, axis.labels, axis.ticks, strict=True)
    )
