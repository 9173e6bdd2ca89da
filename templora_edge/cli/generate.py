"""`templora generate`: write a long text."""

import secrets
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
from templora_edge.cli.prompt import path_of, read_prompt, read_text
from templora_edge.cli.screen import SCREEN
from templora_edge.errors import OptionError
from templora_edge.host.files import check_outputs
from templora_edge.options import MAX_SEED, SamplingOptions

EXAMPLES: Final = (
    'templora generate -p "It was a dark night" -n 4096',
    "templora generate -m model.gguf -f novel.txt -n 20000 > more.txt",
    "templora generate -m model.gguf -f novel.txt --notes names.txt --chapters 1 > chapter.txt",
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
    notes: Annotated[
        str | None,
        typer.Option(
            "--notes",
            metavar="FILE",
            help="Names and facts that stand at the head of every window, without being part of "
            "the text; - is stdin.",
        ),
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            "--stop",
            metavar="TEXT",
            help="End the text before TEXT would be written; may be repeated.",
        ),
    ] = None,
    chapters: Annotated[
        int | None,
        typer.Option(
            "--chapters",
            min=1,
            metavar="N",
            help="End the text after N chapters, before the heading of the next one.",
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
    force: Force = False,
) -> None:
    """Write a long text, training a temporary LoRA on it block by block."""
    if prompt is not None and file is not None:
        raise typer.BadParameter("give -p or -f, not both")
    options = flags.options
    if not options.templora and adapter_out is not None:
        raise OptionError("--adapter-out: --no-templora trains no adapter; drop one of the two")
    chosen_seed = secrets.randbelow(MAX_SEED + 1) if seed == -1 else seed
    if notes == "-" and prompt is None and file in (None, "-"):
        raise OptionError("--notes -: stdin is the prompt; give one of the two as a file")
    text_in = read_prompt(prompt, file)
    known = None if notes is None else read_text(notes, f"--notes {notes}")
    inputs = [
        ("-f", None if prompt is not None else path_of(file)),
        ("--notes", None if notes is None else path_of(notes)),
    ]
    check_outputs(
        [("--adapter-out", adapter_out), ("--report", report)],
        [*flags.inputs(BUNDLED_MODEL), *inputs],
        force=force,
    )

    from templora_edge.cli.interrupts import gentle_interrupts
    from templora_edge.cli.progress import GenerateProgress, show_beginning

    show_beginning()
    from templora_edge.events import Absorbed, BlockReport
    from templora_edge.generation import GenerateJob
    from templora_edge.generation import generate as run
    from templora_edge.session import TempLora

    limit = None if n_predict == -1 else n_predict
    sampling = sampling.changed(seed=chosen_seed)
    options = options.changed(seed=chosen_seed, measure_after=report is not None, scores=False)
    job = GenerateJob(
        text_in,
        limit,
        sampling,
        chat,
        special,
        known,
        tuple(stop or ()),
        chapters,
        adapter_out,
        report,
    )
    with (
        TempLora(flags.model, options) as text,
        GenerateProgress(limit, text.options.blocks.block_len) as progress,
        gentle_interrupts(text.finish_sentence),
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
    SCREEN.say(f"{summary}; seed {chosen_seed}")
