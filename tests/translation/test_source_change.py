"""A source that changes while it is translated, around an engine that answers by rule."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import ScriptedEngine, ScriptedTrainer, make_answers, make_loop
from texts import ENGLISH, FRENCH

from templora_edge.translation.answers import Languages
from templora_edge.translation.job.source_change import revised
from templora_edge.translation.run import TranslationRun, segments_of
from templora_edge.translation.store.segment_row import NO_ID, Origin, SegmentRow
from templora_edge.translation.store.store import Store
from templora_edge.updates import Updates

BY_HAND = dict(zip(FRENCH, ENGLISH, strict=True)) | {
    "Un mot nouveau.": "A new word.",
    "Et encore un autre.": "And yet another one.",
    "Il courut jusqu'au bout.": "He ran to the end.",
}


class Job:
    """A run of the job in a folder, which takes up its source as it is now."""

    def __init__(self, folder: Path, paragraphs: list[str], *, learns: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        self.engine, self.trainer = ScriptedEngine(self._answer), ScriptedTrainer(folder)
        updates = Updates(self.engine, lambda: self.trainer, learns_own=learns)
        loop = make_loop(self.engine, updates)
        self.store = Store(folder / "out.job")
        found, before = segments_of(paragraphs, loop), self.store.segments()
        rows = revised(before, found)
        if self.store.settings is None:
            self.store.begin({}, found)
        elif rows != before:
            self.store.revise({}, rows)
        self.asked: list[str] = []
        answers = make_answers(loop, Languages("fr", "en"), known=self.store.segments())
        self.run = TranslationRun(self.store, loop, updates, answers)

    def _answer(self, source: str, attempt: int) -> str:
        self.asked.append(source)
        return BY_HAND[source]

    def work(self, n_segments: int | None = None) -> list[SegmentRow]:
        """Translate, at most ``n_segments`` more as if killed then, and return all segments."""
        steps: Iterator[object] = iter(self.run)
        while n_segments is None or len(self.asked) < n_segments:
            if next(steps, None) is None:
                if self.store.segments()[-1].translation and n_segments is None:
                    self.store.finish()
                break
        rows = self.store.segments()
        self.store.close()
        return rows


def texts(rows: list[SegmentRow]) -> list[str | None]:
    return [row.translation for row in rows]


@given(
    st.lists(st.sampled_from("abcdefgh"), max_size=9),
    st.lists(st.sampled_from("abcdefgh"), max_size=9),
)
def test_what_is_kept_is_each_text_once(before: list[str], after: list[str]) -> None:
    rows = [
        SegmentRow(number, number, 0, text, text.upper(), Origin.MODEL, (), 1, 1, 0.0)
        for number, text in enumerate(before, 1)
    ]
    found = revised(rows, [(2 * index, text) for index, text in enumerate(after)])
    assert [row.source for row in found] == after
    assert [row.position for row in found] == list(range(1, len(after) + 1))
    assert [row.paragraph for row in found] == [2 * index for index in range(len(after))]
    kept = [row for row in found if row.id != NO_ID]
    assert len({row.id for row in kept}) == len(kept)
    by_id = {row.id: row for row in rows}
    for row in kept:
        assert (row.translation, row.source) == (row.source.upper(), by_id[row.id].source)
    assert all(row.translation is None for row in found if row.id == NO_ID)
    # a text that both have once is never translated again
    for text in set(before) & set(after):
        if before.count(text) == after.count(text) == 1:
            assert text in {row.source for row in kept}
    for row in found:
        if before[: row.position] == after[: row.position]:
            assert row.id == row.position


CHANGED = [
    FRENCH[0], "Un mot nouveau.", *FRENCH[2:5], "Il courut jusqu'au bout.", *FRENCH[6:], FRENCH[1],
]  # fmt: skip
"""One paragraph inserted, one edited, one moved to the end."""


@pytest.mark.parametrize("learns", [False, True])
def test_only_what_is_new_is_translated_again(tmp_path: Path, learns: bool) -> None:
    before = Job(tmp_path, FRENCH, learns=learns).work()
    job = Job(tmp_path, CHANGED, learns=learns)
    assert not job.store.finished
    rows = job.work()
    assert job.asked == ["Un mot nouveau.", "Il courut jusqu'au bout."]
    ids = {row.source: row.id for row in before}
    assert [row.id for row in rows if row.source in ids] == [
        ids[text] for text in CHANGED if text in ids
    ]
    assert {row.id for row in rows if row.source not in ids} == {len(FRENCH) + 1, len(FRENCH) + 2}
    assert texts(rows)[0] == ENGLISH[0]
    # shown what precedes it, and learned in its order again, as the adapter was discarded
    assert f"{FRENCH[0]} => {ENGLISH[0]}\nUn mot nouveau. => " in job.engine.prompts[0]
    learned = "".join(text for _, text in job.trainer.trained)
    expected = "".join(f"{row.translation}\n" for row in rows)
    assert expected.startswith(learned)
    assert bool(learned) == learns


@pytest.mark.parametrize("learns", [False, True])
@given(
    done=st.integers(0, 8),
    change=st.integers(0, 8),
    stops=st.lists(st.integers(0, 3), max_size=4),
)
@settings(deadline=None, max_examples=25)
def test_a_change_beyond_what_is_done_is_as_if_it_had_always_been(
    learns: bool, done: int, change: int, stops: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Same prompts, updates and translations, wherever the job is killed."""
    position = min(done + change, len(FRENCH))
    changed = [
        *FRENCH[:position],
        "Un mot nouveau.",
        "Et encore un autre.",
        *FRENCH[position + 1 :],
    ]
    scratch = Job(tmp_path_factory.mktemp("scratch"), changed, learns=learns)
    expected = scratch.work()
    folder = tmp_path_factory.mktemp("changed")
    first = Job(folder, FRENCH, learns=learns)
    first.work(done)
    seen = first.engine.prompts[:done]
    for stop in (*stops, None):
        job = Job(folder, changed, learns=learns)
        rows = job.work(stop)
        seen += job.engine.prompts
    assert texts(rows) == texts(expected)
    assert seen == scratch.engine.prompts
    assert job.trainer.trained == scratch.trainer.trained


@given(stops=st.lists(st.integers(0, 2), max_size=4), done=st.integers(4, 7))
@settings(deadline=None, max_examples=25)
def test_what_is_new_in_learned_ground_is_learned_with_the_adapter_as_it_is(
    stops: list[int], done: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The adapter is kept; what is new is shown what precedes it, and learned on its own."""
    changed = [FRENCH[0], "Un mot nouveau.", *FRENCH[1:]]
    runs = []
    for some in ([], stops):
        folder = tmp_path_factory.mktemp("changed")
        Job(folder, FRENCH).work(done)
        seen: list[str] = []
        for stop in (*some, None):
            job = Job(folder, changed)
            rows = job.work(stop)
            seen += job.engine.prompts
        runs.append((texts(rows), seen, job.trainer.trained))
    assert runs[0] == runs[1]
    translations, prompts, trained = runs[0]
    assert translations == [ENGLISH[0], "A new word.", *ENGLISH[1:]]
    assert prompts[0] == f"{FRENCH[0]} => {ENGLISH[0]}\nUn mot nouveau. => "
    assert len(prompts) == 1 + len(FRENCH) - done
    learned = [text for _, text in trained]
    n_blocks = learned.index("A new word.\n")
    assert "".join(learned[:n_blocks]) == "".join(f"{text}\n" for text in ENGLISH[: 2 * n_blocks])
    assert n_blocks == (done - 1) // 2
