"""The torch side, llama.cpp and our converters compute the same network."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_files import assert_same_tensors
from parity import EXACT, TRAIN, bundled_tokens, engine_logits, mean_kl, sidecar_logits, trained
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import LlamaForCausalLM
from upstream import run_upstream

from templora_converters import hf_to_gguf, peft_to_gguf
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import LlamaEngine
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import PAPER
from templora_edge.training.trainer import LoraTrainer


def test_a_fresh_adapter_gives_the_base_exactly(
    tiny_engine: LlamaEngine, tokens: list[int], tmp_path: Path
) -> None:
    base = engine_logits(tiny_engine, tokens)
    LoraTrainer(GgufFile(tiny_engine.model.path), TRAIN).write(tmp_path / "zero.gguf")
    tiny_engine.swap(tmp_path / "zero.gguf")
    np.testing.assert_array_equal(engine_logits(tiny_engine, tokens), base)


@pytest.mark.parametrize("with_adapter", [False, True])
@pytest.mark.parametrize("file_type", ["f32", "f16"])
def test_sidecar_and_llama_cpp_agree(
    file_type: str,
    with_adapter: bool,
    tiny_gguf: Callable[[str], Path],
    tokens: list[int],
    tmp_path: Path,
) -> None:
    path = tiny_gguf(file_type)
    trainer = trained(path, tokens, blocks=2 if with_adapter else 0)
    with LlamaEngine(path, EXACT) as engine:
        base = engine_logits(engine, tokens)
        if with_adapter:
            trainer.write(tmp_path / "adapter.gguf")
            engine.swap(tmp_path / "adapter.gguf")
        ours, theirs = sidecar_logits(trainer, tokens), engine_logits(engine, tokens)
    if file_type == "f32":
        assert np.abs(ours - theirs).max() <= 2e-3
    assert mean_kl(ours, theirs) <= 1e-4  # llama.cpp rounds activations to F16 for F16 weights
    if with_adapter:
        assert np.abs(theirs - base).max() > 0.1, "the adapter changed nothing: an empty test"


def test_sidecar_and_llama_cpp_agree_on_the_bundled_model(tmp_path: Path) -> None:
    tokens = bundled_tokens(256)
    trainer = trained(BUNDLED_MODEL, tokens)
    trainer.write(tmp_path / "adapter.gguf")
    with LlamaEngine(BUNDLED_MODEL, EXACT) as engine:
        base = engine_logits(engine, tokens)
        engine.swap(tmp_path / "adapter.gguf")
        adapted = engine_logits(engine, tokens)
    assert mean_kl(sidecar_logits(trainer, tokens), adapted) <= 2e-3  # Q8_0 rounds activations
    with trainer.model.disable_adapter():
        assert mean_kl(sidecar_logits(trainer, tokens), base) <= 2e-3
    assert mean_kl(base, adapted) > 0.1


@pytest.mark.parametrize("model", ["tiny", "bundled"])
def test_the_scale_that_was_found_is_served(
    model: str, tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    """Given and own blocks alike; nothing of the scale is lost, and without it all is different."""
    path = tiny_gguf("f32") if model == "tiny" else BUNDLED_MODEL
    text = tokens if model == "tiny" else bundled_tokens(256)
    lora = replace(
        PAPER, rank=8, alpha=256, learning_rate="auto", own_learning_rate=1e-3, warmup_blocks=0
    )
    trainer = LoraTrainer(GgufFile(path), replace(TRAIN, lora=lora))
    for begin in range(0, 160, 32):
        own = begin == 128
        prefix, block = text[max(0, begin - 32) : begin], text[begin : begin + 32]
        scale = trainer.train(prefix, block, own=own).scale
    assert abs(scale - 1) > 0.15, "not the scale this test needs"
    trainer.write(tmp_path / "adapter.gguf")
    with LlamaEngine(path, EXACT) as engine:
        engine.swap(tmp_path / "adapter.gguf")
        served = engine_logits(engine, text)
    ours = sidecar_logits(trainer, text)
    if model == "tiny":
        assert np.abs(ours - served).max() <= 2e-3
    assert mean_kl(ours, served) <= 2e-3  # Q8_0 rounds activations
    for module in trainer.model.modules():
        if isinstance(module, LoraLayer):
            module.set_scale("default", 1.0)
    assert mean_kl(sidecar_logits(trainer, text), served) > 0.01


@pytest.mark.parametrize("layers", [None, 1])
def test_the_swapped_adapter_equals_the_merged_model(
    layers: int | None, tiny_hf: Path, tiny_engine: LlamaEngine, tokens: list[int], tmp_path: Path
) -> None:
    trainer = trained(tiny_engine.model.path, tokens, layers=layers)
    trainer.write(tmp_path / "adapter.gguf")
    trainer.model.save_pretrained(str(tmp_path / "peft"))
    peft = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(tiny_hf), tmp_path / "peft")
    merged = peft.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "merged" / name).write_bytes((tiny_hf / name).read_bytes())
    hf_to_gguf.convert(tmp_path / "merged", tmp_path / "merged.gguf", "f32")
    tiny_engine.swap(tmp_path / "adapter.gguf")
    with LlamaEngine(tmp_path / "merged.gguf", EXACT) as engine:
        difference = engine_logits(engine, tokens) - engine_logits(tiny_engine, tokens)
    assert np.abs(difference).max() <= 2e-3


def assert_same_metadata(ours: Path, theirs: Path, *prefixes: str) -> None:
    a, b = (
        {
            key: field.contents()
            for key, field in gguf.GGUFReader(path).fields.items()
            if key.startswith(prefixes)
        }
        for path in (ours, theirs)
    )
    assert a == b


def test_adapter_equals_upstreams(
    tiny_hf: Path,
    tiny_gguf: Callable[[str], Path],
    tokens: list[int],
    llama_cpp_source: Path,
    tmp_path: Path,
) -> None:
    trained(tiny_gguf("f32"), tokens).model.save_pretrained(str(tmp_path / "peft"))
    ours, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    peft_to_gguf.convert(tmp_path / "peft", ours, tiny_gguf("f32"))
    script = llama_cpp_source / "convert_lora_to_gguf.py"
    run_upstream(script, "--base", tiny_hf, "--outfile", theirs, tmp_path / "peft")
    assert_same_tensors(ours, theirs)
    assert_same_metadata(ours, theirs, "adapter.", "general.architecture", "general.type")


@pytest.mark.parametrize("file_type", ["f32", "f16", "bf16", "q8_0"])
def test_base_equals_upstreams(
    file_type: str,
    tiny_hf: Path,
    tiny_gguf: Callable[[str], Path],
    llama_cpp_source: Path,
    tmp_path: Path,
) -> None:
    theirs = tmp_path / "theirs.gguf"
    # The tokenizer was made here, so upstream does not know its fingerprint: it is told.
    patched = tmp_path / "convert.py"
    patched.write_text(
        "import sys\n"
        f"sys.path[:0] = [{str(llama_cpp_source)!r}, {str(llama_cpp_source / 'gguf-py')!r}]\n"
        "from conversion.base import TextModel\n"
        "TextModel.get_vocab_base_pre = lambda self, tokenizer: 'gpt-2'\n"
        "import runpy\n"
        f"runpy.run_path({str(llama_cpp_source / 'convert_hf_to_gguf.py')!r}, "
        "run_name='__main__')\n"
    )
    run_upstream(patched, tiny_hf, "--outtype", file_type, "--outfile", theirs)
    assert_same_tensors(tiny_gguf(file_type), theirs)
    assert_same_metadata(
        tiny_gguf(file_type), theirs, "llama.", "tokenizer.", "general.architecture"
    )
