"""Run a module in a fork of a warm server: with this process's streams, folder and environment.

    python -IS warm_call.py SOCKET MODULE ARG...

Ends as the module ends; if it is killed, the module is too. See warm.py.
"""

import json
import os
import socket
import sys


def call(path: str, arguments: list[str]) -> int:
    """Run a module with its ``arguments``; return the exit status, negative for a signal."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [b"."], [0, 1, 2])
        folder = os.getcwd()  # noqa: PTH109  pathlib would take longer than all the rest
        request = {"arguments": arguments, "folder": folder, "environment": dict(os.environ)}
        server.sendall(json.dumps(request).encode())
        server.shutdown(socket.SHUT_WR)
        return int(server.makefile().read())


if __name__ == "__main__":
    status = call(sys.argv[1], sys.argv[2:])
    if status < 0:
        os.kill(os.getpid(), -status)
    sys.exit(status)
