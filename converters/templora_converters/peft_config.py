"""PEFT's adapter_config.json: whether the weights alone are what an adapter does, and how much."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from templora_converters.checkpoint import read_json
from templora_edge.errors import AdapterError, listed

_KEEP_THE_BASE: Final = ("gaussian", "eva", "orthogonal", "mica")
"""`init_lora_weights`, besides true and false, that leave the base's weights as they are."""
_HARMLESS: Final = frozenset(
    {
        # followed, or checked by their values
        "peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern",
        "init_lora_weights", "base_model_name_or_path", "bias",
        # which layers carry the adapter: the names of its weights say it
        "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
        # how it was trained, or how a model is put together for training
        "lora_dropout", "inference_mode", "task_type", "fan_in_fan_out", "eva_config",
        "corda_config", "lora_ga_config", "loftq_config", "megatron_core", "qalora_group_size",
        "runtime_config", "ensure_weight_tying",
        # where it comes from
        "auto_mapping", "revision", "peft_version",
    }
)  # fmt: skip
"""Settings that do not change what the weights mean, or that are followed here. Any other, one that
PEFT will have some day included, must be off: None, False or empty."""


class PeftConfig:
    """The settings of an adapter that PEFT saved.

    Raises:
        CheckpointError: there are none in the folder.
        AdapterError: it is not a LoRA whose weights are all there is; names the settings.
    """

    def __init__(self, peft_dir: Path) -> None:
        self._settings = read_json(peft_dir / "adapter_config.json", "a PEFT adapter folder")
        _check(self._settings, peft_dir)

    @property
    def base(self) -> str | None:
        """The base that the adapter names."""
        name: str | None = self._settings.get("base_model_name_or_path")
        return name

    @property
    def alpha(self) -> float:
        """llama.cpp's alpha, of layers that the patterns do not name."""
        alpha = float(self._settings["lora_alpha"])
        return alpha * math.sqrt(self._settings["r"]) if self._rslora else alpha

    def factor(self, module: str, rank: int) -> float:
        """The scale of a layer over what llama.cpp makes of `alpha` and its rank."""
        patterns: Mapping[str, float] = self._settings.get("alpha_pattern") or {}
        keys = (key for key in patterns if re.match(rf"(.*\.)?({key})$", module))  # as PEFT does
        alpha = patterns.get(next(keys, ""), self._settings["lora_alpha"])
        scale = alpha / (math.sqrt(rank) if self._rslora else rank)
        return float(scale / (self.alpha / rank))

    @property
    def _rslora(self) -> bool:
        """Whether outputs are scaled by alpha / sqrt(rank), arXiv 2312.03732."""
        return bool(self._settings.get("use_rslora"))


def _check(settings: Mapping[str, Any], peft_dir: Path) -> None:
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise AdapterError(f"{peft_dir}: peft_type is {kind!r}; expected 'LORA'")
    on = sorted(name for name, value in settings.items() if value and name not in _HARMLESS)
    if settings.get("bias", "none") != "none":
        on.append("trained biases")
    if on:
        raise AdapterError(
            f"{peft_dir}: llama.cpp cannot apply {listed(on)}; train a plain LoRA, or merge it "
            "into its base and use: templora convert base"
        )
    initial = settings.get("init_lora_weights", True)
    if not (initial in (True, False, None) or str(initial).lower() in _KEEP_THE_BASE):
        raise AdapterError(
            f"{peft_dir}: init_lora_weights is {str(initial)[:40]!r}, which changes the base's "
            "weights too, and those are not in the adapter; save it with save_pretrained(..., "
            "path_initial_model_for_weight_conversion=...)"
        )
    if not settings.get("lora_alpha"):
        raise AdapterError(f"{peft_dir}: lora_alpha is 0, an adapter without effect")
