"""The `templora` command: one place where exceptions become messages and exit codes."""

import signal
import sys
from types import FrameType
from typing import Final

from templora_edge.cli.app import app
from templora_edge.cli.screen import SCREEN, show_warnings
from templora_edge.errors import TemploraError

EXIT_ERROR: Final = 1


def main() -> None:
    """Run the command line and exit.

    0 done, 1 an error of ours in one line, 2 wrong usage, 130 Ctrl-C, 128 + n another signal n.
    Anything else is a bug and shows its traceback.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit_cleanly)
    show_warnings()
    try:
        app()  # exits by itself; usage errors with 2, Ctrl-C with 130
    except TemploraError as error:
        SCREEN.say(f"templora: {error}")
        sys.exit(EXIT_ERROR)


def _exit_cleanly(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
