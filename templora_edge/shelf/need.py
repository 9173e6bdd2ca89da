"""The memory that a process needs for a book."""

from typing import Final

from templora_edge.models.base_gguf import BaseGguf
from templora_edge.models.footprint import estimate
from templora_edge.models.heads import Heads
from templora_edge.models.info import KV_VALUE_BYTES
from templora_edge.options import Options, TextKind
from templora_edge.shelf.book import Work

PROCESS_BYTES: Final = 400 << 20
"""Private memory of Python, llama.cpp's buffers and a document."""
_TRAINING_VALUE_BYTES: Final = 4


def need_of(work: Work, base: BaseGguf, options: Options, *, learns_given: bool) -> int:
    """Private memory of one book in bytes; the model's pages are shared by all on a machine.

    Args:
        work: what is done with it.
        base: the model.
        options: options of the session, resolved or not.
        learns_given: whether there are texts to learn that the model did not write.

    Raises:
        OptionError: the options contradict each other or the model.
    """
    kind = TextKind.TRANSLATION if work is Work.TRANSLATE else TextKind.TEXT
    options = options.resolve(base, text=kind)
    n_caches = 2 if work is Work.PERPLEXITY else 1  # with and without an adapter
    cache = Heads.of(base).kv_bytes(options.engine.n_ctx, KV_VALUE_BYTES, KV_VALUE_BYTES)
    need = PROCESS_BYTES + n_caches * cache
    if options.templora and (learns_given or options.lora.own_learning_rate):
        need += estimate(
            base,
            options.lora,
            n_tokens=options.update_len,
            value_bytes=_TRAINING_VALUE_BYTES,
        ).total(checkpointing=False)
    return need
