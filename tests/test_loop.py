"""The algorithm, on an engine and a trainer that only record calls."""

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from hypothesis import given, settings
from hypothesis import strategies as st

from templora_edge import windows
from templora_edge.errors import OptionError
from templora_edge.events import BlockReport, ScoredBlock, Token
from templora_edge.loop import TempLoraLoop
from templora_edge.options import BlockOptions, KvPolicy
from templora_edge.protocols import Captured, Engine, Trainer, Update
from templora_edge.text_cache import TextCache
from templora_edge.updates import Updates

END = -1


class CountingEngine(FakeEngine):
    """Counts upwards: the token after the text so far is the number of tokens chosen so far."""

    end = END

    def __init__(self, n_ctx: int, log: list[object], end_after: int | None = None) -> None:
        super().__init__(n_ctx, log)
        self._end_after = end_after
        self._chosen = 1000

    def choose(self) -> int:
        if self._end_after == self._chosen - 1000:
            return END
        self._chosen += 1
        self.log.append(("generated", self._chosen))
        return self._chosen


@dataclass
class FakeTrainer:
    folder: Path
    log: list[object]
    windows: list[tuple[list[int], list[int]]] = field(default_factory=list)
    own: list[bool] = field(default_factory=list)
    """Whether each block was learned as the model's own."""
    with_states: int = 0
    """Number of blocks that came with the engine's states."""

    def train(
        self,
        prefix: Sequence[int],
        block: Sequence[int],
        loss_mask: Sequence[bool] | None = None,
        *,
        own: bool = False,
        captured: Captured | None = None,
    ) -> Update:
        if captured is not None:  # each state is that of the token before
            assert captured.states is not None
            assert captured.states[:, 0].tolist() == [prefix[-1], *block[:-1]]
            self.with_states += 1
        self.windows.append((list(prefix), list(block)))
        self.own.append(own)
        self.log.append(("trained", tuple(block)))
        return Update(2.0, 1.0)

    def begin(
        self,
        prefix: Sequence[int],
        block: Sequence[int],
        *,
        own: bool = False,
        captured: Captured | None = None,
    ) -> None:
        """Only note it: `train` does all."""
        self.log.append(("begun", tuple(block)))

    def export(self) -> Path:
        path = self.folder / f"{len(self.windows)}.gguf"
        path.touch()
        return path

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.windows))

    def load(self, path: Path) -> None:
        self.windows = [(prefix, block) for prefix, block in json.loads(path.read_text())]


@dataclass
class Run:
    loop: TempLoraLoop
    engine: CountingEngine
    trainer: FakeTrainer
    options: BlockOptions
    log: list[object]
    head: list[int]
    notes: list[int] = field(default_factory=list)

    @property
    def cache(self) -> TextCache:
        return self.loop._cache


BOS = -2
NOTES = list(range(-100, -50))
HEADS = st.sampled_from([[], [BOS]])


def loop_on(
    engine: Engine,
    trainer: Trainer | None,
    options: BlockOptions,
    head: Sequence[int] = (),
    *,
    learns_own: bool = True,
    overlap: bool = False,
) -> TempLoraLoop:
    start = None if trainer is None else itertools.repeat(trainer).__next__
    updates = Updates(engine, start, learns_own=learns_own)
    return TempLoraLoop(TextCache(engine, options, head), updates, overlap=overlap)


def scored(loop: TempLoraLoop, tokens: Sequence[int]) -> list[float]:
    """NLL of ``tokens``, scored block by block."""
    return [
        nll
        for part in windows.cut(0, len(tokens), loop.options.block_len)
        for event in loop.score(tokens[part.start : part.stop])
        if isinstance(event, ScoredBlock)
        for nll in event.nll
    ]


def make(
    folder: Path,
    options: BlockOptions,
    end_after: int | None = None,
    head: Sequence[int] = (),
    *,
    overlap: bool = False,
) -> Run:
    log: list[object] = []
    engine, trainer = CountingEngine(options.n_ctx, log, end_after), FakeTrainer(folder, log)
    loop = loop_on(engine, trainer, options, head, overlap=overlap)
    return Run(loop, engine, trainer, options, log, list(head))


@st.composite
def block_options(draw: st.DrawFn) -> BlockOptions:
    n_ctx = draw(st.integers(3, 40))
    block = draw(st.integers(1, n_ctx - 2))
    prefix = draw(st.integers(2, n_ctx - block))
    return BlockOptions(
        n_ctx,
        block,
        prefix,
        draw(st.integers(0, 12)),
        draw(st.sampled_from(KvPolicy)),
        draw(st.integers(0, prefix - 1)),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("exports")
    yield path
    assert not list(path.iterdir()), "an exported adapter was left behind"


def ids(events: Iterator[Token | BlockReport]) -> list[int]:
    return [event.id for event in events if isinstance(event, Token)]


def check_blocks(run: Run, n_unblocked: int) -> None:
    """Every token is in exactly one block; windows are as in the paper."""
    assert n_unblocked + sum(block.tokens for block in run.loop.blocks) == len(run.loop.text)
    assert all(1 <= block.tokens <= run.options.block_len for block in run.loop.blocks)
    assert [block.index for block in run.loop.blocks] == list(range(len(run.loop.blocks)))
    position = n_unblocked
    for prefix, block in run.trainer.windows:
        begin = max(0, position - run.options.train_prefix_len)
        assert prefix == run.head + run.loop.text[begin:position]
        assert block == run.loop.text[position : position + len(block)]
        position += len(block)


def check_conditioning(run: Run, given_len: int) -> None:
    """Each choice was conditioned on the whole text, or on what the KV policy left of it."""
    opening = run.head + run.notes
    text, options, n_head = run.loop.text, run.options, len(opening)
    least = options.prefix_len
    if options.kv_policy is KvPolicy.SHIFT:  # drops the older half when the next block needs room
        least = min(least, (options.n_ctx - options.block_len) // 2)
    for index, cells in enumerate(run.engine.conditioned_on):
        assert cells[:n_head] == opening, "BOS and notes are not at the head of the cache"
        cached, before = cells[n_head:], text[: given_len + index]
        if options.kv_policy is KvPolicy.SHIFT:
            n_keep = max(0, options.n_keep - n_head)
            kept = n_keep if len(cached) > n_keep else 0
            tail = cached[kept:]
            assert tail == before[len(before) - len(tail) :]
        else:
            assert cached == before[len(before) - len(cached) :]
        assert cached == before or len(cells) >= min(len(before), least)


@settings(max_examples=300, deadline=None)
@given(block_options(), HEADS, st.integers(1, 90), st.integers(0, 90), st.data())
def test_generate(
    folder: Path,
    options: BlockOptions,
    head: list[int],
    prompt_len: int,
    n_predict: int,
    data: st.DataObject,
) -> None:
    end_after = data.draw(st.none() | st.integers(0, n_predict))
    run = make(folder, options, end_after, head)
    most_notes = max(0, options.prefix_len // 2 - len(head))
    run.notes = NOTES[: data.draw(st.integers(0, most_notes))]
    run.cache.use_notes(run.notes)
    prompt = list(range(prompt_len))
    absorbed = list(run.loop.prompt(prompt))
    assert bool(absorbed) == (len(head + run.notes) + prompt_len > options.prefix_len)
    n_unblocked = 0 if absorbed else prompt_len
    generated = ids(run.loop.generate(n_predict))
    expected = n_predict if end_after is None else min(n_predict, end_after)
    assert generated == list(range(1001, 1001 + expected))
    assert run.loop.text == prompt + generated
    check_blocks(run, n_unblocked)
    check_conditioning(run, prompt_len)
    check_nothing_is_trained_on_early(run, set(prompt))


def check_nothing_is_trained_on_early(run: Run, known: set[int]) -> None:
    learned: set[int] = set()
    for event in run.log:
        match event:
            case ("generated" | "scored", int(token)):
                assert token not in learned
                known.add(token)
            case ("trained", tuple(block)):
                assert known.issuperset(block)
                assert learned.isdisjoint(block), "trained on twice"
                learned.update(block)
            case _:
                pass


@settings(max_examples=200, deadline=None)
@given(block_options(), HEADS, st.integers(0, 90))
def test_score(folder: Path, options: BlockOptions, head: list[int], n: int) -> None:
    run = make(folder, options, head=head)
    text = list(range(n))
    # every token, once, in order; but for the first where nothing precedes it
    unscored = 0 if head else 1
    assert scored(run.loop, text) == [float(t) for t in text[unscored:]]
    check_blocks(run, 0)
    check_conditioning(run, unscored)
    check_nothing_is_trained_on_early(run, set(text[:unscored]))


def options_for(policy: KvPolicy) -> BlockOptions:
    return BlockOptions(16, 4, 8, 3, policy, 2)


def test_reuse_keeps_what_older_adapters_computed_and_recomputes_when_full(folder: Path) -> None:
    run = make(folder, options_for(KvPolicy.REUSE))
    list(run.loop.prompt([1, 2, 3, 4]))
    list(run.loop.generate(12))  # the cache ends at 4 + 12 - 1: full but for the last choice
    assert "clear" not in run.log
    assert [adapter for _, adapter in run.engine.cells] == [0] * 7 + [1] * 4 + [2] * 4
    list(run.loop.generate(4))
    assert run.log.count("clear") == 1
    # the last L_X tokens, all by the newest adapter, then the block
    assert run.engine.cells == [(token, 3) for token in run.loop.text[8:-1]]


def test_recompute_recomputes_after_every_swap(folder: Path) -> None:
    run = make(folder, options_for(KvPolicy.RECOMPUTE))
    list(run.loop.prompt([1, 2, 3, 4]))
    list(run.loop.generate(12))
    assert run.log.count("clear") == 2
    assert run.engine.cells == [(token, 2) for token in run.loop.text[:-1]]


def test_shift_never_recomputes(folder: Path) -> None:
    run = make(folder, options_for(KvPolicy.SHIFT))
    list(run.loop.prompt([1, 2, 3, 4]))
    list(run.loop.generate(16))
    assert "clear" not in run.log
    assert ("shift", 2, 6) in run.log  # half of the 13 that may go
    assert [token for token, _ in run.engine.cells] == run.loop.text[:2] + run.loop.text[8:-1]


@pytest.mark.parametrize("policy", KvPolicy)
def test_other_notes_are_read_with_the_end_of_the_text(policy: KvPolicy, folder: Path) -> None:
    run = make(folder, options_for(policy), head=[BOS])
    run.cache.use_notes([-7, -8])
    list(run.loop.prompt([1, 2, 3, 4]))
    list(run.loop.generate(3))
    assert run.engine.cached == [BOS, -7, -8, *run.loop.text[:-1]]
    run.cache.use_notes([-7, -8])
    assert run.engine.n_past == 9, "the same notes again"
    run.cache.use_notes([-9])
    list(run.loop.generate(1))
    assert run.engine.cached == [BOS, -9, *run.loop.text[1:-1]]
    with pytest.raises(OptionError, match="--notes: 4 tokens; at most 3 fit"):
        run.cache.use_notes([-7] * 4)
    assert run.cache.notes == (-9,)


@settings(max_examples=100, deadline=None)
@given(block_options(), HEADS, st.integers(1, 30), st.integers(1, 40), st.booleans(), st.data())
def test_what_is_taken_back_was_never_there(
    folder: Path,
    options: BlockOptions,
    head: list[int],
    prompt_len: int,
    n_predict: int,
    overlap: bool,
    data: st.DataObject,
) -> None:
    run = make(folder, options, head=head, overlap=overlap)
    list(run.loop.prompt(list(range(prompt_len))))
    list(run.loop.generate(n_predict))
    whole = list(run.loop.text)
    n = data.draw(st.integers(0, n_predict))
    instead = data.draw(st.lists(st.integers(500, 600), max_size=2))
    learned = {block.index for block in run.loop.blocks if block.loss_before is not None}
    reports = run.loop.take_back(n, instead)
    assert run.loop.text == whole[: len(whole) - n] + instead
    before = len(run.loop.text)
    known = [*run.trainer.windows]
    list(run.loop.generate(n_predict))
    run.loop.flush()
    assert all(block.loss_before is not None for block in run.loop.blocks)
    assert {one.index for one in reports}.isdisjoint(learned)
    # what is generated from there on is learned after what precedes it now
    later = [(prefix, block) for prefix, block in run.trainer.windows[len(known) :]]
    position = len(run.loop.text) - sum(len(block) for _, block in later)
    assert position <= before
    for prefix, block in later:
        begin = max(0, position - options.train_prefix_len)
        assert prefix == run.head + run.loop.text[begin:position]
        assert block == run.loop.text[position : position + len(block)]
        position += len(block)


def test_the_last_block_is_learned_only_when_it_is_needed(folder: Path) -> None:
    run = make(folder, options_for(KvPolicy.REUSE))
    list(run.loop.prompt([1]))
    list(run.loop.generate(8))
    assert len(run.trainer.windows) == 1
    assert run.loop.blocks[-1].loss_after is None
    run.loop.flush()
    assert len(run.trainer.windows) == 2
    assert run.loop.blocks[-1].loss_after == 1.0


def test_learning_while_the_next_block_is_written(folder: Path) -> None:
    """Each block is begun before the next one, and served to the one after that."""
    run = make(folder, options_for(KvPolicy.REUSE), overlap=True)
    list(run.loop.prompt([1]))
    events = list(run.loop.generate(16))
    assert [one for one in run.log if isinstance(one, tuple) and one[0] != "generated"] == [
        ("begun", (1001, 1002, 1003, 1004)),
        ("trained", (1001, 1002, 1003, 1004)),
        ("swap", 1),
        ("begun", (1005, 1006, 1007, 1008)),
        ("trained", (1005, 1006, 1007, 1008)),
        ("swap", 2),
        ("begun", (1009, 1010, 1011, 1012)),
    ]
    places = [run.log.index(("generated", token)) for token in (1004, 1005, 1008, 1009)]
    begun, trained = (
        run.log.index((what, (1001, 1002, 1003, 1004))) for what in ("begun", "trained")
    )
    assert places[0] < begun < places[1] < places[2] < trained < places[3]
    assert [one.index for one in events if isinstance(one, BlockReport)] == [0, 1, 2, 3]
    assert [one.loss_before for one in run.loop.blocks] == [2.0, 2.0, None, None]
    run.loop.flush()
    assert [one.loss_before for one in run.loop.blocks] == [2.0] * 4
    assert run.engine.adapter == 4
    check_blocks(run, 1)


@settings(max_examples=100, deadline=None)
@given(block_options(), HEADS, st.integers(1, 60), st.integers(0, 60))
def test_with_overlap_the_same_blocks_are_learned_in_order(
    folder: Path, options: BlockOptions, head: list[int], prompt_len: int, n_predict: int
) -> None:
    runs = [make(folder, options, head=head, overlap=overlap) for overlap in (False, True)]
    for run in runs:
        list(run.loop.prompt(list(range(prompt_len))))
        list(run.loop.generate(n_predict))
        list(run.loop.absorb([5, 6, 7]))
    assert runs[0].trainer.windows == runs[1].trainer.windows
    assert runs[0].loop.text == runs[1].loop.text


def test_states_come_with_every_block_that_the_engine_decoded(folder: Path) -> None:
    run = make(folder, options_for(KvPolicy.REUSE), head=[BOS])
    scored(run.loop, list(range(30)))
    list(run.loop.generate(20))
    run.loop.flush()
    assert run.trainer.with_states == len(run.trainer.windows) == 13
    list(run.loop.absorb(list(range(10))))
    assert run.trainer.with_states == 13, "nothing was decoded"


def test_absorbing_swaps_once(folder: Path) -> None:
    run = make(folder, options_for(KvPolicy.REUSE))
    reports = list(run.loop.absorb(list(range(10))))
    assert [report.tokens for report in reports] == [4, 4, 2]
    assert all(report.given for report in reports)
    assert [event for event in run.log if isinstance(event, tuple) and event[0] == "swap"] == [
        ("swap", 3)
    ]


def test_a_reader_that_stops_loses_no_token(folder: Path) -> None:
    run = make(folder, options_for(KvPolicy.REUSE))
    list(run.loop.prompt([1]))
    events = run.loop.generate(None)
    for _ in range(6):  # four tokens, the first block's report, one token more
        next(events)
    events.close()
    check_blocks(run, 1)
    assert [block.tokens for block in run.loop.blocks] == [4, 1]
    list(run.loop.generate(3))
    check_blocks(run, 1)


def test_without_a_trainer_the_cache_is_managed_alike(folder: Path) -> None:
    log: list[object] = []
    loop = loop_on(CountingEngine(16, log), None, options_for(KvPolicy.REUSE))
    list(loop.prompt(list(range(100))))
    assert len(ids(loop.generate(50))) == 50
    assert all(block.loss_after is None for block in loop.blocks)


class PlannedEngine(CountingEngine):
    """Chooses the tokens of a plan."""

    def __init__(self, n_ctx: int, log: list[object], plan: Sequence[int]) -> None:
        super().__init__(n_ctx, log)
        self._plan = iter(plan)

    def choose(self) -> int:
        return next(self._plan)


BLOCK = 20
GIVEN, REFRAIN = range(100, 100 + 2 * BLOCK), [7] * BLOCK
OWN = [*range(200, 200 + BLOCK), *REFRAIN, *range(300, 300 + BLOCK), *range(400, 400 + BLOCK)]


@pytest.mark.parametrize("learns_own", [True, False])
def test_given_and_own_blocks_are_told_apart_and_loops_are_left_out(
    learns_own: bool, folder: Path
) -> None:
    options, log = BlockOptions(96, BLOCK, 24, 8, KvPolicy.REUSE, 0), list[object]()
    engine, trainer = PlannedEngine(96, log, OWN), FakeTrainer(folder, log)
    loop = loop_on(engine, trainer, options, learns_own=learns_own)
    list(loop.prompt(GIVEN))  # longer than the prefix
    events = list(loop.generate(len(OWN)))
    list(loop.score(GIVEN[:BLOCK]))  # repeats the prompt, but is given
    loop.flush()
    text = [*GIVEN, *OWN, *GIVEN[:BLOCK]]
    blocks = [text[begin : begin + BLOCK] for begin in range(0, len(text), BLOCK)]
    learned = [0, 1, 2, 4, 5, 6] if learns_own else [0, 1, 6]
    assert trainer.windows == [
        (text[max(0, BLOCK * index - 8) : BLOCK * index], blocks[index]) for index in learned
    ]
    assert trainer.own == [2 <= index < 6 for index in learned]
    assert [block.given for block in loop.blocks] == [True] * 2 + [False] * 4 + [True]
    assert [block.looped for block in loop.blocks] == [index == 3 for index in range(7)]
    assert [event.looped for event in events if isinstance(event, BlockReport)] == [
        False, True, False, False
    ]  # fmt: skip
    updated = [block.index for block in loop.blocks if block.loss_before is not None]
    assert updated == learned
    # what was not learned makes no swap
    swaps = [event for event in log if isinstance(event, tuple) and event[0] == "swap"]
    assert swaps == [("swap", n) for n in range(2, len(learned) + 1)]


class InterruptedEngine(CountingEngine):
    """Raises KeyboardInterrupt at chosen steps, in the middle of a decode with some of it done."""

    def __init__(self, n_ctx: int, log: list[object], at: set[int]) -> None:
        super().__init__(n_ctx, log)
        self._at, self._steps = at, itertools.count()

    def _step(self) -> None:
        if next(self._steps) in self._at:
            raise KeyboardInterrupt

    def decode(self, tokens: Sequence[int]) -> None:
        half = len(tokens) // 2
        super().decode(tokens[:half])
        self._step()
        super().decode(tokens[half:])
        self._step()

    def swap(self, adapter: Path | None) -> None:
        self._step()
        super().swap(adapter)


class InterruptedTrainer(FakeTrainer):
    """Recognises a repeated call, as its Protocol requires."""

    def __init__(self, folder: Path, log: list[object], engine: InterruptedEngine) -> None:
        super().__init__(folder, log)
        self._engine = engine
        self._unanswered: object = None

    def train(
        self,
        prefix: Sequence[int],
        block: Sequence[int],
        loss_mask: Sequence[bool] | None = None,
        *,
        own: bool = False,
        captured: Captured | None = None,
    ) -> Update:
        update, again = Update(2.0, 1.0), self._unanswered == (prefix, block)
        if not again:
            update = super().train(prefix, block, loss_mask, own=own)
            self._unanswered = (prefix, block)
        self._engine._step()
        self._unanswered = None
        return update


@settings(max_examples=300, deadline=None)
@given(block_options(), HEADS, st.integers(1, 60), st.sets(st.integers(0, 120), max_size=12))
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(
    folder: Path, options: BlockOptions, head: list[int], prompt_len: int, at: set[int]
) -> None:
    """Nothing is decoded twice or left out; every block is learned once, and served."""
    log: list[object] = []
    engine = InterruptedEngine(options.n_ctx, log, at)
    trainer = InterruptedTrainer(folder, log, engine)
    run = Run(loop_on(engine, trainer, options, head), engine, trainer, options, log, head)
    with suppress(KeyboardInterrupt):
        list(run.loop.prompt(list(range(prompt_len))))
    given_len = len(run.loop.text)
    n_unblocked = given_len - sum(block.tokens for block in run.loop.blocks)
    while len(run.loop.text) < given_len + 80:
        with suppress(KeyboardInterrupt):
            list(run.loop.generate(40))
    while engine.adapter < len(run.loop.blocks):
        with suppress(KeyboardInterrupt):
            run.loop.flush()
    check_blocks(run, n_unblocked)
    check_conditioning(run, given_len)
    assert [len(block) for _, block in trainer.windows] == [b.tokens for b in run.loop.blocks]
    assert trainer.own == [not block.given for block in run.loop.blocks]


def test_a_text_whose_scoring_is_interrupted_is_as_before(folder: Path) -> None:
    log: list[object] = []
    engine = InterruptedEngine(16, log, at={11})
    loop = loop_on(engine, None, options_for(KvPolicy.REUSE), [BOS])
    scored(loop, [0, 1, 2, 3])
    with pytest.raises(KeyboardInterrupt):
        scored(loop, [4, 5, 6, 7])
    assert loop.text == [0, 1, 2, 3]
    assert scored(loop, [4, 5, 6, 7]) == [4, 5, 6, 7]
    assert [token for token, _ in engine.cells] == [BOS, *range(7)]
