"""The passkey test: five digits hidden in filler (Mohtashami and Jaggi, arXiv 2305.16300).

A grid of lengths and depths, with the base alone, SelfExtend, Temp-LoRA, and both. Base and
SelfExtend decode the whole text; Temp-LoRA learns the text and decodes its last window; "both"
learns the text and decodes all of it.
"""

import random
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import Model
from templora_edge.engine.vocab import Vocab
from templora_edge.errors import OptionError
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.options import (
    Options,
    PasskeyMode,
    SamplingOptions,
    SelfExtendOptions,
)
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
"""Tokens generated for an answer."""


@dataclass(frozen=True, slots=True)
class PasskeyJob:
    """A grid of tests."""

    model: Path | None = None
    lengths: tuple[int, ...] = ()
    """Most tokens of the whole text; empty is 1/2, 1, 2 and 4 trained contexts."""
    n_depths: int = 5
    """Number of depths, equally spaced from the beginning of the filler to its end."""
    modes: tuple[PasskeyMode, ...] = tuple(PasskeyMode)
    options: Options = field(default_factory=Options)
    """Options of the sessions; n_ctx applies to the mode templora only, the seed to keys too."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The result of one test."""

    mode: PasskeyMode
    length: int
    depth: float
    n_tokens: int
    key: str
    answer: str
    found: bool
    seconds: float


class PasskeyRun:
    """A run of the grid: iterate to do the tests; `result` may be called at any time.

    Raises:
        OptionError: a length is too short for the fixed parts of the text.
        ModelFileError: the model cannot be loaded.
    """

    def __init__(self, job: PasskeyJob) -> None:
        self.job = job
        self.cells: list[Cell] = []
        path = job.model or BUNDLED_MODEL
        self._n_trained = BaseGguf(path).n_trained(job.options.engine.rope)
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
        """Number of tests in the whole grid."""
        return len(self.job.modes) * len(self._texts)

    def __iter__(self) -> Iterator[Cell]:
        """Run the tests one by one.

        Raises:
            TemploraError: a test failed; see `TempLora`.
        """
        for mode in self.job.modes:
            for length, depth in self._texts:
                self.cells.append(self._test(mode, length, depth))
                yield self.cells[-1]

    def result(self) -> dict[str, Any]:
        """Results so far, ready for JSON."""
        found = {
            mode.value: sum(cell.found for cell in self.cells if cell.mode is mode)
            for mode in self.job.modes
        }
        cells = [asdict(cell) for cell in self.cells]
        return {"trained_context": self._n_trained, "found": found, "cells": cells}

    def _key(self, length: int, depth: float) -> str:
        """The key of a text, the same for every mode."""
        chance = random.Random(f"{self.job.options.lora.seed} {length} {depth}")  # noqa: S311
        return str(chance.randrange(10_000, 100_000))

    def _test(self, mode: PasskeyMode, length: int, depth: float) -> Cell:
        begun = time.perf_counter()
        text, n_tokens = self._texts[length, depth]
        greedy = SamplingOptions(temperature=0, ignore_eos=True)
        options = self._options(mode, n_tokens)
        # going past the trained context is what is tested, so no warning
        with TempLora(self.job.model, options, past_training=True) as session:
            if mode.learns:
                session.absorb(text.removesuffix(QUESTION))
                text = QUESTION
            pieces = session.generate(text, n_predict=N_ANSWER, sampling=greedy)
            answer = "".join(piece.text for piece in pieces)
        key, seconds = self._key(length, depth), time.perf_counter() - begun
        found = is_found(key, answer)
        return Cell(mode, length, depth, n_tokens, key, answer, found, seconds)

    def _options(self, mode: PasskeyMode, n_tokens: int) -> Options:
        given = self.job.options
        options = given.changed(templora=mode.learns, measure_after=False, self_extend=None)
        if not mode.learns and any(other.learns for other in self.job.modes):
            options = options.changed(adapter=None)  # the base alone starts from no adapter
        if mode is PasskeyMode.TEMPLORA:
            return options
        block = given.blocks.block_len or (self._n_trained // 4 if mode.learns else N_ANSWER)
        n_ctx = n_tokens + block + N_ANSWER
        options = options.changed(block_len=block, n_ctx=n_ctx, prefix_len=None)
        if not mode.extends:
            return options
        chosen = given.engine.self_extend
        if not isinstance(chosen, SelfExtendOptions):
            chosen = SelfExtendOptions.for_length(n_ctx, self._n_trained)
        return options.changed(self_extend=chosen)


def is_found(key: str, answer: str) -> bool:
    """Whether the first number in ``answer`` is ``key``."""
    number = re.search(r"\d+", answer)
    return number is not None and number.group() == key


def passkey_text(vocab: Vocab, length: int, depth: float, key: str) -> tuple[str, int]:
    """The text of a test, at most ``length`` tokens long, and its number of tokens.

    Raises:
        OptionError: ``length`` is too short for the fixed parts of the text.
    """
    needle = NEEDLE.format(key=key)
    frame = len(vocab.head) + len(vocab.tokenize(INTRO + needle + QUESTION))
    n_fillers = (length - frame) // len(vocab.tokenize(FILLER))
    if n_fillers < 1:
        raise OptionError(
            f"--length {length}: too short for the passkey test, which takes {frame} tokens of "
            "this model even without filler"
        )
    before = round(depth * n_fillers)
    text = INTRO + FILLER * before + needle + FILLER * (n_fillers - before) + QUESTION
    return text, len(vocab.head) + len(vocab.tokenize(text))
