"""`templora models`: list the models in the caches."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from templora_edge.cli.examples import with_examples
from templora_edge.cli.output import size, write
from templora_edge.cli.screen import SCREEN
from templora_edge.host.json_text import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from templora_edge.models.hub.cached_models import CachedModel


@with_examples("templora models", "templora models --json")
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the models that -hf finds in the cache, and whether Temp-LoRA applies to them."""
    from templora_edge.models.hub.cache import cache_folders
    from templora_edge.models.hub.cached_models import cached_models

    found = list(cached_models())
    if as_json:
        write(to_json([asdict(one) for one in found]))
    elif found:
        _print(found)
    else:
        folders = " or ".join(map(str, cache_folders()))
        SCREEN.say(f"no models in {folders}; templora generate -hf USER/REPO downloads one")


def _print(found: "Sequence[CachedModel]") -> None:
    rows = [("-hf", "size", "architecture", "Temp-LoRA", "path")]
    for one in found:
        name = one.name if one.file is None else f"{one.name} -hff {one.file}"
        applies = "yes" if one.templora else "no" if one.architecture else "unusable"
        rows.append((name, size(one.file_bytes), one.architecture, applies, one.path))
    # wider than a terminal: rich would cut the paths
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        write("  ".join(cells).rstrip() + "\n")
