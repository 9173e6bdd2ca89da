"""A LoRA adapter loaded by llama.cpp."""

from pathlib import Path

import llama_cpp

from templora_edge.closing import Closing
from templora_edge.engine import backend
from templora_edge.engine.model import Model
from templora_edge.engine.pointer import Pointer
from templora_edge.errors import AdapterError


class Adapter(Closing):
    """Owns a `llama_adapter_lora`. The file is read completely and not needed afterwards.

    Raises:
        AdapterError: the file is not an adapter for this model.
    """

    pointer = Pointer()

    def __init__(self, model: Model, path: Path) -> None:
        backend.clear_errors()
        pointer = llama_cpp.llama_adapter_lora_init(model.pointer, bytes(path))
        if not pointer:  # a NULL pointer object is falsy but not None
            raise AdapterError(
                f"{path}: llama.cpp cannot load this adapter for {model.path} "
                f"({backend.last_error()})"
            )
        self.pointer = pointer

    def close(self) -> None:
        """Free the adapter, which no context may still use: llama.cpp does not detach it."""
        if pointer := Adapter.pointer.take(self):
            llama_cpp.llama_adapter_lora_free(pointer)
