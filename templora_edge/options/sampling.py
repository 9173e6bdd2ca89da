"""How tokens are chosen."""

from dataclasses import dataclass
from typing import Final

from templora_edge.options.field import Section, option

MAX_SEED: Final = 2**32 - 2
"""Largest seed; llama.cpp reads 2**32 - 1 as "choose one" (LLAMA_DEFAULT_SEED)."""


@dataclass(frozen=True, slots=True)
class SamplingOptions(Section):
    """The sampler chain, in llama.cpp's order and with its defaults."""

    temperature: float = option(
        "--temp", default=0.8, metavar="T", help="Temperature; 0 or less: greedy."
    )
    top_k: int = option(
        "--top-k", default=40, metavar="N", help="Sample among the N likeliest; 0 or less: off."
    )
    top_p: float = option(
        "--top-p",
        default=0.95,
        metavar="P",
        min=0,
        max=1,
        help="Sample among the likeliest share P; 1: off.",
    )
    min_p: float = option(
        "--min-p",
        default=0.05,
        metavar="P",
        min=0,
        max=1,
        help="Leave out what is less than P times as likely as the likeliest; 0: off.",
    )
    repeat_penalty: float = option(
        "--repeat-penalty",
        default=1.0,
        metavar="X",
        above=0,
        help="Penalty on the last 64 tokens; 1: off.",
    )
    repeat_last_n: int = 64
    seed: int = option(default=0, min=0, max=MAX_SEED)
    ignore_eos: bool = option(
        "--ignore-eos", default=False, help="Never let the model end the text."
    )


GREEDY: Final = SamplingOptions(temperature=0, repeat_penalty=1.1)
"""How translations are sampled: as the paper's scripts, greedy, with a penalty on repetition."""
