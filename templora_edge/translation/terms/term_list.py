"""A list of a document's terms with draft renderings, as a table that reads back as a glossary."""

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from templora_edge.assets import BUNDLED_TRANSLATOR
from templora_edge.documents import read_document
from templora_edge.errors import OptionError
from templora_edge.host.files import Files
from templora_edge.models.gguf_file import GgufFile, files_of
from templora_edge.options import Options, TextKind
from templora_edge.session import TempLora
from templora_edge.translation.answers import Languages
from templora_edge.translation.pair_loop import PairLoop, pair_loop
from templora_edge.translation.prompt import TemplatePrompt, language_name, own_prompt
from templora_edge.translation.terms.renderings import Renderings
from templora_edge.translation.terms.terms import Term, terms_of

_logger: Final = logging.getLogger(__name__)

COLUMNS: Final = ("source", "translation", "kind", "count", "example")
_FORMULA: Final = "=+-@\t\r "
"""What makes a spreadsheet take a cell for a formula, and has no place before an example."""


@dataclass(frozen=True, slots=True)
class TermsJob:
    """A document whose terms are wanted."""

    source: Path
    languages: Languages
    model: Path | None = None
    """Model that gives renderings; None is the bundled one, where it knows the languages."""
    n_threads: int = 0
    """Threads for llama.cpp; 0: one for each physical core."""
    limit: int = 100
    """Most terms."""

    @property
    def inputs(self) -> Files:
        """Files that are read, with their flags."""
        return [("DOC", self.source), *files_of(self.model or BUNDLED_TRANSLATOR)]


@dataclass(frozen=True, slots=True)
class TermRow:
    """A line of the list."""

    source: str
    translation: str
    """A draft; empty if there is none."""
    kind: str
    count: int
    example: str


def found_terms(job: TermsJob) -> list[Term]:
    """The first terms of a document, most telling first.

    Raises:
        DocumentError: the document cannot be read.
        MissingExtraError: the libraries of its format are not installed.
        OptionError: there is no such language.
    """
    for code in (job.languages.source, job.languages.target):
        language_name(code)
    document = read_document(job.source, job.languages.source)
    return terms_of(document.paragraphs, job.languages.source)[: job.limit]


def rendered(job: TermsJob, terms: Sequence[Term]) -> Iterator[TermRow]:
    """Each of ``terms`` with its rendering, as soon as that is known.

    Raises:
        OptionError: the model does not translate between the languages.
        TemploraError: the session cannot be opened, or llama.cpp fails.
    """
    with ExitStack() as stack:
        renderings = Renderings(job.languages, _loop(job, stack) if terms else None)
        for term in terms:
            yield TermRow(term.text, renderings.of(term), term.kind, term.count, term.example)


def to_table(rows: Sequence[TermRow]) -> str:
    """``rows`` as CSV with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        example = row.example.lstrip(_FORMULA)
        writer.writerow([row.source, row.translation, row.kind, row.count, example])
    return text.getvalue()


def _loop(job: TermsJob, stack: ExitStack) -> PairLoop | None:
    """The model, open until ``stack`` closes; None if it is the bundled one and knows them not."""
    languages = job.languages.source, job.languages.target
    base = GgufFile(job.model or BUNDLED_TRANSLATOR)
    try:
        prompt: TemplatePrompt | None = own_prompt(base, None, *languages)
    except OptionError as error:
        if job.model is not None:
            raise
        _logger.warning("%s; only names that stay have a rendering", error)
        return None
    options = Options().changed(templora=False, measure_after=False, n_threads=job.n_threads)
    session = stack.enter_context(TempLora(base.path, options, text=TextKind.TRANSLATION))
    return pair_loop(session, prompt, *languages)
