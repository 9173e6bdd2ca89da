"""What differs between the model families Temp-LoRA can train, in one table.

llama.cpp and transformers lay the same network out differently: tensors have other names, and the
llama family's query and key rows are reordered for llama.cpp's interleaved RoPE.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import gguf
import numpy as np
import numpy.typing as npt

from templora_edge.errors import UnsupportedModelError

GATED_MLP: Final = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


@dataclass(frozen=True, slots=True)
class Family:
    """One llama.cpp architecture."""

    architecture: str
    """`general.architecture`."""
    arch: gguf.MODEL_ARCH
    linear: tuple[str, ...]
    """Linear layers of a decoder layer, by transformers' name, all of which carry the adapter."""
    permuted: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Layers whose rows llama.cpp reorders -> the metadata key of their head count."""

    def gguf_name(self, module: str) -> str | None:
        """llama.cpp's name (no suffix) of transformers' module ``module``, None if unknown."""
        layers = [int(part) for part in module.split(".") if part.isdigit()]
        names = gguf.get_tensor_name_map(self.arch, max(layers, default=0) + 1)
        return names.get_name(module)


LLAMA: Final = Family(
    "llama",
    gguf.MODEL_ARCH.LLAMA,
    GATED_MLP,
    MappingProxyType(
        {
            "self_attn.q_proj": "llama.attention.head_count",
            "self_attn.k_proj": "llama.attention.head_count_kv",
        }
    ),
)

FAMILIES: Final = MappingProxyType({family.architecture: family for family in (LLAMA,)})


def family_of(architecture: str, source: object) -> Family:
    """The family of a llama.cpp architecture; ``source`` names the file in the message.

    Raises:
        UnsupportedModelError: it is not in the table.
    """
    try:
        return FAMILIES[architecture]
    except KeyError:
        raise UnsupportedModelError(
            f"{source}: Temp-LoRA does not support architecture {architecture!r}; supported: "
            f"{', '.join(FAMILIES)}; --no-templora generates without it"
        ) from None


def rope_row_order(n_rows: int, n_heads: int) -> npt.NDArray[np.intp]:
    """Indices such that ``gguf_rows = hf_rows[order]`` for a query or key matrix.

    transformers rotates dimension i with i + d/2, llama.cpp's llama family i with i + 1
    (`LlamaModel.permute` in llama.cpp's conversion scripts).
    """
    half = n_rows // n_heads // 2
    order = np.arange(n_rows).reshape(n_heads, 2, half).swapaxes(1, 2)
    return order.reshape(n_rows)
