"""A server that has loaded the libraries, and forks for `templora`, its trainer, and scripts.

A fresh interpreter takes half a second to come to a command, and five to load torch, peft and
transformers. A fork is a process of its own as well. The server has no threads, and ends when
whoever holds its stdin does.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from templora_edge.training import client

MODULES = (
    "templora_edge.cli.app",
    "templora_edge.engine",
    "templora_edge.generation.generation",
    "templora_edge.session",
    "templora_edge.training.trainer",
    "templora_edge.translation.run",
)
CALL = Path(__file__).with_name("warm_call.py")
FOLDER = tempfile.gettempdir()
"""The temporary folder before any test has changed it."""
AVAILABLE = hasattr(os, "pidfd_open")
"""Whether runs are forked; on other systems than Linux, every run is a fresh interpreter."""


class Forked:
    """The words that run a module, or a script, in a fork; the server starts when it is needed."""

    def __init__(self, program: str) -> None:
        self._program = program

    def __iter__(self) -> Iterator[str]:
        if AVAILABLE:
            return iter(_through(_server().path, self._program))
        fresh = [sys.executable, *([] if _is_script(self._program) else ["-m"]), self._program]
        return iter(fresh)


def _is_script(program: str) -> bool:
    return program.endswith(".py")


class _Server:
    """The process that forks, and its address."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="warm-", dir=FOLDER))
        self.path = str(folder / "socket")
        errors = folder / "errors"
        with errors.open("wb") as stderr:  # no terminal, because libraries may check for one
            self._process = subprocess.Popen(
                [sys.executable, __file__, self.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=client.child_environment(),
                start_new_session=True,  # Ctrl-C is for the tests
            )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise ChildProcessError(errors.read_text())


@cache
def _server() -> _Server:
    """The one server for all runs of this process."""
    return _Server()


def _through(path: str, program: str) -> list[str]:
    return [sys.executable, "-IS", str(CALL), path, program]


def _serve(path: str) -> list[str]:
    """Load the modules and fork for every call; in the fork, return what to run."""
    for module in MODULES:
        importlib.import_module(module)
    client.COMMAND = _through(path, "templora_edge.training")
    gc.freeze()  # the forks' collector must not touch, and thereby copy, what is loaded
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks that watch
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                shutil.rmtree(Path(path).parent)
                os._exit(0)
            caller, _ = listener.accept()
            with caller:
                if os.fork() == 0:
                    listener.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    return _answer(caller)


def _answer(caller: socket.socket) -> list[str]:
    """Fork again: one process runs the module, the other watches it and the caller."""
    _, streams, _, _ = socket.recv_fds(caller, 1, 3)
    request = json.loads(caller.makefile().read())
    if child := os.fork():
        for stream in (*streams, 0, 1, 2):
            os.close(stream)
        _watch(child, caller)
    caller.close()
    for stream, own in zip(streams, (0, 1, 2), strict=True):
        os.dup2(stream, own)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    return list(request["arguments"])


def _watch(child: int, caller: socket.socket) -> None:
    """Tell ``caller`` how ``child`` ends; if the caller dies first, end the child."""
    poll = select.poll()
    poll.register(caller, select.POLLHUP)
    poll.register(ended := os.pidfd_open(child), select.POLLIN)
    if ended not in dict(poll.poll()):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    caller.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _run(program: str, *arguments: str) -> int:
    """Run ``program`` to its end; its exit status."""
    sys.argv = [program, *arguments]
    try:
        if _is_script(program):
            _forget("gguf")  # llama.cpp's scripts bring their own
            sys.path.insert(0, str(Path(program).parent))
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            sys.stderr.write(f"{end.code}\n")
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _forget(package: str) -> None:
    """Let ``package`` be imported anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))
    status = _run(*_serve(sys.argv[1]))
    # a normal exit would tear down all the libraries
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
