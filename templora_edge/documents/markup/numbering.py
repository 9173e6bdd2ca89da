"""Placeholders with other numbers: the same text of two documents has them in the same order."""

import re
from collections.abc import Mapping

from templora_edge.documents.markup.syntax import PLACEHOLDER


def in_order(text: str) -> str:
    """``text`` with its placeholders numbered from 1, in the order in which they begin."""
    return _renumbered(text, {number: i for i, number in enumerate(_numbers(text), 1)})


def renumbered(text: str, before: str, after: str) -> str:
    """``text`` with the numbers that the placeholders of ``before`` have in ``after``.

    Args:
        text: a text with no placeholders but those of ``before``.
        before: a text, such as the source of ``text``.
        after: the same, but for the numbers.

    Raises:
        ValueError: ``after`` has more placeholders than ``before``, or fewer.
    """
    return _renumbered(text, dict(zip(_numbers(before), _numbers(after), strict=True)))


def _numbers(text: str) -> list[str]:
    return list(dict.fromkeys(match[2] for match in PLACEHOLDER.finditer(text)))


def _renumbered(text: str, numbers: Mapping[str, object]) -> str:
    def change(match: re.Match[str]) -> str:
        return f"<{match[1]}{numbers[match[2]]}{match[3]}>"

    return PLACEHOLDER.sub(change, text)
