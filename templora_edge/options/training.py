"""How the training process runs."""

from dataclasses import dataclass
from pathlib import Path

from templora_edge.options.field import Section, option
from templora_edge.options.kinds import TrainDtype


@dataclass(frozen=True, slots=True)
class TrainingOptions(Section):
    """How the training process runs."""

    n_threads_train: int = option(
        "--threads-train",
        default=0,
        metavar="N",
        min=0,
        help="Cores for training; 0: as many as -t.",
    )
    train_dtype: TrainDtype = option(
        "--train-dtype",
        default=TrainDtype.AUTO,
        help="Precision of training's matrix products; auto: the faster one, as measured.",
    )
    train_memory_gib: float | None = option(
        "--train-memory",
        metavar="GIB",
        above=0,
        label="train memory",
        unit="GiB",
        help="Private memory for training; default: what is free.",
    )
    adapter: Path | None = option(
        "--adapter-in",
        metavar="FILE",
        help="Go on from a GGUF adapter, such as --adapter-out keeps, with its rank and layers.",
    )
    measure_after: bool = True
    """Whether a block's loss is measured again after its update, which costs a forward pass."""
