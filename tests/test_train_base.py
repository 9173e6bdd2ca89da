"""The recipe of the bundled base, at a size that takes seconds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import EXACT, ROOT, TEXT, engine_logits
from hypothesis import given, settings
from hypothesis import strategies as st
from muon import Muon, orthogonalized
from train_base import Recipe, Run, batches, windows
from transformers import AutoModelForCausalLM, AutoTokenizer

from templora_edge.engine import LlamaEngine

SMALL = Recipe(
    warmup=2,
    vocab_size=320,
    layers=2,
    width=64,
    heads=2,
    kv_heads=1,
    ffn=96,
    context=64,
    short_context=32,
    tokens=20 * 256,
    batch=256,
)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compilation, which would take longer than the training."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "train_base.py", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"TORCHDYNAMO_DISABLE": "1"},
    )


def flags(recipe: Recipe) -> list[object]:
    return [
        part
        for name, value in vars(recipe).items()
        for part in ("--" + name.replace("_", "-"), value)
    ]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(5)
    words = TEXT.split()
    for index in range(40):
        drawn = " ".join(rng.choice(words, 300))
        (folder / f"{index:02}.txt").write_text(drawn + "\nÆther, naïve – “quoted”\n\n  end.\n")
    return folder


def test_from_texts_to_card(texts: Path, tmp_path: Path) -> None:
    arguments = [texts, tmp_path, "--name", "small", *flags(SMALL), "--evaluate", texts / "00.txt"]
    result = command(*arguments)
    assert result.returncode == 0, result.stderr[-2000:]

    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    text = (texts / "39.txt").read_text()
    with LlamaEngine(tmp_path / "small-f16.gguf", EXACT) as engine:
        tokens = engine.model.vocab.tokenize(text)
        assert tokens == [0, *tokenizer(text, add_special_tokens=False).input_ids]
        logits = engine_logits(engine, tokens[:64])
        assert engine.model.n_ctx_train == SMALL.context
    with torch.inference_mode():
        expected = reference(input_ids=torch.tensor([tokens[:64]])).logits[0].numpy()
    np.testing.assert_allclose(logits, expected, atol=2e-2)  # F16 weights

    card = (tmp_path / "small.md").read_text()
    assert "300 words after" in card
    assert "| 00.txt |" in card
    assert not re.search(r"\{\w+\}", card)  # every field was filled

    shipped = (tmp_path / "small-q8_0.gguf").read_bytes()
    again = command(*arguments)
    assert again.returncode == 0, again.stderr[-2000:]
    assert '"loss"' not in again.stderr  # nothing is trained twice
    assert (tmp_path / "small-q8_0.gguf").read_bytes() == shipped

    other = command(*arguments, "--seed", 2)
    assert other.returncode == 1
    assert "another recipe" in other.stderr


def test_too_little_text(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(TEXT)
    result = command(tmp_path, tmp_path / "out", "--name", "none")
    assert result.returncode == 1
    assert "1 .txt files; expected 40 or more" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("eager")
def test_resumed_run_is_the_same_run(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 320, 4000).astype(np.uint16)

    def state(run: Run) -> list[torch.Tensor]:
        return [value.clone() for value in run.model.state_dict().values()]

    whole = Run(SMALL, tmp_path / "whole.pt")
    losses = [whole.learn(batch) for batch in batches(tokens, SMALL, 0)]
    assert whole.step == SMALL.steps

    first = Run(SMALL, tmp_path / "checkpoint.pt")
    before = []
    for batch in batches(tokens, SMALL, 0):
        before.append(first.learn(batch))
        if first.step == 13:
            break
    first.save()
    second = Run(SMALL, tmp_path / "checkpoint.pt")
    after = [second.learn(batch) for batch in batches(tokens, SMALL, second.step)]
    assert before + after == losses
    for one, other in zip(state(whole), state(second), strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("eager")
def test_learns(tmp_path: Path) -> None:
    tokens = np.tile(np.arange(1, 101, dtype=np.uint16), 60)
    run = Run(SMALL, tmp_path / "checkpoint.pt")
    losses = [run.learn(batch) for batch in batches(tokens, SMALL, 0)]
    assert losses[-1] < losses[0] - 1


@given(n=st.integers(600, 3000), begin=st.integers(0, 19))
@settings(max_examples=25, deadline=None)
def test_batches(n: int, begin: int) -> None:
    tokens = np.arange(n, dtype=np.uint16)
    every = list(batches(tokens, SMALL, 0))
    assert [batch.shape[1] - 1 for batch in every] == [SMALL.window(s) for s in range(SMALL.steps)]
    assert all(batch.shape[0] * (batch.shape[1] - 1) == SMALL.batch for batch in every)
    assert all((batch.diff(dim=1) == 1).all() for batch in every)  # windows of the text
    rest = list(batches(tokens, SMALL, begin))
    assert all(torch.equal(a, b) for a, b in zip(every[begin:], rest, strict=True))


def test_windows_share_their_ends() -> None:
    cut = windows(np.arange(11, dtype=np.uint16), 5)
    assert cut.tolist() == [[0, 1, 2, 3, 4, 5], [5, 6, 7, 8, 9, 10]]


@pytest.mark.parametrize("shape", [(3, 24, 64), (2, 64, 24)])
def test_orthogonalized(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalized(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_muon_is_torchs_muon() -> None:
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((32, 48), (32, 48), (48, 16))]
    ours = [torch.nn.Parameter(value.clone()) for value in start]
    theirs = [torch.nn.Parameter(value.clone()) for value in start]
    optimizers = [
        Muon(ours, 0.01, weight_decay=0.1, dtype=torch.bfloat16),
        torch.optim.Muon(theirs, 0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ]
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other, value in zip(ours, theirs, start, strict=True):
        moved = (other - value).norm()
        assert (one - other).norm() < 0.03 * moved  # both round to bf16, in another order
