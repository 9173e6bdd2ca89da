"""The direction in which a language is written."""

from typing import Final

_RTL: Final = frozenset(
    "ar arc ary arz azb bal bgn bqi ckb dv fa glk ha-arab he iw khw ks lrc mzn nqo pnb prs ps sd "  # noqa: SIM905
    "syr ug ur yi".split()
)
_RTL_SCRIPTS: Final = frozenset(["adlm", "arab", "aran", "hebr", "nkoo", "rohg", "syrc", "thaa"])


def is_rtl(language: str) -> bool:
    """Whether text in ``language``, a BCP 47 tag, runs from right to left."""
    subtags = language.lower().replace("_", "-").split("-")
    script = next((subtag for subtag in subtags[1:] if len(subtag) == 4 and subtag.isalpha()), None)
    return script in _RTL_SCRIPTS if script else subtags[0] in _RTL
