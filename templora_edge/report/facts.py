"""Figures of a run in words: the main ones, the table of blocks, the settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from templora_edge.report.run import TextRun


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table of blocks."""

    title: str
    cells: tuple[str, ...]


def tiles_of(run: TextRun) -> list[tuple[str, str, str]]:
    """The main figures: what, how much, and a remark."""
    blocks = run.blocks
    learned, looped = sum(b.learned for b in blocks), sum(b.looped for b in blocks)
    given, written = ([b for b in blocks if b.given is is_given] for is_given in (True, False))
    tiles = []
    if run.perplexity is not None:
        found = run.perplexity
        if found.base is not None:
            tiles.append(("base perplexity", f"{found.base:.2f}", ""))
        if found.templora is not None:
            tiles.append(
                (
                    "Temp-LoRA perplexity",
                    f"{found.templora:.2f}",
                    _change(found.change_percent, found.change_percent_se),
                )
            )
    if written:
        n_tokens = sum(block.tokens for block in written)
        seconds = sum(block.seconds["generate"] for block in written)
        rate = f"{n_tokens / seconds:,.1f} tokens/s" if seconds else ""
        tiles.append(("tokens written", f"{n_tokens:,}", rate))
    if given:
        name = "tokens scored" if run.perplexity else "tokens read"
        tiles.append((name, f"{sum(block.tokens for block in given):,}", ""))
    remark = f"{learned:,} learned" + (f", {looped:,} left out: they loop" if looped else "")
    tiles.append(("blocks", f"{len(blocks):,}", remark))
    if swaps := run.swaps:
        tiles.append(("swaps", f"{len(swaps):,}", f"{1000 * median(swaps):,.0f} ms each (median)"))
    if run.seconds is not None:
        tiles.append(("time", _duration(run.seconds), ""))
    if run.peak_rss_bytes:
        tiles.append(("peak memory", f"{run.peak_rss_bytes / 2**30:,.2f} GiB", "both processes"))
    return tiles


def _change(percent: float | None, error: float | None) -> str:
    if percent is None:
        return ""
    return f"{percent:+.1f} %" + ("" if error is None else f" ± {error:.1f}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def columns_of(run: TextRun) -> list[Column]:
    """The table of blocks; a column of which no block has a value is left out."""
    generate = "score" if run.perplexity else "generate"

    def of(title: str, values: list[float | None], form: str, factor: float = 1.0) -> Column:
        cells = ("" if value is None else format(value * factor, form) for value in values)
        return Column(title, tuple(cells))

    def seconds(phase: str) -> list[float | None]:
        return [block.seconds[phase] or None for block in run.blocks]

    def fields(name: str) -> list[float | None]:
        return [getattr(block, name) for block in run.blocks]

    columns = [
        Column("position", tuple(f"{b.begin:,}" for b in run.blocks)),
        Column("tokens", tuple(f"{b.tokens:,}" for b in run.blocks)),
        Column("text", tuple("given" if b.given else "written" for b in run.blocks)),
        Column("adapter", tuple(b.state for b in run.blocks)),
        of("base loss", fields("base_loss"), ".3f"),
        of("loss", fields("loss"), ".3f"),
        of("loss after", fields("loss_after"), ".3f"),
        of("scale", fields("scale"), ".3g"),
        of(f"{generate}, s", seconds("generate"), ".2f"),
        of("train, s", seconds("train"), ".2f"),
        of("convert, ms", seconds("convert"), ".0f", 1000),
        of("swap, ms", seconds("swap"), ".0f", 1000),
        of("memory, MiB", [b.rss_bytes or None for b in run.blocks], ",.0f", 2**-20),
    ]
    return [column for column in columns if any(column.cells)]


def flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Names and values of nested settings in one list."""
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            rows += flat(value, f"{before}{name}.")
        else:
            rows.append((f"{before}{name}", _plain(value)))
    return rows


def _plain(value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case list() | tuple() | dict():
            return ", ".join(map(_plain, value)) or "none"
        case _:
            return str(value)
