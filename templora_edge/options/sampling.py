"""How the next token is sampled."""

from dataclasses import dataclass
from typing import Final

from templora_edge.options.field import Section, option

MAX_SEED: Final = 2**32 - 2
"""Largest seed; to llama.cpp, 2**32 - 1 means a random one (LLAMA_DEFAULT_SEED)."""


@dataclass(frozen=True, slots=True)
class SamplingOptions(Section):
    """The sampler chain, in llama.cpp's order and with its defaults."""

    temperature: float = option(
        "--temp", default=0.8, metavar="T", help="Sampling temperature; 0 or less: greedy."
    )
    top_k: int = option(
        "--top-k",
        default=40,
        metavar="N",
        help="Sample from the N likeliest tokens; 0 or less: off.",
    )
    top_p: float = option(
        "--top-p",
        default=0.95,
        metavar="P",
        min=0,
        max=1,
        help="Sample from the likeliest tokens, up to a total probability of P; 1: off.",
    )
    min_p: float = option(
        "--min-p",
        default=0.05,
        metavar="P",
        min=0,
        max=1,
        help="Drop tokens less than P times as likely as the likeliest; 0: off.",
    )
    repeat_penalty: float = option(
        "--repeat-penalty",
        default=1.0,
        metavar="X",
        above=0,
        help="Penalty on repeating the last 64 tokens; 1: off.",
    )
    repeat_last_n: int = 64
    seed: int = option(default=0, min=0, max=MAX_SEED)
    ignore_eos: bool = option(
        "--ignore-eos", default=False, help="Do not let the model end the text."
    )


GREEDY: Final = SamplingOptions(temperature=0, repeat_penalty=1.1)
"""Sampling of translations, as in the paper's scripts: greedy, with a penalty on repetition."""
