"""Numbers that are not finite: they reach no adapter, no saved state and no report."""

import json
import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from parity import TRAIN
from peft import get_peft_model_state_dict

from templora_edge import TempLora
from templora_edge.errors import AdapterError, JobError, SidecarError
from templora_edge.host.json_text import to_json
from templora_edge.models.adapter_file import AdapterGguf
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import PAPER, TrainDtype
from templora_edge.training.client import SidecarTrainer
from templora_edge.training.trainer import LoraTrainer

BAD = 7
"""The token whose embedding is not finite."""
LORA = replace(PAPER, rank=4, learning_rate=1e-3, epochs=2, decay=0.1, dropout=0)


def poison(path: Path, name: str, rows: int | slice, value: float) -> None:
    """Overwrite ``rows`` of a tensor of a GGUF."""
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path, "r+").tensors}
    tensors[name].data[rows] = value


@pytest.fixture
def base(tiny_gguf: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model that computes with infinity wherever it reads token `BAD`."""
    path = tmp_path / "poisoned.gguf"
    shutil.copyfile(tiny_gguf("f32"), path)
    poison(path, "token_embd.weight", BAD, np.inf)
    return path


def everything(trainer: LoraTrainer) -> list[torch.Tensor]:
    """Weights and moments, copied."""
    moments = trainer._optimizer.state_dict()["state"].values()
    state = [*get_peft_model_state_dict(trainer.model).values()]
    return [t.clone() for t in [*state, *(t for kept in moments for t in kept.values())]]


def blocks(tokens: list[int]) -> tuple[list[int], list[int]]:
    """A block without the bad token, and one with it."""
    good = [token for token in tokens if token != BAD][:64]
    return good, [*good[:32], BAD, *good[32:]]


@pytest.mark.parametrize("dtype", [TrainDtype.FP32, TrainDtype.BF16])
def test_a_step_that_is_not_finite_changes_nothing(
    dtype: TrainDtype, base: Path, tokens: list[int], tmp_path: Path
) -> None:
    trainer = LoraTrainer(GgufFile(base), replace(TRAIN.changed(train_dtype=dtype), lora=LORA))
    good, bad = blocks(tokens)
    assert trainer.train([], good).skipped == 0
    before = everything(trainer)
    update = trainer.train([], bad)
    assert (update.loss_before, update.loss_after, update.skipped) == (None, None, 2)
    after = everything(trainer)
    assert len(before) == len(after) > 100
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    trainer.save(tmp_path / "state")
    again = LoraTrainer(GgufFile(base), replace(TRAIN.changed(train_dtype=dtype), lora=LORA))
    again.load(tmp_path / "state")
    first, second = trainer.train([], good), again.train([], good)
    assert first == second
    assert first.skipped == 0
    assert first.loss_before is not None
    trainer.train([], bad)  # the count started over
    with pytest.raises(SidecarError, match=r"3 steps.*in a row.*lower --learning-rate") as caught:
        trainer.train([], bad)
    assert ("--train-dtype fp32" in str(caught.value)) == (dtype is TrainDtype.BF16)


def test_a_step_out_of_the_range_of_numbers_ends_training(
    tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    lora = replace(PAPER, rank=4, learning_rate=3e38, warmup_blocks=0)
    trainer = LoraTrainer(GgufFile(tiny_gguf("f32")), replace(TRAIN, lora=lora))
    with pytest.raises(SidecarError, match=r"weights.*lower --learning-rate"):
        trainer.train([], tokens[:64])


def test_a_learning_rate_far_too_high_ends_training(
    tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    lora = replace(PAPER, rank=4, learning_rate=1e25)
    trainer = LoraTrainer(GgufFile(tiny_gguf("f32")), replace(TRAIN, lora=lora))
    assert trainer.train([], tokens[:64]).skipped == 1  # after one step, nothing is finite
    with pytest.raises(SidecarError, match="lower --learning-rate"):
        trainer.train([], tokens[:64])
    assert all(bool(tensor.isfinite().all()) for tensor in everything(trainer))


def test_what_was_left_out_is_said(
    base: Path, tokens: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = blocks(tokens)
    with (
        SidecarTrainer(base, replace(TRAIN, lora=LORA), tmp_path) as trainer,
        caplog.at_level(logging.WARNING, "templora_edge"),
    ):
        assert trainer.train([], good).skipped == 0
        assert not caplog.records
        assert trainer.train([], bad).skipped == 2
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert "65 tokens: 2" in record.getMessage()
        adapter = AdapterGguf(trainer.export())
        assert all(np.isfinite(tensor.data).all() for tensor in adapter.tensors.values())
        with pytest.raises(SidecarError, match="in a row"):
            trainer.train([], bad)
        with pytest.raises(SidecarError, match="in a row"):  # and training stays where it stopped
            trainer.train([], good)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_an_adapter_that_is_not_finite_is_refused(
    value: float, tiny_gguf: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "adapter.gguf"
    LoraTrainer(GgufFile(tiny_gguf("f32")), replace(TRAIN, lora=LORA)).write(path)
    poison(path, "blk.1.attn_q.weight.lora_b", 3, value)
    with (
        pytest.raises(AdapterError, match=r"adapter\.gguf: .*not finite"),
        TempLora(tiny_gguf("f32"), n_ctx=64, adapter=path),
    ):
        pass


@pytest.mark.parametrize("part", ["adapter", "optimizer"])
def test_a_saved_state_that_is_not_finite_is_refused(
    part: str, tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    trainer = LoraTrainer(GgufFile(tiny_gguf("f32")), replace(TRAIN, lora=LORA))
    trainer.train([], tokens[:64])
    path = tmp_path / "state"
    trainer.save(path)
    state: dict[str, Any] = torch.load(path, weights_only=True)
    tensors = state["adapter"] if part == "adapter" else state["optimizer"]["state"][0]
    [*tensors.values()][-1].view(-1)[5] = math.nan
    torch.save(state, path)
    before = everything(trainer)
    with pytest.raises(JobError, match=r"state: .*not finite.*--restart"):
        trainer.load(path)
    assert all(torch.equal(a, b) for a, b in zip(before, everything(trainer), strict=True))


def test_json_has_no_such_numbers() -> None:
    result = {"loss": math.nan, "rows": [1.5, (math.inf, -math.inf)], "name": "x", "none": None}
    text = to_json(result | {"n": np.float64("nan"), "flag": True})
    expected = {"loss": None, "rows": [1.5, [None, None]], "name": "x", "none": None}
    assert json.loads(text, parse_constant=pytest.fail) == expected | {"n": None, "flag": True}
