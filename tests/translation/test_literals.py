"""Literals: taken out of what a model sees, put back into what it answers, missed if lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from templora_edge.translation.literals import Literals, lost

FOUND = {
    "Voir https://www.exemple.fr/phare/plan(1)?a=b, puis partir.": [
        "https://www.exemple.fr/phare/plan(1)?a=b"
    ],
    "(voir http://a.fr/b).": ["http://a.fr/b"],
    "Écrivez à gardien.phare@exemple.fr.": ["gardien.phare@exemple.fr"],
    "Sur exemple.fr ou www.exemple.com.": ["exemple.fr", "www.exemple.com"],
    "Bonjour {prenom}, {{ nom }} ${x} {0} {}.": ["{prenom}", "{{ nom }}", "${x}", "{0}", "{}"],
    "Il y a %s, %(n)d et %1$d de %.2f.": ["%s", "%(n)d", "%1$d", "%.2f"],
    "Le jeton <|endoftext|> et <x> ou </b>.": ["<|endoftext|>", "<x>", "</b>"],
    "Tapez `ls -l` ici.": ["`ls -l`"],
    "Soit $x^2 + 1$ ou $$y$$ ou \\(z\\) ou \\[w\\].": ["$x^2 + 1$", "$$y$$", "\\(z\\)", "\\[w\\]"],
    "Une note ♪ bleue.": ["♪"],
    "Il reste %1 de %L2 fichiers, #{nom} et %{titre}.": ["%1", "%L2", "{nom}", "{titre}"],
    "Voir @marie et #etiquette (ou #île).": ["@marie", "#etiquette", "#île"],
    "Dans /usr/local/bin on voit.": ["/usr/local/bin"],
}
NONE = [
    "Cela coûte 5$ et puis 10$ de plus.", "Une hausse de 50 % sur un an.", "50 % du total.",
    "Le prix (1 < 2 > 0) est bon.", "Il dit : « Oui. Non. »", "et/ou", "M. Dupont.Il partit.",
    "De $5 à $6.", "<1>Le</1> chat<2/>", "#Titre", "Le n° #1, en C#.", "Il en reste 50 %1.",
]  # fmt: skip
ENDS = {
    "♪ Il était un petit navire ♪": ("♪ ", "Il était un petit navire", " ♪"),
    "- Bonjour, dit-il.": ("- ", "Bonjour, dit-il.", ""),
    "MARIE : Bonjour.": ("MARIE : ", "Bonjour.", ""),
    "- DR. KERBRAT: Oui.": ("- DR. KERBRAT: ", "Oui.", ""),
    "— Bonjour.": ("", "— Bonjour.", ""),
    "♪ ♪": ("", "♪ ♪", ""),
}


@pytest.mark.parametrize("source", FOUND)
def test_literals_are_hidden_and_restored(source: str) -> None:
    literals = Literals.of(source)
    assert list(literals.kept.values()) == FOUND[source]
    assert not any(literal in literals.shown for literal in FOUND[source])
    assert literals.restored(literals.shown) == source
    assert literals.hidden(source) == literals.shown
    assert lost(source, source) == []
    assert lost(source, "Nothing of it.") == FOUND[source]


@pytest.mark.parametrize("source", NONE)
def test_what_is_none(source: str) -> None:
    assert Literals.of(source).shown == source


@pytest.mark.parametrize("source", ENDS)
def test_ends_are_not_shown(source: str) -> None:
    literals = Literals.of(source)
    shown = literals.shown if literals.before or literals.after else source
    assert (literals.before, shown, literals.after) == ENDS[source]


def test_a_literal_keeps_its_distance_from_words() -> None:
    literals = Literals.of("Bonjour {prenom} et merci.")
    assert literals.restored("Hello<1/>and thanks.") == "Hello {prenom} and thanks."
    assert Literals.of("l'{x}").restored("the<1/>") == "the{x}"


parts = st.sampled_from(["a", " ", "{x}", "%s", "http://a.fr/b", "<1>", "</1>", "$x$", "♪", "- "])


@given(st.lists(parts, max_size=12).map("".join))
def test_restoring_is_exact(source: str) -> None:
    literals = Literals.of(source)
    assert literals.restored(literals.hidden(literals.shown)) == source
