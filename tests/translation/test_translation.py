"""Blocks of pairs, checks and durable state, around an engine that answers by rule."""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import EXACT
from scripted import TEMPLATE, Rule, ScriptedEngine, ScriptedTrainer, make_answers, make_loop
from texts import ENGLISH, FRENCH

from templora_edge.assets import BUNDLED_TRANSLATOR
from templora_edge.engine import LlamaEngine
from templora_edge.errors import JobError, OptionError
from templora_edge.models.gguf_file import TRANSLATION_TEMPLATE, GgufFile
from templora_edge.options import BlockOptions, SamplingOptions
from templora_edge.translation.answer_text import AnswerText
from templora_edge.translation.answers import Languages
from templora_edge.translation.checks import Flag
from templora_edge.translation.glossary.glossary import Glossary
from templora_edge.translation.pair_loop import PairLoop
from templora_edge.translation.prompt import ChatPrompt, Message, Pair, Prompt, TemplatePrompt
from templora_edge.translation.run import Step, TranslationRun, assemble, segments_of
from templora_edge.translation.store.segment_row import Origin, SegmentRow
from templora_edge.translation.store.store import Learned, Store
from templora_edge.updates import Updates

BY_HAND = dict(zip(FRENCH, ENGLISH, strict=True))


def well(source: str, attempt: int) -> str:
    return BY_HAND[source]


def lines(texts: Iterable[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def start(
    folder: Path,
    rule: Rule,
    paragraphs: list[str] = FRENCH,
    glossary: Glossary | None = None,
    n_ctx: int = 2000,
    prompt: Prompt | None = None,
    **others: object,
) -> tuple[TranslationRun, Store, ScriptedEngine, ScriptedTrainer]:
    engine, trainer = ScriptedEngine(rule, n_ctx), ScriptedTrainer(folder)
    updates = Updates(engine, lambda: trainer)
    loop = make_loop(engine, updates, prompt)
    job = Store(folder / "out.job")
    if job.settings is None:
        job.begin({}, segments_of(paragraphs, loop))
    answers = make_answers(loop, Languages("fr", "en"), glossary)
    run = TranslationRun(job, loop, updates, answers, **others)  # type: ignore[arg-type]
    return run, job, engine, trainer


def test_blocks_are_learned_in_order_and_shown_to_the_next(tmp_path: Path) -> None:
    run, job, engine, trainer = start(tmp_path, well)
    list(run)
    assert assemble(FRENCH, job.segments()) == ENGLISH
    # two segments exceed 60 characters; the last block is not learned needlessly
    turns = [f"{source} => {translation}\n" for source, translation in BY_HAND.items()]
    assert trainer.trained == [
        ("".join(turns[:2]), lines(ENGLISH[:2])),
        ("".join(turns[:4]), lines(ENGLISH[2:4])),
        ("".join(turns[2:6]), lines(ENGLISH[4:6])),
    ]
    assert engine.swaps == 3
    assert engine.prompts[3].startswith(f"{FRENCH[0]} => {ENGLISH[0]}\n")
    job.close()


def chat(messages: Sequence[Message], thought: str = "") -> str:
    turns = [f"<{m['role']}>{m['content']}<end>" for m in messages]
    return "".join(turns) + f"<assistant>{thought}"


def thinking(messages: Sequence[Message]) -> str:
    """Like some templates, put a thought before an answer, but none in earlier turns."""
    return chat(messages, "<think></think>")


PROMPTS: dict[str, tuple[Prompt, str]] = {
    "lines": (TemplatePrompt(TEMPLATE, "", "fr", "en"), "\n"),
    "after a space": (
        TemplatePrompt(
            "{% for pair in pairs %}{{ pair.source }}: {{ pair.translation }}#{% endfor %}"
            "{{ source }}:", "", "fr", "en"
        ),
        "#",
    ),
    "chat": (ChatPrompt(chat, "fr", "en"), "<"),
    "thinking": (ChatPrompt(thinking, "fr", "en"), "<"),
    "single sentences": (TemplatePrompt("{{ source }} =>", "", "fr", "en"), ""),
}  # fmt: skip
"""And one token that ends an answer."""


@pytest.mark.parametrize("name", PROMPTS)
def test_answers_are_learned_and_nothing_else(name: str, tmp_path: Path) -> None:
    prompt, end = PROMPTS[name]
    engine, trainer = ScriptedEngine(well), ScriptedTrainer(tmp_path)
    loop = PairLoop(
        engine, engine, Updates(engine, lambda: trainer), prompt, BlockOptions(2000, 60, 200, 400)
    )
    pairs = [Pair(*both) for both in BY_HAND.items()]
    loop.begin_block(pairs[:4])
    loop.learn(pairs[4:7], own=True)
    [(shown, learned)] = trainer.trained
    answers = "".join(f"{pair.translation}{end}" for pair in pairs[4:7])
    assert learned.replace(" ", "") == answers.replace(" ", "")
    assert shown.endswith(f"{ENGLISH[6]}{end}")
    assert len(shown) <= 400 + len(learned)


def test_learned_as_llama_cpp_would_generate_it(tmp_path: Path) -> None:
    """On real tokens: a block learns exactly the tokens that were sampled, including the ends."""
    template = GgufFile(BUNDLED_TRANSLATOR).require(TRANSLATION_TEMPLATE)
    prompt = TemplatePrompt(template, "", "fr", "en")
    trainer = ScriptedTrainer(tmp_path)
    with LlamaEngine(BUNDLED_TRANSLATOR, EXACT) as engine:
        vocab = engine.model.vocab
        loop = PairLoop(
            engine, vocab, Updates(engine, lambda: trainer), prompt, BlockOptions(512, 60, 100, 100)
        )
        loop.begin_block([Pair(FRENCH[0], ENGLISH[0])])
        answers = []
        for source in FRENCH[1:4]:
            loop.ask(source, ())
            answer = loop.answer(SamplingOptions(temperature=0), 60, AnswerText(source))
            answers.append(answer.text.strip())
            loop.accept(Pair(source, answers[-1]))
        loop.learn([Pair(*both) for both in zip(FRENCH[1:4], answers, strict=True)], own=True)
        [(_, learned)] = trainer.trained
        expected = [token for answer in answers for token in (*vocab.tokenize(answer), vocab.eos)]
    assert [ord(character) for character in learned] == expected


BAD = {
    "empty": "", "loop": "the sea the sea the sea the sea the sea the sea the sea the sea the sea",
    "copy": FRENCH[2], "refusal": "I'm sorry, but I cannot translate this text.",
    "short": "Yes.", "long": "word of wisdom, " + " ".join(f"number{i}" for i in range(40)),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_fails_a_check_is_kept_flagged_and_never_learned(kind: str, tmp_path: Path) -> None:
    def rule(source: str, attempt: int) -> str:
        return BAD[kind] if source == FRENCH[2] else BY_HAND[source]

    run, job, engine, trainer = start(tmp_path, rule)
    list(run)
    rows = job.segments()
    assert [row.id for row in rows if row.flags] == [3]
    assert rows[2].attempts == 3
    learned = "".join(shown for shown, _ in trainer.trained)
    assert FRENCH[2] not in learned
    for line in BAD[kind].splitlines():
        assert line not in learned
    # nor is it shown to later segments
    assert not any(FRENCH[2] in prompt for prompt in engine.prompts if FRENCH[3] in prompt)
    translated = assemble(FRENCH, rows)
    assert [text for i, text in enumerate(translated) if i != 2] == ENGLISH[:2] + ENGLISH[3:]
    assert translated[2]
    job.close()


def test_a_second_attempt_may_pass(tmp_path: Path) -> None:
    def rule(source: str, attempt: int) -> str:
        return "" if source == FRENCH[2] and attempt < 2 else BY_HAND[source]

    run, job, _, trainer = start(tmp_path, rule)
    list(run)
    assert not any(row.flags for row in job.segments())
    assert [row.attempts for row in job.segments()] == [1, 1, 3, 1, 1, 1, 1, 1]
    assert ENGLISH[2] in trainer.trained[1][1]
    job.close()


SHORT = [f"{french} {index}." for index in range(12) for french in ("Oui", "Non", "Jamais", "Ah")]
CHAT = ChatPrompt(chat, "fr", "en")


def shortly(source: str, attempt: int) -> str:
    """The translation of one of `SHORT`, also where its turn of `chat` surrounds it."""
    source = source.removesuffix("<end><assistant>")
    return source.translate(str.maketrans("OuiNnJams", "YesBbSltr"))


@pytest.mark.parametrize("n_ctx", [600, 800, 1200])
@pytest.mark.parametrize("paragraphs", [SHORT, [*SHORT, *FRENCH, *SHORT]], ids=["short", "mixed"])
def test_a_prompt_that_repeats_its_instruction_never_overflows(
    paragraphs: list[str], n_ctx: int, tmp_path: Path
) -> None:
    """The engine raises where tokens do not fit; each block is learned whole."""

    def rule(source: str, attempt: int) -> str:
        return BY_HAND.get(source.removesuffix("<end><assistant>")) or shortly(source, attempt)

    run, job, _, trainer = start(tmp_path, rule, paragraphs, n_ctx=n_ctx, prompt=CHAT)
    list(run)
    rows = job.segments()
    assert all(row.translation for row in rows)
    learned = sum(row.learned for row in rows)
    expected = [f"{row.translation}<" for row in rows[:learned] if not row.flags]
    assert "".join(text for _, text in trainer.trained) == "".join(expected)
    assert len(expected) > len(rows) / 2
    for shown, _ in trainer.trained:  # with the question of each
        assert shown.startswith(("<user>", "<assistant>")) or "<user>Translate" in shown
    job.close()


def test_terms_that_do_not_fit_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "terms.csv"
    path.write_text(f"marin,{'sailor ' * 40}\nphare,lighthouse\n", encoding="utf-8")
    run, job, engine, _ = start(
        tmp_path, lambda source, _: "It is so.", n_ctx=520, prompt=CHAT,
        glossary=Glossary.read(path, "fr", "en"),
    )  # fmt: skip
    list(run)
    assert not any("marin = " in prompt for prompt in engine.prompts)
    assert all(row.translation for row in job.segments())
    job.close()


def test_a_context_that_is_too_short_for_the_prompt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"-c 150: too short for the prompt.*at least \d+"):
        start(tmp_path, well, n_ctx=150, prompt=CHAT)


@pytest.mark.parametrize("n_ctx", [110, 2000])
@given(stops=st.lists(st.integers(1, 9), max_size=6))
@settings(deadline=None, max_examples=25)
def test_a_job_that_stops_anywhere_goes_on_as_if_it_had_not(
    n_ctx: int, stops: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Same prompts, same cache, same training, same translations, nothing twice."""

    def rule(source: str, attempt: int) -> str:
        bad = source in {FRENCH[4], SHORT[7]}
        return "" if bad else BY_HAND.get(source) or shortly(source, attempt)

    paragraphs = FRENCH if n_ctx == 2000 else SHORT

    whole = tmp_path_factory.mktemp("whole")
    run, job, engine, trainer = start(whole, rule, paragraphs, n_ctx=n_ctx)
    list(run)
    expected, prompts = job.segments(), engine.prompts
    trained = trainer.trained
    job.close()
    folder, seen = tmp_path_factory.mktemp("parts"), []
    for stop in stops:
        run, job, engine, trainer = start(folder, rule, paragraphs, n_ctx=n_ctx)
        events: Iterator[object] = iter(run)
        for _ in range(stop):
            if next(events, None) is None:
                break
        job.close()
        seen += engine.prompts
    run, job, engine, trainer = start(folder, rule, paragraphs, n_ctx=n_ctx)
    list(run)
    seen += engine.prompts
    assert [(r.translation, r.flags) for r in job.segments()] == [
        (r.translation, r.flags) for r in expected
    ]
    assert seen == prompts
    assert trainer.trained == trained
    job.close()


def test_references_come_first(tmp_path: Path) -> None:
    references = [Pair(f"Référence {i}.", f"Reference {i}.") for i in range(12)]
    run, job, engine, trainer = start(tmp_path, well, references=references)
    list(run)
    assert trainer.trained[0][1] == lines(f"Reference {i}." for i in range(5))
    assert trainer.trained[2][1] == "Reference 10.\nReference 11.\n"
    assert trainer.trained[3][1] == lines(ENGLISH[:2])
    assert trainer.own == [False] * 3 + [True] * 3, "references are given"
    assert "Référence 11. => Reference 11.\n" in engine.prompts[0]
    assert engine.swaps == 1 + 3
    job.close()


def capitals(rows: Sequence[SegmentRow]) -> list[str]:
    """A review."""
    return [str(row.translation).upper() for row in rows]


def test_review_is_what_is_learned(tmp_path: Path) -> None:
    def rule(source: str, attempt: int) -> str:
        return "" if source == FRENCH[1] else BY_HAND[source]

    run, job, _, trainer = start(tmp_path, rule, review=capitals)
    list(run)
    assert trainer.trained[0][1] == f"{ENGLISH[0].upper()}\n{FRENCH[1].upper()}\n"
    assert trainer.own == [False] * 3, "what a person left there is given"
    expected = [FRENCH[1] if text == ENGLISH[1] else text for text in ENGLISH]
    assert assemble(FRENCH, job.segments()) == [text.upper() for text in expected], "the last too"
    assert {(row.origin, row.flags) for row in job.segments()} == {(Origin.EDIT, ())}
    run.flush()
    assert len(trainer.trained) == 4
    assert trainer.own == [False] * 4
    job.close()


def test_what_has_no_words_is_not_learned_though_it_is_approved(tmp_path: Path) -> None:
    paragraphs = ["II", *FRENCH[:3], "* * *"]
    run, job, _, trainer = start(
        tmp_path, well, paragraphs, review=lambda rows: [str(row.translation) for row in rows]
    )
    list(run)
    assert "II" not in trainer.trained[0][0]
    assert [row.origin for row in job.segments()] == [
        Origin.MODEL, Origin.EDIT, Origin.EDIT, Origin.EDIT, Origin.MODEL
    ]  # fmt: skip
    job.close()


@pytest.mark.parametrize("where", ["train", "save"])
@pytest.mark.parametrize("block", [0, 1, 2])
def test_a_saved_review_is_not_asked_again_and_nothing_is_learned_twice(
    where: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    run, job, _, trainer = start(whole, well, review=capitals)
    list(run)
    expected = trainer.trained
    job.close()
    asked: list[int] = []

    def review(rows: Sequence[SegmentRow]) -> list[str]:
        asked.extend(row.id for row in rows)
        return capitals(rows)

    parts = tmp_path / "parts"
    parts.mkdir()
    run, job, _, trainer = start(parts, well, review=review)
    method = getattr(trainer, where)
    calls = []

    def interrupted(*arguments: Any, **others: Any) -> Any:
        calls.append(arguments)
        if len(calls) == block + 1:
            raise KeyboardInterrupt
        return method(*arguments, **others)

    monkeypatch.setattr(trainer, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(run)
    n_asked = len(asked)
    job.close()
    run, job, _, trainer = start(parts, well, review=review)
    list(run)
    assert asked[:n_asked] == list(range(1, n_asked + 1))
    assert asked == [row.id for row in job.segments()], "each once"
    assert trainer.trained == expected
    assert set(trainer.own) == {False}
    job.close()


def test_a_review_that_fails_is_asked_again(tmp_path: Path) -> None:
    def fails(rows: Sequence[SegmentRow]) -> list[str]:
        raise OptionError("the editor failed")

    run, job, _, trainer = start(tmp_path, well, review=fails)
    with pytest.raises(OptionError):
        list(run)
    assert not trainer.trained
    assert {row.origin for row in job.segments() if row.translation} == {Origin.MODEL}
    job.close()
    run, job, _, _ = start(tmp_path, well, review=capitals)
    list(run)
    assert {row.origin for row in job.segments()} == {Origin.EDIT}
    job.close()


def test_markup_that_a_review_damaged_is_repaired(tmp_path: Path) -> None:
    paragraphs = ["Le <1>vieux</1> marin<2/> regardait la mer."]
    run, job, _, _ = start(
        tmp_path,
        lambda source, _: "The <1>old</1> sailor<2/> looked at the sea.",
        paragraphs,
        review=lambda rows: ["The <1>very old sailor looked at the sea."],
    )
    list(run)
    [row] = job.segments()
    assert sorted(re.findall(r"<[^>]*>", str(row.translation))) == ["</1>", "<1>", "<2/>"]
    job.close()


def test_given_and_own_translations_of_a_block_are_updates_of_their_own(tmp_path: Path) -> None:
    run, job, _, trainer = start(tmp_path, well)
    first, *_ = job.segments()
    job.finish_segment(
        replace(first, translation="Given.", origin=Origin.EDIT, tokens=len(ENGLISH[0]))
    )
    list(run)
    assert [learned for _, learned in trainer.trained[:2]] == ["Given.\n", f"{ENGLISH[1]}\n"]
    assert trainer.own == [False, True, True, True]
    job.close()


def test_reviewed_segments_are_given_when_flagged_ones_are_done_again(tmp_path: Path) -> None:
    run, job, _, _ = start(
        tmp_path, lambda source, _: "" if source == FRENCH[6] else BY_HAND[source]
    )
    list(run)
    for row in job.segments()[:3]:
        job.finish_segment(
            replace(row, translation=str(row.translation).upper(), origin=Origin.EDIT)
        )
    job.close()
    run, job, _, trainer = start(tmp_path, well)
    list(run.retry())
    assert trainer.trained[0][1] == lines(text.upper() for text in ENGLISH[:2])
    assert trainer.own == [False, False, True, True, True][: len(trainer.own)]
    assert "".join(text for _, text in trainer.trained).count(f"{ENGLISH[3]}\n") == 1
    job.close()


def test_progress_says_what_is_done_before_the_first_segment_and_never_goes_back(
    tmp_path: Path,
) -> None:
    total = sum(map(len, FRENCH))
    run, job, _, _ = start(tmp_path, well)
    steps = iter(run)
    assert next(steps) == Step("segments", 0, total)
    for _ in range(4):
        step = next(steps)
    job.close()
    run, job, _, _ = start(tmp_path, well)
    done = [step.done for step in run]
    n_before = sum(len(row.source) for row in job.segments()[:3])
    assert done[0] == step.done == n_before
    assert done == sorted(done)
    assert done[-1] == total
    job.close()
    run, job, _, _ = start(tmp_path, well)
    assert next(iter(run)) == Step("segments", total, total)
    assert list(run.retry()) == [Step("flagged segments", 0, 0)]
    job.close()


def test_flagged_segments_are_done_again(tmp_path: Path) -> None:
    bad = {FRENCH[1], FRENCH[6]}
    run, job, _, _ = start(tmp_path, lambda source, _: "" if source in bad else BY_HAND[source])
    list(run)
    job.close()
    still = {FRENCH[6]}
    run, job, engine, trainer = start(
        tmp_path, lambda source, _: "" if source in still else BY_HAND[source]
    )
    list(run.retry())
    assert [row.id for row in job.segments() if row.flags] == [7]
    assert assemble(FRENCH, job.segments())[1] == ENGLISH[1]
    assert "".join(learned for _, learned in trainer.trained).count("The old sailor") == 1
    # each is shown what precedes it
    assert engine.prompts[0] == f"{FRENCH[0]} => {ENGLISH[0]}\n{FRENCH[1]} => "
    job.close()


def test_references_are_given_when_flagged_segments_are_done_again(tmp_path: Path) -> None:
    references = [Pair(f"Référence {i}.", f"Reference {i}.") for i in range(3)]

    def rule(source: str, attempt: int) -> str:
        return "" if source == FRENCH[6] else BY_HAND[source]

    run, job, _, _ = start(tmp_path, rule, references=references)
    list(run)
    job.close()
    run, job, _, trainer = start(tmp_path, well, references=references)
    list(run.retry())
    assert trainer.trained[0][1] == lines(f"Reference {i}." for i in range(3))
    assert "Référence 2. => Reference 2.\n" in trainer.trained[1][0]
    assert trainer.trained[1][1] == lines(ENGLISH[:2])
    assert trainer.own == [False, True, True, True, True]
    job.close()


def test_a_job_that_learns_nothing_starts_no_training(tmp_path: Path) -> None:
    engine, trainer = ScriptedEngine(well), ScriptedTrainer(tmp_path)
    started = []

    def start_trainer() -> ScriptedTrainer:
        started.append(trainer)
        return trainer

    references = [Pair(f"Référence {i}.", f"Reference {i}.") for i in range(3)]
    for folder, pairs in (("none", []), ("some", references)):
        updates = Updates(engine, start_trainer, learns_own=False)
        loop = make_loop(engine, updates)
        with Store(tmp_path / folder) as job:
            job.begin({}, segments_of(FRENCH, loop))
            answers = make_answers(loop, Languages("fr", "en"))
            list(TranslationRun(job, loop, updates, answers, references=pairs))
            assert assemble(FRENCH, job.segments()) == ENGLISH
            assert (job.learned.state is not None) == bool(pairs) == bool(started)
    assert [learned for _, learned in trainer.trained] == [
        lines(f"Reference {i}." for i in range(3))
    ]


def test_terms_are_found_and_missed(tmp_path: Path) -> None:
    path = tmp_path / "terms.csv"
    path.write_text("bateau,boat\nmarin,mariner\nvin rouge,red wine\n", encoding="utf-8")
    glossary = Glossary.read(path, "fr", "en")
    assert glossary.found_in(FRENCH[0]) == (Pair("marin", "mariner"),)
    assert glossary.violations(FRENCH[0], ENGLISH[0]) == [Pair("marin", "mariner")]
    assert glossary.violations(FRENCH[1], ENGLISH[1]) == []
    assert glossary.found_in("Les sous-marins.") == ()


def test_markup_that_is_lost_is_placed_anew(tmp_path: Path) -> None:
    paragraphs = ["Le <1>vieux</1> marin<2/> regardait la mer.", "La <1>mer</1> était calme."]
    answers = {
        paragraphs[0]: "The old sailor looked at the sea.",
        "Le vieux marin regardait la mer.": "The old sailor looked at the sea.",
        paragraphs[1]: "The <1>sea</1> was calm.",
    }
    run, job, _, trainer = start(tmp_path, lambda source, _: answers[source], paragraphs)
    list(run)
    assert [row.flags for row in job.segments()] == [(Flag.MARKUP,), ()]
    assert assemble(paragraphs, job.segments()) == [
        "The <1>old</1> sailor<2/> looked at the sea.", "The <1>sea</1> was calm.",
    ]  # fmt: skip
    assert not trainer.trained
    job.close()


def test_what_has_no_words_is_not_asked(tmp_path: Path) -> None:
    paragraphs = ["II", FRENCH[0], "* * *", FRENCH[1]]
    run, job, engine, _ = start(tmp_path, well, paragraphs)
    list(run)
    assert assemble(paragraphs, job.segments()) == ["II", ENGLISH[0], "* * *", ENGLISH[1]]
    assert [row.attempts for row in job.segments()] == [0, 1, 0, 1]
    assert len(engine.prompts) == 2
    job.close()


def test_long_paragraphs_are_cut_and_joined(tmp_path: Path) -> None:
    paragraph = " ".join(FRENCH[:6])
    engine = ScriptedEngine(well, n_ctx=4 * 60)
    updates = Updates(engine, None)
    loop = make_loop(engine, updates)
    segments = segments_of([paragraph], loop)
    assert segments == [(0, sentence) for sentence in FRENCH[:6]]
    with Store(tmp_path / "other.job") as job:
        job.begin({}, segments)
        list(TranslationRun(job, loop, updates, make_answers(loop, Languages("fr", "en"))))
        assert assemble([paragraph], job.segments()) == [" ".join(ENGLISH[:6])]


def test_only_one_process_may_work_on_a_job(tmp_path: Path) -> None:
    with (
        Store(tmp_path / "a.job"),
        pytest.raises(JobError, match="another process is working on it"),
    ):
        Store(tmp_path / "a.job")
    (tmp_path / "a.job" / "job.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(JobError, match=r"damaged .* --restart"):
        Store(tmp_path / "a.job")


VERSION_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE segment (
    id INTEGER PRIMARY KEY,
    paragraph INTEGER NOT NULL,
    source TEXT NOT NULL,
    translation TEXT,
    flags TEXT NOT NULL DEFAULT '[]',
    attempts INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0
);
INSERT INTO meta VALUES ('version', '1'), ('settings', '{}');
INSERT INTO meta VALUES ('learned', '{"state": null, "references": 2, "segments": 1, "blocks": 1}');
INSERT INTO segment VALUES (1, 0, 'Oui.', 'Yes.', '["short"]', 3, 4, 0.5);
INSERT INTO segment (id, paragraph, source) VALUES (2, 1, 'Non.');
"""


def test_a_job_of_version_1_is_taken_up(tmp_path: Path) -> None:
    folder = tmp_path / "a.job"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "job.sqlite")) as db:
        db.executescript(VERSION_1)
    expected = [
        SegmentRow(1, 1, 0, "Oui.", "Yes.", Origin.MODEL, ("short",), 3, 4, 0.5, learned=True),
        SegmentRow(2, 2, 1, "Non.", None, Origin.NONE, (), 0, 0, 0.0),
    ]
    before = (folder / "job.sqlite").read_bytes()
    with Store(folder, read_only=True) as job:
        assert job.segments() == expected
        assert job.learned == Learned(references=2, blocks=1)
        assert job.status()["done"] == 1
    assert (folder / "job.sqlite").read_bytes() == before
    for _ in range(2):
        with Store(folder) as job:
            assert job.segments() == expected
            assert job.learned == Learned(references=2, blocks=1)
    with Store(folder) as job:
        job.put("version", 3)
    with pytest.raises(JobError, match=r"another version .* --restart"):
        Store(folder)
