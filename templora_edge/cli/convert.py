"""`templora convert`: convert checkpoints and adapters to GGUF."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from templora_edge.cli.command import Command
from templora_edge.cli.examples import with_examples
from templora_edge.cli.model import ModelFlags
from templora_edge.cli.options import Force, takes_model_flags
from templora_edge.host.files import check_outputs

convert_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


class BaseType(StrEnum):
    """Data types of a base's matrices."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"
    Q5_1 = "q5_1"
    Q5_0 = "q5_0"
    Q4_1 = "q4_1"
    Q4_0 = "q4_0"


@convert_app.callback()
def convert() -> None:
    """Convert a Hugging Face checkpoint or a PEFT adapter to GGUF."""


_BASE: Final = Annotated[
    Path | None,
    typer.Option(
        "-m",
        "--model",
        metavar="FILE",
        help="Base GGUF; default: the base named in the adapter's config.",
    ),
]


@convert_app.command(cls=Command)
@with_examples("templora convert lora my-adapter my-adapter.gguf -m base.gguf")
@takes_model_flags(_BASE)
def lora(
    peft_dir: Annotated[Path, typer.Argument(help="Folder of an adapter saved by PEFT.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.gguf", help="GGUF adapter to write.")],
    *,
    model: ModelFlags,
    force: Force = False,
) -> None:
    """Convert a PEFT LoRA to a GGUF adapter for llama.cpp."""
    from templora_converters.peft_config import PeftConfig
    from templora_converters.peft_to_gguf import convert as convert_lora

    named = PeftConfig(peft_dir).base
    inputs = [("PEFT_DIR", peft_dir), *model.inputs(Path(named) if named else None)]
    check_outputs([("OUT.gguf", out)], inputs, force=force)
    convert_lora(peft_dir, out, model.path)


@convert_app.command(cls=Command)
@with_examples("templora convert base my-llama my-llama-q8_0.gguf --type q8_0")
def base(
    hf_dir: Annotated[Path, typer.Argument(help="Llama-family Hugging Face checkpoint.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.gguf", help="GGUF model to write.")],
    file_type: Annotated[
        BaseType, typer.Option("--type", help="Data type of the matrices; vectors stay f32.")
    ] = BaseType.F16,
    force: Force = False,
) -> None:
    """Convert a Llama-family checkpoint to a base GGUF."""
    from templora_converters.hf_to_gguf import convert as convert_base

    check_outputs([("OUT.gguf", out)], [("HF_DIR", hf_dir)], force=force)
    convert_base(hf_dir, out, file_type.value)
