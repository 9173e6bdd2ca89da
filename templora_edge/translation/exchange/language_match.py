"""Language tags as files of other tools write them: fr, fr-FR, FR, fr_FR and fra are one."""

from collections.abc import Iterable

from langcodes import Language
from langcodes.tag_parser import LanguageTagError


def nearest(wanted: str, tags: Iterable[str]) -> str | None:
    """The first of ``tags`` that is ``wanted``, or else a variety of the same language."""
    alike = [tag for tag in tags if matches(tag, wanted)]
    return min(alike, key=lambda tag: _normal(tag) != _normal(wanted), default=None)


def matches(tag: str, wanted: str) -> bool:
    """Whether both are the same language, perhaps as it is spoken in different places."""
    return _main(tag) == _main(wanted) != ""


def _normal(tag: str) -> str:
    return tag.replace("_", "-").casefold()


def _main(tag: str) -> str:
    try:
        return Language.get(_normal(tag)).language or ""
    except LanguageTagError:
        return ""
