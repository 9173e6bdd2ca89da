"""`templora bench`: measure what writing and learning cost on this machine."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from templora_edge.cli.examples import with_examples
from templora_edge.cli.options import SessionFlags, takes_session_flags
from templora_edge.cli.output import size, write, write_facts
from templora_edge.cli.screen import SCREEN
from templora_edge.host.json_text import to_json

if TYPE_CHECKING:
    from templora_edge.evaluation.costs import BenchResult

EXAMPLES: Final = (
    "templora bench",
    "templora bench -m model.gguf -c 1024 --block 256 --preset paper",
    "templora bench -m model.gguf -t 2 --json > bench.json",
)


@with_examples(*EXAMPLES)
@takes_session_flags
def bench(
    flags: SessionFlags,
    repetitions: Annotated[
        int,
        typer.Option(
            "-r", "--repetitions", min=1, metavar="N", help="Repetitions; medians are reported."
        ),
    ] = 3,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one line of JSON.")
    ] = False,
) -> None:
    """Measure speed and memory of writing and learning on this machine.

    No text is needed: the beginning is random tokens, and the model goes on from there. Everything
    that it writes is learned, at the paper's rate unless --own-learning-rate is given.
    """
    from templora_edge.cli.progress import show_beginning

    show_beginning()
    from templora_edge.evaluation.bench import Bench, BenchJob

    measurement = Bench(BenchJob(flags.model, flags.options, repetitions))
    try:
        for step in measurement:
            SCREEN.show(step, force=True)
    finally:
        SCREEN.clear()
    if as_json:
        write(to_json(asdict(measurement.result), indent=None))
    else:
        _print(measurement.result)


def _print(result: "BenchResult") -> None:
    engine, loop, update = result.engine, result.loop, result.update
    machine, model = result.machine, result.model
    rows = {
        "model": f"{model['path']} ({model['architecture']}, {model['parameters'] / 1e6:,.1f} M "
        f"parameters, {size(model['file_bytes'])})",
        "threads": f"{machine['threads']}, for training {machine['threads_train']}",
        "device": f"{machine['gpu'] or 'cpu'}, for training {machine['train_device']}",
        "start": f"{result.start_s:.2f} s",
        "prefill": f"{engine.prefill_tokens_per_s:,.1f} tokens/s ({engine.prefill_tokens} tokens)",
        "decode": f"{engine.decode_tokens_per_s:,.1f} tokens/s",
    }
    if engine.adapter_decode_ratio is not None:
        rows["decode with adapter"] = (
            f"{engine.adapter_decode_tokens_per_s:,.1f} tokens/s "
            f"({100 * engine.adapter_decode_ratio:.1f} % of decode without)"
        )
    rows["write a block"] = f"{loop.write_s:.2f} s ({loop.block_tokens} tokens)"
    if update is not None:
        rows["learn a block"] = (
            f"{update.train_s:.2f} s, {update.train_to_write:.2f} of writing it "
            f"({update.prefix_tokens} tokens before it)"
        )
        rows["arithmetic"] = (
            f"{update.flop / 1e9:,.1f} GFLOP, {update.flop_per_s / 1e9:,.1f} GFLOP/s; matrix "
            f"products reach {update.gemm_flop_per_s / 1e9:,.1f} ({update.dtype}): "
            f"{100 * update.gemm_share:.0f} %"
        )
        rows["swap"] = (
            f"export {1000 * update.export_s:.0f} ms, load and set {1000 * update.swap_s:.0f} ms "
            f"(loading alone {1000 * update.load_s:.0f} ms)"
        )
    rows["write and learn"] = f"{loop.tokens_per_s:,.1f} tokens/s"
    for name, used in result.memory.items():
        rows[f"memory of the process that {name}s"] = (
            f"{size(used.private_peak_bytes)} private at most, {size(used.resident_bytes)} with "
            "mapped pages"
        )
    if result.without_templora is not None:
        rows["Temp-LoRA"] = f"not measured: {result.without_templora}"
    write_facts(rows)
