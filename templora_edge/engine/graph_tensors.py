"""Tensors of llama.cpp's graphs, taken out while they are computed.

llama.cpp's evaluation callback asks about every tensor of a graph whether it is wanted, and calls
again when one that is has been computed. It works for every architecture.
"""

import ctypes
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import llama_cpp
import numpy as np
import numpy.typing as npt

CHUNK: Final = 1 << 16
"""Values converted at once: they stay in the processor's cache."""

_LIBRARY: Final = llama_cpp.llama_cpp._lib
_Address: Final = ctypes.c_void_p
_Size: Final = ctypes.c_size_t


def _function(name: str, result: Any, *arguments: Any) -> Any:
    # PYFUNCTYPE keeps the interpreter's lock, which is faster: these are called a lot
    return ctypes.PYFUNCTYPE(result, *arguments)((name, _LIBRARY))


_get_name = _function("ggml_get_name", ctypes.c_char_p, _Address)
_n_bytes = _function("ggml_nbytes", _Size, _Address)
_read = _function("ggml_backend_tensor_get", None, _Address, _Address, _Size, _Size)
_to_bf16 = _function("ggml_fp32_to_bf16_row", None, _Address, _Address, ctypes.c_int64)


class Ring:
    """The rows of one tensor for the last tokens; each new row replaces the oldest one."""

    def __init__(
        self, capacity: int, width: int, *, buffer: npt.NDArray[np.float32] | None = None
    ) -> None:
        """Make room for rows.

        Args:
            capacity: number of rows.
            width: values in a row.
            buffer: room for a row or more, in which rows are converted to bfloat16, kept in 16-bit
                integers; None: they are kept in float32.
        """
        dtype = np.float32 if buffer is None else np.uint16
        # it takes memory as its rows are written
        self.rows: npt.NDArray[Any] = np.empty((capacity, width), dtype)
        self.n_filled = 0
        """Number of rows of the current batch so far."""
        self._row = 0
        self._address, self._stride = self.rows.ctypes.data, self.rows.strides[0]
        self._float32 = buffer  # keeps it alive
        self._buffer = 0 if buffer is None else buffer.ctypes.data
        self._most = capacity if buffer is None else len(buffer) // width

    def begin(self, row: int) -> None:
        """Begin a batch at ``row`` of an endless count."""
        self._row, self.n_filled = row, 0

    def take(self, tensor: int, *, only_last: bool) -> None:
        """Append the rows of a computed ``tensor``.

        Args:
            tensor: address of a `ggml_tensor` in float32; nothing is taken from one of another
                width.
            only_last: its last row alone counts, and is the only one of the batch.
        """
        capacity, width = self.rows.shape
        n_rows, rest = divmod(_n_bytes(tensor), 4 * width)
        if rest or n_rows == 0:  # a graph without predictions has no rows in the last layer
            return
        done = 0
        if only_last:
            done, self.n_filled = n_rows - 1, 0
        while done < n_rows:
            row = (self._row + self.n_filled) % capacity
            n = min(n_rows - done, capacity - row, self._most)
            target = self._address + row * self._stride
            _read(tensor, self._buffer or target, 4 * width * done, 4 * width * n)
            if self._buffer:
                _to_bf16(self._buffer, target, width * n)
            done, self.n_filled = done + n, self.n_filled + n


class GraphTensors:
    """Fills rings with tensors of the graphs that are computed.

    Args:
        named: name of a tensor -> its ring.
        products: name of a weight -> the ring of its products.
    """

    def __init__(self, named: Mapping[str, Ring], products: Mapping[str, Ring]) -> None:
        self._rings = [*named.values(), *products.values()]
        self._named = {name.encode(): ring for name, ring in named.items()}
        self._products = {name.encode(): ring for name, ring in products.items()}
        self._by_weight: dict[int, Ring | None] = {}  # address of a node's first source
        self._only_last: bool | None = None  # None: nothing is wanted
        self._error: BaseException | None = None
        answers = self._answers()
        next(answers)
        # `send` takes the tensor; the other two arguments, ask and user_data, are ignored
        self._callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(answers.send)

    def configure(self, params: Any) -> None:
        """Set the callback of a context to be made; it lives as long as this object."""
        params.cb_eval = ctypes.cast(self._callback, llama_cpp.ggml_backend_sched_eval_callback)

    @contextmanager
    def into(self, row: int, *, only_last: bool) -> Iterator[None]:
        """Fill rows from ``row`` on in the block; raise what a callback raised, Ctrl-C for one.

        Args:
            row: first row of the batch that is decoded in the block, see `Ring.begin`.
            only_last: the batch's last token alone counts.
        """
        for ring in self._rings:
            ring.begin(row)
        self._only_last, self._error = only_last, None
        try:
            yield
        finally:
            self._only_last = None
            error, self._error = self._error, None
            if error is not None:
                raise error

    def _answers(self) -> Generator[bool, int, None]:
        """Take the address of a tensor, answer llama.cpp.

        A generator, because ctypes drops what a callback raises, and a signal's handler can raise
        before the first statement of a function: here that is inside of ``try`` as well.
        """
        answer, ring, wanted = False, None, None
        while True:
            try:
                while True:
                    tensor = yield answer
                    if tensor == wanted and ring is not None:
                        ring.take(tensor, only_last=bool(self._only_last))
                        wanted = None
                    else:
                        ring = None if self._only_last is None else self._ring_of(tensor)
                        answer = ring is not None
                        wanted = tensor if answer else None
            except GeneratorExit:
                return
            except BaseException as error:  # for `into` to raise
                self._error, self._only_last = error, None
                answer, wanted = False, None

    def _ring_of(self, tensor: int) -> Ring | None:
        """The ring that wants ``tensor``, if any does."""
        source = ctypes.c_uint64.from_address(tensor + _FIRST_SOURCE).value
        try:
            ring = self._by_weight[source]
        except KeyError:
            ring = self._products.get(_get_name(source)) if source else None
            self._by_weight[source] = ring
        return ring or self._named.get(_get_name(tensor))


class _InitParams(ctypes.Structure):
    _fields_ = (("mem_size", _Size), ("mem_buffer", _Address), ("no_alloc", ctypes.c_bool))


def _first_source() -> int:
    """Where a `ggml_tensor` has the address of its first source.

    Found by making a product of two tensors: ggml promises no layout of the struct.
    """
    overhead = _function("ggml_tensor_overhead", _Size)()
    context = _function("ggml_init", _Address, _InitParams)(_InitParams(8 * overhead, None, True))
    new = _function("ggml_new_tensor_1d", _Address, _Address, ctypes.c_int, ctypes.c_int64)
    multiply = _function("ggml_mul_mat", _Address, _Address, _Address, _Address)
    try:
        first, second = new(context, 0, 1), new(context, 0, 1)
        product = multiply(context, first, second)
        words = (ctypes.c_uint64 * (overhead // 8)).from_address(product)
        return 8 * list(words).index(first)
    finally:
        _function("ggml_free", None, _Address)(context)


_FIRST_SOURCE: Final = _first_source()
