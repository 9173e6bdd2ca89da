"""How the training process runs."""

from dataclasses import dataclass
from pathlib import Path

from templora_edge.options.field import Section, option
from templora_edge.options.kinds import TrainDevice, TrainDtype


@dataclass(frozen=True, slots=True)
class TrainingOptions(Section):
    """How the training process runs."""

    n_threads_train: int = option(
        "--threads-train",
        default=0,
        metavar="N",
        min=0,
        help="Threads for training; 0: as many as -t.",
    )
    train_device: TrainDevice = option(
        "--train-device",
        default=TrainDevice.AUTO,
        help="Device for training, which torch must find; cuda: also AMD's with ROCm; auto: the "
        "fastest by a short measurement.",
    )
    train_dtype: TrainDtype = option(
        "--train-dtype",
        default=TrainDtype.AUTO,
        help="Precision of matrix products in training; auto: bf16 where the device has it.",
    )
    train_memory_gib: float | None = option(
        "--train-memory",
        metavar="GIB",
        above=0,
        label="train memory",
        unit="GiB",
        help="Limit on private memory for training; default: all that is free.",
    )
    overlap: bool = option(
        "--overlap",
        default=False,
        help="Learn each block while the next one is written, and serve it to the one after that; "
        "the processor's cores are shared. Not for translations.",
    )
    adapter: Path | None = option(
        "--adapter-in",
        metavar="FILE",
        help="Start from a GGUF adapter, for example one from --adapter-out, with its rank and "
        "layers.",
    )
    measure_after: bool = True
    """Whether to measure a block's loss again after its update, at the cost of a forward pass."""
