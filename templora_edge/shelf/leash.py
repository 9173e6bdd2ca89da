"""Runs the `templora` command until whoever started it is gone, however that ended.

    python -m templora_edge.shelf.leash ARGUMENT...

Its standard input is a pipe that the starter holds open. When it closes, the command ends as with
SIGTERM: what is finished is kept.
"""

import os
import runpy
import signal
import sys
import threading


def _wait_for_the_end() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_wait_for_the_end, daemon=True).start()
    runpy.run_module("templora_edge.cli", run_name="__main__", alter_sys=True)
