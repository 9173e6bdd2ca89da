"""Repacked weights: the same results to rounding, and the default where they pay."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from parity import EXACT, Floats, engine_logits, mean_kl, trained

from templora_edge.engine import LlamaEngine
from templora_edge.host import memory, processor
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.options import Capture, Options
from templora_edge.protocols import Captured

AVX2, AMX = frozenset({"avx2"}), frozenset({"avx2", "amx_tile"})
GIB = 1 << 30

needs_kernels = pytest.mark.skipif(
    "avx2" not in processor.features() or "amx_tile" in processor.features(),
    reason="llama.cpp repacks nothing on this processor, or crashes in its kernels for AMX",
)


def logits_one_by_one(engine: LlamaEngine, tokens: list[int]) -> Floats:
    engine.clear()
    rows = []
    for token in tokens:
        engine.decode([token])
        rows.append(engine.context.logits())
    return np.stack(rows)


def results(
    path: Path, adapter: Path, tokens: list[int], *, repack: bool
) -> tuple[dict[str, Floats], list[Captured]]:
    """Logits, and what is captured, of a batch and of single tokens."""
    options = replace(EXACT, capture=Capture(1, len(tokens), products=True), repack=repack)
    with LlamaEngine(path, options) as engine:
        logits = {"batch": engine_logits(engine, tokens)}
        captured = [deepcopy(engine.captured(0, len(tokens)))]
        logits["single"] = logits_one_by_one(engine, tokens)
        captured.append(deepcopy(engine.captured(0, len(tokens))))
        engine.swap(adapter)
        logits["adapter"] = engine_logits(engine, tokens)
    return logits, [one for one in captured if one is not None]


def as_float(bits: np.ndarray) -> Floats:
    return (bits.astype(np.uint32) << 16).view(np.float32)


@needs_kernels
def test_repacked_weights_compute_the_same(
    tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    path, adapter = tiny_gguf("q4_0"), tmp_path / "adapter.gguf"
    trained(path, tokens).write(adapter)
    plain, plain_captured = results(path, adapter, tokens[:48], repack=False)
    repacked, repacked_captured = results(path, adapter, tokens[:48], repack=True)
    assert np.abs(plain["batch"] - plain["adapter"]).max() > 0.1
    for name, logits in plain.items():
        assert not np.array_equal(logits, repacked[name])  # other kernels ran
        assert mean_kl(logits, repacked[name]) < 1e-3
    assert len(plain_captured) == len(repacked_captured) == 2
    for ours, theirs in zip(plain_captured, repacked_captured, strict=True):
        assert ours.products is not None
        assert theirs.products is not None
        assert ours.products.keys() == theirs.products.keys() >= {"blk.1.ffn_down.weight"}
        for name, bits in ours.products.items():
            expected, found = as_float(bits), as_float(theirs.products[name])
            assert np.abs(expected - found).max() < 0.02 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("file_type", "features", "gib", "pays"),
    [("q4_0", AVX2, 1, True), ("q4_0", AMX, 1, False), ("q4_0", frozenset[str](), 1, False),
     ("q4_0", AVX2, 1e-6, False), ("q8_0", AVX2, 1, False), ("f32", AVX2, 1, False)],
)  # fmt: skip
def test_weights_are_repacked_where_it_pays(
    file_type: str,
    features: frozenset[str],
    gib: float,
    pays: bool,
    tiny_gguf: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processor, "features", lambda: features)
    monkeypatch.setattr(memory, "total", lambda: int(gib * GIB))
    base = BaseGguf(tiny_gguf(file_type))
    resolved = Options().resolve(base)
    assert resolved.settings()["repack"] is pays
    assert resolved.resolve(base) == resolved
    for chosen in (True, False):
        assert Options().changed(repack=chosen).resolve(base).engine.repack is chosen
