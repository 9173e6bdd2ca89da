"""Text to tokens and back."""

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
from llama_cpp import llama_token

from templora_edge.errors import EngineError


class Vocab:
    """The tokenizer of a model. Lives as long as its `Model`."""

    def __init__(self, pointer: Any) -> None:
        self.pointer = pointer
        self.n_tokens = int(llama_cpp.llama_vocab_n_tokens(pointer))

    @property
    def eos(self) -> int:
        """End-of-text token, -1 if there is none."""
        return int(llama_cpp.llama_vocab_eos(self.pointer))

    @property
    def bos(self) -> int:
        """Begin-of-text token, -1 if there is none."""
        return int(llama_cpp.llama_vocab_bos(self.pointer))

    @property
    def adds_bos(self) -> bool:
        """Whether texts begin with `bos`."""
        return bool(llama_cpp.llama_vocab_get_add_bos(self.pointer))

    def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """Tokens of ``text``.

        Args:
            add_special: begin with BOS if the model wants one.
            parse_special: read the text of control tokens as those tokens.

        Raises:
            EngineError: the text is too large for llama.cpp (2 GiB).
        """
        data = text.encode()
        capacity = len(data) + 16
        if capacity > 2**31 - 1:
            raise EngineError(f"text of {len(data)} bytes; llama.cpp tokenizes at most 2 GiB")
        tokens = (llama_token * capacity)()
        n = llama_cpp.llama_tokenize(
            self.pointer, data, len(data), tokens, capacity, add_special, parse_special
        )
        if n < 0:
            raise EngineError(f"llama.cpp could not tokenize a text of {len(data)} bytes")
        return tokens[:n]

    def piece(self, token: int) -> bytes:
        """Bytes of one token, which may end inside a UTF-8 character; control tokens have none."""
        return self._piece(token, special=False)

    def text(self, token: int) -> str:
        """Text of one token, control tokens included; empty if there is no such token."""
        if token < 0:
            return ""
        return self._piece(token, special=True).decode("utf-8", "replace")

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Text of ``tokens``; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(map(self.piece, tokens)).decode("utf-8", "replace")

    def is_end(self, token: int) -> bool:
        """Whether ``token`` ends generation."""
        return bool(llama_cpp.llama_vocab_is_eog(self.pointer, token))

    def end_tokens(self) -> list[int]:
        """All tokens that end generation."""
        return [token for token in range(self.n_tokens) if self.is_end(token)]

    def _piece(self, token: int, *, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        n = llama_cpp.llama_token_to_piece(self.pointer, token, buffer, len(buffer), 0, special)
        if n < 0:  # the length it needs
            buffer = ctypes.create_string_buffer(-n)
            n = llama_cpp.llama_token_to_piece(self.pointer, token, buffer, -n, 0, special)
        return buffer.raw[:n]
