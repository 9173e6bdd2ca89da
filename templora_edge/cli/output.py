"""Standard output, which carries the product alone."""

import os
import sys

from templora_edge.errors import OutputError


def write(text: str) -> None:
    """Write ``text`` to stdout now, in UTF-8 whatever the locale.

    Raises:
        OutputError: the reader is gone, or the disk is full.
    """
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _drop_stdout()
        raise OutputError("stdout: its reader is gone; stopped") from None
    except OSError as error:
        _drop_stdout()
        raise OutputError(f"stdout: cannot be written ({error.strerror}); stopped") from error


def _drop_stdout() -> None:
    """Let what is still buffered go to /dev/null, or Python complains again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
