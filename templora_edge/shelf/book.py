"""A book of a shelf: the command that works on it, and the files that it reads and writes."""

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from templora_edge.job_store.folder import folder_of, is_begun
from templora_edge.job_store.settings import digest
from templora_edge.job_store.store import JobStore
from templora_edge.job_store.written import Written

FORCE: Final = "--force"
ADAPTER_SUFFIX: Final = ".adapter.gguf"
TEXT_SUFFIXES: Final = (".xhtml", ".html", ".htm", ".xml")
"""Files in an archive that hold text."""


class Work(StrEnum):
    """Tasks of a shelf."""

    TRANSLATE = "translate"
    ABSORB = "absorb"
    PERPLEXITY = "perplexity"


@dataclass(frozen=True, slots=True)
class Input:
    """A file that a command reads, and what follows its path in the argument."""

    path: Path
    tail: str = ""


Argument = str | Input


@dataclass(frozen=True, slots=True)
class Book:
    """A text, and the `templora` command that works on it."""

    work: Work
    source: Path
    out: Path
    model: Path
    arguments: tuple[Argument, ...] = ()
    """Flags besides those of source, output, model, series and threads."""
    series: Path | None = None
    """The series of which it is a volume."""
    n_threads: int = 0
    """Threads, if the user gave a number; 0: as many as its place has."""

    @property
    def name(self) -> str:
        """Name in tables and messages."""
        return self.source.name

    @property
    def job_out(self) -> Path | None:
        """The output that its durable job is named by; None if it has no job.

        A text that is absorbed can be gone on with there: `templora generate -o`.
        """
        match self.work:
            case Work.TRANSLATE:
                return self.out
            case Work.ABSORB:
                return self.out.with_name(self.out.name.removesuffix(ADAPTER_SUFFIX))
            case Work.PERPLEXITY:
                return None

    @property
    def folder(self) -> Path | None:
        """Folder of its durable job; None if it begins anew after an interruption."""
        return None if self.job_out is None else folder_of(self.job_out)

    @property
    def is_begun(self) -> bool:
        """Whether an earlier run left something to go on from."""
        return self.folder is not None and is_begun(self.folder)

    @property
    def is_done(self) -> bool:
        """Whether an earlier run finished it, and its source is still the same."""
        if self.folder is None:
            return self.out.is_file() and FORCE not in self.arguments
        if not (self.is_begun and self.source.is_file() and Written(self.folder).holds(self.out)):
            return False
        with JobStore(self.folder, read_only=True) as store:
            settings = store.settings or {}
            # what a text was absorbed from is not told apart here: its own command does that
            source = settings.get("source", digest(self.source))
            return store.finished and source == digest(self.source)

    @property
    def size(self) -> int:
        """Length of its text in bytes, or nearly so; 0 if it cannot be read."""
        try:
            if not zipfile.is_zipfile(self.source):
                return self.source.stat().st_size
            with zipfile.ZipFile(self.source) as archive:
                return sum(
                    one.file_size
                    for one in archive.infolist()
                    if one.filename.lower().endswith(TEXT_SUFFIXES)
                )
        except (OSError, zipfile.BadZipFile):
            return 0  # its own command will say why

    @property
    def threads(self) -> int:
        """Threads that it must have: those it was begun with, or that were given; 0: any."""
        if self.n_threads or self.folder is None or not self.is_begun:
            return self.n_threads
        with JobStore(self.folder, read_only=True) as store:
            return int((store.settings or {}).get("n_threads") or 0)

    @property
    def processor(self) -> str | None:
        """The processor that worked on it last; None if none did."""
        if self.folder is None or not self.is_begun:
            return None
        with JobStore(self.folder, read_only=True) as store:
            return store.processors[-1]["name"] if store.processors else None

    @property
    def writes_stdout(self) -> bool:
        """Whether its command writes the result to stdout."""
        return self.work is Work.PERPLEXITY

    @property
    def inputs(self) -> list[Path]:
        """Files that its command reads, except the model."""
        return [self.source, *(one.path for one in self.arguments if isinstance(one, Input))]

    def command(
        self,
        n_threads: int,
        *,
        out: Path,
        model: Path,
        series: Path | None,
        place: Callable[[Path], Path] = Path,
    ) -> list[str]:
        """Arguments of `templora`.

        Args:
            n_threads: threads of llama.cpp and of training; 0: its own default.
            out, model, series: where these files are.
            place: path of a file that it reads -> where it is.
        """
        source = str(place(self.source))
        match self.work:
            case Work.TRANSLATE:
                begin = ["translate", source, "-o", str(out)]
            case Work.ABSORB:
                text = out.with_name(out.name.removesuffix(ADAPTER_SUFFIX))
                begin = ["generate", "-f", source, "-n", "0", "-o", str(text)]
                begin += ["--adapter-out", str(out)]
            case Work.PERPLEXITY:
                begin = ["perplexity", source, "--json"]
        flags = [
            one if isinstance(one, str) else f"{place(one.path)}{one.tail}"
            for one in self.arguments
        ]
        named = ["--series", str(series)] if series is not None else []
        return [*begin, "-m", str(model), "-t", str(n_threads), *named, *flags]


def out_of(work: Work, source: Path, folder: Path) -> Path:
    """The file in ``folder`` that becomes of ``source``."""
    suffix = {Work.TRANSLATE: "", Work.ABSORB: ADAPTER_SUFFIX, Work.PERPLEXITY: ".json"}[work]
    return folder / f"{source.name}{suffix}"


def chains_of(books: Sequence[Book]) -> list[list[Book]]:
    """``books`` in rows that must be worked on one after the other: volumes of a series, or one."""
    chains: dict[Path, list[Book]] = {}
    for book in books:
        chains.setdefault(book.series or book.source, []).append(book)
    return [*chains.values()]
