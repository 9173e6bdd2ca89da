"""Review of a translated block in the user's editor."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from templora_edge.cli.screen import SCREEN
from templora_edge.errors import OptionError, OutputError
from templora_edge.host.text_file import read_text
from templora_edge.translation.edits.review_sheet import ReviewSheet
from templora_edge.translation.store.segment_row import SegmentRow

EDITORS: Final = ("editor", "nano", "vim", "vi", "emacs")
"""Editors to try where neither $VISUAL nor $EDITOR is set."""
TRIES: Final = 3
"""Times that one block is shown before a damaged sheet ends the run."""


class Editor:
    """Lets a person edit blocks in $VISUAL, $EDITOR or whichever of `EDITORS` there is.

    Args:
        folder: folder of the job, where the sheet of a block is kept until it is reviewed.
        away: wraps the time that the person takes.

    Raises:
        OptionError: there is no such editor.
    """

    def __init__(self, folder: Path, away: Callable[[], AbstractContextManager[None]]) -> None:
        self._folder, self._away = folder, away
        self._name, self._command = _chosen()

    def __call__(self, rows: Sequence[SegmentRow]) -> list[str]:
        """The translations of ``rows`` as a person leaves them.

        What was saved before an interruption is shown again.

        Raises:
            OptionError: the editor failed, or left the sheet damaged several times.
            OutputError: the sheet cannot be written.
            KeyboardInterrupt: Ctrl-C ended the editor.
        """
        sheet = ReviewSheet(rows)
        name = sha256(sheet.text.encode()).hexdigest()[:8]
        path = self._folder / f"review-{rows[0].id}-{rows[-1].id}-{name}.txt"
        if not path.exists():
            _write(path, sheet.text)
        problem = ""
        for _ in range(TRIES):
            SCREEN.clear()
            with self._away():
                self._edit(path)
            text = ""
            try:
                text = _text_of(path)
                edited = sheet.read(text)
            except ValueError as error:
                problem = str(error)
                SCREEN.say(f"templora: warning: --review: {problem}")
                _write(path, sheet.with_problem(text, problem))
            else:
                path.unlink()
                return edited
        raise OptionError(
            f"--review: {problem}; {path} keeps what was written; run the same command to mend it"
        )

    def _edit(self, path: Path) -> None:
        with _interrupts_left_alone(), _modes_kept():
            try:
                code = _waited(subprocess.Popen([*self._command, str(path)]))
            except OSError as error:
                raise self._failed(f"cannot be started ({error.strerror})") from error
        if code in (-signal.SIGINT, 128 + signal.SIGINT):
            raise KeyboardInterrupt
        if code < 0:
            raise self._failed(f"was ended by signal {-code}")
        if code > 0:
            raise self._failed(f"failed with exit code {code}")

    def _failed(self, how: str) -> OptionError:
        return OptionError(
            f"--review: {self._name} {how}; this block is shown again when you run "
            "the same command; set VISUAL or EDITOR to use another editor"
        )


def _chosen() -> tuple[str, list[str]]:
    """The editor as its user names it, and the words that start it."""
    for name in ("VISUAL", "EDITOR"):
        value = os.environ.get(name, "").strip()
        if not value:
            continue
        try:
            program, *arguments = shlex.split(value)
        except ValueError as error:
            raise OptionError(
                f"--review: {name}={value}: {error}; quote it as in a shell"
            ) from None
        found = shutil.which(os.path.expanduser(program))  # noqa: PTH111 - it may be no path
        if found is None:
            raise OptionError(f"--review: {name}={value}: no such program; set it to an editor")
        return value, [found, *arguments]
    for program in EDITORS:
        if found := shutil.which(program):
            return program, [found]
    raise OptionError("--review: no editor found; set VISUAL or EDITOR to one")


def _waited(editor: "subprocess.Popen[bytes]") -> int:
    """The exit code of ``editor``, which is told to end when this process is."""
    with editor:
        try:
            return editor.wait()
        except BaseException:
            editor.terminate()
            raise


@contextmanager
def _interrupts_left_alone() -> Iterator[None]:
    """Leave Ctrl-C to the editor; many take it for a key.

    A handler, because a new program would inherit that the signal is ignored.
    """
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _modes_kept() -> Iterator[None]:
    """Restore the terminal's modes, which an editor that was killed leaves behind."""
    modes = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, modes)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"--review {path}: cannot be written ({error.strerror})") from error


def _text_of(path: Path) -> str:
    """The text of a sheet; empty if it is gone.

    Raises:
        ValueError: it is not text; a copy is kept.
    """
    try:
        return read_text(path)
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        kept = shutil.copy2(path, path.with_suffix(".unread"))
        raise ValueError(f"the file is not text ({error.reason}); {kept} is a copy") from error
