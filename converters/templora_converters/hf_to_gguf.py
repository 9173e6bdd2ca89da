"""Conversion of a Llama-family Hugging Face checkpoint to a base GGUF."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np

from templora_converters.checkpoint import read_json, read_tensors
from templora_converters.vocab import add_vocab
from templora_edge.errors import CheckpointError, UnsupportedModelError, listed
from templora_edge.host.files import replacing
from templora_edge.models.families import LLAMA, rope_row_order
from templora_edge.models.gguf_file import TRANSLATION_TEMPLATE, Floats

_TYPE: Final = gguf.GGMLQuantizationType
FILE_TYPES: Final = {
    "f32": (_TYPE.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (_TYPE.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bf16": (_TYPE.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (_TYPE.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q5_1": (_TYPE.Q5_1, gguf.LlamaFileType.MOSTLY_Q5_1),
    "q5_0": (_TYPE.Q5_0, gguf.LlamaFileType.MOSTLY_Q5_0),
    "q4_1": (_TYPE.Q4_1, gguf.LlamaFileType.MOSTLY_Q4_1),
    "q4_0": (_TYPE.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}
"""Types that gguf can quantize to in Python, by name."""

TEMPLATE_FILE: Final = "translation_template.jinja"
"""File with the prompt template, in a checkpoint made for translation."""

CLASSES: Final = ("LlamaForCausalLM", "MistralForCausalLM")


def convert(hf_dir: Path, out: Path, file_type: str = "f16") -> None:
    """Write the checkpoint in ``hf_dir`` as the base GGUF ``out``.

    Matrices get ``file_type``; vectors stay float32. Rows that do not divide into quantization
    blocks fall back to F16, as llama.cpp's own converter does.

    Raises:
        CheckpointError: files are missing, damaged or contradict the config.
        UnsupportedModelError: the model is not in the Llama family.
        OutputError: ``out`` could not be written.
    """
    if not hf_dir.is_dir():
        raise CheckpointError(f"{hf_dir}: not a directory; expected a Hugging Face checkpoint")
    config = read_json(hf_dir / "config.json", "a Hugging Face checkpoint")
    classes = config.get("architectures") or []
    if not set(classes) & set(CLASSES):
        raise UnsupportedModelError(
            f"{hf_dir}: architecture {listed(classes) or 'unnamed'}; expected one of "
            f"{', '.join(CLASSES)}; convert others with llama.cpp's convert_hf_to_gguf.py"
        )
    with replacing(out, "OUT.gguf") as temporary:
        writer = gguf.GGUFWriter(temporary, LLAMA.architecture)
        try:
            writer.add_name(hf_dir.resolve().name)
            _add_parameters(writer, config, hf_dir)
            writer.add_file_type(FILE_TYPES[file_type][1])
            add_vocab(writer, hf_dir, int(config["vocab_size"]))
            if (hf_dir / TEMPLATE_FILE).is_file():
                template = (hf_dir / TEMPLATE_FILE).read_text(encoding="utf-8")
                writer.add_string(TRANSLATION_TEMPLATE, template)
            for name, value in _tensors(hf_dir, config):
                kind = _tensor_type(value, file_type)
                writer.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def _tensor_type(value: Floats, file_type: str) -> gguf.GGMLQuantizationType:
    kind = FILE_TYPES[file_type][0]
    if value.ndim < 2:
        return _TYPE.F32
    block = gguf.GGML_QUANT_SIZES[kind][0]
    return kind if value.shape[-1] % block == 0 else _TYPE.F16


def _add_parameters(writer: gguf.GGUFWriter, config: Mapping[str, Any], hf_dir: Path) -> None:
    try:
        heads = int(config["num_attention_heads"])
        head_dim = int(config.get("head_dim") or config["hidden_size"] // heads)
        writer.add_vocab_size(int(config["vocab_size"]))
        writer.add_context_length(int(config["max_position_embeddings"]))
        writer.add_embedding_length(int(config["hidden_size"]))
        writer.add_block_count(int(config["num_hidden_layers"]))
        writer.add_feed_forward_length(int(config["intermediate_size"]))
        writer.add_head_count(heads)
        writer.add_head_count_kv(int(config.get("num_key_value_heads") or heads))
        writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    except KeyError as error:
        raise CheckpointError(f"{hf_dir / 'config.json'}: {error} is missing") from None
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    rope = _rope(config)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
    match rope.get("rope_type", "default"):
        case "default" | "llama3":  # llama3 scaling is stored as a tensor, see _rope_freqs
            pass
        case "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(float(rope["factor"]))
        case "yarn":
            original = rope.get("original_max_position_embeddings")
            writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            writer.add_rope_scaling_factor(float(rope["factor"]))
            writer.add_rope_scaling_orig_ctx_len(int(original or config["max_position_embeddings"]))
        case other:
            raise CheckpointError(
                f"{hf_dir / 'config.json'}: RoPE scaling {other!r}; expected default, linear, "
                "yarn or llama3"
            )


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """RoPE settings in transformers 5's form, from that or the older form."""
    if parameters := config.get("rope_parameters"):
        return dict(parameters)
    scaling = dict(config.get("rope_scaling") or {})
    if "type" in scaling:
        scaling.setdefault("rope_type", scaling["type"])
    return {"rope_theta": config.get("rope_theta", 10000.0), **scaling}


def _rope_freqs(rope: Mapping[str, Any], head_dim: int) -> Floats:
    """Divisors of RoPE's frequencies for Llama 3.x, (head_dim / 2,).

    Frequencies with wavelengths up to the high limit are kept, those beyond the low limit divided
    by the factor, those between interpolated (transformers, `_compute_llama3_parameters`).
    """
    wavelengths = 2 * math.pi * float(rope["rope_theta"]) ** (np.arange(0, head_dim, 2) / head_dim)
    original = float(rope["original_max_position_embeddings"])
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    smooth = np.clip((original / wavelengths - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / float(rope["factor"]) + smooth)).astype(np.float32)


def _tensors(hf_dir: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, Floats]]:
    layers = int(config["num_hidden_layers"])
    names = gguf.get_tensor_name_map(LLAMA.arch, layers)
    heads = {
        "self_attn.q_proj": int(config["num_attention_heads"]),
        "self_attn.k_proj": int(config.get("num_key_value_heads") or config["num_attention_heads"]),
    }
    tied = bool(config.get("tie_word_embeddings"))
    unknown: list[str] = []
    found: set[str] = set()
    for name, read in _checkpoint_tensors(hf_dir).items():
        if name.endswith(".rotary_emb.inv_freq") or (tied and name == "lm_head.weight"):
            continue
        gguf_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if gguf_name is None:
            unknown.append(name)
            continue
        value = read()
        module = name.rsplit(".", 1)[0].split(".", 3)[-1]
        if module in heads:
            value = value[rope_row_order(value.shape[0], heads[module])]
        found.add(gguf_name)
        yield gguf_name, value
    expected = {
        f"{names.get_name(f'model.layers.{i}.{module}')}.weight"
        for i in range(layers)
        for module in LLAMA.linear
    } | {"token_embd.weight", "output_norm.weight"}
    missing = sorted(expected - found)
    if unknown or missing:
        raise CheckpointError(
            f"{hf_dir}: tensors do not make a Llama: missing: {listed(missing)}; "
            f"unknown: {listed(unknown)}"
        )
    rope = _rope(config)
    if rope.get("rope_type") == "llama3":
        head_dim = config.get("head_dim") or config["hidden_size"] // heads["self_attn.q_proj"]
        yield "rope_freqs.weight", _rope_freqs(rope, int(head_dim))


def _checkpoint_tensors(hf_dir: Path) -> dict[str, Callable[[], Floats]]:
    index = hf_dir / "model.safetensors.index.json"
    files = ["model.safetensors"]
    if index.is_file():
        files = sorted(set(read_json(index, "a checkpoint index")["weight_map"].values()))
    return {k: v for file in files for k, v in read_tensors(hf_dir / file).items()}
