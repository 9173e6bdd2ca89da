"""A process that works on a book."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from templora_edge.closing import Closing
from templora_edge.errors import JobError
from templora_edge.host.files import replacing
from templora_edge.shelf.standing import Standing, standing_of

LEASHED: Final = (sys.executable, "-m", "templora_edge.shelf.leash")
_COUNT: Final = re.compile(r"(\d[\d,]*) of (\d[\d,]*) ")
"""Two counts in a line of progress: things done, things to do."""
_MESSAGE: Final = "templora: "
_WARNING: Final = f"{_MESSAGE}warning: "
_OWN_VARIABLES: Final = ("TEMPLORA_", "LLAMA_ARG_")


class Attempt(Closing):
    """A running `templora` command.

    It reads neither variables nor the configuration file: its arguments say everything.

    Args:
        arguments: the command and its arguments.
        folder: folder of its durable job, if it has one.
        stdout: file that gets what the command writes to stdout, once it has ended well.
    """

    def __init__(
        self, arguments: Sequence[str], *, folder: Path | None, stdout: Path | None
    ) -> None:
        self._folder, self._stdout = folder, stdout
        own = {name: v for name, v in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._result: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [*LEASHED, *arguments],
            stdin=subprocess.PIPE,
            stdout=self._result,
            stderr=self._messages,
            env=own | {"TEMPLORA_CONFIG": os.devnull},
            start_new_session=True,  # Ctrl-C reaches the shelf alone
        )

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the command has ended, well or not."""
        return self._process.poll() is not None

    def standing(self) -> Standing:
        """Progress of the book."""
        if self._folder is not None:
            with suppress(JobError):  # its first transaction is not there yet
                return standing_of(self._folder)
            return Standing()
        counts = [match for line in self._lines() if (match := _COUNT.search(line))]
        if not counts:
            return Standing()
        done, total = (int(number.replace(",", "")) for number in counts[-1].groups())
        return Standing(done / max(1, total), done)

    @property
    def warnings(self) -> list[str]:
        """Warnings of the command."""
        lines = self._lines()
        return [line.removeprefix(_WARNING) for line in lines if line.startswith(_WARNING)]

    def finish(self) -> str | None:
        """Wait until the command has ended, and put its result in place.

        Returns:
            Why it failed, in one line; None if it did not.

        Raises:
            OutputError: the result cannot be written.
        """
        code = self._process.wait()
        if code == 0:
            if self._stdout is not None:
                with replacing(self._stdout, "-O") as temporary:
                    temporary.write_bytes(_content(self._result))
            return None
        lines = self._lines()
        said = [line for line in lines if line.startswith(_MESSAGE) and _WARNING not in line]
        if said:
            return said[-1].removeprefix(_MESSAGE)
        if code < 0:
            return f"its process was ended by signal {-code}, perhaps for want of memory"
        return f"exit code {code}: {lines[-1] if lines else 'no message'}"

    def stop(self) -> None:
        """Ask the command to end, as with SIGTERM; what is finished is kept."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def close(self) -> None:
        """End the command, if it still runs."""
        self.stop()
        self._process.wait()
        self._messages.close()
        self._result.close()

    def _lines(self) -> list[str]:
        return _content(self._messages).decode(errors="replace").splitlines()


def _content(file: IO[bytes]) -> bytes:
    """All of an open file, whose offset, which the process shares, stays where it is."""
    number = file.fileno()
    return os.pread(number, os.fstat(number).st_size, 0)
