"""`TempLora`: one long text on one model. The Python API."""

import codecs
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from templora_edge import windows
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.closing import Closing
from templora_edge.engine import LlamaEngine
from templora_edge.engine.engine import default_threads
from templora_edge.errors import ModelFileError, OptionError, PromptError
from templora_edge.events import Absorbed, BlockReport, Piece, ScoredBlock
from templora_edge.host import memory
from templora_edge.host.files import replacing
from templora_edge.host.workspace import Workspace
from templora_edge.loop import TempLoraLoop
from templora_edge.models.adapter_file import AdapterFile
from templora_edge.models.families import family_of
from templora_edge.models.footprint import adapter_file_bytes
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.kept_adapter import KeptAdapter
from templora_edge.models.rope import Scaling
from templora_edge.options import (
    DEFAULT_MAX_CTX,
    BlockOptions,
    EngineOptions,
    FixedAdapter,
    KvPolicy,
    KvType,
    LoraOptions,
    SamplingOptions,
    Targets,
    TrainDtype,
    TrainerOptions,
)
from templora_edge.positions import RopeOptions, SelfExtendOptions
from templora_edge.presets import Preset, rule
from templora_edge.score import Score
from templora_edge.text_cache import TextCache
from templora_edge.training.client import SidecarTrainer
from templora_edge.updates import Updates

_logger = logging.getLogger(__name__)
_warned: set[Path] = set()
"""Models of which it was said that a context goes past their training: once will do."""


class TempLora(Closing):
    """One long text whose past is learned, block by block, by a temporary LoRA.

    `generate`, `absorb` and `score` continue the same text, in any order. The adapter and its
    traces are gone when the context manager exits; `save_adapter` keeps a copy. `engine` and
    `trainer` are for tasks that drive them in a loop of their own.

    Args:
        model: path of a GGUF; None is the bundled model.
        n_ctx: llama.cpp's context in tokens (W); 0 is the trained context, at most 4,096.
        block_len: tokens between two updates (Δ); default n_ctx / 4.
        prefix_len: tokens recomputed when the cache is full, BOS among them (L_X); default
            n_ctx - block_len.
        train_prefix_len: tokens before a block its update conditions on (L_T); default block_len,
            or the preset's share of it.
        kv_policy: what happens to the KV cache at a swap and when it is full.
        n_keep: tokens that kv_policy shift never drops; default 4.
        type_k, type_v: data types of cached keys and values, by llama.cpp's names.
        rope: what differs from the model's own RoPE scaling; training follows it.
        self_extend: group the positions of far tokens (SelfExtend, arXiv 2401.01325), to go past
            the trained context; auto chooses the groups for n_ctx.
        past_training: a context beyond the trained one is meant, and not warned of.
        swa_full: sliding-window layers keep every token: more memory, and a cache that can be cut.
        templora: False generates without an adapter.
        adapter: a GGUF adapter to go on from, as `save_adapter` writes; rank, alpha and the layers
            that carry it are its own. A larger rank or more layers (targets, layers) may be named:
            what it does not have begins fresh.
        lora: GGUF adapters that stay as they are, under the temporary one: while text is written,
            and while it is learned.
        preset: the update rule, from which the arguments below it differ: default, fast or best.
        given: the text is given rather than written by the model: small bases learn it faster.
        rank, alpha: of the adapter. With a rank of its own, alpha keeps the preset's ratio to it.
        learning_rate, epochs, dropout: of the updates.
        decay: share of the adapter's output that fades after each block.
        targets: layers that carry the adapter: all, mlp or attention.
        layers: that carry the adapter, counted from the last.
        prefix_gradient: False computes the train prefix's keys and values without gradient: faster.
        n_batch: tokens llama.cpp decodes at a time.
        n_threads: cores for llama.cpp; 0 is all physical ones.
        n_threads_train: cores for training; 0 is as n_threads. The two never run at once.
        train_dtype: auto, fp32 or bf16: precision of training's matrix products.
        train_memory_bytes: private memory training may use; None is what is available.
        measure_after: False leaves `BlockReport.loss_after` out and saves a forward pass a block.
        seed: of the adapter's initial weights and dropout.

    Raises:
        ModelFileError: no such GGUF, or not a usable one.
        UnsupportedModelError: an architecture Temp-LoRA cannot train.
        OptionError: options that contradict each other or the model.
        InsufficientMemoryError: the context does not fit.
        AdapterError: an adapter does not fit the model.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        n_ctx: int = 0,
        block_len: int | None = None,
        prefix_len: int | None = None,
        train_prefix_len: int | None = None,
        kv_policy: KvPolicy | str = KvPolicy.REUSE,
        n_keep: int | None = None,
        type_k: KvType | str = KvType.F16,
        type_v: KvType | str = KvType.F16,
        rope: RopeOptions | None = None,
        self_extend: SelfExtendOptions | Literal["auto"] | None = None,
        past_training: bool = False,
        swa_full: bool = False,
        templora: bool = True,
        adapter: str | Path | None = None,
        lora: Sequence[FixedAdapter] = (),
        preset: Preset | str = Preset.DEFAULT,
        given: bool = False,
        rank: int | None = None,
        alpha: float | None = None,
        learning_rate: float | None = None,
        epochs: int | None = None,
        dropout: float | None = None,
        decay: float | None = None,
        targets: Targets | str | None = None,
        layers: int | None = None,
        prefix_gradient: bool | None = None,
        n_batch: int = 512,
        n_threads: int = 0,
        n_threads_train: int = 0,
        train_dtype: TrainDtype | str = TrainDtype.AUTO,
        train_memory_bytes: int | None = None,
        measure_after: bool = True,
        seed: int = 0,
    ) -> None:
        policy = KvPolicy(kv_policy)
        rope = rope or RopeOptions()
        threads = n_threads or default_threads()
        self.base = GgufFile(BUNDLED_MODEL if model is None else Path(model))
        trained_ctx = int(self.base.get("{arch}.context_length", DEFAULT_MAX_CTX))
        chosen = rule(Preset(preset), self.base.n_params, given=given)
        self.block_options = BlockOptions.for_context(
            n_ctx or min(trained_ctx, DEFAULT_MAX_CTX),
            n_trained=trained_ctx,
            block_len=block_len,
            prefix_len=prefix_len,
            train_prefix_len=train_prefix_len,
            train_prefix_share=chosen.train_prefix_share,
            kv_policy=policy,
            n_keep=n_keep,
        )
        self.engine_options = EngineOptions(
            n_ctx=self.block_options.n_ctx,
            n_batch=n_batch,
            n_threads=threads,
            type_k=KvType(type_k),
            type_v=KvType(type_v),
            rope=rope,
            self_extend=_self_extend(self_extend, self.base, rope, self.block_options.n_ctx),
            shift=policy is KvPolicy.SHIFT,
            swa_full=swa_full,
            lora=tuple(lora),
        )
        for fixed in lora:
            AdapterFile.read(fixed.path).check_fits(self.base)
        self.lora_options: LoraOptions | None = None
        if adapter is not None and not templora:
            raise OptionError("an adapter to go on from, without Temp-LoRA; drop one of the two")
        if templora:
            family_of(self.base)
            start = chosen.lora
            if adapter is not None:
                kept = KeptAdapter.read(Path(adapter), self.base)
                own = targets is None and layers is None
                modules = kept.modules if own else None
                start = replace(start, rank=kept.rank, alpha=kept.alpha, modules=modules)
            self.lora_options = start.changed(
                rank=rank,
                alpha=alpha,
                learning_rate=learning_rate,
                epochs=epochs,
                dropout=dropout,
                decay=decay,
                targets=None if targets is None else Targets(targets),
                layers=layers or chosen.layers(int(self.base.require("{arch}.block_count"))),
                prefix_gradient=prefix_gradient,
                seed=seed,
            )
        with ExitStack() as stack:  # undoes what was opened if a later step fails
            self.trainer: SidecarTrainer | None = None
            if self.lora_options is not None:
                # one file at a time: a swap removes its own before the next one is written
                needed = adapter_file_bytes(self.base, self.lora_options)
                workspace = stack.enter_context(Workspace(needed=needed))
                trainer_options = TrainerOptions(
                    n_threads=n_threads_train or threads,
                    n_ctx=self.block_options.n_ctx,
                    n_tokens=self.block_options.update_len(
                        prefix_gradient=self.lora_options.prefix_gradient
                    ),
                    dtype=TrainDtype(train_dtype),
                    memory_bytes=train_memory_bytes,
                    rope=self.engine_options.rope,
                    adapter=None if adapter is None else Path(adapter).resolve(),
                    lora=tuple(replace(fixed, path=fixed.path.resolve()) for fixed in lora),
                    measure_after=measure_after,
                )
                self.trainer = stack.enter_context(
                    SidecarTrainer(
                        self.base.path, self.lora_options, trainer_options, workspace.path
                    )
                )
            self.engine = stack.enter_context(LlamaEngine(self.base.path, self.engine_options))
            if self.trainer is not None:
                self.trainer.wait_ready()
            if adapter is not None:
                self.engine.swap(Path(adapter))
            head = self.engine.model.vocab.head
            self.updates = Updates(self.engine, self.trainer)
            self._loop = TempLoraLoop(
                TextCache(self.engine, self.block_options, head), self.updates
            )
            if self.engine_options.self_extend is None and not past_training:
                _warn_past_training(self.base, rope, self.block_options.n_ctx)
            self._stack = stack.pop_all()

    @property
    def blocks(self) -> tuple[BlockReport, ...]:
        """Every block so far."""
        return tuple(self._loop.blocks)

    @property
    def n_tokens(self) -> int:
        """Length of the text so far, without BOS."""
        return len(self._loop.text)

    def settings(self) -> dict[str, Any]:
        """Every option in force, defaults filled in."""
        settings = asdict(self.engine_options) | asdict(self.block_options)
        settings["lora"] = [[str(one.path), one.scale] for one in self.engine_options.lora]
        lora = asdict(self.lora_options) if self.lora_options else {}
        return settings | {"templora": bool(lora)} | lora

    @property
    def peak_rss_bytes(self) -> int:
        """Highest resident memory of both processes, pages they share counted twice."""
        both = memory.peak_resident() + (self.trainer.peak_rss_bytes if self.trainer else 0)
        # the kernel's peaks lag a little behind what was read at a block's end
        return max(both, *(block.rss_bytes for block in self._loop.blocks), 0)

    def generate(
        self,
        prompt: str = "",
        *,
        n_predict: int | None = None,
        sampling: SamplingOptions | None = None,
        chat: bool = False,
        special: bool = False,
    ) -> Iterator[Piece]:
        """Append ``prompt`` and continue the text; see `stream`."""
        for event in self.stream(
            prompt, n_predict=n_predict, sampling=sampling, chat=chat, special=special
        ):
            if isinstance(event, Piece):
                yield event

    def stream(
        self,
        prompt: str = "",
        *,
        n_predict: int | None = None,
        sampling: SamplingOptions | None = None,
        chat: bool = False,
        special: bool = False,
    ) -> Iterator[Absorbed | Piece | BlockReport]:
        """Append ``prompt``, absorbing it if it is long, and continue the text.

        Args:
            n_predict: tokens to write; None is until the model ends the text.
            chat: wrap the prompt in the GGUF's own chat template.
            special: read control tokens in the prompt, such as <|im_end|>, as llama.cpp does;
                otherwise they are text.

        Yields:
            Absorbed prompt blocks, then pieces, and each block's report once it is learned.

        Raises:
            OptionError: ``n_predict`` is negative.
            PromptError: there is nothing to continue.
            EngineError, SidecarError: llama.cpp or the training process failed.
        """
        if n_predict is not None and n_predict < 0:
            raise OptionError(f"n_predict is {n_predict}; expected 0 or more, or None")
        yield from self._append_prompt(prompt, chat=chat, special=special)
        written = [*self.engine.model.vocab.head, *self._loop.text]
        self.engine.use_sampling(
            sampling or SamplingOptions(), written[-self.block_options.n_ctx :]
        )
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        block = len(self._loop.blocks)
        for event in self._loop.generate(n_predict):
            if isinstance(event, BlockReport):
                yield event
            else:
                block = event.block
                text = decoder.decode(self.engine.model.vocab.piece(event.id))
                yield Piece(text, event.id, block)
        if rest := decoder.decode(b"", final=True):
            yield Piece(rest, None, block)

    def absorb(self, text: str) -> list[BlockReport]:
        """Append ``text`` and train on it block by block, as if it had been generated."""
        return list(self._loop.absorb(self.tokenize(text)))

    def score(self, text: str) -> Score:
        """Append ``text``, scoring each block before training on it."""
        events = self.stream_score(self.tokenize(text))
        return Score.of([event.nll for event in events if isinstance(event, ScoredBlock)])

    def stream_score(self, tokens: Sequence[int]) -> Iterator[ScoredBlock | BlockReport]:
        """As `score`, from tokens: each block's score, and its report once it is learned."""
        for part in windows.cut(0, len(tokens), self.block_options.block_len):
            yield from self._loop.score(tokens[part.start : part.stop])
        if tokens:
            yield self._loop.blocks[-1]

    def score_block(
        self, block: Sequence[int], before: Sequence[int]
    ) -> Iterator[ScoredBlock | BlockReport]:
        """Append and score ``block`` after ``before`` alone; see `TempLoraLoop.score`."""
        return self._loop.score(block, before)

    def tokenize(self, text: str) -> list[int]:
        """Tokens of ``text`` as it would be appended; what looks like a control token is text."""
        return self.engine.model.vocab.tokenize(text)

    def save_adapter(self, path: str | Path) -> None:
        """Train on the last block too and keep the adapter as a GGUF file.

        Raises:
            OptionError: there is no adapter.
            OutputError: ``path`` cannot be written.
        """
        self._loop.flush()
        with replacing(Path(path), "adapter") as temporary:
            self.updates.save(temporary)

    def close(self) -> None:
        """End the training process, free llama.cpp's memory, remove all traces of the adapter."""
        self._stack.close()

    def _append_prompt(self, prompt: str, *, chat: bool, special: bool) -> Iterator[Absorbed]:
        model = self.engine.model
        if chat:
            content = prompt if special else model.vocab.quote(prompt)
            prompt = model.chat_prompt([{"role": "user", "content": content}])
        tokens = model.vocab.tokenize_prompt(prompt) if chat or special else self.tokenize(prompt)
        room = self.block_options.n_ctx - self.block_options.block_len - len(model.vocab.head)
        if not self.updates.enabled and len(tokens) > room:
            _logger.warning(
                "the prompt has %d tokens; without Temp-LoRA its last %d at most are read, which "
                "-c and --block leave room for",
                len(tokens),
                room,
            )
        if not tokens and not self._loop.text:
            raise PromptError("the prompt is empty; expected some text to continue")
        done = 0
        for report in self._loop.prompt(tokens):
            if done == 0:
                yield Absorbed(0, len(tokens), None)
            done += report.tokens
            yield Absorbed(done, len(tokens), report)


def _self_extend(
    wanted: SelfExtendOptions | Literal["auto"] | None,
    base: GgufFile,
    rope: RopeOptions,
    n_ctx: int,
) -> SelfExtendOptions | None:
    if wanted != "auto":
        return wanted
    n_trained = Scaling.of(base, rope).n_trained
    chosen = SelfExtendOptions.for_length(n_ctx, n_trained)
    if chosen is None:
        raise OptionError(
            f"--self-extend auto: -c {n_ctx} is within the {n_trained} tokens that the model "
            "knows; raise -c to the length of the text, or leave SelfExtend out"
        )
    return chosen


def _warn_past_training(base: GgufFile, rope: RopeOptions, n_ctx: int) -> None:
    try:
        scaling = Scaling.of(base, rope)
    except ModelFileError:  # of a model for llama.cpp alone, which may know more
        return
    if n_ctx <= scaling.n_trained or base.path in _warned:
        return
    _warned.add(base.path)
    _logger.warning(
        "-c %d is over the %d tokens that %s was trained on; past them text falls apart; "
        "add --self-extend auto, or --rope-scaling yarn with --rope-freq-scale %.3g",
        n_ctx,
        scaling.n_trained,
        base.path.name,
        scaling.scale / math.ceil(n_ctx / scaling.n_trained),
    )
