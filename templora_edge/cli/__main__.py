"""The `templora` command: one place where exceptions become messages and exit codes."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Final

from templora_edge.cli.app import app
from templora_edge.errors import TemploraError

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

EXIT_ERROR: Final = 1
AGAIN_SECONDS: Final = 0.02
"""Until a signal that was lost is sent once more."""


def main() -> None:
    """Run the command line and exit.

    0 done, 1 an error of ours in one line, 2 wrong usage, 130 Ctrl-C, 128 + n another signal n.
    Anything else is a bug and shows its traceback.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit_cleanly)
    sys.unraisablehook = _send_again
    try:
        app()  # exits by itself; usage errors with 2, Ctrl-C with 130
    except TemploraError as error:
        print(f"templora: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_ERROR)


def _exit_cleanly(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _send_again(lost: "UnraisableHookArgs") -> None:
    """Repeat a signal whose exception fell where Python cannot raise it and drops it.

    llama.cpp's log callback is such a place: ctypes calls it in the middle of a decode or a swap.
    """
    match lost.exc_value:
        case KeyboardInterrupt():
            number = int(signal.SIGINT)
        case SystemExit(code=int(code)) if code > 128:
            number = code - 128
        case _:
            sys.__unraisablehook__(lost)
            return
    # not now: its handler would run in this hook, from which nothing can be raised either
    threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number)).start()


if __name__ == "__main__":
    main()
