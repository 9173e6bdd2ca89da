"""Continued training: from a saved adapter, and from a saved state."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf_files import fuse_qkv, rewrite, write_out
from parity import EXACT, TRAIN, engine_logits, sidecar_logits, trained

from templora_edge import TempLora
from templora_edge.engine import LlamaEngine
from templora_edge.errors import AdapterError, JobError, ModelFileError
from templora_edge.models.adapter_file import AdapterFile
from templora_edge.models.adapter_layout import AdapterTarget, peft_name, write_adapter
from templora_edge.models.families import FAMILIES, FUSED_QKV, Family, family_of
from templora_edge.models.footprint import adapter_parameters
from templora_edge.models.gguf_file import Floats, GgufFile
from templora_edge.models.kept_adapter import KeptAdapter
from templora_edge.options import PAPER, Targets
from templora_edge.training.client import SidecarTrainer
from templora_edge.training.trainer import LoraTrainer

RANK, HEADS, HEADS_KV, HEAD_DIM, WIDTH, FFN = 3, 4, 2, 8, 32, 48
OUT_IN = {
    "q_proj": (HEADS * HEAD_DIM, WIDTH),
    "k_proj": (HEADS_KV * HEAD_DIM, WIDTH),
    "v_proj": (HEADS_KV * HEAD_DIM, WIDTH),
    "qkv_proj": ((HEADS + 2 * HEADS_KV) * HEAD_DIM, WIDTH),
    "o_proj": (WIDTH, HEADS * HEAD_DIM),
    "dense": (WIDTH, HEADS * HEAD_DIM),
    "gate_up_proj": (2 * FFN, WIDTH),
    "down_proj": (WIDTH, FFN),
    "fc2": (WIDTH, FFN),
}
"""(out, in) of layers; the others are (FFN, WIDTH)."""


def peft_weights(modules: Sequence[str], ranks: Sequence[int] = (RANK,)) -> dict[str, Floats]:
    """Random weights, all different, with the ``ranks`` in turn."""
    random = np.random.default_rng(5)
    weights = {}
    for module, rank in zip(modules, cycle(ranks), strict=False):
        n_out, n_in = OUT_IN.get(module.rpartition(".")[2], (FFN, WIDTH))
        for half, shape in (("A", (rank, n_in)), ("B", (n_out, rank))):
            weights[peft_name(module, half)] = random.standard_normal(shape, dtype=np.float32)
    return weights


def base_of(family: Family, path: Path, *, fused: bool) -> GgufFile:
    """A base of two layers that cannot run; ``fused``: queries, keys and values in one tensor."""
    writer = gguf.GGUFWriter(path, family.architecture)
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS_KV)
    writer.add_key_length(HEAD_DIM)
    writer.add_tensor("token_embd.weight", np.zeros((5, WIDTH), np.float32))
    for layer in range(2):
        shapes = {
            str(family.gguf_name(f"model.layers.{layer}.{module}")): OUT_IN.get(
                module.rpartition(".")[2], (FFN, WIDTH)
            )
            for module in family.linear
        }
        if fused:
            parts = [shapes.pop(f"blk.{layer}.attn_{part}") for part in "qkv"]
            shapes[f"blk.{layer}.attn_qkv"] = (sum(n for n, _ in parts), WIDTH)
        for name, shape in shapes.items():
            writer.add_tensor(f"{name}.weight", np.zeros(shape, np.float32))
    write(writer)
    return GgufFile(path)


def write(writer: gguf.GGUFWriter) -> None:
    write_out(writer)


CASES = [
    (name, fused)
    for name, family in FAMILIES.items()
    for fused in (False, True)
    if not fused or set(FUSED_QKV) <= set(family.linear)
]


def subsets(family: Family) -> dict[str, tuple[str, ...]]:
    """All layers, and less and less regular selections of them."""
    every = family.modules(2)
    return {
        **{targets.value: family.modules(2, targets) for targets in Targets},
        "last": family.modules(2, layers=1),
        "first": every[: len(every) // 2],
        "queries and values": tuple(name for name in every if name.endswith(("q_proj", "v_proj"))),
        "any": tuple(every[index] for index in (1, 3, len(every) - 4)),
        "one": (every[-1],),
    }


@pytest.mark.parametrize(("name", "fused"), CASES)
def test_to_gguf_and_back(name: str, fused: bool, tmp_path: Path) -> None:
    family = FAMILIES[name]
    base = base_of(family, tmp_path / "base.gguf", fused=fused)
    target = AdapterTarget.from_gguf(base)
    for what, modules in subsets(family).items():
        if not modules:  # phi3 has no layer of queries alone
            continue
        weights, path = peft_weights(modules), tmp_path / f"{what}.gguf"
        write_adapter(path, weights, 6.0, target)
        AdapterFile.read(path).check_fits(base)
        kept = KeptAdapter.read(path, base)
        assert (kept.rank, kept.alpha, kept.modules) == (RANK, 6.0, modules)
        found = kept.weights(weights, 6.0 / RANK, target)
        assert found.keys() == weights.keys()
        for key, value in weights.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-6, err_msg=key)


def effects(weights: dict[str, Floats], scale: dict[str, float] | float) -> dict[str, Floats]:
    """Module -> scale B A."""
    modules = [name.removesuffix(".lora_A.weight") for name in weights if ".lora_A" in name]
    return {
        module: weights[f"{module}.lora_B.weight"]
        @ weights[f"{module}.lora_A.weight"]
        * np.float32(scale if isinstance(scale, float) else scale[module])
        for module in modules
    }


@pytest.mark.parametrize("rank", [4, 7])
@pytest.mark.parametrize(("name", "fused"), CASES)
def test_several_ranks_and_larger_ones(name: str, fused: bool, rank: int, tmp_path: Path) -> None:
    """Each layer's effect is unchanged; with a larger rank, the rest of A is fresh."""
    family = FAMILIES[name]
    base = base_of(family, tmp_path / "base.gguf", fused=fused)
    target = AdapterTarget.from_gguf(base)
    every = family.modules(2)
    modules = [module for module in every if not module.endswith("k_proj")]
    weights, path = peft_weights(modules, ranks=(2, 4, 3)), tmp_path / "adapter.gguf"
    write_adapter(path, weights, 6.0, target)
    scale = {
        name.removesuffix(".lora_A.weight"): 6.0 / len(value)
        for name, value in weights.items()
        if ".lora_A" in name
    }
    kept = KeptAdapter.read(path, base)
    larger = max(rank, kept.rank)  # joined adapters of several ranks cannot be taken apart
    fresh = peft_weights(every, ranks=(larger,))
    found = kept.weights(fresh, 5.0 / larger, target)
    taken = effects(found, 5.0 / larger)
    for module, effect in effects(weights, scale).items():
        np.testing.assert_allclose(taken.pop(module), effect, rtol=1e-4, atol=1e-5)
    for module, effect in taken.items():  # of the part that had no adapter
        assert not effect.any(), module
    for key, value in found.items():
        assert value.shape == fresh[key].shape
        if not fused and ".lora_A" in key:
            np.testing.assert_array_equal(value[4:], fresh[key][4:])
    if larger > 2:
        with pytest.raises(AdapterError, match=r"has rank .* expected at most --rank 2"):
            kept.weights(peft_weights(every, ranks=(2,)), 1.0, target)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    path, llama = tmp_path / "adapter.gguf", FAMILIES["llama"]
    base = base_of(llama, tmp_path / "llama.gguf", fused=False)
    target = AdapterTarget.from_gguf(base)
    every = llama.modules(2)
    write_adapter(path, peft_weights(every), 6.0, target)
    qwen = base_of(FAMILIES["qwen2"], tmp_path / "qwen2.gguf", fused=False)
    with pytest.raises(AdapterError, match=r"an adapter for llama; .*qwen2\.gguf is qwen2"):
        KeptAdapter.read(path, qwen)
    fused = base_of(llama, tmp_path / "fused.gguf", fused=True)
    with pytest.raises(AdapterError, match=r"blk\.0\.attn_k\.weight is not in the model") as error:
        KeptAdapter.read(path, fused)
    assert str(error.value).endswith("and 2 more")
    kept = KeptAdapter.read(path, base)
    with pytest.raises(AdapterError, match="--targets and --layers leave out layers") as error:
        kept.weights(peft_weights(llama.modules(2, Targets.MLP, 1)), 1.0, target)
    assert "model.layers.0.self_attn.q_proj" in str(error.value)
    assert "and 7 more" in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["blk.0.ffn_up.weight.lora_a"], "not pairs of lora_a and lora_b"),
        (["blk.0.attn_norm.weight"], "not pairs of lora_a and lora_b: blk.0.attn_norm.weight"),
        (["token_embd.weight.lora_a", "token_embd.weight.lora_b"], "not in a decoder layer"),
        (["blk.9.ffn_up.weight.lora_a", "blk.9.ffn_up.weight.lora_b"], "is not in the model"),
        (["blk.0.ffn_down.weight.lora_a", "blk.0.ffn_down.weight.lora_b"], "for a matrix of"),
    ],
)
def test_files_that_llama_cpp_would_misread(names: list[str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    for name in names:
        shape = (FFN, RANK) if name.endswith("b") else (RANK, WIDTH)
        writer.add_tensor(name, np.ones(shape, np.float32))
    write(writer)
    base = base_of(FAMILIES["llama"], tmp_path / "base.gguf", fused=False)
    with pytest.raises(AdapterError, match=words):
        KeptAdapter.read(path, base)


def test_what_is_no_adapter_is_refused(tiny_gguf: Callable[[str], Path], tmp_path: Path) -> None:
    base = GgufFile(tiny_gguf("f32"))
    with pytest.raises(AdapterError, match="not a LoRA adapter"):
        KeptAdapter.read(base.path, base)
    (tmp_path / "prose.gguf").write_text("It was a dark night.")
    with pytest.raises(ModelFileError):
        KeptAdapter.read(tmp_path / "prose.gguf", base)


def test_training_goes_on_from_a_kept_adapter(
    tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    base, kept = tiny_gguf("f16"), tmp_path / "kept.gguf"
    trained(base, tokens).write(kept)
    lora = replace(PAPER, rank=8, alpha=16, learning_rate=5e-3)
    again = LoraTrainer(GgufFile(base), replace(TRAIN.changed(adapter=kept), lora=lora))
    again.write(tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == kept.read_bytes()
    block = tokens[128:192]
    fresh = LoraTrainer(GgufFile(base), replace(TRAIN, lora=lora))
    assert again.train([], block).loss_before != fresh.train([], block).loss_before


@pytest.mark.parametrize("fused", [False, True])
def test_training_goes_on_on_the_layers_there_are(
    fused: bool, tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    """Queries and values, and one odd matrix: only they learn, the file describes the same layers,
    and llama.cpp computes what the trainer does."""
    path = tiny_gguf("f32")
    if fused:
        path = rewrite(path, tmp_path / "fused.gguf", fuse_qkv)
    base, kept = GgufFile(path), tmp_path / "kept.gguf"
    modules = tuple(
        name
        for name in family_of(base).modules(3)
        if name.endswith(("q_proj", "v_proj", "layers.1.mlp.up_proj"))
    )
    lora = replace(PAPER, rank=4, alpha=8, learning_rate=5e-3, modules=modules)
    first = LoraTrainer(base, replace(TRAIN, lora=lora))
    names = {
        name.split(".lora_")[0] for name, p in first.model.named_parameters() if p.requires_grad
    }
    assert names == {f"base_model.model.{name}" for name in modules}
    n_trained = sum(p.numel() for p in first.model.parameters() if p.requires_grad)
    assert adapter_parameters(base, lora) == n_trained
    first.train([], tokens[:64])
    first.write(kept)
    assert KeptAdapter.read(kept, base).modules == modules
    second = LoraTrainer(base, replace(TRAIN.changed(adapter=kept), lora=lora))
    second.write(tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == kept.read_bytes()
    second.train(tokens[:64], tokens[64:128])
    second.write(tmp_path / "more.gguf")
    with LlamaEngine(path, EXACT) as engine:
        engine.swap(kept)
        before = engine_logits(engine, tokens)
        engine.swap(tmp_path / "more.gguf")
        served = engine_logits(engine, tokens)
    assert np.abs(sidecar_logits(second, tokens) - served).max() <= 2e-3
    assert np.abs(served - before).max() > 0.05


def test_more_layers_and_rank_than_the_adapter_has(
    tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    """The model's output is unchanged at first, and the whole adapter learns."""
    base, kept = GgufFile(tiny_gguf("f32")), tmp_path / "kept.gguf"
    small = replace(PAPER, rank=4, alpha=8, learning_rate=5e-3, targets=Targets.MLP, layers=1)
    first = LoraTrainer(base, replace(TRAIN, lora=small))
    first.train([], tokens[:64])
    first.write(kept)
    lora = replace(PAPER, rank=8, alpha=24, learning_rate=5e-3)
    second = LoraTrainer(base, replace(TRAIN.changed(adapter=kept), lora=lora))
    difference = sidecar_logits(second, tokens) - sidecar_logits(first, tokens)
    assert np.abs(difference).max() <= 1e-4
    before = [p.clone() for p in second.model.parameters() if p.requires_grad]
    second.train(tokens[:64], tokens[64:128])
    after = [p for p in second.model.parameters() if p.requires_grad]
    assert len(after) == 2 * 7 * 3
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    less = replace(TRAIN.changed(adapter=kept), lora=replace(lora, targets=Targets.ATTENTION))
    with pytest.raises(AdapterError, match="leave out"):
        LoraTrainer(base, less)
    # a session says so before it has anything to learn
    for options, words in (({"targets": "attention"}, "leave out"), ({"rank": 2}, "has rank 4")):
        with pytest.raises(AdapterError, match=words):
            TempLora(base.path, n_ctx=64, adapter=kept, **options)


def test_a_state_that_was_saved_is_all_there_is(
    tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    """Weights, moments, warm-up and dropout continue bit for bit in another process."""
    base, lora = tiny_gguf("f16"), replace(PAPER, rank=8, learning_rate=5e-3, dropout=0.1)
    blocks = [tokens[i : i + 64] for i in (0, 64, 128)]

    def trainer() -> SidecarTrainer:
        return SidecarTrainer(base, replace(TRAIN, lora=lora), tmp_path)

    with trainer() as first:
        for block in blocks[:2]:
            first.train([], block)
        first.save(tmp_path / "state.pt")
        third = first.train([], blocks[2])
        expected = first.export().read_bytes()
    with trainer() as second:
        second.load(tmp_path / "state.pt")
        update = second.train([], blocks[2])
        assert (update.loss_before, update.loss_after) == (third.loss_before, third.loss_after)
        assert second.export().read_bytes() == expected
    cut = tmp_path / "cut.pt"
    cut.write_bytes((tmp_path / "state.pt").read_bytes()[:5000])
    for path, options in (
        (tmp_path / "gone.pt", lora),
        (cut, lora),
        (tmp_path / "state.pt", replace(lora, rank=4)),
    ):
        with (
            SidecarTrainer(base, replace(TRAIN, lora=options), tmp_path) as other,
            pytest.raises(JobError, match=rf"{path.name}: not the state .* --restart"),
        ):
            other.load(path)
