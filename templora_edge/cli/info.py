"""`templora info`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from templora_edge.cli.examples import with_examples
from templora_edge.cli.output import write
from templora_edge.json_text import to_json

if TYPE_CHECKING:
    from templora_edge.tasks.info import ModelInfo


@with_examples("templora info model.gguf")
def info(
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL.gguf", help="Default: the bundled model.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Say what a GGUF is, and what Temp-LoRA would need on it."""
    from templora_edge.assets import BUNDLED_MODEL
    from templora_edge.tasks.info import info as describe

    described = describe(model or BUNDLED_MODEL)
    if as_json:
        write(to_json(asdict(described)))
    else:
        _print(described)


def _print(model: "ModelInfo") -> None:
    from rich.console import Console
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    mix = ", ".join(f"{kind} {100 * share:.1f} %" for kind, share in model.quantization.items())
    rows = {
        "model": f"{model.name} ({model.path})",
        "family": model.architecture,
        "parameters": f"{model.parameters / 1e6:,.1f} M in {_size(model.file_bytes)}",
        "quantization": mix,
        "trained context": f"{model.trained_context:,} tokens",
        "Temp-LoRA": "yes" if model.templora else f"no: {model.templora_reason}",
        "K-shift": _yes(model.k_shift),
        "SelfExtend": _yes(model.self_extend),
        "KV cache": f"{_size(model.kv_cache_bytes)} at {model.context:,} tokens, F16",
    }
    for name, value in rows.items():
        facts.add_row(name, value)
    console = Console(highlight=False, soft_wrap=True)
    console.print(facts)
    if not model.training:
        return
    table = Table(title=f"training beside it, estimated, context {model.context:,}, bf16")
    for heading in ("rank", "adapter", "its file", "memory", "memory, recomputing layers"):
        table.add_column(heading, justify="right")
    for row in model.training:
        table.add_row(
            str(row.rank),
            f"{row.adapter_parameters / 1e6:,.1f} M",
            _size(row.adapter_file_bytes),
            _size(row.bytes),
            _size(row.bytes_checkpointed),
        )
    console.print(table)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _size(n_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"
