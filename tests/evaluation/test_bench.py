"""`templora bench`: its figures, its command, and the count of operations."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from command import TEMPLORA, check_failure, run
from gguf_files import write_out
from paths import ROOT
from torch.utils.flop_counter import FlopCounterMode

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import LlamaEngine, Model
from templora_edge.errors import EngineError
from templora_edge.evaluation.bench import Bench, BenchJob, random_tokens
from templora_edge.host import memory
from templora_edge.host.private_peak import PrivatePeak
from templora_edge.host.workspace import default_root
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.operations import Shape, update_operations
from templora_edge.options import PAPER, Capture, LoraOptions, Options, Targets
from templora_edge.training.trainer import LoraTrainer

FLAGS = ["-c", 128, "-t", 1, "--block", 16, "--train-prefix", 24, "--rank", 4, "-r", 2]


def other_family(source: Path, out: Path) -> Path:
    """A llama model with a tied head as one of an architecture that only llama.cpp knows."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(out, "xverse")
    for key, field in reader.fields.items():
        if not key.startswith(("GGUF.", "general.architecture")):
            kind = field.types[0]
            sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            name = key.replace("llama.", "xverse.", 1)
            writer.add_key_value(name, field.contents(), kind, sub_type)
    for tensor in reader.tensors:
        names = [tensor.name, *(["output.weight"] if tensor.name == "token_embd.weight" else [])]
        for name in names:
            writer.add_tensor(name, tensor.data, raw_dtype=tensor.tensor_type)
    write_out(writer)
    return out


def figures_of(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one line of JSON on stdout."""
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(result.stdout)
    assert found.keys() == {
        "model", "machine", "versions", "settings", "repetitions", "without_templora", "start_s",
        "loop", "update", "engine", "memory",
    }  # fmt: skip
    return found


def test_every_figure_is_there_and_agrees_with_the_others(
    tiny_gguf: Callable[[str], Path],
) -> None:
    path = tiny_gguf("f32")
    result = run("bench", "-m", path, *FLAGS, "--json")
    found = figures_of(result)
    loop, update, engine = found["loop"], found["update"], found["engine"]
    assert found["without_templora"] is None
    assert found["repetitions"] == 2
    assert found["settings"]["own_learning_rate"] == PAPER.own_learning_rate
    assert loop["block_tokens"] == update["block_tokens"] == 16
    assert update["prefix_tokens"] == 24  # the model has no BOS
    assert (engine["prefill_tokens"], engine["decode_tokens"]) == (128 - 4 * 9, 8)
    numbers = [*loop.values(), *engine.values(), *update.values(), found["start_s"]]
    assert all(number > 0 for number in numbers if not isinstance(number, str))
    assert update["train_to_write"] == update["train_s"] / loop["write_s"]
    assert update["flop_per_s"] == update["flop"] / update["train_s"]
    assert update["gemm_share"] == update["flop_per_s"] / update["gemm_flop_per_s"]
    alone, adapted = (engine[f"{kind}decode_tokens_per_s"] for kind in ("", "adapter_"))
    assert engine["adapter_decode_ratio"] == adapted / alone
    assert update["load_s"] < 10 * update["swap_s"], "a swap loads the adapter too"
    # a block cannot take longer than writing, learning and swapping it by turns, but for medians
    assert loop["tokens_per_s"] < 16 / min(loop["write_s"], update["train_s"])
    options = Options().changed(rank=4, block_len=16).resolve(BaseGguf(path))
    capture = options.engine.capture
    assert capture is not None
    assert capture.products
    assert update["flop"] == update_operations(
        GgufFile(path), options.lora, prefix=24, block=16, capture=capture
    )
    assert found["memory"].keys() == {"generate", "train"}
    assert all(number > 0 for used in found["memory"].values() for number in used.values())
    steps = result.stderr.splitlines()
    assert steps[:3] == [
        "warming up", "writing block 1 of 2", "writing block 2 of 2",
    ]  # fmt: skip
    assert not list(default_root().glob("templora-*"))


def test_the_table_has_what_people_look_for(tiny_gguf: Callable[[str], Path]) -> None:
    result = run("bench", "-m", tiny_gguf("f32"), *FLAGS)
    assert result.returncode == 0, result.stderr
    names = [line.partition("  ")[0] for line in result.stdout.splitlines()]
    assert names == [
        "model", "threads", "device", "start", "prefill", "decode", "decode with adapter",
        "write a block", "learn a block", "arithmetic", "swap", "write and learn",
        "memory of the process that generates", "memory of the process that trains",
    ]  # fmt: skip
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("why", ["--no-templora", "family"])
def test_without_an_adapter_generation_alone_is_measured(
    why: str, tiny_gguf: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tiny_gguf("f32")
    if why == "family":
        path = other_family(BUNDLED_MODEL, tmp_path / "other.gguf")
    flags = [why] if why == "--no-templora" else []
    result = run("bench", "-m", path, *FLAGS, *flags, "--json")
    found = figures_of(result)
    warnings = [line for line in result.stderr.splitlines() if "warning" in line]
    if why == "family":
        assert "'xverse'" in found["without_templora"]
        assert len(warnings) == 1
        assert "only generation is measured" in warnings[0]
    else:
        assert found["without_templora"] == "--no-templora"
        assert not warnings
    assert found["update"] is None
    assert found["engine"]["adapter_decode_ratio"] is None
    assert found["engine"]["decode_tokens_per_s"] > 0
    assert found["memory"].keys() == {"generate"}


def test_errors_are_one_line() -> None:
    check_failure(run("bench", "-m", "missing.gguf"), "missing.gguf", "no such file")
    assert run("bench", "-r", "0").returncode == 2


def test_ctrl_c_ends_it_at_once(tiny_gguf: Callable[[str], Path]) -> None:
    command = [*TEMPLORA, "bench", "-m", str(tiny_gguf("f32")), *map(str, FLAGS), "-r", "100000"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        while not process.stderr.readline().startswith("writing block 2 "):
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in errors
    assert not list(default_root().glob("templora-*"))


def check_private_memory(file: Path) -> None:
    size = file.stat().st_size
    before = memory.private()
    mapped = np.memmap(file)
    assert mapped.sum() == 0  # reads every page
    with PrivatePeak(os.getpid()) as peak:
        assert peak.n_bytes < before + size // 2
        block = b"x" * size
    assert peak.n_bytes > before + len(block) // 2
    assert memory.resident(os.getpid()) > before + 3 * size // 2


def test_private_memory_is_what_is_not_mapped_from_a_file(tmp_path: Path) -> None:
    """In a process of its own: the system may take back what lies idle in that of the tests."""
    file = tmp_path / "mapped"
    file.write_bytes(bytes(64 << 20))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(check_private_memory, file).result()


def test_a_measurement_that_has_not_ended_has_no_result() -> None:
    with pytest.raises(RuntimeError, match="not ended"):
        _ = Bench(BenchJob()).result


def test_random_tokens_are_text_and_always_the_same() -> None:
    with Model(BUNDLED_MODEL) as model:
        tokens = random_tokens(model.vocab, 500)
        assert tokens == random_tokens(model.vocab, 500)
        assert all(model.vocab.piece(token) for token in tokens)
        assert len(set(tokens)) > 400


def test_a_model_without_a_tokenizer_can_be_measured(
    tiny_gguf: Callable[[str], Path], tmp_path: Path
) -> None:
    """Models with random weights, made to measure with, have none."""
    path = tmp_path / "none.gguf"
    reader = gguf.GGUFReader(tiny_gguf("f32"))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("none")
    for key, field in reader.fields.items():
        if key.startswith("llama."):
            writer.add_key_value(key, field.contents(), field.types[0])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    write_out(writer)
    with Model(path) as model:
        assert model.vocab.tokenize("") == []
        with pytest.raises(EngineError, match="no tokenizer"):
            model.vocab.tokenize("text")
    found = figures_of(run("bench", "-m", path, *FLAGS, "-r", 1, "--json"))
    assert found["update"]["train_s"] > 0


def linear_flops(trainer: LoraTrainer, *arguments: Any, **named: Any) -> int:
    """Operations of an update that torch counts in linear layers, which multiply matrices.

    Attention multiplies batches of them, of all pairs, and some of them twice.
    """
    with FlopCounterMode(display=False) as counter:
        trainer.train(*arguments, **named)
    counts = counter.get_flop_counts()["Global"]
    matrices = [torch.ops.aten.mm, torch.ops.aten.addmm]
    batches = {torch.ops.aten.bmm, torch.ops.aten.baddbmm}
    assert counts.keys() <= {*matrices} | batches
    return sum(counts.get(operation, 0) for operation in matrices)


@pytest.mark.parametrize(
    "changes",
    [{}, {"targets": Targets.MLP, "prefix_gradient": False, "epochs": 1}, {"layers": 3}],
    ids=["paper", "default", "last layers"],
)
def test_operations_are_those_that_torch_counts(changes: dict[str, Any], tokens: list[int]) -> None:
    """Attention aside, and what the first layer needs no gradient for."""
    base, n = BaseGguf(BUNDLED_MODEL), 32
    lora: LoraOptions = PAPER.changed(rank=8, dropout=0.0, **changes)
    options = Options().changed(n_ctx=256, block_len=n, train_dtype="fp32", measure_after=False)
    options = replace(options.resolve(base), lora=lora)
    trainer = LoraTrainer(base, options)
    trainer.train([], tokens[:n])
    counted = linear_flops(trainer, tokens[:n], tokens[n : 2 * n])
    n_layers = int(base.require("{arch}.block_count"))
    share = (lora.layers or n_layers) / n_layers
    read, written = sum(range(1, n + 1)), sum(range(n + 1, 2 * n + 1))  # pairs
    pairs = (1 + 2 * share) * (read + written if lora.prefix_gradient else written)
    attention = lora.epochs * Shape.of(base).attention * pairs
    ours = update_operations(base, lora, prefix=n, block=n, capture=None) - attention
    assert counted <= ours <= 1.1 * counted


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("products", [False, True])
def test_operations_that_llama_cpp_has_done(products: bool, epochs: int, tokens: list[int]) -> None:
    """Those of layers below the adapter, and in the first epoch of all weights."""
    base, n, n_tail = BaseGguf(BUNDLED_MODEL), 32, 3
    lora = PAPER.changed(rank=8, dropout=0.0, layers=n_tail, prefix_gradient=False, epochs=epochs)
    n_layers = int(base.require("{arch}.block_count"))
    capture = Capture(n_layers - n_tail, 2 * n, products=products)
    options = Options().changed(n_ctx=256, block_len=n, train_dtype="fp32", measure_after=False)
    options = replace(options.changed(capture=capture).resolve(base), lora=lora)
    trainer = LoraTrainer(base, options)
    with LlamaEngine(BUNDLED_MODEL, options.engine) as engine:
        engine.score(tokens[:1], tokens[1 : 2 * n])
        captured = engine.captured(n - 1, 2 * n - 1)
    trainer.train([], tokens[:n])
    counted = linear_flops(trainer, tokens[:n], tokens[n : 2 * n], captured=captured)
    pairs = 3 * n_tail / n_layers * sum(range(n + 1, 2 * n + 1))
    attention = epochs * Shape.of(base).attention * pairs
    ours = update_operations(base, lora, prefix=n, block=n, capture=capture) - attention
    assert counted <= ours <= 1.1 * counted
