"""The recipe of a model: its shape, its training schedule, and the fresh model."""

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM


@dataclass(frozen=True)
class Recipe:
    """Shape and training schedule of a model. Lengths are in tokens."""

    vocab_size: int = 8192
    layers: int = 5
    width: int = 256
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 768
    context: int = 2048
    short_context: int = 512
    tokens: int = 16_384_000
    batch: int = 8192
    learning_rate: float = 5e-3
    warmup: int = 48
    """Number of steps over which the learning rate rises."""
    weight_decay: float = 0.1
    seed: int = 1

    @property
    def steps(self) -> int:
        """Number of optimizer steps in the whole run."""
        return self.tokens // self.batch

    def window(self, step: int) -> int:
        """Window length in ``step``, in tokens: the whole context in the last fifth of the run."""
        return self.context if step >= 0.8 * self.steps else self.short_context

    def rate(self, step: int) -> float:
        """Learning rate of ``step``, as a share of the highest."""
        return min(1.0, (step + 1) / self.warmup) * min(1.0, 2 * (self.steps - step) / self.steps)


def build_model(recipe: Recipe) -> LlamaForCausalLM:
    """A fresh model, with projections into the residual stream initialised to zero."""
    config = LlamaConfig(
        vocab_size=recipe.vocab_size,
        hidden_size=recipe.width,
        intermediate_size=recipe.ffn,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        head_dim=recipe.width // recipe.heads,
        max_position_embeddings=recipe.context,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(config)
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    return model
