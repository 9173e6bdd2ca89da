"""Run `templora`, which kills itself (SIGKILL) when it comes to a point for the Nth time.

python killed.py POINT N ARG...
"""

import os
import runpy
import signal
import sys
from collections.abc import Callable
from typing import Any

from templora_edge.engine import context
from templora_edge.engine.engine import LlamaEngine
from templora_edge.generation import durable_text
from templora_edge.generation.text_store import TextStore
from templora_edge.training.channel import Channel
from templora_edge.training.messages import Train


def begins_training(_: object, call: Any) -> bool:
    return isinstance(call.request, Train)


def writes_half(file: int, data: bytes, place: int) -> bool:
    pwrite(file, data[: len(data) // 2], place)
    return True


def always(*_: object, **__: object) -> bool:
    return True


pwrite = os.pwrite
POINTS: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "a block": (LlamaEngine, "sample", always),
    "training": (Channel, "post", begins_training),
    "a swap": (context.Context, "set_adapters", always),
    "a save of training": (os, "fsync", always),
    "a save of the cache": (context, "read_cache", always),
    "a save of the state": (TextStore, "save_state", always),
    "the old state's removal": (TextStore, "_sweep", always),
    "a save of tokens": (TextStore, "add", always),
    "writing": (os, "pwrite", writes_half),
    "the end": (TextStore, "finish", always),
    "taking up": (durable_text.DurableText, "_restore", always),
}
"""What to wrap; a call counts if the function says so, which may do a part of it."""


def kill_at(point: str, number: int) -> None:
    """Wrap a function so that its ``number``-th call, once it is made or begun, is the last."""
    owner, name, counts = POINTS[point]
    original = getattr(owner, name)
    left = number

    def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        if counts(*arguments, **named):
            left -= 1
            if left == 0:
                if point in ("training", "a swap"):
                    original(*arguments, **named)
                os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    kill_at(sys.argv[1], int(sys.argv[2]))
    sys.argv[1:] = sys.argv[3:]
    runpy.run_module("templora_edge.cli", run_name="__main__", alter_sys=True)
