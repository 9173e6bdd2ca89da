"""Temp-LoRA over pairs: a block of translations is learned, then the next one is begun.

    for each block, a run of segments up to Δ tokens of translation:
        decode the prompt with the preceding pairs       (Engine)
        for each segment: translate, check, try again    (Engine)
        train on the block's translations as answers,
        those that passed every check                    (Updates)
        swap the new adapter in                          (Updates)

What the cache holds at any moment is a function of the texts alone, and every token of it was
decoded in the same company, whether it was just written or is read again by a resumed job: a job
that was killed goes on to the very bytes it would have written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from templora_edge.options import BlockOptions, SamplingOptions
from templora_edge.protocols import PairEngine, Tokenizer
from templora_edge.translation.prompt import ChatPrompt, Pair, Prompt, Request, TemplatePrompt
from templora_edge.updates import UpdateReport, Updates

if TYPE_CHECKING:
    from templora_edge.session import TempLora

TOKENS_A_TOKEN: Final = 3
"""Most tokens of a translation, to one of its source."""
LEAST_TOKENS: Final = 48
"""Tokens of the longest translation of a short source."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model wrote."""

    text: str
    finished: bool
    """Whether it ended by itself."""


class PairLoop:
    """One document, translated segment by segment in order."""

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
            options: W holds prompt and translation together; Δ counts tokens of translations, L_X
                those of the pairs shown before a block, L_T those of the prompt in an update.
        """
        self.options = options
        self._engine, self._tokenizer, self._updates = engine, tokenizer, updates
        self._prompt = prompt
        self._before: tuple[Pair, ...] = ()  # pairs before the block
        self._block: list[Pair] = []  # this block's, that passed
        self._shown = 0  # of the pairs before the block, the first that the prompt shows
        self._cached: list[int] = []  # prompt whose tokens are in the cache

    def fits(self, source: str) -> bool:
        """Whether a segment is short enough to be translated: a quarter of the context at most."""
        return 4 * self.n_tokens(source) <= self.options.n_ctx

    def tokenize(self, text: str) -> list[int]:
        """Tokens of ``text``, without BOS."""
        return self._tokenizer.tokenize(text)

    def n_tokens(self, text: str) -> int:
        """Length of ``text`` in tokens."""
        return len(self.tokenize(text))

    def longest_answer(self, source: str) -> int:
        """Tokens that the translation of ``source`` may take; a longer one would not end."""
        return max(LEAST_TOKENS, TOKENS_A_TOKEN * self.n_tokens(source))

    def ask(self, source: str, terms: tuple[Pair, ...]) -> None:
        """Decode the prompt for ``source``; `answer` may then be called, more than once."""
        tokens = self._prompt_tokens(source, terms)
        n_kept = _common(self._cached, tokens[:-1])
        if n_kept < len(self._cached) or self._engine.n_past > n_kept:
            self._engine.truncate(n_kept)
        n_kept = min(n_kept, self._engine.n_past)
        self._engine.decode(tokens[n_kept:-1])
        self._cached = tokens[:-1]
        self._last = tokens[-1]

    def answer(self, sampling: SamplingOptions, n_predict: int) -> Answer:
        """Write the translation of what was asked: one line, ``n_predict`` tokens at most.

        The last token of the prompt is always decoded by itself, so that a second answer, and a job
        taken up again, find the same numbers in the cache.
        """
        self._rewind()
        self._engine.use_sampling(sampling)
        self._engine.decode([self._last])
        written: list[int] = []
        n_predict = min(n_predict, self.options.n_ctx - self._engine.n_past)
        while len(written) < n_predict:
            token = self._engine.sample()
            if self._engine.is_end(token):
                return Answer(self._tokenizer.detokenize(written).strip(), finished=True)
            written.append(token)
            text = self._tokenizer.detokenize(written).lstrip()
            if "\n" in text:  # a segment is one line
                return Answer(text.partition("\n")[0].strip(), finished=True)
            self._engine.decode([token])
        return Answer(self._tokenizer.detokenize(written).strip(), finished=False)

    def score(self, translation: str) -> list[float]:
        """NLL of ``translation`` as an answer to what was asked, in nats, one a token."""
        self._rewind()
        tokens = self._tokenizer.tokenize(translation)
        return self._engine.score([self._last], tokens)

    def accept(self, pair: Pair) -> None:
        """``pair`` passed its checks: it is shown to the segments after it, and will be learned."""
        self._block.append(pair)

    def replace_block(self, pairs: Sequence[Pair]) -> None:
        """What is to be learned of this block, in place of what was accepted."""
        self._block = list(pairs)

    def finish_block(self) -> None:
        """Train on what was accepted since the last call, and swap."""
        pairs, self._block = tuple(self._block), []
        if pairs:
            self.learn(pairs)
            self._updates.swap()
        self.begin_block((*self._before, *pairs))

    def begin_block(self, before: Sequence[Pair]) -> None:
        """Show the last of ``before`` from now on, as many as L_X allows, in an empty cache."""
        self._before = tuple(before)
        self._shown = self._first_that_fits(self.options.prefix_len)
        self._cached = []
        self._engine.clear()

    def learn(self, pairs: Sequence[Pair]) -> UpdateReport | None:
        """Train on the translations of ``pairs``, each as the answer that it was or should be."""
        if not self._updates.enabled:
            return None
        tokens, mask = self._turns(pairs) if self._prompt.in_turns else self._questions(pairs)
        length = self.options.train_prefix_len + sum(mask)
        tokens, mask = tokens[-length:], mask[-length:]
        begin = mask.index(True)
        prefix = [*self._tokenizer.head, *tokens[:begin]]
        return self._updates.learn(prefix, tokens[begin:], mask[begin:])

    def _turns(self, pairs: Sequence[Pair]) -> tuple[list[int], list[bool]]:
        """The prompt that shows ``pairs``, and its loss mask: translations and their ends."""
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
        """Where ``translation``, from ``begin`` on, has ended and the token after it says so."""
        length = len(translation.strip())
        for end in range(begin, len(tokens)):
            text = self._tokenizer.detokenize(tokens[begin:end]).lstrip()
            if len(text) >= length:
                return end + (len(text) == length)  # else its last token is the end as well
        return len(tokens)

    def _questions(self, pairs: Sequence[Pair]) -> tuple[list[int], list[bool]]:
        """Prompts and translations one after the other, for templates that show no turns."""
        tokens: list[int] = []
        mask: list[bool] = []
        for pair in pairs:
            asked = self._tokens(Request(pair.source))
            answer = self._tokenizer.tokenize(pair.translation)
            tokens += asked + answer
            mask += [False] * len(asked) + [True] * len(answer)
        return tokens, mask

    def _tokens(self, request: Request) -> list[int]:
        """Tokens of the prompt for ``request``, without BOS; no text of it is a control token."""
        quoted = request.changed(self._tokenizer.quote)
        return self._tokenizer.tokenize_prompt(self._prompt(quoted))

    def _rewind(self) -> None:
        """Leave the prompt in the cache, all but its last token."""
        self._engine.truncate(len(self._cached))
        if self._engine.n_past < len(self._cached):
            self._engine.decode(self._cached[self._engine.n_past :])

    def _prompt_tokens(self, source: str, terms: tuple[Pair, ...]) -> list[int]:
        """The prompt for ``source``; older pairs are left out where the context is short."""
        room = self.options.n_ctx - 2 * self.n_tokens(source) - 64
        while True:
            pairs = (*self._before[self._shown :], *self._block)
            tokens = [*self._tokenizer.head, *self._tokens(Request(source, pairs, terms))]
            if len(tokens) <= room or self._shown >= len(self._before):
                return tokens
            # half of them at once, or every further segment would move the window again
            self._shown += max(1, (len(self._before) - self._shown) // 2)

    def _first_that_fits(self, n_tokens: int) -> int:
        first = len(self._before)
        while first > 0:
            pair = self._before[first - 1]
            n_tokens -= self.n_tokens(pair.source) + self.n_tokens(pair.translation)
            if n_tokens < 0:
                break
            first -= 1
        return first


def pair_loop(
    session: "TempLora", prompt: TemplatePrompt | None, source_language: str, target_language: str
) -> PairLoop:
    """The loop on what ``session`` has opened; without a prompt, in the model's chat template."""
    model = session.engine.model
    chosen = prompt or ChatPrompt(model.chat_prompt, source_language, target_language)
    return PairLoop(session.engine, model.vocab, session.updates, chosen, session.options.blocks)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    n = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        n += 1
    return n
