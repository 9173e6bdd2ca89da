"""The `templora` command: the one place where exceptions become messages and exit codes."""

import os
import signal
import sys
from types import FrameType

from templora_edge.cli import EXIT_ERROR, EXIT_INTERRUPTED


def main() -> None:
    """Run the command line and exit.

    Exit codes: 0 success, 1 a TemploraError, printed as one line, 2 wrong usage, 130 Ctrl-C,
    128 + n any other signal n. Any other exception is a bug and shows its traceback. A signal that
    the caller ignores, as nohup does, stays ignored.
    """
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heeded = [number for number in ends if signal.getsignal(number) != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, _exit_at_once)
    _open_standard_streams()
    from templora_edge.cli.app import app
    from templora_edge.cli.screen import SCREEN, show_warnings
    from templora_edge.errors import TemploraError

    show_warnings()
    for number in heeded:
        is_interrupt = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if is_interrupt else _exit_cleanly)
    try:
        app()  # exits by itself; usage errors with 2, Ctrl-C with 130
    except TemploraError as error:
        SCREEN.say(f"templora: {error}")
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:  # before or after the command
        sys.exit(EXIT_INTERRUPTED)
    finally:
        SCREEN.clear()


def _open_standard_streams() -> None:
    """Open /dev/null for each standard stream that the caller closed; Python sets it to None."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.dup2(descriptor, number)
            if descriptor != number:
                os.close(descriptor)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8"))


def _exit_at_once(number: int, _frame: FrameType | None) -> None:
    """End while modules are loaded, where an exception could be lost and nothing is begun."""
    os._exit(128 + number)


def _exit_cleanly(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
