"""Ctrl-C while a text is written: once ends it with its sentence, twice at once."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from templora_edge.cli.screen import SCREEN

_ASKED: Final = "ending at the next sentence; Ctrl-C again stops now"


@contextmanager
def gentle_interrupts(finish: Callable[[], bool]) -> Iterator[None]:
    """Have the first Ctrl-C in the block call ``finish``, and the next one interrupt.

    Args:
        finish: ends the work soon; False: it cannot, so that the first Ctrl-C interrupts too.
    """
    before = signal.getsignal(signal.SIGINT)
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked or not finish():
            signal.default_int_handler(number, frame)
        asked = True
        try:
            SCREEN.say(_ASKED)
        except RuntimeError:  # the signal came within a write to stderr, which knows no other
            with suppress(OSError):
                os.write(sys.stderr.fileno(), f"\n{_ASKED}\n".encode())

    if before != signal.SIG_IGN:
        signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
