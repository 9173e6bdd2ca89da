"""Tensors of llama.cpp's graphs, taken out while they are computed.

llama.cpp's evaluation callback asks about every tensor of a graph whether it is wanted, and calls
again when one that is has been computed. It works for every architecture. But the graph is cut
there, which costs more than a small tensor itself: in the graph of one token, tensors are moved to
memory of ours before they are computed instead, and nothing is wanted. That needs a graph that the
processor computes: what a GPU holds is read out.
"""

import ctypes
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

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
        self._slot = np.empty(width, np.float32)  # where a single row is computed
        self.slot = self._slot.ctypes.data
        """Address of room for a row in float32."""

    def roll(self, row: int) -> None:
        """Move ``row`` to the first place, and later ones after it."""
        self.rows[:] = np.roll(self.rows, -row, axis=0)

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

    def take_slot(self) -> None:
        """Append the row in `slot`."""
        row = self._row % len(self.rows)
        if self._buffer:
            _to_bf16(self.slot, self._address + row * self._stride, len(self._slot))
        else:
            self.rows[row] = self._slot
        self.n_filled = 1


class _Move(NamedTuple):
    """Where a tensor's data were moved."""

    n_bytes: int
    to: int
    """Address."""


class GraphTensors:
    """Fills rings with tensors of the graphs that are computed.

    Args:
        named: name of a tensor -> its ring.
        products: name of a weight -> the ring of its products.
        on_gpu: whether tensors may be in the memory of a GPU.
    """

    def __init__(
        self, named: Mapping[str, Ring], products: Mapping[str, Ring], *, on_gpu: bool
    ) -> None:
        self._rings = [*named.values(), *products.values()]
        self._named = {name.encode(): ring for name, ring in named.items()}
        self._products = {name.encode(): ring for name, ring in products.items()}
        self._by_weight: dict[int, Ring | None] = {}  # address of a node's first source
        self._only_last: bool | None = None  # None: nothing is wanted
        self._may_move, self._moves = not on_gpu, False
        self._moved: dict[int, _Move] = {}  # by the address of the tensor
        self._slots: list[Ring] = []  # whose rows are in slots
        self._first: int | None = None  # first tensor of the graph that they belong to
        self._begins = False  # whether a graph's first tensor is awaited
        self._same = False  # whether the graph is the last token's, its tensors moved already
        self._error: BaseException | None = None
        answers = self._answers()
        next(answers)
        # `send` takes the tensor; the other two arguments, ask and user_data, are ignored
        self._callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(answers.send)

    def configure(self, params: Any) -> None:
        """Set the callback of a context to be made; it lives as long as this object."""
        params.cb_eval = ctypes.cast(self._callback, llama_cpp.ggml_backend_sched_eval_callback)

    @contextmanager
    def into(self, row: int, n_tokens: int, *, only_last: bool) -> Iterator[None]:
        """Fill rows from ``row`` on in the block; raise what a callback raised, Ctrl-C for one.

        Args:
            row: first row of the batch that is decoded in the block, see `Ring.begin`.
            n_tokens: number of tokens in the batch.
            only_last: the batch's last token alone counts.
        """
        for ring in self._rings:
            ring.begin(row)
        self._moves = n_tokens == 1 and self._may_move
        self._begins, self._only_last, self._error = True, only_last, None
        try:
            yield
            for ring in self._slots:
                ring.take_slot()
        finally:
            self._begins, self._same, self._only_last = False, False, None
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
                    if self._begins:
                        self._begin(tensor)
                    if self._same:
                        answer = False
                    elif tensor == wanted and ring is not None:
                        ring.take(tensor, only_last=bool(self._only_last))
                        wanted = None
                    else:
                        ring = None if self._only_last is None else self._ring_of(tensor)
                        answer = ring is not None and not self._move(tensor, ring)
                        wanted = tensor if answer else None
                        if answer:
                            self._first = None  # to be asked about again
            except GeneratorExit:
                return
            except BaseException as error:  # for `into` to raise
                self._error, self._only_last, self._first = error, None, None
                answer, wanted = False, None

    def _begin(self, tensor: int) -> None:
        """Begin a graph with its first ``tensor``: llama.cpp often uses the last token's again.

        It would give tensors of a new one, which can lie where the last one was, places of its own.
        """
        self._begins = False
        self._same = (
            self._moves
            and tensor == self._first
            and all(_address(moved, _DATA).value == to for moved, (_, to) in self._moved.items())
        )
        if not self._same:
            self._moved.clear()
            self._slots.clear()
            self._first = tensor if self._moves else None

    def _ring_of(self, tensor: int) -> Ring | None:
        """The ring that wants ``tensor``, if any does."""
        source = _address(tensor, _FIRST_SOURCE).value
        try:
            ring = self._by_weight[source]
        except KeyError:
            ring = self._products.get(_get_name(source)) if source else None
            self._by_weight[source] = ring
        if source in self._moved:
            self._move_view(tensor, source)
        return ring or self._named.get(_get_name(tensor))

    def _move(self, tensor: int, ring: Ring) -> bool:
        """Have a ``tensor`` of one row computed in the slot of ``ring``; whether it will be.

        Only itself and views of it are moved. What llama.cpp computes in place has memory of its
        own, which may be where the tensor was.
        """
        if not self._moves or _n_bytes(tensor) != ring.rows.shape[1] * 4:
            return False
        data = _address(tensor, _DATA)
        self._moved[tensor] = _Move(ring.slot - data.value, ring.slot)
        data.value = ring.slot
        self._slots.append(ring)
        return True

    def _move_view(self, tensor: int, source: int) -> None:
        """Move ``tensor`` with what it is a view of, its ``source`` or what that is a view of."""
        viewed = _address(tensor, _VIEWED).value
        if viewed in self._moved:  # values that are written into a cache are not what is viewed
            data, n_bytes = _address(tensor, _DATA), self._moved[source].n_bytes
            data.value += n_bytes
            self._moved[tensor] = _Move(n_bytes, data.value)


def _address(tensor: int, place: int) -> ctypes.c_uint64:
    """The address at a ``place`` in a tensor's struct, to be read or written."""
    return ctypes.c_uint64.from_address(tensor + place)


class _InitParams(ctypes.Structure):
    _fields_ = (("mem_size", _Size), ("mem_buffer", _Address), ("no_alloc", ctypes.c_bool))


def _layout() -> tuple[int, int, int]:
    """Where a `ggml_tensor` has the addresses of its first source, its data, what it is a view of.

    Found by making tensors: ggml promises no layout of the struct.
    """
    overhead = _function("ggml_tensor_overhead", _Size)()
    size = 8 * overhead
    context = _function("ggml_init", _Address, _InitParams)(_InitParams(size, None, False))
    new = _function("ggml_new_tensor_1d", _Address, _Address, ctypes.c_int, ctypes.c_int64)
    multiply = _function("ggml_mul_mat", _Address, _Address, _Address, _Address)
    view = _function("ggml_view_tensor", _Address, _Address, _Address)
    data_of = _function("ggml_get_data", _Address, _Address)

    def place(tensor: int, value: int) -> int:
        return 8 * list((ctypes.c_uint64 * (overhead // 8)).from_address(tensor)).index(value)

    try:
        first, second = new(context, 0, 1), new(context, 0, 1)
        product, viewing = multiply(context, first, second), view(context, first)
        return place(product, first), place(product, data_of(product)), place(viewing, first)
    finally:
        _function("ggml_free", None, _Address)(context)


_FIRST_SOURCE, _DATA, _VIEWED = _layout()
