"""The base model as torch sees it, from the GGUF that llama.cpp serves.

`load_base` is the whole interface: how the frozen weights are held is this file's business.
"""

from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from converters.families import family_of, rope_row_order
from templora_edge.errors import UnsupportedModelError
from templora_edge.gguf_base import GgufBase


def load_base(gguf: GgufBase) -> PreTrainedModel:
    """A frozen float32 model with the weights of ``gguf``, dequantized into memory.

    Raises:
        UnsupportedModelError: its architecture is not in the table of families.
        ModelFileError: metadata or tensors are missing.
    """
    family = family_of(gguf.architecture, gguf.path)
    with torch.device("meta"):
        model = LlamaForCausalLM(_config(gguf))
    state: dict[str, torch.Tensor] = {}
    for name, parameter in model.state_dict().items():
        module, _, kind = name.rpartition(".")
        if module == "lm_head" and "output.weight" not in gguf.tensors:
            module = "model.embed_tokens"  # tied
        values = gguf.dequantize(f"{family.gguf_name(module)}.{kind}")
        heads_key = family.permuted.get(module.split(".", 3)[-1])
        if heads_key is not None:
            order = rope_row_order(values.shape[0], int(gguf.require(heads_key)))
            values = values[np.argsort(order)]
        state[name] = torch.tensor(values).reshape(parameter.shape)
    model.load_state_dict(state, assign=True)
    _fill_rope(model, gguf)
    model.requires_grad_(False)
    return model


def _config(gguf: GgufBase) -> LlamaConfig:
    require, get = gguf.require, gguf.get
    heads = int(require("{arch}.attention.head_count"))
    width = int(require("{arch}.embedding_length"))
    factor = get("{arch}.rope.scaling.factor")
    rope: dict[str, Any] = {"rope_theta": float(get("{arch}.rope.freq_base", 10000.0))}
    match get("{arch}.rope.scaling.type", "none" if factor is None else "linear"):
        case "none":
            rope["rope_type"] = "default"
        case "linear":
            rope |= {"rope_type": "linear", "factor": float(factor)}
        case other:
            raise UnsupportedModelError(
                f"{gguf.path}: RoPE scaling {other!r} is not supported by Temp-LoRA; "
                "--no-templora generates without it"
            )
    return LlamaConfig(
        vocab_size=int(gguf.tensor("token_embd.weight").shape[1]),
        hidden_size=width,
        intermediate_size=int(require("{arch}.feed_forward_length")),
        num_hidden_layers=int(require("{arch}.block_count")),
        num_attention_heads=heads,
        num_key_value_heads=int(get("{arch}.attention.head_count_kv", heads)),
        head_dim=int(get("{arch}.attention.key_length", width // heads)),
        rms_norm_eps=float(require("{arch}.attention.layer_norm_rms_epsilon")),
        max_position_embeddings=int(require("{arch}.context_length")),
        rope_parameters=rope,
        tie_word_embeddings="output.weight" not in gguf.tensors,
        attention_bias="blk.0.attn_q.bias" in gguf.tensors,
    )


def _fill_rope(model: LlamaForCausalLM, gguf: GgufBase) -> None:
    """Compute RoPE's frequencies, which the meta device left empty, with Llama 3.x's divisors."""
    rotary = type(model.model.rotary_emb)(model.config)
    if "rope_freqs.weight" in gguf.tensors:
        rotary.inv_freq /= torch.tensor(gguf.dequantize("rope_freqs.weight"))
    model.model.rotary_emb = rotary
