"""Translation memory: exact matches are taken over, close ones are shown to the model."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rapidfuzz import fuzz, process

from templora_edge.documents.markup import in_order, is_kept, plain, renumbered
from templora_edge.translation.parallel_text import read_bitext
from templora_edge.translation.prompt import Pair

CLOSE: Final = 75.0
"""Least likeness of a close match in percent: two times the characters that both texts have in the
same order, divided by the characters of both (the normalized indel similarity)."""


class Memory:
    """Earlier translations, looked up by their sources.

    White space and the numbers of placeholders do not count. Of several translations of a source,
    the last one is used: memories grow at their end.
    """

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self._exact: dict[str, Pair] = {}
        for pair in pairs:
            if is_kept(pair.source, pair.translation):
                self._exact[_normal(pair.source)] = pair
        self._pairs = list(self._exact.values())
        self._texts = [_text(pair.source) for pair in self._pairs]

    @classmethod
    def read(
        cls,
        path: Path,
        source_language: str,
        target_language: str,
        before: Iterable[Pair] = (),
    ) -> "Memory":
        """Read a file that `read_bitext` can read; its pairs come after those ``before``.

        Raises:
            DocumentError: the file cannot be read, or has no pairs of these languages.
            MissingExtraError: lxml, which reads XLIFF and TMX, is not installed.
        """
        return cls([*before, *read_bitext(path, source_language, target_language, "--memory")])

    def exact(self, source: str) -> str | None:
        """The translation of a text that is ``source``, with the placeholders of ``source``."""
        pair = self._exact.get(_normal(source))
        if pair is None:
            return None
        return renumbered(pair.translation, pair.source, source)

    def close(self, source: str) -> Pair | None:
        """The pair whose source is most like ``source``, if it is at least `CLOSE`; no markup.

        Only words count, in any case.
        """
        found = process.extractOne(
            _text(source), self._texts, scorer=fuzz.ratio, score_cutoff=CLOSE
        )
        if found is None:
            return None
        pair = self._pairs[found[2]]
        return Pair(plain(pair.source), plain(pair.translation))


def _normal(source: str) -> str:
    """``source`` on one line, its placeholders numbered in order."""
    return in_order(" ".join(source.split()))


def _text(source: str) -> str:
    return " ".join(plain(source).casefold().split())
