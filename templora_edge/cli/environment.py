"""Environment variables that give defaults to flags: TEMPLORA_* for all, LLAMA_ARG_* as llama.cpp.

An empty variable is as if it were not set, and TEMPLORA_* comes before LLAMA_ARG_*.
"""

import csv
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import typer

LLAMA_ARG: Final[Mapping[str, str]] = MappingProxyType(
    {
        "model": "LLAMA_ARG_MODEL",
        "hf-repo": "LLAMA_ARG_HF_REPO",
        "hf-file": "LLAMA_ARG_HF_FILE",
        "offline": "LLAMA_ARG_OFFLINE",
        "ctx-size": "LLAMA_ARG_CTX_SIZE",
        "threads": "LLAMA_ARG_THREADS",
        "n-gpu-layers": "LLAMA_ARG_N_GPU_LAYERS",
        "repack": "LLAMA_ARG_REPACK",
        "batch-size": "LLAMA_ARG_BATCH",
        "n-predict": "LLAMA_ARG_N_PREDICT",
        "cache-type-k": "LLAMA_ARG_CACHE_TYPE_K",
        "cache-type-v": "LLAMA_ARG_CACHE_TYPE_V",
        "temp": "LLAMA_ARG_TEMPERATURE",
        "top-k": "LLAMA_ARG_TOP_K",
        "top-p": "LLAMA_ARG_TOP_P",
        "min-p": "LLAMA_ARG_MIN_P",
        "repeat-penalty": "LLAMA_ARG_REPEAT_PENALTY",
        "presence-penalty": "LLAMA_ARG_PRESENCE_PENALTY",
        "frequency-penalty": "LLAMA_ARG_FREQUENCY_PENALTY",
        "grp-attn-n": "LLAMA_ARG_GRP_ATTN_N",
        "grp-attn-w": "LLAMA_ARG_GRP_ATTN_W",
        "rope-scaling": "LLAMA_ARG_ROPE_SCALING_TYPE",
        "rope-freq-base": "LLAMA_ARG_ROPE_FREQ_BASE",
        "rope-freq-scale": "LLAMA_ARG_ROPE_FREQ_SCALE",
        "yarn-orig-ctx": "LLAMA_ARG_YARN_ORIG_CTX",
        "yarn-ext-factor": "LLAMA_ARG_YARN_EXT_FACTOR",
        "yarn-attn-factor": "LLAMA_ARG_YARN_ATTN_FACTOR",
        "yarn-beta-slow": "LLAMA_ARG_YARN_BETA_SLOW",
        "yarn-beta-fast": "LLAMA_ARG_YARN_BETA_FAST",
    }
)
"""llama.cpp's variables of the flags that it shares with us, as in its common/arg.cpp."""

LLAMA_CPP_OPEN: Final[Mapping[str, float]] = MappingProxyType(
    {
        "LLAMA_ARG_THREADS": -1,
        "LLAMA_ARG_N_GPU_LAYERS": -1,
        "LLAMA_ARG_ROPE_FREQ_BASE": 0,
        "LLAMA_ARG_ROPE_FREQ_SCALE": 0,
        "LLAMA_ARG_YARN_ORIG_CTX": 0,
        "LLAMA_ARG_YARN_EXT_FACTOR": -1,
        "LLAMA_ARG_YARN_ATTN_FACTOR": -1,
        "LLAMA_ARG_YARN_BETA_SLOW": -1,
        "LLAMA_ARG_YARN_BETA_FAST": -1,
    }
)
"""Numbers by which llama.cpp leaves a choice to machine or model: as if they were not set."""

ON: Final = ("on", "enabled", "true", "1")
OFF: Final = ("off", "disabled", "false", "0")
"""llama.cpp's words for booleans."""


def variables_of(flag: str) -> tuple[str, ...]:
    """The variables of a flag, the strongest first; ``flag`` is its long name without dashes."""
    own = f"TEMPLORA_{flag.upper().replace('-', '_')}"
    return (own, LLAMA_ARG[flag]) if flag in LLAMA_ARG else (own,)


def is_set(variable: str) -> bool:
    """Whether ``variable`` has a value, and one that chooses."""
    text = os.environ.get(variable)
    if not text or variable not in LLAMA_CPP_OPEN:
        return bool(text)
    try:
        return float(text) != LLAMA_CPP_OPEN[variable]
    except ValueError:
        return True


def read_switch(variable: str) -> bool:
    """The value of ``variable``, one of llama.cpp's words for booleans.

    Raises:
        typer.BadParameter: it is another word.
    """
    text = os.environ[variable]
    if text not in ON + OFF:
        raise typer.BadParameter(
            f"expected {', '.join(ON)}, or {', '.join(OFF)}", param_hint=f"{variable}={text}"
        )
    return text in ON


def read_list(variable: str) -> list[str]:
    """The values of ``variable``, separated by commas and quoted as in CSV where they have one."""
    return next(csv.reader([os.environ[variable]]))
