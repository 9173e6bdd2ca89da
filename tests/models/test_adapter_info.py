"""`templora info` on an adapter: its description and its uses."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from command import check_failure, run
from gguf_files import write_out
from parity import TRAIN

from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import PAPER
from templora_edge.training.trainer import LoraTrainer


def test_of_some_layers(tiny_gguf: Callable[[str], Path], tmp_path: Path) -> None:
    modules = tuple(
        f"model.layers.{layer}.{name}"
        for layer in (0, 1)
        for name in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj")
    )
    lora = replace(PAPER, rank=8, alpha=16, modules=(*modules, "model.layers.2.mlp.up_proj"))
    trainer = LoraTrainer(GgufFile(tiny_gguf("f32")), replace(TRAIN, lora=lora))
    path = tmp_path / "adapter.gguf"
    trainer.write(path)
    found = json.loads(run("info", "--json", path).stdout)
    assert (found["kind"], found["architecture"]) == ("adapter", "llama")
    assert (found["ranks"], found["alpha"]) == ([8], 16)
    assert found["layers"] == {"attn_q": [0, 1], "attn_v": [0, 1], "ffn_up": [0, 1, 2]}
    assert found["parameters"] == sum(
        p.numel() for p in trainer.model.parameters() if p.requires_grad
    )
    assert found["file_bytes"] == path.stat().st_size
    assert found["types"] == {"F32": 1}
    assert found["lora"] is found["adapter_in"] is True
    shown = run("info", path)
    assert shown.returncode == 0, shown.stderr
    for words in ("attn_q, attn_v", "layers 0 to 1", "layers 0 to 2", "rank", "--lora"):
        assert words in shown.stdout


def adapter(path: Path, architecture: str, kind: str, *names: str) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, kind)
    for name in names:
        for half in "ab":
            writer.add_tensor(f"{name}.lora_{half}", np.ones((2, 2), np.float32))
    write_out(writer)
    return path


@pytest.mark.parametrize(
    ("architecture", "name", "lora", "words"),
    [
        ("falcon", "blk.0.attn_qkv.weight", True, "does not train 'falcon'"),
        ("llama", "blk.0.ffn_gate_exps.weight", True, "does not train ffn_gate_exps of llama"),
        ("llama", "output.weight", False, "output.weight: only adapters on decoder layers"),
    ],
)
def test_of_what_cannot_be_used(
    architecture: str, name: str, lora: bool, words: str, tmp_path: Path
) -> None:
    path = adapter(tmp_path / "adapter.gguf", architecture, "lora", name)
    found = json.loads(run("info", "--json", path).stdout)
    assert (found["lora"], found["adapter_in"]) == (lora, False)
    assert words in found["adapter_in_reason"]
    assert lora or words in found["lora_reason"]
    assert words in run("info", path).stdout


def test_of_what_is_no_lora(tmp_path: Path) -> None:
    path = adapter(tmp_path / "vector.gguf", "llama", "cvec", "blk.0.ffn_up.weight")
    check_failure(run("info", path), "vector.gguf: not a LoRA adapter")
