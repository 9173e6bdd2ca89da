"""`HubName`, a model's name on the hub, and the file of a repository that it means.

The rules are llama.cpp's (`find_best_model` in its download.cpp).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from templora_edge.errors import OptionError

PREFIX: Final = "hf:"
"""Beginning of a name where a path could stand too."""
DEFAULT_QUANTS: Final = ("Q4_K_M", "Q8_0")
"""Quantizations that are looked for if none is named; without them, the first model is taken."""
_SIDECARS: Final = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
"""Parts of file names of GGUFs that belong to a model and are none."""

_WORDS: Final = r"\w+(?:[.-]\w+)*"
_NAME: Final = re.compile(rf"(?P<repo>{_WORDS}/{_WORDS})(?::(?P<quant>[\w.-]+))?", re.ASCII)
_PART: Final = re.compile(r"(?P<model>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")
_QUANT: Final = re.compile(r"[-.](\w+)$", re.ASCII)


@dataclass(frozen=True, slots=True)
class HubName:
    """Name of a model: a repository, and which of its files."""

    repo: str
    """``user/repo``"""
    quant: str | None = None
    """Quantization, in any case; None: one of `DEFAULT_QUANTS`, or the first model there is."""
    file: str | None = None
    """Path in the repository, which counts instead of ``quant``."""

    @classmethod
    def parse(cls, text: str, file: str | None = None) -> "HubName":
        """Parse ``user/repo[:quant]``.

        Raises:
            OptionError: ``text`` is not of that form.
        """
        match = _NAME.fullmatch(text)
        if match is None:
            raise OptionError(f"{text!r} is no name of a model; expected USER/REPO[:QUANT]")
        return cls(match["repo"], match["quant"], file)

    def __str__(self) -> str:
        return f"{self.repo}:{self.quant}" if self.quant else self.repo

    def choose(self, paths: Sequence[str]) -> str | None:
        """The path among ``paths``, all of the repository, that the name means; None if none is.

        Of a split model it is the first part.
        """
        if self.file is not None:
            return self.file if self.file in paths else None
        models = models_among(paths)
        for quant in (self.quant,) if self.quant else DEFAULT_QUANTS:
            # llama.cpp looks for the second alone, and so takes BF16 for F16
            named = [path for path in models if quant_of(path) == quant.upper()]
            pattern = re.compile(re.escape(quant) + "[.-]", re.IGNORECASE)
            if found := named or [path for path in models if pattern.search(path)]:
                return found[0]
        return models[0] if models and self.quant is None else None


def models_among(paths: Sequence[str]) -> list[str]:
    """Those of ``paths`` that are models, in their order; of split ones the first parts."""
    return [path for path in paths if _is_model(path) and _part(path)[1] == 1]


def quant_of(path: str) -> str:
    """Quantization that a file's name ends with, in capitals; empty if it names none."""
    match = _QUANT.search(_part(path)[0])
    return match[1].upper() if match else ""


def parts_of(path: str) -> list[str]:
    """All parts of the split model that ``path`` is a part of; otherwise ``path`` alone."""
    model, _, count = _part(path)
    if count == 1:
        return [path]
    return [f"{model}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]


def _is_model(path: str) -> bool:
    name = PurePosixPath(path).name
    return name.endswith(".gguf") and not any(word in name for word in _SIDECARS)


def _part(path: str) -> tuple[str, int, int]:
    """A GGUF's path without number and suffix, its number among the parts, and their count."""
    stem = path.removesuffix(".gguf")
    match = _PART.fullmatch(stem)
    return (match["model"], int(match["number"]), int(match["count"])) if match else (stem, 1, 1)
