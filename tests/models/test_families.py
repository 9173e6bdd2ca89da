"""Every family and every quantization: training computes what llama.cpp computes."""

import ctypes
from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
import torch
from families import CASES, WINDOW, make_model, write_gguf
from parity import EXACT, TRAIN, Floats, engine_logits, mean_kl, sidecar_logits, trained

from templora_edge.engine import LlamaEngine, backend
from templora_edge.models.families import FAMILIES
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import PAPER, Capture, FixedAdapter
from templora_edge.protocols import Captured
from templora_edge.training.reader import SINKS, Reader
from templora_edge.training.trainer import LoraTrainer

FILE_TYPES = {
    "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_M": 12,
    "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "BF16": 32,
}  # fmt: skip
"""enum llama_ftype."""


@pytest.fixture(scope="session")
def family_files(
    tmp_path_factory: pytest.TempPathFactory, llama_cpp_source: Path
) -> dict[str, tuple[Path, Floats]]:
    """Case -> F32 GGUF from llama.cpp's converter, and transformers' logits, made on demand."""

    class Files(dict[str, tuple[Path, Floats]]):
        def __missing__(self, name: str) -> tuple[Path, Floats]:
            model = make_model(name)
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([TOKENS])).logits[0].float().numpy()
            path = write_gguf(name, model, tmp_path_factory.mktemp(name), llama_cpp_source)
            self[name] = path, logits
            return self[name]

    return Files()


TOKENS = [int(token) for token in np.random.default_rng(5).integers(3, 300, 256)]


def quantize(path: Path, file_type: str) -> Path:
    """``path`` quantized by llama.cpp's own quantizer."""
    out = path.with_name(f"{file_type}.gguf")
    if not out.exists():
        backend.start()
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = FILE_TYPES[file_type]
        params.nthread = 2
        assert llama_cpp.llama_model_quantize(bytes(path), bytes(out), ctypes.byref(params)) == 0
    return out


def both_sides(path: Path, adapter: Path | None) -> tuple[Floats, Floats]:
    """Logits of training and of llama.cpp, with a trained adapter if a path for one is given."""
    trainer = trained(path, TOKENS, blocks=2 if adapter else 0)
    with LlamaEngine(path, EXACT) as engine:
        if adapter:
            trainer.write(adapter)
            base = engine_logits(engine, TOKENS)
            engine.swap(adapter)
        served = engine_logits(engine, TOKENS)
        if adapter:
            assert np.abs(served - base).max() > 0.1, "the adapter changed nothing: an empty test"
    return sidecar_logits(trainer, TOKENS), served


@pytest.mark.parametrize("name", CASES)
def test_a_family_in_f32(
    name: str, family_files: dict[str, tuple[Path, Floats]], tmp_path: Path
) -> None:
    path, reference = family_files[name]
    assert len(TOKENS) > WINDOW
    sidecar, served = both_sides(path, None)
    assert np.abs(sidecar - served).max() <= 2e-3
    if name != "phi3":  # llama.cpp chooses longrope's factors by context, transformers by length
        assert np.abs(sidecar - reference).max() <= 2e-3
    sidecar, served = both_sides(path, tmp_path / "adapter.gguf")
    assert np.abs(sidecar - served).max() <= 2e-3
    window = torch.tensor([TOKENS])
    losses = [
        LoraTrainer(GgufFile(path), TRAIN.changed(rank=4, alpha=64, prefix_gradient=flag))
        .loss(window, torch.ones(len(TOKENS) - WINDOW - 20, dtype=torch.bool))
        .item()
        for flag in (True, False)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4), "the prefix is seen differently"


def adapter_of(trainer: LoraTrainer) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}


def gradients(trainer: LoraTrainer, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradient of each of the adapter's matrices."""
    trainer.model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad for name, p in adapter_of(trainer).items() if p.grad is not None}
    assert found.keys() == adapter_of(trainer).keys()
    return found


def least_cosine(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """Of the matrix whose gradients differ most."""
    cosine = torch.nn.functional.cosine_similarity
    return min(
        cosine(ours[name].flatten(), theirs[name].flatten(), dim=0).item() for name in theirs
    )


def rolled(captured: Captured) -> Captured:
    """Products of other tokens."""
    assert captured.products is not None
    products = {name: np.roll(rows, 1, axis=0) for name, rows in captured.products.items()}
    return replace(captured, products=products)


@pytest.mark.parametrize("layers", [1, None])
@pytest.mark.parametrize("name", CASES)
def test_blocks_of_a_family_from_what_llama_cpp_computed(
    name: str, layers: int | None, family_files: dict[str, tuple[Path, Floats]], tmp_path: Path
) -> None:
    """Blocks in turn, past the sliding window, with kept keys and values, states and products.

    Products have bfloat16's 8 bits, rounded one by one, which adds up over layers: of 7, gradients
    differ by 3 %, losses by 3e-3. The loss after a step is computed without them.
    """
    path, _ = family_files[name]
    lora = replace(
        PAPER, rank=4, alpha=8, dropout=0.0, prefix_gradient=False, exact_loss=False,
        learning_rate=1e-3, warmup_blocks=0, layers=layers,
    )  # fmt: skip
    plain, given = (LoraTrainer(GgufFile(path), replace(TRAIN, lora=lora)) for _ in range(2))
    n_layers = int(GgufFile(path).require("{arch}.block_count"))
    capture = Capture(n_layers - (layers or n_layers), 48, products=True, predictions=True)
    adapter, captured = tmp_path / "adapter.gguf", None
    with LlamaEngine(path, replace(EXACT, capture=capture)) as engine:
        engine.decode(TOKENS[:47])  # nothing precedes the first token
        for begin in range(0, 192, 48):
            prefix, block = TOKENS[:begin], TOKENS[begin : begin + 48]
            ours = given.train(prefix, block, captured=captured)
            theirs = plain.train(prefix, block)
            assert ours.loss_before == pytest.approx(theirs.loss_before, abs=5e-3)
            assert ours.loss_after == pytest.approx(theirs.loss_after, abs=2e-3)
            given.write(adapter)
            engine.swap(adapter)
            engine.score(block[-1:], TOKENS[begin + 48 : begin + 96])
            captured = engine.captured(begin + 47, begin + 95)
            assert captured is not None
            assert (captured.states is None) == (layers is None)
            assert captured.products is not None
            assert captured.predictions is not None
    for key, parameter in adapter_of(plain).items():
        mine = adapter_of(given)[key].detach()
        if "lora_B" in key:  # it began with zeros
            assert (mine - parameter).norm() <= 0.05 * parameter.norm()
        parameter.data.copy_(mine)
    assert captured is not None
    window, mask = torch.tensor([TOKENS[:240]]), torch.ones(48, dtype=torch.bool)
    expected = gradients(plain, plain.loss(window, mask))
    exact = replace(captured, predictions=None)
    assert least_cosine(gradients(given, given.loss(window, mask, exact)), expected) > 0.999
    # on logits as flat as these, much of a prediction is drawn
    assert least_cosine(gradients(given, given.loss(window, mask, captured)), expected) > 0.99
    other = gradients(given, given.loss(window, mask, rolled(captured)))
    assert least_cosine(other, expected) < 0.9, "products are not used: an empty test"


@pytest.mark.parametrize("name", CASES)
def test_a_family_as_people_use_it(
    name: str, family_files: dict[str, tuple[Path, Floats]], tmp_path: Path
) -> None:
    path = quantize(family_files[name][0], "Q4_K_M")
    kinds = {t.tensor_type.name for t in GgufFile(path).tensors.values()}
    assert {"Q4_K", "Q6_K"} <= kinds, "not a mixed file"
    assert mean_kl(*both_sides(path, None)) <= 2e-3
    assert mean_kl(*both_sides(path, tmp_path / "adapter.gguf")) <= 2e-3


@pytest.mark.parametrize("name", ["gemma3", "qwen2", "phi2", "phi3"])
def test_a_family_over_a_fixed_adapter(
    name: str, family_files: dict[str, tuple[Path, Floats]], tmp_path: Path
) -> None:
    path, fixed = family_files[name][0], tmp_path / "fixed.gguf"
    trained(path, TOKENS, blocks=2, seed=1).write(fixed)
    lora = (FixedAdapter(fixed, 0.5),)
    trainer = trained(path, TOKENS, options=TRAIN.changed(lora=lora))
    trainer.write(tmp_path / "adapter.gguf")
    capture = Capture(0, len(TOKENS), products=True)
    with LlamaEngine(path, replace(EXACT, lora=lora, capture=capture)) as engine:
        alone = engine_logits(engine, TOKENS)
        engine.swap(tmp_path / "adapter.gguf")
        served = engine_logits(engine, TOKENS)
        captured = engine.captured(0, len(TOKENS))
    assert np.abs(sidecar_logits(trainer, TOKENS) - served).max() <= 2e-3
    with LlamaEngine(path, EXACT) as engine:
        assert np.abs(engine_logits(engine, TOKENS) - alone).max() > 0.1
        engine.swap(tmp_path / "adapter.gguf")
        assert np.abs(engine_logits(engine, TOKENS) - served).max() > 0.1
    # products are those of the base alone: training adds both adapters
    assert captured is not None
    trainer.reader.forget()
    pull = torch.randn(len(TOKENS), 256, generator=torch.Generator().manual_seed(6))
    expected = gradients(trainer, (trainer.reader.read([], TOKENS) * pull).sum())
    ours = gradients(trainer, (trainer.reader.read([], TOKENS, captured) * pull).sum())
    assert least_cosine(ours, expected) > 0.999


@pytest.mark.parametrize("file_type", FILE_TYPES)
def test_a_quantization(
    file_type: str, family_files: dict[str, tuple[Path, Floats]], tmp_path: Path
) -> None:
    path = quantize(family_files["llama"][0], file_type)
    assert mean_kl(*both_sides(path, None)) <= 2e-3
    assert mean_kl(*both_sides(path, tmp_path / "adapter.gguf")) <= 2e-3


def test_every_family_has_a_case(family_files: dict[str, tuple[Path, Floats]]) -> None:
    tested = {GgufFile(family_files[name][0]).architecture for name in CASES}
    assert tested == set(FAMILIES)


def test_long_factors_of_phi3_follow_the_context(
    family_files: dict[str, tuple[Path, Floats]],
) -> None:
    path, _ = family_files["phi3"]
    for n_ctx in (100, 512):  # the original context is 128
        trainer = LoraTrainer(
            GgufFile(path), TRAIN.changed(n_ctx=n_ctx, block_len=50, prefix_len=50)
        )
        with LlamaEngine(path, replace(EXACT, n_ctx=n_ctx)) as engine:
            difference = sidecar_logits(trainer, TOKENS[:90]) - engine_logits(engine, TOKENS[:90])
        assert np.abs(difference).max() <= 2e-3


@pytest.mark.parametrize("swa_full", [False, True])
@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_a_cut_cache_of_sliding_windows(
    name: str, swa_full: bool, family_files: dict[str, tuple[Path, Floats]]
) -> None:
    """Wherever it is cut: inside, at the edge of, and outside what sliding layers still hold."""
    path, _ = family_files[name]
    options = replace(EXACT, n_ctx=512, n_batch=16, swa_full=swa_full)
    random = np.random.default_rng(2)
    tokens = [int(token) for token in random.integers(3, 300, 512)]
    with LlamaEngine(path, options) as engine, LlamaEngine(path, options) as fresh:
        expected = engine_logits(fresh, tokens)
        held = engine.context
        for _ in range(6):  # every cut starts from what the previous one left
            engine.decode(tokens[engine.n_past : int(random.integers(300, 500))])
            edge = held._first_position + WINDOW - 1
            for cut in (engine.n_past - 5, edge + 1, edge, edge - 1):
                if not 0 < cut < engine.n_past:
                    continue
                engine.truncate(cut)
                assert engine.n_past == (cut if swa_full or cut >= edge else 0)
                engine.decode(tokens[engine.n_past : cut + 3])
                np.testing.assert_allclose(held.logits(), expected[cut + 2], atol=1e-3)


def test_dropped_tokens_where_attention_slides() -> None:
    """Layers that slide keep a window of the last tokens, others the first ones and L_T."""
    model = make_model("gemma3", num_hidden_layers=6)
    network: Any = model.model
    reader = Reader(network, 0, n_kept=32, n_ctx_train=4096)
    reader.read([], TOKENS[:100])
    reader.keep()
    read = reader.read(TOKENS[68:100], TOKENS[100:132])
    queries, keys = torch.arange(132)[:, None], torch.arange(132)[None]
    sees = {"full_attention": queries >= keys, "sliding_attention": queries >= keys}
    sees["sliding_attention"] = sees["sliding_attention"] & (queries - keys < WINDOW)
    late = queries >= 100
    dropped = {
        "full_attention": (keys >= SINKS) & (keys < 68),
        "sliding_attention": keys < 100 - WINDOW,
    }
    masks = {
        kind: torch.zeros(132, 132).masked_fill(~seen | (late & dropped[kind]), -torch.inf)
        for kind, seen in sees.items()
    }
    with torch.no_grad():
        output = network(
            input_ids=torch.tensor([TOKENS[:132]]),
            attention_mask={kind: mask[None, None] for kind, mask in masks.items()},
        )
    expected = output.last_hidden_state[0, 100:]
    torch.testing.assert_close(read, expected, rtol=1e-4, atol=1e-4)
