"""Messages between the two processes, pickled over pipes."""

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from templora_edge.options import Options, TrainDevice
from templora_edge.protocols import Captured


@dataclass(frozen=True, slots=True)
class Start:
    """First message: load the base and make a fresh adapter. Answered by `Ready`."""

    base: Path
    options: Options
    """Resolved options."""


@dataclass(frozen=True, slots=True)
class Train:
    """Train on a block, with the prefix before it without loss. Answered by `protocols.Update`."""

    prefix: tuple[int, ...]
    block: tuple[int, ...]
    loss_mask: tuple[bool, ...] | None
    own: bool
    captured: Captured | None = field(compare=False)
    """What llama.cpp computed of the tokens above."""


@dataclass(frozen=True, slots=True)
class Export:
    """Write the adapter to this GGUF file. Answered by `Ready`."""

    path: Path


@dataclass(frozen=True, slots=True)
class Save:
    """Write adapter, optimizer and random state to this file. Answered by `Ready`."""

    path: Path


@dataclass(frozen=True, slots=True)
class Load:
    """Continue from the state that `Save` wrote. Answered by `Ready`."""

    path: Path


@dataclass(frozen=True, slots=True)
class Ready:
    """Done. Carries the training process's peak resident memory so far, in bytes."""

    peak_rss_bytes: int
    device: TrainDevice | None = None
    """Device that training computes on; in the answer to `Start`."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A TemploraError, which the parent raises again; the child ends after it."""

    error: Exception


def send(stream: IO[bytes], message: Any) -> None:
    """Write one message, or nothing if it cannot be pickled.

    Arrays follow it as they are in memory: captured products can take hundreds of megabytes.
    """
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    parts: list[bytes | memoryview] = [pickled, *(buffer.raw() for buffer in buffers)]
    stream.write(pickle.dumps([memoryview(part).nbytes for part in parts]))
    for part in parts:
        stream.write(part)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read one message.

    Raises:
        EOFError: the other process is gone.
    """
    try:
        pickled, *buffers = [_read(stream, size) for size in pickle.load(stream)]
        return pickle.loads(pickled, buffers=buffers)
    except pickle.UnpicklingError as error:  # the process died in the middle of a message
        raise EOFError(str(error)) from error


def _read(stream: IO[bytes], size: int) -> bytearray:
    part = bytearray(size)
    if stream.readinto(part) < size:  # type: ignore[attr-defined]  # binary streams have it
        raise EOFError("the other process is gone")
    return part
