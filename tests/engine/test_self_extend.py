"""SelfExtend against a slow attention written here, and against llama.cpp decoding directly."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import pytest
import torch
from families import make_tokenizer
from gguf_files import write_out
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import EXACT, Floats, engine_logits, mean_kl
from transformers import LlamaConfig, LlamaForCausalLM

from templora_converters import hf_to_gguf
from templora_edge import KvPolicy, TempLora
from templora_edge.engine import Context, LlamaEngine
from templora_edge.errors import OptionError
from templora_edge.events import ScoredBlock
from templora_edge.options import (
    EngineOptions,
    KvType,
    RopeOptions,
    RopeScaling,
    SelfExtendOptions,
)
from templora_edge.positions import TILE, Positions

TRAINED = 128
"""Positions that the models here are trained on."""
HEAD = 64
MakeModel = Callable[[int], Path]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Number of layers -> folder of a random Llama, heads of 64, trained on 128 positions."""
    folders: dict[int, Path] = {}

    def make(n_layers: int) -> Path:
        if n_layers not in folders:
            folder = tmp_path_factory.mktemp(f"short-{n_layers}")
            torch.manual_seed(11)
            config = LlamaConfig(
                vocab_size=make_tokenizer(folder),
                hidden_size=48,
                intermediate_size=64,
                num_hidden_layers=n_layers,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=HEAD,
                max_position_embeddings=TRAINED,
                initializer_range=0.2,
                bos_token_id=0,
                eos_token_id=0,
            )
            LlamaForCausalLM(config).save_pretrained(folder)
            hf_to_gguf.convert(folder, folder / "f32.gguf", "f32")
            folders[n_layers] = folder
        return folders[n_layers]

    return make


def some_tokens(n: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(5).integers(1, 300, n)]


def exact(group: int, window: int, n_ctx: int, **others: Any) -> EngineOptions:
    return replace(EXACT, n_ctx=n_ctx, self_extend=SelfExtendOptions(group, window), **others)


def slow_positions(n_tokens: int, group: int, window: int, limit: int) -> list[int]:
    """Positions of ``n_tokens`` cached tokens, one after another."""
    positions: list[int] = []
    grouped, until = 0, limit
    for n in range(n_tokens):
        if positions and positions[-1] + 1 == until:
            while n - (grouped + group) >= window:
                grouped += group
            positions = [i // group for i in range(grouped)]
            positions += [grouped // group + i for i in range(n - grouped)]
            room = limit - len(set(positions))
            until = limit
            while room > TILE and (n + room - (limit - until)) % TILE:
                until -= 1
        positions.append(positions[-1] + 1 if positions else 0)
    return positions


class SlowModel:
    """A Llama that keeps keys without their rotation, and rotates them anew for every token."""

    def __init__(self, folder: Path, group: int, window: int) -> None:
        self.model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float64)
        self.group, self.window = group, window
        n_layers = self.model.config.num_hidden_layers
        self.keys: list[list[torch.Tensor]] = [[] for _ in range(n_layers)]
        self.values: list[list[torch.Tensor]] = [[] for _ in range(n_layers)]
        self.n = 0

    def rotate(self, x: torch.Tensor, positions: Sequence[int]) -> torch.Tensor:
        """x (T, heads, D), dimension i paired with i + D / 2."""
        half = x.shape[-1] // 2
        frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.tensor(positions, dtype=torch.float64)[:, None, None] * frequencies
        a, b = x[..., :half], x[..., half:]
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    @torch.inference_mode()
    def append(self, token: int) -> Floats:
        """Logits after one more token."""
        self.n += 1
        positions = slow_positions(self.n, self.group, self.window, TRAINED)
        inner = self.model.model
        x = inner.embed_tokens(torch.tensor([token]))  # (1, C)
        for layer, keys, values in zip(inner.layers, self.keys, self.values, strict=True):
            attention = layer.self_attn
            y = layer.input_layernorm(x)
            query = self.rotate(attention.q_proj(y).view(1, 4, HEAD), positions[-1:])
            keys.append(attention.k_proj(y).view(1, 2, HEAD))
            values.append(attention.v_proj(y).view(1, 2, HEAD))
            key = self.rotate(torch.cat(keys), positions).repeat_interleave(2, 1)  # (T, 4, D)
            value = torch.cat(values).repeat_interleave(2, 1)
            scores = torch.einsum("qhd,khd->hqk", query, key) / HEAD**0.5
            mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value)
            x = x + attention.o_proj(mixed.reshape(1, -1))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return np.asarray(self.model.lm_head(inner.norm(x))[0].float().numpy())


@given(
    group=st.integers(2, 9),
    window=st.integers(1, 40),
    spare=st.sampled_from((60, 200)),
    steps=st.lists(st.integers(1, 50), max_size=30),
)
@settings(deadline=None)
def test_positions_do_not_depend_on_batches(
    group: int, window: int, spare: int, steps: list[int]
) -> None:
    limit = window + spare
    positions = Positions(SelfExtendOptions(group, window), limit)
    cached: list[int] = []
    for step in steps:
        for _ in range(step):
            if positions.room(cached[-1] + 1 if cached else 0) == 0:
                for move in positions.regroup(cached[-1] + 1):
                    moved = [p + move.delta if move.begin <= p < move.end else p for p in cached]
                    assert moved == sorted(moved)  # none passes another
                    cached = moved
            cached.append(cached[-1] + 1 if cached else 0)
            if len(cached) > group * (limit - window - group):
                return
        assert cached == slow_positions(len(cached), group, window, limit)
        assert positions.n_tokens(cached[-1] + 1) == len(cached)
        assert max(cached) < limit
        # the last w tokens always have neighbouring positions
        assert all(b - a == 1 for a, b in pairwise(cached[-window:]))


@given(
    group=st.integers(2, 5),
    n_grouped=st.integers(0, 20),
    n_near=st.integers(1, 30),
    keep=st.integers(0, 20),
    discard=st.integers(1, 40),
)
def test_a_cut_leaves_groups_whole(
    group: int, n_grouped: int, n_near: int, keep: int, discard: int
) -> None:
    n_grouped *= group
    positions = Positions(SelfExtendOptions(group, 1), 1000)
    positions.n_grouped = n_grouped
    cached = [i // group for i in range(n_grouped)]
    cached += [n_grouped // group + i for i in range(n_near)]
    keep = min(keep, len(cached))
    begin, end = positions.cut(keep, discard, cached[-1] + 1)
    left = [p if p < begin else p - (end - begin) for p in cached if not begin <= p < end]
    removed = len(cached) - len(left)
    assert removed >= min(discard, len(cached) - keep - group)
    assert removed < discard + 2 * group
    grouped = positions.n_grouped
    assert left == [
        i // group if i < grouped else grouped // group + i - grouped for i in range(len(left))
    ]
    if left:
        assert positions.n_tokens(left[-1] + 1) == len(left)


@pytest.mark.parametrize(
    ("group", "window", "n_tokens"), [(2, 32, 200), (4, 32, 330), (8, 16, 600)]
)
@pytest.mark.parametrize("n_batch", [1, 13, 512])
def test_logits_are_those_of_a_slow_attention(
    group: int, window: int, n_tokens: int, n_batch: int, short: MakeModel
) -> None:
    """Logits of every token, over several windows, in batches and one by one: three layers."""
    tokens = some_tokens(n_tokens)
    slow = SlowModel(short(3), group, window)
    expected = np.stack([slow.append(token) for token in tokens])
    options = exact(group, window, n_tokens, n_batch=n_batch)
    with LlamaEngine(short(3) / "f32.gguf", options) as engine:
        served = engine_logits(engine, tokens)
        assert engine.n_past == n_tokens
    np.testing.assert_allclose(served, expected, atol=1e-3)
    with LlamaEngine(short(3) / "f32.gguf", replace(EXACT, n_ctx=n_tokens)) as engine:
        plain = engine_logits(engine, tokens)
    np.testing.assert_allclose(plain[:TRAINED], expected[:TRAINED], atol=1e-3)
    assert np.abs(plain[TRAINED:] - expected[TRAINED:]).max() > 0.1  # it does something


def decode_at(context: Context, tokens: Sequence[int], positions: Sequence[int]) -> Floats:
    """llama.cpp alone: logits of the last of ``tokens`` decoded at once at ``positions``."""
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for index, (token, position) in enumerate(zip(tokens, positions, strict=True)):
        batch.token[index], batch.pos[index] = token, position
        batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
        batch.logits[index] = index == len(tokens) - 1
    assert llama_cpp.llama_decode(context.pointer, batch) == 0
    llama_cpp.llama_batch_free(batch)
    return context.logits()


@pytest.mark.parametrize("group", [2, 4, 8])
@pytest.mark.parametrize("n_batch", [1, 64])
def test_logits_are_those_of_decoding_at_the_mapped_positions(
    group: int, n_batch: int, short: MakeModel
) -> None:
    """With one layer, keys depend on token and position alone: llama.cpp can decode directly."""
    tokens, path = some_tokens(200), short(1) / "f32.gguf"
    with LlamaEngine(path, exact(group, 24, 200, n_batch=n_batch)) as engine:
        engine.decode(tokens)
        extended = engine.context.logits()
    with LlamaEngine(path, replace(EXACT, n_ctx=256)) as engine:
        direct = decode_at(engine.context, tokens, slow_positions(200, group, 24, TRAINED))
    np.testing.assert_allclose(extended, direct, atol=1e-3)


def test_llama_cpps_division_rotates_keys_the_wrong_way(short: MakeModel) -> None:
    """The reason that positions are moved one by one; if this fails, llama.cpp has fixed it."""
    tokens, path = some_tokens(64), short(1) / "f32.gguf"
    halves = [position // 2 for position in range(63)] + [32]
    with LlamaEngine(path, replace(EXACT, n_ctx=256)) as engine:
        direct = decode_at(engine.context, tokens, halves)
    differences = []
    for divide in (True, False):
        with LlamaEngine(path, replace(EXACT, shift=True)) as engine:
            engine.decode(tokens[:63])
            memory = llama_cpp.llama_get_memory(engine.context.pointer)
            if divide:
                llama_cpp.llama_memory_seq_div(memory, 0, 0, 63, 2)
            else:
                for position in range(1, 63):
                    new = position // 2
                    llama_cpp.llama_memory_seq_add(
                        memory, 0, position, position + 1, new - position
                    )
            engine.decode(tokens[63:])
            differences.append(np.abs(engine.context.logits() - direct).max())
    assert differences[0] > 0.1
    assert differences[1] < 1e-3


def test_llama_cpp_scales_yarns_keys_again_at_every_shift(short: MakeModel) -> None:
    """The reason that YaRN with K-shift is rejected; if this fails, llama.cpp has fixed it."""
    tokens, path = some_tokens(40), short(1) / "f32.gguf"
    yarn = RopeOptions(RopeScaling.YARN, freq_scale=0.25)
    logits = []
    for there_and_back in (0, 1, 5):
        with LlamaEngine(path, replace(EXACT, rope=yarn)) as engine:
            engine.decode(tokens[:-1])
            memory = llama_cpp.llama_get_memory(engine.context.pointer)
            for _ in range(there_and_back):
                llama_cpp.llama_memory_seq_add(memory, 0, 0, -1, 7)
                engine.decode(tokens[:1])  # the keys are rotated now
                end = engine.n_past
                llama_cpp.llama_memory_seq_rm(memory, 0, end - 1, -1)
                llama_cpp.llama_memory_seq_add(memory, 0, 0, -1, -7)
            engine.decode(tokens[-1:])
            logits.append(engine.context.logits())
    assert np.abs(logits[1] - logits[0]).max() > 1e-2
    assert np.abs(logits[2] - logits[0]).max() > np.abs(logits[1] - logits[0]).max()


def test_shift_and_self_extend_together(short: MakeModel) -> None:
    """One layer: a cache that was grouped, cut and moved equals one decoded at its positions."""
    tokens, path = some_tokens(220), short(1) / "f32.gguf"
    with LlamaEngine(path, exact(4, 24, 300, shift=True)) as engine:
        engine.decode(tokens)
        grouped = engine.n_past
        engine.shift(keep=6, discard=50)  # to whole groups: 8 and 60
        assert grouped - engine.n_past == 52
        engine.decode([9])
        served = engine.context.logits()
    before = slow_positions(220, 4, 24, TRAINED)
    left = before[:8] + [position - 13 for position in before[60:]]
    kept = tokens[:8] + tokens[60:]
    with LlamaEngine(path, replace(EXACT, n_ctx=256)) as engine:
        direct = decode_at(engine.context, [*kept, 9], [*left, left[-1] + 1])
    np.testing.assert_allclose(served, direct, atol=1e-3)


@pytest.mark.parametrize("kind", [KvType.F16, KvType.Q8_0, KvType.Q4_0])
def test_quantized_caches(kind: KvType, short: MakeModel) -> None:
    """Moved keys are quantized again; that must not lose more than quantizing once."""
    tokens, path = some_tokens(400), short(3) / "f32.gguf"

    def logits(kind: KvType, self_extend: SelfExtendOptions | None) -> Floats:
        options = replace(
            EXACT, n_ctx=400, type_k=kind, type_v=kind, flash_attn=None, self_extend=self_extend
        )
        with LlamaEngine(path, options) as engine:
            return engine_logits(engine, tokens)

    extended = SelfExtendOptions(8, 24)
    loss = mean_kl(logits(KvType.F32, extended), logits(kind, extended))
    plain = mean_kl(logits(KvType.F32, None), logits(kind, None))
    assert loss < 3 * plain + 1e-5  # flash attention rounds F32 keys to F16 by itself


@pytest.mark.parametrize("policy", list(KvPolicy))
def test_it_goes_with_every_policy(policy: KvPolicy, short: MakeModel) -> None:
    """Far past a context that itself is twice the trained one, with Temp-LoRA on."""
    with TempLora(
        short(3) / "f32.gguf",
        n_ctx=256,
        block_len=48,
        kv_policy=policy,
        self_extend=SelfExtendOptions(4, 32),
        rank=2,
        n_threads=1,
    ) as text:
        events = text.stream_score(some_tokens(700))
        losses = [event.nll for event in events if isinstance(event, ScoredBlock)]
        assert sum(map(len, losses)) == 699
        assert np.isfinite(np.concatenate(losses)).all()
        assert text.options.settings()["self_extend"] == {"group": 4, "window": 32}


@pytest.mark.parametrize(
    ("n_tokens", "n_trained"),
    [(2049, 2048), (4096, 2048), (16384, 2048), (512, 128), (40000, 4096)],
)
def test_the_authors_rule(n_tokens: int, n_trained: int) -> None:
    chosen = SelfExtendOptions.for_length(n_tokens, n_trained)
    assert chosen is not None
    assert chosen.window + (n_tokens - chosen.window) / chosen.group <= 2 * n_trained / 3
    smaller = chosen.group - 1  # as small as the rule allows
    assert smaller == 1 or (
        chosen.window + (n_tokens - chosen.window) / smaller > 2 * n_trained / 3 - 1
    )
    assert SelfExtendOptions.for_length(n_trained, n_trained) is None


def test_auto_needs_a_length(short: MakeModel) -> None:
    path = short(1) / "f32.gguf"
    with TempLora(path, n_ctx=512, self_extend="auto", templora=False, n_threads=1) as text:
        assert text.options.engine.self_extend == SelfExtendOptions.for_length(512, TRAINED)
        assert text.options.blocks.block_len == TRAINED // 4
    with pytest.raises(OptionError, match="-c 128 is within the 128 tokens"):
        TempLora(path, n_ctx=128, self_extend="auto", templora=False)


def write_random(
    path: Path, metadata: dict[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> Path:
    """A GGUF of one layer with eight tokens, of any architecture."""
    writer = gguf.GGUFWriter(path, path.stem)
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(8)
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    for key, value in metadata.items():
        add = writer.add_array if isinstance(value, list) else writer.add_uint32
        add(f"{path.stem}.{key}", value)
    rng = np.random.default_rng(0)
    both = {
        "token_embd.weight": (8, 64),
        "output_norm.weight": (64,),
        "blk.0.attn_norm.weight": (64,),
    }
    for name, shape in {**both, **shapes}.items():
        writer.add_tensor(name, rng.normal(0, 0.1, shape).astype(np.float32))
    write_out(writer)
    return path


def test_positions_of_several_dimensions_are_refused(tmp_path: Path) -> None:
    attention = {f"blk.0.attn_{name}.weight": (64, 64) for name in ("q", "k", "v", "output")}
    path = write_random(
        tmp_path / "qwen2vl.gguf",
        {
            "attention.head_count": 2, "attention.head_count_kv": 2, "feed_forward_length": 64,
            "rope.dimension_sections": [8, 4, 4, 0],
        },
        attention
        | {f"blk.0.attn_{name}.bias": (64,) for name in ("q", "k", "v")}
        | {f"blk.0.ffn_{name}.weight": (64, 64) for name in ("gate", "up", "down")}
        | {"blk.0.ffn_norm.weight": (64,)},
    )  # fmt: skip
    with LlamaEngine(path, replace(EXACT, n_ctx=256)):
        pass  # it loads
    for options in (exact(4, 24, 256), replace(EXACT, n_ctx=256, shift=True)):
        with pytest.raises(OptionError, match=r"qwen2vl\.gguf: its positions have several"):
            LlamaEngine(path, options)


def test_recurrent_state_is_refused(tmp_path: Path) -> None:
    path = write_random(
        tmp_path / "mamba.gguf",
        {
            "ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 4,
            "ssm.time_step_rank": 2, "feed_forward_length": 0, "attention.head_count": 0,
        },
        {
            "blk.0.ssm_in.weight": (256, 64), "blk.0.ssm_conv1d.weight": (128, 4),
            "blk.0.ssm_conv1d.bias": (128,), "blk.0.ssm_x.weight": (10, 128),
            "blk.0.ssm_dt.weight": (128, 2), "blk.0.ssm_dt.bias": (128,),
            "blk.0.ssm_a": (128, 4), "blk.0.ssm_d": (128,), "blk.0.ssm_out.weight": (64, 128),
        },
    )  # fmt: skip
    with LlamaEngine(path, replace(EXACT, n_ctx=64)):
        pass
    with pytest.raises(OptionError, match=r"mamba\.gguf: its state is recurrent"):
        LlamaEngine(path, replace(EXACT, n_ctx=64, shift=True))


def test_keys_that_llama_cpp_cannot_move_are_refused(
    short: MakeModel, tiny_gguf: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp would abort on BF16, and on quantized keys with heads not a multiple of 64."""
    path = short(1) / "f32.gguf"
    with pytest.raises(OptionError, match="-ctk bf16: llama"):
        LlamaEngine(path, exact(4, 24, 256, type_k=KvType.BF16))
    quantized: dict[str, Any] = {"type_k": KvType.Q8_0, "flash_attn": None}
    with pytest.raises(OptionError, match="here 32 of 32 dimensions are"):
        LlamaEngine(tiny_gguf("f32"), replace(EXACT, shift=True, **quantized))
    monkeypatch.setenv("LLAMA_ATTN_ROT_DISABLE", "1")
    with pytest.raises(OptionError, match="LLAMA_ATTN_ROT_DISABLE"):
        LlamaEngine(path, exact(4, 24, 256, **quantized))


def test_what_does_not_fit_or_cannot_be_done_is_refused(short: MakeModel) -> None:
    path = short(1) / "f32.gguf"
    with pytest.raises(OptionError, match=r"-c 900 .* -gan 4 -gaw 24.*\(that is 424 tokens\)"):
        LlamaEngine(path, exact(4, 24, 900))
    with LlamaEngine(path, exact(4, 24, 424)) as engine:
        engine.decode(some_tokens(424))
    yarn = RopeOptions(RopeScaling.YARN, freq_scale=0.5)
    with pytest.raises(OptionError, match=r"multiplies keys by 1\.069"):
        LlamaEngine(path, exact(4, 24, 400, rope=yarn))
    with pytest.raises(OptionError, match="-gan is 1"):
        SelfExtendOptions(1, 10)
    # linear scaling doubles the positions that the model knows
    linear = RopeOptions(freq_scale=0.5)
    with LlamaEngine(path, exact(4, 24, 900, rope=linear)) as engine:
        engine.decode(some_tokens(900))
