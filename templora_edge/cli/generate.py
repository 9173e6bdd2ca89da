"""`templora generate`."""

import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from templora_edge.cli.output import write
from templora_edge.cli.prompt import read_prompt
from templora_edge.config import MAX_SEED, KvPolicy, SamplingOptions, TrainDtype
from templora_edge.errors import OptionError

EXAMPLES = """Examples:

  templora generate -p "It was a dark night" -n 4096

  templora generate -m model.gguf -f novel.txt -n 20000 > more.txt

  templora generate -m model.gguf --chat -n 4000 < question.txt
"""


def generate(
    model: Annotated[
        Path | None,
        typer.Option("-m", "--model", metavar="FILE", help="GGUF model; default: the bundled one."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("-p", "--prompt", metavar="TEXT", help="Text to continue.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("-f", "--file", metavar="FILE", help="Read the prompt from FILE; - is stdin."),
    ] = None,
    n_predict: Annotated[
        int,
        typer.Option(
            "-n", "--n-predict", min=-1, metavar="N", help="Tokens to write; -1: until it ends."
        ),
    ] = -1,
    ctx_size: Annotated[
        int,
        typer.Option(
            "-c",
            "--ctx-size",
            min=0,
            metavar="N",
            help="Context in tokens (W); 0: the trained one, at most 4096.",
        ),
    ] = 0,
    threads: Annotated[
        int, typer.Option("-t", "--threads", min=0, metavar="N", help="Cores; 0: all physical.")
    ] = 0,
    threads_train: Annotated[
        int,
        typer.Option("--threads-train", min=0, metavar="N", help="Cores for training; 0: as -t."),
    ] = 0,
    batch_size: Annotated[
        int,
        typer.Option("-b", "--batch-size", min=1, metavar="N", help="Tokens decoded at a time."),
    ] = 512,
    seed: Annotated[
        int,
        typer.Option("-s", "--seed", min=-1, max=MAX_SEED, metavar="N", help="-1: a random one."),
    ] = -1,
    temp: Annotated[
        float, typer.Option("--temp", metavar="T", help="Temperature; 0: greedy.")
    ] = 0.8,
    top_k: Annotated[int, typer.Option("--top-k", metavar="N", help="0: off.")] = 40,
    top_p: Annotated[
        float, typer.Option("--top-p", min=0, max=1, metavar="P", help="1: off.")
    ] = 0.95,
    min_p: Annotated[
        float, typer.Option("--min-p", min=0, max=1, metavar="P", help="0: off.")
    ] = 0.05,
    repeat_penalty: Annotated[
        float,
        typer.Option("--repeat-penalty", metavar="X", help="Over the last 64 tokens; 1: off."),
    ] = 1.0,
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos", help="Never let the model end the text.")
    ] = False,
    block: Annotated[
        int | None,
        typer.Option(
            "--block", min=1, metavar="N", help="Tokens between two updates (Δ); default: c / 4."
        ),
    ] = None,
    prefix: Annotated[
        int | None,
        typer.Option(
            "--prefix",
            min=1,
            metavar="N",
            help="Tokens kept when the context is full (L_X); default: c - block.",
        ),
    ] = None,
    train_prefix: Annotated[
        int | None,
        typer.Option(
            "--train-prefix",
            min=0,
            metavar="N",
            help="Tokens before a block that its update sees (L_T); default: as --block.",
        ),
    ] = None,
    rank: Annotated[int, typer.Option("--rank", min=1, metavar="N", help="Of the adapter.")] = 64,
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", metavar="X", help="Adapter scale is alpha / rank; default: rank."),
    ] = None,
    learning_rate: Annotated[
        float,
        typer.Option("--learning-rate", metavar="X", help="Too much, and the text repeats itself."),
    ] = 5e-5,
    epochs: Annotated[
        int, typer.Option("--epochs", min=1, metavar="N", help="Training steps a block.")
    ] = 2,
    train_dtype: Annotated[
        TrainDtype,
        typer.Option("--train-dtype", help="Of training's products; auto: as measured."),
    ] = TrainDtype.AUTO,
    train_memory: Annotated[
        float | None,
        typer.Option(
            "--train-memory", metavar="GIB", help="Training may use; default: what is free."
        ),
    ] = None,
    kv_policy: Annotated[
        KvPolicy, typer.Option("--kv-policy", help="The KV cache at a swap and when it is full.")
    ] = KvPolicy.REUSE,
    no_templora: Annotated[
        bool, typer.Option("--no-templora", help="Generate without an adapter, on any model.")
    ] = False,
    adapter_out: Annotated[
        Path | None,
        typer.Option("--adapter-out", metavar="FILE", help="Keep the last adapter as a GGUF."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write a JSON report of every block."),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Wrap the prompt in the model's own chat template.")
    ] = False,
) -> None:
    """Write a long text; a temporary LoRA learns each finished block."""
    if prompt is not None and file is not None:
        raise typer.BadParameter("give -p or -f, not both")
    if no_templora and adapter_out is not None:
        raise OptionError("--adapter-out: --no-templora trains no adapter; drop one of the two")
    chosen_seed = secrets.randbelow(MAX_SEED + 1) if seed == -1 else seed
    sampling = SamplingOptions(
        temp, top_k, top_p, min_p, repeat_penalty, seed=chosen_seed, ignore_eos=ignore_eos
    )
    text_in = read_prompt(prompt, file)

    from templora_edge.cli.progress import GenerateProgress
    from templora_edge.loop import BlockReport
    from templora_edge.session import Absorbed, TempLora
    from templora_edge.tasks.generate import GenerateJob
    from templora_edge.tasks.generate import generate as run

    limit = None if n_predict == -1 else n_predict
    job = GenerateJob(text_in, limit, sampling, chat, adapter_out, report)
    job.check_outputs()
    with (
        TempLora(
            model,
            n_ctx=ctx_size,
            block_len=block,
            prefix_len=prefix,
            train_prefix_len=train_prefix,
            kv_policy=kv_policy,
            templora=not no_templora,
            rank=rank,
            alpha=alpha,
            learning_rate=learning_rate,
            epochs=epochs,
            n_batch=batch_size,
            n_threads=threads,
            n_threads_train=threads_train,
            train_dtype=train_dtype,
            train_memory_bytes=None if train_memory is None else int(train_memory * 2**30),
            seed=chosen_seed,
        ) as text,
        GenerateProgress(limit, text.block_options.block_len) as progress,
    ):
        for event in run(text, job):
            match event:
                case Absorbed():
                    progress.on_absorbed(event)
                case BlockReport():
                    progress.on_block(event)
                case _:
                    write(event.text)
                    progress.on_piece(event)
        write("\n")
        summary = progress.summary()
    print(f"{summary}; seed {chosen_seed}", file=sys.stderr)  # noqa: T201


generate.__doc__ = f"{generate.__doc__}\n\n\b\n{EXAMPLES}"
