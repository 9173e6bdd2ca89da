"""Update rules by preset and kind of text, measured in docs/results/pg19.md and docs/log.md."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Final

from templora_edge.options.base import Base
from templora_edge.options.kinds import Preset, Targets, TextKind
from templora_edge.options.lora import LoraOptions


@dataclass(frozen=True, slots=True)
class Rule:
    """An update rule: adapter, training and L_T."""

    lora: LoraOptions
    train_prefix_len: int
    """Default L_T in tokens."""
    tail: float = 1.0
    """Share of the decoder layers that carry the adapter: the last ones."""


PAPER: Final = LoraOptions(
    **{
        one.name: one.metadata["paper"]
        for one in fields(LoraOptions)
        if one.metadata.get("paper") is not None
    }
)
"""The paper's update rule."""

_DEFAULT: Final = PAPER.changed(
    rank=16,
    alpha=128.0,
    dropout=0.0,
    epochs=1,
    targets=Targets.UP_DOWN,
    prefix_gradient=False,
    exact_loss=False,
    learning_rate="auto",
    own_learning_rate=0.0,
)
_RULES: Final[Mapping[Preset, Rule]] = MappingProxyType(
    {
        Preset.DEFAULT: Rule(_DEFAULT, 512, tail=2 / 3),
        Preset.PAPER: Rule(PAPER, 256),
        Preset.BEST: Rule(
            _DEFAULT.changed(rank=64, alpha=256.0, targets=Targets.ALL, epochs=2), 512
        ),
    }
)
# A base model that learns its own translations ends in repetition, and no rate of given ones is
# known that never makes translations worse (docs/results/translation-pairs.md): the default learns
# none.
# With decay, what is learned at a rate that is given does not add up over a long text.
_TRANSLATION: Final[Mapping[Preset, LoraOptions]] = MappingProxyType(
    {
        Preset.DEFAULT: PAPER.changed(learning_rate=0.0, own_learning_rate=0.0, decay=0.02),
        Preset.PAPER: PAPER,
        Preset.BEST: PAPER.changed(learning_rate=1e-5, own_learning_rate=0.0, decay=0.02),
    }
)


def rule_of(preset: Preset, base: Base, text: TextKind, block_len: int) -> Rule:
    """The update rule of ``preset``.

    Args:
        preset: name of the rule.
        base: the model.
        text: kind of text that is learned.
        block_len: tokens between two updates (Δ).
    """
    if text is TextKind.TEXT:
        rule = _RULES[preset]
        if rule.tail == 1 or not base.n_layers:
            return rule
        layers = math.ceil(rule.tail * base.n_layers)
        return replace(rule, lora=replace(rule.lora, layers=layers))
    return Rule(_TRANSLATION[preset], 2 * block_len)
