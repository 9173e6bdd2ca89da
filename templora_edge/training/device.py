"""The device that training computes on, chosen by a short measurement where there are several.

    python -m templora_edge.training.device {auto,cpu,mps,cuda} {auto,fp32,bf16} WEIGHTS THREADS

prints one line of JSON: device, dtype, and seconds, by device, of what was measured.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch

from templora_edge.errors import OptionError
from templora_edge.host import memory
from templora_edge.options import TrainDevice, TrainDtype
from templora_edge.training.precision import choose_dtype

N_TOKENS, WIDTH, INNER = 256, 1024, 4096
"""Shape of the step that is measured, an MLP of a small base: where a device wins with it, it wins
more with larger ones."""
N_STEPS: Final = 5
"""Number of steps, of which the fastest counts: load can only slow one down."""

MOST_WEIGHTS: Final = 0.7
"""Share of a device's free memory that the base's weights may take for `auto` to choose it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Where and in which precision training computes, and what was measured for that."""

    device: TrainDevice
    dtype: str
    seconds: dict[str, float]
    """Device -> seconds of a step; empty if there was nothing to choose."""


def present() -> list[TrainDevice]:
    """The devices that torch finds; ``cuda`` is also that of its builds for ROCm."""
    found = [TrainDevice.CPU]
    if torch.cuda.is_available():
        found.append(TrainDevice.CUDA)
    if torch.backends.mps.is_available():
        found.append(TrainDevice.MPS)
    return found


def choose(device: TrainDevice, dtype: TrainDtype, n_weights: int) -> Choice:
    """The device and precision of training.

    Args:
        device: device that is asked for.
        dtype: precision that is asked for.
        n_weights: number of the base's weights, which any device but the processor keeps
            dequantized.

    Raises:
        OptionError: torch has no such device.
    """
    found, seconds = present(), dict[str, float]()
    if device is TrainDevice.AUTO:
        found = [
            one for one in found if _has_room(one, n_weights * choose_dtype(dtype, one).itemsize)
        ]
        if len(found) > 1:
            seconds = {one: _step_seconds(one, choose_dtype(dtype, one)) for one in found}
        device = min(found, key=lambda one: seconds.get(one, 0.0))
    elif device not in found:
        raise OptionError(
            f"--train-device {device}: torch {torch.__version__} finds no such device; expected "
            f"{' or '.join(['auto', *found])}"
        )
    return Choice(device, _name(choose_dtype(dtype, device)), seconds)


def _has_room(name: TrainDevice, n_bytes: int) -> bool:
    free = free_memory(torch.device(name))
    return free is None or n_bytes <= MOST_WEIGHTS * free


def synchronize(device: torch.device) -> None:
    """Wait until ``device`` has computed what it was given."""
    getattr(torch, device.type).synchronize()


def seed_device(device: torch.device) -> None:
    """Seed the random numbers of ``device`` with the next of the processor's.

    So the state of the processor's alone says what follows, on every device.
    """
    if device.type != "cpu":
        getattr(torch, device.type).manual_seed(int(torch.randint(2**31, ())))


def free_memory(device: torch.device) -> int | None:
    """Memory that is free on ``device``, in bytes; None: the processor, which keeps no weights."""
    match device.type:
        case "cuda":
            return int(torch.cuda.mem_get_info()[0])
        case "mps":  # a part of the host's
            own = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
            return min(int(own), memory.available())
    return None


def moved(value: Any, device: torch.device) -> Any:
    """``value``, tensors in dictionaries, lists and tuples, with all tensors on ``device``."""
    match value:
        case torch.Tensor():
            return value.to(device)
        case dict():
            return {key: moved(one, device) for key, one in value.items()}
        case list() | tuple():
            return type(value)(moved(one, device) for one in value)
    return value


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed, of the processor's memory or of a device's."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in text for words in ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    )


def _step_seconds(name: TrainDevice, dtype: torch.dtype) -> float:
    """Seconds of a frozen MLP forward and backward, with the way there and back.

    A device that has no room for it takes for ever.
    """
    device = torch.device(name)
    try:
        up = torch.full((INNER, WIDTH), 0.01, dtype=dtype, device=device)
        down = torch.full((WIDTH, INNER), 0.01, dtype=dtype, device=device)
        return min(_step(up, down, device) for _ in range(N_STEPS))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return float("inf")


def _step(up: torch.Tensor, down: torch.Tensor, device: torch.device) -> float:
    x = torch.full((N_TOKENS, WIDTH), 0.5)
    synchronize(device)
    begun = time.perf_counter()
    moved_x = x.to(device).requires_grad_()
    y = torch.nn.functional.silu(moved_x.to(up.dtype) @ up.T) @ down.T
    (gradient,) = torch.autograd.grad(y.float().sum(), moved_x)
    gradient.cpu()
    return time.perf_counter() - begun


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def main() -> None:
    """Choose as the arguments say."""
    device, dtype, weights, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    choice = choose(TrainDevice(device), TrainDtype(dtype), int(weights))
    sys.stdout.write(json.dumps(asdict(choice)) + "\n")


if __name__ == "__main__":
    main()
