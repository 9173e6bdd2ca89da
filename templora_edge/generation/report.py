"""The report of a generation."""

from dataclasses import asdict
from typing import Any

from templora_edge.generation.generate_job import GenerateJob
from templora_edge.provenance import identity, versions
from templora_edge.session import TempLora


def report_of(
    text: TempLora, job: GenerateJob, *, n_tokens: int, seconds: float, finished: bool
) -> dict[str, Any]:
    """Settings, versions, model, blocks and totals, ready for JSON.

    Args:
        text: the session.
        job: what was asked for.
        n_tokens: tokens that were generated.
        seconds: what that took.
        finished: whether the run came to its end.
    """
    before, texts = text.block_texts()
    return {
        "settings": text.options.settings()
        | {"n_predict": job.n_predict, "chat": job.chat, "special": job.special}
        | {"sampling": asdict(job.sampling)}
        | text.devices,
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
