"""Translation of a document as a resumable job: check files, translate, write results."""

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from templora_edge.assets import BUNDLED_TRANSLATOR
from templora_edge.closing import Closing
from templora_edge.documents import read_document
from templora_edge.errors import DocumentError, JobError, OptionError, listed
from templora_edge.host.files import check_outputs, same_file
from templora_edge.host.json_text import to_json
from templora_edge.models.gguf_file import GgufFile, files_of
from templora_edge.options import GREEDY, Options, SamplingOptions, TextKind
from templora_edge.session import TempLora
from templora_edge.translation.answers import Answers, Languages
from templora_edge.translation.checks import other_language
from templora_edge.translation.edited_file import read_edits
from templora_edge.translation.glossary import Glossary
from templora_edge.translation.memory import Memory
from templora_edge.translation.pair_loop import pair_loop
from templora_edge.translation.parallel_text import read_bitext
from templora_edge.translation.plan import Plan, estimate
from templora_edge.translation.prompt import own_prompt
from templora_edge.translation.run import Review, Step, TranslationRun, assemble, segments_of
from templora_edge.translation.store import Store, discard, folder_of
from templora_edge.translation.written import Written

_logger: Final = logging.getLogger(__name__)

NOT_COMPARED: Final = ("n_threads", "n_batch")
"""Settings that may change between two runs of a job."""


@dataclass(frozen=True, slots=True)
class TranslateJob:
    """One document to translate."""

    source: Path
    out: Path
    languages: Languages
    model: Path | None = None
    options: Options = field(default_factory=Options)
    sampling: SamplingOptions = GREEDY
    prompt_template: Path | None = None
    references: Path | None = None
    glossary: Path | None = None
    memory: Path | None = None
    edited: Path | None = None
    """A file with translations that a person changed, which become those of the job: XLIFF, TMX, or
    a translated document, such as ``out`` itself."""
    bilingual: Path | None = None
    adapter_out: Path | None = None
    report: Path | None = None
    review: Review | None = None
    limit: int | None = None
    """Most segments to translate, without writing ``out``; None is all."""
    restart: bool = False
    """Discard the work of earlier runs of this job."""
    retry_flagged: bool = False
    """Translate flagged segments again."""
    force: bool = False
    """Overwrite files that the job did not write, or that were changed since."""

    @property
    def outputs(self) -> list[tuple[str, Path | None]]:
        """Files written when all segments are done, with their flags."""
        return [
            ("-o", self.out),
            ("--bilingual", self.bilingual),
            ("--adapter-out", self.adapter_out),
            ("--report", self.report),
        ]

    @property
    def inputs(self) -> list[tuple[str, Path | None]]:
        """Files that must not be overwritten, with their flags."""
        return [
            ("IN", self.source),
            *files_of(self.model or BUNDLED_TRANSLATOR),
            *self.options.inputs,
            ("--prompt-template", self.prompt_template),
            ("--references", self.references),
            ("--glossary", self.glossary),
            ("--memory", self.memory),
            ("--edited", None if self.edits_out else self.edited),
            ("the job", folder_of(self.out)),
        ]

    @property
    def edits_out(self) -> bool:
        """Whether the edits are in ``out`` itself."""
        edited = self.edited
        return edited is not None and edited.exists() and same_file(edited, self.out)


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
        self._edits: dict[str, int] | None = None
        self._written = Written(folder_of(job.out))
        self._check_outputs()
        self.document = read_document(job.source, job.languages.source)
        self.paragraphs = list(self.document.paragraphs)
        if not self.paragraphs:
            raise DocumentError(f"{job.source}: nothing to translate; expected some words")
        other = other_language(self.paragraphs, job.languages.source)
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
        self._glossary = Glossary.read(job.glossary, *languages) if job.glossary else Glossary(())
        self._memory = Memory.read(job.memory, *languages) if job.memory else Memory()
        self._references = read_bitext(job.references, *languages) if job.references else []
        with ExitStack() as stack:
            session = stack.enter_context(
                TempLora(base.path, job.options, text=TextKind.TRANSLATION)
            )
            self._loop = pair_loop(session, prompt, *languages)
            self.session = session
            self._stack = stack.pop_all()

    def __iter__(self) -> Iterator[Step]:
        """Translate the segments that are left, and write the results.

        Raises:
            JobError: an earlier run of the job had other settings.
            OutputError: a file could not be written; the one it would replace stays.
            TemploraError: translation failed; see `TranslationRun`.
        """
        job = self.job
        folder = folder_of(job.out)
        if job.restart and folder.is_dir():
            discard(folder)
        with Store(folder) as store:
            if job.restart:
                self._written.keep(store)
            self._begin(store)
            store.put("source", str(job.source.absolute()))
            if job.edited is not None:
                self._take_edits(job.edited, store)
            run = TranslationRun(
                store,
                self._loop,
                self.session.updates,
                Answers(
                    self._loop,
                    job.languages,
                    job.sampling,
                    self._glossary,
                    store.segments(),
                    self._memory,
                ),
                references=self._references,
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
                spent = store.get("seconds", 0.0) + time.perf_counter() - begun
                with suppress(JobError):  # must not hide the error that stopped the work
                    store.put("seconds", spent)
            self.report = self._report(store)
            if self.report["done"] == self.report["segments"] and job.limit is None:
                self._write(store, run)

    def plan(self) -> Plan:
        """Estimate the work and time that are left, without starting the job."""
        folder = folder_of(self.job.out)
        left = [source for _, source in segments_of(self.paragraphs, self._loop)]
        if (folder / "job.sqlite").is_file() and not self.job.restart:
            with Store(folder, read_only=True) as store:
                left = [row.source for row in store.segments() if row.translation is None]
        return estimate(left, self._loop, self.session.updates, self.job.sampling)

    def _take_edits(self, path: Path, store: Store) -> None:
        """Make the translations that ``path`` changed those of the job; they are then on disk."""
        job = self.job
        edits = read_edits(path, self.document, store.segments(), job.languages, job.out.suffix)
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
            self._written.add(job.out, store)

    def _write(self, store: Store, run: TranslationRun) -> None:
        """Write the document and all other outputs, then remove the state of training."""
        job, translations = self.job, assemble(self.paragraphs, store.segments())
        kept = job.adapter_out
        if kept is not None and not (store.finished and self._written.holds(kept)):
            if store.finished:
                raise JobError(
                    f"--adapter-out {kept}: the adapter of {job.out} was discarded when the job "
                    "finished; translate again with --restart"
                )
            run.flush()
            with self._written.replacing(kept, "--adapter-out", store) as path:
                self.session.updates.save(path)
        with self._written.replacing(job.out, "-o", store) as path:
            self.document.write(path, translations, language=job.languages.target)
        if job.bilingual is not None:
            with self._written.replacing(job.bilingual, "--bilingual", store) as path:
                self.document.write(
                    path, translations, language=job.languages.target, bilingual=True
                )
        if job.report is not None:
            with self._written.replacing(job.report, "--report", store) as path:
                path.write_text(to_json(self.report), encoding="utf-8")
        store.finish()

    def _report(self, store: Store) -> dict[str, Any]:
        """Counts, settings, flagged segments and glossary violations, ready for JSON."""
        rows = store.segments()
        violated: Counter[str] = Counter()
        for row in rows:
            for term in self._glossary.violations(row.source, row.translation or ""):
                violated[f"{term.source} = {term.translation}"] += 1
        return store.status() | {
            "skipped": dict(self.document.skipped),
            "settings": store.settings,
            "edits": self._edits,
            "flagged_segments": [asdict(row) for row in rows if row.flags],
            "glossary_violations": dict(violated.most_common()),
        }

    def close(self) -> None:
        """Close the session, which ends training."""
        self._stack.close()

    def _check_outputs(self) -> None:
        job = self.job
        if job.out.suffix.lower() != job.source.suffix.lower():
            raise OptionError(
                f"-o {job.out}: expected a {job.source.suffix} file, the format of {job.source}"
            )
        own = [path for _, path in job.outputs if path is not None and self._written.holds(path)]
        own += [job.out] if job.edits_out else []
        only_shown = job.limit is not None
        check_outputs(job.outputs, job.inputs, force=job.force or only_shown, own=own)

    def _begin(self, store: Store) -> None:
        """Start the job, or check that its settings are those it was started with.

        Raises:
            JobError: the settings differ; it names which.
        """
        job, options = self.job, self.session.options
        settings = {
            "source": _digest(job.source),
            "model": self.session.base.sha256(),
            "languages": asdict(job.languages),
            "sampling": asdict(job.sampling),
            "prompt_template": _digest(job.prompt_template),
            "references": _digest(job.references),
            "glossary": _digest(job.glossary),
            "memory": _digest(job.memory),
            "adapter": _digest(options.training.adapter),
            "review": job.review is not None,
            **{k: v for k, v in options.settings().items() if k not in NOT_COMPARED},
            "lora": [[_digest(one.path), one.scale] for one in options.engine.lora] or None,
        }
        settings = json.loads(json.dumps(settings))
        before = store.settings
        if before is None or not store.started:
            store.begin(settings, segments_of(self.paragraphs, self._loop))
            return
        changed = [name for name in settings if settings[name] != before.get(name)]
        if changed:
            raise JobError(
                f"{job.out}: was begun with another {listed(changed)}; use the same again, or "
                "discard its work with --restart"
            )


def status(out: Path) -> dict[str, Any]:
    """Counts of what is done of the job of ``out``, ready for JSON.

    Raises:
        JobError: there is no such job.
    """
    folder = folder_of(out)
    if not (folder / "job.sqlite").is_file():
        raise JobError(f"{out}: no job was begun for it; expected its folder {folder}")
    with Store(folder, read_only=True) as job:
        return job.status()


def _digest(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
