"""Requests to a child process and their answers, safe from interrupts.

Python runs signal handlers between any two steps of the main thread, and only there; they raise
KeyboardInterrupt, for example. So a separate thread writes and reads: every message is complete,
and an answer that nobody waits for any more is still read, as that of its own request.
"""

import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, TypeAlias

from templora_edge.training.messages import Failed, receive, send


class Call:
    """A request and, eventually, its answer."""

    def __init__(self, request: Any) -> None:
        self.request = request
        self.answer: Any = None
        """The answer; an exception if the request could not be sent or nothing came back."""
        self._woken: SimpleQueue[None] = SimpleQueue()  # an interrupt could leave a lock held

    def finish(self, answer: Any) -> None:
        """Make `wait` return ``answer``."""
        self.answer = answer
        self._woken.put(None)

    def wait(self) -> Any:
        """Wait for the answer and return it; may be called again."""
        if self.answer is None:
            self._woken.get()
        return self.answer


Jobs: TypeAlias = "SimpleQueue[Call | Path | None]"


class Channel:
    """Sends calls to a child over its stdin and stdout, one at a time, in order."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("the process has no pipes")
        self._jobs: Jobs = SimpleQueue()
        self._streams = process.stdin, process.stdout
        self._thread = threading.Thread(
            target=_carry, args=(self._jobs, *self._streams), daemon=True
        )
        self._thread.start()

    def post(self, call: Call) -> None:
        """Send ``call`` once earlier calls are answered. Posting it again does nothing."""
        self._jobs.put(call)

    def remove(self, path: Path) -> None:
        """Remove the file ``path`` once all earlier calls are answered, or the child is gone."""
        self._jobs.put(path)

    def close(self) -> None:
        """Finish what was posted, waiting for a child that is alive."""
        self._jobs.put(None)
        self._thread.join()
        for stream in self._streams:
            with suppress(BrokenPipeError):  # from flushing what a dead child did not read
                stream.close()

    def __del__(self) -> None:
        with suppress(AttributeError):  # an interrupt came before there was a thread
            self._jobs.put(None)  # the thread lets go of the pipes


def _carry(jobs: Jobs, stdin: IO[bytes], stdout: IO[bytes]) -> None:
    answer: Any = None
    for job in iter(jobs.get, None):
        match job:
            case Path():
                with suppress(OSError):
                    job.unlink()
            case Call(answer=None):
                if not isinstance(answer, Failed | Exception):  # after either the child is gone
                    answer = _exchange(job.request, stdin, stdout)
                job.finish(answer)


def _exchange(request: Any, stdin: IO[bytes], stdout: IO[bytes]) -> Any:
    try:
        send(stdin, request)
        return receive(stdout)
    except Exception as error:  # raised by the caller, who would wait for ever if it were here
        return error
