"""`TempLora`, the Python API: one long text on one model."""

import codecs
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Unpack

from templora_edge import windows
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.closing import Closing
from templora_edge.ending import EndedBy, Ending
from templora_edge.engine import LlamaEngine
from templora_edge.errors import ModelFileError, OptionError, PromptError
from templora_edge.events import Absorbed, BlockReport, Piece, ScoredBlock
from templora_edge.host import memory
from templora_edge.host.files import replacing
from templora_edge.host.workspace import Workspace
from templora_edge.keywords import Asked, Shortcuts
from templora_edge.loop import TempLoraLoop
from templora_edge.models.adapter_file import AdapterFile
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.models.families import adapted_modules, family_of
from templora_edge.models.footprint import adapter_file_bytes
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.hub.find import model_path
from templora_edge.models.kept_adapter import KeptAdapter
from templora_edge.models.rope import Scaling
from templora_edge.notes import tokens_of
from templora_edge.options import EngineOptions, Options, SamplingOptions, TextKind, TrainDevice
from templora_edge.score import Score
from templora_edge.text_cache import TextCache
from templora_edge.training.client import SidecarTrainer
from templora_edge.updates import Updates
from templora_edge.writing import Writing

_logger = logging.getLogger(__name__)
_warned: set[Path] = set()
"""Models whose context was warned about; once is enough."""


class TempLora(Closing):
    """One long text whose past a temporary LoRA learns, block by block.

    `generate`, `absorb` and `score` continue the same text, in any order. When the context manager
    exits, the adapter and all its traces are removed; `save_adapter` keeps a copy. The attribute
    `options` holds the resolved options; `engine`, `trainer`, `updates` and `loop` are for callers
    with a loop of their own. The training process starts with the session if generated text is
    learned, otherwise with the first text that is given.

    Args:
        model: path of a GGUF, or the name of a model on the hub, ``hf:user/repo[:quant]``, which
            is downloaded unless it is cached; None is the bundled model.
        options: options; open ones depend on the base, the preset and ``text``.
        text: kind of text that is learned; translations have rules and lengths of their own.
        past_training: do not warn of a context beyond the trained one.
        shortcuts: options by name, as in `Options.changed`.

    Raises:
        ModelFileError: the GGUF is missing or not usable.
        HubError: a model that is named cannot be had.
        UnsupportedModelError: Temp-LoRA cannot train this architecture.
        OptionError: the options contradict each other or the model.
        InsufficientMemoryError: the context does not fit in memory.
        AdapterError: an adapter does not fit the model.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        options: Options | None = None,
        *,
        text: TextKind | str = TextKind.TEXT,
        past_training: bool = False,
        **shortcuts: Unpack[Shortcuts],
    ) -> None:
        wanted = (options or Options()).changed(**shortcuts)
        adapter = wanted.training.adapter
        self.base = BaseGguf(BUNDLED_MODEL if model is None else model_path(model))
        kept = None
        if wanted.templora and adapter is not None:
            kept = KeptAdapter.read(adapter, self.base)
        if text not in list(TextKind):
            raise OptionError(f"text is {text!r}; expected one of {', '.join(TextKind)}")
        self.options = wanted.resolve(self.base, text=TextKind(text), adapter=kept)
        if kept is not None:  # even if nothing will be learned
            lora = self.options.lora
            kept.check_kept(dict.fromkeys(adapted_modules(self.base, lora), lora.rank))
        for fixed in self.options.engine.lora:
            AdapterFile.read(fixed.path).check_fits(self.base)
        if self.options.templora:
            family_of(self.base)
        with ExitStack() as stack:  # closes what was opened if a later step fails
            self.trainer: SidecarTrainer | None = None
            learns_own = self.options.lora.own_learning_rate != 0
            if self.options.templora:
                # one file at a time: a swap removes its file before the next one is written
                needed = adapter_file_bytes(self.base, self.options.lora)
                self._workspace = stack.enter_context(Workspace(needed=needed))
                asked = self.options.training.train_device
                is_asked = asked not in (TrainDevice.AUTO, TrainDevice.CPU)
                if learns_own or is_asked:  # it loads while the engine does
                    self.trainer = stack.enter_context(self._new_trainer())
                    if is_asked:  # unless torch may not have the device
                        self.trainer.wait_ready()
            self.engine = stack.enter_context(LlamaEngine(self.base.path, self.options.engine))
            if self.trainer is not None:
                self.trainer.wait_ready()
            if adapter is not None:
                self.engine.swap(adapter)
            head = self.engine.model.vocab.head
            start = self._start_trainer if self.options.templora else None
            learns_given = self.options.lora.learning_rate != 0
            self.updates = Updates(
                self.engine, start, learns_own=learns_own, learns_given=learns_given
            )
            cache = TextCache(self.engine, self.options.blocks, head)
            self.loop = TempLoraLoop(cache, self.updates, overlap=self.options.training.overlap)
            self._writing: Writing | None = None
            if self.options.engine.self_extend is None and not past_training:
                _warn_past_training(self.base, self.options.engine)
            self._stack = stack.pop_all()

    @property
    def blocks(self) -> tuple[BlockReport, ...]:
        """Reports of all blocks so far."""
        return tuple(self.loop.blocks)

    @property
    def train_device(self) -> TrainDevice | None:
        """Device that training computes on; None before there is something to learn."""
        return None if self.trainer is None else self.trainer.device

    @property
    def devices(self) -> dict[str, str | None]:
        """Name of the GPU that holds layers of the model, if one does, and `train_device`."""
        return {"gpu": self.engine.model.gpu, "train_device": self.train_device}

    @property
    def n_tokens(self) -> int:
        """Length of the text so far in tokens, without BOS."""
        return len(self.loop.text)

    def block_texts(self) -> tuple[str, list[str]]:
        """The text before the first block, and the text of each block.

        A character of two blocks is the later one's, and what was appended between two blocks is
        the earlier one's.
        """
        edges = [0, *(block.begin for block in self.blocks), self.n_tokens]
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        before, *texts = [
            decoder.decode(
                b"".join(map(self.engine.model.vocab.piece, self.loop.text[begin:end])),
                final=end == self.n_tokens,
            )
            for begin, end in pairwise(edges)
        ]
        return before, texts

    @property
    def peak_rss_bytes(self) -> int:
        """Peak resident memory of both processes; pages that they share count twice."""
        both = memory.peak_resident() + (self.trainer.peak_rss_bytes if self.trainer else 0)
        # the kernel's peaks lag a little behind the readings at the ends of blocks
        return max(both, *(block.rss_bytes for block in self.loop.blocks), 0)

    def generate(self, prompt: str = "", **asked: Unpack[Asked]) -> Iterator[Piece]:
        """Append ``prompt`` and continue the text; see `stream`."""
        for event in self.stream(prompt, **asked):
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
        notes: str | None = None,
        stop: Sequence[str] = (),
        chapters: int | None = None,
    ) -> Iterator[Absorbed | Piece | BlockReport]:
        """Append ``prompt``, absorbing it if it is long, and continue the text.

        Args:
            prompt: text to append; may be empty once there is some text.
            n_predict: number of tokens to generate; None is until the model ends the text.
            sampling: sampling options; None is the defaults.
            chat: wrap the prompt in the GGUF's own chat template.
            special: parse control tokens such as <|im_end|> in the prompt, as llama.cpp does;
                otherwise they are text.
            notes: names and facts that stand at the head of every window from now on, in place of
                earlier ones, and are no part of the text; with ``chat``, as the system message.
                None: no change.
            stop: texts before any of which the text ends.
            chapters: number of chapters after which the text ends, before the heading of the next
                one (`ending.is_heading`); None: no limit.

        Yields:
            Progress of absorbing the prompt, then pieces, and each block's report once it is
            learned.

        Raises:
            OptionError: ``n_predict`` is negative, ``chapters`` not positive, a text of ``stop``
                empty, or the notes take more than half of the prefix.
            PromptError: there is no text to continue, or the chat template takes no notes.
            EngineError, SidecarError: llama.cpp or the training process failed.
        """
        if n_predict is not None and n_predict < 0:
            raise OptionError(f"n_predict is {n_predict}; expected 0 or more, or None")
        self._writing, ending = None, Ending(stop=stop, chapters=chapters)
        opening, tokens = self.prompt_tokens(prompt, notes or "", chat=chat, special=special)
        if notes is not None:
            self.loop.use_notes(opening)
        yield from self.append(tokens)
        if chapters is not None and not chat:
            ending.follow(self.engine.model.vocab.detokenize(self.loop.text))
        self.use_sampling(sampling or SamplingOptions())
        yield from self.write(ending).run(n_predict)

    def write(self, ending: Ending) -> Writing:
        """The text that is generated from now on, up to ``ending``."""
        self._writing = Writing(self.loop, self.engine.model.vocab, ending)
        return self._writing

    @property
    def ended_by(self) -> EndedBy | None:
        """The rule that ended the last generated text; None: it has not come to its end."""
        return None if self._writing is None else self._writing.ending.ended_by

    def finish_sentence(self) -> bool:
        """Have the text that is being generated end with its sentence; for signal handlers too.

        Without the end of a sentence or paragraph, it ends after 100 tokens.

        Returns:
            Whether a text is being generated, so that there is a sentence to end.
        """
        if self._writing is None or not self._writing.is_open:
            return False
        self._writing.ending.finish_sentence()
        return True

    def use_sampling(self, sampling: SamplingOptions, *, sampled: int = 0) -> None:
        """Sample with ``sampling`` from now on; the text so far counts as history.

        ``sampled`` is how many of its tokens were sampled with these options in an earlier run.
        """
        written = [*self.engine.model.vocab.head, *self.loop.text]
        self.engine.use_sampling(sampling, written, sampled=sampled)

    def absorb(self, text: str) -> list[BlockReport]:
        """Append ``text`` and train on it block by block, as if it had been generated."""
        return list(self.loop.absorb(self.tokenize(text)))

    def score(self, text: str) -> Score:
        """Append ``text``, scoring each block before training on it."""
        events = self.stream_score(self.tokenize(text))
        return Score.of([event.nll for event in events if isinstance(event, ScoredBlock)])

    def stream_score(self, tokens: Sequence[int]) -> Iterator[ScoredBlock | BlockReport]:
        """Like `score`, from tokens; yields each block's score, and its report once learned."""
        for part in windows.cut(0, len(tokens), self.options.blocks.block_len):
            yield from self.loop.score(tokens[part.start : part.stop])
        yield from self.loop.unlearned

    def score_block(
        self, block: Sequence[int], before: Sequence[int]
    ) -> Iterator[ScoredBlock | BlockReport]:
        """Append and score ``block``, conditioned on ``before`` only; see `TempLoraLoop.score`."""
        return self.loop.score(block, before)

    def tokenize(self, text: str) -> list[int]:
        """Tokens of ``text`` as it would be appended, with control tokens read as text."""
        return self.engine.model.vocab.tokenize(text)

    def save_adapter(self, path: str | Path) -> None:
        """Train on the last block too, and save the adapter as a GGUF file.

        Logs a warning if there was nothing to learn.

        Raises:
            OptionError: there is no adapter.
            OutputError: ``path`` cannot be written.
        """
        self.loop.flush()
        if self.updates.enabled and not self.updates.learned:
            _logger.warning(
                "nothing was learned, so the adapter in %s has no effect; --own-learning-rate "
                "learns generated text too",
                path,
            )
        with replacing(Path(path), "adapter") as temporary:
            self.updates.save(temporary)

    def close(self) -> None:
        """End the training process, free llama.cpp's memory, remove all traces of the adapter."""
        self._stack.close()

    def _new_trainer(self) -> SidecarTrainer:
        return SidecarTrainer(self.base.path, self.options, self._workspace.path)

    def _start_trainer(self) -> SidecarTrainer:
        if self.trainer is None or not self.trainer.alive:
            _ = self.engine.model.pointer  # raises an error if the session is closed
            self.trainer = self._stack.enter_context(self._new_trainer())
        self.trainer.wait_ready()  # also after an interrupt
        return self.trainer

    def prompt_tokens(
        self, prompt: str, notes: str = "", *, chat: bool = False, special: bool = False
    ) -> tuple[list[int], list[int]]:
        """Tokens of notes and of a prompt, as `stream` uses them.

        Raises:
            PromptError: there is no text to continue, or the chat template takes no notes.
        """
        opening, tokens = tokens_of(self.engine.model, prompt, notes, chat=chat, special=special)
        if not tokens and not self.loop.text:
            raise PromptError("the prompt is empty; expected some text to continue")
        return opening, tokens

    def append(self, tokens: Sequence[int], done: int = 0) -> Iterator[Absorbed]:
        """Append a prompt, absorbing it if it is long; yield the progress of that.

        Args:
            tokens: tokens of the prompt.
            done: how many of them the text has already, which the adapter has learned.
        """
        blocks = self.options.blocks
        room = blocks.n_ctx - blocks.block_len - self.loop.n_opening
        if not self.updates.enabled and len(tokens) > room:
            _logger.warning(
                "the prompt has %d tokens; without Temp-LoRA at most its last %d are read, as many "
                "as -c and --block leave room for",
                len(tokens),
                room,
            )
        begun = False
        for report in self.loop.prompt(tokens, done):
            if not begun:
                yield Absorbed(done, len(tokens), None)
                begun = True
            done += report.tokens
            yield Absorbed(done, len(tokens), report)


def _warn_past_training(base: GgufFile, engine: EngineOptions) -> None:
    n_ctx = engine.n_ctx
    try:
        scaling = Scaling.of(base, engine.rope)
    except ModelFileError:  # without training, llama.cpp may know more than we do
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
