"""HTML in any piece: a whole file, or a block in Markdown whose tags are not balanced."""

from collections import Counter
from collections.abc import Sequence

from templora_edge.documents.html.language import languages_in, set_language
from templora_edge.documents.html.passages import Reader
from templora_edge.documents.html.source import HtmlSource
from templora_edge.documents.html.text_tree import replace_texts


class HtmlFragment:
    """The texts of a string of HTML.

    Args:
        name: Of the file, for messages.
        language: BCP 47 tag of its text, if known.

    Raises:
        DocumentError: Elements are nested too deeply.
    """

    def __init__(self, html: str, name: str = "HTML", language: str = "") -> None:
        self._html, self._name, self._language = html, name, language
        self.paragraphs: list[str] = []
        """The texts to translate, in reading order; see `Document.paragraphs`."""
        self.skipped: Counter[str] = Counter()
        """See `Document.skipped`."""
        source = HtmlSource(html, name)
        reader = Reader(languages_in(source.root, self._language))
        self.paragraphs = [passage.text for passage in reader.read(source.root)]
        self.skipped = reader.skipped

    def translated(
        self, translations: Sequence[str], *, language: str, bilingual: bool = False
    ) -> str:
        """The HTML with ``translations``; whatever is not text stays as it was typed.

        Args:
            translations: One for each paragraph; see `Document.write`.
            language: BCP 47 tag of the translations, set wherever the source's is named.
            bilingual: Keep each paragraph, followed by a line break and its translation.
        """
        source = HtmlSource(self._html, self._name)
        languages = languages_in(source.root, self._language)
        passages = list(Reader(languages).read(source.root))
        replace_texts(passages, translations, bilingual=bilingual)
        set_language(source.root, language, languages)
        return source.to_text()
