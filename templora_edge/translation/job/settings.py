"""The settings of a job, and which of them a later run may change."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from templora_edge.job_store.settings import Settings, changed_names, digest
from templora_edge.options import LoraOptions
from templora_edge.translation.job.translate_job import TranslateJob
from templora_edge.translation.prompt import Pair
from templora_edge.translation.store.store import Learned

if TYPE_CHECKING:
    from templora_edge.session import TempLora


class Until(Enum):
    """How long a setting may change."""

    END = auto()
    """Always: it shapes the segments to come alone."""
    REFERENCES_LEARNED = auto()
    LEARNED = auto()
    """Until anything was learned, which depends on it."""


MAY_CHANGE: Final[Mapping[str, Until]] = {
    **dict.fromkeys(
        (
            *(
                "source",
                "sampling",
                "glossary",
                "names",
                "memory",
                "earlier",
                "prompt_template",
                "review",
            ),
            *(
                "n_ctx",
                "prefix_len",
                "n_threads",
                "n_batch",
                "type_k",
                "type_v",
                "flash_attn",
                "n_gpu_layers",
                "repack",
            ),
        ),
        Until.END,
    ),
    "references": Until.REFERENCES_LEARNED,
    **dict.fromkeys(
        ("templora", "block_len", "train_prefix_len", *(one.name for one in fields(LoraOptions))),
        Until.LEARNED,
    ),
}
"""Settings that a run may change; no run may change others."""


def settings_of(job: TranslateJob, session: "TempLora") -> dict[str, Any]:
    """All that a translation depends on, ready for JSON."""
    options = session.options
    settings = {
        "source": digest(job.source),
        "model": session.base.sha256(),
        "languages": asdict(job.languages),
        "sampling": asdict(job.sampling),
        "prompt_template": digest(job.prompt_template),
        "references": digest(job.references),
        "glossary": digest(job.glossary),
        "names": [[pair.source, pair.translation] for pair in job.names],
        "memory": digest(job.memory),
        "earlier": _digest_of(job.earlier),
        "adapter": digest(options.training.adapter),
        "review": job.review is not None,
        **options.settings(),
        "lora": [[digest(one.path), one.scale] for one in options.engine.lora] or None,
    }
    found: dict[str, Any] = json.loads(json.dumps(settings))
    return found


def changes(before: Settings, now: Settings, learned: Learned) -> tuple[list[str], list[str]]:
    """Names of the settings that a run takes up, and of those that it must not change.

    Args:
        before: settings of the last run.
        now: settings of this one.
        learned: what the state of training, if there is any, has learned.
    """
    over = {Until.REFERENCES_LEARNED} if learned.references else set()
    over |= {Until.LEARNED} if learned != Learned() else set()
    fixed = {name for name in now if MAY_CHANGE.get(name) in (None, *over)}
    changed = changed_names(before, now)
    taken_up = [name for name in changed if name not in fixed]
    return taken_up, [name for name in changed if name in fixed]


def _digest_of(pairs: Sequence[Pair]) -> str | None:
    """SHA-256 of ``pairs``; None of none."""
    texts = json.dumps([[pair.source, pair.translation] for pair in pairs])
    return hashlib.sha256(texts.encode()).hexdigest() if pairs else None
