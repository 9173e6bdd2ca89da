"""Every option: its default, range, flag and help text, in one place.

A dataclass field made by `field.option` is an option; command-line flags are generated from it, and
reports use its name. A field whose default depends on the base, the preset or the kind of text is
*open*, that is None (0 where its help says so), until `Options.resolve` fills it in; defaults are
computed nowhere else. The annotation is the type of the resolved field. Values out of range are
rejected when an instance is built.

Names follow llama.cpp for generation and PEFT for the adapter; help texts and docstrings give the
paper's letters (arXiv 2401.11504).
"""

from templora_edge.options.base import DEFAULT_MAX_CTX, Base, StartingAdapter
from templora_edge.options.blocks import BlockOptions
from templora_edge.options.engine import Capture, EngineOptions, FixedAdapter
from templora_edge.options.kinds import (
    KvPolicy,
    KvType,
    PasskeyMode,
    Preset,
    RopeScaling,
    ScoringProtocol,
    Targets,
    TextKind,
    TrainDevice,
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
    "Capture",
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
    "TrainDevice",
    "TrainDtype",
    "TrainingOptions",
]
