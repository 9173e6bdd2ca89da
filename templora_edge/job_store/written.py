"""The files that a job wrote, which a later run of it may overwrite."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from templora_edge.errors import JobError
from templora_edge.host.files import replacing, sha256_of
from templora_edge.job_store.folder import is_begun
from templora_edge.job_store.store import JobStore


class Written:
    """The files that the job in ``folder`` wrote, known by their contents; none if damaged."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests: dict[str, set[str]] = {}
        self._read()

    def holds(self, path: Path) -> bool:
        """Whether ``path`` still holds what a run of the job wrote there, perhaps just now."""
        self._read()
        known = self._digests.get(os.path.realpath(path))
        return known is not None and path.is_file() and sha256_of(path) in known

    def wrote(self, path: Path) -> bool:
        """Whether a run of the job wrote ``path``, whatever it holds now."""
        return os.path.realpath(path) in self._digests

    def keep(self, store: JobStore) -> None:
        """Save the record with the job."""
        store.add_written(self._digests)

    def add(self, path: Path, store: JobStore) -> None:
        """Count ``path`` as written by the job, which has taken over what a person changed there.

        It is copied into the job's folder first: what no segment holds, such as a paragraph more,
        is there.
        """
        shutil.copy2(path, store.folder / f"edited{path.suffix}")
        self.note(path, store)

    def note(self, path: Path, store: JobStore) -> None:
        """Record what ``path`` holds as written by the job."""
        self._digests.setdefault(os.path.realpath(path), set()).add(sha256_of(path))
        self.keep(store)

    @contextmanager
    def replacing(self, path: Path, flag: str, store: JobStore) -> Iterator[Path]:
        """Like `files.replacing`; the file is recorded before it is put in place.

        So a kill in between leaves no unrecorded file.

        Raises:
            OutputError, JobError: the file or the record could not be written.
        """
        with replacing(path, flag) as temporary:
            yield temporary
            if temporary.is_file():  # not a device
                self._digests.setdefault(os.path.realpath(path), set()).add(sha256_of(temporary))
                self.keep(store)

    def _read(self) -> None:
        """Add what other processes recorded."""
        if is_begun(self._folder):
            with (
                suppress(JobError),  # opening the job for work will report the reason
                JobStore(self._folder, read_only=True) as store,
            ):
                for path, digests in store.written.items():
                    self._digests.setdefault(path, set()).update(digests)
