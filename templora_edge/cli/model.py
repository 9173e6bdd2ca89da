"""The flags that name a command's model: a file, or a name on the hub."""

import inspect
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from templora_edge.errors import OptionError
from templora_edge.models.hub.name import HubName


def _parsed(text: str) -> HubName:
    try:
        return HubName.parse(text)
    except OptionError as error:
        raise typer.BadParameter(str(error)) from None


FILE: Final = Annotated[
    Path | None,
    typer.Option("-m", "--model", metavar="FILE", help="GGUF model; default: the bundled one."),
]
"""Annotation of the parameter for a path."""
_NAME: Final = Annotated[
    HubName | None,
    typer.Option(
        "-hf",
        "-hfr",
        "--hf-repo",
        metavar="USER/REPO[:QUANT]",
        parser=_parsed,
        help="Model on Hugging Face, downloaded unless it is cached; QUANT defaults to Q4_K_M, "
        "then Q8_0, then the first model there.",
    ),
]
_NAMED_FILE: Final = Annotated[
    str | None,
    typer.Option("-hff", "--hf-file", metavar="FILE", help="File of -hf, instead of QUANT."),
]
_OFFLINE: Final = Annotated[
    bool, typer.Option("--offline", help="Take the model of -hf from the cache, without network.")
]


@dataclass(frozen=True)
class ModelFlags:
    """The model of a command."""

    file: Path | None
    name: HubName | None
    offline: bool

    @classmethod
    def collect(cls, given: dict[str, Any], flag: str = "-m") -> "ModelFlags":
        """Take the values of `model_parameters` out of ``given``; ``flag`` is for messages."""
        file, name = given.pop("model"), given.pop("hf_repo")
        part, offline = given.pop("hf_file"), given.pop("offline")
        if file is not None and name is not None:
            raise typer.BadParameter(f"give {flag} or -hf, not both")
        if part is not None:
            if name is None:
                raise typer.BadParameter("-hff needs -hf USER/REPO")
            name = HubName(name.repo, name.quant, part)
        return cls(file, name, offline)

    @cached_property
    def path(self) -> Path | None:
        """The model's path; one that is named and not cached is downloaded first.

        Raises:
            HubError: a model that is named cannot be had.
        """
        if self.name is None:
            return self.file
        from templora_edge.cli.download import DownloadLine
        from templora_edge.models.hub.find import find_model

        with DownloadLine() as line:
            return find_model(self.name, offline=self.offline, progress=line)

    def inputs(self, default: Path | None) -> list[tuple[str, Path]]:
        """The model's files for `check_outputs`, as far as they exist; downloads nothing."""
        from templora_edge.models.gguf_file import files_of
        from templora_edge.models.hub.cache import find_cached

        if self.name is None:
            path = self.file or default
            return [] if path is None else files_of(path)
        cached = find_cached(self.name)
        return [] if cached is None else [("-hf", path) for _, path in files_of(cached)]


def model_parameters(file: Any = FILE) -> list[inspect.Parameter]:
    """Parameters of a command that typer reads; ``file`` is the annotation of the path's."""
    annotations = {"model": file, "hf_repo": _NAME, "hf_file": _NAMED_FILE, "offline": _OFFLINE}
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if name == "offline" else None,
            annotation=annotation,
        )
        for name, annotation in annotations.items()
    ]
