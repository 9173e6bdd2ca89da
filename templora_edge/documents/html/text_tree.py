"""The texts of a tree, and translations in their place."""

from collections.abc import Sequence

from lxml.etree import _Element

from templora_edge.documents.html.inline import XmlItem, fill
from templora_edge.documents.html.lines import split_contents
from templora_edge.documents.html.passage import Passage
from templora_edge.documents.html.passages import Translatable


def replace_texts(
    passages: Sequence[Translatable], translations: Sequence[str], *, bilingual: bool
) -> bool:
    """Put ``translations`` in the place of ``passages``; whether anything has changed.

    A passage whose translation is its own text is left as it is. This uses up the passages' tree,
    so it can be called once.
    """
    changed = False
    blocks: dict[_Element, list[tuple[Passage, str]]] = {}
    for passage, translation in zip(passages, translations, strict=True):
        if not bilingual and translation == passage.text:
            continue
        changed = True
        if isinstance(passage, Passage):
            blocks.setdefault(passage.block, []).append((passage, translation))
        else:
            passage.translate(translation, bilingual=bilingual)
    for block, pairs in blocks.items():
        old, new, end = split_contents(block), list[XmlItem](), 0
        for passage, translation in pairs:
            new += old[end : passage.start]
            new += passage.translated(translation, bilingual=bilingual)
            end = passage.stop
        fill(block, new + old[end:])
    return changed
