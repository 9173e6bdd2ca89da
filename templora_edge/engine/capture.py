"""States, products and predictions of the last tokens, for training to take over."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from templora_edge.engine.graph_tensors import CHUNK, GraphTensors, Ring
from templora_edge.engine.model import Model
from templora_edge.errors import EngineError
from templora_edge.options import Capture
from templora_edge.predictions import Predictions
from templora_edge.protocols import Captured


@dataclass(frozen=True, slots=True)
class _Kept:
    """The rows and the prediction of one cached token."""

    row: int
    """Its row in the rings, in an endless count."""
    has_products: bool
    predictions: Predictions | None = None


class Captures:
    """States, products and predictions of cached tokens that made a prediction, as computed then.

    After a failed decode, those of the tokens that were there before.
    """

    def __init__(self, model: Model, capture: Capture | None) -> None:
        """Keep nothing if ``capture`` is None, or the model has no such layer below another.

        Of a model on a GPU only states are kept: to read a product out takes the GPU many times as
        long as to compute it, and predictions go with the products.
        """
        if capture is not None and model.gpu is not None:
            capture = capture.of_states
        self._enabled = capture is not None
        self._capture = capture or Capture(0, 0)
        layer, capacity = self._capture.layer, self._capture.n_tokens
        states, products = dict[str, Ring](), dict[str, Ring]()
        if 0 < layer < model.n_layers:
            states[f"l_out-{layer - 1}"] = Ring(capacity, model.n_embd)
        if self._capture.products:
            widths = dict(_weights(model, layer))
            buffer = np.empty(max([CHUNK, *widths.values()]), np.float32)
            products = {name: Ring(capacity, n, buffer=buffer) for name, n in widths.items()}
        self._states, self._products = states, products
        self._tensors: GraphTensors | None = None
        if states or products:
            self._tensors = GraphTensors(states, products, on_gpu=model.gpu is not None)
        self._tokens: list[_Kept | None] = []
        self._n_rows = 0  # rows that were filled, or lost to a failed decode
        self._first = 0  # a row that is, or was, the first one in the rings

    @property
    def kept(self) -> Capture | None:
        """The parts that are kept; None: nothing."""
        return self._capture if self._enabled else None

    @property
    def predictions(self) -> bool:
        """Whether predictions are kept."""
        return self._capture.predictions

    def configure(self, params: object) -> None:
        """Change the parameters of the context before it is made."""
        if self._tensors is not None:
            self._tensors.configure(params)

    @contextmanager
    def capture(self, begin: int, n: int, *, predict_all: bool) -> Iterator[None]:
        """Keep what is computed of the ``n`` tokens after ``begin`` cached ones in the block.

        Nothing is kept if the block fails, or of tokens whose predictions are not computed: all
        but the last one, unless ``predict_all``.

        Raises:
            EngineError: llama.cpp did not give a state for every token.
        """
        if not self._enabled:
            yield
            return
        n_kept = n if predict_all else 1
        row, self._n_rows = self._n_rows, self._n_rows + n_kept
        has_products = bool(self._products)
        if self._tensors is None:
            yield
        else:
            with self._tensors.into(row - self._first, n, only_last=n_kept < n):
                yield
            for name, ring in self._states.items():
                if ring.n_filled != n_kept:
                    raise EngineError(
                        f"llama.cpp gave {ring.n_filled} states as {name}; expected {n_kept}, one "
                        "for each token"
                    )
            has_products &= all(ring.n_filled == n_kept for ring in self._products.values())
        if begin == len(self._tokens):
            self._tokens += [None] * (n - n_kept)
            self._tokens += [_Kept(row + index, has_products) for index in range(n_kept)]

    def note(self, begin: int, logits: npt.NDArray[np.float32]) -> None:
        """Keep the predictions that tokens from ``begin`` on make.

        Args:
            begin: number of cached tokens before them.
            logits: logits after each of them, (n, n_vocab).
        """
        if not self._capture.predictions or begin + len(logits) > len(self._tokens):
            return
        for index, row in enumerate(logits, begin):
            if (kept := self._tokens[index]) is not None:
                self._tokens[index] = replace(kept, predictions=Predictions.of(row))

    def skip(self, n_tokens: int) -> None:
        """Count ``n_tokens`` more as cached, of which nothing is kept."""
        self._tokens += [None] * n_tokens

    def truncate(self, n_tokens: int) -> None:
        """Forget all but the first ``n_tokens``."""
        del self._tokens[n_tokens:]

    def drop(self, begin: int, n_tokens: int) -> None:
        """Forget ``n_tokens`` after the first ``begin``; later ones move down."""
        del self._tokens[begin : begin + n_tokens]

    def read(self, begin: int, end: int) -> Captured | None:
        """States, products and predictions of tokens [begin, end); None if any are not kept.

        Arrays may be views, which later tokens overwrite.
        """
        if not self._enabled or not 0 <= begin < end <= len(self._tokens):
            return None
        tokens = [token for token in self._tokens[begin:end] if token is not None]
        oldest = self._n_rows - self._capture.n_tokens
        if len(tokens) < end - begin or tokens[0].row < oldest:
            return None
        first, last = tokens[0].row, tokens[-1].row
        consecutive = last - first == len(tokens) - 1
        if consecutive and self._place(last) < self._place(first) and self._products:
            self._roll(first)  # a copy of them all would take as much memory again
        indices = [self._place(token.row) for token in tokens]
        in_turn = consecutive and indices[0] <= indices[-1]
        rows: Any = slice(indices[0], indices[-1] + 1) if in_turn else indices
        found = [token.predictions for token in tokens if token.predictions is not None]
        return Captured(
            states=next((ring.rows[rows] for ring in self._states.values()), None),
            products={name: ring.rows[rows] for name, ring in self._products.items()}
            if all(token.has_products for token in tokens)
            else None,
            predictions=Predictions.join(found) if self._capture.predictions else None,
        )

    def _place(self, row: int) -> int:
        """Where in the rings a row is."""
        return (row - self._first) % self._capture.n_tokens

    def _roll(self, row: int) -> None:
        """Have the rings begin with a row."""
        for ring in (*self._states.values(), *self._products.values()):
            ring.roll(self._place(row))
        self._first = row


def _weights(model: Model, layer: int) -> Iterator[tuple[str, int]]:
    """Name and output width of each matrix in decoder layers from ``layer`` on."""
    for name, tensor in model.gguf.tensors.items():
        part, _, rest = name.partition(".")
        if part == "blk" and len(tensor.shape) == 2 and int(rest.partition(".")[0]) >= layer:
            yield name, int(tensor.shape[1])
