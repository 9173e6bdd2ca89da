"""Progress of long work: a live line on a terminal, a line every few seconds elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

from templora_edge.cli.screen import SCREEN

if TYPE_CHECKING:
    from templora_edge.events import Absorbed, BlockReport, Piece

LINE_SECONDS: Final = 10.0
"""Seconds between two lines where nothing can be redrawn."""


def duration(seconds: float | None) -> str:
    """``seconds`` as h:mm:ss or m:ss; ? for None."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def show_beginning(what: str = "loading the model") -> None:
    """Say what is done before there is anything to count, where the line is redrawn later."""
    if SCREEN.live:
        SCREEN.show(what, force=True)


class CountProgress:
    """Shows the progress of work that is counted; its rate is that of this run alone.

    Args:
        what: what is counted and what is done to it, for example ``tokens scored``.
        unit: unit of the rate.
    """

    def __init__(self, what: str, unit: str) -> None:
        self._what, self._unit = what, unit
        self._before: int | None = None  # what was done before this run
        self._begun = self._shown = 0.0
        self._is_over = False
        show_beginning()

    def update(self, done: int, total: int) -> None:
        """Show how much is done, the rate and the time left.

        The first call says how much was done before this run. The clock starts when something
        more is about to be done.
        """
        now = time.perf_counter()
        is_first = self._before is None
        if self._before is None or done <= self._before:
            self._before, self._begun = done, now
        is_over = done >= total and not self._is_over
        if not (SCREEN.live or is_first or is_over or now - self._shown >= LINE_SECONDS):
            return
        self._shown, self._is_over = now, done >= total
        seconds, n_new = now - self._begun, done - self._before
        rate = n_new / seconds if seconds > 0 else 0.0
        share = f"{100 * done // total if total else 100} %"
        speed = f", {rate:{'.3g' if rate < 100 else ',.0f'}} {self._unit}" if rate else ""
        eta = f", ETA {duration((total - done) / rate)}" if rate and done < total else ""
        count = f"{done:,} of {total:,}"
        SCREEN.show(
            f"{count} {self._what} ({share}){speed}{eta}",
            f"{count} ({share}){speed}{eta}",
            f"{share}{speed}{eta}",
            f"{share}{eta}",
            force=is_first or is_over,
        )

    def begin(self, what: str, unit: str) -> None:
        """Count something else from now on."""
        SCREEN.clear()
        self._what, self._unit = what, unit
        self._before, self._is_over = None, False

    @contextmanager
    def away(self) -> Iterator[None]:
        """Leave the time in the block out of the rate: a person takes it, not the work."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._begun += time.perf_counter() - begun

    def close(self) -> None:
        """Remove the live line."""
        SCREEN.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class GenerateProgress:
    """Shows the progress of one generation run.

    Args:
        n_predict: number of tokens to generate; None if unknown.
        block_len: tokens in a block.
        n_before: tokens that earlier runs generated.
    """

    def __init__(self, n_predict: int | None, block_len: int, n_before: int = 0) -> None:
        self._n_predict = None if n_predict is None else max(0, n_predict - n_before)
        self._block_len = block_len
        self._n_tokens = 0
        self._begun = self._shown = time.perf_counter()
        self._first_block: int | None = None
        self._block = 0
        self._generate_s = self._train_s = self._swap_s = 0.0
        self._loss: float | None = None
        self._looped = 0  # blocks
        show_beginning("reading the prompt")

    def on_absorbed(self, event: "Absorbed") -> None:
        """Show how much of the prompt the adapter has learned."""
        now = time.perf_counter()
        rate = event.done / (now - self._begun)
        speed = f", {rate:.0f} tok/s" if rate else ""
        left = event.total - event.done
        eta = f", ETA {duration(left / rate)}" if rate and left else ""
        if event.report is not None:
            self._add(event.report)
        count = f"prompt: {event.done:,} of {event.total:,}"
        SCREEN.show(
            f"{count} tokens absorbed{speed}{eta}{self._loss_text()}",
            f"{count} tokens absorbed{speed}{eta}",
            f"{count}{eta}",
            f"prompt: {100 * event.done // max(1, event.total)} %",
            force=True,
        )
        if not left:
            self._begun = now

    def on_piece(self, piece: "Piece") -> None:
        """Count a token, and show the line if it is due."""
        if self._first_block is None:
            self._first_block = piece.block
        self._block = piece.block - self._first_block
        self._n_tokens += piece.token is not None
        if not SCREEN.live:
            if time.perf_counter() - self._shown >= LINE_SECONDS:
                self._show()
            return
        # on a shared terminal the text itself shows progress; the line appears when the text stops
        # for a block to be learned
        block_ends = self._n_tokens % self._block_len == 0
        if block_ends or not SCREEN.shared:
            self._show(force=block_ends)

    def on_block(self, report: "BlockReport") -> None:
        """Add up a generated block, which has been learned unless it is the last one."""
        self._add(report)
        if self._n_tokens and not (SCREEN.live and SCREEN.shared):  # a finished job writes none
            self._show(force=True)

    def summary(self) -> str:
        """Summary of the run in one line."""
        seconds = time.perf_counter() - self._begun
        rate = self._n_tokens / seconds if seconds else 0.0
        return (
            f"{self._n_tokens} tokens in {seconds:.1f} s ({rate:.0f} tok/s): "
            f"generate {self._generate_s:.1f} s, train {self._train_s:.1f} s, "
            f"convert and swap {self._swap_s:.1f} s{self._loop_text()}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        SCREEN.clear()

    def _add(self, report: "BlockReport") -> None:
        self._generate_s += report.generate_s
        self._train_s += report.train_s
        self._swap_s += report.convert_s + report.swap_s
        self._looped += report.looped
        if report.loss_before is not None:
            self._loss = report.loss_before

    def _show(self, *, force: bool = False) -> None:
        """Show the block and as much of rate, time left, loss and times as there is room for."""
        now = self._shown = time.perf_counter()
        block = f"block {self._block + 1}"
        if self._n_predict is not None:
            block += f" of {-(-self._n_predict // self._block_len)}"
        rate = self._n_tokens / (now - self._begun)
        speed = f", {rate:.0f} tok/s"
        eta = ""
        if self._n_predict is not None and rate:
            eta = f", ETA {duration((self._n_predict - self._n_tokens) / rate)}"
        times = (
            f", generate {self._generate_s:.1f} s, train {self._train_s:.1f} s, "
            f"swap {self._swap_s:.1f} s"
        )
        SCREEN.show(
            f"{block}{speed}{eta}{self._loss_text()}{times}",
            f"{block}{speed}{eta}{self._loss_text()}",
            f"{block}{speed}{eta}",
            f"{block}{eta}",
            f"{block.removeprefix('block ')}{eta}",
            block,
            force=force,
        )

    def _loop_text(self) -> str:
        if not self._looped:
            return ""
        remedy = "--repeat-penalty 1.1 --repeat-last-n -1"
        return f"; blocks that repeat earlier text: {self._looped}; try {remedy}"

    def _loss_text(self) -> str:
        return "" if self._loss is None else f", loss {self._loss:.3f}"
