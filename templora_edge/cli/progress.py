"""Progress of a long generation on stderr: a live line on a terminal, a line a block elsewhere."""

import os
import sys
import time
from types import TracebackType
from typing import Any, Self

import enlighten

from templora_edge.loop import BlockReport
from templora_edge.session import Absorbed, Piece

REFRESH_SECONDS = 0.2


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


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
        live = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._manager = enlighten.get_manager(stream=sys.stderr) if live else None
        self._bar: Any = None
        if self._manager is not None:
            self._bar = self._manager.status_bar("loading", min_delta=REFRESH_SECONDS)

    def on_absorbed(self, event: Absorbed) -> None:
        """Show how much of the prompt is in the adapter."""
        seconds = time.perf_counter() - self._begun
        rate = event.done / seconds if seconds else 0.0
        eta = (event.total - event.done) / rate if rate else None
        line = f"prompt: {event.done} of {event.total} tokens absorbed, {rate:.0f} tok/s"
        if event.report is not None:
            self._add(event.report)
            line += self._loss_text()
        self._show(f"{line}, ETA {_duration(eta)}", force=True)
        if event.done == event.total:
            self._begun = time.perf_counter()

    def on_piece(self, piece: Piece) -> None:
        """Count a token."""
        if self._first_block is None:
            self._first_block = piece.block
        self._block = piece.block - self._first_block
        self._n_tokens += piece.token is not None
        if self._bar is not None:
            self._bar.update(self._line())

    def on_block(self, report: BlockReport) -> None:
        """A generated block is done and, but for the last one, learned."""
        self._add(report)
        self._show(self._line(), force=True)

    def summary(self) -> str:
        """One line for the end of the run."""
        seconds = time.perf_counter() - self._begun
        rate = self._n_tokens / seconds if seconds else 0.0
        return (
            f"{self._n_tokens} tokens in {seconds:.1f} s ({rate:.0f} tok/s): "
            f"generate {self._generate_s:.1f} s, train {self._train_s:.1f} s, "
            f"convert and swap {self._swap_s:.1f} s"
        )

    def close(self) -> None:
        """Give the terminal's last line back."""
        if self._manager is not None:
            self._manager.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _add(self, report: BlockReport) -> None:
        self._generate_s += report.generate_s
        self._train_s += report.train_s
        self._swap_s += report.convert_s + report.swap_s
        if report.loss_after is not None:
            self._loss = report.loss_after

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
            f"swap {self._swap_s:.1f} s, ETA {_duration(eta)}"
        )

    def _loss_text(self) -> str:
        return "" if self._loss is None else f", loss {self._loss:.3f}"

    def _show(self, line: str, *, force: bool) -> None:
        if self._bar is not None:
            self._bar.update(line, force=force)
        else:
            print(line, file=sys.stderr, flush=True)  # noqa: T201
