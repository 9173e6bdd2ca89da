"""Windows, metrics and options against slow references."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from templora_edge import windows
from templora_edge.errors import OptionError
from templora_edge.models.families import rope_row_order
from templora_edge.options import (
    BlockOptions,
    EngineOptions,
    KvPolicy,
    LoraOptions,
    SamplingOptions,
)
from templora_edge.presets import Preset, rule
from templora_edge.score import Score


@given(st.integers(0, 50), st.integers(0, 200), st.integers(1, 60))
def test_cut_covers_every_position_once(start: int, length: int, block_len: int) -> None:
    blocks = list(windows.cut(start, start + length, block_len))
    assert [i for block in blocks for i in block] == list(range(start, start + length))
    assert all(len(block) == block_len for block in blocks[:-1])


@given(st.integers(0, 100), st.integers(1, 50), st.integers(0, 100))
def test_train_prefix_is_just_before_the_block(begin: int, length: int, wanted: int) -> None:
    prefix = windows.train_prefix(range(begin, begin + length), wanted)
    assert list(prefix) == [i for i in range(begin) if i >= begin - wanted]


@pytest.mark.parametrize("preset", Preset)
@pytest.mark.parametrize(
    ("n_parameters", "given_text", "rate"),
    [(7_000_000, False, 5e-5), (7_000_000, True, 7e-4), (7_000_000_000, True, 5e-5)],
)
def test_only_given_text_is_learned_fast_and_only_by_small_bases(
    preset: Preset, n_parameters: int, given_text: bool, rate: float
) -> None:
    assert rule(preset, n_parameters, given=given_text).lora.learning_rate == rate


def test_the_default_rule_is_the_papers() -> None:
    chosen = rule(Preset.DEFAULT, 7_000_000_000, given=False)
    assert chosen.lora == LoraOptions()
    assert BlockOptions.for_context(
        1024, train_prefix_share=chosen.train_prefix_share
    ) == BlockOptions.for_context(1024)


@given(st.integers(1, 512), st.floats(1, 512), st.integers(1, 512))
def test_alpha_follows_a_new_rank(rank: int, alpha: float, new_rank: int) -> None:
    options = LoraOptions(rank=rank, alpha=alpha)
    changed = options.changed(rank=new_rank, alpha=None, epochs=None)
    assert changed.alpha / changed.rank == pytest.approx(alpha / rank)
    assert changed.epochs == options.epochs
    assert options.changed(rank=new_rank, alpha=3.0).alpha == 3.0
    assert options.changed(rank=None, alpha=None) == options


@given(st.lists(st.lists(st.floats(0, 20), max_size=8), max_size=8))
def test_score_is_its_definition(blocks: list[list[float]]) -> None:
    score = Score.of(blocks)
    flat = [nll for block in blocks for nll in block]
    if not flat:
        assert score.ppl == 1.0
        return
    assert score.ppl == pytest.approx(math.exp(sum(flat) / len(flat)))
    repeated = [math.exp(sum(block) / len(block)) for block in blocks for _ in block]
    assert score.ppl_block_mean == pytest.approx(sum(repeated) / len(repeated))


def test_the_two_perplexities_differ() -> None:
    score = Score.of([[0.0, 0.0], [2.0]])
    assert score.ppl == pytest.approx(math.exp(2 / 3))
    assert score.ppl_block_mean == pytest.approx((2 + math.exp(2)) / 3)


@given(st.integers(1, 6), st.integers(1, 8))
def test_rope_row_order_interleaves_the_halves(n_heads: int, half: int) -> None:
    n_rows = n_heads * 2 * half
    expected = [
        head * 2 * half + part * half + i
        for head in range(n_heads)
        for i in range(half)
        for part in (0, 1)
    ]
    order = rope_row_order(n_rows, n_heads)
    assert order.tolist() == expected
    assert np.argsort(order)[order].tolist() == list(range(n_rows))


@given(st.integers(2, 100_000))
def test_defaults_fit_any_context(n_ctx: int) -> None:
    options = BlockOptions.for_context(n_ctx)
    assert options.block_len + options.prefix_len == n_ctx
    assert options.train_prefix_len == options.block_len


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BlockOptions.for_context(1), "block is 1 tokens, context is 1"),
        (lambda: BlockOptions.for_context(8, block_len=0), "block is 0"),
        (lambda: BlockOptions.for_context(8, prefix_len=7), "prefix is 7"),
        (lambda: BlockOptions.for_context(8, train_prefix_len=-1), "train prefix is -1"),
        (lambda: BlockOptions(8, 2, 4, 0, KvPolicy.SHIFT, 4), "n_keep is 4"),
        (lambda: LoraOptions(rank=0), "rank is 0"),
        (lambda: LoraOptions(alpha=0), "alpha is 0"),
        (lambda: LoraOptions(dropout=1), "dropout is 1"),
        (lambda: LoraOptions(learning_rate=math.nan), "learning rate is nan"),
        (lambda: LoraOptions(decay=1), "decay is 1"),
        (lambda: LoraOptions(epochs=0), "epochs is 0"),
        (lambda: LoraOptions(warmup_blocks=-1), "warm-up is -1"),
        (lambda: SamplingOptions(top_p=1.5), "top_p is 1.5"),
        (lambda: SamplingOptions(min_p=math.nan), "min_p is nan"),
        (lambda: SamplingOptions(seed=2**32), "seed is 4294967296"),
        (lambda: EngineOptions(n_ctx=-1), "n_ctx is -1"),
        (lambda: EngineOptions(n_batch=0), "n_batch is 0"),
        (lambda: EngineOptions(n_threads=-1), "n_threads is -1"),
    ],
)
def test_contradictions_are_rejected_when_built(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(OptionError) as caught:
        make()
    assert words in str(caught.value)
