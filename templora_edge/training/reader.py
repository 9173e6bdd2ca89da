"""Reads blocks for training, and keeps the keys and values of what was read for the next block."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from templora_edge.errors import SidecarError
from templora_edge.protocols import BFloat16s, Captured
from templora_edge.training.device import moved
from templora_edge.training.gguf_layers import CPU, MappedLinear

SINKS: Final = 4
"""First tokens whose keys and values always stay: models attend to them whatever they mean
(StreamingLLM, arXiv 2309.17453, section 3)."""

PIECE: Final = 128
"""Tokens before a block that are read at once, so that they take no more memory than a block."""

Pair = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of one layer, (1, heads, tokens, head size) each."""


class Reader:
    """The network of the base, over a block and the tokens before it.

    Keys and values of earlier tokens are not computed again for each block, just as llama.cpp's KV
    cache stays across swaps: those of a block come from the update that learned it. They are read
    anew where a block does not continue the text, or would go past the trained context.

    Layers below the adapter can be left out: llama.cpp has computed the states that enter the first
    layer with an adapter, and they never depend on it.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        first_layer: int,
        *,
        n_kept: int,
        n_ctx_train: int,
        device: torch.device = CPU,
    ) -> None:
        """Wrap ``network``.

        Args:
            network: decoder without its head.
            first_layer: first decoder layer that carries the adapter.
            n_kept: tokens whose keys and values are kept (L_T), besides the first ones.
            n_ctx_train: number of positions the network was trained on.
            device: the device of ``network``.
        """
        self._network = network
        self._device = device
        self._n_kept, self._n_ctx_train = n_kept, n_ctx_train
        self._layers = network.get_submodule("layers")
        layers = list(self._layers.children())
        passed = [_PassedLayer() for _ in range(first_layer)]
        self._upper_layers = torch.nn.ModuleList([*passed, *layers[first_layer:]])
        self._first_layer = first_layer
        modules = (module for layer in layers[first_layer:] for module in layer.modules())
        self._linear = [module for module in modules if isinstance(module, MappedLinear)]
        kinds = getattr(network.config, "layer_types", None) or ["full_attention"] * len(layers)
        # a whole window: with less, the adapter would learn to make up for what is missing
        window = max(SINKS + n_kept, getattr(network.config, "sliding_window", None) or 0)
        self._cache = [
            _CacheLayer(window, True)
            if kind == "sliding_attention"
            else _CacheLayer(SINKS + n_kept, False)
            for kind in kinds
        ]
        self._tokens: list[int] = []  # those in the cache
        self._position = 0  # of the next token
        self._last: tuple[list[int], list[Pair | None]] = ([], [])

    def checkpoint(self) -> None:
        """Recompute layers in backward instead of keeping their activations."""
        for linear in self._linear:
            linear.keeps_product = True
        self._network.activation_checkpointing_enable({"use_reentrant": False})
        for layer in self._layers.children():
            # safe with this cache: what a layer reads from it does not change when it writes
            layer._can_checkpoint_with_cache = True  # type: ignore[assignment]  # no submodule

    def read(
        self, before: Sequence[int], tokens: Sequence[int], captured: Captured | None = None
    ) -> torch.Tensor:
        """The last layer's normed states at ``tokens``, (n, width), with gradient.

        Args:
            before: tokens before, which are only read.
            tokens: n tokens.
            captured: what llama.cpp computed of ``tokens``, its products with the adapter as it is;
                None: it is computed.
        """
        states = None if captured is None else captured.states
        if not self._continues(before, len(tokens), complete=states is None):
            self.forget()
            with torch.no_grad():
                for begin in range(0, len(before), PIECE):
                    self._forward(before[begin : begin + PIECE], None)
                    self.keep()
        return self._forward(tokens, captured)

    def keep(self) -> None:
        """Keep the keys and values of the tokens that were read last, for what follows them."""
        tokens, pairs = self._last
        self._tokens += tokens
        self._position += len(tokens)
        del self._tokens[SINKS : max(SINKS, len(self._tokens) - self._n_kept)]
        for layer, pair in zip(self._cache, pairs, strict=True):
            layer.extend(pair, len(tokens))

    def forget(self) -> None:
        """Drop all keys and values."""
        self._tokens, self._position = [], 0
        for layer in self._cache:
            layer.empty()

    def state(self) -> dict[str, Any]:
        """Everything that later reads depend on, for `load_state`."""
        return {
            "tokens": self._tokens,
            "position": self._position,
            "layers": [(layer.past, layer.length) for layer in self._cache],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._tokens, self._position = list(state["tokens"]), state["position"]
        for layer, (past, length) in zip(self._cache, state["layers"], strict=True):
            layer.past, layer.length = moved(past, self._device), length

    @property
    def _complete(self) -> bool:
        """Whether lower layers' keys and values are there too."""
        return all(layer.past is not None or layer.length == 0 for layer in self._cache)

    def _continues(self, before: Sequence[int], n_tokens: int, *, complete: bool) -> bool:
        """Whether ``before`` is what was read last, so that ``n_tokens`` can follow it."""
        held, wanted = self._tokens, list(before)
        # read anew, the tokens would begin after ``before``, and no earlier
        fits = self._position <= max(self._n_ctx_train - n_tokens, len(wanted))
        if not (wanted and fits and (self._complete or not complete)):
            return not held
        # what is wanted may begin with BOS, as what is held did
        return len(wanted) <= len(held) and any(
            wanted[:n] == held[:n] and wanted[n:] == held[len(held) - len(wanted) + n :]
            for n in range(min(SINKS, len(wanted)) + 1)
        )

    def _forward(self, tokens: Sequence[int], captured: Captured | None) -> torch.Tensor:
        end, device = self._position + len(tokens), self._device
        position_ids = torch.arange(self._position, end, device=device)[None]
        inputs: dict[str, torch.Tensor] = {"input_ids": torch.tensor([[*tokens]], device=device)}
        states = None if captured is None else captured.states
        if states is not None:
            if len(states) != len(tokens):
                raise SidecarError(f"{len(states)} states for {len(tokens)} tokens")
            inputs = {"inputs_embeds": torch.from_numpy(states)[None].to(device)}
            self._network.layers = self._upper_layers
        self._use_products(None if captured is None else captured.products)
        try:
            output = self._network(
                **inputs, position_ids=position_ids, past_key_values=Cache(layers=[*self._cache])
            )
        finally:
            self._network.layers = self._layers
        if not torch.is_inference_mode_enabled():  # what is only measured is not kept
            n_passed = 0 if states is None else self._first_layer
            pairs = [None] * n_passed + [layer.new for layer in self._cache[n_passed:]]
            self._last = (list(tokens), pairs)
        hidden: torch.Tensor = output.last_hidden_state[0]
        return hidden

    def _use_products(self, products: Mapping[str, BFloat16s] | None) -> None:
        """Have linear layers take ``products`` for theirs in the next pass, or none."""
        for linear in self._linear:
            linear.product = None
            if products is not None:
                bits = torch.from_numpy(products[linear.source.name])
                product = bits.view(torch.bfloat16)[None, :, linear.source.rows]
                linear.product = product.to(self._device)


class _PassedLayer(torch.nn.Module):
    """A placeholder for a layer that llama.cpp has computed already."""

    def forward(self, hidden_states: torch.Tensor, **_: Any) -> torch.Tensor:
        return hidden_states


class _CacheLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer; new ones are joined to them, and noted, but not kept.

    So a layer that is recomputed in backward (checkpointing) reads the same cache as in forward.
    Transformers' masks take care of sliding windows; where one slides, the first tokens of a text
    are soon out of sight, and are not kept.
    """

    def __init__(self, capacity: int, is_sliding: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_sliding = is_sliding
        self._capacity = capacity
        self.past: Pair | None = None
        self.new: Pair | None = None
        self.length = 0
        """Tokens in the cache, also where a layer was left out and has none."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> Pair:
        """Keys and values of the tokens before and of the new ones."""
        self.new = (key_states.detach(), value_states.detach())
        if self.past is None:
            return key_states, value_states
        keys, values = self.past
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)

    def get_seq_length(self) -> int:
        """Number of tokens before the new ones."""
        return self.length

    def extend(self, pair: Pair | None, n: int) -> None:
        """Keep ``pair`` too, of ``n`` tokens; older ones make room, after the first ones."""
        missing = pair is None or (self.past is None and self.length > 0)
        dropped = max(0, self.length + n - self._capacity)
        self.length, self.new = self.length + n - dropped, None
        if pair is None or missing:
            self.past = None
            return
        pairs = [pair] if self.past is None else [self.past, pair]
        keys, values = (torch.cat([one[half] for one in pairs], dim=-2) for half in (0, 1))
        if dropped:
            first = 0 if self.is_sliding else SINKS
            keys, values = (
                torch.cat([one[..., :first, :], one[..., first + dropped :, :]], dim=-2)
                for one in (keys, values)
            )
        self.past = (keys, values)

    def empty(self) -> None:
        """Drop everything."""
        self.past, self.new, self.length = None, None, 0
