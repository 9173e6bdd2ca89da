"""Translation of a document as a resumable job: check files, translate, write results."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from templora_edge.assets import BUNDLED_TRANSLATOR
from templora_edge.closing import Closing
from templora_edge.errors import JobError, listed
from templora_edge.host.processor import processor
from templora_edge.job_store.folder import begun_folder, discard, folder_of, is_begun
from templora_edge.job_store.settings import refusal
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import TextKind
from templora_edge.session import TempLora
from templora_edge.translation.answers import Answers
from templora_edge.translation.checks import other_language
from templora_edge.translation.edits.edited_file import read_edits
from templora_edge.translation.job.plan import Plan, estimate
from templora_edge.translation.job.results import Results
from templora_edge.translation.job.settings import changes, settings_of
from templora_edge.translation.job.source_change import revised
from templora_edge.translation.job.translate_job import TranslateJob
from templora_edge.translation.memory import Memory
from templora_edge.translation.pair_loop import pair_loop
from templora_edge.translation.parallel_text import read_bitext
from templora_edge.translation.prompt import own_prompt
from templora_edge.translation.run import Step, TranslationRun, segments_of
from templora_edge.translation.store.segment_row import NO_ID, SegmentRow
from templora_edge.translation.store.store import Learned, Store

_logger: Final = logging.getLogger(__name__)


class Translator(Closing):
    """An open `TranslateJob`: iterate to translate, or ask for its `plan`.

    Raises:
        DocumentError: the source cannot be read, or has nothing to translate.
        OptionError: an output is also an input or another output.
        OutputError: an output cannot be written, or would overwrite a file not from this job.
        TemploraError: the session cannot be opened; see `TempLora`.
    """

    def __init__(self, job: TranslateJob) -> None:
        self.job = job
        self.report: dict[str, Any] = {}
        self.was_finished = False
        """Whether an earlier run finished the job."""
        self._edits: dict[str, int] | None = None
        self._results = Results(job)
        other = other_language(self._results.paragraphs, job.languages.source)
        if other is not None:
            _logger.warning(
                "%s: seems to be in another language (%s) than -sl %s; it is translated all the "
                "same",
                job.source,
                other,
                job.languages.source,
            )
        languages = job.languages.source, job.languages.target
        base = GgufFile(job.model or BUNDLED_TRANSLATOR)
        prompt = own_prompt(base, job.prompt_template, *languages)
        self._memory = (
            Memory.read(job.memory, *languages, before=job.earlier)
            if job.memory
            else Memory(job.earlier)
        )
        self._references = read_bitext(job.references, *languages) if job.references else []
        with ExitStack() as stack:
            session = stack.enter_context(
                TempLora(base.path, job.options, text=TextKind.TRANSLATION)
            )
            self._loop = pair_loop(session, prompt, *languages)
            self.session = session
            session.updates.restarts = 1
            self._stack = stack.pop_all()

    def __iter__(self) -> Iterator[Step]:
        """Translate the segments that are left, and write the results.

        Raises:
            JobError: earlier runs of the job had settings that cannot change.
            OutputError: a file could not be written; the one it would replace stays.
            TemploraError: translation failed; see `TranslationRun`.
        """
        job = self.job
        folder = folder_of(job.out)
        if job.restart and folder.is_dir():
            discard(folder)
        with Store(folder) as store:
            if job.restart:
                self._results.written.keep(store)
            self._begin(store)
            store.put("source", str(job.source.absolute()))
            store.set_places(self._results.document.places)
            self.was_finished = store.finished
            if job.retry_flagged or not store.finished:
                store.note_processor(processor(), store.n_done)
            if job.edited is not None:
                self._take_edits(job.edited, store)
            glossary = self._results.glossary
            run = TranslationRun(
                store,
                self._loop,
                self.session.updates,
                Answers(
                    self._loop,
                    job.languages,
                    job.sampling,
                    glossary,
                    store.segments(),
                    self._memory,
                ),
                references=self._references,
                earlier=job.earlier,
                review=job.review,
                limit=job.limit,
            )
            begun = time.perf_counter()
            try:
                if job.retry_flagged:
                    yield from run.retry()
                elif not store.finished:
                    yield from run
            finally:
                with suppress(JobError):  # must not hide the error that stopped the work
                    store.add_seconds(time.perf_counter() - begun - run.review_s)
            self.report = self._results.report(store) | {"edits": self._edits}
            complete = self.report["done"] == self.report["segments"]
            if job.limit is not None:
                self._results.write(store)
            elif complete:
                self._keep_adapter(store, run)
                self._results.write(store)
                store.finish()
                self.report["finished"] = True

    def _take_edits(self, path: Path, store: Store) -> None:
        """Make the translations that ``path`` changed those of the job; they are then on disk."""
        job, results = self.job, self._results
        edits = read_edits(path, results.document, store.segments(), job.languages, job.out.suffix)
        self._edits = {
            "changed": len(edits.rows),
            "unchanged": edits.unchanged,
            "unknown": edits.unknown,
        }
        store.edit(
            [
                replace(row, tokens=row.tokens or self._loop.n_tokens(str(row.translation)))
                for row in edits.rows
            ]
        )
        if job.edits_out:
            results.written.add(job.out, store)

    def plan(self) -> Plan:
        """Estimate the work and time that are left, without starting the job."""
        rows: list[SegmentRow] = []
        folder = folder_of(self.job.out)
        if is_begun(folder) and not self.job.restart:
            with Store(folder, read_only=True) as store:
                rows = store.segments()
        rows = revised(rows, self._segments())
        left = [row.source for row in rows if row.translation is None]
        return estimate(left, self._loop, self.session.updates, self.job.sampling)

    def close(self) -> None:
        """Close the session, which ends training."""
        self._stack.close()

    def _begin(self, store: Store) -> None:
        """Start the job, or take up what changed since its last run.

        Raises:
            JobError: settings differ that cannot change; it names which.
        """
        settings, segments = settings_of(self.job, self.session), self._segments()
        if store.settings is None:
            store.begin(settings, segments)
            return
        before = store.segments()
        rows = revised(before, segments)
        if store.started:
            self._check_changes(store, settings, before, rows)
        if rows != before or settings != store.settings:
            store.revise(settings, rows)

    def _check_changes(
        self,
        store: Store,
        settings: Mapping[str, Any],
        before: Sequence[SegmentRow],
        rows: Sequence[SegmentRow],
    ) -> None:
        """Say what changed, of the source and of the settings, if all of that may change."""
        job = self.job
        # what a finished job has learned is gone
        learned = Learned() if store.finished else store.learned
        taken_up, refused = changes(store.settings or {}, settings, learned)
        if refused:
            raise refusal(job.out, refused)
        if rows != before:
            n_new = sum(row.id == NO_ID for row in rows)
            _logger.warning(
                "%s: %d of %d segments are new or changed; %d are kept",
                *(job.source, n_new, len(rows), len(rows) - n_new),
            )
        if named := [name for name in taken_up if name != "source"]:
            is_left = any(row.translation is None for row in rows)
            what = "the segments to come follow" if is_left else "no segment is left to follow"
            _logger.warning("%s: %s changed; %s", job.out, listed(named), what)

    def _segments(self) -> list[tuple[int, str]]:
        return segments_of(self._results.paragraphs, self._loop)

    def _keep_adapter(self, store: Store, run: TranslationRun) -> None:
        """Learn what is left, and save the adapter, unless an earlier run did."""
        kept, written = self.job.adapter_out, self._results.written
        if kept is None or (store.finished and written.holds(kept)):
            return
        if store.finished:
            raise JobError(
                f"--adapter-out {kept}: the adapter of {self.job.out} was discarded when the job "
                "finished; translate again with --restart"
            )
        run.flush()
        with written.replacing(kept, "--adapter-out", store) as path:
            self.session.updates.save(path)


def write_partial(job: TranslateJob) -> dict[str, Any]:
    """Write what is translated so far, without a model, even while another process translates.

    Returns:
        The report.

    Raises:
        JobError: no job was begun, or its source was changed since.
        OutputError: a file could not be written, or a person changed it; it stays as it is.
        TemploraError: the source cannot be read; see `Results`.
    """
    folder = begun_folder(job.out)
    results = Results(job)
    with Store(folder, beside=True) as store:
        results.check_source(store)
        return results.write(store)
