"""Models that answer with nothing, far too much, or the prompt; and jobs that stop anywhere."""

from itertools import islice
from pathlib import Path

import pytest
from scripted import Rule, ScriptedEngine, ScriptedTrainer, make_answers, make_loop

from templora_edge.translation.answers import Languages
from templora_edge.translation.prompt import Pair
from templora_edge.translation.run import TranslationRun, assemble, segments_of
from templora_edge.translation.store.segment_row import SegmentRow
from templora_edge.translation.store.store import Store
from templora_edge.updates import Updates

PARAGRAPHS = [
    "Ô mer profonde et noire\nrends-moi mon seul ami\n\tcelui qui fait la ronde",
    "Écrivez à gardien@exemple.fr ou à {nom}, <1>mon cher</1> ami<2/>.",
    "Nom :\tKerbrat\tCapitaine",
    "https://www.exemple.fr/phare",
    "Le plan est à https://www.exemple.fr/plan et il est gratuit.",
    "Un gardien montait chaque soir les deux cents marches du vieux phare.",
] * 3


def translated(
    folder: Path, rule: Rule, steps: int | None = None, **others: object
) -> tuple[list[SegmentRow], ScriptedEngine, ScriptedTrainer]:
    """The rows after ``steps`` more steps of the job in ``folder``; None is all."""
    engine, trainer = ScriptedEngine(rule), ScriptedTrainer(folder)
    updates = Updates(engine, lambda: trainer)
    loop = make_loop(engine, updates)
    with Store(folder / "out.job") as job:
        if job.settings is None:
            job.begin({}, segments_of(PARAGRAPHS, loop))
        answers = make_answers(loop, Languages("fr", "en"), known=job.segments())
        run = TranslationRun(job, loop, updates, answers, **others)  # type: ignore[arg-type]
        for _ in islice(run, steps):
            pass
        return job.segments(), engine, trainer


HOSTILE: dict[str, Rule] = {
    "nothing": lambda source, _: "",
    "white space": lambda source, _: " \n\n\t ",
    "100,000 characters": lambda source, _: "word of wisdom, " * 6250,
    "one endless word": lambda source, _: "a" * 100_000,
    "reasoning that does not end": lambda source, _: "<think>\n" + "Let me see. " * 8000,
    "the prompt": lambda source, _: f"{source} => {source} => " * 5,
    "tags": lambda source, _: "<1><2/></1>< 3/> &lt;1&gt;" * 3,
    "what no text has": lambda source, _: "\ufdd0\ufffd\x00\x1b[31m",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_model_costs_its_own_segments_alone(kind: str, tmp_path: Path) -> None:
    rows, _, trainer = translated(tmp_path, HOSTILE[kind])
    asked = [row for row in rows if row.attempts]
    assert all(row.flags for row in asked)
    assert {row.source for row in rows if not row.attempts} == {PARAGRAPHS[3]}
    assert not trainer.trained
    for before, after in zip(PARAGRAPHS, assemble(PARAGRAPHS, rows), strict=True):
        assert [after.count(mark) for mark in "\n\t"] == [before.count(mark) for mark in "\n\t"]
        assert [after.count(tag) for tag in ("<1>", "</1>", "<2/>")] == [
            before.count(tag) for tag in ("<1>", "</1>", "<2/>")
        ]


def louder(source: str, attempt: int) -> str:
    """An answer that passes some checks, sometimes at the second attempt."""
    return "" if len(source) % 3 == 1 and not attempt else source.upper()


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_lines_tabs_and_literals_are_the_same_after_a_stop(steps: int, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    expected, _, trained = translated(tmp_path / "whole", louder)
    rows: list[SegmentRow] = []
    for _ in range(100):
        rows, _, trainer = translated(tmp_path, louder, steps)
        if all(row.translation for row in rows):
            break
    rows, _, trainer = translated(tmp_path, louder)
    assert [(row.translation, row.flags) for row in rows] == [
        (row.translation, row.flags) for row in expected
    ]
    assert trained.trained
    assert trainer.trained == trained.trained[: len(trainer.trained)]


def test_pairs_show_literals_as_requests_do(tmp_path: Path) -> None:
    sources = {
        "Écrivez à <1/>.": "Write to <1/>.",
        "Voyez <1/> ce soir, mon ami.": "See <1/> tonight, my friend.",
        "Merci bien.": "Thank you.",
    }
    paragraphs = [
        "Écrivez à gardien@exemple.fr.",
        "ANNE : Voyez https://www.exemple.fr/plan ce soir, mon ami.",
        "Merci bien.",
    ]
    engine, trainer = ScriptedEngine(lambda source, _: sources[source]), ScriptedTrainer(tmp_path)
    updates = Updates(engine, lambda: trainer)
    loop = make_loop(engine, updates)
    with Store(tmp_path / "out.job") as job:
        job.begin({}, segments_of(paragraphs, loop))
        answers = make_answers(loop, Languages("fr", "en"))
        references = [Pair("Voir {nom}.", "See {nom}.")]
        list(TranslationRun(job, loop, updates, answers, references=references))
        assert assemble(paragraphs, job.segments()) == [
            "Write to gardien@exemple.fr.",
            "ANNE : See https://www.exemple.fr/plan tonight, my friend.",
            "Thank you.",
        ]
    pairs = [f"{source} => {translation}\n" for source, translation in sources.items()]
    assert engine.prompts[-1] == "".join(
        ["Voir <1/>. => See <1/>.\n", *pairs[:2], "Merci bien. => "]
    )
    assert trainer.trained[0] == ("Voir <1/>. => See <1/>.\n", "See <1/>.\n")
