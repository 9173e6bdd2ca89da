"""The child's half of the training process: answers messages until the parent is gone."""

import os
import queue
import signal
import threading
import warnings
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

from templora_edge.errors import InsufficientMemoryError, OutputError, TemploraError
from templora_edge.host import memory
from templora_edge.host.workspace import rooms
from templora_edge.protocols import BFloat16s, Captured
from templora_edge.training.messages import (
    Export,
    Failed,
    Load,
    Ready,
    Save,
    Start,
    Train,
    receive,
    send,
)

if TYPE_CHECKING:
    from templora_edge.training.trainer import LoraTrainer


def main() -> None:
    """Answer messages on stdin until the parent closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not end up among the answers
    requests: queue.Queue[Any] = queue.Queue()
    stream = os.fdopen(os.dup(0), "rb")  # not sys.stdin, whose lock the interpreter takes at exit
    threading.Thread(target=_read, args=(stream, requests), daemon=True).start()
    try:
        _serve(requests, answers)
    except TemploraError as error:
        send(answers, Failed(error))
    except RuntimeError as error:
        send(answers, Failed(_memory_error(error)))


def _memory_error(error: RuntimeError) -> InsufficientMemoryError:
    """The message of an error of torch's, if it is one of memory.

    Raises:
        RuntimeError: ``error``, if it is another one.
    """
    from templora_edge.training.device import is_out_of_memory

    if not is_out_of_memory(error):
        raise error
    if "can't allocate memory" in str(error):  # torch's allocator for the processor
        return InsufficientMemoryError(f"training does not fit the memory: {error}")
    reason = str(error).partition("\n")[0].partition(". ")[0]
    return InsufficientMemoryError(
        f"training does not fit the memory of the GPU ({reason}); use --train-device cpu, or lower "
        "--block or --rank"
    )


def _read(stream: IO[bytes], requests: "queue.Queue[Any]") -> None:
    """Queue requests; when the parent is gone, end the process at once, even in mid-training."""
    while True:
        try:
            requests.put(handed_over(receive(stream)))
        except EOFError:
            os._exit(0)


class _HandedOver(dict[str, BFloat16s]):
    """Products of which each is gone once it is taken."""

    def __getitem__(self, name: str) -> BFloat16s:
        return self.pop(name)


def handed_over(request: Any) -> Any:
    """``request``, which lets go of each of its products once a layer has taken it.

    So activations take their place while forward goes on.
    """
    match request:
        case Train(captured=Captured(products=dict(products)) as captured):
            return replace(request, captured=replace(captured, products=_HandedOver(products)))
    return request


def _serve(requests: "queue.Queue[Any]", answers: IO[bytes]) -> None:
    start = requests.get()
    if not isinstance(start, Start):
        raise TypeError(f"expected Start, got {start!r}")
    import torch

    from templora_edge.models.gguf_file import GgufFile
    from templora_edge.training.trainer import LoraTrainer

    torch.set_num_threads(start.options.training.n_threads_train)
    trainer = LoraTrainer(GgufFile(start.base), start.options)
    send(answers, Ready(memory.peak_resident(), trainer.choice.device))
    while True:
        send(answers, _answer(trainer, requests.get()))


def _answer(trainer: "LoraTrainer", request: Any) -> Any:
    """Do what is asked. A request can be large, and is freed when this returns."""
    match request:
        case Train(prefix, block, loss_mask, own, captured):
            update = trainer.train(prefix, block, loss_mask, own=own, captured=captured)
            return replace(update, rss_bytes=memory.resident())
        case Load(path):
            trainer.load(path)
        case Export(path) | Save(path):
            try:
                trainer.write(path) if isinstance(request, Export) else trainer.save(path)
            except (OSError, RuntimeError) as error:  # torch's writer raises the latter
                reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
                # an exported adapter is temporary; a saved state belongs to a job
                remedy = (
                    f"set TMPDIR to a folder with room ({rooms()})"
                    if isinstance(request, Export)
                    else "free some storage"
                )
                raise OutputError(
                    f"{path.parent}: no adapter can be written there ({reason}); {remedy}, "
                    "or lower --rank"
                ) from error
        case _:
            raise TypeError(f"expected a request, got {request!r}")
    return Ready(memory.peak_resident())
