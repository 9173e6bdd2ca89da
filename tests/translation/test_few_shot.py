"""The prompt of models that have no template: examples, pairs, terms, and the source."""

from itertools import product

import pytest

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.models.gguf_file import GgufFile
from templora_edge.translation.checks import identify, known_languages
from templora_edge.translation.example_pairs import SENTENCES, example_pairs
from templora_edge.translation.prompt import Pair, Request, TemplatePrompt, own_prompt

PAIR = Pair("Le vent soufflait.", "The wind blew.")
TERM = Pair("phare", "lighthouse")


def prompt_of(source_language: str, target_language: str) -> TemplatePrompt:
    prompt = own_prompt(GgufFile(BUNDLED_MODEL), None, source_language, target_language)
    assert prompt is not None
    return prompt


def test_examples_then_pairs_then_terms_then_the_source() -> None:
    prompt = prompt_of("fr", "en")
    assert prompt.in_turns, "each pair is learned as it was asked and answered"
    assert prompt(Request("Le phare.", (PAIR,), (TERM,))) == (
        "French: Il pleuvait quand nous sommes arrivés à la gare.\n"
        "English: It was raining when we arrived at the station.\n\n"
        "French: Elle ouvrit la fenêtre et regarda le jardin.\n"
        "English: She opened the window and looked at the garden.\n\n"
        "French: Le vent soufflait.\nEnglish: The wind blew.\n\n"
        "French: phare\nEnglish: lighthouse\n\n"
        "French: Le phare.\nEnglish:"
    )


@pytest.mark.parametrize(("source", "target"), [("oc", "fr"), ("de", "sr-Latn"), ("en", "zu")])
def test_a_language_without_examples_has_the_frame(source: str, target: str) -> None:
    assert not example_pairs(source, target)
    lines = prompt_of(source, target)(Request("text", (PAIR,))).splitlines()
    assert [line.partition(":")[2] for line in lines] == [
        " Le vent soufflait.", " The wind blew.", "", " text", "",
    ]  # fmt: skip


def test_any_two_languages_have_examples() -> None:
    for source, target in product(SENTENCES, repeat=2):
        shown = example_pairs(source, target)
        assert shown == list(zip(SENTENCES[source], SENTENCES[target], strict=True))
    assert len({text for pair in SENTENCES.values() for text in pair}) == 2 * len(SENTENCES)
    for tag, like in {"zh-TW": "zh-Hant", "zh-CN": "zh", "no": "nb", "pt-BR": "pt"}.items():
        assert example_pairs(tag, "en") == example_pairs(like, "en")


@pytest.mark.parametrize("tag", sorted(SENTENCES))
def test_examples_are_in_their_language(tag: str) -> None:
    code = {"nb": "no"}.get(tag, tag.partition("-")[0])
    assert code in known_languages()
    alike = {"da": ("no",), "no": ("da",), "id": ("ms",), "ms": ("id",), "hr": ("bs", "sr")}
    assert identify(" ".join(SENTENCES[tag])) in (code, *alike.get(code, ()))
