"""What a model wrote, read as a translation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from templora_edge.documents.markup import repaired
from templora_edge.translation.answer_text import AnswerText

SOURCE = "Le gardien du phare dort dans la maison."
GOOD = "The keeper of the lighthouse sleeps in the house."
LABELS = ("english", "anglais", "french", "français", "translation")
FRAMED = {
    "reasoning": f"<think>\nThe user wants a translation.\n</think>\n\n{GOOD}",
    "empty reasoning": f"<think>\n\n</think>\n\n{GOOD}",
    "reasoning that the prompt opened": f"The keeper is masculine.\n</think>\n{GOOD}",
    "thinking": f"<thinking>Hmm: keeper?</thinking>{GOOD}",
    "brackets": f"[THINK]Let me see.[/THINK]{GOOD}",
    "channels": f"<|channel|>analysis<|message|>Easy.<|end|><|start|>assistant<|channel|>final"
    f"<|message|>{GOOD}<|return|>",
    "channels without their marks": f"analysisWe need a translation.assistantfinal{GOOD}",
    "twice": f"<think>a</think>\n<reasoning>b</reasoning>\n{GOOD}",
    "wrapper": f"<translation>{GOOD}</translation>",
    "fence": f"```\n{GOOD}\n```",
    "fence with a name": f"Here you go:\n\n```text\n{GOOD}\n```\nLet me know!",
    "open fence": f"```\n{GOOD}\n",
    "preamble": f"Here is the translation:\n\n{GOOD}",
    "preamble in the line": f"Sure! Here's the English translation: {GOOD}",
    "French preamble": f"Voici la traduction : {GOOD}",
    "German preamble": f"Hier ist die Übersetzung:\n{GOOD}",
    "Spanish preamble": f"Aquí tienes la traducción al inglés: {GOOD}",
    "Chinese preamble": f"以下是翻译：\n{GOOD}",
    "bold preamble": f"**Translation:**\n{GOOD}",
    "bold preamble in the line": f"**Translation:** {GOOD}",
    "polite": f"Certainly!\n\n{GOOD}",
    "label": f"English: {GOOD}",
    "bold label": f"**English:** {GOOD}",
    "quotes": f'"{GOOD}"',
    "curly quotes": f"“{GOOD}”",
    "bold": f"**{GOOD}**",
    "note": f"{GOOD}\n\nNote: a lighthouse is a tower.",
    "note in brackets": f"{GOOD} (Note: a lighthouse is a tower.)",
    "offer": f"{GOOD}\n\nLet me know if you need anything else!",
    "next pair": f"{GOOD}\nFrench: Oui.\nEnglish: Yes.",
    "echo": f"{SOURCE}\n{GOOD}",
}


@pytest.mark.parametrize("kind", FRAMED)
def test_what_stands_around_a_translation_is_removed(kind: str) -> None:
    assert AnswerText(SOURCE, LABELS).translation(FRAMED[kind]) == GOOD


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("« Assurément, monsieur. »", '"Certainly, sir."'),
        ("— Oui.", '"Yes."'),
        ("Traduction : oui.", "Translation: yes."),
        ("Voici la lettre : lisez.", "Here is the letter: read."),
        ("Note : ceci est important.", "Note: this is important."),
        ("La balise <think> ouvre la pensée.", "The <think> tag opens the thought."),
        ("**Oui**", "**Yes**"),
        ("Bien sûr !", "Of course!"),
        ("Il dit : « A » et « B »", '"A" and "B"'),
        ("Il a crié.", '"A," he said, "B"'),
        ("Je suis désolé.", "I'm sorry."),
    ],
)
def test_what_the_source_has_itself_stays(source: str, answer: str) -> None:
    assert AnswerText(source, LABELS).translation(answer) == answer


@given(st.text(alphabet='ab <>/"«»:*`()—-\n1Note think', max_size=60))
def test_an_answer_that_repeats_its_source_is_its_source(source: str) -> None:
    assert AnswerText(source).translation(source) == source.strip()


@pytest.mark.parametrize("answer", ["<think>", "<think>Well, the", "Here is the translation:", ""])
def test_no_translation(answer: str) -> None:
    reader = AnswerText(SOURCE)
    assert reader.translation(answer) == ""
    assert not reader.is_whole(f"{answer}\n\n")


def test_lines_of_a_long_segment_are_joined() -> None:
    source = "Vers un du long poème, vers deux du poème, vers trois du poème, et la fin du poème."
    lines = ["Verse one of the long poem,", "verse two of the poem,", "verse three, the end."]
    reader = AnswerText(source)
    assert not reader.is_whole(f"{lines[0]}\n")
    assert reader.is_whole("\n".join(lines) + "\n")
    assert reader.translation("\n".join(lines)) == " ".join(lines[:2])


@pytest.mark.parametrize(
    ("source", "answer", "language", "expected"),
    [
        ("Le phare", "The lighthouse.", "en", "The lighthouse"),
        ("Le phare", "The lighthouse .", "en", "The lighthouse"),
        ("« Le phare »", '"The Lighthouse."', "en", '"The Lighthouse"'),
        ("<1>Le phare</1><2/>", "<1>The lighthouse.</1><2/>", "en", "<1>The lighthouse</1><2/>"),
        ("Chapitre <1/>", "Chapter <1/>.", "en", "Chapter <1/>"),
        ("Chapitre 3", "Chapter 3.", "en", "Chapter 3"),
        ("100 % coton", "100% cotton.", "en", "100% cotton"),
        ("Le phare", "灯台。", "ja", "灯台"),
        ("Le phare", "प्रकाशस्तंभ।", "hi", "प्रकाशस्तंभ"),
        ("Le phare", "المنارة۔", "ur", "المنارة"),
        ("Le phare", "Փարոսը։", "hy", "Փարոսը"),
        ("Le phare", "መብራት።", "am", "መብራት"),
        # what is no sentence's end, or stands in the source
        ("Le phare.", "The lighthouse.", "en", "The lighthouse."),
        ("Le phare !", "The lighthouse.", "en", "The lighthouse."),
        ("Le phare.<1/>", "The lighthouse.<1/>", "en", "The lighthouse.<1/>"),
        ("La suite", "To be continued...", "en", "To be continued..."),
        ("à 14 h", "at 2 p.m.", "en", "at 2 p.m."),
        ("Dupont et fils", "Dupont Bros.", "en", "Dupont Bros."),
        ("les phares, et cætera", "lighthouses etc.", "en", "lighthouses etc."),
        ("Louis XIV", "Ludwig XIV.", "de", "Ludwig XIV."),
        ("Louis XIV", "Louis XIV.", "en", "Louis XIV"),
        ("ประภาคาร", "The lighthouse.", "en", "The lighthouse."),
    ],
)
def test_no_full_stop_is_gained(source: str, answer: str, language: str, expected: str) -> None:
    assert AnswerText(source, LABELS, language).translation(answer) == expected


def test_an_answer_ends_with_its_first_line_of_text() -> None:
    reader = AnswerText(SOURCE, LABELS)
    for kind in ("reasoning", "preamble", "fence", "bold preamble"):
        written = FRAMED[kind].removesuffix("```").rstrip("\n")
        ends = [i for i in range(1, len(written) + 1) if reader.is_whole(written[:i])]
        assert ends == []
        assert reader.is_whole(f"{written}\n")
    assert reader.is_reasoning("<think>\nThe user")
    assert not reader.is_reasoning(f"<think>\n</think>\n{GOOD[:9]}")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            "The keeper <1>of the lighthouse<1> sleeps<2> well tonight.",
            "The keeper <1>of the lighthouse</1> sleeps<2/> well tonight.",
        ),
        (
            "The keeper &lt;1&gt;of the lighthouse&lt;/1&gt; sleeps well tonight.",
            "The keeper <1>of the lighthouse</1> sleeps<2/> well tonight.",
        ),
    ],
)
def test_damaged_tags_leave_no_debris(answer: str, expected: str) -> None:
    source = "Le gardien <1>du phare</1> dort<2/> bien ce soir."
    assert repaired(source, AnswerText(source).translation(answer)) == expected
