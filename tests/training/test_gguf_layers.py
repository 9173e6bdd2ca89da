"""Mapped layers against dense ones, ggml's dequantizer against numpy's."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf_files import fuse_qkv, rewrite
from parity import EXACT, TRAIN, assert_same_to_1e4, engine_logits, sidecar_logits, trained
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM

from templora_edge.engine import LlamaEngine
from templora_edge.errors import InsufficientMemoryError, UnsupportedModelError
from templora_edge.models import footprint
from templora_edge.models.families import GATED_MLP
from templora_edge.models.footprint import adapter_parameters, estimate
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import PAPER, Targets, TrainDtype
from templora_edge.training import dequantize
from templora_edge.training.dequantize import Dequantizer, to_float_function
from templora_edge.training.gguf_layers import MappedTensor, Scratch
from templora_edge.training.trainer import LoraTrainer

KIND = gguf.GGMLQuantizationType
ALL = torch.ones(64, dtype=torch.bool)
"""Loss mask of a whole block of 64 tokens."""
PYTHON_KNOWS = [
    kind for kind in KIND if kind in gguf.quants._type_traits or kind in (KIND.F16, KIND.F32)
]


def random_blocks(kind: gguf.GGMLQuantizationType, n_rows: int, width: int) -> Any:
    """Any bytes are a valid quantized row; scales that overflow are made small."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(int(kind))
    if kind in (KIND.F32, KIND.F16, KIND.BF16):
        values = rng.standard_normal((n_rows, width)).astype(np.float32)
        return gguf.quants.quantize(values, kind).view(np.uint8).reshape(n_rows, -1)
    return rng.integers(0, 60, (n_rows, width // block * size), dtype=np.uint8)


@pytest.mark.parametrize("kind", PYTHON_KNOWS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_dequantizer_against_the_oracle(
    kind: gguf.GGMLQuantizationType, dtype: torch.dtype
) -> None:
    blocks = random_blocks(kind, 37, 512)
    source = {KIND.F32: np.float32, KIND.F16: np.float16}.get(kind, np.uint8)
    oracle = gguf.quants.dequantize(blocks.view(source), kind).astype(np.float32)
    out = Dequantizer(2).rows(blocks, kind, torch.empty(37, 512, dtype=dtype))
    expected = torch.tensor(oracle).to(dtype)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_ggml_is_used_for_the_types_people_use() -> None:
    for kind in (KIND.Q4_K, KIND.Q6_K, KIND.Q8_0, KIND.Q4_0, KIND.IQ4_XS, KIND.F16, KIND.BF16):
        assert to_float_function(kind) is not None


def test_numpy_takes_over_where_ggml_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = random_blocks(KIND.Q5_K, 8, 512)
    expected = Dequantizer(2).rows(blocks, KIND.Q5_K, torch.empty(8, 512))
    monkeypatch.setattr(dequantize, "to_float_function", lambda kind: None)
    out = Dequantizer(2).rows(blocks, KIND.Q5_K, torch.empty(8, 512))
    torch.testing.assert_close(out, expected)


def test_a_block_equals_plain_peft_on_dense_weights(
    tiny_hf: Path, tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    """Gradients of the first step, and weights after three blocks."""
    lora = replace(PAPER, rank=8, alpha=16, dropout=0.0, learning_rate=1e-3, decay=0.1)
    mapped = LoraTrainer(GgufFile(tiny_gguf("f32")), replace(TRAIN, lora=lora))
    suffixes = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    dense = get_peft_model(
        LlamaForCausalLM.from_pretrained(tiny_hf),
        LoraConfig(r=8, lora_alpha=16, target_modules=suffixes, task_type="CAUSAL_LM"),
    )
    theirs = {n: p for n, p in dense.named_parameters() if p.requires_grad}
    ours = {n: p for n, p in mapped.model.named_parameters() if p.requires_grad}
    assert ours.keys() == theirs.keys()
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in theirs.items():
            parameter.normal_(std=0.05)  # B too, so that A has a gradient
            ours[name].copy_(parameter)
    optimizer = torch.optim.AdamW(
        theirs.values(), lr=1e-3, betas=(0.9, 0.999), eps=1e-7, weight_decay=0
    )

    def dense_loss(window: list[int], learned: torch.Tensor) -> torch.Tensor:
        labels = torch.full((1, len(window)), -100)
        labels[0, -len(learned) :][learned] = torch.tensor(window)[-len(learned) :][learned]
        loss: torch.Tensor = dense(input_ids=torch.tensor([window]), labels=labels).loss
        return loss

    some = torch.rand(64) < 0.5  # the answers of a translation
    dense_loss(tokens[:96], some).backward()  # type: ignore[no-untyped-call]
    mapped.loss(torch.tensor([tokens[:96]]), some).backward()  # type: ignore[no-untyped-call]
    for name, parameter in theirs.items():
        assert_same_to_1e4(ours[name].grad, parameter.grad)
        ours[name].grad = parameter.grad = None
    for block in range(3):
        begin = 64 * block
        prefix, target = tokens[max(0, begin - 32) : begin], tokens[begin : begin + 64]
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (block + 1) / 3)
        for _ in range(2):
            n_scored = min(64, len(prefix) + 63)
            learned = some if block == 1 else torch.ones(n_scored, dtype=torch.bool)
            dense_loss(prefix + target, learned).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(theirs.values(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            for name, parameter in theirs.items():
                parameter.mul_(0.9 if "lora_B" in name else 1)
        mapped.train(prefix, target, some.tolist() if block == 1 else None)
    for name, parameter in theirs.items():
        assert_same_to_1e4(ours[name], parameter)


def test_checkpointing_changes_nothing(tiny_gguf: Callable[[str], Path], tokens: list[int]) -> None:
    base = GgufFile(tiny_gguf("f32"))
    lora = replace(PAPER, rank=8, learning_rate=1e-3)
    needed = estimate(base, lora, n_tokens=512, value_bytes=4)
    cap = (needed.total(checkpointing=True) + needed.total(checkpointing=False)) // 2
    plain = LoraTrainer(base, replace(TRAIN, lora=lora))
    saving = LoraTrainer(base, replace(TRAIN.changed(train_memory_gib=cap / 2**30), lora=lora))
    assert (plain.checkpointing, saving.checkpointing) == (False, True)
    weights = []
    for trainer in (plain, saving):
        torch.manual_seed(0)  # for dropout
        update = trainer.train(tokens[:32], tokens[32:96])
        assert update.loss_before is not None
        assert update.loss_after is not None
        assert update.loss_after < update.loss_before
        weights.append([p for p in trainer.model.parameters() if p.requires_grad])
    for a, b in zip(*weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_weights_that_are_kept_dense_change_nothing(
    tiny_gguf: Callable[[str], Path], tokens: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, weights, loads = GgufFile(tiny_gguf("q8_0")), [], []
    for most in (0, 1 << 30):
        monkeypatch.setattr(footprint, "MOST_DENSE", most)
        trainer = LoraTrainer(base, replace(TRAIN, lora=replace(PAPER, rank=4, layers=2)))
        trainer.train(tokens[:32], tokens[32:96])
        counted = trainer.model.model.model.layers[1].mlp.up_proj.base_layer.source.scratch
        n_loads = 0

        def load(*arguments: Any, true_load: Any = counted.load) -> Any:
            nonlocal n_loads
            n_loads += 1
            return true_load(*arguments)

        monkeypatch.setattr(counted, "load", load)
        trainer.train(tokens[:32], tokens[32:96])
        loads.append(n_loads)
        weights.append([p for p in trainer.model.parameters() if p.requires_grad])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert loads[0] > loads[1] > 0, "the layer below and the head are dequantized on use"


def test_some_rows_of_a_tensor_that_is_kept_dense(tiny_gguf: Callable[[str], Path]) -> None:
    tensor = GgufFile(tiny_gguf("q8_0")).tensor("blk.0.ffn_up.weight")
    scratch = Scratch(int(tensor.n_elements), torch.float32, 1)
    whole = MappedTensor(tensor, scratch, dense=True)
    rows = np.array([3, 1, 40])
    expected = whole.load()[torch.from_numpy(rows)]
    assert torch.equal(whole.only(rows).load(), expected)


def test_checkpointing_with_a_prefix_that_is_only_read(
    tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    base = GgufFile(tiny_gguf("f32"))
    lora = replace(PAPER, rank=8, learning_rate=1e-3, dropout=0.0, prefix_gradient=False)
    gradients = []
    for checkpointing in (False, True):
        trainer = LoraTrainer(base, replace(TRAIN, lora=lora))
        if checkpointing:
            trainer.checkpoint()
        trainer.train(tokens[:32], tokens[32:96])  # B is no longer zero
        trainer.model.train()
        trainer.loss(torch.tensor([tokens[:96]]), ALL).backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad for p in trainer.model.parameters() if p.requires_grad])
    for a, b in zip(*gradients, strict=True):
        assert_same_to_1e4(b, a)


def test_gradient_without_that_of_the_prefix(
    tiny_hf: Path, tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    """Against plain PEFT, whose attention is told to detach the prefix's keys and values."""
    lora = replace(PAPER, rank=8, alpha=16, dropout=0.0, prefix_gradient=False)
    mapped = LoraTrainer(GgufFile(tiny_gguf("f32")), replace(TRAIN, lora=lora))
    suffixes = [name.rpartition(".")[2] for name in GATED_MLP]
    dense = get_peft_model(
        LlamaForCausalLM.from_pretrained(tiny_hf, attn_implementation="eager"),
        LoraConfig(r=8, lora_alpha=16, target_modules=suffixes, task_type="CAUSAL_LM"),
    )
    ours = {n: p for n, p in mapped.model.named_parameters() if p.requires_grad}
    theirs = {n: p for n, p in dense.named_parameters() if p.requires_grad}
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in theirs.items():
            parameter.normal_(std=0.05)
            ours[name].copy_(parameter)
    n_prefix = 31  # of the 95 inputs, the last 64 predict the block

    def detach_prefix(module: torch.nn.Module, _: object, out: torch.Tensor) -> torch.Tensor:
        return torch.cat((out[:, :n_prefix].detach(), out[:, n_prefix:]), dim=1)

    for name, module in dense.named_modules():
        if name.endswith(("k_proj", "v_proj")):
            module.register_forward_hook(detach_prefix)
    labels = torch.tensor([[-100] * 32 + tokens[32:96]])
    dense(input_ids=torch.tensor([tokens[:96]]), labels=labels).loss.backward()
    mapped.loss(torch.tensor([tokens[:96]]), ALL).backward()  # type: ignore[no-untyped-call]
    for name, parameter in theirs.items():
        assert_same_to_1e4(ours[name].grad, parameter.grad)


def test_the_loss_after_is_measured_only_if_it_is_wanted(
    tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    updates, weights = [], []
    for measure_after in (True, False):
        options = TRAIN.changed(measure_after=measure_after)
        trainer = LoraTrainer(GgufFile(tiny_gguf("f32")), options.changed(rank=4, alpha=64))
        updates.append(trainer.train(tokens[:32], tokens[32:96]))
        weights.append([p for p in trainer.model.parameters() if p.requires_grad])
    assert updates[0].loss_before == updates[1].loss_before
    assert updates[0].loss_after is not None
    assert updates[1].loss_after is None
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize("targets", Targets)
def test_targets(targets: Targets, tiny_gguf: Callable[[str], Path], tokens: list[int]) -> None:
    base = GgufFile(tiny_gguf("f32"))
    options = TRAIN.changed(rank=8, alpha=64, learning_rate=2e-3, targets=targets)
    trainer = LoraTrainer(base, options)
    names = {n.split(".")[-4] for n, p in trainer.model.named_parameters() if p.requires_grad}
    attention, mlp = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj", "up_proj", "down_proj"}
    assert names == {
        Targets.ALL: attention | mlp, Targets.ATTENTION: attention,
        Targets.MLP: mlp, Targets.UP_DOWN: {"up_proj", "down_proj"},
    }[targets]  # fmt: skip
    n_trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    assert adapter_parameters(base, replace(PAPER, rank=8, targets=targets)) == n_trained
    update = trainer.train(tokens[:32], tokens[32:96])
    assert update.loss_before is not None
    assert update.loss_after is not None
    assert update.loss_after < update.loss_before


def test_a_cap_that_nothing_fits(tiny_gguf: Callable[[str], Path]) -> None:
    with pytest.raises(InsufficientMemoryError, match="--train-memory"):
        LoraTrainer(GgufFile(tiny_gguf("f32")), TRAIN.changed(train_memory_gib=2**-10))


def test_bf16_learns_what_fp32_learns(tiny_gguf: Callable[[str], Path], tokens: list[int]) -> None:
    losses = []
    for dtype in (TrainDtype.FP32, TrainDtype.BF16):
        options = TRAIN.changed(train_dtype=dtype, rank=8, alpha=64, learning_rate=2e-3)
        trainer = LoraTrainer(GgufFile(tiny_gguf("q8_0")), options)
        for begin in (32, 96, 160):
            update = trainer.train(tokens[begin - 32 : begin], tokens[begin : begin + 64])
        losses.append(update.loss_after)
        assert all(p.dtype == torch.float32 for p in trainer.model.parameters() if p.requires_grad)
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_fused_queries_keys_and_values(
    tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    path = rewrite(tiny_gguf("f32"), tmp_path / "fused.gguf", fuse_qkv)
    trainer = trained(path, tokens)
    trainer.write(tmp_path / "adapter.gguf")
    with LlamaEngine(path, EXACT) as engine:
        base = engine_logits(engine, tokens)
        engine.swap(tmp_path / "adapter.gguf")
        served = engine_logits(engine, tokens)
    assert np.abs(sidecar_logits(trainer, tokens) - served).max() <= 2e-3
    assert np.abs(served - base).max() > 0.1
    n_trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    assert adapter_parameters(GgufFile(path), replace(PAPER, rank=8)) == n_trained


@pytest.mark.parametrize("file_type", ["f32", "q8_0"])
def test_adapter_parameters_are_counted(
    file_type: str, tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    base = GgufFile(tiny_gguf(file_type))
    trainer = LoraTrainer(base, TRAIN.changed(rank=5, alpha=64))
    n_trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    assert adapter_parameters(base, replace(PAPER, rank=5)) == n_trained


def test_what_the_skeleton_does_not_explain_is_refused(
    tiny_gguf: Callable[[str], Path], tmp_path: Path
) -> None:
    def add(tensors: dict[str, Any]) -> None:
        tensors["blk.0.attn_q_norm.weight"] = np.ones(32, np.float32)

    path = rewrite(tiny_gguf("f32"), tmp_path / "odd.gguf", add)
    with pytest.raises(UnsupportedModelError, match=r"blk\.0\.attn_q_norm\.weight.*--no-templora"):
        LoraTrainer(GgufFile(path), TRAIN.changed(rank=4, alpha=64))
    path = rewrite(tiny_gguf("f32"), tmp_path / "moe.gguf", lambda _: None, expert_count=8)
    with pytest.raises(UnsupportedModelError, match="mixture of 8 experts"):
        LoraTrainer(GgufFile(path), TRAIN.changed(rank=4, alpha=64))
