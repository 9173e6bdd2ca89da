"""Every option: its default, its range, its flag and its help, in one place.

A dataclass field is an option, made by `field.option`; flags of commands are generated from it,
reports name it as it is named here. A field whose default depends on the base, the preset or the
kind of text is *open*, that is None (0 where its help says so), until `Options.resolve` fills it
in; that is the only place where defaults are computed. Its annotation is its type from then on.
Values out of range are rejected when they are given.

Names are llama.cpp's for generation and PEFT's for the adapter; the paper's letters (arXiv
2401.11504) stand beside the fields that have one.
"""

from templora_edge.options.base import DEFAULT_MAX_CTX, Base, StartingAdapter
from templora_edge.options.blocks import BlockOptions
from templora_edge.options.engine import EngineOptions, FixedAdapter
from templora_edge.options.kinds import (
    KvPolicy,
    KvType,
    PasskeyMode,
    Preset,
    RopeScaling,
    ScoringProtocol,
    Targets,
    TextKind,
    TrainDtype,
)
from templora_edge.options.lora import LoraOptions
from templora_edge.options.options import Options
from templora_edge.options.presets import PAPER
from templora_edge.options.rope import RopeOptions
from templora_edge.options.sampling import GREEDY, MAX_SEED, SamplingOptions
from templora_edge.options.self_extend import SelfExtendOptions
from templora_edge.options.training import TrainingOptions

__all__ = [
    "DEFAULT_MAX_CTX",
    "GREEDY",
    "MAX_SEED",
    "PAPER",
    "Base",
    "BlockOptions",
    "EngineOptions",
    "FixedAdapter",
    "KvPolicy",
    "KvType",
    "LoraOptions",
    "Options",
    "PasskeyMode",
    "Preset",
    "RopeOptions",
    "RopeScaling",
    "SamplingOptions",
    "ScoringProtocol",
    "SelfExtendOptions",
    "StartingAdapter",
    "Targets",
    "TextKind",
    "TrainDtype",
    "TrainingOptions",
]
