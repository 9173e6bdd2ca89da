"""What a person or a memory gave: believed, learned as given text, and learned once."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest
from scripted import ScriptedEngine, ScriptedTrainer, make_loop
from texts import ENGLISH, FRENCH

from templora_edge.options import SamplingOptions
from templora_edge.translation.answer_text import AnswerText
from templora_edge.translation.answers import Answers, Languages
from templora_edge.translation.edits.edits import edited
from templora_edge.translation.glossary.glossary import Glossary
from templora_edge.translation.memory import Memory
from templora_edge.translation.prompt import Pair
from templora_edge.translation.run import TranslationRun, assemble, segments_of
from templora_edge.translation.store.segment_row import Origin
from templora_edge.translation.store.store import Store
from templora_edge.updates import Updates

BY_HAND = dict(zip(FRENCH, ENGLISH, strict=True))


class Job:
    """An open job around a scripted engine."""

    def __init__(
        self,
        folder: Path,
        memory: Memory | None = None,
        *,
        learns_given: bool = True,
        paragraphs: Sequence[str] = FRENCH,
    ) -> None:
        self.engine = ScriptedEngine(lambda source, _: BY_HAND[source])
        self.trainer = ScriptedTrainer(folder)
        updates = Updates(self.engine, lambda: self.trainer, learns_given=learns_given)
        self.loop = make_loop(self.engine, updates)
        self.store = Store(folder / "out.job")
        if self.store.settings is None:
            self.store.begin({}, segments_of(paragraphs, self.loop))
        languages, sampling = Languages("fr", "en"), SamplingOptions(temperature=0)
        answers = Answers(self.loop, languages, sampling, Glossary(()), (), memory)
        self.run = TranslationRun(self.store, self.loop, updates, answers)

    @property
    def learned(self) -> list[tuple[str, bool]]:
        """What was learned since the job was opened, and whether as the model's own."""
        own = self.trainer.own
        texts = [text for _, text in self.trainer.trained]
        return list(zip(texts[len(texts) - len(own) :], own, strict=True))


def edit(store: Store, texts: dict[int, str]) -> None:
    rows = {row.id: row for row in store.segments()}
    store.edit([edited(rows[number], text) for number, text in texts.items()])


def test_exact_matches_are_taken_over_and_learned_as_given(tmp_path: Path) -> None:
    memory = Memory([Pair(FRENCH[0], "By heart."), Pair(FRENCH[5], "She ran, by heart.")])
    job = Job(tmp_path, memory)
    list(job.run)
    rows = job.store.segments()
    taken = [row for row in rows if row.origin == Origin.MEMORY]
    assert [(row.id, row.translation) for row in taken] == [(1, "By heart."),
                                                            (6, "She ran, by heart.")]  # fmt: skip
    assert len(job.engine.prompts) == len(FRENCH) - 2
    assert not any(prompt.endswith(f"{FRENCH[0]} => ") for prompt in job.engine.prompts)
    assert f"{FRENCH[0]} => By heart.\n" in job.engine.prompts[0]
    assert job.learned[:3] == [
        ("By heart.\n", False),
        (f"{ENGLISH[1]}\n{ENGLISH[2]}\n", True),
        (f"{ENGLISH[3]}\n{ENGLISH[4]}\n", True),
    ]
    job.store.close()


def test_a_close_match_is_shown_to_its_segment_alone(tmp_path: Path) -> None:
    alike = FRENCH[1].replace("rouge", "blanc")
    job = Job(tmp_path, Memory([Pair(alike, "White wine.")]))
    list(job.run)
    shown = [i for i, prompt in enumerate(job.engine.prompts) if "White wine." in prompt]
    assert shown == [1]
    # last of all, so that the prompt goes on from what was decoded before
    assert job.engine.prompts[1] == (
        f"{FRENCH[0]} => {ENGLISH[0]}\n{alike} => White wine.\n{FRENCH[1]} => "
    )
    assert not any("White" in text for text, _ in job.learned)
    plain = tmp_path / "plain"
    plain.mkdir()
    without = Job(plain)
    list(without.run)
    assert job.trainer.trained == without.trainer.trained
    for one in (job, without):
        one.store.close()


def test_an_example_gives_way_to_the_context(tmp_path: Path) -> None:
    for n_ctx, n_shown in ((400, 1), (160, 0)):
        engine = ScriptedEngine(lambda source, _: source, n_ctx)
        loop = make_loop(engine, Updates(engine, None))
        assert loop.ask("Le marin dort.", (), Pair("x" * 40, "y" * 60))
        loop.answer(SamplingOptions(temperature=0), 20, AnswerText("Le marin dort."))
        assert engine.prompts[-1].count("y" * 60) == n_shown


def parts(folder: Path, stops: Sequence[int], edits: dict[int, str]) -> Job:
    """A job that is edited after six segments, then stopped after each number of steps."""
    job = Job(folder)
    segments = (step for step in job.run if step.row is not None)
    for _ in islice(segments, 6):
        pass
    edit(job.store, edits)
    job.store.close()
    for stop in stops:
        job = Job(folder)
        for _ in islice(iter(job.run), stop):
            pass
        job.store.close()
    job = Job(folder)
    list(job.run)
    return job


EDITS = {1: "Edited one.", 3: "Edited three.", 6: "Edited six.", 8: "Edited eight."}


@pytest.mark.parametrize("stops", [(), (1,), (2,), (3,), (1, 1), (1, 2, 1), (4,)])
def test_edits_are_learned_once_wherever_the_job_is_killed(
    stops: tuple[int, ...], tmp_path: Path
) -> None:
    """Segments 1 and 3 lie in blocks that were learned, 6 in the one that is not, 8 ahead."""
    job = parts(tmp_path, stops, EDITS)
    expected = [EDITS.get(i, text) for i, text in enumerate(ENGLISH, 1)]
    assert assemble(FRENCH, job.store.segments()) == expected
    trained = job.trainer.trained
    assert [text for _, text in trained] == [
        f"{ENGLISH[0]}\n{ENGLISH[1]}\n",
        f"{ENGLISH[2]}\n{ENGLISH[3]}\n",
        "Edited one.\nEdited three.\n",
        "Edited six.\n",
        f"{ENGLISH[4]}\n",
    ]
    assert trained[2][0].endswith(f"{FRENCH[0]} => Edited one.\n{FRENCH[2]} => Edited three.\n")
    # later blocks are shown what was edited
    assert f"{FRENCH[2]} => Edited three.\n{FRENCH[3]} => {ENGLISH[3]}\n" in trained[3][0]
    if not stops:
        assert job.trainer.own == [False, False, True]
        assert job.engine.prompts[-1].endswith(f"{FRENCH[5]} => Edited six.\n{FRENCH[6]} => ")
    job.store.close()


def test_the_same_edits_again_change_nothing(tmp_path: Path) -> None:
    job = parts(tmp_path, (), EDITS)
    rows, trained = job.store.segments(), job.trainer.trained
    job.store.close()
    job = Job(tmp_path)
    list(job.run)
    assert job.store.segments() == rows
    assert not job.trainer.own
    assert [text for _, text in trained].count("Edited one.\nEdited three.\n") == 1
    job.store.finish()
    edit(job.store, {1: "Late."})
    assert job.store.segments()[0].learned, "what a finished job learned is gone"
    job.store.close()


def test_without_a_rate_for_given_text_edits_are_shown_alone(tmp_path: Path) -> None:
    job = Job(tmp_path, learns_given=False)
    for _ in islice((step for step in job.run if step.phase == "segments"), 6):
        pass
    edit(job.store, {3: "Edited three.", 6: "Edited six."})
    job.store.close()
    job = Job(tmp_path, learns_given=False)
    list(job.run)
    assert not any("Edited" in text for text, _ in job.learned)
    assert any("=> Edited six.\n" in prompt for prompt in job.engine.prompts)
    job.store.close()


def test_a_sentence_that_a_person_deleted_stays_deleted(tmp_path: Path) -> None:
    job = Job(tmp_path, paragraphs=[f"{FRENCH[0]}\n{FRENCH[1]}"])
    list(job.run)
    edit(job.store, {1: ""})
    assert assemble([f"{FRENCH[0]}\n{FRENCH[1]}"], job.store.segments()) == [f"\n{ENGLISH[1]}"]
    job.store.close()
