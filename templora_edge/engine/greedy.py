"""Greedy sampling with penalties, without llama.cpp's list of all candidates."""

from collections import Counter, deque
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from templora_edge.options import SamplingOptions


class Greedy:
    """Chooses the tokens of llama.cpp's chain at temperature 0, without DRY and biases.

    llama.cpp fills a list of 12 bytes for each token of the vocabulary before it looks at one; with
    a vocabulary of 262k that takes a twentieth of the time of a small model's decoding.

    Args:
        options: the penalties.
        n_counted: number of recent tokens that they apply to.
    """

    def __init__(self, options: SamplingOptions, n_counted: int) -> None:
        self._options = options
        self._recent: deque[int] = deque(maxlen=n_counted)

    @staticmethod
    def can_replace(options: SamplingOptions) -> bool:
        """Whether the chain of ``options`` is of this kind."""
        return options.temperature <= 0 and not (options.ignore_eos or options.dry_multiplier)

    def accept(self, tokens: Iterable[int]) -> None:
        """Add ``tokens`` to the history, for the penalties."""
        self._recent.extend(tokens)

    def choose(self, logits: npt.NDArray[np.float32]) -> int:
        """The likeliest token, (n_vocab,) logits with penalties; accept it."""
        options, counts = self._options, Counter(self._recent)
        if counts and (
            options.repeat_penalty != 1 or options.frequency_penalty or options.presence_penalty
        ):
            ids = np.fromiter(counts.keys(), np.intp, len(counts))
            n = np.fromiter(counts.values(), np.float32, len(counts))
            repeat = np.float32(options.repeat_penalty)
            found = logits[ids]
            found = np.where(found <= 0, found * repeat, found / repeat)
            found -= n * np.float32(options.frequency_penalty)
            found -= np.float32(options.presence_penalty)
            logits = logits.copy()
            logits[ids] = found
        token = int(logits.argmax())
        self._recent.append(token)
        return token
