"""The sampler chain."""

from collections.abc import Iterable
from typing import Any

import llama_cpp

from templora_edge.closing import Closing
from templora_edge.engine.pointer import Pointer
from templora_edge.engine.vocab import Vocab
from templora_edge.options import SamplingOptions


class Sampler(Closing):
    """Owns a `llama_sampler` chain: penalties, top-k, top-p, min-p, temperature, random choice."""

    pointer = Pointer()

    def __init__(self, vocab: Vocab, options: SamplingOptions) -> None:
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
                vocab.n_tokens, options.repeat_last_n, options.repeat_penalty, 0.0, 0.0
            )
        )
        if options.temperature <= 0:
            add(llama_cpp.llama_sampler_init_greedy())
            return
        add(llama_cpp.llama_sampler_init_top_k(options.top_k))
        add(llama_cpp.llama_sampler_init_top_p(options.top_p, 1))
        add(llama_cpp.llama_sampler_init_min_p(options.min_p, 1))
        add(llama_cpp.llama_sampler_init_temp(options.temperature))
        add(llama_cpp.llama_sampler_init_dist(options.seed))

    def accept(self, tokens: Iterable[int]) -> None:
        """Add ``tokens`` to the history, for the repeat penalty."""
        for token in tokens:
            llama_cpp.llama_sampler_accept(self.pointer, token)

    def sample(self, context: Any) -> int:
        """Sample from the last logits of a `llama_context`, and accept the token."""
        return int(llama_cpp.llama_sampler_sample(self.pointer, context, -1))

    def close(self) -> None:
        """Free the chain."""
        if pointer := Sampler.pointer.take(self):
            llama_cpp.llama_sampler_free(pointer)
