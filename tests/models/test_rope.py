"""RoPE scaling: llama.cpp and the training side agree for all options."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parity import EXACT, TRAIN, engine_logits, sidecar_logits
from texts import TEXT

from templora_edge import TempLora
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import LlamaEngine
from templora_edge.errors import OptionError
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.rope import Scaling
from templora_edge.options import Options, RopeOptions, RopeScaling
from templora_edge.training.trainer import LoraTrainer

LINEAR, YARN, NONE = RopeScaling.LINEAR, RopeScaling.YARN, RopeScaling.NONE
CASES = {
    "none": RopeOptions(NONE, freq_scale=0.25),
    "linear": RopeOptions(LINEAR, freq_scale=0.25),
    "scale alone": RopeOptions(freq_scale=0.5),
    "base": RopeOptions(freq_base=40000.0),
    "yarn": RopeOptions(YARN, freq_scale=0.25),
    "yarn, stretched out": RopeOptions(YARN, freq_scale=2.0),
    "yarn, original context": RopeOptions(YARN, freq_scale=0.25, yarn_orig_ctx=128),
    "yarn, betas": RopeOptions(YARN, freq_scale=0.125, yarn_beta_fast=16, yarn_beta_slow=2),
    "yarn, half extrapolated": RopeOptions(YARN, freq_scale=0.25, yarn_ext_factor=0.5),
    "yarn, not extrapolated": RopeOptions(
        YARN, freq_scale=0.25, yarn_ext_factor=0.0, yarn_attn_factor=1.3
    ),
    "linear, extrapolated": RopeOptions(LINEAR, freq_scale=0.25, yarn_ext_factor=1.0),
    "attention factor that llama.cpp ignores": RopeOptions(
        YARN, freq_scale=0.25, yarn_attn_factor=1.3
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_both_sides_agree(name: str, tiny_gguf: Callable[[str], Path], tokens: list[int]) -> None:
    path, rope = tiny_gguf("f32"), CASES[name]
    trainer = LoraTrainer(GgufFile(path), TRAIN.changed(rope=rope, rank=2, alpha=64))
    with LlamaEngine(path, replace(EXACT, rope=rope)) as engine:
        served = engine_logits(engine, tokens)
    np.testing.assert_allclose(sidecar_logits(trainer, tokens), served, atol=2e-3)
    with LlamaEngine(path, EXACT) as engine:
        plain = engine_logits(engine, tokens)
    assert (np.abs(served - plain).max() > 0.05) == (name != "none")


def test_a_session_hands_the_same_to_both(tiny_gguf: Callable[[str], Path]) -> None:
    """If the training side were not told, both losses on the same block would differ."""
    rope = RopeOptions(YARN, freq_scale=0.125)
    options = Options().changed(
        n_ctx=512, block_len=255, train_prefix_len=255, rope=rope, dropout=0,
        type_k="f32", type_v="f32", rank=2, epochs=1, n_threads=1, train_dtype="fp32",
    )  # fmt: skip
    with TempLora(tiny_gguf("f32"), options) as text:
        score = text.score(TEXT * 8)
        assert score.tokens[1] == 255
        assert text.blocks[1].loss_before == pytest.approx(score.nll[1] / 255, abs=5e-3)


@given(st.floats(0.05, 1.0))
def test_the_known_context_grows_as_positions_shrink(scale: float) -> None:
    base = GgufFile(BUNDLED_MODEL)
    trained = int(base.require("{arch}.context_length"))
    assert Scaling.of(base, RopeOptions(freq_scale=scale)).n_trained == round(trained / scale)


def test_options_out_of_range() -> None:
    with pytest.raises(OptionError, match=r"freq_scale is 0\.0; expected above 0"):
        RopeOptions(freq_scale=0.0)
    with pytest.raises(OptionError, match="yarn_beta_slow is -1; expected 0 or more"):
        RopeOptions(yarn_beta_slow=-1)
