"""Streaming perplexity: texts scored by the loop, with the base alone and with Temp-LoRA.

Both sides score the same tokens in one run, taking turns block by block; a block is scored before
the adapter learns it. Each text starts with a fresh adapter. What a file of `BaseScores` holds is
not scored with the base again.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import Model
from templora_edge.errors import PromptError
from templora_edge.evaluation.base_scores import BaseScores, Source, digest, source_of
from templora_edge.evaluation.metrics import Comparison, between
from templora_edge.evaluation.protocols import block_sizes, scored_blocks
from templora_edge.events import BlockReport
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.options import Options, ScoringProtocol
from templora_edge.provenance import identity, versions
from templora_edge.score import Score
from templora_edge.session import TempLora

MAX_POINTS: Final = 40
"""Most points of a curve."""
BLOCKS_A_POINT: Final = 4
"""Fewest blocks per point of a curve: fewer would say little about the spread."""

Nll = list[tuple[float, ...]]
"""Per-token NLL in nats, one tuple per block."""


@dataclass(frozen=True, slots=True)
class NamedText:
    """A text to score, and its name in results."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class PerplexityJob:
    """Texts to score; without ``options.templora``, with the base alone."""

    texts: tuple[NamedText, ...]
    model: Path | None = None
    options: Options = field(default_factory=Options)
    max_tokens: int | None = None
    """Most tokens to score of each text; None is all."""
    n_buckets: int = 4
    """Number of equal ranges of positions into which the longest text is cut; all texts share
    these ranges."""
    protocol: ScoringProtocol = ScoringProtocol.STREAM
    base_scores: Path | None = None
    """File that keeps the base's scores: those of the same text, model and options are read from
    it, others are added to it."""


@dataclass(slots=True)
class _TextRun:
    name: str
    tokens: list[int]
    digest: str
    """Digest of the whole text, of which ``tokens`` may be only the beginning."""
    sizes: list[int]
    """Number of scored tokens of each block."""
    base_read: bool = False
    """Whether the base's scores were read from a file."""
    base: Nll = field(default_factory=list)
    templora: Nll = field(default_factory=list)
    reports: tuple[BlockReport, ...] = ()
    block_texts: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_rss_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TokensDone:
    """Progress: ``done`` of the ``total`` tokens of all texts are scored by both sides."""

    done: int
    total: int


class PerplexityRun:
    """A run of a job: iterate to score the texts; `result` may be called at any time.

    Raises:
        PromptError: a text is too short to be scored.
        ModelFileError: the model cannot be loaded.
        JobError: the file of base scores holds something else.
    """

    def __init__(self, job: PerplexityJob) -> None:
        self.job = job
        self._kept = None if job.base_scores is None else BaseScores(job.base_scores)
        self._base = base = BaseGguf(job.model or BUNDLED_MODEL)
        self.options = job.options.resolve(base)
        with Model(base.path) as model:
            n_ctx, n_head = self.options.engine.n_ctx, len(model.vocab.head)
            self._texts = []
            for text in job.texts:
                whole = model.vocab.tokenize(text.text)
                tokens = whole[: job.max_tokens]
                self._check(text, n_head + len(tokens), n_ctx)
                sizes = block_sizes(len(tokens), n_head, self.options.blocks, job.protocol)
                self._texts.append(_TextRun(text.name, tokens, digest(whole), sizes))
        self._source: Source = {}
        if self._kept is not None:
            self._source = source_of(base, self.options, job.protocol)

    def __iter__(self) -> Iterator[TokensDone]:
        """Score the texts block by block.

        Raises:
            TemploraError: scoring failed; see `TempLora`.
        """
        total = sum(len(text.tokens) for text in self._texts)
        before = 0
        yield TokensDone(0, total)
        for text in self._texts:
            for done in self._score(text):
                yield TokensDone(before + done, total)
            before += len(text.tokens)

    def result(self) -> dict[str, Any]:
        """Results so far, of the texts that were begun, ready for JSON."""
        begun = [text for text in self._texts if text.base]
        width = self.bucket_width
        phases = begun[0].seconds if begun else {}
        seconds = {phase: sum(text.seconds.get(phase, 0) for text in begun) for phase in phases}
        return {
            "files": [
                {"file": text.name}
                | _figures([text])
                | {"buckets": _buckets([text], width, self.job.n_buckets)}
                | {"base_scores": "read" if text.base_read else "computed"}
                | {"seconds": text.seconds, "peak_rss_bytes": text.peak_rss_bytes}
                for text in begun
            ],
            "total": _figures(begun)
            | {"buckets": _buckets(begun, width, self.job.n_buckets)}
            | {"seconds": seconds}
            | {"peak_rss_bytes": max((text.peak_rss_bytes for text in begun), default=0)},
            "settings": self.options.settings() | {"protocol": self.job.protocol},
        }

    def report(self) -> dict[str, Any]:
        """`result` with all blocks, each with its text, and with what it was made with."""
        result = self.result()
        begun = [text for text in self._texts if text.base]
        for file, text in zip(result["files"], begun, strict=True):
            file["blocks"] = _blocks(text)
        return result | {"versions": versions(), "model": identity(self._base)}

    def curve(self) -> list[dict[str, Any]]:
        """The total by position, finer than the buckets, with several blocks per point."""
        longest = max(len(text.tokens) for text in self._texts)
        width = max(-(-longest // MAX_POINTS), BLOCKS_A_POINT * self.options.blocks.block_len)
        return _buckets(self._texts, width, -(-longest // width))

    @property
    def bucket_width(self) -> int:
        """Tokens per bucket."""
        return -(-max(len(text.tokens) for text in self._texts) // self.job.n_buckets)

    def _check(self, text: NamedText, n_tokens: int, n_ctx: int) -> None:
        if not text.text:
            raise PromptError(f"{text.name}: empty; expected some text to score")
        if self.job.protocol is ScoringProtocol.LLAMA_PERPLEXITY and n_tokens < 2 * n_ctx:
            raise PromptError(
                f"{text.name}: {n_tokens} tokens; --protocol llama-perplexity needs two windows, "
                f"{2 * n_ctx} tokens; give a longer text or lower -c"
            )

    def _score(self, text: _TextRun) -> Iterator[int]:
        """Score one text, yielding the number of its tokens done so far."""
        begun = time.perf_counter()
        with ExitStack() as stack:
            sides: list[tuple[Nll, Iterator[tuple[float, ...]]]] = []
            sessions: list[TempLora] = []
            options = self.job.options.changed(measure_after=False)
            wanted = []
            if (known := self._known(text)) is None:
                wanted.append((options.changed(templora=False, adapter=None), text.base))
            else:
                text.base_read, text.seconds["score_base"] = True, 0.0
                sides.append((text.base, known))
            if options.templora:
                wanted.append((options, text.templora))
            for chosen, scored in wanted:
                session = TempLora(self.job.model, chosen)
                sessions.append(stack.enter_context(session))
                self.options = session.options
                blocks = scored_blocks(session, text.tokens, self.job.protocol)
                sides.append((scored, (block.nll for block in blocks)))
            text.seconds["load"] = time.perf_counter() - begun
            try:
                for nlls in zip(*(blocks for _, blocks in sides), strict=True):
                    for (scored, _), nll in zip(sides, nlls, strict=True):
                        scored.append(nll)
                    yield sessions[0].n_tokens if sessions else len(text.tokens)
            finally:  # also when the caller stops iterating
                for session in sessions:
                    _account(text, session)
        if self._kept is not None and not text.base_read:
            self._kept.add(self._source_of(text), list(chain.from_iterable(text.base)))

    def _known(self, text: _TextRun) -> Iterator[tuple[float, ...]] | None:
        """The base's score of each block, if the file of base scores has them all."""
        if self._kept is None:
            return None
        nll = self._kept.find(self._source_of(text), sum(text.sizes))
        if nll is None:
            return None
        rest = iter(nll)
        return (tuple(islice(rest, size)) for size in text.sizes)

    def _source_of(self, text: _TextRun) -> Source:
        return {"text": text.digest} | self._source


def _account(text: _TextRun, session: TempLora) -> None:
    side = "templora" if session.options.templora else "base"
    blocks = session.blocks
    text.seconds[f"score_{side}"] = sum(block.generate_s for block in blocks)
    if session.options.templora:
        for step in ("train", "convert", "swap"):
            text.seconds[step] = sum(getattr(block, f"{step}_s") for block in blocks)
    text.reports, (_, text.block_texts) = blocks, session.block_texts()
    text.peak_rss_bytes = max(text.peak_rss_bytes, session.peak_rss_bytes)


def _blocks(text: _TextRun) -> list[dict[str, Any]]:
    """Reports of the blocks with text and losses; those of the base if nothing was learned."""

    def loss(nll: Nll, index: int) -> float | None:
        return fmean(nll[index]) if index < len(nll) and nll[index] else None

    return [
        asdict(report)
        | {"text": words}
        | {"base_loss": loss(text.base, index), "loss": loss(text.templora, index)}
        for index, (report, words) in enumerate(zip(text.reports, text.block_texts, strict=True))
    ]


def _figures(texts: list[_TextRun], begin: int = 0, end: int | None = None) -> dict[str, Any]:
    """Figures of both sides at positions in ``[begin, end)`` of ``texts``, as far as both got."""
    base, templora = Score((), ()), Score((), ())
    both = any(text.templora for text in texts)
    for text in texts:
        n_blocks = min(len(text.base), len(text.templora)) if both else len(text.base)
        stop = sum(map(len, text.base)) if end is None else end
        base += Score.of(between(text.base[:n_blocks], begin, stop))
        templora += Score.of(between(text.templora[:n_blocks], begin, stop))
    comparison = Comparison(base, templora) if both else None
    return {
        "tokens": base.n_tokens,
        "base": _score_figures(base),
        "templora": _score_figures(templora) if both else None,
        "change_percent": comparison.change_percent if comparison else None,
        "change_percent_se": comparison.change_percent_se if comparison else None,
    }


def _score_figures(score: Score) -> dict[str, float | None]:
    if not score.n_tokens:
        return {"ppl": None, "ppl_block_mean": None, "nll": 0.0}
    return {
        "ppl": score.ppl,
        "ppl_block_mean": score.ppl_block_mean,
        "nll": sum(score.nll),
    }


def _buckets(texts: list[_TextRun], width: int, n_buckets: int) -> list[dict[str, Any]]:
    longest = max((len(text.tokens) for text in texts), default=0)
    n_buckets = min(n_buckets, -(-longest // width))
    ranges = [(index * width, (index + 1) * width) for index in range(n_buckets)]
    return [
        {"begin": begin, "end": end} | figures
        for begin, end in ranges
        if (figures := _figures(texts, begin, end))["tokens"]
    ]
