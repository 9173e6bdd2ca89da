"""Training that goes on: from an adapter that was kept, and from a state that was put aside."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from conftest import TRAIN, trained

from converters.checkpoint import Floats
from converters.families import FAMILIES, FUSED_QKV, Family
from converters.gguf_to_peft import KeptAdapter
from converters.peft_to_gguf import AdapterTarget, write_adapter
from templora_edge.config import LoraOptions, Targets
from templora_edge.errors import AdapterError, JobError, ModelFileError
from templora_edge.gguf_base import GgufBase
from templora_edge.sidecar.process import SidecarTrainer
from templora_edge.sidecar.trainer import LoraTrainer

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
"""Of layers; the others are (FFN, WIDTH)."""


def peft_weights(family: Family, targets: Targets, layers: range) -> dict[str, Floats]:
    """Random ones, all different."""
    random = np.random.default_rng(5)
    weights = {}
    for layer in layers:
        for module in family.targets(targets):
            n_out, n_in = OUT_IN.get(module.rpartition(".")[2], (FFN, WIDTH))
            for half, shape in (("A", (RANK, n_in)), ("B", (n_out, RANK))):
                name = f"base_model.model.model.layers.{layer}.{module}.lora_{half}.weight"
                weights[name] = random.standard_normal(shape, dtype=np.float32)
    return weights


def target_of(family: Family, *, fused: bool) -> AdapterTarget:
    """A base of two layers; ``fused``: its queries, keys and values are one tensor."""
    counts = {name: HEADS_KV if "_kv" in key else HEADS for name, key in family.permuted.items()}
    shapes = {}
    for layer in range(2):
        for module in family.linear:
            name = family.gguf_name(f"model.layers.{layer}.{module}")
            shapes[f"{name}.weight"] = OUT_IN.get(module.rpartition(".")[2], (FFN, WIDTH))
        if fused:
            parts = [shapes.pop(f"blk.{layer}.attn_{part}.weight") for part in "qkv"]
            shapes[f"blk.{layer}.attn_qkv.weight"] = (sum(n for n, _ in parts), WIDTH)
    return AdapterTarget(family, counts, shapes)


CASES = [
    (name, fused)
    for name, family in FAMILIES.items()
    for fused in (False, True)
    if not fused or set(FUSED_QKV) <= set(family.linear)
]


@pytest.mark.parametrize("targets", Targets)
@pytest.mark.parametrize(("name", "fused"), CASES)
def test_to_gguf_and_back(name: str, fused: bool, targets: Targets, tmp_path: Path) -> None:
    family, path = FAMILIES[name], tmp_path / "adapter.gguf"
    target = target_of(family, fused=fused)
    for layers in (range(2), range(1, 2)):
        weights = peft_weights(family, targets, layers)
        write_adapter(path, weights, 6.0, target)
        kept = KeptAdapter.read(path)
        assert (kept.rank, kept.alpha, kept.targets) == (RANK, 6.0, targets)
        assert kept.layers == len(layers)
        found = kept.weights({key: value.shape for key, value in weights.items()}, target)
        assert found.keys() == weights.keys()
        for key, value in weights.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-6, err_msg=key)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    path, llama = tmp_path / "adapter.gguf", target_of(FAMILIES["llama"], fused=False)
    weights = peft_weights(FAMILIES["llama"], Targets.MLP, range(2))
    write_adapter(path, weights, 6.0, llama)
    kept = KeptAdapter.read(path)
    with pytest.raises(AdapterError, match="an adapter for llama, the model is qwen2"):
        kept.weights({}, target_of(FAMILIES["qwen2"], fused=False))
    shapes = {key: value.shape for key, value in weights.items()}
    first, second = list(shapes)[:2]
    shapes[first] = (RANK, WIDTH + 1)
    absent = second.replace("mlp.gate_proj", "self_attn.q_proj")
    shapes[absent] = (HEADS * HEAD_DIM, RANK)
    with pytest.raises(AdapterError) as error:
        kept.weights(shapes, llama)
    assert f"{first} is (3, 32), expected (3, 33)" in str(error.value)
    assert f"{absent} is missing" in str(error.value)


def test_what_is_no_adapter_is_refused(tiny_gguf: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="not a LoRA adapter"):
        KeptAdapter.read(tiny_gguf("f32"))
    (tmp_path / "prose.gguf").write_text("It was a dark night.")
    with pytest.raises(ModelFileError):
        KeptAdapter.read(tmp_path / "prose.gguf")
    writer = gguf.GGUFWriter(tmp_path / "ranks.gguf", "llama")
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    for block, rank in enumerate((2, 4)):
        name = f"blk.{block}.ffn_up.weight.lora_"
        writer.add_tensor(f"{name}a", np.ones((rank, WIDTH), np.float32))
        writer.add_tensor(f"{name}b", np.ones((FFN, rank), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(AdapterError, match=r"several ranks, \[2, 4\]"):
        KeptAdapter.read(tmp_path / "ranks.gguf")


def test_training_goes_on_from_a_kept_adapter(
    tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    base, kept = tiny_gguf("f16"), tmp_path / "kept.gguf"
    trained(base, tokens).write(kept)
    lora = LoraOptions(rank=8, alpha=16, learning_rate=5e-3)
    again = LoraTrainer(GgufBase(base), lora, replace(TRAIN, adapter=kept))
    again.write(tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == kept.read_bytes()
    block = tokens[128:192]
    fresh = LoraTrainer(GgufBase(base), lora, TRAIN)
    assert again.train([], block).loss_before != fresh.train([], block).loss_before


def test_a_state_that_was_saved_is_all_there_is(
    tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    """Weights, moments, warm-up and dropout go on bit for bit, in another process."""
    base, lora = tiny_gguf("f16"), LoraOptions(rank=8, learning_rate=5e-3, dropout=0.1)
    blocks = [tokens[i : i + 64] for i in (0, 64, 128)]

    def trainer() -> SidecarTrainer:
        return SidecarTrainer(base, lora, TRAIN, tmp_path)

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
            SidecarTrainer(base, options, TRAIN, tmp_path) as other,
            pytest.raises(JobError, match=rf"{path.name}: not the state .* --restart"),
        ):
            other.load(path)
