"""Progress of long work on stderr: a live line on a terminal, a line now and then elsewhere."""

import os
import sys
import time
from typing import Any, Self

import enlighten

from templora_edge.loop import BlockReport
from templora_edge.session import Absorbed, Piece

REFRESH_SECONDS = 0.2
LINE_SECONDS = 10.0
"""Between two lines where nothing can be redrawn."""


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds; ? for None."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Line:
    """One line on stderr that is redrawn on a terminal and printed elsewhere."""

    def __init__(self) -> None:
        live = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._manager = enlighten.get_manager(stream=sys.stderr) if live else None
        self._bar: Any = None
        if self._manager is not None:
            self._bar = self._manager.status_bar("loading", min_delta=REFRESH_SECONDS)

    @property
    def live(self) -> bool:
        """Whether it can be redrawn."""
        return self._bar is not None

    def show(self, line: str, *, force: bool = False) -> None:
        """Redraw or print; a live line that was just redrawn waits, unless ``force``."""
        if self._bar is not None:
            self._bar.update(line, force=force)
        else:
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    def close(self) -> None:
        """Give the terminal's last line back."""
        if self._manager is not None:
            self._manager.stop()


class CountProgress:
    """Follows work that is counted.

    Args:
        what: is counted, with what has been done to it.
        unit: of the rate.
    """

    def __init__(self, what: str, unit: str) -> None:
        self._what, self._unit = what, unit
        self._line = _Line()
        self._begun = self._printed = time.perf_counter()

    def update(self, done: int, total: int) -> None:
        """Show how far the work is."""
        now = time.perf_counter()
        if not self._line.live and done < total and now - self._printed < LINE_SECONDS:
            return
        self._printed = now
        rate = done / (now - self._begun)
        eta = duration((total - done) / rate if rate else None)
        share = f"{100 * done / total:.0f} %"
        self._line.show(
            f"{done:,} of {total:,} {self._what} ({share}), {rate:.3g} {self._unit}, ETA {eta}"
        )

    def close(self) -> None:
        """Give the terminal's last line back."""
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class GenerateProgress:
    """Follows the events of one run.

    Args:
        n_predict: tokens to be generated, None if that is not known.
        block_len: tokens a block.
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
        self._bar = _Line()

    def on_absorbed(self, event: Absorbed) -> None:
        """Show how much of the prompt is in the adapter."""
        seconds = time.perf_counter() - self._begun
        rate = event.done / seconds if seconds else 0.0
        eta = (event.total - event.done) / rate if rate else None
        line = f"prompt: {event.done} of {event.total} tokens absorbed, {rate:.0f} tok/s"
        if event.report is not None:
            self._add(event.report)
            line += self._loss_text()
        self._bar.show(f"{line}, ETA {duration(eta)}", force=True)
        if event.done == event.total:
            self._begun = time.perf_counter()

    def on_piece(self, piece: Piece) -> None:
        """Count a token."""
        if self._first_block is None:
            self._first_block = piece.block
        self._block = piece.block - self._first_block
        self._n_tokens += piece.token is not None
        if self._bar.live:
            self._bar.show(self._line())

    def on_block(self, report: BlockReport) -> None:
        """A generated block is done and, but for the last one, learned."""
        self._add(report)
        self._bar.show(self._line(), force=True)

    def summary(self) -> str:
        """One line for the end of the run."""
        seconds = time.perf_counter() - self._begun
        rate = self._n_tokens / seconds if seconds else 0.0
        return (
            f"{self._n_tokens} tokens in {seconds:.1f} s ({rate:.0f} tok/s): "
            f"generate {self._generate_s:.1f} s, train {self._train_s:.1f} s, "
            f"convert and swap {self._swap_s:.1f} s"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _add(self, report: BlockReport) -> None:
        self._generate_s += report.generate_s
        self._train_s += report.train_s
        self._swap_s += report.convert_s + report.swap_s
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
            f"block {self._block + 1} of {total}, {rate:.0f} tok/s{self._loss_text()}, "
            f"generate {self._generate_s:.1f} s, train {self._train_s:.1f} s, "
            f"swap {self._swap_s:.1f} s, ETA {duration(eta)}"
        )

    def _loss_text(self) -> str:
        return "" if self._loss is None else f", loss {self._loss:.3f}"
