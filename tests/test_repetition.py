"""Repetition of tokens: n-grams that occurred before, and blocks that loop."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from paths import PROSE

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine.model import Model
from templora_edge.repetition import LOOP_SHARE, repeated, repeated_share
from templora_edge.repetition import loops as block_loops

tokens = st.lists(st.integers(0, 2), max_size=40)
lengths = st.integers(1, 5)


def loops(block: Sequence[int], before: Sequence[int]) -> bool:
    return block_loops([*before, *block], range(len(before), len(before) + len(block)))


def slowly_repeated(items: Sequence[int], n: int) -> list[bool]:
    """For each item, look at every n-gram around it and at every earlier one."""
    return [
        any(
            items[earlier : earlier + n] == items[begin : begin + n]
            for begin in range(max(0, at - n + 1), min(at, len(items) - n) + 1)
            for earlier in range(begin)
        )
        for at in range(len(items))
    ]


@given(tokens, lengths)
def test_repeated_items_are_those_of_earlier_ngrams(items: list[int], n: int) -> None:
    assert repeated(items, n) == slowly_repeated(items, n)


@given(tokens, tokens, lengths)
def test_the_share_is_that_of_the_block(block: list[int], before: list[int], n: int) -> None:
    flags = slowly_repeated(before + block, n)[len(before) :]
    assert repeated_share(block, before, n) == (sum(flags) / len(flags) if flags else 0)


@given(st.lists(st.integers(), min_size=1, max_size=32), st.integers(0, 1000))
def test_a_cycle_loops_wherever_it_began(cycle: list[int], n_before: int) -> None:
    text = cycle * 2000
    assert loops(text[n_before : n_before + 256], text[:n_before])


@given(st.permutations(range(300)), st.permutations(range(300, 900)))
def test_tokens_that_are_new_do_not_loop(block: list[int], before: list[int]) -> None:
    assert repeated_share(block, before) == 0
    assert not loops(block, before)
    assert loops(block, before + block)  # a copy of what was there


def test_an_empty_block_does_not_loop() -> None:
    assert not loops([], [1] * 100)


def test_prose_does_not_loop() -> None:
    with Model(BUNDLED_MODEL) as model:
        prose = model.vocab.tokenize(PROSE.read_text(encoding="utf-8"))
    for begin in range(0, len(prose) - 256, 64):
        block, before = prose[begin : begin + 256], prose[max(0, begin - 1024) : begin]
        assert repeated_share(block, before) < LOOP_SHARE / 2
        assert loops([*block[:100], *block[:20] * 8], before)  # it ends in a loop
