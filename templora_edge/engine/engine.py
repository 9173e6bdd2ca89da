"""The loop's engine: llama.cpp, with an adapter that can be swapped while the KV cache stays."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from templora_edge.closing import Closing
from templora_edge.engine.adapter import Adapter
from templora_edge.engine.context import Context
from templora_edge.engine.model import Model
from templora_edge.engine.sampler import Sampler
from templora_edge.errors import OptionError
from templora_edge.options import EngineOptions, SamplingOptions
from templora_edge.protocols import Captured

MAX_CTX: Final = 2**31 - 1


class LlamaEngine(Closing):
    """`templora_edge.protocols.Engine` on llama.cpp.

    Raises:
        ModelFileError, InsufficientMemoryError, EngineError: the model cannot be loaded, or the
            context cannot be created.
        AdapterError: an adapter in `EngineOptions.lora` does not fit the model.
        OptionError: the options are not resolved, or ask for a GPU where there is none.
    """

    def __init__(self, path: Path, options: EngineOptions) -> None:
        """Load the model at ``path`` with resolved ``options``."""
        if not options.n_ctx or not options.n_threads or options.chooses_groups:
            raise OptionError(
                f"n_ctx is {options.n_ctx}, n_threads is {options.n_threads}, self_extend is "
                f"{options.self_extend}; expected what Options.resolve fills in"
            )
        if options.n_ctx > MAX_CTX:
            raise OptionError(f"-c {options.n_ctx}: llama.cpp's largest context is {MAX_CTX}")
        with ExitStack() as stack:  # closes in the order llama.cpp needs: the model last
            model = Model(path, options.n_gpu_layers, repack=bool(options.repack))
            self.model = stack.enter_context(model)
            self._fixed = [
                (stack.enter_context(Adapter(self.model, fixed.path)), fixed.scale)
                for fixed in options.lora
            ]
            self.context = stack.enter_context(Context(self.model, options))
            self.context.set_adapters(self._fixed)
            self._stack = stack.pop_all()
        self._adapter: Adapter | None = None
        self._sampler = Sampler(self.model.vocab, SamplingOptions(), self.n_ctx)

    @property
    def n_ctx(self) -> int:
        """Context (W), in tokens."""
        return self.context.n_ctx

    @property
    def n_past(self) -> int:
        """Number of tokens in the KV cache."""
        return self.context.n_past

    def decode(self, tokens: Sequence[int]) -> None:
        """Append ``tokens`` to the cache.

        Raises:
            EngineError: the tokens do not fit, or llama.cpp fails.
        """
        self.context.decode(tokens)

    def sample(self) -> int:
        """Choose the token that follows the last decoded one."""
        return self._sampler.sample(self.context.pointer)

    def take(self, token: int) -> None:
        """Take ``token`` as the one that was sampled after the last decoded one."""
        self._sampler.skip(1)
        self._sampler.accept([token])

    def score(self, pending: Sequence[int], tokens: Sequence[int]) -> list[float]:
        """Decode ``pending`` and all of ``tokens`` but the last; return the NLL of ``tokens``.

        Args:
            pending: tokens before ``tokens`` that are not in the cache yet; may be empty if the
                last decode ended just before ``tokens``.
            tokens: tokens to score.

        Returns:
            -log p(token | everything before it) in nats, for each of ``tokens``.

        Raises:
            EngineError: the tokens do not fit, or llama.cpp fails.
        """
        self.context.decode(pending)
        nll = [_nll(self.context.logits(), tokens[0])]
        for chunk in self.context.decode_all(tokens[:-1]):
            nll += [_nll(row, tokens[len(nll) + index]) for index, row in enumerate(chunk)]
        return nll

    def captured(self, begin: int, end: int) -> Captured | None:
        """What llama.cpp computed of cached tokens [begin, end) when it decoded them.

        Returns:
            What `EngineOptions.capture` asks for; None if nothing is kept, or not (any more) for
            all of these tokens.
        """
        return self.context.captured(begin, end)

    def is_end(self, token: int) -> bool:
        """Whether ``token`` ends generation."""
        return self.model.vocab.is_end(token)

    def clear(self) -> None:
        """Empty the KV cache."""
        self.context.clear()

    def save_cache(self, path: Path) -> None:
        """Write the KV cache to ``path``, and go on as if it had just been read from there."""
        self.context.save(path)

    def load_cache(self, path: Path) -> None:
        """Continue with the KV cache that `save_cache` wrote.

        Raises:
            EngineError: the file is damaged, or of another model or context.
        """
        self.context.load(path)

    def truncate(self, n_tokens: int) -> None:
        """Keep at most the first ``n_tokens`` in the cache; `n_past` is how many are left."""
        self.context.truncate(n_tokens)

    def shift(self, keep: int, discard: int) -> None:
        """Drop ``discard`` tokens after the first ``keep`` and move the later ones down.

        Raises:
            EngineError: this model's cache cannot be shifted.
        """
        self.context.shift(keep, discard)

    def swap(self, adapter: Path | None) -> None:
        """Replace the adapter with the one in the file, or with none.

        The KV cache and the adapters of `EngineOptions.lora` stay.

        The order matters: load new, set new, free old. `llama_set_adapters_lora` compares pointers,
        and an adapter loaded after the old one was freed can get the same address: the context
        would silently keep the old graph.

        Raises:
            AdapterError: the file is not an adapter for this model; the old adapter stays in use.
        """
        new = None if adapter is None else Adapter(self.model, adapter)
        try:
            self.context.set_adapters([*self._fixed, *([] if new is None else [(new, 1.0)])])
        except BaseException:
            if new is not None:
                new.close()
            raise
        old, self._adapter = self._adapter, new
        if old is not None:
            old.close()

    def use_sampling(
        self, options: SamplingOptions, written: Sequence[int] = (), *, sampled: int = 0
    ) -> None:
        """Sample with ``options`` from now on.

        Args:
            options: sampling options.
            written: the text so far, which counts as history.
            sampled: number of tokens that were sampled with these options before.
        """
        sampler = Sampler(self.model.vocab, options, self.n_ctx)
        sampler.accept(written)
        sampler.skip(sampled)
        old, self._sampler = self._sampler, sampler
        old.close()

    def close(self) -> None:
        """Free everything, in the order that llama.cpp needs."""
        self._sampler.close()
        self.context.close()
        if self._adapter is not None:
            self._adapter.close()
        self._stack.close()


def _nll(logits: npt.NDArray[np.float32], token: int) -> float:
    """-log softmax(logits)[token] of one row, (n_vocab,): a whole batch would take much memory."""
    peak = logits.max()
    log_sum = np.log(np.exp(logits - peak).sum(dtype=np.float64))
    return float(log_sum + np.float64(peak) - np.float64(logits[token]))
