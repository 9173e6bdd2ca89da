"""Where sentences end, in Latin and CJK scripts."""

import re
from itertools import pairwise
from typing import Final

from templora_edge.documents.markup import UNGROUPED

CLOSING: Final = r"(?:[\s\u00a0\u202f]*»|[\"'”’)\]\}])*"
"""Pattern of quotes and brackets that stay with the sentence they close."""
_CJK_CLOSING: Final = r"[」』”’）】》〉\"'\)]*"
_TAGS: Final = rf"(?:{UNGROUPED})*"
_LATIN_END: Final = re.compile(
    # it begins at no other place, so that a long line takes no longer than its length
    rf"(?<![^\s.!?…])(?!(?<=[.!?…])[.!?…])"
    rf"(?P<word>[^\s.!?…]*)[.!?…]+{CLOSING}+{_TAGS}{CLOSING}+(?P<space>[\s\u00a0]++)"
    r"(?=[\"'“”‘’«(\[<—–-]*\s*(?P<next>[\w¿¡]))"
)
_CJK_SCRIPTS: Final = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\u3000-\u303f"
CJK: Final = re.compile(f"[{_CJK_SCRIPTS}]")
_CJK_END: Final = re.compile(rf"(?:[。！？]+…*|(?<=[{_CJK_SCRIPTS}])…+){_CJK_CLOSING}{_TAGS}")
_ABBREVIATIONS: Final = frozenset(  # French, English, German, Spanish titles and the like
    "m mm mme mlle mr mrs ms dr st ste prof capt col gen lt sr jr vs etc cf p pp vol chap fig no "  # noqa: SIM905
    "nos art ex av hr frl bzw sra srta".split()
)


def sentences(text: str) -> list[str]:
    """``text`` cut after each sentence; pieces keep their spaces, so joining them restores it."""
    places = pairwise([0, *sentence_ends(text), len(text)])
    return [text[begin:end] for begin, end in places if begin < end]


def sentence_ends(text: str) -> list[int]:
    """The places in ``text`` where a sentence begins after another, in ascending order.

    White space between two sentences goes with the first. In Latin scripts, an end shows by the
    word after it; in CJK scripts, by its own punctuation.
    """
    ends = [match.end() for match in _CJK_END.finditer(text)]
    for match in _LATIN_END.finditer(text):
        word = re.split(r"['’(«“\"\[]", match["word"])[-1].lower()
        initial = len(word) == 1 and word.isalpha() and match["word"][-1:].isupper()
        if not (initial or word in _ABBREVIATIONS or match["next"].islower()):
            ends.append(match.end())
    return sorted(ends)
