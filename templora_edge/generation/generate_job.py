"""The request of a generation: a prompt, options, files."""

from dataclasses import dataclass, field
from pathlib import Path

from templora_edge.ending import Ending
from templora_edge.generation.outputs import Outputs
from templora_edge.options import Options, SamplingOptions


@dataclass(frozen=True, slots=True)
class GenerateJob:
    """One run of long generation."""

    prompt: str
    n_predict: int | None = None
    """Number of tokens to generate; None is until the model ends the text."""
    model: Path | None = None
    """The model; None is the bundled one."""
    options: Options = field(default_factory=Options)
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    seed: int | None = None
    """Random seed of adapter and sampling; None is that of the job, or a new one."""
    chat: bool = False
    special: bool = False
    """Whether control tokens in the prompt are parsed as such."""
    notes: str = ""
    """Names and facts at the head of every window."""
    stop: tuple[str, ...] = ()
    """Texts before any of which the text ends."""
    chapters: int | None = None
    """Number of chapters after which the text ends; a later run may write more."""
    outputs: Outputs = field(default_factory=Outputs)
    restart: bool = False
    """Discard the work of earlier runs of this job."""

    def __post_init__(self) -> None:
        self.ending()

    def ending(self) -> Ending:
        """The rules that end the text, besides its length and the model.

        Raises:
            OptionError: ``stop`` or ``chapters`` cannot be used.
        """
        return Ending(stop=self.stop, chapters=self.chapters)
