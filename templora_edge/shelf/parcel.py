"""A book's files as bytes, to be sent to another machine and back.

SQLite is never opened over a network: the database of a job is copied with SQLite's own backup,
which gives a consistent one even while a process works on it.
"""

import json
import re
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from templora_edge.errors import DocumentError, JobError
from templora_edge.host.files import replacing, same_file
from templora_edge.host.workspace import Workspace
from templora_edge.job_store.folder import DATABASE, folder_of, is_begun
from templora_edge.job_store.store import JobStore
from templora_edge.job_store.written import Written
from templora_edge.shelf.book import Book
from templora_edge.translation.job.series import Series

_LEFTOVERS: Final = ("-wal", "-shm")
"""Endings of the files that SQLite has beside a database while it is open."""
OUT: Final = "out"
"""The folder in that of a parcel where the result is written, with its job beside it."""
_SERIES: Final = "series.toml"
_STATE: Final = re.compile(r'"((?:training|cache|states)-[\d-]+\.[a-z]+)"')
"""Name of a file with a part of the state after a block, as the database names it."""

Job = Mapping[str, bytes]
"""The files of a job's folder by their names: its database, and the state of training."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """The files that a command needs on another machine, but for the model."""

    inputs: Mapping[str, bytes]
    """Files that the command reads, by their paths in a folder."""
    job: Job = field(default_factory=dict)
    """Files of the work so far; empty: none."""


def packed(book: Book) -> Parcel:
    """The files of ``book`` as they are here.

    Raises:
        DocumentError: a file cannot be read.
        JobError: its job is damaged.
    """
    try:
        inputs = {place(book, path): path.read_bytes() for path in book.inputs}
        if book.series is not None:
            inputs |= _series(book, book.series)
    except OSError as error:
        raise DocumentError(f"{error.filename}: cannot be read ({error.strerror})") from error
    folder = book.folder
    return Parcel(inputs, packed_job(folder) if folder and is_begun(folder) else {})


def place(book: Book, path: Path) -> str:
    """Where ``path``, which the command of ``book`` reads, is in the folder of a parcel."""
    return f"{book.inputs.index(path)}/{path.name}"


def packed_job(folder: Path) -> dict[str, bytes]:
    """A consistent copy of the job in ``folder``, on which a process may be working.

    Raises:
        JobError: there is none, or it is damaged.
    """
    with Workspace(Path(tempfile.gettempdir())) as workspace:
        copy = workspace.path
        while True:
            _back_up(folder, copy / DATABASE)
            content = (copy / DATABASE).read_bytes()
            # a file of a state is removed once the database names a newer one: all must fit
            with suppress(FileNotFoundError):
                states = {name: (folder / name).read_bytes() for name in _states(copy)}
                return states | {DATABASE: content}


def unpack_job(job: Job, folder: Path) -> None:
    """Make ``folder`` that of ``job``; if the machine fails meanwhile, it is the one before."""
    folder.mkdir(exist_ok=True)
    for name, content in sorted(job.items(), key=lambda one: one[0] == DATABASE):  # it comes last
        with replacing(folder / Path(name).name, "the job") as temporary:
            temporary.write_bytes(content)


def take_back(book: Book, job: Job, results: Mapping[str, bytes]) -> None:
    """Put what comes back of ``book`` in its place.

    Args:
        book: the book; this process holds the lock of its folder.
        job: what is done of it.
        results: if it is done, its output and what stands beside that, by their names.

    Raises:
        JobError: its folder cannot be written, or is damaged.
        OutputError: the result cannot be written, or would overwrite a file not from this job.
    """
    folder = book.folder
    if folder is None:
        for name, content in results.items():
            with replacing(book.out.with_name(name), "-O") as temporary:
                temporary.write_bytes(content)
        return
    if not job:  # it was not begun
        return
    before = _close(folder)
    with Workspace(Path(tempfile.gettempdir())) as workspace:
        copy = workspace.path
        unpack_job(job, copy)
        with JobStore(copy) as store:  # paths of the other machine become those of this one
            store.put("source", str(book.source.absolute()))
            store.put("written", before)
        unpack_job({one: (copy / one).read_bytes() for one in job}, folder)
    for stale in folder.iterdir():
        if _STATE.fullmatch(f'"{stale.name}"') and stale.name not in job:
            stale.unlink()
    with JobStore(folder, beside=True) as store:
        written = Written(folder)
        for name, content in results.items():
            with written.replacing(book.out.with_name(name), "-O", store) as temporary:
                temporary.write_bytes(content)


def _states(folder: Path) -> list[str]:
    """Names of the files with the states that the database in ``folder`` names."""
    with JobStore(folder, read_only=True) as store:
        named = json.dumps([store.get("learned"), store.get("state")])
    return _STATE.findall(named)


def _back_up(folder: Path, copy: Path) -> None:
    uri = f"{(folder / DATABASE).absolute().as_uri()}?mode=ro"
    copy.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(uri, uri=True)) as source,
            closing(sqlite3.connect(copy)) as to,
        ):
            source.backup(to)
    except sqlite3.Error as error:
        raise JobError(f"{folder}: cannot be copied ({error}); start with --restart") from error


def _close(folder: Path) -> dict[str, list[str]]:
    """Bring all of the job in ``folder`` into its database, which is about to be replaced.

    What stands beside a database belongs to it alone, and would damage another one.

    Returns:
        `Store.written`.
    """
    if not is_begun(folder):
        return {}
    with JobStore(folder, beside=True) as store:
        before = store.written
    for ending in _LEFTOVERS:
        (folder / f"{DATABASE}{ending}").unlink(missing_ok=True)
    return before


def _series(book: Book, path: Path) -> dict[str, bytes]:
    """The series in ``path``, with the jobs and adapters of the volumes before ``book``."""
    series = Series.read(path)
    files: dict[str, bytes] = {}
    lines = [
        f"{key} = {_quoted(value)}"
        for key in ("source_language", "target_language")
        if (value := getattr(series, key)) is not None
    ]
    if series.glossary is not None:
        files["glossary/" + series.glossary.name] = series.glossary.read_bytes()
        lines.append(f"glossary = {_quoted('glossary/' + series.glossary.name)}")
    names = [f"{_quoted(one.source)} = {_quoted(one.translation)}" for one in series.names]
    lines += ["[names]", *names] if names else []
    for number, volume in enumerate(series.volumes):
        is_this = same_file(volume.source, book.source)
        source = place(book, book.source) if is_this else f"volumes/{number}/{volume.source.name}"
        out = f"{OUT}/{volume.out.name}" if is_this else f"volumes/{number}/{volume.out.name}"
        lines += ["[[volume]]", f"source = {_quoted(source)}", f"out = {_quoted(out)}"]
        if is_this:
            break
        folder = folder_of(volume.out)
        if is_begun(folder):
            job = packed_job(folder)
            files |= {f"{folder_of(Path(out))}/{name}": content for name, content in job.items()}
        if volume.adapter.is_file():
            files[f"volumes/{number}/{volume.adapter.name}"] = volume.adapter.read_bytes()
    return files | {_SERIES: ("\n".join(lines) + "\n").encode()}


def series_of(folder: Path) -> Path:
    """The series in the folder of a parcel that has one."""
    return folder / _SERIES


def _quoted(text: str) -> str:
    """``text`` as a TOML string, which may be written as in JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
