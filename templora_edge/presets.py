"""Update rules by name and by size of the base.

Those of small bases were measured on the bundled model (docs/results/pg19.md, docs/log.md); larger
ones get the paper's learning rate, for want of a measurement.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from templora_edge.options import LoraOptions, Targets

_SMALL_PARAMETERS: Final = 100_000_000
"""Bases with fewer are small: they take larger learning rates on text that is given, smaller ones
on translations of their own."""


class Preset(StrEnum):
    """Names of update rules."""

    DEFAULT = "default"
    """The paper's: all linear layers, rank 64, two epochs."""
    FAST = "fast"
    """MLP only, one epoch, no L_T: the same gain in a fifth of the training time."""
    BEST = "best"
    """As `FAST` with rank 128 and an L_T that is only read: the largest gain that was measured."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An update rule: what `LoraOptions` says of training, and L_T."""

    lora: LoraOptions
    train_prefix_share: float = 1.0
    """L_T as a share of Δ."""
    layer_share: float = 1.0
    """Share of the layers that carry the adapter, counted from the last."""

    def layers(self, n_layers: int) -> int | None:
        """As `LoraOptions.layers`, for a base of ``n_layers``."""
        return None if self.layer_share == 1 else max(1, round(self.layer_share * n_layers))


_PAPER: Final = Rule(LoraOptions())
_FAST: Final = Rule(LoraOptions(alpha=256.0, dropout=0.0, epochs=1, targets=Targets.MLP), 0.0)
_RULES: Final[Mapping[Preset, Rule]] = MappingProxyType(
    {
        Preset.DEFAULT: _PAPER,
        Preset.FAST: _FAST,
        Preset.BEST: Rule(replace(_FAST.lora, rank=128, alpha=512.0, prefix_gradient=False), 0.5),
    }
)
_GIVEN_SMALL_LEARNING_RATE: Final = 7e-4
_OWN_TRANSLATIONS_SMALL: Final[Mapping[str, float]] = MappingProxyType(
    {"learning_rate": 1e-5, "decay": 0.02}
)


def rule(preset: Preset, n_parameters: int, *, given: bool) -> Rule:
    """The rule of a preset.

    Args:
        n_parameters: of the base.
        given: whether the text is given. What helps a small base on given text makes it repeat
            itself on text of its own (docs/log.md).
    """
    chosen = _RULES[preset]
    if given and n_parameters < _SMALL_PARAMETERS:
        faster = replace(chosen.lora, learning_rate=_GIVEN_SMALL_LEARNING_RATE)
        return replace(chosen, lora=faster)
    return chosen


def for_own_translations(n_parameters: int) -> Mapping[str, float]:
    """What differs from any preset's rule where a base learns its own translations (docs/log.md).

    Args:
        n_parameters: of the base.
    """
    return _OWN_TRANSLATIONS_SMALL if n_parameters < _SMALL_PARAMETERS else {}
