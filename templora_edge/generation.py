"""Long generation as a job: a prompt in, a text and a report out."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from templora_edge.errors import OutputError
from templora_edge.events import Absorbed, BlockReport, Piece
from templora_edge.host.files import replacing
from templora_edge.host.json_text import to_json
from templora_edge.options import SamplingOptions
from templora_edge.provenance import identity, versions
from templora_edge.session import TempLora


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
    before, texts = text.block_texts()
    return {
        "settings": text.options.settings()
        | {"n_predict": job.n_predict, "chat": job.chat, "special": job.special}
        | {"sampling": asdict(job.sampling)},
        "versions": versions(),
        "model": identity(text.base),
        "before": before,
        "blocks": [
            asdict(block) | {"text": words} for block, words in zip(text.blocks, texts, strict=True)
        ],
        "total": {
            "tokens": n_tokens,
            "seconds": seconds,
            "peak_rss_bytes": text.peak_rss_bytes,
            "finished": finished,
        },
    }


def _write_report(path: Path, report: dict[str, Any]) -> None:
    with replacing(path, "--report") as temporary:
        temporary.write_text(to_json(report), encoding="utf-8")
