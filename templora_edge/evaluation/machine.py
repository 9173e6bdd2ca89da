"""A machine and the memory that usual models need on it: nothing is measured or loaded."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from templora_edge.engine import footprint as generation
from templora_edge.engine.build import Build
from templora_edge.host import memory
from templora_edge.host.board import board
from templora_edge.host.cores import default_threads
from templora_edge.models import footprint as training
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.models.families import family_of
from templora_edge.models.published import USUAL, PublishedModel, weight_bytes
from templora_edge.options import Options, TrainDtype
from templora_edge.training.processor import TorchProcessor

WINDOWS: Final = (512, 1024, 2048, 4096)
"""Contexts (W) that memory is estimated for, in tokens."""
VALUE_BYTES: Final[Mapping[TrainDtype, int]] = MappingProxyType(
    {TrainDtype.BF16: 2, TrainDtype.FP32: 4}
)


class Fit(StrEnum):
    """Whether a model fits the memory that is free."""

    YES = "yes"
    RECOMPUTING = "recomputing"
    """Training must recompute layers, which takes it longer."""
    NOT_LEARNING = "no learning"
    """Only with --no-templora."""
    NO = "no"


@dataclass(frozen=True, slots=True)
class TrainingNeed:
    """Estimated private memory of training in one precision, in bytes."""

    bytes: int
    """Memory if all activations are kept."""
    bytes_recomputing: int
    """Memory if layers are recomputed in backward, as they are where the former is not free."""


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Estimated memory of both processes with default options, in bytes."""

    model: str
    n_ctx: int
    """Context (W) in tokens."""
    weights_bytes: int
    """The model's pages, which both processes share."""
    generating_bytes: int
    """Private memory of the process that generates; the KV cache is in it."""
    training: dict[TrainDtype, TrainingNeed]

    def total(self, precision: TrainDtype, *, recomputing: bool) -> int:
        """Memory of both processes together."""
        need = self.training[precision]
        own = need.bytes_recomputing if recomputing else need.bytes
        return self.weights_bytes + self.generating_bytes + own

    def fit(self, available: int, precision: TrainDtype) -> Fit:
        """Whether the model fits ``available`` bytes."""
        if self.total(precision, recomputing=False) <= available:
            return Fit.YES
        if self.total(precision, recomputing=True) <= available:
            return Fit.RECOMPUTING
        if self.weights_bytes + self.generating_bytes <= available:
            return Fit.NOT_LEARNING
        return Fit.NO


@dataclass(frozen=True, slots=True)
class Machine:
    """Properties of a machine that matter to llama.cpp and torch."""

    system: str
    architecture: str
    board: str | None
    """Name of a single-board computer; None if the system names none."""
    cores: int
    """Cores of the machine, with each thread of a core."""
    threads: int
    """Default of -t: the physical cores that this process may use."""
    memory_available_bytes: int
    """Memory that is free for this process."""
    llama_cpp: Build
    torch: TorchProcessor

    @classmethod
    def here(cls) -> "Machine":
        """The machine that this runs on."""
        return cls(
            platform.platform(),
            platform.machine(),
            board(),
            os.cpu_count() or 1,
            default_threads(),
            memory.available(),
            Build.here(),
            TorchProcessor.here(),
        )


def memory_needs(base: BaseGguf) -> list[MemoryNeed]:
    """The memory that a model needs, by context, up to the one it was trained on.

    Raises:
        UnsupportedModelError: Temp-LoRA cannot train the model.
    """
    family_of(base)
    windows = [n for n in WINDOWS if n <= base.n_ctx_train] or [base.n_ctx_train]
    return [_need(base, n_ctx) for n_ctx in windows]


def usual_needs() -> list[MemoryNeed]:
    """The memory that usual models need in Q4_K_M, by context: of the dimensions in `USUAL`."""
    return [need for one in USUAL for need in memory_needs(PublishedModel(one))]


def _need(base: BaseGguf, n_ctx: int) -> MemoryNeed:
    options = Options().changed(n_ctx=n_ctx).resolve(base)
    needs = dict[TrainDtype, TrainingNeed]()
    for precision, value_bytes in VALUE_BYTES.items():
        found = training.estimate(
            base, options.lora, n_tokens=options.update_len, value_bytes=value_bytes
        )
        needs[precision] = TrainingNeed(
            found.total(checkpointing=False), found.total(checkpointing=True)
        )
    return MemoryNeed(
        base.path.name.removesuffix(".gguf"),
        n_ctx,
        weight_bytes(base),
        generation.private_bytes(base, options.engine),
        needs,
    )
