"""Temp-LoRA over pairs: translate a block of segments, learn it, then begin the next one.

    for each block, a run of segments up to Δ tokens of translation
    whose prompt fits W, and whose questions fit L_T:
        decode the prompt with the preceding pairs       (Engine)
        for each segment: translate, check, retry        (Engine)
        train on the translations of the block
        that passed every check, as answers              (Updates)
        swap the new adapter in                          (Updates)

The contents of the cache and the ends of blocks depend on the texts alone: every token is decoded
in the same batches, whether it was just generated or is read again by a resumed job. So a job that
was killed and resumed writes the same bytes as one that was not.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from templora_edge.errors import OptionError
from templora_edge.options import BlockOptions, SamplingOptions
from templora_edge.protocols import PairEngine, Tokenizer
from templora_edge.translation.answer_text import AnswerText
from templora_edge.translation.prompt import ChatPrompt, Pair, Prompt, Request, TemplatePrompt
from templora_edge.updates import UpdateReport, Updates

if TYPE_CHECKING:
    from templora_edge.session import TempLora

TOKENS_A_TOKEN: Final = 3
"""Most tokens of a translation per token of its source."""
LEAST_TOKENS: Final = 48
"""Tokens that a translation may always have, however short its source."""
REASONING_TOKENS: Final = 2048
"""Most tokens of reasoning before a translation."""
_KNOWN_LENGTHS: Final = 4096
"""Texts whose lengths are kept: more than a block and what is shown before it have."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer to a prompt."""

    text: str
    """What it wrote, which an `AnswerText` reads."""
    finished: bool
    """Whether the model ended the answer by itself."""


class PairLoop:
    """Translates one document, segment by segment in order."""

    def __init__(
        self,
        engine: PairEngine,
        tokenizer: Tokenizer,
        updates: Updates,
        prompt: Prompt,
        options: BlockOptions,
    ) -> None:
        """Begin a document.

        Args:
            engine: llama.cpp, with the adapter.
            tokenizer: tokenizer of the model.
            updates: the update path.
            prompt: builds the prompt for a segment.
            options: resolved lengths in tokens. W holds prompt and translation together; Δ counts
                tokens of translations, L_X those of the pairs shown before a block, as the prompt
                shows them, L_T those of an update that it does not learn.

        Raises:
            OptionError: the context is too short for the prompt itself, or the prompt fails.
        """
        self.options = options
        self._engine, self._tokenizer, self._updates = engine, tokenizer, updates
        self._prompt = prompt
        self._len = lru_cache(_KNOWN_LENGTHS)(lambda text: len(tokenizer.tokenize(text)))
        self._before: tuple[Pair, ...] = ()  # pairs before the block
        self._block: list[Pair] = []  # pairs of the block that passed their checks
        self._given: set[Pair] = set()  # those of them that the model did not write
        self._shown = 0  # index of the first pair before the block that the prompt shows
        self._asked: list[list[int]] = []  # prompts that are not decoded yet
        self._cached: list[int] = []  # tokens of the prompt that are in the cache
        self._rendered: dict[Request, list[int]] = {}  # prompts of the block
        self._frame = len(self._render(Request("")))  # tokens of a prompt without any text
        self._question_len = lru_cache(_KNOWN_LENGTHS)(self._measure_question)
        least = self._n_head + self._frame + 2 * LEAST_TOKENS
        if least > options.n_ctx:
            raise OptionError(
                f"-c {options.n_ctx}: too short for the prompt, which takes {self._frame} tokens "
                f"without any text; expected at least {least}"
            )

    def fits(self, source: str) -> bool:
        """Whether the context holds the prompt for ``source`` without pairs, and any answer."""
        n_tokens = self.n_tokens(source)
        if self._n_head + n_tokens + self.longest_answer(source) > self.options.n_ctx:
            return False
        return self._has_room(self._render(Request(source)), source)

    def tokenize(self, text: str) -> list[int]:
        """Tokens of ``text``, without BOS."""
        return self._tokenizer.tokenize(text)

    def n_tokens(self, text: str) -> int:
        """Length of ``text`` in tokens."""
        return self._len(text)

    def longest_answer(self, source: str) -> int:
        """Most tokens of the translation of ``source``; a longer one would probably never end."""
        return max(LEAST_TOKENS, TOKENS_A_TOKEN * self.n_tokens(source))

    def has_room(self, source: str) -> bool:
        """Whether the block may have another pair, with ``source``; as in `ask`."""
        return self._prompt_tokens(source, ()) is not None

    def ask(self, source: str, terms: tuple[Pair, ...], example: Pair | None = None) -> bool:
        """Choose the prompt for ``source``; `answer` may then be called, more than once.

        It is decoded once an answer is wanted, after those before it in the block: a block whose
        translations are all there costs nothing.

        Args:
            source: text to translate.
            terms: glossary terms that occur in it.
            example: a pair that this prompt alone shows, last of all, so that the next one can go
                on from what was decoded before it. It is left out where the context has no room.

        Returns:
            False if the block has no room for another pair: it has to be finished first. A block
            that shows no pair yet always has room.
        """
        tokens = self._prompt_tokens(source, terms, example)
        if tokens is None:
            return False
        self._asked.append(tokens)
        return True

    def answer(self, sampling: SamplingOptions, n_predict: int, reader: AnswerText) -> Answer:
        """Generate an answer to `ask`, as the model writes it.

        It ends where the model or ``reader`` ends it, or after ``n_predict`` tokens, not counting
        what ``reader`` takes for reasoning, which may have `REASONING_TOKENS`.

        The last token of the prompt is always decoded on its own, so that a second answer and a
        resumed job find the same numbers in the cache.

        Raises:
            EngineError: llama.cpp fails.
        """
        self._rewind()
        self._engine.use_sampling(sampling)
        self._engine.decode([self._last])
        written = bytearray()
        text, n_written, n_reasoning = "", 0, 0
        room = self.options.n_ctx - self._engine.n_past
        while n_written < min(n_predict + n_reasoning, room):
            token = self._engine.sample()
            if self._engine.is_end(token):
                return Answer(text, finished=True)
            written += self._tokenizer.piece(token)
            n_written += 1
            text = written.decode(errors="replace")
            if "\n" in text and reader.is_whole(text):
                return Answer(text, finished=True)
            if n_reasoning < REASONING_TOKENS and reader.is_reasoning(text):
                n_reasoning = n_written
            self._engine.decode([token])
        return Answer(text, finished=False)

    def score(self, translation: str) -> list[float]:
        """NLL of each token of ``translation`` as an answer to `ask`, in nats."""
        self._rewind()
        tokens = self._tokenizer.tokenize(translation)
        return self._engine.score([self._last], tokens)

    def accept(self, pair: Pair, *, own: bool = True) -> None:
        """Show ``pair``, which passed its checks, in later prompts, and learn it with its block.

        ``own`` says whether the model wrote it.
        """
        self._block.append(pair)
        if not own:
            self._given.add(pair)

    def replace_block(self, pairs: Sequence[Pair]) -> None:
        """Learn ``pairs``, which are given, with this block instead of the accepted ones."""
        self._block, self._given = list(pairs), set(pairs)

    def finish_block(self) -> bool:
        """Train on the pairs of this block, swap the adapter, and begin the next block.

        Returns:
            Whether anything was learned.
        """
        pairs, given = tuple(self._block), self._given
        self._block, self._given = [], set()
        learned = self.learn_block(pairs, given)
        if learned:
            self._updates.swap()
        self.begin_block((*self._before, *pairs))
        return learned

    def learn_block(self, pairs: Sequence[Pair], given: Collection[Pair]) -> bool:
        """Train on ``pairs``, those that are ``given`` first, as they have a rate of their own.

        Returns:
            Whether anything was learned.
        """
        learned = False
        for own in (False, True):
            some = [pair for pair in pairs if (pair not in given) == own]
            if some:
                learned |= self.learn(some, own=own) is not None
        return learned

    def begin_block(self, before: Sequence[Pair]) -> None:
        """Empty the cache, and show the last pairs of ``before`` that fit L_X from now on."""
        self._before = tuple(before)
        self._rendered.clear()
        self._shown = self._first_that_fits(self.options.prefix_len)
        self._asked.clear()
        self._cached = []
        self._engine.clear()

    def blocks_of(self, pairs: Sequence[Pair]) -> Iterator[tuple[Sequence[Pair], Sequence[Pair]]]:
        """Cut ``pairs`` into blocks to learn; yield (pairs before the block, its pairs)."""
        begin, n_tokens = 0, 0
        for end, pair in enumerate(pairs):
            block = pairs[begin:end]
            if n_tokens >= self.options.block_len or not self._can_learn(block, pair.source):
                yield pairs[:begin], block
                begin, n_tokens = end, 0
            n_tokens += self.n_tokens(pair.translation)
        if pairs:
            yield pairs[:begin], pairs[begin:]

    def learn(self, pairs: Sequence[Pair], *, own: bool) -> UpdateReport | None:
        """Train on the translations of ``pairs``, as answers to their prompts; None if disabled.

        ``own`` says whether the model wrote them: they then have a learning rate of their own.
        """
        if not self._updates.learns(own=own):
            return None
        tokens, mask = self._turns(pairs) if self._prompt.in_turns else self._questions(pairs)
        length = self.options.train_prefix_len + sum(mask)
        tokens, mask = tokens[-length:], mask[-length:]
        begin = mask.index(True)
        prefix = [*self._tokenizer.head, *tokens[:begin]]
        return self._updates.learn(prefix, tokens[begin:], mask[begin:], own=own)

    def _turns(self, pairs: Sequence[Pair]) -> tuple[list[int], list[bool]]:
        """Tokens of the prompt that shows ``pairs``, and a loss mask on translations and ends."""
        shown = self._before[self._shown :]
        tokens = self._tokens(Request("", (*shown, *pairs)))
        mask = [False] * len(tokens)
        end = 0
        for index, pair in enumerate(pairs):
            asked = self._tokens(Request(pair.source, (*shown, *pairs[:index])))
            begin = _common(asked, tokens)
            end = self._end(pair.translation, tokens, begin)
            mask[begin:end] = [True] * (end - begin)
        return tokens[:end], mask[:end]

    def _end(self, translation: str, tokens: list[int], begin: int) -> int:
        """Index after ``translation``, which starts at ``begin``, and the token that ends it."""
        length, text = len(translation.strip().encode()), bytearray()
        for end in range(begin, len(tokens)):
            n_written = len(text.lstrip())
            if n_written >= length:
                return end + (n_written == length)  # otherwise its last token also ends it
            text += self._tokenizer.piece(tokens[end])
        return len(tokens)

    def _questions(self, pairs: Sequence[Pair]) -> tuple[list[int], list[bool]]:
        """Prompts and translations in sequence, and a loss mask, for templates without turns."""
        tokens: list[int] = []
        mask: list[bool] = []
        for pair in pairs:
            asked = self._tokens(Request(pair.source))
            answer = self._tokenizer.tokenize(pair.translation)
            tokens += asked + answer
            mask += [False] * len(asked) + [True] * len(answer)
        return tokens, mask

    def _tokens(self, request: Request) -> list[int]:
        """Tokens of the prompt for ``request``, without BOS, rendered once in each block."""
        tokens = self._rendered.get(request)
        if tokens is None:
            tokens = self._rendered[request] = self._render(request)
        return tokens

    def _render(self, request: Request) -> list[int]:
        """Tokens of the prompt for ``request``, without BOS; texts in it yield no control token."""
        quoted = request.changed(self._tokenizer.quote)
        return self._tokenizer.tokenize_prompt(self._prompt(quoted))

    @property
    def _n_head(self) -> int:
        return len(self._tokenizer.head)

    def _rewind(self) -> None:
        """Decode the prompt without its last token, or restore the cache to it."""
        for tokens in self._asked:
            n_kept = _common(self._cached, tokens[:-1])
            if n_kept < len(self._cached) or self._engine.n_past > n_kept:
                self._engine.truncate(n_kept)
            n_kept = min(n_kept, self._engine.n_past)
            self._engine.decode(tokens[n_kept:-1])
            self._cached = tokens[:-1]
            self._last = tokens[-1]
        self._asked.clear()
        self._engine.truncate(len(self._cached))
        if self._engine.n_past < len(self._cached):
            self._engine.decode(self._cached[self._engine.n_past :])

    def _prompt_tokens(
        self, source: str, terms: tuple[Pair, ...], example: Pair | None = None
    ) -> list[int] | None:
        """Tokens of the prompt for ``source``; None if the block has no room for it.

        An example is left out where the context has no room for it; the first prompt of a block
        then leaves out the oldest pairs, then terms.
        """
        if not self._can_learn(self._block, source):
            return None
        if example is not None:
            pairs = (*self._before[self._shown :], *self._block, example)
            tokens = self._render(Request(source, pairs, terms))
            if self._has_room(tokens, source):
                return [*self._tokenizer.head, *tokens]
        while True:
            pairs = (*self._before[self._shown :], *self._block)
            tokens = self._tokens(Request(source, pairs, terms))
            if self._has_room(tokens, source):
                return [*self._tokenizer.head, *tokens]
            if self._block:
                return None
            if self._shown < len(self._before):
                self._shown += 1
            elif terms:
                terms = terms[:-1]
            else:  # not `fits`: `answer` takes the room that is left
                return [*self._tokenizer.head, *tokens]

    def _has_room(self, tokens: Sequence[int], source: str) -> bool:
        """Whether the context holds a prompt for ``source``, without BOS, and any answer to it."""
        n_tokens = self._n_head + len(tokens) + self.longest_answer(source)
        return n_tokens <= self.options.n_ctx

    def _can_learn(self, block: Sequence[Pair], source: str) -> bool:
        """Whether an update sees all of ``block`` and one more pair: L_T holds their questions."""
        n_questions = sum(self._question_len(pair.source) for pair in block)
        n_questions += self._question_len(source)
        return not block or n_questions <= self.options.train_prefix_len

    def _measure_question(self, source: str) -> int:
        """Length of the turn that shows ``source``, without its translation, in tokens."""
        turn = len(self._render(Request("", (Pair(source, ""),)))) - self._frame
        return max(turn, self.n_tokens(source))  # a template may show no pairs

    def _first_that_fits(self, n_tokens: int) -> int:
        first = len(self._before)
        while first > 0:
            pair = self._before[first - 1]
            n_tokens -= self._question_len(pair.source) + self.n_tokens(pair.translation)
            if n_tokens < 0:
                break
            first -= 1
        return first


def pair_loop(
    session: "TempLora", prompt: TemplatePrompt | None, source_language: str, target_language: str
) -> PairLoop:
    """A `PairLoop` on an open session; a prompt of None is the model's chat template."""
    model = session.engine.model
    chosen = prompt or ChatPrompt(model.chat_prompt, source_language, target_language)
    return PairLoop(session.engine, model.vocab, session.updates, chosen, session.options.blocks)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    n = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        n += 1
    return n
