"""How the next token is sampled."""

from dataclasses import dataclass
from typing import Final

from templora_edge.options.field import Section, option

MAX_SEED: Final = 2**32 - 2
"""Largest seed; to llama.cpp, 2**32 - 1 means a random one (LLAMA_DEFAULT_SEED)."""
MAX_HISTORY: Final = 2**20
"""Most tokens that a penalty may look back on: llama.cpp allocates room for them at once."""


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
    repeat_last_n: int = option(
        "--repeat-last-n",
        default=64,
        metavar="N",
        min=-1,
        max=MAX_HISTORY,
        help="Recent tokens that the repeat, presence and frequency penalties apply to; 0: none, "
        "-1: as many as the context holds.",
    )
    repeat_penalty: float = option(
        "--repeat-penalty",
        default=1.0,
        metavar="X",
        above=0,
        help="Penalty on recent tokens that divides positive logits and multiplies others; 1: off.",
    )
    presence_penalty: float = option(
        "--presence-penalty",
        default=0.0,
        metavar="X",
        help="Penalty subtracted from the logits of recent tokens; 0: off.",
    )
    frequency_penalty: float = option(
        "--frequency-penalty",
        default=0.0,
        metavar="X",
        help="Penalty subtracted from the logits of recent tokens for each occurrence; 0: off.",
    )
    dry_multiplier: float = option(
        "--dry-multiplier",
        default=0.0,
        metavar="X",
        min=0,
        help="DRY: penalty subtracted from the logits of tokens that would continue a repetition "
        "of --dry-allowed-length tokens; 0: off.",
    )
    dry_base: float = option(
        "--dry-base",
        default=1.75,
        metavar="X",
        min=1,
        help="DRY: factor by which the penalty grows with each further repeated token.",
    )
    dry_allowed_length: int = option(
        "--dry-allowed-length",
        default=2,
        metavar="N",
        min=0,
        max=MAX_HISTORY,
        help="DRY: shortest repetition whose continuation is penalized.",
    )
    dry_penalty_last_n: int = option(
        "--dry-penalty-last-n",
        default=64,
        metavar="N",
        min=-1,
        max=MAX_HISTORY,
        help="DRY: recent tokens to search for repetitions; 0: none, -1: as many as the context "
        "holds.",
    )
    seed: int = option(default=0, min=0, max=MAX_SEED)
    ignore_eos: bool = option(
        "--ignore-eos", default=False, help="Do not let the model end the text."
    )


GREEDY: Final = SamplingOptions(temperature=0, repeat_penalty=1.1)
"""Sampling of translations, as in the paper's scripts: greedy, with a penalty on repetition."""
