"""PEFT adapters with every initialisation and setting: converted exactly, or rejected by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity import EXACT, Floats, engine_logits
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM

from templora_converters import peft_to_gguf
from templora_edge.engine import LlamaEngine
from templora_edge.errors import AdapterError

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*eva.*"),
    pytest.mark.filterwarnings("ignore:.*changes the base weights.*"),
]


def adapted(tiny_hf: Path, **settings: Any) -> PeftModel:
    """A model with an adapter that has changed from its initial weights."""
    arguments: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ALL} | settings
    torch.manual_seed(4)
    model = get_peft_model(LlamaForCausalLM.from_pretrained(tiny_hf), LoraConfig(**arguments))
    assert isinstance(model, PeftModel)
    return model


def move(model: PeftModel) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape))


def peft_logits(model: PeftModel, tokens: list[int]) -> Floats:
    model.eval()
    with torch.inference_mode():
        return np.asarray(model(input_ids=torch.tensor([tokens])).logits[0].numpy())


def served(base: Path, peft: Path, tokens: list[int]) -> Floats:
    """Logits of llama.cpp with the adapter in the folder ``peft``."""
    out = peft / "out.gguf"
    peft_to_gguf.convert(peft, out, base)
    with LlamaEngine(base, EXACT) as engine:
        plain = engine_logits(engine, tokens)
        engine.swap(out)
        logits = engine_logits(engine, tokens)
    assert np.abs(logits - plain).max() > 0.05, "the adapter changed nothing: an empty test"
    return logits


@pytest.mark.parametrize(
    "settings",
    [
        {"init_lora_weights": True},
        {"init_lora_weights": False},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "eva"},
        {"init_lora_weights": "orthogonal"},
        {"init_lora_weights": "mica"},
        {"use_rslora": True, "r": 5},
        {"rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.up_proj": 7}},
        {"alpha_pattern": {"v_proj": 3, "layers.2.self_attn.o_proj": 40}},
        {"rank_pattern": {"down_proj": 3}, "alpha_pattern": {"down_proj": 5}, "use_rslora": True},
        {"layers_to_transform": [0, 2], "target_modules": ["q_proj", "v_proj"]},
        {"target_modules": r".*layers\.[01]\.mlp\.down_proj"},
        {"lora_dropout": 0.3, "exclude_modules": ["k_proj"]},
    ],
    ids=str,
)
def test_what_peft_computes(
    settings: dict[str, Any],
    tiny_hf: Path,
    tiny_gguf: Callable[[str], Path],
    tokens: list[int],
    tmp_path: Path,
) -> None:
    model = adapted(tiny_hf, **settings)
    move(model)
    model.save_pretrained(str(tmp_path))
    difference = served(tiny_gguf("f32"), tmp_path, tokens) - peft_logits(model, tokens)
    assert np.abs(difference).max() <= 2e-3


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora"])
def test_what_changes_the_base_is_refused_until_it_is_converted(
    init: str,
    tiny_hf: Path,
    tiny_gguf: Callable[[str], Path],
    tokens: list[int],
    tmp_path: Path,
) -> None:
    """The remedy in the message works: PEFT's own conversion, with twice the rank."""
    model = adapted(tiny_hf, init_lora_weights=init)
    begun, trained, converted = (tmp_path / name for name in ("begun", "trained", "converted"))
    config: Any = model.peft_config["default"]
    config.init_lora_weights = True  # as PEFT's guide says
    model.save_pretrained(str(begun))
    config.init_lora_weights = init
    move(model)
    model.save_pretrained(str(trained))
    out = tmp_path / "out.gguf"
    with pytest.raises(AdapterError, match=f"{init}.*path_initial_model_for_weight_conversion"):
        peft_to_gguf.convert(trained, out, tiny_gguf("f32"))
    assert not out.exists()
    expected = peft_logits(model, tokens)
    model.save_pretrained(str(converted), path_initial_model_for_weight_conversion=str(begun))
    difference = served(tiny_gguf("f32"), converted, tokens) - expected
    assert np.abs(difference).max() <= 2e-3


@pytest.mark.parametrize(
    "setting",
    [
        {"init_lora_weights": "corda"},
        {"init_lora_weights": "lora_ga"},
        {"init_lora_weights": "loftq"},
        {"init_lora_weights": "one that is not known yet"},
        {"use_dora": True},
        {"use_qalora": True},
        {"lora_bias": True},
        {"alora_invocation_tokens": [5, 7]},
        {"arrow_config": {"top_k": 3}},
        {"kasa_config": {"beta": 1e-4}},
        {"monteclora_config": {"num_samples": 8}},
        {"velora_config": {"num_groups": 64}},
        {"use_bdlora": {"nblocks": 2}},
        {"megatron_config": {"num_layers": 2}},
        {"layer_replication": [[0, 2], [1, 3]]},
        {"modules_to_save": ["lm_head"]},
        {"target_parameters": ["experts.gate_up_proj"]},
        {"trainable_token_indices": [1, 2]},
        {"a_setting_of_the_future": True},
    ],
    ids=lambda setting: "-".join(map(str, *setting.items())),
)
def test_what_is_more_than_its_weights_is_refused(
    setting: dict[str, Any], tiny_hf: Path, tiny_gguf: Callable[[str], Path], tmp_path: Path
) -> None:
    adapted(tiny_hf).save_pretrained(str(tmp_path))
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | setting))
    [name] = setting
    with pytest.raises(AdapterError, match=name) as error:
        peft_to_gguf.convert(tmp_path, tmp_path / "out.gguf", tiny_gguf("f32"))
    assert len(str(error.value)) < 400
    path.write_text(json.dumps(config | {"a_setting_of_the_future": None}))
    peft_to_gguf.convert(tmp_path, tmp_path / "out.gguf", tiny_gguf("f32"))
