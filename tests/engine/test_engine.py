"""The engine against llama.cpp used directly, and against arithmetic."""

import math
from collections.abc import Callable
from ctypes import c_char_p
from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
import torch
from families import make_tokenizer
from parity import EXACT, engine_logits
from texts import TEXT
from transformers import LlamaConfig, LlamaForCausalLM

from templora_converters import hf_to_gguf
from templora_edge import KvPolicy, SamplingOptions, TempLora
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import LlamaEngine, Model
from templora_edge.errors import EngineError, InsufficientMemoryError, ModelFileError, OptionError
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.heads import Heads
from templora_edge.options import EngineOptions

PROMPT = "It was a dark night, and"


@pytest.mark.parametrize("n_batch", [1, 7, 512])
def test_chunks_do_not_change_the_result(
    n_batch: int, tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    with LlamaEngine(tiny_gguf("f32"), EXACT) as whole:
        expected = engine_logits(whole, tokens)
    with LlamaEngine(tiny_gguf("f32"), replace(EXACT, n_batch=n_batch)) as chunked:
        chunked.decode(tokens)
        assert chunked.n_past == len(tokens)
        np.testing.assert_allclose(chunked.context.logits(), expected[-1], atol=1e-3)


@pytest.mark.parametrize("n_pending", [1, 5])
def test_score_is_the_log_softmax(
    n_pending: int, tiny_engine: LlamaEngine, tokens: list[int]
) -> None:
    logits = torch.from_numpy(engine_logits(tiny_engine, tokens)).double()
    expected = -torch.log_softmax(logits, -1)[:-1].gather(1, torch.tensor(tokens[1:])[:, None])
    tiny_engine.clear()
    nll = tiny_engine.score(tokens[:n_pending], tokens[n_pending:])
    np.testing.assert_allclose(nll, expected[n_pending - 1 :, 0].numpy(), atol=1e-3)
    assert tiny_engine.n_past == len(tokens) - 1


def test_shift_is_exact_where_only_positions_matter(tmp_path: Path) -> None:
    """With one layer, keys and values depend on token and position alone, so a shifted cache must
    equal one that was filled with the kept tokens."""
    config = LlamaConfig(
        vocab_size=make_tokenizer(tmp_path),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(1)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    hf_to_gguf.convert(tmp_path, tmp_path / "one.gguf", "f32")
    with LlamaEngine(tmp_path / "one.gguf", replace(EXACT, shift=True)) as engine:
        engine.decode(range(1, 101))
        engine.shift(keep=4, discard=40)
        assert engine.n_past == 60
        engine.decode([200])
        shifted = engine.context.logits()
        kept = [*range(1, 5), *range(45, 101), 200]
        np.testing.assert_allclose(shifted, engine_logits(engine, kept)[-1], atol=1e-4)


def llama_cpp_alone(path: Path, prompt: str, n: int, options: SamplingOptions) -> list[int]:
    """Plain llama.cpp without our classes: one token after another up to the end."""
    model = llama_cpp.llama_model_load_from_file(bytes(path), _model_params())
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 1024, 1, 1
    context = llama_cpp.llama_init_from_model(model, params)
    vocab = llama_cpp.llama_model_get_vocab(model)
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for sampler in (
        llama_cpp.llama_sampler_init_penalties(
            llama_cpp.llama_vocab_n_tokens(vocab),
            options.repeat_last_n,
            options.repeat_penalty,
            options.frequency_penalty,
            options.presence_penalty,
        ),
        llama_cpp.llama_sampler_init_dry(
            vocab,
            options.dry_multiplier,
            options.dry_base,
            options.dry_allowed_length,
            options.dry_penalty_last_n,
            (c_char_p * 4)(b"\n", b":", b'"', b"*"),
            4,
        ),
        llama_cpp.llama_sampler_init_top_k(options.top_k),
        llama_cpp.llama_sampler_init_top_p(options.top_p, 1),
        llama_cpp.llama_sampler_init_min_p(options.min_p, 1),
        llama_cpp.llama_sampler_init_temp(options.temperature),
        llama_cpp.llama_sampler_init_dist(options.seed),
    ):
        llama_cpp.llama_sampler_chain_add(chain, sampler)
    data = prompt.encode()
    buffer = (llama_cpp.llama_token * 64)()
    count = llama_cpp.llama_tokenize(vocab, data, len(data), buffer, 64, True, True)
    pending: list[int] = buffer[:count]
    chosen: list[int] = []
    for token in pending:
        llama_cpp.llama_sampler_accept(chain, token)
    while len(chosen) < n:
        array = (llama_cpp.llama_token * len(pending))(*pending)
        assert (
            llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(pending))) == 0
        )
        pending = [llama_cpp.llama_sampler_sample(chain, context, -1)]
        if llama_cpp.llama_vocab_is_eog(vocab, pending[0]):  # when, depends on the machine
            break
        chosen += pending
    llama_cpp.llama_sampler_free(chain)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return chosen


def _model_params() -> Any:
    params = llama_cpp.llama_model_default_params()
    params.use_extra_bufts = False
    return params


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"repeat_penalty": 1.3},
        {"frequency_penalty": 0.1, "presence_penalty": 0.3, "repeat_last_n": 100},
        {"dry_multiplier": 0.8, "dry_penalty_last_n": 1024},
    ],
)
def test_without_templora_it_is_llama_cpp(values: dict[str, float]) -> None:
    options = SamplingOptions(seed=5).changed(**values)
    expected = llama_cpp_alone(BUNDLED_MODEL, PROMPT, 300, options)
    with TempLora(templora=False, n_ctx=1024, n_threads=1) as text:
        pieces = list(text.generate(PROMPT, n_predict=300, sampling=options))
    assert [piece.token for piece in pieces] == expected


def test_ignore_eos_never_ends() -> None:
    with Model(BUNDLED_MODEL) as model:
        assert model.vocab.is_end(0)
    # a model that would always say the end token: everything else is out of reach
    options = SamplingOptions(temperature=0, ignore_eos=True, repeat_penalty=1e-6)
    with TempLora(templora=False, n_ctx=256, n_threads=1) as text:
        tokens = [p.token for p in text.generate(PROMPT, n_predict=100, sampling=options)]
    assert len(tokens) == 100
    assert 0 not in tokens


def test_vocab_round_trip() -> None:
    with Model(BUNDLED_MODEL) as model:
        for text in (TEXT, "naïve café — “quoted” 日本 🙂\n\n  spaces"):
            tokens = model.vocab.tokenize(text)
            assert model.vocab.detokenize(tokens) == text
        assert model.vocab.head == (0,)
        special = model.vocab.tokenize("<|endoftext|>", parse_special=True)
        assert special == [0]
        assert 0 not in model.vocab.tokenize("<|endoftext|>")


def test_overflow_is_an_error_and_not_a_crash(tiny_engine: LlamaEngine) -> None:
    with pytest.raises(EngineError, match="overflow the context of 512"):
        tiny_engine.decode([1] * 513)


def test_limits_are_checked_before_llama_cpp_tries() -> None:
    with pytest.raises(InsufficientMemoryError, match="choose a smaller context"):
        LlamaEngine(BUNDLED_MODEL, EngineOptions(n_ctx=2**30, n_threads=1))
    with pytest.raises(OptionError, match="largest context"):
        LlamaEngine(BUNDLED_MODEL, EngineOptions(n_ctx=2**31, n_threads=1))


def test_kv_bytes_is_what_llama_cpp_allocates(tiny_gguf: Callable[[str], Path]) -> None:
    heads = Heads.of(GgufFile(tiny_gguf("f32")))
    # 3 layers x 2 key-value heads x (32 + 32) values x 2 bytes
    assert heads.kv_bytes(1000, 2.0, 2.0) == 1000 * 3 * 2 * 64 * 2
    assert heads.kv_bytes(1000, 2.0, 0.5) == 1000 * 3 * 2 * 32 * 2.5


@pytest.mark.parametrize("policy", list(KvPolicy))
def test_every_policy_runs_far_past_the_context(policy: KvPolicy) -> None:
    with TempLora(templora=False, n_ctx=64, block_len=16, kv_policy=policy, n_threads=1) as text:
        sampling = SamplingOptions(seed=1, ignore_eos=True)
        assert len(list(text.generate(PROMPT, n_predict=300, sampling=sampling))) == 300
        assert [block.tokens for block in text.blocks] == [16] * 18 + [12]


def test_a_model_that_is_not_one(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(BUNDLED_MODEL.read_bytes()[:100_000])
    with pytest.raises(ModelFileError, match=r"cut\.gguf"):
        Model(cut)


def test_perplexity_of_a_uniform_guess_is_the_vocabulary(tmp_path: Path) -> None:
    """A model whose output is all zeros knows nothing: its perplexity is its vocabulary's size."""
    n_vocab = make_tokenizer(tmp_path)
    config = LlamaConfig(
        vocab_size=n_vocab, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=1, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    model.save_pretrained(tmp_path)
    hf_to_gguf.convert(tmp_path, tmp_path / "zero.gguf", "f32")
    with TempLora(tmp_path / "zero.gguf", templora=False, n_ctx=64, n_threads=1) as text:
        score = text.score(TEXT)
    assert sum(score.tokens) == text.n_tokens - 1
    assert math.isclose(score.ppl, n_vocab, rel_tol=1e-4)
    assert math.isclose(score.ppl_block_mean, n_vocab, rel_tol=1e-4)
