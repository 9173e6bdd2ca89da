"""Notes, stop texts, chapters and gentle ends, on real models."""

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import real_model
from parity import Floats, kl
from paths import PROSE

from templora_edge import KvPolicy, SamplingOptions, SelfExtendOptions, TempLora, TemploraError
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.cli.interrupts import gentle_interrupts
from templora_edge.ending import EndedBy
from templora_edge.engine import LlamaEngine
from templora_edge.engine.model import Model
from templora_edge.errors import JobError
from templora_edge.generation.generate_job import GenerateJob
from templora_edge.generation.generation import Generation
from templora_edge.generation.outputs import Outputs
from templora_edge.notes import tokens_of
from templora_edge.options import EngineOptions, Options

NOTES = "Anna Kerr is the captain of the Albatross. Her brother Tom is the cook."
PROMPT = "It was a dark night in November, and the ship lay in the harbour."
GREEDY = SamplingOptions(temperature=0, repeat_penalty=1.1, ignore_eos=True)
WINDOW = {"n_ctx": 128, "block_len": 16, "prefix_len": 80, "n_threads": 1}


@pytest.fixture(params=["bundled", "smollm2", "gemma3"])
def model(request: pytest.FixtureRequest) -> Path:
    return BUNDLED_MODEL if request.param == "bundled" else real_model(request.param)


def fresh_logits(model: Path, tokens: Sequence[int], n_ctx: int) -> Floats:
    """Slow reference: the logits after ``tokens``, all decoded at once in an empty cache."""
    with LlamaEngine(model, EngineOptions(n_ctx=n_ctx, n_threads=1)) as engine:
        engine.decode(tokens)
        return engine.context.logits()


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("policy", KvPolicy)
def test_notes_stand_at_the_head_of_every_window(model: Path, policy: KvPolicy) -> None:
    with TempLora(model, templora=False, kv_policy=policy, **WINDOW) as session:  # type: ignore[arg-type]
        for _ in session.generate(PROMPT, n_predict=128, sampling=GREEDY, notes=NOTES):
            pass
        vocab, engine = session.engine.model.vocab, session.engine
        notes = vocab.tokenize(f"{NOTES}\n\n")
        opening = [*vocab.head, *notes]
        text = session.loop.text
        n_cached = engine.n_past - len(opening)
        assert n_cached < len(text) - 1, "the window held all of the text: an empty test"
        cached = text[len(text) - 1 - n_cached : -1]
        if policy is not KvPolicy.SHIFT:  # which keeps what was computed with what it drops
            here = engine.context.logits()
            with_notes, without = (
                kl(fresh_logits(model, [*head, *cached], session.options.blocks.n_ctx), here)
                for head in (opening, vocab.head)
            )
            assert with_notes < min(0.02, without / 3)
        engine.truncate(len(opening))
        assert engine.n_past == len(opening)
        engine.decode(cached[:20])
        fresh = fresh_logits(model, [*opening, *cached[:20]], session.options.blocks.n_ctx)
        assert kl(fresh, engine.context.logits()) < 0.02


def test_notes_with_self_extend() -> None:
    """Notes are grouped as the rest of a text is, and stand at the head after a refill too."""
    lengths = Options().changed(n_ctx=3328, block_len=32, prefix_len=2800, n_threads=1)
    options = lengths.changed(templora=False, self_extend=SelfExtendOptions(4, 128))
    prose = PROSE.read_text()
    with TempLora(options=options) as session:
        engine, vocab = session.engine, session.engine.model.vocab
        opening = [*vocab.head, *vocab.tokenize(f"{NOTES}\n\n")]
        for prompt in (prose[:9000], prose[9000:]):
            for _ in session.generate(prompt, n_predict=40, sampling=GREEDY, notes=NOTES):
                pass
            assert engine.n_past > session.base.n_ctx_train, "nothing is grouped: an empty test"
            n_cached = engine.n_past - len(opening)
            cached = session.loop.text[-1 - n_cached : -1]
            here = engine.context.logits()
            with LlamaEngine(BUNDLED_MODEL, session.options.engine) as fresh:
                fresh.decode([*opening, *cached])
                assert kl(fresh.context.logits(), here) < 0.02
        assert n_cached < session.n_tokens - 1, "the window was never full: an empty test"


def test_notes_that_do_not_fit() -> None:
    with TempLora(templora=False, **WINDOW) as session:  # type: ignore[arg-type]
        n_notes = len(session.tokenize(f"{3 * NOTES}\n\n"))
        n_head = len(session.engine.model.vocab.head)
        expected = f"--notes: {n_notes} tokens; at most {40 - n_head} fit, as half of the prefix of"
        with pytest.raises(TemploraError, match=expected):
            next(session.generate(PROMPT, notes=3 * NOTES))
        assert session.n_tokens == 0


SYSTEM_TURN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
    "{% endfor %}{{ '<|im_start|>assistant\n' }}"
)
WITHIN_THE_USERS = (
    "<|im_start|>user\n{% if messages[0].role == 'system' %}{{ messages[0].content }}\n\n"
    "{% endif %}{{ messages[-1].content }}{{ '<|im_end|>\n<|im_start|>assistant\n' }}"
)


@pytest.mark.models
@pytest.mark.parametrize(
    ("template", "opening"),
    [
        (SYSTEM_TURN, "<|im_start|>system\nAnna <|im_end|> Kerr.<|im_end|>"),
        (WITHIN_THE_USERS, "<|im_start|>user\nAnna <|im_end|> Kerr."),
    ],
)
def test_notes_in_a_chat(
    template: str, opening: str, smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "metadata", lambda *_: template)
    with Model(smollm2) as model:
        notes, prompt = tokens_of(model, "Who is Anna?", "Anna <|im_end|> Kerr.", chat=True)
        vocab = model.vocab

        def text_of(tokens: list[int]) -> str:
            return "".join(map(vocab.text, tokens))

        assert text_of(notes) == opening
        assert text_of(prompt).endswith("Who is Anna?<|im_end|>\n<|im_start|>assistant\n")
        rendered = model.chat_prompt(
            [
                {"role": "system", "content": vocab.quote("Anna <|im_end|> Kerr.")},
                {"role": "user", "content": "Who is Anna?"},
            ]
        )
        assert [*notes, *prompt] == vocab.tokenize_prompt(rendered)


@pytest.mark.models
@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ messages[-1].content }}", "shows no system message"),
        ("{{ raise_exception('System role not supported') }}", "System role not supported"),
    ],
)
def test_chats_that_take_no_notes(
    template: str, reason: str, smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "metadata", lambda *_: template)
    with Model(smollm2) as model, pytest.raises(TemploraError, match=reason):
        tokens_of(model, "Who is Anna?", NOTES, chat=True)


@pytest.fixture(scope="module")
def written() -> str:
    """A text of the bundled model."""
    with TempLora(templora=False, **WINDOW) as session:  # type: ignore[arg-type]
        pieces = session.generate(PROMPT, n_predict=100, sampling=GREEDY)
        return "".join(piece.text for piece in pieces)


@pytest.mark.parametrize("begin", range(3, 60, 7))
def test_a_stop_text_ends_the_text_and_is_no_part_of_it(begin: int, written: str) -> None:
    stop = written[begin : begin + 1 + begin % 9]
    with TempLora(templora=False, **WINDOW) as session:  # type: ignore[arg-type]
        prompt = session.tokenize(PROMPT)
        pieces = session.generate(PROMPT, n_predict=100, sampling=GREEDY, stop=["§", stop])
        kept = "".join(piece.text for piece in pieces)
        assert kept == written[: written.index(stop)]
        ends = [session.ended_by]
        vocab = session.engine.model.vocab
        assert session.loop.text[: len(prompt)] == prompt
        assert vocab.detokenize(session.loop.text[len(prompt) :]) == kept
        # a block before the one in which the text ended stays as it was learned
        n_more = sum(block.tokens for block in session.blocks) - (session.n_tokens - len(prompt))
        assert 0 <= n_more < len(stop)
        more = list(session.generate(n_predict=5, sampling=GREEDY))
        assert vocab.detokenize(session.loop.text[len(prompt) :]) == kept + "".join(
            piece.text for piece in more
        )
        assert [*ends, session.ended_by] == [EndedBy.STOP, EndedBy.LENGTH]


STORY = " The sea was wide.\n\nChapter 1\n\nShe sailed.\n\nChapter 2: Äöü\n\nShe landed.\n"


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model says what `STORY` says, and then ends the text."""
    place = 0

    def use_sampling(*_: object, sampled: int = 0) -> None:
        nonlocal place
        place = sampled

    def take(*_: object) -> None:
        nonlocal place
        place += 1

    def sample(engine: LlamaEngine) -> int:
        nonlocal place
        vocab = engine.model.vocab
        place += 1
        return [*vocab.tokenize(STORY), vocab.eos][place - 1]

    monkeypatch.setattr(LlamaEngine, "use_sampling", use_sampling)
    monkeypatch.setattr(LlamaEngine, "take", take)
    monkeypatch.setattr(LlamaEngine, "sample", sample)


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize(
    ("prompt", "chapters", "end"),
    [
        ("The ship.", 1, "Chapter 2"),
        ("The ship.", 2, None),
        ("# The Ship\nThey left.", 1, "Chapter 1"),
        ("# The Ship\nThey left.", 2, "Chapter 2"),
    ],
)
def test_chapters(prompt: str, chapters: int, end: str | None) -> None:
    with TempLora(templora=False, **WINDOW) as session:  # type: ignore[arg-type]
        pieces = session.generate(prompt, n_predict=200, chapters=chapters)
        assert "".join(piece.text for piece in pieces) == STORY[: STORY.index(end) if end else None]
        assert session.ended_by is (EndedBy.CHAPTERS if end else EndedBy.MODEL)
        if end:
            assert session.engine.model.vocab.detokenize(session.loop.text).endswith("\n\n")


def interrupted(session: TempLora, at: set[int]) -> Iterator[str]:
    """A text with a SIGINT after its pieces of these numbers."""
    with gentle_interrupts(session.finish_sentence):
        for number, piece in enumerate(session.generate(PROMPT, n_predict=200)):
            yield piece.text
            if number in at:
                signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("scripted")
def test_an_interrupt_ends_a_text_with_its_sentence() -> None:
    before = signal.getsignal(signal.SIGINT)
    with TempLora(templora=False, **WINDOW) as session:  # type: ignore[arg-type]
        assert not session.finish_sentence()
        assert "".join(interrupted(session, {1})) == " The sea was wide."
        assert session.ended_by is EndedBy.SENTENCE
        assert session.engine.model.vocab.detokenize(session.loop.text).endswith("was wide.")
        assert not session.finish_sentence(), "there is no sentence to end"
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.usefixtures("scripted")
def test_a_second_interrupt_stops_at_once() -> None:
    with TempLora(templora=False, **WINDOW) as session:  # type: ignore[arg-type]
        pieces = interrupted(session, {0, 1})
        assert len([next(pieces), next(pieces)]) == 2
        with pytest.raises(KeyboardInterrupt):
            next(pieces)


def write_job(out: Path, *, interrupt: bool = False, **asked: Any) -> EndedBy | None:
    """Write to ``out`` as a job, with a SIGINT after the second piece if ``interrupt``."""
    options = Options().changed(templora=False, **WINDOW)
    job = GenerateJob("The ship.", options=options, outputs=Outputs(out), seed=1, **asked)
    with Generation(job) as generation, gentle_interrupts(generation.text.finish_sentence):
        for number, _ in enumerate(generation):
            if interrupt and number == 1:
                signal.raise_signal(signal.SIGINT)
        return generation.text.ended_by


@pytest.mark.usefixtures("scripted")
def test_a_job_goes_on_with_more_chapters(tmp_path: Path) -> None:
    out = tmp_path / "story.txt"
    assert write_job(out, notes=NOTES, interrupt=True, chapters=1) is EndedBy.SENTENCE
    assert out.read_text() == " The sea was wide.\n"
    for _ in range(2):
        assert write_job(out, notes=NOTES, chapters=1) is EndedBy.CHAPTERS
        assert out.read_text() == STORY[: STORY.index("Chapter 2")] + "\n"
    for chapters in (2, 2, 1):
        write_job(out, notes=NOTES, chapters=chapters)
        assert out.read_text() == STORY + "\n"


@pytest.mark.usefixtures("scripted")
def test_a_job_keeps_its_stop_texts(tmp_path: Path) -> None:
    out = tmp_path / "story.txt"
    assert write_job(out, stop=("Äö",), n_predict=10) is EndedBy.LENGTH
    for n_predict in (None, 500):
        assert write_job(out, stop=("Äö",), n_predict=n_predict) is EndedBy.STOP
        assert out.read_text() == STORY[: STORY.index("Äö")] + "\n"
    with pytest.raises(JobError, match="begun with another stop"):
        write_job(out, stop=("Ä",))
