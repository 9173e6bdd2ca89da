"""Update rules by preset and by size of the base.

Rules for small bases were measured on the bundled model (docs/results/pg19.md, docs/log.md); larger
bases get the paper's learning rate, as none was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Final

from templora_edge.options.kinds import Preset, Targets, TextKind
from templora_edge.options.lora import LoraOptions

_SMALL_PARAMETERS: Final = 100_000_000
"""Bases with fewer weights are small: they need a larger learning rate on given text, a smaller one
on generated translations."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An update rule: adapter, training and L_T."""

    lora: LoraOptions
    train_prefix_share: float = 1.0
    """L_T as a share of Δ."""


PAPER: Final = LoraOptions(
    **{
        one.name: one.metadata["paper"]
        for one in fields(LoraOptions)
        if one.metadata.get("paper") is not None
    }
)
"""The paper's update rule."""

_FAST: Final = PAPER.changed(alpha=256.0, dropout=0.0, epochs=1, targets=Targets.MLP)
_RULES: Final[Mapping[Preset, Rule]] = MappingProxyType(
    {
        Preset.DEFAULT: Rule(PAPER),
        Preset.FAST: Rule(_FAST, 0.0),
        Preset.BEST: Rule(_FAST.changed(rank=128, alpha=512.0, prefix_gradient=False), 0.5),
    }
)
_SMALL: Final[Mapping[TextKind, Mapping[str, float]]] = MappingProxyType(
    {
        TextKind.OWN: {},
        TextKind.GIVEN: {"learning_rate": 7e-4},
        TextKind.TRANSLATION: {"learning_rate": 1e-5, "decay": 0.02},
    }
)
"""Options of small bases in every preset, by kind of text."""


def rule_of(preset: Preset, n_parameters: int, text: TextKind) -> Rule:
    """The update rule of ``preset`` for a base of ``n_parameters`` weights and a kind of text."""
    chosen = _RULES[preset]
    if n_parameters >= _SMALL_PARAMETERS:
        return chosen
    return replace(chosen, lora=chosen.lora.changed(**_SMALL[text]))
