"""The settings of a job, and which of them a later run may change."""

import hashlib
import json
from dataclasses import asdict
from typing import Any, Final

from templora_edge.generation.generate_job import GenerateJob
from templora_edge.job_store.settings import Settings, changed_names, digest
from templora_edge.session import TempLora

MAY_CHANGE: Final = frozenset({"n_threads", "n_batch", "n_gpu_layers", "repack"})
"""Settings that shape how the text to come is computed, not what it is."""


def settings_of(job: GenerateJob, session: TempLora) -> dict[str, Any]:
    """All that the text depends on, ready for JSON."""
    options = session.options
    settings = {
        "prompt": hashlib.sha256(job.prompt.encode()).hexdigest(),
        "chat": job.chat,
        "special": job.special,
        "notes": hashlib.sha256(job.notes.encode()).hexdigest() if job.notes else None,
        "stop": job.stop or None,
        "model": session.base.sha256(),
        **asdict(job.sampling),
        **options.settings(),
        "adapter": digest(options.training.adapter),
        "lora": [[digest(one.path), one.scale] for one in options.engine.lora] or None,
        "overlap": options.training.overlap,
        "train_dtype": options.training.train_dtype,
    }
    found: dict[str, Any] = json.loads(json.dumps(settings))
    return found


def changes(before: Settings, now: Settings) -> tuple[list[str], list[str]]:
    """Names of the settings that a run takes up, and of those that it must not change."""
    names = changed_names(before, now)
    return (
        [name for name in names if name in MAY_CHANGE],
        [name for name in names if name not in MAY_CHANGE],
    )
