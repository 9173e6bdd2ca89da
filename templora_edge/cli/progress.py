"""Progress of long work: a live line on a terminal, a line every few seconds elsewhere."""

import time
from typing import Final, Self

from templora_edge.cli.screen import SCREEN
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


class CountProgress:
    """Shows the progress of work that is counted.

    Args:
        what: what is counted and what is done to it, for example ``tokens scored``.
        unit: unit of the rate.
    """

    def __init__(self, what: str, unit: str) -> None:
        self._what, self._unit = what, unit
        self._begun = self._printed = time.perf_counter()
        if SCREEN.live:
            SCREEN.show("loading", force=True)

    def update(self, done: int, total: int) -> None:
        """Show how much is done, the rate and the time left."""
        now = time.perf_counter()
        if not SCREEN.live and done < total and now - self._printed < LINE_SECONDS:
            return
        self._printed = now
        rate = done / (now - self._begun)
        eta = duration((total - done) / rate if rate else None)
        share = f"{100 * done / total:.0f} %"
        SCREEN.show(
            f"{done:,} of {total:,} {self._what} ({share}), {rate:.3g} {self._unit}, ETA {eta}"
        )

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
    """

    def __init__(self, n_predict: int | None, block_len: int) -> None:
        self._n_predict = n_predict
        self._block_len = block_len
        self._n_tokens = 0
        self._begun = time.perf_counter()
        self._first_block: int | None = None
        self._block = 0
        self._generate_s = self._train_s = self._swap_s = 0.0
        self._loss: float | None = None
        self._looped = 0  # blocks

    def on_absorbed(self, event: Absorbed) -> None:
        """Show how much of the prompt the adapter has learned."""
        seconds = time.perf_counter() - self._begun
        rate = event.done / seconds if seconds else 0.0
        eta = (event.total - event.done) / rate if rate else None
        line = f"prompt: {event.done} of {event.total} tokens absorbed, {rate:.0f} tok/s"
        line += f", ETA {duration(eta)}"
        if event.report is not None:
            self._add(event.report)
            line += self._loss_text()
        SCREEN.show(line, force=True)
        if event.done == event.total:
            self._begun = time.perf_counter()

    def on_piece(self, piece: Piece) -> None:
        """Count a token, and show it if the line is due."""
        if self._first_block is None:
            self._first_block = piece.block
        self._block = piece.block - self._first_block
        self._n_tokens += piece.token is not None
        if not SCREEN.live:
            return
        # on a shared terminal the text itself shows progress; the line appears when the text stops
        # for a block to be learned
        block_ends = self._n_tokens % self._block_len == 0
        if block_ends or not SCREEN.shared:
            SCREEN.show(self._line(), force=block_ends)

    def on_block(self, report: BlockReport) -> None:
        """Add up a generated block, which has been learned unless it is the last one."""
        self._add(report)
        if not (SCREEN.live and SCREEN.shared):
            SCREEN.show(self._line(), force=True)

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

    def _add(self, report: BlockReport) -> None:
        self._generate_s += report.generate_s
        self._train_s += report.train_s
        self._swap_s += report.convert_s + report.swap_s
        self._looped += report.looped
        if report.loss_before is not None:
            self._loss = report.loss_before

    def _line(self) -> str:
        seconds = time.perf_counter() - self._begun
        rate = self._n_tokens / seconds if seconds else 0.0
        eta, total = None, "?"
        if self._n_predict is not None:
            eta = (self._n_predict - self._n_tokens) / rate if rate else None
            total = str(-(-self._n_predict // self._block_len))
        return (
            f"block {self._block + 1} of {total}, {rate:.0f} tok/s, ETA {duration(eta)}"
            f"{self._loss_text()}, generate {self._generate_s:.1f} s, train {self._train_s:.1f} s, "
            f"swap {self._swap_s:.1f} s"
        )

    def _loop_text(self) -> str:
        if not self._looped:
            return ""
        remedy = "--repeat-penalty 1.1 --repeat-last-n -1"
        return f"; blocks that repeat earlier text: {self._looped}; try {remedy}"

    def _loss_text(self) -> str:
        return "" if self._loss is None else f", loss {self._loss:.3f}"
