"""A llama.cpp context: the KV cache and the logits of the last decode."""

import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import llama_cpp
import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from templora_edge.closing import Closing
from templora_edge.engine import backend
from templora_edge.engine.adapter import Adapter
from templora_edge.engine.cache_file import read_cache, write_cache
from templora_edge.engine.capture import Captures
from templora_edge.engine.k_shift import check_k_shift, check_length
from templora_edge.engine.logits import last_logits
from templora_edge.engine.model import Model
from templora_edge.engine.pointer import Pointer
from templora_edge.errors import EngineError, InsufficientMemoryError
from templora_edge.host import memory
from templora_edge.models.heads import Heads
from templora_edge.models.rope import Scaling
from templora_edge.options import Capture, EngineOptions, KvType, RopeOptions
from templora_edge.positions import Move, Positions
from templora_edge.protocols import Captured

_DECODE_ERRORS: Final = {
    1: "no room in the KV cache",
    2: "aborted",
    -1: "invalid batch",
}

_SEQUENCE: Final = 0
MOST_LOGITS: Final = 128
"""Tokens whose logits are all computed at once: llama.cpp keeps room for them twice, and scores
hardly faster with more (docs/log.md)."""


_ROPE_SCALING_TYPES: Final = {"none": 0, "linear": 1, "yarn": 2}
"""Values of llama_rope_scaling_type in llama.h."""


class Context(Closing):
    """Owns a `llama_context` with one sequence, whose positions run from 0 without gaps.

    Raises:
        InsufficientMemoryError: the KV cache does not fit in memory.
        OptionError: the model supports no SelfExtend or shifting.
        EngineError: llama.cpp cannot create the context.
    """

    pointer = Pointer()
    _memory = Pointer()

    def __init__(self, model: Model, options: EngineOptions) -> None:
        n_ctx = options.n_ctx
        if model.gpu is None:  # llama.cpp itself says if a device's memory is too small
            _check_memory(model, options)
        self.model = model
        self.n_ctx = n_ctx
        self.n_batch = min(options.n_batch, n_ctx)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = self.n_batch
        params.n_ubatch = min(params.n_ubatch, self.n_batch)
        params.n_threads = params.n_threads_batch = options.n_threads
        params.type_k = GGMLQuantizationType[options.type_k.name]
        params.type_v = GGMLQuantizationType[options.type_v.name]
        params.swa_full = options.swa_full or options.k_shift  # a shift needs caches of equal size
        if options.type_v.quantized:
            params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        elif options.flash_attn is not None:
            params.flash_attn_type = int(options.flash_attn)
        _set_rope(params, options.rope)
        self._captures = Captures(model, options.capture)
        self._captures.configure(params)
        backend.clear_errors()
        pointer = llama_cpp.llama_init_from_model(model.pointer, params)
        if not pointer:
            raise EngineError(
                f"{model.path}: llama.cpp cannot make a context of {n_ctx} tokens "
                f"({backend.last_error()})" + ("" if model.gpu is None else "; lower -c or -ngl")
            )
        self.pointer = pointer
        self._memory = llama_cpp.llama_get_memory(pointer)
        self._batch = llama_cpp.llama_batch_init(self.n_batch, 0, 1)
        for index in range(self.n_batch):
            self._batch.n_seq_id[index] = 1
            self._batch.seq_id[index][0] = _SEQUENCE
        self._k_shift = options.k_shift
        try:
            self._positions = self._plan_positions(options)
        except BaseException:
            self.close()
            raise

    @property
    def n_past(self) -> int:
        """Number of tokens in the KV cache."""
        return self._positions.n_tokens(self._n_positions)

    @property
    def _n_positions(self) -> int:
        """Number of positions in use, which is also the position of the next token."""
        return int(llama_cpp.llama_memory_seq_pos_max(self._memory, _SEQUENCE)) + 1

    @property
    def _first_position(self) -> int:
        """First position that all layers still hold; sliding-window layers drop older ones."""
        return int(llama_cpp.llama_memory_seq_pos_min(self._memory, _SEQUENCE))

    def decode(self, tokens: Sequence[int]) -> None:
        """Append ``tokens`` to the cache; `logits` are then those after the last one.

        Raises:
            EngineError: the tokens do not fit, or llama.cpp fails.
        """
        for chunk in self._chunks(tokens):
            self._decode_chunk(chunk, every_logit=False)
        if tokens and self._captures.predictions:
            self._note(self._last_logits[None])

    def decode_all(self, tokens: Sequence[int]) -> Iterator[npt.NDArray[np.float32]]:
        """Like `decode`, but yield the logits after every token, (n, n_vocab) per batch.

        The arrays are views of llama.cpp's memory, valid until the next decode.
        """
        for chunk in self._chunks(tokens, MOST_LOGITS):
            self._decode_chunk(chunk, every_logit=True)
            logits = np.ctypeslib.as_array(
                llama_cpp.llama_get_logits(self.pointer),
                shape=(len(chunk), self.model.vocab.n_tokens),
            )
            self._note(logits)
            yield logits

    def logits(self) -> npt.NDArray[np.float32]:
        """Logits after the last decoded token, (n_vocab,)."""
        return self._last_logits.copy()

    @property
    def _last_logits(self) -> npt.NDArray[np.float32]:
        return last_logits(self.pointer, self.model.vocab.n_tokens)

    def _note(self, logits: npt.NDArray[np.float32]) -> None:
        """Keep the predictions that the last tokens make, for training."""
        self._captures.note(self.n_past - len(logits), logits)

    @property
    def kept(self) -> Capture | None:
        """The parts of decoded tokens that are kept for training; None: nothing."""
        return self._captures.kept

    def captured(self, begin: int, end: int) -> Captured | None:
        """What `Captures.read` returns for cached tokens [begin, end)."""
        return self._captures.read(begin, end)

    def clear(self) -> None:
        """Empty the KV cache."""
        self._captures.truncate(0)
        llama_cpp.llama_memory_clear(self._memory, False)
        self._positions.clear()

    def save(self, path: Path) -> None:
        """Write the cache to ``path``, and go on as if it had just been read from there.

        So a context that reads it computes the same numbers, bit for bit, as this one: they depend
        on the order of the cells, too.

        Raises:
            OutputError: ``path`` cannot be written.
        """
        write_cache(self.pointer, path, self._positions.state)
        llama_cpp.llama_memory_clear(self._memory, False)
        self._positions.restore(read_cache(self.pointer, path))

    def load(self, path: Path) -> None:
        """Continue with the cache that `save` wrote; what was captured of its tokens is not there.

        Raises:
            EngineError: the file is damaged, or of another model or context.
        """
        self.clear()
        self._positions.restore(read_cache(self.pointer, path))
        self._captures.skip(self.n_past)

    def truncate(self, n_tokens: int) -> None:
        """Forget all but the first ``n_tokens``.

        The whole cache is emptied if the rest would differ from a cache that only decoded those
        tokens: inside a group of SelfExtend, with recurrent state, and if sliding-window layers
        have dropped tokens that the next one attends to (unless `EngineOptions.swa_full`).
        """
        n_positions = self._n_positions
        self._captures.truncate(n_tokens)
        if n_tokens >= self._positions.n_tokens(n_positions):
            return
        position = self._positions.position_of(n_tokens)
        if (
            position is None
            or self._first_position > max(0, position - self.model.n_swa + 1)
            or not llama_cpp.llama_memory_seq_rm(self._memory, _SEQUENCE, position, -1)
        ):
            self.clear()

    def shift(self, keep: int, discard: int) -> None:
        """Drop ``discard`` tokens after the first ``keep`` and move the later ones down.

        A few more are dropped if SelfExtend has grouped them with these.

        Raises:
            EngineError: the context was created without `EngineOptions.shift`.
        """
        if not self._k_shift:
            raise EngineError("a context created without EngineOptions.shift cannot shift")
        n_positions, n_past = self._n_positions, self.n_past
        begin, end = self._positions.cut(keep, discard, n_positions)
        llama_cpp.llama_memory_seq_rm(self._memory, _SEQUENCE, begin, end)
        self._move(Move(end, n_positions, begin - end))
        self._captures.drop(self._positions.n_tokens(begin), n_past - self.n_past)

    def set_adapters(self, adapters: Sequence[tuple[Adapter, float]]) -> None:
        """Use ``adapters``, (adapter, scale) each, from the next decode on; keep the cache.

        Raises:
            EngineError: llama.cpp refuses the adapters.
        """
        n = len(adapters)
        pointers = (llama_cpp.llama_adapter_lora_p_ctypes * n)(*(a.pointer for a, _ in adapters))
        scales = (ctypes.c_float * n)(*(scale for _, scale in adapters))
        if llama_cpp.llama_set_adapters_lora(self.pointer, pointers, n, scales) != 0:
            raise EngineError(f"llama.cpp refused the adapter ({backend.last_error()})")

    def close(self) -> None:
        """Free the context."""
        Context._memory.take(self)
        if pointer := Context.pointer.take(self):
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(pointer)

    def _plan_positions(self, options: EngineOptions) -> Positions:
        if not options.k_shift:
            return Positions(None, self.n_ctx)
        scaling = Scaling.of(self.model.gguf, options.rope)
        check_k_shift(self.model, self._memory, scaling, options.type_k)
        if options.self_extend is not None:
            check_length(options.self_extend, self.n_ctx, scaling.n_trained)
        return Positions(options.self_extend, scaling.n_trained)

    def _chunks(self, tokens: Sequence[int], most: int | None = None) -> Iterator[Sequence[int]]:
        """Cut ``tokens`` into chunks to decode in order, making room for each with SelfExtend.

        Args:
            tokens: tokens to decode.
            most: tokens in a chunk at most; None: `n_batch`, which is never exceeded.
        """
        most = min(most or self.n_batch, self.n_batch)
        begin = 0
        while begin < len(tokens):
            room = self._positions.room(self._n_positions)
            if room == 0:
                for move in self._positions.regroup(self._n_positions):
                    self._move(move)
                room = self._positions.room(self._n_positions)
            chunk = tokens[begin : begin + min(most, room or most)]
            yield chunk
            begin += len(chunk)

    def _move(self, move: Move) -> None:
        """Move cached keys to other positions; they are rotated at the next decode.

        `llama_memory_seq_div` could move groups, but rotates keys the wrong way (llama-kv-cells.h,
        pos_div).
        """
        llama_cpp.llama_memory_seq_add(self._memory, _SEQUENCE, move.begin, move.end, move.delta)

    def _decode_chunk(self, tokens: Sequence[int], *, every_logit: bool) -> None:
        n, n_past, position = len(tokens), self.n_past, self._n_positions
        if n_past + n > self.n_ctx:
            raise EngineError(f"{n} tokens after {n_past} overflow the context of {self.n_ctx}")
        batch = self._batch
        batch.n_tokens = n
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = position + index
            batch.logits[index] = every_logit
        batch.logits[n - 1] = True
        backend.clear_errors()
        with self._captures.capture(n_past, n, predict_all=every_logit or n == 1):
            status = llama_cpp.llama_decode(self.pointer, batch)
            if status != 0:
                reason = _DECODE_ERRORS.get(status, f"fatal, status {status}")
                raise EngineError(f"llama_decode failed: {reason} ({backend.last_error()})")


def _check_memory(model: Model, options: EngineOptions) -> None:
    n_ctx = options.n_ctx
    heads = Heads.of(model.gguf)
    needed = heads.kv_bytes(n_ctx, _value_bytes(options.type_k), _value_bytes(options.type_v))
    available = memory.available()
    if needed > available:
        raise InsufficientMemoryError(
            f"-c {n_ctx}: its KV cache needs {needed / 2**30:.1f} GiB, "
            f"{available / 2**30:.1f} GiB are available; choose a smaller context"
        )


def _value_bytes(kind: KvType) -> float:
    n_values, n_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[kind.name]]
    return n_bytes / n_values


def _set_rope(params: Any, rope: RopeOptions) -> None:
    """Set the given options; llama.cpp takes the rest from the model."""
    if rope.scaling is not None:
        params.rope_scaling_type = _ROPE_SCALING_TYPES[rope.scaling]
    for name in (
        "rope_freq_base",
        "rope_freq_scale",
        "yarn_orig_ctx",
        "yarn_ext_factor",
        "yarn_attn_factor",
        "yarn_beta_slow",
        "yarn_beta_fast",
    ):
        value = getattr(rope, name.removeprefix("rope_"))
        if value is not None:
            setattr(params, name, value)
