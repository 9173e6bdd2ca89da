"""A model's tokenizer: text to tokens and back."""

import ctypes
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import llama_cpp
from llama_cpp import llama_token

from templora_edge.engine.pointer import Pointer
from templora_edge.errors import EngineError

_CONTROL: Final = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
"""Attributes of tokens that llama.cpp parses in a text only with ``parse_special``."""
_QUOTE: Final = "\ufdd0"
"""A code point that Unicode reserves for use inside programs."""
_SPACES: Final = " \t\n\v\f\r"
"""The spaces that C's isspace knows."""


class Vocab:
    """The tokenizer of a `Model`, valid as long as the model is open."""

    pointer = Pointer()

    def __init__(self, pointer: Any) -> None:
        self.pointer = pointer
        self.n_tokens = int(llama_cpp.llama_vocab_n_tokens(pointer))

    @property
    def has_text(self) -> bool:
        """Whether tokens have texts; llama.cpp ends the process when asked for missing ones."""
        kind = llama_cpp.llama_vocab_type(self.pointer)
        return bool(kind != llama_cpp.LLAMA_VOCAB_TYPE_NONE)

    @property
    def eos(self) -> int:
        """End-of-text token; -1 if there is none."""
        return int(llama_cpp.llama_vocab_eos(self.pointer))

    @property
    def bos(self) -> int:
        """Begin-of-text token; -1 if there is none."""
        return int(llama_cpp.llama_vocab_bos(self.pointer))

    @property
    def adds_bos(self) -> bool:
        """Whether texts begin with `bos`."""
        return self.bos >= 0 and bool(llama_cpp.llama_vocab_get_add_bos(self.pointer))

    @property
    def head(self) -> tuple[int, ...]:
        """The tokens that every context and training sequence begins with: BOS, or none."""
        return (self.bos,) if self.adds_bos else ()

    def tokenize(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Tokens of ``text``, without BOS.

        Args:
            text: text to tokenize.
            parse_special: parse control tokens in the text.

        Raises:
            EngineError: the text is too large for llama.cpp (2 GiB), or the model has no tokenizer.
        """
        if not text:
            return []
        if not self.has_text:
            raise EngineError("the model has no tokenizer (tokenizer.ggml.model is none)")
        data = text.encode()
        capacity = len(data) + 16
        if capacity > 2**31 - 1:
            raise EngineError(f"text of {len(data)} bytes; llama.cpp tokenizes at most 2 GiB")
        tokens = (llama_token * capacity)()
        n = llama_cpp.llama_tokenize(
            self.pointer, data, len(data), tokens, capacity, False, parse_special
        )
        if n < 0:
            raise EngineError(f"llama.cpp could not tokenize a text of {len(data)} bytes")
        return tokens[:n]

    def tokenize_prompt(self, prompt: str) -> list[int]:
        """Tokens of a template's output, without BOS even if the template writes it.

        Control tokens are parsed, except in text that went through `quote`. Without quoted text the
        tokens are llama.cpp's (common_chat_template_direct_apply, llama_tokenize).
        """
        if self.adds_bos:
            prompt = prompt.removeprefix(self.text(self.bos))
        if _QUOTE not in prompt:
            return self.tokenize(prompt, parse_special=True)
        # llama.cpp also splits a text at control tokens first (tokenizer_st_partition), so the
        # parts between them can be tokenized one by one
        tokens: list[int] = []
        end = 0
        for match in re.finditer(self._control_pattern, prompt):
            before = prompt[end : match.start()]
            token = self._control_tokens[match.group()]
            attributes = int(llama_cpp.llama_vocab_get_attr(self.pointer, token))
            if attributes & llama_cpp.LLAMA_TOKEN_ATTR_LSTRIP:
                before = before.rstrip(_SPACES)
            tokens += [*self.tokenize(_unquote(before)), token]
            end = match.end()
            if attributes & llama_cpp.LLAMA_TOKEN_ATTR_RSTRIP:
                end += len(prompt[end:]) - len(prompt[end:].lstrip(_SPACES))
        return tokens + self.tokenize(_unquote(prompt[end:]))

    def quote(self, text: str) -> str:
        """``text`` marked for use in a template, so that `tokenize_prompt` parses nothing in it.

        User-defined tokens, which llama.cpp finds in any text, stay: they are text.
        """
        text = text.replace(_QUOTE, 2 * _QUOTE)
        if not self._control_tokens:
            return text
        # put a mark inside each control token: templates trim and cut texts, but not there
        return re.sub(f"(?=(?:{self._control_pattern}))(.)", rf"\1{_QUOTE}", text, flags=re.DOTALL)

    def piece(self, token: int) -> bytes:
        """Bytes of one token, which may end within a UTF-8 character; none for control tokens."""
        return self._piece(token, special=False) if self.has_text else b""

    def text(self, token: int) -> str:
        """Text of one token, control tokens too; empty if there is no such token."""
        if token < 0:
            return ""
        return self._piece(token, special=True).decode("utf-8", "replace")

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Text of ``tokens``; invalid UTF-8 becomes U+FFFD."""
        return b"".join(map(self.piece, tokens)).decode("utf-8", "replace")

    def is_control(self, token: int) -> bool:
        """Whether ``token`` is a control token or stands for unknown text."""
        if not self.has_text:
            return False
        return bool(llama_cpp.llama_vocab_get_attr(self.pointer, token) & _CONTROL)

    def is_end(self, token: int) -> bool:
        """Whether ``token`` ends generation."""
        return bool(llama_cpp.llama_vocab_is_eog(self.pointer, token))

    def end_tokens(self) -> list[int]:
        """All tokens that end generation."""
        return [token for token in range(self.n_tokens) if self.is_end(token)]

    @cached_property
    def _control_tokens(self) -> dict[str, int]:
        """Text -> control token."""
        control = (token for token in range(self.n_tokens) if self.is_control(token))
        return {text: token for token in control if (text := self.text(token))}

    @cached_property
    def _control_pattern(self) -> str:
        """A pattern of all control tokens, longest first, in llama.cpp's order."""
        return "|".join(map(re.escape, sorted(self._control_tokens, key=len, reverse=True)))

    def _piece(self, token: int, *, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        n = llama_cpp.llama_token_to_piece(self.pointer, token, buffer, len(buffer), 0, special)
        if n < 0:  # minus the length it needs
            buffer = ctypes.create_string_buffer(-n)
            n = llama_cpp.llama_token_to_piece(self.pointer, token, buffer, -n, 0, special)
        return buffer.raw[:n]


def _unquote(text: str) -> str:
    return re.sub(f"{_QUOTE}({_QUOTE}?)", r"\1", text)
