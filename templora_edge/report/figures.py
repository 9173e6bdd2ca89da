"""The figures of a text: loss, what the adapter saves, seconds, scale, memory."""

import math
from typing import Final

from templora_edge.report.axis import Axis
from templora_edge.report.figure import Canvas, Figure, MarkSeries, Tick, Values
from templora_edge.report.run import PHASES, TextRun

_MAX_EXPONENT: Final = 700.0
"""Largest exponent of which a float holds the power."""
_GIB: Final = 2**30


def figures_of(run: TextRun) -> list[Figure]:
    """The figures for which ``run`` has values."""
    figures = (make(run) for make in (_loss, _saving, _seconds, _scale, _memory))
    return [figure for figure in figures if figure is not None]


def _loss(run: TextRun) -> Figure | None:
    losses = [  # later ones lie on top
        ("base alone", "base", _values(run, "base_loss")),
        ("after it was learned", "after", _values(run, "loss_after")),
        ("with the adapter, before it was learned", "adapter", _values(run, "loss")),
    ]
    losses = [one for one in losses if one[2]]
    if not losses:
        return None
    axis = Axis.over((v for _, _, values in losses for v in values.values()), from_zero=False)
    canvas = Canvas(run, axis)
    ticks = zip(axis.ticks, canvas.y_ticks, strict=True)
    return Figure(
        "loss",
        "Loss by position",
        "How well each block was predicted: lower is better.",
        "nats per token",
        tuple(MarkSeries(name, style, canvas.points(values)) for name, style, values in losses),
        canvas.columns,
        canvas.x_ticks,
        canvas.y_ticks,
        other_unit="perplexity",
        other_ticks=tuple(
            Tick(tick.at, f"{math.exp(loss):.3g}") for loss, tick in ticks if loss < _MAX_EXPONENT
        ),
    )


def _saving(run: TextRun) -> Figure | None:
    base, loss = _values(run, "base_loss"), _values(run, "loss")
    saved = {number: base[number] - loss[number] for number in base.keys() & loss.keys()}
    if not saved:
        return None
    saved = dict(sorted(saved.items()))
    canvas = Canvas(run, Axis.over([0.0, *saved.values()], from_zero=False, n_ticks=4))
    better = {number: value for number, value in saved.items() if value >= 0}
    worse = {number: value for number, value in saved.items() if value < 0}
    return Figure(
        "saving",
        "What the adapter saves",
        "Loss of the base less loss with the adapter, block by block.",
        "nats per token",
        (
            MarkSeries(
                "better than the base",
                "adapter",
                canvas.bars(better),
                f"{len(better)} of {len(saved)} blocks",
                bars=True,
            ),
            MarkSeries(
                "worse", "after", canvas.bars(worse), f"{len(worse)} of {len(saved)}", bars=True
            ),
        ),
        canvas.columns,
        canvas.x_ticks,
        canvas.y_ticks,
    )


def _seconds(run: TextRun) -> Figure | None:
    phases = {
        phase: {block.number: block.seconds[phase] for block in run.blocks} for phase in PHASES
    }
    sums = {block.number: sum(block.seconds.values()) for block in run.blocks}
    if not any(sums.values()):
        return None
    canvas = Canvas(run, Axis.over(sums.values(), from_zero=True))
    below = dict.fromkeys(sums, 0.0)
    series = []
    for phase, seconds in phases.items():
        name = "score" if phase == "generate" and run.perplexity else phase
        marks = canvas.bars(seconds, below)
        series.append(MarkSeries(name, phase, marks, f"{sum(seconds.values()):,.1f} s", bars=True))
        below = {number: below[number] + seconds[number] for number in below}
    return Figure(
        "seconds",
        "Seconds by phase",
        "What each block took; the legend has the sums.",
        "seconds",
        tuple(series),
        canvas.columns,
        canvas.x_ticks,
        canvas.y_ticks,
    )


def _scale(run: TextRun) -> Figure | None:
    scales = _values(run, "scale")
    if len(set(scales.values())) < 2:  # a fixed rate has one
        return None
    canvas = Canvas(run, Axis.over(scales.values(), from_zero=True, n_ticks=4))
    return Figure(
        "scale",
        "Scale of the adapter",
        "Factor of the adapter and of its learning rate, which the rate auto finds.",
        "factor",
        (MarkSeries("scale", "adapter", canvas.points(scales)),),
        canvas.columns,
        canvas.x_ticks,
        canvas.y_ticks,
    )


def _memory(run: TextRun) -> Figure | None:
    memory = {b.number: b.rss_bytes / _GIB for b in run.blocks if b.rss_bytes}
    if not memory:
        return None
    canvas = Canvas(run, Axis.over(memory.values(), from_zero=True, n_ticks=4))
    return Figure(
        "memory",
        "Memory",
        "Resident memory of both processes; pages of the model, which both map, count twice.",
        "GiB",
        (
            MarkSeries(
                "memory", "base", canvas.points(memory), f"at most {max(memory.values()):.2f} GiB"
            ),
        ),
        canvas.columns,
        canvas.x_ticks,
        canvas.y_ticks,
    )


def _values(run: TextRun, name: str) -> Values:
    values = ((block.number, getattr(block, name)) for block in run.blocks)
    return {number: value for number, value in values if value is not None}
