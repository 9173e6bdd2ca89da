"""Direction of writing of a language."""

from typing import Final

import langcodes

_RIGHT_TO_LEFT: Final = frozenset(
    "Adlm Arab Aran Armi Avst Chrs Cprt Elym Hatr Hebr Hung Khar Lydi Mand Mani Mend Merc "  # noqa: SIM905
    "Mero Narb Nbat Nkoo Orkh Ougr Palm Phli Phlp Phnx Prti Rohg Samr Sarb Sogd Sogo Syrc "
    "Syre Syrj Syrn Thaa Yezi".split()
)
"""ISO 15924 codes of the scripts that are written from right to left (Unicode's bidi classes)."""


def is_rtl(language: str) -> bool:
    """Whether ``language``, a BCP 47 tag, is written from right to left; False if it is no tag."""
    if not langcodes.tag_is_valid(language):
        return False
    tag = langcodes.Language.get(language)
    return (tag.script or tag.maximize().script) in _RIGHT_TO_LEFT
