"""The output of `templora info --machine`: this machine, and the memory that models need on it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from templora_edge.cli.output import size, write, write_facts, write_table
from templora_edge.host.json_text import to_json

if TYPE_CHECKING:
    from templora_edge.evaluation.machine import Machine, MemoryNeed


def show_machine(path: Path | None, *, as_json: bool) -> None:
    """Write what this machine is, and the memory that the model at ``path`` needs on it.

    Args:
        path: a model; None: models of usual sizes.
        as_json: whether to write JSON.

    Raises:
        ModelFileError: ``path`` is no model.
        UnsupportedModelError: Temp-LoRA cannot train the model.
    """
    from templora_edge.evaluation.machine import Machine, memory_needs, usual_needs
    from templora_edge.models.base_gguf import BaseGguf

    needs = usual_needs() if path is None else memory_needs(BaseGguf(path))
    machine = Machine.here()
    if as_json:
        free, precision = machine.memory_available_bytes, machine.torch.precision
        models = [asdict(need) | {"fits": need.fit(free, precision)} for need in needs]
        write(to_json(asdict(machine) | {"models": models}))
    else:
        _print_machine(machine)
        _print_needs(needs, machine)


def _print_machine(machine: "Machine") -> None:
    rows = {"system": machine.system}
    if machine.board:
        rows["board"] = machine.board
    rows |= {
        "cores": f"{machine.cores}; {machine.threads} threads by default",
        "memory": f"{size(machine.memory_available_bytes)} available",
        f"llama.cpp ({machine.llama_cpp.version})": ", ".join(machine.llama_cpp.features),
        f"torch ({machine.torch.version})": ", ".join(machine.torch.instructions),
        "training": f"matrix products in {machine.torch.precision}",
    }
    for device in machine.llama_cpp.devices:
        rows[f"device {device.name}"] = (
            f"{device.description} ({device.kind}, {size(device.memory_bytes)})"
        )
    write_facts(rows)


def _print_needs(needs: "Sequence[MemoryNeed]", machine: "Machine") -> None:
    from rich.table import Table

    precisions = list(needs[0].training)
    write(
        f"\nEstimated memory in GiB. {' and '.join(precisions)}: both processes in all, by the "
        "precision of training; the\nlesser number if training recomputes layers, as it does where "
        "memory is short.\n\n"
    )
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("model", overflow="fold")
    for heading in ("W", "weights", "generating", *precisions):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("fits here", no_wrap=True)
    for need in needs:
        totals = [
            [_gib(need.total(one, recomputing=recomputing)) for recomputing in (True, False)]
            for one in precisions
        ]
        table.add_row(
            need.model,
            f"{need.n_ctx:,}",
            _gib(need.weights_bytes),
            _gib(need.generating_bytes),
            *(f"{least} to {most}" for least, most in totals),
            need.fit(machine.memory_available_bytes, machine.torch.precision),
        )
    write_table(table)


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f}"
