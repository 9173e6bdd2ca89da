"""The files that a job gives its user: the document, a bilingual one and a report."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from templora_edge.documents import read_document
from templora_edge.errors import DocumentError, JobError, OptionError, OutputError
from templora_edge.host.files import check_outputs
from templora_edge.host.json_text import to_json
from templora_edge.job_store.folder import folder_of
from templora_edge.job_store.settings import digest
from templora_edge.job_store.written import Written
from templora_edge.translation.glossary.glossary import Glossary
from templora_edge.translation.job.translate_job import TranslateJob
from templora_edge.translation.run import assemble
from templora_edge.translation.store.segment_row import SegmentRow
from templora_edge.translation.store.store import Store


class Results:
    """The results of a job, which may be written at any time.

    Raises:
        DocumentError: the source cannot be read, or has nothing to translate.
        OptionError: an output is also an input or another output, or of another format.
        OutputError: an output cannot be written, or would overwrite a file not from this job.
    """

    def __init__(self, job: TranslateJob) -> None:
        self.job = job
        self.written = Written(folder_of(job.out))
        if job.out.suffix.lower() != job.source.suffix.lower():
            raise OptionError(
                f"-o {job.out}: expected a {job.source.suffix} file, the format of {job.source}"
            )
        self._check_outputs([job.out] if job.edits_out else [])
        self.document = read_document(job.source, job.languages.source)
        self.paragraphs = list(self.document.paragraphs)
        if not self.paragraphs:
            raise DocumentError(f"{job.source}: nothing to translate; expected some words")
        languages = job.languages.source, job.languages.target
        glossary = Glossary.read(job.glossary, *languages) if job.glossary else Glossary(())
        self.glossary = glossary.after(job.names)

    def check_source(self, store: Store) -> None:
        """Check that the segments of ``store`` are those of the source as it is.

        Raises:
            JobError: they are not, or there are none.
        """
        settings = store.settings
        if settings is None:
            raise JobError(f"{self.job.out}: nothing is translated yet; try again later")
        if settings["languages"] != asdict(self.job.languages):
            raise JobError(f"{self.job.out}: is translated with other languages; use the same")
        if settings["source"] != digest(self.job.source):
            raise JobError(
                f"{self.job.source}: was changed since {self.job.out} was begun; run the same "
                "command without --partial to take that up"
            )

    def write(self, store: Store) -> dict[str, Any]:
        """Write all results; segments that are not translated are as in the source.

        Another process may write at the same time: the later one writes what is translated then.

        Returns:
            The report.

        Raises:
            OutputError: a file could not be written, or a person changed it; it stays as it is.
        """
        job = self.job
        with store.writing():
            self._check_outputs([])
            translations = assemble(self.paragraphs, store.segments())
            report = self.report(store)
            for flag, path in (("-o", job.out), ("--bilingual", job.bilingual)):
                if path is not None:
                    with self.written.replacing(path, flag, store) as temporary:
                        self.document.write(
                            temporary,
                            translations,
                            language=job.languages.target,
                            bilingual=path is job.bilingual,
                        )
            if job.report is not None:
                with self.written.replacing(job.report, "--report", store) as temporary:
                    temporary.write_text(to_json(report), encoding="utf-8")
        return report

    def report(self, store: Store) -> dict[str, Any]:
        """Counts, settings, flagged segments and glossary violations, ready for JSON."""
        rows = store.segments()
        return store.status() | {
            "skipped": dict(self.document.skipped),
            "settings": store.settings,
            "glossary_violations": dict(self._violations(rows).most_common()),
        }

    def _violations(self, rows: list[SegmentRow]) -> Counter[str]:
        """How often each term is not used where the source has it."""
        return Counter(
            f"{term.source} = {term.translation}"
            for row in rows
            if row.translation is not None
            for term in self.glossary.violations(row.source, row.translation)
        )

    def _check_outputs(self, taken: Sequence[Path]) -> None:
        """Check that no file of others would be lost; what is in ``taken`` will be in the job."""
        job = self.job
        own = [path for _, path in job.outputs if path is not None and self.written.holds(path)]
        own += taken
        is_kept = job.force or job.out in own or not job.out.is_file()
        if not is_kept and self.written.wrote(job.out):
            raise OutputError(
                f"-o {job.out}: was changed since it was written; take the changes over with "
                f"--edited {job.out}, or overwrite them with --force"
            )
        check_outputs(job.outputs, job.inputs, force=job.force, own=own)
