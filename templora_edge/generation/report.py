"""The report of a generation."""

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Final

from templora_edge.generation.generate_job import GenerateJob
from templora_edge.session import TempLora

_PACKAGES: Final = (
    "templora-edge", "llama-cpp-python", "gguf", "torch", "peft", "transformers", "numpy",
)  # fmt: skip


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
    return {
        "settings": text.options.settings()
        | {"n_predict": job.n_predict, "chat": job.chat, "special": job.special}
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
        },
    }
