"""Checks of translations: what is flagged and what passes. Glossaries and prompts."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from templora_edge.errors import DocumentError, OptionError
from templora_edge.translation.checks import Flag, check, other_language
from templora_edge.translation.glossary.glossary import Glossary
from templora_edge.translation.parallel_text import read_bitext
from templora_edge.translation.prompt import (
    ChatPrompt,
    Pair,
    Request,
    TemplatePrompt,
    language_name,
)

FRENCH = (
    "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte, mes yeux se "
    "fermaient si vite que je n'avais pas le temps de me dire : « Je m'endors. »"
)
ENGLISH = (
    "For a long time I used to go to bed early. Sometimes, when I had put out my candle, my eyes "
    "would close so quickly that I had not even time to say “I'm going to sleep.”"
)
NAMES = "Jean-Pierre Kerbrat, Saint-Malo; Anne Le Goff, Brest; Yves Tanguy, Quimper; Marie Dupont."
GOOD = [
    (FRENCH, ENGLISH),
    ("Non, non, non, non, non !", "No, no, no, no, no!"),
    ("Charles Bovary", "Charles Bovary"),
    ("Le 14 juillet 1789, 1 000 hommes prirent la place.",
     "On July 14, 1789, 1,000 men took the square."),
    ("Trois virgule 14 : 3,14.", "Three point 14: 3.14."),
    ("Oui.", "Yes, indeed, I do."),
    ("<1>Le</1> chat<2/> dort sur le lit.", "The <1>cat</1> sleeps<2/> on the bed."),
    ("Bien sûr, dit-il en riant.", "Of course, he said, laughing."),
    ("Il dit : ha ha ha ha ha !", "He said: ha ha ha ha ha!"),
    ("Rendez-vous à 14 h 30 le 3 mai.", "Meet me at 2:30 p.m. on May 3."),
    ("Il est né au XIXe siècle, en 1866.", "He was born in the 19th century, in 1866."),
    ("L'ouvrage coûte 1 234,50 €.", "The book costs €1,234.50."),
    ("Dans les années 80, il avait 20 ans.", "In the eighties he was twenty years old."),
    ("Il cria : « Au feu ! »", '"Fire! Fire! Fire! Fire!" he shouted.'),
    ("Bien sûr, je viendrai demain matin.", "Of course, I will come tomorrow morning."),
    ("Je suis désolé, dit-il.", "I'm sorry, he said."),
    ("Voici le livre de ma tante.", "Here is the book of my aunt."),
    ("« Assurément, monsieur. »", '"Certainly, sir."'),
    ("Sans doute viendra-t-il demain.", "Sure he will come tomorrow."),
    ("Hôtel de la Mer, 12 rue du Port, Brest", "Hôtel de la Mer, 12 rue du Port, Brest"),
    (NAMES, NAMES.replace("Marie", "Mary")),
    ("Yves, Londres et Monsieur Homais", "Yves, London and Mr. Homais"),
    ("Jeanne d'Arc", "Joan of Arc"),
    ("— Non, Sire.", '"No, Sire."'),
    ("Monsieur Charles Bovary, Madame Emma Bovary", "Mr. Charles Bovary, Mrs. Emma Bovary"),
    ("LE ROI DU NORD, PARIS", "THE KING OF THE NORTH, PARIS"),
]  # fmt: skip
BAD = [
    (FRENCH, "", Flag.EMPTY),
    (FRENCH, " … ", Flag.EMPTY),
    (FRENCH, FRENCH, Flag.UNTRANSLATED),
    (FRENCH, FRENCH.replace("couché", "endormi").replace("bougie", "lampe"), Flag.UNTRANSLATED),
    (FRENCH, "Pendant des années, je dormais tôt le soir ; ma chandelle éteinte, le sommeil me "
     "prenait sans que je puisse seulement me dire qu'il venait.", Flag.UNTRANSLATED),
    (FRENCH, "I slept.", Flag.LENGTH),
    ("Il dormait tranquillement.", ENGLISH, Flag.LENGTH),
    ("<1>Le</1> chat dort.", "The cat sleeps.", Flag.MARKUP),
    ("<1>Le</1> chat dort.", "The </1>cat<1> sleeps.", Flag.MARKUP),
    ("Le 14 juillet 1789.", "On July 14.", Flag.NUMBERS),
    (FRENCH, "I went to bed and I went to bed and I went to bed and I went to bed and I went to "
     "bed and I went to bed and I went to bed.", Flag.LOOP),
    (FRENCH, "For a long time I went to bed early. " + "a" * 60, Flag.LOOP),
    (FRENCH, f"Sure! Here is the translation: {ENGLISH}", Flag.PREAMBLE),
    (FRENCH, f"Here's the English translation: {ENGLISH}", Flag.PREAMBLE),
    (FRENCH, f"Translation: {ENGLISH}", Flag.PREAMBLE),
    (FRENCH, "I'm sorry, but I cannot translate this text for you, as it is a quotation from a "
     "novel that I do not know.", Flag.PREAMBLE),
    (FRENCH, "<think>", Flag.EMPTY),
    ("Voir https://a.fr/b ici.", "Look at it here.", Flag.LITERALS),
    ("Le prix est de 5 francs.", "The price is 7 francs.", Flag.NUMBERS),
    (FRENCH, "Seit langem ging ich früh zu Bett, und manchmal fielen mir die Augen so schnell zu, "
     "dass ich keine Zeit mehr hatte, mir zu sagen: Ich schlafe ein.", Flag.UNTRANSLATED),
    (FRENCH, ENGLISH[:90], Flag.LENGTH),
    (FRENCH, f"{ENGLISH}\n\nNote: the title is from Proust.", Flag.PREAMBLE),
    (NAMES, NAMES.replace("Yves", "Yes"), Flag.NAMES),
    (NAMES, NAMES.replace("Yves Tanguy", "Tanguy"), Flag.NAMES),
    (NAMES, NAMES.replace("Quimper", "Camper"), Flag.NAMES),
    ("Yves Tanguy", "Yes Tanguy", Flag.NAMES),
    ("Yves, Yann, Gwen", "Yes, Yann, Gwen", Flag.NAMES),
]  # fmt: skip


@pytest.mark.parametrize(("source", "translation"), GOOD)
def test_good_translations_pass(source: str, translation: str) -> None:
    languages = {"source_language": "fr", "target_language": "en"}
    assert check(source, translation, **languages, finished=True) == []


@pytest.mark.parametrize(("source", "translation", "flag"), BAD)
def test_bad_ones_do_not(source: str, translation: str, flag: Flag) -> None:
    languages = {"source_language": "fr", "target_language": "en"}
    assert flag in check(source, translation, **languages, finished=True)


def test_one_translation_of_many_sources() -> None:
    def flags(source: str, translation: str, *others: str) -> list[Flag]:
        return check(
            source, translation, source_language="fr", target_language="en", finished=True,
            other_sources=others,
        )  # fmt: skip

    spring = "La source coule derrière la maison du gardien."
    answer = "The spring runs behind the keeper's house."
    assert flags(spring, answer) == flags(spring, answer, spring.upper()) == []
    assert flags(spring, answer, "Le chat dort près de la grande fenêtre.") == [Flag.SAME]
    assert flags("Oui.", "Yes.", "Si !", "Mais oui.", "Ouais.") == []
    assert flags("Oui.", "Yes.", "Le vieux gardien a dit que oui.") == []
    short = ["Voile", "rouge", "Kerbrat", "Un prix"]
    assert flags("Nom", "The ship is here.", *short[:3]) == []
    assert flags("Nom", "The ship is here.", *short) == [Flag.SAME]
    many = [f"{word} vient ici" for word in ("Il le", "On la", "Un chat", "Mon ami", "Son roi")]
    assert flags("Que dis-tu ?", "What do you say?", *many) == [Flag.SAME]


def test_languages_are_normalised() -> None:
    languages = {"source_language": "FR", "target_language": "en-US"}
    assert check(FRENCH, ENGLISH, **languages, finished=True) == []
    assert check(FRENCH, FRENCH, **languages, finished=True) == [Flag.UNTRANSLATED]
    same = {"source_language": "EN", "target_language": "en-GB"}
    assert check(ENGLISH, ENGLISH, **same, finished=True) == []


def test_what_ran_into_its_limit() -> None:
    languages = {"source_language": "fr", "target_language": "en"}
    assert check(FRENCH, ENGLISH, **languages, finished=False) == [Flag.UNFINISHED]


def test_scripts_without_spaces() -> None:
    source = "彼は1923年に東京で生まれた。そして二年後に家族と京都に移り、そこで学校に通った。"
    good = (
        "He was born in Tokyo in 1923, and two years later he moved to Kyoto with his family, "
        "where he went to school."
    )
    languages = {"source_language": "ja", "target_language": "en"}
    assert check(source, good, **languages, finished=True) == []
    assert Flag.UNTRANSLATED in check(source, source[:-4] + "。", **languages, finished=True)
    back = {"source_language": "en", "target_language": "ja"}
    assert check(good, source, **back, finished=True) == []
    assert Flag.LOOP in check(good, "彼は1923年に東京" + "京都" * 20, **back, finished=True)


def test_the_language_of_a_document() -> None:
    assert other_language([FRENCH] * 10, "fr") is None
    assert other_language([FRENCH] * 10, "fr-CA") is None
    assert other_language([ENGLISH] * 10, "fr") == "en"
    # parts of it are: a preface, quotations
    assert other_language([ENGLISH] * 4 + [FRENCH] * 8, "fr") is None
    assert other_language(["Hello there"], "fr") is None  # too short to tell
    assert other_language([ENGLISH] * 10, "tlh") is None  # a language that cannot be told


TBX = """<?xml version="1.0"?>
<martif type="TBX" xml:lang="en"><text><body>
<termEntry id="1">
  <langSet xml:lang="fr"><tig><term>bateau</term></tig><tig><term>navire</term></tig></langSet>
  <langSet xml:lang="en-GB"><tig><term>boat</term></tig></langSet>
</termEntry>
<termEntry id="2"><langSet xml:lang="de"><tig><term>Schiff</term></tig></langSet></termEntry>
</body></text></martif>
"""


def test_glossaries(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tbx = tmp_path / "terms.tbx"
    tbx.write_text(TBX, encoding="utf-8")
    assert Glossary.read(tbx, "fr", "en").terms == (Pair("bateau", "boat"), Pair("navire", "boat"))
    with pytest.raises(DocumentError, match=r"terms\.tbx: no terms from es to en"):
        Glossary.read(tbx, "es", "en")
    tbx.write_text("<martif>", encoding="utf-8")
    with pytest.raises(DocumentError, match=r"--glossary .*terms\.tbx: cannot be read \(.*line 1"):
        Glossary.read(tbx, "fr", "en")
    csv = tmp_path / "terms.csv"
    csv.write_text('\ufeffla jetée,the pier,a note\n"Emma, la femme",Emma\n\n', encoding="utf-8")
    glossary = Glossary.read(csv, "fr", "en")
    assert glossary.terms == (Pair("la jetée", "the pier"), Pair("Emma, la femme", "Emma"))
    assert glossary.found_in("Sur LA JETÉE.") == (Pair("la jetée", "the pier"),)
    for text in (
        "phare;lighthouse\ngardien;keeper\n", "phare|lighthouse|x\ngardien|keeper\n",
        "source\ttarget\n\nphare\tlighthouse\ngardien\tkeeper\n",
        "# comment\nen,note,FR\nlighthouse,a,phare\nkeeper,b,gardien\n",
        "terme,traduction\nphare,lighthouse\n# a, b\ngardien,keeper\n",
    ):  # fmt: skip
        csv.write_text(text, encoding="utf-8")
        known = (Pair("phare", "lighthouse"), Pair("gardien", "keeper"))
        assert Glossary.read(csv, "fr", "en").terms == known
    csv.write_text("fr,en\nphare,\n", encoding="utf-8")
    assert Glossary.read(csv, "fr", "en").terms == ()
    assert "terms.csv: line 2: a term or its translation is missing; left out" in caplog.text
    csv.write_text("", encoding="utf-8")
    with pytest.raises(DocumentError, match=r"terms\.csv: no terms; expected lines"):
        Glossary.read(csv, "fr", "en")
    csv.write_text("gardien,keeper\ngardien,guardian\n", encoding="utf-8")
    assert Glossary.read(csv, "fr", "en").terms == (Pair("gardien", "keeper"),)
    assert "'gardien' has two translations, 'keeper' and 'guardian'" in caplog.text
    csv.write_bytes("phare,lighthouse\nnièce,niece\n".encode("latin-1"))
    assert Glossary.read(csv, "fr", "en").terms[1] == Pair("nièce", "niece")
    csv.write_text("bateau\n", encoding="utf-8")
    with pytest.raises(
        DocumentError, match=r"line 1 has no translation \('bateau'\); expected source"
    ):
        Glossary.read(csv, "fr", "en")
    with pytest.raises(DocumentError, match="cannot be read"):
        Glossary.read(tmp_path / "none.csv", "fr", "en")
    chinese = Glossary((Pair("林黛玉", "Daiyu"),))
    assert chinese.found_in("却说林黛玉自在荣府") == chinese.terms


def test_bitext(tmp_path: Path) -> None:
    lines = [{"src": "Oui.", "en": "Yes."}, {"source": "Non.\n", "target": "No."}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n", encoding="utf-8")
    assert read_bitext(path, "fr", "en") == [Pair("Oui.", "Yes."), Pair("Non.", "No.")]
    table = tmp_path / "pairs.tsv"
    table.write_text('Oui.\tYes.\n\nIl dit "non".\tHe said "no".\n', encoding="utf-8")
    assert read_bitext(table, "fr", "en")[1] == Pair('Il dit "non".', 'He said "no".')
    for name, content, words in (
        ("a.jsonl", "{}", "line 1: expected an object with source and target"),
        ("b.jsonl", "{", "line 1"), ("c.tsv", "Oui", "line 1 is not a pair; expected source"),
        ("d.tsv", "", "empty"),
    ):  # fmt: skip
        (tmp_path / name).write_text(content)
        with pytest.raises(DocumentError, match=words):
            read_bitext(tmp_path / name, "fr", "en")


def test_prompts(tmp_path: Path) -> None:
    request = Request("Le <1>chat</1>.", (Pair("Oui.", "Yes."),), (Pair("chat", "cat"),))
    turns: list[dict[str, str]] = []

    def render(messages: Sequence[dict[str, str]]) -> str:
        turns.extend(messages)
        return "prompt"

    chat = ChatPrompt(render, "fr", "en")
    assert chat(request) == "prompt"
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[0]["content"].endswith("\n\nOui.")
    assert "Keep tags" not in turns[0]["content"]
    last = turns[2]["content"]
    assert "from French into English" in last
    assert "Keep tags" in last
    assert "chat = cat" in last
    template = tmp_path / "t.jinja"
    template.write_text(
        "{{ source_language }}{% for t in terms %} {{ t.source }}{% endfor %}: {{ source }}"
    )
    assert TemplatePrompt.read(template, "fr", "en")(request) == "French chat: Le <1>chat</1>."
    for text, words in (
        ("{{ source", "unexpected end of template"), ("{{ nothing }}", "'nothing' is undefined"),
        ("fixed", "does not use {{ source }}"), ("{{ raise_exception('no') }}", ": no$"),
        ("{{ ''.__class__ }}{{ source }}", "unsafe"),
    ):  # fmt: skip
        template.write_text(text)
        with pytest.raises(OptionError, match=words):
            TemplatePrompt.read(template, "fr", "en")(request)
    with pytest.raises(OptionError, match="cannot be read"):
        TemplatePrompt.read(tmp_path / "none", "fr", "en")


LANGUAGES = {
    "ar": "Arabic", "bn": "Bangla", "cs": "Czech", "de": "German", "el": "Greek", "en": "English",
    "es": "Spanish", "fa": "Persian", "fil": "Filipino", "FR": "French", "he": "Hebrew",
    "hi": "Hindi", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "my": "Burmese", "nb": "Norwegian Bokmål", "nl": "Dutch", "no": "Norwegian", "pl": "Polish",
    "pt": "Portuguese", "ru": "Russian", "sw": "Swahili", "tr": "Turkish", "uk": "Ukrainian",
    "vi": "Vietnamese", "yue": "Cantonese", "zh": "Chinese",
    "en-US": "English (United States)", "es-419": "Spanish (Latin America)",
    "fr-CA": "French (Canada)", "pt-BR": "Portuguese (Brazil)", "zh-Hans": "Chinese (Simplified)",
    "zh-Hant": "Chinese (Traditional)", "zh-CN": "Chinese (Simplified, China)",
    "zh-TW": "Chinese (Traditional, Taiwan)", "sr-Latn": "Serbian (Latin)",
    "sr-RS": "Serbian (Cyrillic, Serbia)", "uz-UZ": "Uzbek (Latin, Uzbekistan)",
    "grc": "Ancient Greek", "la": "Latin", "fro": "Old French", "pi": "Pali",
}  # fmt: skip
"""Names as they stand in prompts: a model trained with one may answer another less well."""


def test_language_names() -> None:
    assert {code: language_name(code) for code in LANGUAGES} == LANGUAGES


@pytest.mark.parametrize(
    "code",
    ["", "x", "xx1", "xx", "french", "klingonish", "fr_FR", "fr_FR?", "fr-", "und", "qaa", "en-XX"],
)
def test_what_names_no_language_is_refused(code: str) -> None:
    with pytest.raises(OptionError, match=f"^language {re.escape(repr(code))}; expected a code su"):
        language_name(code)
