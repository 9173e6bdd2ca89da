"""`templora info`: describe a GGUF."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from templora_edge.cli.examples import with_examples
from templora_edge.cli.model import ModelFlags
from templora_edge.cli.options import takes_model_flags
from templora_edge.cli.output import size, write, write_facts, write_table
from templora_edge.host.json_text import to_json

if TYPE_CHECKING:
    from templora_edge.models.adapter_info import AdapterInfo
    from templora_edge.models.info import ModelInfo


_FILE: Final = Annotated[
    Path | None,
    typer.Argument(metavar="FILE.gguf", help="Model or adapter; default: the bundled model."),
]


@with_examples(
    "templora info model.gguf",
    "templora info adapter.gguf",
    "templora info -hf bartowski/Llama-3.2-1B-Instruct-GGUF:Q8_0",
)
@takes_model_flags(_FILE, "FILE.gguf")
def info(
    *,
    model: ModelFlags,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Describe a GGUF and what Temp-LoRA would need to train on it."""
    from templora_edge.assets import BUNDLED_MODEL
    from templora_edge.models.info import ModelInfo
    from templora_edge.models.info import info as describe

    described = describe(model.path or BUNDLED_MODEL)
    found = _device(described) if isinstance(described, ModelInfo) and described.training else None
    if as_json:
        write(to_json(asdict(described) | ({"train_device": found} if found else {})))
    elif isinstance(described, ModelInfo):
        _print_model(described, found)
    else:
        _print_adapter(described)


def _device(model: "ModelInfo") -> dict[str, Any]:
    """The device that trains ``model`` by default; see `training.device.Choice`."""
    from templora_edge.host.cores import default_threads
    from templora_edge.options import TrainingOptions
    from templora_edge.training.probe import chosen_device

    return chosen_device(TrainingOptions(n_threads_train=default_threads()), model.parameters)


def _print_adapter(adapter: "AdapterInfo") -> None:
    by_layers: dict[tuple[int, ...], list[str]] = {}
    for module, layers in adapter.layers.items():
        by_layers.setdefault(layers, []).append(module)
    rows = {
        "adapter": adapter.path,
        "for": f"{adapter.architecture} models",
        "rank": ", ".join(map(str, adapter.ranks)),
        "alpha": f"{adapter.alpha:g}" if adapter.alpha else "none: its output is not scaled",
        "parameters": f"{adapter.parameters / 1e6:,.1f} M in {size(adapter.file_bytes)}",
        "types": _mix(adapter.types),
    }
    for layers, modules in by_layers.items():
        rows[", ".join(modules)] = f"layers {_ranges(layers)}"
    if adapter.others:
        rows["outside of the layers"] = ", ".join(adapter.others)
    rows |= {
        "--lora": _yes(adapter.lora, adapter.lora_reason),
        "--adapter-in": _yes(adapter.adapter_in, adapter.adapter_in_reason),
    }
    write_facts(rows)


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers with consecutive ones joined, for example `0 to 3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _print_model(model: "ModelInfo", device: Mapping[str, Any] | None) -> None:
    from rich.table import Table

    rows = {
        "model": f"{model.name} ({model.path})",
        "family": model.architecture,
        "parameters": f"{model.parameters / 1e6:,.1f} M in {size(model.file_bytes)}",
        "quantization": _mix(model.quantization),
        "trained context": f"{model.trained_context:,} tokens",
        "Temp-LoRA": _yes(model.templora, model.templora_reason),
        "K-shift": _yes(model.k_shift),
        "SelfExtend": _yes(model.self_extend),
        "KV cache": f"{size(model.kv_cache_bytes)} at {model.context:,} tokens, F16",
        "repacked weights": _yes(model.repack),
    }
    if device is not None:
        seconds = (f"{1000 * s:.1f} ms on {name}" for name, s in device["seconds"].items())
        measured = f" (a step takes {', '.join(seconds)})" if device["seconds"] else ""
        rows["trains on"] = f"{device['device']}{measured}"
    write_facts(rows)
    if not model.training:
        return
    table = Table(
        title=f"estimated memory for training, without the model; context {model.context:,}, bf16"
    )
    for heading in ("rank", "adapter", "adapter file", "memory", "memory, recomputing layers"):
        table.add_column(heading, justify="right")
    for row in model.training:
        table.add_row(
            str(row.rank),
            f"{row.adapter_parameters / 1e6:,.1f} M",
            size(row.adapter_file_bytes),
            size(row.bytes),
            size(row.bytes_checkpointed),
        )
    write_table(table, soft_wrap=True)


def _mix(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{kind} {100 * share:.1f} %" for kind, share in shares.items())


def _yes(value: bool, reason: str = "") -> str:
    return "yes" if value else f"no: {reason}" if reason else "no"
