"""PEFT's adapter_config.json: whether llama.cpp can apply an adapter, and with what scale."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from templora_converters.checkpoint import read_json
from templora_edge.errors import AdapterError, listed

_KEEP_THE_BASE: Final = ("gaussian", "eva", "orthogonal", "mica")
"""Values of `init_lora_weights`, besides true and false, that do not change the base's weights."""
_HARMLESS: Final = frozenset(
    {
        # applied here, or checked by value
        "peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern",
        "init_lora_weights", "base_model_name_or_path", "bias",
        # the layers that carry the adapter, which the names of its weights tell
        "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
        # settings of training, or of building the model for it
        "lora_dropout", "inference_mode", "task_type", "fan_in_fan_out", "eva_config",
        "corda_config", "lora_ga_config", "loftq_config", "megatron_core", "qalora_group_size",
        "runtime_config", "ensure_weight_tying",
        # origin of the adapter
        "auto_mapping", "revision", "peft_version",
    }
)  # fmt: skip
"""Settings that are applied here, or do not change what the weights mean. All others, including
those of future PEFT versions, must be off: None, False or empty."""


class PeftConfig:
    """The settings of an adapter saved by PEFT.

    Raises:
        CheckpointError: the folder has no settings.
        AdapterError: the adapter is not a plain LoRA; it names the settings that are in the way.
    """

    def __init__(self, peft_dir: Path) -> None:
        self._settings = read_json(peft_dir / "adapter_config.json", "a PEFT adapter folder")
        _check(self._settings, peft_dir)

    @property
    def base(self) -> str | None:
        """Name or path of the adapter's base, if given."""
        name: str | None = self._settings.get("base_model_name_or_path")
        return name

    @property
    def alpha(self) -> float:
        """llama.cpp's alpha for layers that no pattern matches."""
        alpha = float(self._settings["lora_alpha"])
        return alpha * math.sqrt(self._settings["r"]) if self._rslora else alpha

    def factor(self, module: str, rank: int) -> float:
        """Ratio of a layer's scale to the one llama.cpp computes from `alpha` and its rank."""
        patterns: Mapping[str, float] = self._settings.get("alpha_pattern") or {}
        keys = (key for key in patterns if re.match(rf"(.*\.)?({key})$", module))  # as in PEFT
        alpha = patterns.get(next(keys, ""), self._settings["lora_alpha"])
        scale = alpha / (math.sqrt(rank) if self._rslora else rank)
        return float(scale / (self.alpha / rank))

    @property
    def _rslora(self) -> bool:
        """Whether outputs are scaled by alpha / sqrt(rank) (rsLoRA, arXiv 2312.03732)."""
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
