"""The sampler chain."""

from collections.abc import Sequence
from ctypes import byref, c_char_p, pointer
from typing import Any, Final

import llama_cpp

from templora_edge.closing import Closing
from templora_edge.engine.greedy import Greedy
from templora_edge.engine.logits import last_logits
from templora_edge.engine.pointer import Pointer
from templora_edge.engine.vocab import Vocab
from templora_edge.options import SamplingOptions

_DRY_BREAKERS: Final = (b"\n", b":", b'"', b"*")
"""llama.cpp's default sequence breakers: DRY looks for no repetition across them."""


class Sampler(Closing):
    """Owns a `llama_sampler` chain, in the order of llama.cpp's `common_sampler_init`.

    Penalties, DRY, top-k, top-p, min-p, temperature, random choice.

    Args:
        vocab: the model's tokenizer.
        options: settings of the chain.
        n_ctx: number of tokens that -1 stands for in ``repeat_last_n`` and ``dry_penalty_last_n``.
    """

    pointer = Pointer()

    def __init__(self, vocab: Vocab, options: SamplingOptions, n_ctx: int) -> None:
        counted, searched = (
            n_ctx if n == -1 else n for n in (options.repeat_last_n, options.dry_penalty_last_n)
        )
        self._n_history = max(counted, searched)
        self._n_vocab = vocab.n_tokens
        self._dist: Any = None  # the random choice, if there is one; the chain owns it
        self._greedy = Greedy(options, counted) if Greedy.can_replace(options) else None
        chain: Any = llama_cpp.llama_sampler_chain_init(
            llama_cpp.llama_sampler_chain_default_params()
        )
        self.pointer = chain

        def add(sampler: Any) -> None:
            llama_cpp.llama_sampler_chain_add(chain, sampler)  # the chain owns it now

        if options.ignore_eos:
            ends = vocab.end_tokens()
            biases = (llama_cpp.llama_logit_bias * len(ends))(
                *(llama_cpp.llama_logit_bias(token, float("-inf")) for token in ends)
            )
            add(llama_cpp.llama_sampler_init_logit_bias(vocab.n_tokens, len(ends), biases))
        add(
            llama_cpp.llama_sampler_init_penalties(
                vocab.n_tokens,
                counted,
                options.repeat_penalty,
                options.frequency_penalty,
                options.presence_penalty,
            )
        )
        add(
            llama_cpp.llama_sampler_init_dry(
                vocab.pointer,
                options.dry_multiplier,
                options.dry_base,
                options.dry_allowed_length,
                searched,
                (c_char_p * len(_DRY_BREAKERS))(*_DRY_BREAKERS),
                len(_DRY_BREAKERS),
            )
        )
        if options.temperature <= 0:
            add(llama_cpp.llama_sampler_init_greedy())
            return
        add(llama_cpp.llama_sampler_init_top_k(options.top_k))
        add(llama_cpp.llama_sampler_init_top_p(options.top_p, 1))
        add(llama_cpp.llama_sampler_init_min_p(options.min_p, 1))
        add(llama_cpp.llama_sampler_init_temp(options.temperature))
        self._dist = llama_cpp.llama_sampler_init_dist(options.seed)
        add(self._dist)

    def accept(self, tokens: Sequence[int]) -> None:
        """Add ``tokens`` to the history, for the penalties and DRY."""
        if self._greedy is not None:
            self._greedy.accept(tokens)
        for token in tokens[-self._n_history :]:
            llama_cpp.llama_sampler_accept(self.pointer, token)

    def sample(self, context: Any) -> int:
        """Sample from the last logits of a `llama_context`, and accept the token."""
        if self._greedy is not None:
            return self._greedy.choose(last_logits(context, self._n_vocab))
        return int(llama_cpp.llama_sampler_sample(self.pointer, context, -1))

    def skip(self, n_tokens: int) -> None:
        """Make the random choices to come those after ``n_tokens`` more; the history stays.

        llama.cpp draws one random number for each token, also where one candidate is left.
        """
        if self._dist is None:
            return
        only = llama_cpp.llama_token_data(0, 0.0, 0.0)
        candidates = llama_cpp.llama_token_data_array(pointer(only), 1, -1, False)
        for _ in range(n_tokens):
            llama_cpp.llama_sampler_apply(self._dist, byref(candidates))

    def close(self) -> None:
        """Free the chain."""
        if chain := Sampler.pointer.take(self):
            llama_cpp.llama_sampler_free(chain)
