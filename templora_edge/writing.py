"""A text as it is written: from generated tokens to pieces of text, up to where the text ends."""

import codecs
from collections.abc import Iterator

from templora_edge.ending import EndedBy, Ending
from templora_edge.events import BlockReport, Piece, Token
from templora_edge.loop import TempLoraLoop
from templora_edge.protocols import Tokenizer


class Writing:
    """The tokens that the loop generates in one go, as text."""

    def __init__(self, loop: TempLoraLoop, tokenizer: Tokenizer, ending: Ending) -> None:
        self._loop, self._tokenizer, self.ending = loop, tokenizer, ending
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._taken: list[tuple[str, bool]] = []
        """The text of each token, and whether it ends with a whole character."""

    @property
    def is_open(self) -> bool:
        """Whether the text has begun and not ended."""
        return bool(self._taken) and self.ending.ended_by is None

    def run(self, n_predict: int | None) -> Iterator[Piece | BlockReport]:
        """Generate ``n_predict`` tokens (None: no limit), or up to the end of the text.

        Yields:
            Pieces, and each block's report once it is learned, or at the end.
        """
        events = self._loop.generate(n_predict)
        try:
            for event in events:
                if isinstance(event, BlockReport):
                    yield event
                    continue
                yield self.take(event)
                if self.ending.ended_by is not None:
                    break
        finally:
            events.close()
        is_over = self.ending.ended_by is not None
        yield from self.close(EndedBy.LENGTH if len(self._taken) == n_predict else EndedBy.MODEL)
        if is_over:  # otherwise the loop has come to its own end
            yield from self._loop.unlearned

    def take(self, token: Token) -> Piece:
        """Take the next token, and return what can be passed on of the text."""
        text = self._decoder.decode(self._tokenizer.piece(token.id))
        self._taken.append((text, not self._decoder.getstate()[0]))
        return Piece(self.ending.take(text), token.id, token.block)

    def close(self, cause: EndedBy) -> Iterator[Piece | BlockReport]:
        """End the text, for ``cause`` if no rule of `ending` has ended it.

        What is beyond its end is taken back from the loop's text, so that what is generated next
        follows what was passed on.
        """
        rest = ""
        if self.ending.ended_by is None:
            rest = self.ending.close(cause)
            if self.ending.ended_by is cause:
                rest += self._decoder.decode(b"", final=True)
        if rest:
            yield Piece(rest, None, self._loop.blocks[-1].index)
        if self.ending.n_beyond:
            yield from self._take_back(self.ending.n_beyond)

    def _take_back(self, n_characters: int) -> list[BlockReport]:
        n_tokens = n_taken = 0
        for text, is_whole in reversed(self._taken):
            if n_taken >= n_characters and is_whole:
                break
            n_tokens, n_taken = n_tokens + 1, n_taken + len(text)
        texts = (text for text, _ in self._taken[len(self._taken) - n_tokens :])
        kept = "".join(texts)[: n_taken - n_characters]
        return self._loop.take_back(n_tokens, self._tokenizer.tokenize(kept))
