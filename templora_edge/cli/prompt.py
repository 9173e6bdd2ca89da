"""Input text: from -p, files, or a pipe."""

import sys
from pathlib import Path

from templora_edge.errors import PromptError
from templora_edge.host.text_file import decode, universal_newlines


def read_prompt(prompt: str | None, file: str | None) -> str:
    """The text of ``-p``, of ``-f FILE`` (`-` is stdin), or of a pipe on stdin.

    One final newline of a file is dropped, as in llama.cpp.

    Raises:
        PromptError: the prompt is missing, empty, unreadable, or not text.
    """
    if prompt is not None:
        return _checked(prompt, "-p")
    if file is not None and file != "-":
        return _checked(read_text(file, f"-f {file}"), f"-f {file}")
    if file is None and sys.stdin.isatty():
        raise PromptError("no prompt; give one with -p TEXT, -f FILE, or through a pipe")
    return _checked(read_text("-", "stdin"), "stdin")


def read_notes(file: str | None, *, stdin_is_prompt: bool) -> str:
    """The text of ``--notes FILE`` (`-` is stdin), without white space at its end; empty for None.

    Raises:
        PromptError: the notes are empty, unreadable or not text, or stdin is the prompt.
    """
    if file is None:
        return ""
    if file == "-" and stdin_is_prompt:
        raise PromptError("--notes -: stdin is the prompt; give one of the two as a file")
    notes = read_text(file, f"--notes {file}").rstrip()
    if not notes:
        raise PromptError(f"--notes {file}: the file is empty; expected names and facts")
    return notes


def path_of(file: str | None) -> Path:
    """The path that ``file`` is read from; `-` and None are stdin."""
    return Path("/dev/stdin") if file in (None, "-") else Path(str(file))


def read_text(file: str, source: str) -> str:
    """The text of ``file`` (`-` is stdin), without one final newline.

    A byte order mark is dropped, CRLF is read as LF, and an old encoding is guessed.

    Args:
        file: path of the file.
        source: its name in error messages.

    Raises:
        PromptError: the file is unreadable or not text.
    """
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise PromptError(f"{source}: {error.strerror}; expected a text file") from error
    return _decode(data, source)


def _decode(data: bytes, source: str) -> str:
    try:
        return universal_newlines(decode(data, source)).removesuffix("\n")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise PromptError(
            f"{source}: not text (byte {byte:#04x} at offset {error.start}); expected UTF-8"
        ) from error


def _checked(prompt: str, source: str) -> str:
    if not prompt:
        raise PromptError(f"{source}: the prompt is empty; expected some text to continue")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:  # an argument has bytes that the locale cannot decode
        raise PromptError(f"{source}: not UTF-8 (at character {error.start})") from error
    return prompt
