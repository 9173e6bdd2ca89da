"""A guess of the encoding of a text that is not in Unicode."""

import re
import unicodedata
from itertools import pairwise
from typing import Final

from charset_normalizer import from_bytes

_LATIN: Final = ("cp1252", "mac_roman", "cp1250", "iso8859_2", "cp1254", "cp850")
_WESTERN: Final = ("cp1252", "mac_roman", "cp850")
_CENTRAL: Final = ("cp1250", "iso8859_2", "mac_latin2", "cp852")
_CYRILLIC: Final = ("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic")
_BALTIC: Final = ("cp1257", "iso8859_13", "iso8859_4")
_LEGACY: Final = {
    **dict.fromkeys(("bs", "cs", "hr", "hu", "pl", "ro", "sk", "sl", "sq"), _CENTRAL),
    **dict.fromkeys(("be", "bg", "mk", "ru", "sr"), _CYRILLIC),
    **dict.fromkeys(("et", "lt", "lv"), _BALTIC),
    "uk": ("cp1251", "koi8_u", "cp866", "iso8859_5", "mac_cyrillic"),
    "el": ("cp1253", "iso8859_7", "mac_greek", "cp737"),
    "tr": ("cp1254", "iso8859_9", "mac_turkish", "cp857"),
    "he": ("cp1255", "iso8859_8", "cp862"),
    "ar": ("cp1256", "iso8859_6"),
    "fa": ("cp1256",),
    "th": ("cp874",),
    "vi": ("cp1258",),
    "ja": ("cp932", "euc_jp"),
    "ko": ("cp949",),
    "zh": ("gb18030", "big5"),
}
"""Encodings in which a language was written before Unicode, the most usual first."""
_MULTIBYTE: Final = frozenset({"ja", "ko", "zh"})
_HIGH: Final = re.compile(rb"[\x80-\xff]+")
_SAMPLE: Final = 1 << 18
"""Bytes that a guess is made from."""


def guessed_encoding(data: bytes, language: str | None) -> str | None:
    """The likeliest encoding that can decode ``data``; None if there is none.

    Of encodings in which ``data`` makes equally good words, the most usual one is taken, as
    charset-normalizer takes a few French accents for Polish or Turkish ones.

    Args:
        language: BCP 47 tag of the text, if known.
    """
    code = (language or "").replace("_", "-").split("-")[0].lower()
    if code in _MULTIBYTE:
        return _detected(data, _LEGACY[code]) or _fewest_oddities(data, _LEGACY[code])
    if code:
        return _fewest_oddities(data, _LEGACY.get(code, _WESTERN))
    found = None if _is_latin(data) else _detected(data)
    return found or _fewest_oddities(data, _LATIN)


def _detected(data: bytes, among: tuple[str, ...] = ()) -> str | None:
    best = from_bytes(data, cp_isolation=list(among)).best()
    return best.encoding if best and _decodes(data, best.encoding) else None


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _is_latin(data: bytes) -> bool:
    """Whether what is not ASCII are letters here and there, as in Latin script, not whole words."""
    runs = [len(run) for run in _HIGH.findall(data[:_SAMPLE])]
    return 2 * sum(run for run in runs if run > 2) < sum(runs)


def _fewest_oddities(data: bytes, encodings: tuple[str, ...]) -> str | None:
    able = [encoding for encoding in encodings if _decodes(data, encoding)]
    sample = data[:_SAMPLE]
    return min(
        able, key=lambda encoding: _oddities(sample.decode(encoding, "ignore")), default=None
    )


def _oddities(text: str) -> int:
    """How often a character of ``text`` is not where words and punctuation have it."""
    padded = f" {text} "
    return sum(
        _is_odd(before, character, after)
        for (before, character), after in zip(pairwise(padded), padded[2:], strict=False)
        if not character.isascii()
    )


def _is_odd(before: str, character: str, after: str) -> bool:
    category = unicodedata.category(character)
    if category in {"Lu", "Lt"}:
        return before.islower() or (before.isalpha() and after.islower())
    if category in {"Ll", "Lo", "Mn"}:
        return False
    if category in {"Cc", "Cn", "Co", "Lm", "Sk"}:
        return True
    if category in {"Pi", "Ps"} or character in "¿¡":
        return before.isalpha()
    if category in {"So", "Sm", "No", "Sc"}:
        return before.isalpha() or after.isalpha()
    return before.isalpha() and after.isalpha() and character not in "’·\xad—"
