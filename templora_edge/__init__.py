"""Temp-LoRA at the edge: write texts far longer than the context, with llama.cpp.

Names are imported on first use, so that importing the package loads neither torch nor llama.cpp,
and the command line answers Ctrl-C from the beginning.
"""

TYPE_CHECKING = False  # which type checkers take for true; typing takes longest to load
if TYPE_CHECKING:
    from typing import Any

    from templora_edge.errors import TemploraError
    from templora_edge.events import Absorbed, BlockReport, Piece
    from templora_edge.options import (
        FixedAdapter,
        KvPolicy,
        Options,
        RopeOptions,
        SamplingOptions,
        SelfExtendOptions,
        TextKind,
    )
    from templora_edge.score import Score
    from templora_edge.session import TempLora

__all__ = [
    "Absorbed",
    "BlockReport",
    "FixedAdapter",
    "KvPolicy",
    "Options",
    "Piece",
    "RopeOptions",
    "SamplingOptions",
    "Score",
    "SelfExtendOptions",
    "TempLora",
    "TemploraError",
    "TextKind",
]

__version__ = "0.1.0"

_LAZY = {
    "Absorbed": "events",
    "BlockReport": "events",
    "FixedAdapter": "options",
    "KvPolicy": "options",
    "Options": "options",
    "Piece": "events",
    "RopeOptions": "options",
    "SamplingOptions": "options",
    "Score": "score",
    "SelfExtendOptions": "options",
    "TempLora": "session",
    "TemploraError": "errors",
    "TextKind": "options",
}


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
