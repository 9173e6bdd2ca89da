"""Numbers in two languages, compared by value: 14 h 30 is 2:30 p.m., 12 may be twelve."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Final

_DIGITS: Final = re.compile(r"\d{1,3}(?:[ \u00a0\u202f'’]\d{3})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,]\d+)*")
_ROMAN: Final = re.compile(r"\b[IVXLCDM]+(?=\b|(?:e|er|re|ème|º|o)\b)")
_SCALES: Final = (
    (10**3, r"mill?es?|thousand|tausend|mila|mil|тысяч\w*|千"),
    (10**6, r"millions?|millionen|millón|millones|milion\w*|milh\w+|миллион\w*"),
    (10**9, r"milliards?|billions?|milliarden|miliard\w+|миллиард\w*"),
    (12, r"dozens?|douzaines?|dutzend|docenas?|dozzin\w"),
)
_SCALE: Final = re.compile(
    r"[ \u00a0\u202f-]?(?:" + "|".join(f"({words})" for _, words in _SCALES) + r")\b",
    re.IGNORECASE,
)
_JOINTS: Final = re.compile(r"[\s\u00a0\u202f'’-]+")
_AND: Final = re.compile(r"\b(?:and|et|y|e)\b", re.IGNORECASE)
MOST_SPELLED: Final = 999_999
"""Largest number that is looked for in words."""
SMALL: Final = 100
"""Numbers that are often written in words, and cannot be told where the words are unknown."""

_UNITS: Final = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze "
    "seize dixsept dixhuit dixneuf",
    "de": "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
    "fünfzehn sechzehn siebzehn achtzehn neunzehn",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce "
    "quince dieciséis diecisiete dieciocho diecinueve",
    "it": "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici "
    "quattordici quindici sedici diciassette diciotto diciannove",
}
_TENS: Final = {
    "en": "twenty thirty forty fifty sixty seventy eighty ninety",
    "fr": "vingt trente quarante cinquante soixante soixantedix quatrevingt quatrevingtdix",
    "de": "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
    "es": "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "it": "venti trenta quaranta cinquanta sessanta settanta ottanta novanta",
}
_HUNDRED: Final = {"en": "hundred", "fr": "cent", "de": "hundert", "es": "ciento", "it": "cento"}
_THOUSAND: Final = {"en": "thousand", "fr": "mille", "de": "tausend", "es": "mil", "it": "mila"}
_OTHERS: Final = {
    "en": {
        0: "midnight nought none", 1: "a an first once single", 2: "second twice couple both pair",
        3: "third thrice", 5: "fifth", 8: "eighth", 9: "ninth", 12: "twelfth noon midday dozen",
        15: "quarter", 20: "twentieth score", 24: "midnight", 30: "half thirtieth", 40: "fortieth",
        45: "quarter", 50: "fiftieth", 60: "sixtieth", 70: "seventieth", 80: "eightieth",
        90: "ninetieth",
    },
    "fr": {
        0: "minuit", 1: "une premier première", 2: "second seconde", 5: "cinquième",
        9: "neuvième", 12: "midi douzaine", 15: "quart quinzaine", 24: "minuit", 30: "demi demie",
        45: "quart", 70: "septante", 80: "octante huitante", 90: "nonante",
    },
    "de": {
        0: "mitternacht", 1: "eins eine einen einem einer erste", 2: "zweite beide", 3: "dritte",
        7: "siebte", 12: "mittag dutzend", 15: "viertel", 30: "halb", 45: "viertel",
    },
    "es": {
        0: "medianoche", 1: "un una primer", 2: "segund", 3: "tercer", 12: "mediodía docena",
        15: "cuarto", 30: "media", 100: "cien",
    },
    "it": {
        0: "mezzanotte", 1: "un una prim", 2: "second", 3: "terz", 12: "mezzogiorno dozzina",
        15: "quarto", 30: "mezz", 1000: "mille",
    },
}  # fmt: skip
"""Further words for a number, and beginnings of words."""
_CJK_DIGITS: Final = "〇一二三四五六七八九"


def changed(source: str, translation: str, source_language: str, target_language: str) -> list[str]:
    """Numbers in digits that only one of both texts has, in digits, words or Roman numerals.

    Args:
        source: a text.
        translation: its translation.
        source_language: two-letter code; number words are known of some languages.
        target_language: the same of the translation.
    """
    source, translation = (unicodedata.normalize("NFKC", text) for text in (source, translation))
    there, here = list(_numbers(source)), list(_numbers(translation))
    lost = _missing(there, here, translation, target_language)
    added = _missing(here, there, source, source_language)
    return [*lost, *added]


def _missing(
    wanted: list[tuple[str, frozenset[float]]],
    found: list[tuple[str, frozenset[float]]],
    text: str,
    language: str,
) -> list[str]:
    """Those of ``wanted`` that ``text``, which has the numbers ``found``, lacks."""
    values = frozenset[float]().union(*(one for _, one in found), _roman(text))
    joined = _joined(text)
    foreign = any(not values_of & _all(wanted) for _, values_of in found)
    missing = []
    for number, candidates in wanted:
        if candidates & values or any(_is_spelled(n, joined, text, language) for n in candidates):
            continue
        if language not in _UNITS and min(candidates) <= SMALL and not foreign:
            continue  # it may be in words
        missing.append(number)
    return missing


def _all(numbers: list[tuple[str, frozenset[float]]]) -> frozenset[float]:
    return frozenset[float]().union(*(values for _, values in numbers))


def _numbers(text: str) -> Iterator[tuple[str, frozenset[float]]]:
    """Each number in digits with the values that it may have."""
    for match in _DIGITS.finditer(text):
        values = _values(match[0])
        if scale := _SCALE.match(text, match.end()):
            factor = next(n for (n, _), group in zip(_SCALES, scale.groups(), strict=True) if group)
            values |= {round(value * factor, 6) for value in values}
        hour = next(iter(values))
        if len(values) == 1 and 13 <= hour <= 24:
            values |= {hour - 12}  # of a day of 24 hours
        elif len(values) == 1 and 1 <= hour <= 12:
            values |= {hour + 12}
        yield match[0], frozenset(values)


def _values(number: str) -> set[float]:
    """The values of a number, as some languages write a comma where others write a point."""
    number = re.sub(r"[ \u00a0\u202f'’]", "", number)
    marks = [character for character in number if character in ".,"]
    if not marks:
        return {float(number)}
    whole, _, rest = number.rpartition(marks[-1])
    values = set()
    groups = re.split(r"[.,]", number)
    if all(len(group) == 3 for group in groups[1:]) and len(groups[0]) <= 3:
        values.add(float("".join(groups)))
    if len(set(marks)) == len(marks):
        values.add(float(re.sub(r"[.,]", "", whole) + "." + rest))
    return values or {float(group) for group in groups}  # a date, a version, a verse


def _roman(text: str) -> frozenset[float]:
    digits = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
    found = set[float]()
    for match in _ROMAN.finditer(text):
        numerals = [digits[numeral] for numeral in match[0]]
        following = [*numerals[1:], 0]
        found.add(sum(-n if n < after else n for n, after in zip(numerals, following, strict=True)))
    return frozenset(found)


def _joined(text: str) -> str:
    return _without_accents(_JOINTS.sub("", _AND.sub("", text)).casefold())


def _without_accents(text: str) -> str:
    parts = unicodedata.normalize("NFD", text)
    return "".join(part for part in parts if not unicodedata.combining(part))


def _is_spelled(value: float, joined: str, text: str, language: str) -> bool:
    """Whether ``value`` stands in words in ``text``, which ``joined`` has without spaces."""
    if value != int(value) or value > MOST_SPELLED:
        return False
    n = int(value)
    if language in ("zh", "ja", "yue"):
        return any(word in text for word in _in_cjk(n))
    if language not in _UNITS:
        return False
    if any(word in joined for word in _spelled(n, language)):
        return True
    others = _OTHERS[language].get(n, "").split()
    return any(re.search(rf"\b{word}", text, re.IGNORECASE) for word in others)


@cache
def _spelled(n: int, language: str) -> tuple[str, ...]:
    """``n`` in words without spaces, as the beginning of cardinal, ordinal and plural forms."""
    forms = {_cardinal(n, language)}
    if language == "en":
        forms |= {form[:-1] + "ie" for form in forms if form.endswith("y")}  # eighties, eightieth
        if 1000 < n < 10_000 and n % 1000 >= 100:  # eighteen hundred
            forms.add(_cardinal(n // 100, language) + "hundred" + _rest(n % 100, language))
            forms.add(_cardinal(n // 100, language) + _rest(n % 100, language))
        irregular = {
            1: "first",
            2: "second",
            3: "third",
            5: "fifth",
            8: "eighth",
            9: "ninth",
            12: "twelfth",
        }
        if n > 20 and n % 100 > 20 and n % 10 in irregular:
            forms.add(_cardinal(n - n % 10, language) + irregular[n % 10])
    if language == "fr":
        forms |= {form.replace("vingts", "vingt") for form in forms}
        forms |= {form[:-1] for form in forms if form.endswith("e")}  # onzième
        if 1000 < n < 2000:
            forms.add(_cardinal(n // 100, language) + "cent" + _rest(n % 100, language))
    if language == "de":
        forms |= {form.replace("ss", "ß") for form in forms}
    return tuple(_without_accents(form.casefold()) for form in forms)


def _rest(n: int, language: str) -> str:
    return _cardinal(n, language) if n else ""


def _cardinal(n: int, language: str) -> str:  # noqa: PLR0911
    """``n``, at most `MOST_SPELLED`, in words without spaces, hyphens and "and"."""
    units, tens = _UNITS[language].split(), _TENS[language].split()
    if n < 20:
        return units[n]
    if n < 100:
        ten, unit = divmod(n, 10)
        if language == "de":
            return (units[unit] + "und" if unit else "") + tens[ten - 2]
        if language == "fr" and ten in (7, 9):
            return tens[ten - 3] + units[10 + unit]
        if language == "es" and ten == 2 and unit:
            return "veinti" + units[unit]
        if language == "it" and unit in (1, 8):
            return tens[ten - 2][:-1] + units[unit]
        return tens[ten - 2] + (units[unit] if unit else "")
    scale, names = (100, _HUNDRED) if n < 1000 else (1000, _THOUSAND)
    many, rest = divmod(n, scale)
    one = "" if many == 1 and language != "en" else _cardinal(many, language)
    name = "mille" if language == "it" and scale == 1000 and many == 1 else names[language]
    plural = "s" if language == "es" and scale == 100 and many > 1 else ""
    name = "cientos" if plural else name
    return one + name + _rest(rest, language)


def _in_cjk(n: int) -> set[str]:
    """``n`` in Chinese numerals; a year digit by digit, too."""
    forms = {"".join(_CJK_DIGITS[int(digit)] for digit in str(n))}
    written, rest = "", n
    for scale, name in ((10_000, "万"), (1000, "千"), (100, "百"), (10, "十")):
        many, rest = divmod(rest, scale)
        if many:
            one = many == 1 and scale == 10 and not written
            written += ("" if one else min(_in_cjk(many), key=len)) + name
    written += _CJK_DIGITS[rest] if rest else ""
    return forms | {written or "零", (written or "零").replace("万", "萬")}
