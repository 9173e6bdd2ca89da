"""The hidden states that enter a decoder layer, which llama.cpp computes while it decodes.

They come from llama.cpp in one of two ways, bit-equal: `LayerInputs` costs nothing noticeable,
`LayerOutputs` works for every architecture. `Captures` keeps them for the tokens in the cache, and
the candidates of predictions.
"""

import ctypes
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol

import llama_cpp
import numpy as np
import numpy.typing as npt

from templora_edge.candidates import Candidates
from templora_edge.engine.model import Model
from templora_edge.errors import EngineError
from templora_edge.protocols import Captured

Rows = npt.NDArray[np.float32]

NAMES_LAYER_INPUTS: Final = frozenset({"llama", "qwen3"})
"""Families whose graph sets `t_layer_inp` for every layer (llama.cpp, src/models/, as of
llama-cpp-python 0.3.36). Others end the process if a layer's input is asked for."""

_SET: Final = "_Z30llama_set_embeddings_layer_inpP13llama_contextjb"
_GET: Final = "_Z30llama_get_embeddings_layer_inpP13llama_contextj"
_LIBRARY: Final = llama_cpp.llama_cpp._lib


class Source(Protocol):
    """A way to get a layer's input states from llama.cpp."""

    def configure(self, params: Any) -> None:
        """Change the parameters of the context before it is made."""
        ...

    def attach(self, context: Any) -> None:
        """Prepare a new `llama_context`."""
        ...

    def into(self, rows: Rows) -> AbstractContextManager[None]:
        """Fill ``rows``, (n, width), with the states of the n tokens decoded in the block.

        Raises:
            EngineError: llama.cpp did not give a state for every token.
        """
        ...


class LayerInputs:
    """The states by `llama_get_embeddings_layer_inp`, exported under C++ names only.

    Rows are in the order of the batch, one for every token, whichever have logits.
    """

    def __init__(self, layer: int) -> None:
        self._layer = layer
        pointer, number = ctypes.c_void_p, ctypes.c_uint32
        self._set = ctypes.CFUNCTYPE(None, pointer, number, ctypes.c_bool)((_SET, _LIBRARY))
        self._get = ctypes.CFUNCTYPE(pointer, pointer, number)((_GET, _LIBRARY))

    @staticmethod
    def available(architecture: str | None) -> bool:
        """Whether models of ``architecture`` and this build of llama.cpp have layer inputs."""
        found = hasattr(_LIBRARY, _SET) and hasattr(_LIBRARY, _GET)
        return found and architecture in NAMES_LAYER_INPUTS

    def configure(self, params: Any) -> None:
        """Change nothing."""

    def attach(self, context: Any) -> None:
        """Have ``context`` keep the layer's inputs of every batch."""
        self._context = context
        self._set(context, self._layer, True)

    @contextmanager
    def into(self, rows: Rows) -> Iterator[None]:
        """Fill ``rows`` at the end of the block."""
        yield
        ctypes.memmove(rows.ctypes.data, self._get(self._context, self._layer), rows.nbytes)


class LayerOutputs:
    """The states as the output of the layer before, by llama.cpp's evaluation callback.

    llama.cpp asks about every tensor of a graph whether it is wanted, and calls again when one that
    is has been computed. A batch's tokens come in order, in several graphs if it is large.
    """

    def __init__(self, layer: int) -> None:
        self._name = f"l_out-{layer - 1}".encode()
        address, size = ctypes.c_void_p, ctypes.c_size_t
        # PYFUNCTYPE keeps the interpreter's lock, which is faster: the first is called a lot
        name, n_bytes = (ctypes.PYFUNCTYPE(kind, address) for kind in (ctypes.c_char_p, size))
        read = ctypes.PYFUNCTYPE(None, address, address, size, size)
        self._get_name = name(("ggml_get_name", _LIBRARY))
        self._n_bytes = n_bytes(("ggml_nbytes", _LIBRARY))
        self._read = read(("ggml_backend_tensor_get", _LIBRARY))
        self._rows: Rows = np.empty((0, 0), np.float32)
        self._n_filled = 0
        self._error: BaseException | None = None
        answers = self._answers()
        next(answers)
        # `send` takes the tensor; the other two arguments, ask and user_data, are ignored
        self._callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(answers.send)

    def configure(self, params: Any) -> None:
        """Set the callback, which lives as long as this object."""
        params.cb_eval = ctypes.cast(self._callback, llama_cpp.ggml_backend_sched_eval_callback)

    def attach(self, context: Any) -> None:
        """Prepare nothing."""

    @contextmanager
    def into(self, rows: Rows) -> Iterator[None]:
        """Fill ``rows`` during the block; raise what a callback raised, Ctrl-C for one."""
        self._rows, self._n_filled, self._error = rows, 0, None
        try:
            yield
        finally:
            error, self._error = self._error, None
            if error is not None:
                raise error
        if self._n_filled != len(rows):
            raise EngineError(
                f"llama.cpp gave {self._n_filled} states as {self._name.decode()}; "
                f"expected {len(rows)}, one for each token"
            )

    def _answers(self) -> Generator[bool, int, None]:
        """Take the address of a tensor, answer llama.cpp.

        A generator, because ctypes drops what a callback raises, and a signal's handler can raise
        before the first statement of a function: here that is inside of ``try`` as well.
        """
        answer, wanted = False, None
        while True:
            try:
                while True:
                    tensor = yield answer
                    if tensor == wanted:
                        self._copy(tensor)
                        wanted = None
                    else:
                        missing = self._n_filled < len(self._rows)
                        answer = missing and self._get_name(tensor) == self._name
                        wanted = tensor if answer else None
            except GeneratorExit:
                return
            except BaseException as error:  # for `into` to raise
                self._error, answer, wanted = error, False, None

    def _copy(self, tensor: int) -> None:
        rows, n_bytes = self._rows[self._n_filled :], self._n_bytes(tensor)
        if n_bytes <= rows.nbytes:  # otherwise `into` raises
            self._read(tensor, rows.ctypes.data, 0, n_bytes)
            self._n_filled += n_bytes // rows.strides[0]


class Captures:
    """What llama.cpp computed of the tokens in the cache when it decoded them.

    After a failed decode, of those that were there before. The array of states has a row for each
    token of the context; it is allocated once, and takes memory as its rows are written.
    """

    def __init__(
        self, model: Model, layer: int | None, n_ctx: int, *, candidates: bool = False
    ) -> None:
        """Keep no states if ``layer`` is None, 0, or none of the model's."""
        self.candidates = candidates
        self._source: Source | None = None
        if layer and 0 < layer < llama_cpp.llama_model_n_layer(model.pointer):
            inputs = LayerInputs.available(model.metadata("general.architecture"))
            self._source = LayerInputs(layer) if inputs else LayerOutputs(layer)
        self._enabled = candidates or self._source is not None
        width = llama_cpp.llama_model_n_embd(model.pointer) if self._source else 0
        self._rows: Rows = np.empty((n_ctx, width), np.float32)
        self._candidates: list[Candidates | None] = []

    def configure(self, params: Any) -> None:
        """Change the parameters of the context before it is made."""
        if self._source is not None:
            self._source.configure(params)

    def attach(self, context: Any) -> None:
        """Prepare a new `llama_context`."""
        if self._source is not None:
            self._source.attach(context)

    @contextmanager
    def capture(self, begin: int, n: int) -> Iterator[None]:
        """Keep what is computed of the ``n`` tokens after ``begin`` cached ones in the block.

        Nothing is kept if the block fails or if that of earlier tokens is not there.

        Raises:
            EngineError: llama.cpp did not give a state for every token.
        """
        if self._source is None:
            yield
        else:
            with self._source.into(self._rows[begin : begin + n]):
                yield
        if self._enabled and begin == len(self._candidates):
            self._candidates += [None] * n

    def note(self, begin: int, logits: Rows) -> None:
        """Keep the candidates of the predictions that tokens from ``begin`` on make.

        Args:
            begin: number of cached tokens before them.
            logits: logits after each of them, (n, n_vocab).
        """
        if begin + len(logits) <= len(self._candidates):
            for index, row in enumerate(logits, begin):
                self._candidates[index] = Candidates.of(row)

    def truncate(self, n_tokens: int) -> None:
        """Forget all but the first ``n_tokens``."""
        del self._candidates[n_tokens:]

    def drop(self, begin: int, n_tokens: int) -> None:
        """Forget ``n_tokens`` after the first ``begin`` and move the later ones down."""
        n = len(self._candidates)
        end = min(begin + n_tokens, n)
        if begin < end:
            self._rows[begin : begin + n - end] = self._rows[end:n]
            del self._candidates[begin:end]

    def read(self, begin: int, end: int) -> Captured | None:
        """What was computed of tokens [begin, end); None if nothing is kept or any lacks."""
        if not self._enabled or not 0 <= begin < end <= len(self._candidates):
            return None
        found = [one for one in self._candidates[begin:end] if one is not None]
        return Captured(
            states=None if self._source is None else self._rows[begin:end].copy(),
            candidates=Candidates.join(found) if len(found) == end - begin else None,
        )
