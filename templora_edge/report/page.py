"""The page of a report: one HTML file that needs nothing else."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from templora_edge.report.facts import columns_of, flat, tiles_of
from templora_edge.report.figures import figures_of
from templora_edge.report.run import Block, Report, TextRun

_FOLDER: Final = Path(__file__).parent / "templates"
_NOT_IN_HTML: Final = re.compile(
    r"[\0-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
"""Characters that an HTML file cannot hold."""


def to_html(report: Report) -> str:
    """The page of ``report``. What the report holds is text there, never markup."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"style": _style, "samples": _samples, "shades": _shades}
    style, script = ((_FOLDER / name).read_text("utf-8") for name in ("page.css", "page.js"))
    page = environment.get_template("page.html").render(
        title=_title(report),
        texts=[(run, tiles_of(run), figures_of(run), columns_of(run)) for run in report.texts],
        facts=[
            ("Settings", flat(report.settings)),
            ("Model", flat(report.model)),
            ("Versions", flat(report.versions)),
        ],
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}",
    )
    return _NOT_IN_HTML.sub("\N{REPLACEMENT CHARACTER}", page)


def _hash(code: str) -> str:
    """The hash of ``code`` in a content security policy, which alone may then run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def _title(report: Report) -> str:
    path = report.model.get("path")
    return Path(path).name.removesuffix(".gguf") if isinstance(path, str) else "A run"


def _style(block: Block, run: TextRun) -> str:
    """Classes of what stands for ``block``; in a text that is all given, that says nothing."""
    given = block.given and run.is_mixed
    kinds = {"given": given, "learned": block.learned, "looped": block.looped}
    return " ".join(kind for kind, applies in kinds.items() if applies)


def _shades(run: TextRun) -> list[tuple[str, str]]:
    """Classes of the shades behind a figure, and what they mean."""
    shades = [
        ("given", "given text", run.is_mixed),
        ("looped", "not learned: it loops", any(block.looped for block in run.blocks)),
    ]
    return [(style, meaning) for style, meaning, occurs in shades if occurs]


def _samples(run: TextRun) -> list[tuple[str, str]]:
    """Classes of the blocks of ``run``, and what they mean."""
    blocks = run.blocks
    samples = [
        ("given", "given text", run.is_mixed),
        ("written", "written by the model", run.is_mixed),
        ("block learned", "learned", any(block.learned for block in blocks)),
        ("block", "not learned", not all(block.learned or block.looped for block in blocks)),
        ("block looped", "not learned: it loops", any(block.looped for block in blocks)),
    ]
    return [(style, meaning) for style, meaning, occurs in samples if occurs]
