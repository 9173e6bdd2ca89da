"""What a job of several runs wrote, so that it may write it again."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from templora_edge.errors import JobError
from templora_edge.host.files import replacing
from templora_edge.translation.store import Store


class Written:
    """Files that the job in a folder wrote, told by their contents; none, if it is damaged."""

    def __init__(self, folder: Path) -> None:
        self._digests: dict[str, list[str]] = {}
        if (folder / "job.sqlite").is_file():
            try:
                with Store(folder, read_only=True) as store:
                    self._digests = store.written
            except JobError:  # whoever works on the job says what is wrong with it
                pass

    def holds(self, path: Path) -> bool:
        """Whether ``path`` has what a run of the job wrote there."""
        known = self._digests.get(os.path.realpath(path))
        return known is not None and path.is_file() and _sha256(path) in known

    def keep(self, store: Store) -> None:
        """Note it with the job."""
        store.set_written(self._digests)

    @contextmanager
    def replacing(self, path: Path, flag: str, store: Store) -> Iterator[Path]:
        """As `files.replacing`; noted before the file is there, so that no kill comes between.

        Raises:
            OutputError, JobError: the file or the note could not be written.
        """
        with replacing(path, flag) as temporary:
            yield temporary
            if temporary.is_file():  # no device
                self._digests.setdefault(os.path.realpath(path), []).append(_sha256(temporary))
                self.keep(store)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
