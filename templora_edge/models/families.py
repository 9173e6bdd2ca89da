"""The model families Temp-LoRA can train, in one table.

llama.cpp and transformers store the same network differently: tensors have other names, the llama
family's query and key rows are reordered, gemma's norms are stored plus one. All differences
between families are here; a new family takes one entry and one test.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Final

import gguf
import numpy as np
import numpy.typing as npt

from templora_edge.errors import UnsupportedModelError
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.heads import Heads
from templora_edge.options import LoraOptions, Targets

Settings = dict[str, Any]

GATED_MLP: Final = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
FUSED_QKV: Final = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
"""Layers that some files store in the rows of one tensor, `attn_qkv`, in this order."""


@cache
def _gguf_name(arch: gguf.MODEL_ARCH, module: str) -> str | None:
    # cached: gguf builds its map anew for each name, milliseconds, more than a swap's other steps
    layers = [int(part) for part in module.split(".") if part.isdigit()]
    return gguf.get_tensor_name_map(arch, max(layers, default=0) + 1).get_name(module)


@dataclass(frozen=True, slots=True)
class Family:
    """One llama.cpp architecture."""

    arch: gguf.MODEL_ARCH
    model_class: str
    """Name of transformers' class."""
    config: Callable[[GgufFile], Settings]
    """Settings of the class's config beyond `common_config`, from the GGUF's metadata."""
    linear: tuple[str, ...] = GATED_MLP
    """transformers' names of the linear layers in a decoder layer; all can carry the adapter."""
    permuted: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Layers whose rows llama.cpp reorders -> the metadata key of their head count."""
    norm_offset: float = 0.0
    """Number added to norm weights in the file."""
    sliding_window_pattern: int = 1
    """Period of the layers with full attention; 1 means all layers."""

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture, as in `general.architecture`."""
        return gguf.MODEL_ARCH_NAMES[self.arch]

    def targets(self, wanted: Targets) -> tuple[str, ...]:
        """Names of the linear layers that ``wanted`` selects."""
        if wanted is Targets.ALL:
            return self.linear
        block = "self_attn." if wanted is Targets.ATTENTION else "mlp."
        left_out = "mlp.gate_proj" if wanted is Targets.UP_DOWN else None
        return tuple(x for x in self.linear if x.startswith(block) and x != left_out)

    def modules(
        self, n_layers: int, targets: Targets = Targets.ALL, layers: int | None = None
    ) -> tuple[str, ...]:
        """Full transformers names of the linear layers that ``targets`` selects.

        Args:
            n_layers: number of decoder layers of the model.
            targets: linear layers to select.
            layers: number of decoder layers to select, from the last; None is all.
        """
        first = 0 if layers is None else max(0, n_layers - layers)
        return tuple(
            f"model.layers.{index}.{name}"
            for index in range(first, n_layers)
            for name in self.targets(targets)
        )

    def gguf_name(self, module: str) -> str | None:
        """llama.cpp's name, without suffix, of transformers' ``module``; None if unknown."""
        return _gguf_name(self.arch, module)

    def layer_types(self, n_layers: int) -> list[str]:
        """The kind of attention of each layer, by transformers' names."""
        return [
            "sliding_attention" if (i + 1) % self.sliding_window_pattern else "full_attention"
            for i in range(n_layers)
        ]


ROPE: Final = MappingProxyType({"rope_type": "default", "rope_theta": 10000.0})
"""A placeholder that transformers accepts; the frequencies come from training/rotary.py."""


def common_config(base: GgufFile) -> Settings:
    """Config settings that all families share, by transformers' names.

    Raises:
        ModelFileError: metadata is missing.
    """
    n_heads = int(base.require("{arch}.attention.head_count"))
    return {
        "vocab_size": int(base.tensor("token_embd.weight").shape[1]),
        "hidden_size": int(base.require("{arch}.embedding_length")),
        "intermediate_size": int(base.require("{arch}.feed_forward_length")),
        "num_hidden_layers": int(base.require("{arch}.block_count")),
        "num_attention_heads": n_heads,
        "num_key_value_heads": int(base.get("{arch}.attention.head_count_kv", n_heads)),
        "head_dim": Heads.of(base).key_length,
        "max_position_embeddings": int(base.require("{arch}.context_length")),
        "tie_word_embeddings": False,  # the head is replaced, see training/head.py
        "pad_token_id": None,
        "rope_parameters": dict(ROPE),
    }


def _rms(base: GgufFile) -> Settings:
    return {"rms_norm_eps": float(base.require("{arch}.attention.layer_norm_rms_epsilon"))}


def _llama(base: GgufFile) -> Settings:
    return _rms(base) | {
        "attention_bias": "blk.0.attn_q.bias" in base.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in base.tensors,
    }


def _ministral(base: GgufFile) -> Settings:
    context = int(base.require("{arch}.context_length"))
    original = base.get("{arch}.rope.scaling.original_context_length", context)
    scale = float(base.get("{arch}.attention.temperature_scale", 0.0))
    rope = {"llama_4_scaling_beta": scale, "original_max_position_embeddings": int(original)}
    return _rms(base) | {"rope_parameters": {**ROPE, **rope}}


def _gemma(base: GgufFile) -> Settings:
    settings = common_config(base)
    layers, width = settings["num_hidden_layers"], settings["hidden_size"]
    # llama.cpp recognises the 27B models, which scale by width / heads, by their number of layers
    big = layers == {"gemma2": 46, "gemma3": 62}[base.architecture]
    scale = width // settings["num_attention_heads"] if big else settings["head_dim"]
    window = int(base.get("{arch}.attention.sliding_window", 0))
    return _rms(base) | {
        "query_pre_attn_scalar": scale,
        "final_logit_softcapping": None,  # the head is replaced
        "attn_logit_softcapping": base.get("{arch}.attn_logit_softcapping"),
        "sliding_window": window or settings["max_position_embeddings"],
        "layer_types": FAMILIES[base.architecture].layer_types(layers),
    }


def _gemma3(base: GgufFile) -> Settings:
    rope = {"sliding_attention": dict(ROPE), "full_attention": dict(ROPE)}
    return _gemma(base) | {"rope_parameters": rope}


def _partial_rope(base: GgufFile) -> Settings:
    head_dim = common_config(base)["head_dim"]
    n_rot = int(base.get("{arch}.rope.dimension_count", head_dim))
    return {"rope_parameters": {**ROPE, "partial_rotary_factor": n_rot / head_dim}}


def _phi2(base: GgufFile) -> Settings:
    epsilon = float(base.require("{arch}.attention.layer_norm_epsilon"))
    return _partial_rope(base) | {"layer_norm_eps": epsilon}


def _phi3(base: GgufFile) -> Settings:
    # llama.cpp ignores the sliding window of phi3
    return _rms(base) | _partial_rope(base) | {"bos_token_id": None, "eos_token_id": None}


def _permuted(architecture: str) -> Mapping[str, str]:
    key = f"{architecture}.attention.head_count"
    return MappingProxyType({"self_attn.q_proj": key, "self_attn.k_proj": f"{key}_kv"})


_ARCH: Final = gguf.MODEL_ARCH
_PHI2_LINEAR: Final = (*FUSED_QKV, "self_attn.dense", "mlp.fc1", "mlp.fc2")
_PHI3_LINEAR: Final = (
    "self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj",
)  # fmt: skip

LLAMA: Final = Family(_ARCH.LLAMA, "LlamaForCausalLM", _llama, permuted=_permuted("llama"))
MISTRAL3: Final = Family(
    _ARCH.MISTRAL3, "Ministral3ForCausalLM", _ministral, permuted=_permuted("mistral3")
)
QWEN2: Final = Family(_ARCH.QWEN2, "Qwen2ForCausalLM", _rms)
QWEN3: Final = Family(_ARCH.QWEN3, "Qwen3ForCausalLM", _rms)
GEMMA2: Final = Family(
    _ARCH.GEMMA2, "Gemma2ForCausalLM", _gemma,
    norm_offset=1.0, sliding_window_pattern=2
)  # fmt: skip
GEMMA3: Final = Family(
    _ARCH.GEMMA3, "Gemma3ForCausalLM", _gemma3, norm_offset=1.0, sliding_window_pattern=6
)
PHI2: Final = Family(_ARCH.PHI2, "PhiForCausalLM", _phi2, linear=_PHI2_LINEAR)
PHI3: Final = Family(_ARCH.PHI3, "Phi3ForCausalLM", _phi3, linear=_PHI3_LINEAR)

FAMILIES: Final = MappingProxyType(
    {
        family.architecture: family
        for family in (LLAMA, MISTRAL3, QWEN2, QWEN3, GEMMA2, GEMMA3, PHI2, PHI3)
    }
)


def family_of(base: GgufFile) -> Family:
    """The family of ``base``.

    Raises:
        UnsupportedModelError: its architecture is not in the table, or it has experts.
    """
    if base.get("{arch}.expert_count", 0):
        what = f"a mixture of {base.get('{arch}.expert_count')} experts ({base.architecture})"
    elif base.architecture not in FAMILIES:
        what = f"architecture {base.architecture!r}"
    else:
        return FAMILIES[base.architecture]
    raise UnsupportedModelError(
        f"{base.path}: Temp-LoRA does not support {what}; supported: {', '.join(FAMILIES)}; "
        "--no-templora generates without it"
    )


def why_not_trained(base: GgufFile) -> str:
    """Why Temp-LoRA cannot train ``base``; empty if it can."""
    try:
        family_of(base)
    except UnsupportedModelError as error:
        return str(error).removeprefix(f"{base.path}: ")
    return ""


def adapted_modules(base: GgufFile, lora: LoraOptions) -> tuple[str, ...]:
    """Full transformers names of the linear layers that carry the adapter.

    Raises:
        UnsupportedModelError: the base is not of a known family.
    """
    if lora.modules is not None:
        return lora.modules
    n_layers = int(base.require("{arch}.block_count"))
    return family_of(base).modules(n_layers, lora.targets, lora.layers)


def tensor_of(base: GgufFile, module: str) -> tuple[str, slice]:
    """Name, without suffix, of the tensor that holds the layer ``module``, and its rows in it."""
    name = str(family_of(base).gguf_name(module))
    suffix = module.split(".", 3)[-1]
    if suffix not in FUSED_QKV or f"{name}.weight" in base.tensors:
        return name, slice(None)
    return name.rpartition(".")[0] + ".attn_qkv", fused_rows(base)[FUSED_QKV.index(suffix)]


def fused_rows(base: GgufFile) -> tuple[slice, slice, slice]:
    """Rows of queries, keys and values in a fused `attn_qkv`."""
    settings = common_config(base)
    queries = settings["num_attention_heads"] * settings["head_dim"]
    keys = settings["num_key_value_heads"] * settings["head_dim"]
    return (
        slice(0, queries),
        slice(queries, queries + keys),
        slice(queries + keys, queries + 2 * keys),
    )


def rope_row_order(n_rows: int, n_heads: int) -> npt.NDArray[np.intp]:
    """Indices such that ``gguf_rows = hf_rows[order]`` for a query or key matrix.

    transformers rotates dimension i with i + d/2; llama.cpp, in the llama family, i with i + 1
    (`LlamaModel.permute` in llama.cpp's conversion scripts).
    """
    half = n_rows // n_heads // 2
    order = np.arange(n_rows).reshape(n_heads, 2, half).swapaxes(1, 2)
    return order.reshape(n_rows)
