"""The passkey test: five digits hidden in filler (Mohtashami and Jaggi, arXiv 2305.16300).

A grid of lengths and depths, by the base alone, with SelfExtend, with Temp-LoRA, and with both.
Base and SelfExtend decode the whole text; Temp-LoRA learns it and decodes its last window; both do
both.
"""

import random
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import Model
from templora_edge.engine.vocab import Vocab
from templora_edge.errors import OptionError
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.rope import Scaling
from templora_edge.options import PasskeyMode, SamplingOptions
from templora_edge.positions import RopeOptions, SelfExtendOptions
from templora_edge.session import TempLora

INTRO: Final = (
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize it. "
    "I will quiz you about the important information there."
)
FILLER: Final = (
    " The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
)
NEEDLE: Final = " The pass key is {key}. Remember it. {key} is the pass key."
QUESTION: Final = " What is the pass key? The pass key is"
N_ANSWER: Final = 16
"""Tokens that are written for an answer."""


@dataclass(frozen=True, slots=True)
class PasskeyJob:
    """A grid of tests. Args of `TempLora` are in ``settings``; its n_ctx is Temp-LoRA's W."""

    model: Path | None = None
    lengths: tuple[int, ...] = ()
    """Lengths of the whole text, in tokens, at most; empty: 1/2, 1, 2 and 4 trained contexts."""
    n_depths: int = 5
    """Equally spaced, from the beginning of the filler to its end."""
    modes: tuple[PasskeyMode, ...] = tuple(PasskeyMode)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """One test."""

    mode: PasskeyMode
    length: int
    depth: float
    n_tokens: int
    key: str
    answer: str
    found: bool
    seconds: float


class PasskeyRun:
    """A grid under way: iterate to work, ask for `result` at any time.

    Raises:
        OptionError: a length that the frame of the text does not fit.
        ModelFileError: the model cannot be loaded.
    """

    def __init__(self, job: PasskeyJob) -> None:
        self.job = job
        self.cells: list[Cell] = []
        path = job.model or BUNDLED_MODEL
        rope = job.settings.get("rope") or RopeOptions()
        self._n_trained = Scaling.of(GgufFile(path), rope).n_trained
        trained = self._n_trained
        self.lengths = job.lengths or (trained // 2, trained, 2 * trained, 4 * trained)
        steps = max(1, job.n_depths - 1)
        self.depths = [index / steps for index in range(job.n_depths)]
        with Model(path) as model:
            self._texts = {
                (length, depth): passkey_text(model.vocab, length, depth, self._key(length, depth))
                for length in self.lengths
                for depth in self.depths
            }

    @property
    def n_cells(self) -> int:
        """Tests of the whole grid."""
        return len(self.job.modes) * len(self._texts)

    def __iter__(self) -> Iterator[Cell]:
        """Do one test after another.

        Raises:
            TemploraError: see `TempLora`.
        """
        for mode in self.job.modes:
            for length, depth in self._texts:
                self.cells.append(self._test(mode, length, depth))
                yield self.cells[-1]

    def result(self) -> dict[str, Any]:
        """What is done so far, ready for JSON."""
        found = {
            mode.value: sum(cell.found for cell in self.cells if cell.mode is mode)
            for mode in self.job.modes
        }
        cells = [asdict(cell) for cell in self.cells]
        return {"trained_context": self._n_trained, "found": found, "cells": cells}

    def _key(self, length: int, depth: float) -> str:
        """The same for every mode."""
        return str(random.Random(f"{self.job.seed} {length} {depth}").randrange(10_000, 100_000))  # noqa: S311

    def _test(self, mode: PasskeyMode, length: int, depth: float) -> Cell:
        begun = time.perf_counter()
        text, n_tokens = self._texts[length, depth]
        greedy = SamplingOptions(temperature=0, ignore_eos=True)
        with TempLora(self.job.model, **self._settings(mode, n_tokens)) as session:
            if mode.learns:
                session.absorb(text.removesuffix(QUESTION))
                text = QUESTION
            pieces = session.generate(text, n_predict=N_ANSWER, sampling=greedy)
            answer = "".join(piece.text for piece in pieces)
        key, seconds = self._key(length, depth), time.perf_counter() - begun
        found = is_found(key, answer)
        return Cell(mode, length, depth, n_tokens, key, answer, found, seconds)

    def _settings(self, mode: PasskeyMode, n_tokens: int) -> dict[str, Any]:
        settings = dict(self.job.settings) | {
            "templora": mode.learns,
            "given": True,
            "measure_after": False,
            "past_training": True,  # that is what is tested
            "seed": self.job.seed,
            "self_extend": None,
        }
        if not mode.learns and any(other.learns for other in self.job.modes):
            settings["adapter"] = None  # the base alone goes on from nothing
        if mode is PasskeyMode.TEMPLORA:
            return settings
        block = self._n_trained // 4 if mode.learns else N_ANSWER
        settings["block_len"] = settings.get("block_len") or block
        settings["n_ctx"] = n_tokens + settings["block_len"] + N_ANSWER
        settings["prefix_len"] = None
        if mode.extends:
            chosen = self.job.settings.get("self_extend")
            if not isinstance(chosen, SelfExtendOptions):
                chosen = SelfExtendOptions.for_length(settings["n_ctx"], self._n_trained)
            settings["self_extend"] = chosen
        return settings


def is_found(key: str, answer: str) -> bool:
    """Whether the first number of ``answer`` is ``key``."""
    number = re.search(r"\d+", answer)
    return number is not None and number.group() == key


def passkey_text(vocab: Vocab, length: int, depth: float, key: str) -> tuple[str, int]:
    """The text, of at most ``length`` tokens, and how many it has."""
    needle = NEEDLE.format(key=key)
    frame = len(vocab.head) + len(vocab.tokenize(INTRO + needle + QUESTION))
    n_fillers = (length - frame) // len(vocab.tokenize(FILLER))
    if n_fillers < 1:
        raise OptionError(
            f"--length {length}: too short for the passkey test, whose question alone takes "
            f"{frame} tokens of this model"
        )
    before = round(depth * n_fillers)
    text = INTRO + FILLER * before + needle + FILLER * (n_fillers - before) + QUESTION
    return text, len(vocab.head) + len(vocab.tokenize(text))
