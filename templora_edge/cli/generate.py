"""`templora generate`: write a long text."""

from pathlib import Path
from typing import Annotated, Final

import typer

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.cli.examples import with_examples
from templora_edge.cli.options import (
    AdapterOut,
    Force,
    SessionFlags,
    takes_sampling_flags,
    takes_session_flags,
)
from templora_edge.cli.output import write
from templora_edge.cli.prompt import path_of, read_prompt
from templora_edge.cli.screen import SCREEN
from templora_edge.errors import OptionError
from templora_edge.options import MAX_SEED, SamplingOptions

EXAMPLES: Final = (
    'templora generate -p "It was a dark night" -n 4096',
    "templora generate -m model.gguf -f novel.txt -n 20000 -o more.txt",
    "templora generate -hf bartowski/Llama-3.2-1B-Instruct-GGUF --chat -n 4000 < question.txt",
)


@with_examples(*EXAMPLES)
@takes_session_flags
@takes_sampling_flags(defaults=SamplingOptions())
def generate(
    *,
    flags: SessionFlags,
    prompt: Annotated[
        str | None, typer.Option("-p", "--prompt", metavar="TEXT", help="Text to continue.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("-f", "--file", metavar="FILE", help="Read the prompt from FILE; - is stdin."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Write the text to FILE as it grows, instead of stdout; the same command goes on "
            "where it was stopped, with more tokens if -n is larger.",
        ),
    ] = None,
    n_predict: Annotated[
        int,
        typer.Option(
            "-n",
            "--n-predict",
            min=-1,
            metavar="N",
            help="Tokens to write; -1: until the model ends the text.",
        ),
    ] = -1,
    seed: Annotated[
        int,
        typer.Option(
            "-s",
            "--seed",
            min=-1,
            max=MAX_SEED,
            metavar="N",
            help="Random seed; -1: a new one for each run.",
        ),
    ] = -1,
    sampling: SamplingOptions,
    adapter_out: AdapterOut = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write a JSON report of all blocks."),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Wrap the prompt in the model's own chat template.")
    ] = False,
    special: Annotated[
        bool,
        typer.Option(
            "--special",
            help="Parse control tokens such as <|im_end|> in the prompt, as llama.cpp does; "
            "default: read them as text.",
        ),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard what earlier runs wrote to -o FILE.")
    ] = False,
    force: Force = False,
) -> None:
    """Write a long text, training a temporary LoRA on it block by block.

    With -o, every finished block is saved; run the same command again to continue where it stopped.
    """
    if prompt is not None and file is not None:
        raise typer.BadParameter("give -p or -f, not both")
    options = flags.options
    if not options.templora and adapter_out is not None:
        raise OptionError("--adapter-out: --no-templora trains no adapter; drop one of the two")
    if restart and out is None:
        raise OptionError("--restart: begins the text of -o FILE anew; give -o")
    text_in = read_prompt(prompt, file)
    from templora_edge.generation.outputs import Outputs

    outputs = Outputs(out, adapter_out, report)
    inputs = [*flags.inputs(BUNDLED_MODEL), ("-f", None if prompt is not None else path_of(file))]
    outputs.check(inputs, force=force)

    from templora_edge.cli.progress import GenerateProgress, show_beginning

    show_beginning()
    from templora_edge.events import Absorbed, BlockReport
    from templora_edge.generation.generate_job import GenerateJob
    from templora_edge.generation.generation import Generation

    job = GenerateJob(
        text_in,
        None if n_predict == -1 else n_predict,
        flags.model,
        options,
        sampling,
        None if seed == -1 else seed,
        chat,
        special,
        outputs,
        restart,
    )
    with (
        Generation(job) as generation,
        GenerateProgress(
            job.n_predict, generation.text.options.blocks.block_len, generation.n_written
        ) as progress,
    ):
        n_before = generation.n_written
        try:
            for event in generation:
                match event:
                    case Absorbed():
                        progress.on_absorbed(event)
                    case BlockReport():
                        progress.on_block(event)
                    case _:
                        if out is None:
                            write(event.text)
                        progress.on_piece(event)
        except KeyboardInterrupt:
            if out is not None:
                SCREEN.say(f"interrupted; {out} is kept, and the same command goes on with it")
            raise
        if out is None:
            write("\n")
        summary = f"{progress.summary()}; seed {generation.job.seed}"
        if out is not None:
            is_new = generation.n_written > n_before
            summary = f"{summary}; wrote {out}" if is_new else f"{out}: was finished already"
    SCREEN.say(summary)
