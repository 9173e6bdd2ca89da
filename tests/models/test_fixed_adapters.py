"""--lora: fixed adapters besides the temporary one, in the engine and in training."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from command import SMALL, check_failure, run, translate
from gguf_files import fuse_qkv, rewrite, write_out
from parity import EXACT, TRAIN, bundled_tokens, engine_logits, mean_kl, sidecar_logits, trained
from paths import PROSE

from templora_edge import FixedAdapter, TempLora
from templora_edge.assets import BUNDLED_MODEL, BUNDLED_TRANSLATOR
from templora_edge.engine import LlamaEngine
from templora_edge.errors import AdapterError, OptionError
from templora_edge.models.adapter_file import AdapterFile
from templora_edge.models.footprint import estimate
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import PAPER, TrainDtype
from templora_edge.training.trainer import LoraTrainer


@pytest.mark.parametrize(
    ("text", "path", "scale"),
    [
        ("style.gguf", "style.gguf", 1.0),
        ("style.gguf:0.8", "style.gguf", 0.8),
        ("style.gguf:-1e-1", "style.gguf", -0.1),
        ("a:b.gguf", "a:b.gguf", 1.0),
        ("a:1/style.gguf", "a:1/style.gguf", 1.0),
        ("2024:3:0.5", "2024:3", 0.5),
        ("style.gguf:", "style.gguf:", 1.0),
    ],
)
def test_file_and_scale(text: str, path: str, scale: float) -> None:
    assert FixedAdapter.parse(text) == FixedAdapter(Path(path), scale)


def test_a_scale_is_a_number() -> None:
    for text in ("style.gguf:nan", "style.gguf:inf"):
        with pytest.raises(OptionError, match="expected a finite number"):
            FixedAdapter.parse(text)


def merge(tensors: dict[str, Any], fixed: FixedAdapter) -> None:
    """Merge a fixed adapter into the weights."""
    adapter = AdapterFile.read(fixed.path)
    for name in adapter.ranks:
        a, b = adapter.matrices(name)
        tensors[name] += np.float32(fixed.scale * adapter.scale(name)) * b @ a


@pytest.fixture(params=["separate", "fused"])
def base(request: pytest.FixtureRequest, tiny_gguf: Callable[[str], Path], tmp_path: Path) -> Path:
    path = tiny_gguf("f32")
    return path if request.param == "separate" else rewrite(path, tmp_path / "fused.gguf", fuse_qkv)


@pytest.fixture
def lora(base: Path, tokens: list[int], tmp_path: Path) -> tuple[FixedAdapter, ...]:
    """Two adapters: one on all layers, and one on some of them without an alpha."""
    trained(base, tokens[64:], seed=1).write(tmp_path / "all.gguf")
    random = np.random.default_rng(2)
    writer = gguf.GGUFWriter(tmp_path / "part.gguf", "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    for name in ("blk.1.ffn_up.weight", "blk.2.attn_output.weight"):
        n_in, n_out = (int(n) for n in GgufFile(base).tensor(name).shape)
        # as llama.cpp writes a rank of 1: a vector
        for half, shape in (("a", (n_in,)), ("b", (n_out, 1))):
            values = 0.1 * random.standard_normal(shape)
            writer.add_tensor(f"{name}.lora_{half}", values.astype(np.float16))
    write_out(writer)
    return FixedAdapter(tmp_path / "all.gguf", 0.5), FixedAdapter(tmp_path / "part.gguf")


@pytest.fixture
def merged(base: Path, lora: tuple[FixedAdapter, ...], tmp_path: Path) -> Path:
    def change(tensors: dict[str, Any]) -> None:
        for fixed in lora:
            merge(tensors, fixed)

    return rewrite(base, tmp_path / "merged.gguf", change)


def test_the_same_as_merged_weights(
    base: Path, lora: tuple[FixedAdapter, ...], merged: Path, tokens: list[int], tmp_path: Path
) -> None:
    """Logits of both sides, with and without the temporary adapter, and its training."""
    over = trained(base, tokens, options=TRAIN.changed(lora=lora))
    within = trained(merged, tokens)
    assert np.abs(sidecar_logits(over, tokens) - sidecar_logits(within, tokens)).max() <= 2e-3
    ours, theirs = (
        [p for p in trainer.model.parameters() if p.requires_grad] for trainer in (over, within)
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=2e-4)
    temporary = tmp_path / "temporary.gguf"
    over.write(temporary)
    assert set(AdapterFile.read(temporary).ranks.values()) <= {8, 3 * 8}  # no fixed ones in it
    with LlamaEngine(merged, EXACT) as engine:
        expected = [engine_logits(engine, tokens)]
        engine.swap(temporary)
        expected.append(engine_logits(engine, tokens))
    with LlamaEngine(base, EXACT) as engine:
        assert np.abs(engine_logits(engine, tokens) - expected[0]).max() > 0.1
    with LlamaEngine(base, replace(EXACT, lora=lora)) as engine:
        found = [engine_logits(engine, tokens)]
        engine.swap(temporary)
        found.append(engine_logits(engine, tokens))
        for _ in range(3):
            engine.swap(temporary)
        engine.swap(None)
        found.append(engine_logits(engine, tokens))
    for ours_now, theirs_now in zip(found, [*expected, expected[0]], strict=True):
        assert np.abs(ours_now - theirs_now).max() <= 2e-3
    assert np.abs(sidecar_logits(over, tokens) - found[1]).max() <= 2e-3


def test_gradients_go_through_a_fixed_adapter(
    base: Path, lora: tuple[FixedAdapter, ...], merged: Path, tokens: list[int]
) -> None:
    """Gradients of the lowest layer, through all layers above; also checkpointed, and in bf16."""
    options = replace(PAPER, rank=4, alpha=8, dropout=0.0, learning_rate=5e-3)
    window, all_of_it = torch.tensor([tokens[:96]]), torch.ones(64, dtype=torch.bool)
    cases = [
        (base, TRAIN.changed(lora=lora), False),
        (base, TRAIN.changed(lora=lora), True),
        (base, TRAIN.changed(lora=lora, train_dtype=TrainDtype.BF16), False),
        (merged, TRAIN, False),
    ]
    gradients = []
    for path, trainer_options, checkpointing in cases:
        trainer = LoraTrainer(GgufFile(path), replace(trainer_options, lora=options))
        if checkpointing:
            trainer.checkpoint()
        torch.manual_seed(1)
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.05)
        trainer.loss(window, all_of_it).backward()  # type: ignore[no-untyped-call]
        name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"
        gradients.append(trainer.model.get_parameter(name).grad)
    *found, expected = gradients
    assert expected is not None
    for gradient, tolerance in zip(found, (1e-3, 1e-3, 0.15), strict=True):
        assert gradient is not None
        assert (gradient - expected).norm() <= tolerance * expected.norm()


def test_its_memory_is_counted(base: Path, lora: tuple[FixedAdapter, ...]) -> None:
    n_params = sum(AdapterFile.read(fixed.path).n_params for fixed in lora)
    alone, with_them = (
        estimate(GgufFile(base), PAPER, n_tokens=64, value_bytes=4, fixed_parameters=n)
        for n in (0, n_params)
    )
    assert with_them.fixed - alone.fixed == 4 * n_params


@pytest.mark.slow
def test_on_a_real_model(smollm2: Path, tmp_path: Path) -> None:
    with LlamaEngine(smollm2, EXACT) as engine:
        tokens = engine.model.vocab.tokenize(PROSE.read_text(encoding="utf-8"))[:320]
    fixed = FixedAdapter(tmp_path / "fixed.gguf", 0.5)
    trained(smollm2, tokens[160:], seed=1).write(fixed.path)
    trainer = trained(smollm2, tokens, options=TRAIN.changed(lora=(fixed,)))
    trainer.write(tmp_path / "temporary.gguf")
    with LlamaEngine(smollm2, replace(EXACT, lora=(fixed,))) as engine:
        alone = engine_logits(engine, tokens)
        engine.swap(tmp_path / "temporary.gguf")
        both = engine_logits(engine, tokens)
    assert mean_kl(both, sidecar_logits(trainer, tokens)) <= 5e-3
    with trainer.model.disable_adapter():
        assert mean_kl(alone, sidecar_logits(trainer, tokens)) <= 5e-3
    with LlamaEngine(smollm2, EXACT) as engine:
        plain = engine_logits(engine, tokens)
    assert mean_kl(plain, alone) > 0.05
    assert mean_kl(alone, both) > 0.05


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter for the bundled model."""
    path = tmp_path_factory.mktemp("style") / "style:1.gguf"
    trained(BUNDLED_MODEL, bundled_tokens(128), seed=1).write(path)
    return path


def odd_adapter(path: Path, name: str, n_in: int, n_out: int) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_tensor(f"{name}.lora_a", np.ones((2, n_in), np.float32))
    writer.add_tensor(f"{name}.lora_b", np.ones((n_out, 2), np.float32))
    write_out(writer)
    return path


def test_a_session_over_one(style: Path, tmp_path: Path) -> None:
    lora = [FixedAdapter(style, 0.5)]
    text = "It was a dark and stormy night; the rain fell in torrents. " * 6
    with TempLora(n_ctx=128, block_len=32, rank=4, lora=lora) as over:
        learned = over.score(text)
        over.save_adapter(tmp_path / "kept.gguf")
        assert json.loads(json.dumps(over.options.settings()))["lora"] == [[str(style), 0.5]]
    assert set(AdapterFile.read(tmp_path / "kept.gguf").ranks.values()) == {4}
    with TempLora(n_ctx=128, block_len=32, templora=False, lora=lora) as over:
        frozen = over.score(text)
    with TempLora(n_ctx=128, block_len=32, templora=False) as plain:
        base = plain.score(text)
    assert learned.nll[0] == pytest.approx(frozen.nll[0], rel=1e-4)  # nothing is learned yet
    assert abs(frozen.nll[0] / base.nll[0] - 1) > 0.01


def test_what_does_not_fit_is_one_line_before_any_work(style: Path, tmp_path: Path) -> None:
    width = int(GgufFile(BUNDLED_MODEL).require("llama.embedding_length"))
    for name, shape, words in (
        ("token_embd.weight", (4096, width), "token_embd.weight is not in a decoder layer"),
        ("output.weight", (width, 4096), "output.weight is not in a decoder layer"),
        ("blk.99.ffn_up.weight", (width, 8), "blk.99.ffn_up.weight is not in the model"),
        ("blk.0.ffn_up.weight", (width, 8), "for a matrix of 8 x"),
    ):
        odd = odd_adapter(tmp_path / "odd.gguf", name, *shape)
        for flags in ((), ("--no-templora",)):
            check_failure(run("generate", "-p", "x", *SMALL, *flags, "--lora", odd), "odd", words)
        with pytest.raises(AdapterError, match=words):
            TempLora(lora=[FixedAdapter(odd)])
    check_failure(run("generate", "-p", "x", *SMALL, "--lora", "none.gguf:2"), "none.gguf: no such")
    check_failure(run("generate", "-p", "x", *SMALL, "--lora", BUNDLED_MODEL), "not a LoRA adapter")
    result = run("perplexity", "-m", style, "--max-tokens", "64", PROSE)
    check_failure(result, "style:1.gguf: an adapter, not a model", "--lora or --adapter-in")
    for command in (("generate", "-p", "x"), ("passkey",)):
        check_failure(run(*command, "-m", style), "an adapter, not a model")


@pytest.mark.slow
def test_the_commands_take_it(style: Path, tmp_path: Path) -> None:
    flags = ["-c", 128, "--block", 32]
    score = ["perplexity", "--json", PROSE, "--max-tokens", 96, *flags]
    figures = [
        json.loads(run(*score, *more).stdout)
        for more in ((), ("--lora", f"{style}:0"), ("--lora", f"{style}:0.5", "--lora", style))
    ]
    plain, none, over = (figure["total"]["base"]["ppl"] for figure in figures)
    assert none == pytest.approx(plain, rel=1e-5)
    assert abs(over / plain - 1) > 0.01
    assert figures[2]["settings"]["lora"] == [[str(style), 0.5], [str(style), 1.0]]
    goes_on = run(*score, "--adapter-in", style)  # the base alone starts from no adapter
    assert goes_on.returncode == 0, goes_on.stderr
    assert json.loads(goes_on.stdout)["total"]["base"]["ppl"] == pytest.approx(plain, rel=1e-5)
    check_failure(run(*score, "--no-templora", "--adapter-in", style), "without Temp-LoRA")
    grid = run("passkey", "--json", "--length", 256, "--depths", 1, *flags, "--lora", style)
    assert grid.returncode == 0, grid.stderr
    assert len(json.loads(grid.stdout)["cells"]) == 4


@pytest.mark.slow
def test_a_job_goes_on_with_the_adapter_that_it_was_begun_with(novel: Path, tmp_path: Path) -> None:
    style = tmp_path / "style.gguf"
    with LlamaEngine(BUNDLED_TRANSLATOR, EXACT) as engine:
        tokens = engine.model.vocab.tokenize(PROSE.read_text(encoding="utf-8"))[:128]
    trained(BUNDLED_TRANSLATOR, tokens, seed=1).write(style)
    begin = translate(novel, "--test", 1, "--lora", f"{style}:0.1")
    assert run(*begin).returncode == 0
    moved = style.rename(tmp_path / "moved.gguf")
    assert run(*translate(novel, "--test", 2, "--lora", f"{moved}:0.1")).returncode == 0
    for other in ([], ["--lora", moved], ["--lora", f"{moved}:0.1"] * 2):
        check_failure(run(*translate(novel, *other)), "was begun with another lora;")
