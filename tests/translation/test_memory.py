"""A translation memory: what is the same is taken over, what is alike is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from templora_edge.translation.memory import CLOSE, Memory
from templora_edge.translation.prompt import Pair

MEMORY = Memory(
    [
        Pair("Le gardien <1>du phare</1> dort.", "The <1>light</1> keeper sleeps."),
        Pair("Oui.", "Yes."),
        Pair("Une <1>image</1><2/> ici.", "Without its markup."),
        Pair("Oui.", "Yeah."),
        Pair(
            "Le <4>vieux</4> port <9/> est <6>calme</6>.",
            "<6>Calm</6> is <9/> the <4>old</4> port.",
        ),
    ]
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Le gardien <1>du phare</1> dort.", "The <1>light</1> keeper sleeps."),
        ("Le  gardien\n<7>du phare</7> dort.", "The <7>light</7> keeper sleeps."),
        ("Le gardien du phare dort.", None),
        ("Le gardien <1/>du phare dort.", None),
        ("Oui.", "Yeah."),
        ("oui.", None),
        ("Une <1>image</1><2/> ici.", None),
        (
            "Le <2>vieux</2> port <3/> est <4>calme</4>.",
            "<4>Calm</4> is <3/> the <2>old</2> port.",
        ),
    ],
)
def test_exact_matches_have_the_same_placeholders(source: str, expected: str | None) -> None:
    assert MEMORY.exact(source) == expected


def test_close_matches_are_shown_without_markup() -> None:
    close = MEMORY.close("Le <3>gardien</3> du PHARE dormait.")
    assert close == Pair("Le gardien du phare dort.", "The light keeper sleeps.")
    assert MEMORY.close("Le chien du voisin aboie.") is None
    assert Memory().close("Oui.") is None
    assert Memory().exact("Oui.") is None


@given(st.text("abcd ", min_size=1, max_size=12), st.text("abcd ", min_size=1, max_size=12))
def test_the_threshold_is_what_it_says(known: str, source: str) -> None:
    """Against a slow reference: the longest common subsequence by its recurrence."""
    one, other = " ".join(known.split()), " ".join(source.split())
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, left in enumerate(one):
        for j, right in enumerate(other):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if left == right else max(table[i][j + 1], table[i + 1][j])
            )
    likeness = 200 * table[-1][-1] / (len(one) + len(other)) if one or other else 100
    found = Memory([Pair(known, "x")]).close(source)
    assert (found is not None) == (likeness >= CLOSE - 1e-9)
