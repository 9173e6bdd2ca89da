"""A train prefix that an update only reads: keys and values without gradient."""

from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer


class _ReadLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of the prefix; new ones are joined to them but not kept.

    So a layer that is recomputed in backward (checkpointing) reads the same cache as in forward.
    """

    def __init__(self, computed: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(computed.keys, computed.values)
        self.past: tuple[torch.Tensor, torch.Tensor] = (computed.keys, computed.values)
        self.keys, self.values = self.past

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of prefix and block, (B, heads, L_T + T, head size) each."""
        keys, values = self.past
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)


def read_prefix(network: PreTrainedModel, tokens: torch.Tensor) -> Cache:
    """Keys and values of ``tokens`` (1, L_T), computed without gradient.

    Every layer keeps all of them; transformers' masks take care of sliding windows.
    """
    cache = DynamicCache()
    with torch.no_grad():
        network(input_ids=tokens, past_key_values=cache, use_cache=True)
    return Cache(layers=[_ReadLayer(layer) for layer in cache.layers])


def allow_prefix(network: PreTrainedModel) -> None:
    """Let checkpointed layers use the cache they are given, which is safe as it is only read."""
    for layer in network.get_submodule("layers").children():
        layer._can_checkpoint_with_cache = True  # type: ignore[assignment]  # no submodule
