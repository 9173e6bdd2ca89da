"""From what a model wrote to a translation: no reasoning, fences, preambles, quotes or notes."""

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from templora_edge.documents.markup import PLACEHOLDER, UNGROUPED

CJK_WEIGHT: Final = 3.0
"""Weight of a Chinese, Japanese or Korean character, in Latin ones."""
WHOLE: Final = 0.5
"""Ratio to the source's length from which a first line is taken for the whole translation."""
LONG_SOURCE: Final = 60
"""Length, in weighted characters, from which a source may be answered on several lines."""
PREAMBLE_WORDS: Final = 14
"""Most words of a preamble."""

_REASONING: Final = (
    "think|thinking|thought|thoughts|reason|reasoning|reflection|analysis|scratchpad|"
    "inner_monologue|seed:think"
)
_OPENING: Final = re.compile(
    rf"<(?:{_REASONING})>|\[(?:{_REASONING})\]|◁(?:{_REASONING})▷|<\|begin_of_thought\|>|"
    r"<\|?channel\|?>\s*(?:analysis|commentary|thought)\b(?:<\|message\|>)?|"
    r"\Aanalysis(?=.*assistantfinal)|<\|START_THINKING\|>",
    re.IGNORECASE | re.DOTALL,
)
_CLOSING: Final = re.compile(
    rf"</(?:{_REASONING})>|\[/(?:{_REASONING})\]|◁/(?:{_REASONING})▷|<\|end_of_thought\|>|"
    r"<\|channel\|>\s*final\s*<\|message\|>|<channel\|>|assistantfinal|<\|END_THINKING\|>",
    re.IGNORECASE,
)
_WRAPPER: Final = re.compile(
    r"</?(?:answer|translation|translated_text|output|result|response)>|"
    r"<\|(?:begin|end)_of_solution\|>|<\|(?:START|END)_RESPONSE\|>|"
    r"<\|(?:start|end|return|message)\|>",
    re.IGNORECASE,
)
_FENCE: Final = re.compile(r"^\s*(?:```|~~~)[\w-]*\s*$")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that no text has; those that end a line are not among them."""
_META: Final = (
    r"translation|translated|translating|traductions?|traduite?s?|übersetzung|übersetzt|"
    r"traducción|traducid[oa]|traduzione|tradott[oa]|tradução|traduzid[oa]|traducere|traducció|"
    r"vertaling|vertaald|översättning|översatt|oversættelse|oversettelse|käännös|tłumaczenie|"
    r"przekład|překlad|preklad|prijevod|fordítás|çeviri|çevirisi|terjemahan|bản dịch|перевод|"
    r"переклад|превод|μετάφραση|תרגום|ترجمة|الترجمة|ترجمه|अनुवाद"
)
_META_WORD: Final = re.compile(
    rf"\b(?:{_META})\b|翻译|翻譯|译文|譯文|翻訳|訳文|번역", re.IGNORECASE
)
_LEAD: Final = re.compile(r"[^:：\n]{0,120}[:：]")
_SIGNS: Final = r"[\s*_#>\"“”«»]*"
_POLITE: Final = re.compile(
    r"(?:sure|certainly|of course|absolutely|okay|ok|here(?: it is| you go|'s| is)?|bien sûr|"
    r"certainement|d'accord|voici|voilà|natürlich|gerne|klar|hier|claro|por supuesto|aquí|ecco|"
    r"certo|aqui|konečně|конечно|вот|好的|当然|以下|はい|以下)(?![^\W_])",
    re.IGNORECASE,
)
_REFUSAL: Final = re.compile(
    r"\bas an ai\b|\b(?:large )?language model\b|"
    r"\b(?:cannot|can't|can not|unable to|won't be able to) (?:translate|assist with|fulfil|"
    r"help with (?:that|this) request|provide (?:a|the|this) translation)|"
    r"\bplease provide the (?:text|sentence|source)",
    re.IGNORECASE,
)
_NOTE: Final = (
    r"(?:translator'?s? |t\.?)?note(?: d[ue] (?:la )?traduct\w+)?|n\.\s?[bt]\.|n\.d\.t\.|"
    r"explanation|"
    r"alternatively|alternative translations?|literally|remarque|explication|anmerkung|hinweis|"
    r"erklärung|nota(?: del traductor)?|explicación|примечание|注|注释|注意|訳注"
)
_NOTE_LINE: Final = re.compile(
    rf"{_SIGNS}[(\[]?{_SIGNS}(?:{_NOTE}){_SIGNS}[:：]|"
    r"-{3,}\s*$|(?:let me know|i hope this|feel free to|if you (?:need|have|want))\b",
    re.IGNORECASE,
)
_NOTE_AFTER: Final = re.compile(rf"\s*[(\[]\s*(?:{_NOTE})\s*[:：][^)\]]*[)\]]\s*$", re.IGNORECASE)
_LABEL: Final = re.compile(rf"{_SIGNS}([^\W\d_][\w ()-]{{0,30}}){_SIGNS}[:：]{_SIGNS}")
_QUOTES: Final = {
    '"': '"', "“": "”", "„": "“”", "«": "»", "»": "«", "'": "'", "‘": "’", "‚": "‘’",
    "「": "」", "『": "』", "`": "`",
}  # fmt: skip
_QUOTE_MARKS: Final = frozenset("".join([*_QUOTES, *_QUOTES.values()])) - set("`'’‘")
_STOPS: Final = ".．。｡।॥۔։።។။᠃"
"""Full stops of all scripts."""
_CLOSING_MARKS: Final = r"\s\"'”’»›)\]}」』）】*_"
_LAST_STOP: Final = re.compile(
    rf"(?<![.…。])(?P<stop>\s*[{_STOPS}])(?P<after>(?:[{_CLOSING_MARKS}]|{UNGROUPED})*)$"
)
_NO_STOPS: Final = re.compile(r"[\u0e00-\u0eff]")
"""Letters of Thai and Lao, in which sentences have no full stop."""
_ABBREVIATED: Final = re.compile(
    r"(?:^|[\s.(’'-])(?:[^\W\d_]|al|ave|blvd|bros|bzw|cf|cie|co|corp|dept|dr|eds|esq|etc|inc|jr|"
    r"ltda?|mrs?|ms|mt|nr|pp|prof|ph\.?d|rd|sr|sr[al]|sta?|ste|usw|vol)$",
    re.IGNORECASE,
)
_NUMBERED: Final = re.compile(r"(?:\d|\b[IVXLCDM]+)$")
_ORDINALS: Final = frozenset(
    "bs cs da de et eu fi fo hr hu is lb lv nb nn no pl sk sl sr tr".split()  # noqa: SIM905
)
"""Languages that write an ordinal with a full stop after its number."""
_EMPHASIS: Final = ("***", "**", "__", "*")


@dataclass(frozen=True)
class AnswerText:
    """Reads a model's answer to the request for a translation of ``source``, a line.

    Control characters are removed, and each format removes what else it cannot hold. What the
    source has itself, such as quotes around it or the word "translation", is not removed
    from the answer. An answer that repeats the source is the source.
    """

    source: str
    labels: tuple[str, ...] = ()
    """Names of the languages, which may stand before a translation, with a colon."""
    language: str = ""
    """BCP 47 tag of the translation, if it is known."""

    def translation(self, answer: str) -> str:
        """The translation in ``answer``, on one line; empty if there is none."""
        return self._without_stop(self._without_quotes(self.unframed(answer)))

    def unframed(self, answer: str) -> str:
        """The translation in ``answer`` with the quotes that may stand around it."""
        if answer.strip() == self.source.strip():
            return answer.strip()
        return self._without_note(self._joined(self._lines(_CONTROL.sub("", answer))))

    def is_whole(self, answer: str) -> bool:
        """Whether ``answer``, which the model is still writing, ends a line and is complete."""
        lines, _, _ = answer.rpartition("\n")
        text = self._joined(self._lines(lines))
        return bool(text) and (not self._may_have_lines or self._fills(text))

    def is_reasoning(self, answer: str) -> bool:
        """Whether ``answer``, which the model is still writing, has not come to a translation."""
        return self._may_reason and not self._without_reasoning(answer).strip()

    def is_refusal(self, answer: str) -> bool:
        """Whether ``answer`` talks about the request instead."""
        return bool(_REFUSAL.search(answer)) and not _REFUSAL.search(self.source)

    @cached_property
    def _may_reason(self) -> bool:
        return not (_OPENING.search(self.source) or _CLOSING.search(self.source))

    @cached_property
    def _may_have_lines(self) -> bool:
        return weight(self.source) >= LONG_SOURCE

    def _fills(self, text: str) -> bool:
        return weight(text) >= WHOLE * weight(self.source)

    def _without_reasoning(self, answer: str) -> str:
        """``answer`` after its reasoning, which a prompt may have opened; empty if it is open."""
        if not self._may_reason:
            return answer
        begin, opened = "", False
        while match := _CLOSING.search(answer):
            before = answer[: match.start()]
            opening = _OPENING.search(before)
            begin = begin + before[: opening.start()] if opening else ""
            answer, opened = answer[match.end() :], True
        if opening := _OPENING.search(answer):
            answer = answer[: opening.start()]
        return begin + answer if opened or opening else answer

    def _lines(self, answer: str) -> list[str]:
        """Lines of the translation in ``answer``, as far as they can be told from others."""
        text = self._without_reasoning(answer)
        if not _WRAPPER.search(self.source):
            text = _WRAPPER.sub("\n", text)
        lines = [line.strip() for line in text.splitlines()]
        fences = [i for i, line in enumerate(lines) if _FENCE.match(line)]
        if fences:  # what stands between them is the answer
            lines = lines[fences[0] + 1 : fences[1] if len(fences) > 1 else None]
        found: list[str] = []
        for line in lines:
            if found and _NOTE_LINE.match(line) and not _NOTE_LINE.match(self.source):
                break
            rest = line if found else self._after_preamble(line)
            if rest:
                found.append(rest)
        if len(found) > 1 and self._is_introduction(found[0]):
            found = found[1:]
        echo = self.source.strip().casefold()
        return [line for line in found if line.casefold() != echo] or found

    def _after_preamble(self, line: str) -> str:
        """``line`` without "Here is the translation:" and the like at its beginning."""
        if not _META_WORD.search(self.source):
            lead = _LEAD.match(line)
            if lead and _META_WORD.search(lead[0]) and len(lead[0].split()) <= PREAMBLE_WORDS:
                rest = line[lead.end() :].strip().removeprefix("**").lstrip()
                return rest or line * self.source.rstrip().endswith((":", "："))
        label = _LABEL.match(line)
        own = _LABEL.match(self.source)
        if label and not own and label[1].strip().casefold() in self.labels:
            return line[label.end() :].strip()
        return line

    def _is_introduction(self, line: str) -> bool:
        """Whether ``line``, which others follow, only introduces them."""
        short = len(line.split()) <= PREAMBLE_WORDS
        if not short or not _POLITE.match(line):
            return False
        return line.endswith((":", "：", "!", "！")) and not self.source.endswith((":", "!"))

    def _joined(self, lines: list[str]) -> str:
        """As many of ``lines`` as the source is long, on one line."""
        text = lines[0] if lines else ""
        for line in lines[1:]:
            if not self._may_have_lines or self._fills(text) or _LABEL.match(line):
                break
            text = f"{text} {line}"
        return text

    def _without_note(self, text: str) -> str:
        return text if _NOTE_AFTER.search(self.source) else _NOTE_AFTER.sub("", text)

    def _without_quotes(self, text: str) -> str:
        """``text`` without quotes or emphasis around all of it that the source does not have."""
        source = self.source.strip()
        for mark in _EMPHASIS:
            inner = text[len(mark) : -len(mark)]
            around = text.startswith(mark) and text.endswith(mark) and len(inner) > 0
            if around and mark[0] not in source and mark not in inner:
                text = inner.strip()
        if _QUOTE_MARKS.intersection(source) or source.startswith(("-", "–", "—")):
            return text
        closing = _QUOTES.get(text[:1], "")
        inner = text[1:-1]
        if (
            len(text) > 2
            and text[-1] in closing
            and text[0] not in inner
            and not any(mark in inner for mark in closing if mark not in "'’")
            and text[0] != source[:1]
        ):
            return inner.strip()
        return text

    def _without_stop(self, text: str) -> str:
        """``text`` without a full stop at its end if its source, such as a title, has none."""
        source = PLACEHOLDER.sub("", self.source)
        last = re.sub(rf"[{_CLOSING_MARKS}]+$", "", source)[-1:]
        ends_in_word = bool(last) and (last in "%‰" or unicodedata.category(last)[0] != "P")
        stop = _LAST_STOP.search(text)
        if stop is None or not ends_in_word or _NO_STOPS.match(last):
            return text
        before = text[: stop.start()]
        ordinals = self.language.partition("-")[0].lower() in _ORDINALS
        if _ABBREVIATED.search(before) or (ordinals and _NUMBERED.search(before)):
            return text
        return before + stop["after"]


def weight(text: str) -> float:
    """Length of ``text`` in Latin characters."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + (CJK_WEIGHT - 1) * wide
