"""Logits of both sides, llama.cpp and training, and the distance between them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from texts import TEXT

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import LlamaEngine
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import (
    PAPER,
    BlockOptions,
    EngineOptions,
    KvType,
    Options,
    TrainDevice,
    TrainDtype,
    TrainingOptions,
)
from templora_edge.training.trainer import LoraTrainer

EXACT = EngineOptions(
    n_ctx=512, type_k=KvType.F32, type_v=KvType.F32, flash_attn=False, n_threads=1
)
"""Options that make llama.cpp as exact as possible."""

TRAIN = Options(
    engine=EngineOptions(n_ctx=512, n_threads=2),
    blocks=BlockOptions(512, 256, 256, 256, n_keep=4),
    lora=PAPER,
    training=TrainingOptions(2, TrainDevice.CPU, TrainDtype.FP32),
)
"""Resolved options of training with the paper's rule, for updates of up to 512 tokens."""

Floats = npt.NDArray[np.float32]


def engine_logits(engine: LlamaEngine, tokens: Sequence[int]) -> Floats:
    """Logits after every token from an empty cache, (T, n_vocab)."""
    engine.clear()
    return np.concatenate([logits.copy() for logits in engine.context.decode_all(tokens)])


def sidecar_logits(trainer: LoraTrainer, tokens: Sequence[int]) -> Floats:
    """Like `engine_logits`, from the torch side."""
    trainer.model.eval()
    with torch.inference_mode():
        logits = trainer.model(input_ids=torch.tensor([list(tokens)]), use_cache=False).logits
    return np.asarray(logits[0].float().numpy())


def trained(
    path: Path,
    tokens: Sequence[int],
    blocks: int = 2,
    seed: int = 0,
    options: Options = TRAIN,
    layers: int | None = None,
) -> LoraTrainer:
    """A trainer on ``path`` whose adapter has moved visibly."""
    lora = replace(PAPER, rank=8, alpha=16, learning_rate=5e-3, seed=seed, layers=layers)
    trainer = LoraTrainer(GgufFile(path), replace(options, lora=lora))
    for index in range(blocks):
        begin = 64 * index
        trainer.train(tokens[max(0, begin - 32) : begin], tokens[begin : begin + 64])
    return trainer


def bundled_tokens(n: int) -> list[int]:
    """The first ``n`` tokens of a text, for the bundled model."""
    with LlamaEngine(BUNDLED_MODEL, EXACT) as engine:
        return [*engine.model.vocab.head, *engine.model.vocab.tokenize(TEXT * 20)][:n]


def assert_same_to_1e4(ours: torch.Tensor | None, theirs: torch.Tensor | None) -> None:
    """Difference relative to the largest entry: entries that nearly cancel have no digits left."""
    assert ours is not None
    assert theirs is not None
    scale = theirs.detach().abs().max().item()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * scale)


def assert_close_to_hf(model: torch.nn.Module, path: Path, tokens: Sequence[int]) -> None:
    """Check that transformers' own model, training and llama.cpp agree on the F32 GGUF ``path``."""
    with torch.inference_mode():
        reference = model(input_ids=torch.tensor([list(tokens)])).logits[0].float().numpy()
    sidecar = sidecar_logits(LoraTrainer(GgufFile(path), TRAIN.changed(rank=4, alpha=64)), tokens)
    with LlamaEngine(path, EXACT) as engine:
        served = engine_logits(engine, tokens)
    np.testing.assert_allclose(sidecar, reference, atol=1e-3)
    np.testing.assert_allclose(served, reference, atol=2e-3)


def mean_kl(reference: Floats, other: Floats) -> float:
    """Mean Kullback-Leibler divergence of rows of logits, in nats."""
    return float(np.mean([kl(p, q) for p, q in zip(reference, other, strict=True)]))


def kl(reference: Floats, other: Floats) -> float:
    """Kullback-Leibler divergence of two rows of logits, (n_vocab,), in nats."""
    p = torch.log_softmax(torch.from_numpy(reference).double(), -1)
    q = torch.log_softmax(torch.from_numpy(other).double(), -1)
    return float((p.exp() * (p - q)).sum())
