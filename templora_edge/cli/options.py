"""Flags that commands share: one name, one meaning, one help text."""

from pathlib import Path
from typing import Annotated

import typer

from templora_edge.config import KvPolicy, Targets, TrainDtype
from templora_edge.presets import Preset

Model = Annotated[
    Path | None,
    typer.Option("-m", "--model", metavar="FILE", help="GGUF model; default: the bundled one."),
]
CtxSize = Annotated[
    int,
    typer.Option(
        "-c",
        "--ctx-size",
        min=0,
        metavar="N",
        help="Context in tokens (W); 0: the trained one, at most 4096.",
    ),
]
Threads = Annotated[
    int, typer.Option("-t", "--threads", min=0, metavar="N", help="Cores; 0: all physical.")
]
ThreadsTrain = Annotated[
    int,
    typer.Option("--threads-train", min=0, metavar="N", help="Cores for training; 0: as -t."),
]
BatchSize = Annotated[
    int, typer.Option("-b", "--batch-size", min=1, metavar="N", help="Tokens decoded at a time.")
]
Block = Annotated[
    int | None,
    typer.Option(
        "--block", min=1, metavar="N", help="Tokens between two updates (Δ); default: c / 4."
    ),
]
Prefix = Annotated[
    int | None,
    typer.Option(
        "--prefix",
        min=1,
        metavar="N",
        help="Tokens kept when the context is full (L_X); default: c - block.",
    ),
]
TrainPrefix = Annotated[
    int | None,
    typer.Option(
        "--train-prefix",
        min=0,
        metavar="N",
        help="Tokens before a block that its update sees (L_T) (preset).",
    ),
]
PrefixGradient = Annotated[
    bool | None,
    typer.Option(
        "--prefix-gradient/--no-prefix-gradient",
        help="Train through the train prefix, or only read it: faster (preset).",
    ),
]
UpdateRule = Annotated[
    Preset,
    typer.Option("--preset", help="The update rule; the flags named (preset) change parts of it."),
]
Rank = Annotated[
    int | None, typer.Option("--rank", min=1, metavar="N", help="Of the adapter (preset).")
]
Alpha = Annotated[
    float | None,
    typer.Option("--alpha", metavar="X", help="Adapter scale is alpha / rank (preset)."),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate", metavar="X", help="Too much, and a text repeats itself (preset)."
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", min=1, metavar="N", help="Training steps a block (preset)."),
]
TargetModules = Annotated[
    Targets | None,
    typer.Option("--targets", help="Linear layers that carry the adapter (preset)."),
]
TrainPrecision = Annotated[
    TrainDtype, typer.Option("--train-dtype", help="Of training's products; auto: as measured.")
]
TrainMemory = Annotated[
    float | None,
    typer.Option("--train-memory", metavar="GIB", help="Training may use; default: what is free."),
]
Policy = Annotated[
    KvPolicy, typer.Option("--kv-policy", help="The KV cache at a swap and when it is full.")
]


def memory_bytes(gibibytes: float | None) -> int | None:
    """The value of `TrainMemory` in bytes."""
    return None if gibibytes is None else int(gibibytes * 2**30)
