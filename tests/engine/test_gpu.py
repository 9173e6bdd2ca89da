"""Layers on a GPU, as far as it shows without one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from command import run
from parity import EXACT, engine_logits

from templora_edge.engine import LlamaEngine, gpu
from templora_edge.errors import OptionError
from templora_edge.options import EngineOptions

without_gpu = pytest.mark.skipif(
    gpu.find_gpu() is not None, reason="needs a llama.cpp without a GPU"
)


@without_gpu
def test_auto_is_the_processor_where_there_is_no_gpu(
    tiny_engine: LlamaEngine, tokens: list[int]
) -> None:
    assert tiny_engine.model.gpu is None
    expected = engine_logits(tiny_engine, tokens)
    with LlamaEngine(tiny_engine.model.path, replace(EXACT, n_gpu_layers=0)) as engine:
        np.testing.assert_array_equal(engine_logits(engine, tokens), expected)


@without_gpu
@pytest.mark.parametrize("n_layers", [1, 99, "all"])
def test_layers_without_a_gpu_are_refused(n_layers: Any, tiny_gguf: Callable[[str], Path]) -> None:
    with pytest.raises(OptionError, match=f"-ngl {n_layers}: this build of llama.cpp has no GPU"):
        LlamaEngine(tiny_gguf("f32"), replace(EXACT, n_gpu_layers=n_layers))
    result = run("generate", "-m", tiny_gguf("f32"), "-p", "x", "-ngl", n_layers, "-n", "1")
    assert result.returncode == 1
    assert f"-ngl {n_layers}: " in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("given", "expected"), [("auto", -1), ("all", -1), (7, 7)])
def test_layers_reach_llama_cpp(given: Any, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_gpu", lambda: "GPU")
    params = llama_cpp.llama_model_default_params()
    assert gpu.configure(params, given) == "GPU"
    assert (params.n_gpu_layers, params.devices) == (expected, None)


def test_without_layers_no_gpu_is_used_for_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp takes a list without devices for none, and no list for all."""
    monkeypatch.setattr(gpu, "find_gpu", lambda: "GPU")
    params = llama_cpp.llama_model_default_params()
    assert gpu.configure(params, 0) is None
    assert params.n_gpu_layers == 0
    assert params.devices


def test_layers_are_a_number_or_a_word() -> None:
    assert EngineOptions().n_gpu_layers == "auto"
    with pytest.raises(OptionError, match="GPU layers is -2; expected 0 or more"):
        EngineOptions(n_gpu_layers=-2)
    with pytest.raises(OptionError, match="n_gpu_layers is 'many'; expected auto or all or int"):
        EngineOptions(n_gpu_layers=build("many"))


def build(value: Any) -> Any:
    """A value whose type is not checked before."""
    return value
