"""The learning rate that finds itself: slopes by autograd, and what the scale does with them."""

import math
import operator
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parity import TRAIN
from peft.tuners.lora import LoraLayer

from templora_edge.models.adapter_file import AdapterFile
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import PAPER
from templora_edge.training.evidence import (
    BRAKE,
    FIRST_GAIN,
    GAIN,
    HARM,
    LARGEST,
    LEAST,
    MEMORY,
    OUTLIER,
    START,
    TOLERANCE,
    Evidence,
    slope_of,
)
from templora_edge.training.trainer import LoraTrainer

AUTO = replace(
    PAPER,
    rank=4,
    alpha=16.0,
    dropout=0.0,
    epochs=1,
    learning_rate="auto",
    own_learning_rate=0.0,
    warmup_blocks=0,
)
blocks = st.tuples(st.floats(-3, 3), st.floats(-1, 1).filter(lambda cosine: abs(cosine) > 1e-6))


def slow_scale(given_blocks: list[tuple[float, float]]) -> float:
    """The scale after blocks of (slope, cosine), with the usual size as a mean over all before."""
    scale, clipped = START, list[float]()
    for n, (slope, cosine) in enumerate(given_blocks, 1):
        weights = [MEMORY ** (len(clipped) - index) for index in range(len(clipped))]
        usual = abs(cosine)
        if clipped:
            usual = sum(map(operator.mul, weights, clipped)) / sum(weights)
        clipped.append(min(abs(cosine), OUTLIER * usual))
        units = sorted([-LARGEST, cosine / usual - TOLERANCE, LARGEST])[1]
        scale *= math.exp(-units * max(GAIN, FIRST_GAIN / n**0.5))
        scale = max(LEAST, scale * math.exp(-BRAKE * (slope - HARM)) if slope > HARM else scale)
    return scale


@given(st.lists(blocks, min_size=1, max_size=20))
def test_the_scale_by_a_slow_reference(given_blocks: list[tuple[float, float]]) -> None:
    evidence = Evidence()
    for block in given_blocks:
        evidence.add(*block)
    assert evidence.scale == pytest.approx(slow_scale(given_blocks), rel=1e-6)


@given(
    st.lists(blocks, max_size=10),
    st.sampled_from([(0.0, 0.0), (math.nan, math.nan), (math.inf, 1.0)]),
)
def test_what_says_nothing_changes_nothing(
    given_blocks: list[tuple[float, float]], nothing: tuple[float, float]
) -> None:
    evidence = Evidence()
    for block in given_blocks:
        evidence.add(*block)
    before = asdict(evidence)
    evidence.add(*nothing)
    assert asdict(evidence) == before


def test_harm_takes_the_scale_towards_zero_and_help_takes_it_back() -> None:
    evidence = Evidence(scale=1.0)
    for _ in range(60):
        evidence.add(0.1, 0.05)
    assert evidence.scale < 0.02
    low = evidence.scale
    for _ in range(60):
        evidence.add(-0.1, -0.05)
    assert evidence.scale > 50 * low


def test_a_text_that_becomes_another_stops_the_adapter_within_two_blocks() -> None:
    evidence = Evidence(scale=1.0)
    for sign in (1, -1) * 10:
        evidence.add(sign * 0.1, sign * 0.02)
    before = evidence.scale
    for slope in (0.55, 0.6):
        evidence.add(slope, 0.08)
    assert evidence.scale < before / 10


def test_the_slope_is_the_derivative_of_the_loss(tiny_gguf: Callable[[str], Path]) -> None:
    """Against a difference quotient over the scale of every layer's output."""
    trainer = LoraTrainer(
        GgufFile(tiny_gguf("f32")), replace(TRAIN, lora=AUTO).changed(train_dtype="fp32")
    )
    tokens = list(range(3, 27))
    for _ in range(10):
        trainer.train([], tokens)
    block, mask = torch.tensor([tokens[::2]]), torch.ones(11, dtype=torch.bool)

    def loss_at(factor: float) -> float:
        layers = [module for module in trainer.model.modules() if isinstance(module, LoraLayer)]
        for layer in layers:
            layer.scaling["default"] *= factor
        loss = trainer.loss(block, mask)
        for layer in layers:
            layer.scaling["default"] /= factor
        return loss.item()

    trainer.loss(block, mask).backward()  # type: ignore[no-untyped-call]
    step = 0.1  # losses are rounded to float32
    quotient = (loss_at(1 + step) - loss_at(1 - step)) / (2 * step)
    assert abs(quotient) > 1e-3
    slope, cosine = slope_of(trainer.model)
    assert slope == pytest.approx(quotient, rel=0.02)
    pairs = [(p, p.grad) for name, p in trainer.model.named_parameters() if "lora_B" in name]
    values, gradients = (
        torch.cat([t.flatten() for t in side]) for side in zip(*pairs, strict=True)
    )
    assert cosine == pytest.approx(torch.cosine_similarity(values, gradients, dim=0).item(), 1e-4)


def test_own_blocks_are_no_evidence_and_have_their_own_rate(
    tiny_gguf: Callable[[str], Path], tmp_path: Path
) -> None:
    base = GgufFile(tiny_gguf("f32"))
    own_rate = replace(AUTO, own_learning_rate=1e-3)
    trainer = LoraTrainer(base, replace(TRAIN, lora=own_rate).changed(train_dtype="fp32"))
    for begin in (3, 9, 15):
        given_scale = trainer.train([], range(begin, begin + 12)).scale
    assert given_scale != START
    assert trainer.train([], range(20, 32), own=True).scale == given_scale
    moved = [group["lr"] for group in trainer._optimizer.param_groups]
    assert moved == [pytest.approx(1e-3 / given_scale)]


def test_the_scale_is_in_the_file_and_in_the_state(
    tiny_gguf: Callable[[str], Path], tmp_path: Path
) -> None:
    base = GgufFile(tiny_gguf("f32"))
    options = replace(TRAIN, lora=AUTO).changed(train_dtype="fp32")
    first, second = LoraTrainer(base, options), LoraTrainer(base, options)
    blocks = [list(range(begin, begin + 12)) for begin in (3, 9, 15, 4, 11)]
    for block in blocks[:3]:
        scale = first.train([], block).scale
    first.write(tmp_path / "first.gguf")
    written = AdapterFile.read(tmp_path / "first.gguf")
    (applied,) = {written.scale(name) for name in written.ranks}
    assert applied == pytest.approx(AUTO.alpha / AUTO.rank * scale)
    first.save(tmp_path / "state.pt")
    second.load(tmp_path / "state.pt")
    for block in blocks[3:]:
        assert first.train([], block) == second.train([], block)
    first.write(tmp_path / "a.gguf")
    second.write(tmp_path / "b.gguf")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
