"""A generation: a session on a prompt, as a job that can be taken up again if it has a file."""

import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from templora_edge.closing import Closing
from templora_edge.errors import JobError, OutputError, listed
from templora_edge.events import Absorbed, BlockReport, Piece
from templora_edge.generation.durable_text import DurableText
from templora_edge.generation.generate_job import GenerateJob
from templora_edge.generation.report import report_of
from templora_edge.generation.settings import changes, settings_of
from templora_edge.generation.text_file import TextFile
from templora_edge.generation.text_store import TextStore
from templora_edge.host.files import replacing
from templora_edge.host.json_text import to_json
from templora_edge.host.processor import processor
from templora_edge.job_store.folder import discard, is_begun
from templora_edge.job_store.settings import refusal
from templora_edge.job_store.written import Written
from templora_edge.options import MAX_SEED
from templora_edge.session import TempLora

_logger: Final = logging.getLogger(__name__)


class Generation(Closing):
    """An open `GenerateJob`: iterate to write the text.

    The attribute `job` has the seed that is used, `text` is the session.

    Raises:
        JobError: the job is in use, damaged, or was begun with other settings.
        TemploraError: the session cannot be opened; see `TempLora`.
    """

    def __init__(self, job: GenerateJob) -> None:
        self._store: TextStore | None = None
        self._written: Written | None = None
        folder = job.outputs.folder
        with ExitStack() as stack:
            if folder is not None:
                self._written = Written(folder)
                if is_begun(folder) and not job.restart:
                    self._store = stack.enter_context(TextStore(folder))
            self.job = self._seeded(job)
            self.text = stack.enter_context(TempLora(job.model, self.job.options))
            if folder is not None:
                notes, prompt = self._prompt()  # its errors leave no folder
                if self._store is None:
                    if folder.is_dir() and job.restart:
                        discard(folder)
                    self._store = stack.enter_context(TextStore(folder))
                self._begin(self._store, notes, prompt)
                state = self._store.state
                self._store.note_processor(processor(), state.n_tokens if state else 0)
            self._stack = stack.pop_all()

    def __iter__(self) -> Iterator[Absorbed | Piece | BlockReport]:
        """Write the text, yielding events as they come; those of a job are of what is new.

        The report covers the blocks that were finished, and is written however the run ends.

        Raises:
            OutputError, JobError: a result cannot be written.
            TemploraError: generation failed; see `TempLora.stream`.
        """
        started = time.perf_counter()
        finished = False
        n_tokens = self.n_written
        try:
            for event in self._events():
                n_tokens += isinstance(event, Piece) and event.token is not None
                yield event
            self._keep_adapter()
            finished = True
        finally:
            seconds = time.perf_counter() - started
            # what fails here must not hide the error that ended the run
            with suppress(*(() if finished else (OutputError, JobError))):
                if self._store is not None:
                    self._store.add_seconds(seconds)
                    seconds = self._store.seconds
                self._write_report(n_tokens, seconds, finished=finished)

    @property
    def n_written(self) -> int:
        """Tokens of the text, without the prompt, that are saved; 0 without a job."""
        return 0 if self._store is None else len(self._store.tokens()) - self._store.n_prompt

    def close(self) -> None:
        """Close the session, which ends training, and release the job."""
        self._stack.close()

    def _seeded(self, job: GenerateJob) -> GenerateJob:
        seed = job.seed
        if seed is None and self._store is not None and self._store.settings is not None:
            seed = int(self._store.settings["seed"])
        if seed is None:
            seed = secrets.randbelow(MAX_SEED + 1)
        return replace(
            job,
            seed=seed,
            sampling=job.sampling.changed(seed=seed),
            options=job.options.changed(
                seed=seed, measure_after=job.outputs.report is not None, scores=False
            ),
        )

    def _prompt(self) -> tuple[list[int], list[int]]:
        """Tokens of the notes, which are in use from now on, and of the prompt.

        Those of notes are the job's if it has any, as a template may name the date; it has the
        prompt itself.
        """
        job = self.job
        if self._store is not None and self._store.settings is not None:
            notes, prompt = self._store.notes, list[int]()
        else:
            notes, prompt = self.text.prompt_tokens(
                job.prompt, job.notes, chat=job.chat, special=job.special
            )
        self.text.loop.use_notes(notes)
        return notes, prompt

    def _begin(self, store: TextStore, notes: Sequence[int], prompt: Sequence[int]) -> None:
        """Begin the job, or check what changed since its last run.

        Raises:
            JobError: settings differ that cannot change; it names which.
        """
        job, out = self.job, self.job.outputs.out
        settings = settings_of(job, self.text)
        self.text.updates.restarts = 1
        before = store.settings
        if before is None:
            store.begin(settings, notes, prompt)
            return
        taken_up, refused = changes(before, settings)
        if refused:
            raise refusal(Path(str(out)), refused)
        if taken_up:
            store.put("settings", settings)
            _logger.warning("%s: %s changed; the text to come follows", out, listed(taken_up))
        if job.n_predict is not None and job.n_predict < self.n_written:
            _logger.warning(
                "%s: has %d tokens already, more than -n %d; they are kept",
                *(out, self.n_written, job.n_predict),
            )

    def _events(self) -> Iterator[Absorbed | Piece | BlockReport]:
        job, out = self.job, self.job.outputs.out
        if self._store is None or out is None:
            yield from self.text.stream(
                job.prompt,
                n_predict=job.n_predict,
                sampling=job.sampling,
                chat=job.chat,
                special=job.special,
                notes=job.notes,
                stop=job.stop,
                chapters=job.chapters,
            )
            return
        self._store.put("n_predict", job.n_predict)
        with TextFile(out, self._store.text) as file:
            yield from DurableText(self.text, self._store, job, file)

    def _keep_adapter(self) -> None:
        path = self.job.outputs.adapter_out
        if path is None:
            return
        self.text.save_adapter(path)
        if self._store is not None and self._written is not None and path.is_file():
            self._written.note(path, self._store)

    def _write_report(self, n_tokens: int, seconds: float, *, finished: bool) -> None:
        path = self.job.outputs.report
        if path is None:
            return
        content = report_of(
            self.text, self.job, n_tokens=n_tokens, seconds=seconds, finished=finished
        )
        with self._replacing(path, "--report") as temporary:
            temporary.write_text(to_json(content), encoding="utf-8")

    def _replacing(self, path: Path, flag: str) -> AbstractContextManager[Path]:
        """Like `files.replacing`; a job notes the file, so that it may write it again."""
        if self._store is None or self._written is None:
            return replacing(path, flag)
        return self._written.replacing(path, flag, self._store)
