"""A command with short options of several letters, as in llama.cpp: -ctk, -gan."""

import re
from typing import Any, Final

from typer.core import TyperCommand, TyperOption

_SEVERAL_LETTERS: Final = re.compile(r"-[A-Za-z][A-Za-z-]+")
_GPU_LAYERS: Final = ("-ngl", "--gpu-layers", "--n-gpu-layers")
_FLASH_ATTENTION: Final = ("-fa", "--flash-attn")


class Command(TyperCommand):
    """Reads -n40 as -n 40, but not -ngl as -n gl; names an unknown option as it was given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reject options that this command does not have, then parse the rest."""
        takes_value: dict[str, bool] = {
            name: not option.is_flag
            for option in self.get_params(ctx)
            if isinstance(option, TyperOption)
            for name in (*option.opts, *option.secondary_opts)
        }
        rest = iter(args)
        for argument in rest:
            name = argument.partition("=")[0]
            if argument == "--":
                break
            if argument in takes_value:
                if takes_value[argument]:
                    next(rest, None)
            elif name in takes_value:  # -hf=NAME
                continue
            elif name in _GPU_LAYERS:
                ctx.fail(f"{name}: no GPU offload yet, it all runs on the CPU; leave {name} out")
            elif name in _FLASH_ATTENTION:
                ctx.fail(f"{name}: llama.cpp uses flash attention where it can; leave {name} out")
            elif _SEVERAL_LETTERS.fullmatch(name):
                short, value = name[:2], argument[2:]
                hint = f"; for the value {value!r} of {short}, write {short} {value}"
                ctx.fail(f"No such option: {name}{hint if takes_value.get(short) else ''}")
        return super().parse_args(ctx, args)
