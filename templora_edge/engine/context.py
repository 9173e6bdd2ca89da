"""A context of llama.cpp: the KV cache and the logits of the last decode."""

import ctypes
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import llama_cpp
import numpy as np
import numpy.typing as npt

from templora_edge import memory
from templora_edge.config import EngineOptions
from templora_edge.engine import backend
from templora_edge.engine.adapter import Adapter
from templora_edge.engine.model import Model
from templora_edge.errors import EngineError, InsufficientMemoryError, OptionError

KV_TYPES: Final = {"f32": (0, 4.0), "f16": (1, 2.0), "bf16": (30, 2.0), "q8_0": (8, 34 / 32)}
"""KV cache type -> (ggml_type, bytes a value)."""

_DECODE_ERRORS: Final = {
    1: "no room in the KV cache",
    2: "aborted",
    -1: "invalid batch",
}

_SEQUENCE: Final = 0


class Context:
    """Owns a `llama_context` of one sequence, whose positions run from 0 without gaps.

    Raises:
        InsufficientMemoryError: the KV cache does not fit the memory there is.
        EngineError: llama.cpp cannot make the context.
    """

    def __init__(self, model: Model, options: EngineOptions, n_ctx: int, n_threads: int) -> None:
        if options.kv_type not in KV_TYPES:
            raise OptionError(
                f"KV cache type {options.kv_type!r}; expected one of {', '.join(KV_TYPES)}"
            )
        kv_type, value_bytes = KV_TYPES[options.kv_type]
        _check_memory(model, n_ctx, value_bytes)
        self.model = model
        self.n_ctx = n_ctx
        self.n_batch = min(options.n_batch, n_ctx)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = self.n_batch
        params.n_ubatch = min(params.n_ubatch, self.n_batch)
        params.n_threads = params.n_threads_batch = n_threads
        params.type_k = params.type_v = kv_type
        params.swa_full = options.swa_full
        if options.flash_attn is not None:
            params.flash_attn_type = int(options.flash_attn)
        backend.clear_errors()
        pointer = llama_cpp.llama_init_from_model(model.pointer, params)
        if not pointer:
            raise EngineError(
                f"{model.path}: llama.cpp cannot make a context of {n_ctx} tokens "
                f"({backend.last_error()})"
            )
        self.pointer: Any = pointer
        self._memory = llama_cpp.llama_get_memory(pointer)
        self._batch = llama_cpp.llama_batch_init(self.n_batch, 0, 1)
        for index in range(self.n_batch):
            self._batch.n_seq_id[index] = 1
            self._batch.seq_id[index][0] = _SEQUENCE

    @property
    def n_past(self) -> int:
        """Tokens in the KV cache; also the position of the next one."""
        return int(llama_cpp.llama_memory_seq_pos_max(self._memory, _SEQUENCE)) + 1

    def decode(self, tokens: Sequence[int]) -> None:
        """Append ``tokens`` to the cache; the last one's logits become current.

        Raises:
            EngineError: they do not fit, or llama.cpp fails.
        """
        for begin in range(0, len(tokens), self.n_batch):
            chunk = tokens[begin : begin + self.n_batch]
            self._decode_chunk(chunk, every_logit=False)

    def decode_all(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """As `decode`, and return the logits after every token, (len(tokens), n_vocab)."""
        rows = []
        for begin in range(0, len(tokens), self.n_batch):
            chunk = tokens[begin : begin + self.n_batch]
            self._decode_chunk(chunk, every_logit=True)
            flat = np.ctypeslib.as_array(
                llama_cpp.llama_get_logits(self.pointer),
                shape=(len(chunk), self.model.vocab.n_tokens),
            )
            rows.append(flat.copy())  # the next decode overwrites them
        return np.concatenate(rows) if rows else np.empty((0, self.model.vocab.n_tokens), "f4")

    def logits(self) -> npt.NDArray[np.float32]:
        """Logits after the last decoded token, (n_vocab,)."""
        pointer = llama_cpp.llama_get_logits_ith(self.pointer, -1)
        return np.ctypeslib.as_array(pointer, shape=(self.model.vocab.n_tokens,)).copy()

    def clear(self) -> None:
        """Empty the KV cache."""
        llama_cpp.llama_memory_clear(self._memory, False)

    def shift(self, keep: int, discard: int) -> None:
        """Drop ``discard`` tokens after the first ``keep``; later ones move down by as much.

        Raises:
            EngineError: this model's cache cannot be shifted.
        """
        if not llama_cpp.llama_memory_can_shift(self._memory):
            raise EngineError(
                f"{self.model.path}: its KV cache cannot be shifted; use --kv-policy reuse"
            )
        end = self.n_past
        llama_cpp.llama_memory_seq_rm(self._memory, _SEQUENCE, keep, keep + discard)
        llama_cpp.llama_memory_seq_add(self._memory, _SEQUENCE, keep + discard, end, -discard)

    def set_adapter(self, adapter: Adapter | None) -> None:
        """Use ``adapter`` from the next decode on; the cache stays as it is.

        Raises:
            EngineError: llama.cpp refuses.
        """
        adapters = [] if adapter is None else [adapter.pointer]
        n = len(adapters)
        pointers = (llama_cpp.llama_adapter_lora_p_ctypes * n)(*adapters)
        scales = (ctypes.c_float * n)(*[1.0] * n)
        if llama_cpp.llama_set_adapters_lora(self.pointer, pointers, n, scales) != 0:
            raise EngineError(f"llama.cpp refused the adapter ({backend.last_error()})")

    def close(self) -> None:
        """Free the context."""
        if self.pointer:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self.pointer)
            self.pointer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _decode_chunk(self, tokens: Sequence[int], *, every_logit: bool) -> None:
        n, position = len(tokens), self.n_past
        if position + n > self.n_ctx:
            raise EngineError(
                f"{n} tokens at position {position} overflow the context of {self.n_ctx}"
            )
        batch = self._batch
        batch.n_tokens = n
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = position + index
            batch.logits[index] = every_logit
        batch.logits[n - 1] = True
        backend.clear_errors()
        status = llama_cpp.llama_decode(self.pointer, batch)
        if status != 0:
            reason = _DECODE_ERRORS.get(status, f"fatal, status {status}")
            raise EngineError(f"llama_decode failed: {reason} ({backend.last_error()})")


def _check_memory(model: Model, n_ctx: int, value_bytes: float) -> None:
    needed = model.kv_bytes(n_ctx, value_bytes)
    available = memory.available()
    if needed > available:
        raise InsufficientMemoryError(
            f"-c {n_ctx}: its KV cache needs {needed / 2**30:.1f} GiB, "
            f"{available / 2**30:.1f} GiB are available; choose a smaller context"
        )
