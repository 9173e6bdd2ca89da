"""Optional dependencies, and the error that says what to install when one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from templora_edge.errors import MissingExtraError

EXTRAS: Final = {
    "cluster": ("dask", "distributed"),
    "documents": ("docx", "lxml", "markdown_it", "mdit_py_plugins"),
    "evaluate": ("sacrebleu",),
    "plot": ("matplotlib",),
}
"""Extra in pyproject.toml -> top-level modules that its packages provide."""


@contextmanager
def needs_extra(extra: str, subject: str) -> Iterator[None]:
    """Turn failed imports in the block into an error that names ``extra``.

    Other exceptions, and failed imports of modules outside ``extra``, pass unchanged.

    Args:
        extra: name of the extra in pyproject.toml.
        subject: file, flag or command that the message names.

    Raises:
        MissingExtraError: a module of ``extra`` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRAS[extra]:
            raise
        raise MissingExtraError(
            f"{subject}: needs the {extra} extra ({error.name} is not installed): "
            f"pip install 'templora-edge[{extra}]'"
        ) from error
