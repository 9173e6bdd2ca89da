"""`templora info --machine`: what this machine is, and the memory that models need on it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import psutil
import pytest
import torch
from command import TEMPLORA, check_failure, run
from gguf_files import write_out

from templora_edge import TempLora
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import build
from templora_edge.evaluation.machine import (
    WINDOWS,
    Fit,
    MemoryNeed,
    TrainingNeed,
    memory_needs,
    usual_needs,
)
from templora_edge.host.board import board
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.models.footprint import estimate
from templora_edge.models.heads import Heads
from templora_edge.models.published import USUAL, PublishedModel, weight_bytes
from templora_edge.options import Options, TrainDtype


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """What the command prints, for the bundled model."""
    result = run("info", "--machine", "--json", BUNDLED_MODEL)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_machine(shown: dict[str, Any]) -> None:
    assert shown.keys() == {
        *("system", "architecture", "board", "cores", "threads", "memory_available_bytes"),
        *("llama_cpp", "torch", "models"),
    }
    assert 0 < shown["threads"] <= shown["cores"]
    assert 0 < shown["memory_available_bytes"] <= psutil.virtual_memory().total
    assert shown["torch"]["version"] == torch.__version__
    capabilities = torch.cpu.get_capabilities()
    assert all(capabilities[name] for name in shown["torch"]["instructions"])
    assert shown["torch"]["precision"] in list(TrainDtype)
    (processor,) = (one for one in shown["llama_cpp"]["devices"] if one["name"] == "CPU")
    assert processor["kind"] == "CPU"
    assert processor["memory_bytes"] == pytest.approx(psutil.virtual_memory().total, rel=0.01)


def test_the_memory_of_a_model_is_that_of_its_options(shown: dict[str, Any]) -> None:
    base = BaseGguf(BUNDLED_MODEL)
    assert [row["n_ctx"] for row in shown["models"]] == [512, 1024, 2048]  # as trained
    for row in shown["models"]:
        options = Options().changed(n_ctx=row["n_ctx"]).resolve(base)
        for precision, value_bytes in (("bf16", 2), ("fp32", 4)):
            footprint = estimate(
                base, options.lora, n_tokens=options.update_len, value_bytes=value_bytes
            )
            assert row["training"][precision] == {
                "bytes": footprint.total(checkpointing=False),
                "bytes_recomputing": footprint.total(checkpointing=True),
            }
        assert row["weights_bytes"] == sum(int(t.data.nbytes) for t in base.tensors.values())
        assert row["fits"] in list(Fit)
    first, second = shown["models"][:2]
    more = second["generating_bytes"] - first["generating_bytes"]
    assert more == Heads.of(base).kv_bytes(512, 2, 2)


def test_generating_takes_what_is_estimated() -> None:
    flags = ["-m", str(BUNDLED_MODEL), "-c", "1024", "-t", "1", "-r", "1", "--json"]
    command = [*TEMPLORA, "bench", *flags]  # a process of its own, without what tests have loaded
    measured = subprocess.run(command, capture_output=True, text=True, check=False)
    assert measured.returncode == 0, measured.stderr
    taken = json.loads(measured.stdout)["memory"]
    need = next(one for one in memory_needs(BaseGguf(BUNDLED_MODEL)) if one.n_ctx == 1024)
    assert taken["generate"]["private_peak_bytes"] == pytest.approx(need.generating_bytes, rel=0.3)
    most = max(one.bytes for one in need.training.values())
    assert taken["train"]["private_peak_bytes"] < 1.1 * most


def test_published_dimensions_are_those_of_the_file(gemma3: Path) -> None:
    real = BaseGguf(gemma3)
    published = PublishedModel(next(one for one in USUAL if one.repo.endswith("gemma-3-270m")))
    for name, tensor in published.tensors.items():
        own = real.tensors[name]
        assert (own.tensor_type, own.shape.tolist()) == (tensor.tensor_type, tensor.shape.tolist())
    assert weight_bytes(published) == pytest.approx(weight_bytes(real), rel=0.002)  # without norms
    for ours, theirs in zip(memory_needs(published), memory_needs(real), strict=True):
        assert (ours.n_ctx, ours.generating_bytes) == (theirs.n_ctx, theirs.generating_bytes)
        assert ours.training == theirs.training


def test_published_dimensions_of_smollm2(smollm2: Path) -> None:
    real = BaseGguf(smollm2)  # another quantization of the same tensors
    published = PublishedModel(USUAL[0])
    for name, tensor in published.tensors.items():
        assert real.tensors[name].shape.tolist() == tensor.shape.tolist()
    for key in ("block_count", "attention.head_count", "attention.head_count_kv", "context_length"):
        assert real.get(f"{{arch}}.{key}") == published.get(f"{{arch}}.{key}")


def test_sliding_windows_need_less(gemma3: Path) -> None:
    needs = {one.n_ctx: one for one in memory_needs(BaseGguf(gemma3))}
    whole = Heads.of(BaseGguf(gemma3)).kv_bytes(1, 2, 2)
    assert needs[1024].generating_bytes - needs[512].generating_bytes == 512 * whole
    # beyond the window and a batch, only the layers with full attention grow: 3 of 18
    assert needs[4096].generating_bytes - needs[2048].generating_bytes == 2048 * whole * 3 // 18


def test_usual_models() -> None:
    needs = usual_needs()
    assert len(needs) == len(USUAL) * len(WINDOWS)
    by_window = [[one for one in needs if one.n_ctx == n_ctx] for n_ctx in WINDOWS]
    for rows in by_window:
        totals = [one.total(TrainDtype.FP32, recomputing=True) for one in rows]
        assert totals == sorted(totals)
    millions = [round(PublishedModel(one).n_params / 1e6) for one in USUAL]
    assert millions == [134, 268, 1236, 3213, 7248]


@pytest.mark.parametrize(
    ("available", "fit"),
    [(160, Fit.YES), (159, Fit.RECOMPUTING), (139, Fit.NOT_LEARNING), (119, Fit.NO)],
)
def test_fit(available: int, fit: Fit) -> None:
    training = {TrainDtype.FP32: TrainingNeed(40, 20), TrainDtype.BF16: TrainingNeed(4, 2)}
    need = MemoryNeed("model", 512, 100, 20, training)
    assert need.fit(available, TrainDtype.FP32) is fit


def test_the_table() -> None:
    result = run("info", "--machine")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    header = next(index for index, line in enumerate(lines) if line.startswith("model "))
    assert lines[header].split() == [
        *("model", "W", "weights", "generating", "bf16", "fp32", "fits", "here")
    ]
    names = [one.repo.rpartition("/")[2] for one in USUAL]
    rows = [line.split()[:2] for line in lines[header + 1 :]]
    assert rows == [[name, f"{n_ctx:,}"] for name in names for n_ctx in WINDOWS]


def test_what_has_no_estimate(tmp_path: Path) -> None:
    missing = tmp_path / "none.gguf"
    check_failure(run("info", "--machine", missing), "none.gguf", "no such file")
    adapter = tmp_path / "adapter.gguf"
    with TempLora(n_ctx=128) as session:
        session.save_adapter(adapter)
    check_failure(run("info", "--machine", adapter), "an adapter, not a model")
    mamba = tmp_path / "mamba.gguf"
    writer = gguf.GGUFWriter(mamba, "mamba")
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    write_out(writer)
    check_failure(run("info", "--machine", mamba), "mamba.gguf", "does not support", "supported:")


def test_features_are_the_processors() -> None:
    text = "CUDA : ARCHS = 900 | USE_GRAPHS = 1 | CPU : NEON = 1 | ARM_FMA = 1 | SVE = 0 | "
    assert build._features(text) == ("NEON", "ARM_FMA")


def test_board(tmp_path: Path) -> None:
    path = tmp_path / "model"
    assert board(path) is None
    path.write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    assert board(path) == "Raspberry Pi 5 Model B Rev 1.0"
