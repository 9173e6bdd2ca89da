"""What a translation is asked for: files, languages, options."""

from dataclasses import dataclass, field
from pathlib import Path

from templora_edge.assets import BUNDLED_TRANSLATOR
from templora_edge.host.files import same_file
from templora_edge.job_store.folder import folder_of
from templora_edge.models.gguf_file import files_of
from templora_edge.options import GREEDY, Options, SamplingOptions
from templora_edge.translation.answers import Languages
from templora_edge.translation.prompt import Pair
from templora_edge.translation.run import Review


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
    names: tuple[Pair, ...] = ()
    """Terms besides those of the glossary, before which they go."""
    memory: Path | None = None
    earlier: tuple[Pair, ...] = ()
    """Translated segments of earlier volumes: a memory, and shown first."""
    edited: Path | None = None
    """A file with translations that a person changed, which become those of the job: XLIFF, TMX, or
    a translated document, such as ``out`` itself."""
    bilingual: Path | None = None
    adapter_out: Path | None = None
    report: Path | None = None
    review: Review | None = None
    limit: int | None = None
    """Most segments to translate before the results are written; None is all."""
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
