"""Long generation as a job: a prompt in, a text and a report out."""

import platform
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from templora_edge.errors import OutputError
from templora_edge.events import Absorbed, BlockReport, Piece
from templora_edge.host.files import replacing
from templora_edge.host.json_text import to_json
from templora_edge.options import SamplingOptions
from templora_edge.session import TempLora

_PACKAGES: Final = (
    "templora-edge", "llama-cpp-python", "gguf", "torch", "peft", "transformers", "numpy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GenerateJob:
    """One run of long generation."""

    prompt: str
    n_predict: int | None
    """Number of tokens to generate; None is until the model ends the text."""
    sampling: SamplingOptions
    chat: bool = False
    special: bool = False
    """Whether control tokens in the prompt are parsed as such."""
    notes: str | None = None
    """Names and facts at the head of every window."""
    stop: tuple[str, ...] = ()
    """Texts before any of which the text ends."""
    chapters: int | None = None
    """Number of chapters after which the text ends."""
    adapter_out: Path | None = None
    report: Path | None = None


def generate(text: TempLora, job: GenerateJob) -> Iterator[Absorbed | Piece | BlockReport]:
    """Run ``job`` on a fresh ``text``, yielding its events as they come.

    The report covers the blocks that were finished, and is written however the run ends.

    Raises:
        OutputError: a result cannot be written.
        TemploraError: generation failed; see `TempLora.stream`.
    """
    started = time.perf_counter()
    finished = False
    n_tokens = 0
    try:
        for event in text.stream(
            job.prompt,
            n_predict=job.n_predict,
            sampling=job.sampling,
            chat=job.chat,
            special=job.special,
            notes=job.notes,
            stop=job.stop,
            chapters=job.chapters,
        ):
            n_tokens += isinstance(event, Piece) and event.token is not None
            yield event
        if job.adapter_out is not None:
            text.save_adapter(job.adapter_out)
        finished = True
    finally:
        if job.report is not None:
            seconds = time.perf_counter() - started
            content = _report(text, job, n_tokens, seconds, finished)
            # a failed report must not hide the error that ended the run
            with suppress(*(() if finished else (OutputError,))):
                _write_report(job.report, content)


def _report(
    text: TempLora, job: GenerateJob, n_tokens: int, seconds: float, finished: bool
) -> dict[str, Any]:
    return {
        "settings": text.options.settings()
        | {"n_predict": job.n_predict, "chat": job.chat, "special": job.special}
        | {"notes": job.notes, "stop": job.stop, "chapters": job.chapters}
        | {"sampling": asdict(job.sampling)},
        "versions": {name: version(name) for name in _PACKAGES}
        | {"python": platform.python_version(), "platform": platform.platform()},
        "model": {
            "path": str(text.base.path),
            "sha256": text.base.sha256(),
            "parameters": text.base.n_params,
        },
        "blocks": [asdict(block) for block in text.blocks],
        "total": {
            "tokens": n_tokens,
            "seconds": seconds,
            "peak_rss_bytes": text.peak_rss_bytes,
            "finished": finished,
            "ended_by": text.ended_by,
        },
    }


def _write_report(path: Path, report: dict[str, Any]) -> None:
    with replacing(path, "--report") as temporary:
        temporary.write_text(to_json(report), encoding="utf-8")
