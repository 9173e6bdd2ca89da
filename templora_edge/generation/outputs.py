"""The files that a generation writes."""

from dataclasses import dataclass
from pathlib import Path

from templora_edge.errors import JobError, OptionError, OutputError
from templora_edge.generation.text_store import TextStore
from templora_edge.host.files import Files, check_outputs
from templora_edge.job_store.folder import folder_of, is_begun
from templora_edge.job_store.written import Written


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that a generation writes."""

    out: Path | None = None
    """File of the text, which makes the generation a job; None: the text is not kept."""
    adapter_out: Path | None = None
    report: Path | None = None

    @property
    def folder(self) -> Path | None:
        """The folder of the job; None if there is no job."""
        return None if self.out is None else folder_of(self.out)

    def check(self, inputs: Files, *, force: bool = False) -> None:
        """Check before any work that no file of others would be lost.

        Raises:
            OptionError: an output is an input or another output, or ``out`` is no regular file.
            OutputError: an output cannot be written, or exists and is not of this job.
        """
        own: list[Path] = []
        if self.out is not None:
            if self.out.exists() and not (self.out.is_file() or self.out.is_dir()):
                raise OptionError(
                    f"-o {self.out}: not a regular file; leave out -o to write to stdout"
                )
            own = self._own(self.out, force=force)
        outputs = [("-o", self.out), ("--adapter-out", self.adapter_out), ("--report", self.report)]
        check_outputs(outputs, inputs, force=force, own=own)

    def _own(self, out: Path, *, force: bool) -> list[Path]:
        """The outputs that hold what the job of ``out`` wrote there."""
        folder = folder_of(out)
        written = Written(folder)
        own = [p for p in (self.adapter_out, self.report) if p is not None and written.holds(p)]
        if not (is_begun(folder) and out.is_file()):
            return own
        try:
            with TextStore(folder, read_only=True) as store:
                is_own = store.wrote(out.read_bytes())
                was_written = store.text != ""
        except JobError:  # opening the job for work will report the reason
            return own
        if is_own:
            return [*own, out]
        if was_written and not force:
            raise OutputError(
                f"-o {out}: was changed since it was written; give another name, or overwrite it "
                "with --force"
            )
        return own
