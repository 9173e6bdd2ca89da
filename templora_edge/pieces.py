"""Generated tokens as pieces of text."""

import codecs
from collections.abc import Callable, Iterator

from templora_edge.events import Piece, Token


class Pieces:
    """Makes pieces of tokens, in order; a character that is not complete yet waits for the rest.

    Args:
        bytes_of: bytes of a token.
    """

    def __init__(self, bytes_of: Callable[[int], bytes]) -> None:
        self._bytes_of = bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._block = 0

    def of(self, token: Token) -> Piece:
        """The piece of the next token."""
        self._block = token.block
        return Piece(self._decoder.decode(self._bytes_of(token.id)), token.id, token.block)

    def rest(self) -> Iterator[Piece]:
        """The piece that stands for an incomplete character at the end, if there is one."""
        if rest := self._decoder.decode(b"", final=True):
            yield Piece(rest, None, self._block)
