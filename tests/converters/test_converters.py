"""What the converters reject, and settings that only some checkpoints have."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import make_tokenizer
from gguf_files import assert_same_tensors
from parity import EXACT, assert_close_to_hf, trained
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from templora_converters import hf_to_gguf, peft_to_gguf
from templora_converters.vocab import pre_tokenizer_name
from templora_edge.engine import LlamaEngine
from templora_edge.errors import (
    AdapterError,
    CheckpointError,
    OutputError,
    TemploraError,
    UnsupportedModelError,
)
from templora_edge.models import adapter_layout
from templora_edge.models.adapter_file import AdapterFile
from templora_edge.models.gguf_file import GgufFile

LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip


def small(n_vocab: int, **settings: Any) -> dict[str, Any]:
    return {
        "vocab_size": n_vocab,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 0,
        **settings,
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"tie_word_embeddings": True},
        {"attention_bias": True},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 8.0}},
        {"rope_parameters": LLAMA3, "head_dim": 32},
    ],
    ids=["tied", "biases", "linear", "llama3"],
)
def test_special_cases_of_the_llama_family(
    settings: dict[str, Any], tokens: list[int], tmp_path: Path
) -> None:
    """transformers, llama.cpp on our GGUF, and training on our GGUF agree."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**small(make_tokenizer(tmp_path), **settings)))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path)
    hf_to_gguf.convert(tmp_path, tmp_path / "out.gguf", "f32")
    assert_close_to_hf(model, tmp_path / "out.gguf", tokens)


def test_mistral_is_a_llama(tokens: list[int], tmp_path: Path) -> None:
    settings = small(make_tokenizer(tmp_path), sliding_window=None)
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(**settings))
    model.save_pretrained(tmp_path)
    hf_to_gguf.convert(tmp_path, tmp_path / "out.gguf", "f32")
    assert_close_to_hf(model, tmp_path / "out.gguf", tokens)


def test_sharded_bfloat16_checkpoint(tiny_hf: Path, tmp_path: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(tiny_hf, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_hf / name, tmp_path)
    assert (tmp_path / "model.safetensors.index.json").is_file()
    hf_to_gguf.convert(tmp_path, tmp_path / "out.gguf", "bf16")
    values = GgufFile(tmp_path / "out.gguf").dequantize("blk.1.ffn_down.weight")
    expected = model.model.layers[1].mlp.down_proj.weight.detach().float().numpy()
    np.testing.assert_array_equal(values, expected)


def test_rows_that_do_not_divide_into_blocks_fall_back(tmp_path: Path) -> None:
    model = LlamaForCausalLM(LlamaConfig(**small(make_tokenizer(tmp_path), intermediate_size=40)))
    model.save_pretrained(tmp_path)
    hf_to_gguf.convert(tmp_path, tmp_path / "out.gguf", "q4_0")
    tensors = GgufFile(tmp_path / "out.gguf").tensors
    assert tensors["blk.0.ffn_down.weight"].tensor_type.name == "F16"
    assert tensors["blk.0.ffn_up.weight"].tensor_type.name == "Q4_0"


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def drop(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def edit(name: str, **changes: Any) -> Callable[[Path], object]:
    return lambda folder: edit_json(folder / name, lambda value: value.update(changes))


def halve(name: str) -> Callable[[Path], object]:
    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return cut


def lose_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (drop("config.json"), CheckpointError, "config.json"),
        (drop("model.safetensors"), CheckpointError, "model.safetensors"),
        (drop("tokenizer.json"), CheckpointError, "tokenizer.json"),
        (halve("config.json"), CheckpointError, "not JSON"),
        (halve("model.safetensors"), CheckpointError, "truncated"),
        (edit("config.json", architectures=["MambaForCausalLM"]), UnsupportedModelError, "Mamba"),
        (edit("config.json", rope_parameters={"rope_type": "dynamic"}), CheckpointError, "dynamic"),
        (edit("config.json", vocab_size=100), CheckpointError, "vocab_size is 100"),
        (edit("tokenizer.json", pre_tokenizer=None), CheckpointError, "pre-tokenizer"),
        (edit("tokenizer.json", model={"type": "Unigram"}), CheckpointError, "Unigram"),
        (lose_a_tensor, CheckpointError, "blk.1.ffn_up.weight"),
    ],
)
def test_damaged_checkpoints(
    damage: Callable[[Path], object],
    error: type[TemploraError],
    words: str,
    tiny_hf: Path,
    tmp_path: Path,
) -> None:
    shutil.copytree(tiny_hf, tmp_path / "hf")
    damage(tmp_path / "hf")
    out = tmp_path / "out.gguf"
    out.write_text("precious")
    with pytest.raises(error, match=words):
        hf_to_gguf.convert(tmp_path / "hf", out, "f16")
    assert out.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf", "out.gguf"]


def test_pre_tokenizers() -> None:
    split = {"type": "Split", "pattern": {"Regex": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]"
             r"?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"}}  # fmt: skip
    bytes_only = {"type": "ByteLevel", "use_regex": False}
    sequence = {"type": "Sequence", "pretokenizers": [split, bytes_only]}
    digits = {"type": "Digits", "individual_digits": True}
    smollm = {"type": "Sequence", "pretokenizers": [digits, {"type": "ByteLevel"}]}
    assert pre_tokenizer_name(sequence, Path()) == "llama-bpe"
    assert pre_tokenizer_name(smollm, Path()) == "smollm"
    assert pre_tokenizer_name({"type": "ByteLevel"}, Path()) == "gpt-2"
    with pytest.raises(CheckpointError):
        pre_tokenizer_name(bytes_only, Path())


def save_adapter(tiny_hf: Path, folder: Path, **settings: Any) -> None:
    model = LlamaForCausalLM.from_pretrained(tiny_hf)
    config = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], **settings}
    get_peft_model(model, LoraConfig(**config)).save_pretrained(str(folder))


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "biases"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"lora_alpha": 0}, "lora_alpha"),
        ({"target_modules": ["lm_head"]}, "decoder layers only"),
        ({"target_modules": ["embed_tokens"]}, "not a LoRA matrix"),
    ],
)
def test_adapters_llama_cpp_cannot_apply(
    settings: dict[str, Any], words: str, tiny_hf: Path, tmp_path: Path
) -> None:
    save_adapter(tiny_hf, tmp_path / "peft", **settings)
    with pytest.raises(AdapterError, match=words):
        peft_to_gguf.convert(tmp_path / "peft", tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


def test_every_misfit_is_named_at_once(tiny_gguf: Callable[[str], Path]) -> None:
    target = adapter_layout.AdapterTarget.from_gguf(GgufFile(tiny_gguf("f32")))
    prefix = "base_model.model.model.layers"
    weights = {
        f"{prefix}.0.self_attn.q_proj.lora_A.weight": np.zeros((4, 64), np.float32),
        f"{prefix}.0.mlp.up_proj.lora_A.weight": np.zeros((4, 63), np.float32),
        f"{prefix}.0.mlp.up_proj.lora_B.weight": np.zeros((96, 4), np.float32),
        f"{prefix}.9.mlp.up_proj.lora_A.weight": np.zeros((4, 64), np.float32),
        f"{prefix}.9.mlp.up_proj.lora_B.weight": np.zeros((96, 4), np.float32),
        "what.is.this": np.zeros((4, 64), np.float32),
    }
    with pytest.raises(AdapterError) as caught:
        adapter_layout.gguf_tensors(weights, target)
    message = str(caught.value)
    for words in ("blk.0.attn_q.weight.lora_b is missing", "(96, 63)", "blk.9", "what.is.this"):
        assert words in message
    with pytest.raises(AdapterError, match="no LoRA"):
        adapter_layout.gguf_tensors({}, target)


def test_rslora_scale(tiny_hf: Path, tiny_gguf: Callable[[str], Path], tmp_path: Path) -> None:
    save_adapter(tiny_hf, tmp_path / "peft", use_rslora=True)
    peft_to_gguf.convert(tmp_path / "peft", tmp_path / "out.gguf", tiny_gguf("f32"))
    assert AdapterFile.read(tmp_path / "out.gguf").alpha == 8 * 2  # sqrt(r) = 2


def test_the_base_an_adapter_names_is_enough(
    tiny_hf: Path, tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    trainer = trained(tiny_gguf("f32"), tokens)
    trainer.model.save_pretrained(str(tmp_path / "peft"))
    edit_json(
        tmp_path / "peft" / "adapter_config.json",
        lambda config: config.update(base_model_name_or_path=str(tiny_hf)),
    )
    peft_to_gguf.convert(tmp_path / "peft", tmp_path / "out.gguf")
    trainer.write(tmp_path / "expected.gguf")
    assert_same_tensors(tmp_path / "out.gguf", tmp_path / "expected.gguf")
    with LlamaEngine(tiny_gguf("f32"), EXACT) as engine:
        engine.swap(tmp_path / "out.gguf")


def test_a_converted_file_is_written_whole_or_not_at_all(tiny_hf: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="missing"):
        hf_to_gguf.convert(tiny_hf, tmp_path / "missing" / "out.gguf")
    with pytest.raises(OutputError, match="directory"):
        hf_to_gguf.convert(tiny_hf, tmp_path)
