"""Tiny random models of every family, with all its special features enabled."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers
from texts import TEXT
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from upstream import run_upstream

N_VOCAB = 384
WINDOW = 64
"""Sliding window, in tokens; tests go past it."""

LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
YARN = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
    "original_max_position_embeddings": 128,
}  # fmt: skip
MINISTRAL_ROPE = {
    **YARN, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}  # fmt: skip
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
    "short_factor": [1.0 + 0.1 * i for i in range(24)],
    "long_factor": [1.0 + 0.5 * i for i in range(24)],
    "original_max_position_embeddings": 128,
}  # fmt: skip
GEMMA3_ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
}


@dataclass(frozen=True)
class Case:
    """A model class, its config, and the tokenizer that llama.cpp's converter needs for it."""

    model_class: str
    settings: dict[str, Any]
    sentencepiece: bool = False


CASES = {
    "llama": Case("LlamaForCausalLM", {"attention_bias": True}),
    "llama-3": Case(
        "LlamaForCausalLM",
        {"rope_parameters": LLAMA3_ROPE, "tie_word_embeddings": True, "head_dim": 32},
    ),
    "llama-linear": Case(
        "LlamaForCausalLM",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 8.0}},
    ),
    "llama-yarn": Case("LlamaForCausalLM", {"rope_parameters": YARN}),
    "mistral": Case("MistralForCausalLM", {"sliding_window": None}),
    "mistral3": Case("Ministral3ForCausalLM", {"rope_parameters": MINISTRAL_ROPE, "head_dim": 32}),
    "qwen2": Case("Qwen2ForCausalLM", {}),
    "qwen3": Case("Qwen3ForCausalLM", {"head_dim": 32, "tie_word_embeddings": True}),
    "gemma2": Case(
        "Gemma2ForCausalLM",
        {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": WINDOW,
         "final_logit_softcapping": 10.0, "attn_logit_softcapping": 5.0},
        sentencepiece=True,
    ),
    "gemma3": Case(
        "Gemma3ForCausalLM",
        {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": WINDOW,
         "num_hidden_layers": 7, "rope_parameters": GEMMA3_ROPE},
        sentencepiece=True,
    ),
    "phi2": Case(
        "PhiForCausalLM",
        {"num_key_value_heads": 4, "rope_parameters": {
            "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}},
    ),
    "phi3": Case("Phi3ForCausalLM", {"rope_parameters": LONGROPE}, sentencepiece=True),
}  # fmt: skip


def make_model(name: str, **others: Any) -> torch.nn.Module:
    """A random model, with ``others`` as settings, whose norms and biases are random too."""
    case = CASES[name]
    model_class = getattr(transformers, case.model_class)
    settings = {
        "vocab_size": N_VOCAB, "hidden_size": 256, "intermediate_size": 512,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "initializer_range": 0.06,
        "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
    }  # fmt: skip
    if name == "phi2":
        settings["intermediate_size"] = 1024  # the converter assumes 4 x width
    config = model_class.config_class(**settings | case.settings | others)
    config._attn_implementation = "eager"
    torch.manual_seed(11)
    model: torch.nn.Module = model_class(config)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("bias"):
                parameter.normal_(std=0.2)
            elif parameter.dim() == 1:  # norms
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return model.eval()


def write_gguf(name: str, model: torch.nn.Module, folder: Path, llama_cpp: Path) -> Path:
    """Save ``model`` and convert it with llama.cpp's own script, in F32."""
    model.save_pretrained(folder)  # type: ignore[operator]
    if CASES[name].sentencepiece:
        _make_sentencepiece(folder)
    else:
        make_tokenizer(folder)
    out = folder / "f32.gguf"
    run_upstream(
        upstream_converter(llama_cpp, folder), folder, "--outtype", "f32", "--outfile", out
    )
    return out


def make_tokenizer(folder: Path) -> int:
    """Write a byte-level BPE tokenizer to ``folder``; return its size."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = '{"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "tokenizer_class": "%s"}'
    (folder / "tokenizer_config.json").write_text(config % "PreTrainedTokenizerFast")
    return tokenizer.get_vocab_size()


def upstream_converter(llama_cpp: Path, folder: Path) -> Path:
    """convert_hf_to_gguf.py, told the pre-tokenizer, because it only knows published ones."""
    script = folder / "convert.py"
    script.write_text(
        "import runpy, sys\n"
        f"sys.path[:0] = [{str(llama_cpp)!r}, {str(llama_cpp / 'gguf-py')!r}]\n"
        "from conversion.base import TextModel\n"
        "TextModel.get_vocab_base_pre = lambda self, tokenizer: 'gpt-2'\n"
        f"runpy.run_path({str(llama_cpp / 'convert_hf_to_gguf.py')!r}, run_name='__main__')\n"
    )
    return script


def _make_sentencepiece(folder: Path) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([TEXT] * 10), model_prefix=str(folder / "tokenizer"),
        vocab_size=N_VOCAB - 20, byte_fallback=True, hard_vocab_limit=False, model_type="bpe",
        user_defined_symbols=["<|endoftext|>"], minloglevel=2,
    )  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))


Quantize = Callable[[Path, str], Path]
