"""The states that enter a layer: those of transformers, for exactly the tokens in the cache."""

import gc
import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import pytest
import torch
from families import make_model, write_gguf
from gguf_files import copy_gguf
from parity import EXACT, TRAIN, Floats, engine_logits
from paths import PROSE
from transformers import LlamaForCausalLM

from templora_edge.candidates import Candidates
from templora_edge.engine import LlamaEngine, capture
from templora_edge.engine.capture import LayerInputs, LayerOutputs
from templora_edge.errors import EngineError
from templora_edge.models.families import FAMILIES
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import EngineOptions, SelfExtendOptions
from templora_edge.training.trainer import LoraTrainer

LAYER = 2
"""Captured layer of `tiny_gguf`, which has three."""
SOURCES = {LayerInputs: capture.NAMES_LAYER_INPUTS, LayerOutputs: frozenset[str]()}
"""Source -> families that are said to have layer inputs."""


@pytest.fixture(params=SOURCES, ids=lambda source: source.__name__)
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    """Each way to get states, which engines then use."""
    monkeypatch.setattr(capture, "NAMES_LAYER_INPUTS", SOURCES[request.param])
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def engine(source: type, tiny_gguf: Callable[[str], Path]) -> Iterator[LlamaEngine]:
    options = replace(EXACT, n_batch=48, shift=True, capture_layer=LAYER)
    with LlamaEngine(tiny_gguf("f32"), options) as engine:
        assert isinstance(source_of(engine), source)
        yield engine


def source_of(engine: LlamaEngine) -> Any:
    return engine.context._captures._source


def states_in(engine: LlamaEngine, begin: int, end: int) -> Floats | None:
    captured = engine.captured(begin, end)
    return None if captured is None else captured.states


def cached_states(engine: LlamaEngine) -> Floats:
    """The states of all cached tokens."""
    states = states_in(engine, 0, engine.n_past)
    assert states is not None
    return states


def hidden_states(model: Any, tokens: list[int]) -> list[Floats]:
    """The states that enter each layer of transformers' ``model``, (T, C)."""
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([tokens]), output_hidden_states=True)
    return [states[0].float().numpy() for states in output.hidden_states]


def write_and_score(engine: LlamaEngine, tokens: list[int]) -> None:
    """Decode 256 ``tokens`` in all the ways there are."""
    engine.decode(tokens[:100])
    engine.score(tokens[100:110], tokens[110:240])
    for token in tokens[239:]:
        engine.decode([token])
    assert engine.n_past == len(tokens)


class TableGelu(torch.nn.Module):
    """GELU as ggml has it, in the families that use it: from a table of 16-bit floats."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        table = torch.nn.functional.gelu(x.half().float(), approximate="tanh").half().float()
        return torch.where(x.abs() < 10, table, x.clamp(min=0))


def use_table_gelu(model: torch.nn.Module) -> bool:
    """Replace every GELU in ``model``; whether there is one."""
    found = [
        (module, name)
        for module in model.modules()
        for name, activation in module.named_children()
        if "GELU" in type(activation).__name__
    ]
    for module, name in found:
        setattr(module, name, TableGelu())
    return bool(found)


@pytest.mark.parametrize("name", FAMILIES)
def test_states_are_those_of_transformers(
    name: str,
    tokens: list[int],
    llama_cpp_source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In every family, from both sources, in batches smaller than the text."""
    n_layers = 7 if name == "gemma3" else 4
    model = make_model(name, num_hidden_layers=n_layers)
    rounds = use_table_gelu(model)
    expected = hidden_states(model, tokens)
    path = write_gguf(name, model, tmp_path, llama_cpp_source)
    for layer in {1, 2, n_layers - 1}:
        found: dict[type, Floats] = {}
        for families in SOURCES.values():
            monkeypatch.setattr(capture, "NAMES_LAYER_INPUTS", families)
            with LlamaEngine(path, replace(EXACT, n_batch=48, capture_layer=layer)) as engine:
                write_and_score(engine, tokens)
                found[type(source_of(engine))] = states = cached_states(engine)
                np.testing.assert_array_equal(states_in(engine, 90, 130), states[90:130])
        assert set(found) == ({*SOURCES} if name in SOURCES[LayerInputs] else {LayerOutputs})
        # an input that differs in its last bit can be rounded to another entry of the table
        atol = 1e-3 * layer if rounds else 1e-3
        np.testing.assert_allclose(states, expected[layer], atol=atol, rtol=0)
        for other in found.values():
            np.testing.assert_array_equal(other, states)


def test_a_batch_of_several_graphs(
    source: type, tiny_hf: Path, tiny_gguf: Callable[[str], Path]
) -> None:
    """llama.cpp computes at most 512 tokens at once."""
    tokens = np.random.default_rng(0).integers(1, 300, 700).tolist()
    options = replace(EXACT, n_ctx=768, n_batch=768, capture_layer=LAYER)
    with LlamaEngine(tiny_gguf("f32"), options) as engine:
        assert isinstance(source_of(engine), source)
        engine.decode(tokens)
        states = cached_states(engine)
        engine.clear()
        for _ in engine.context.decode_all(tokens):
            np.testing.assert_array_equal(cached_states(engine), states)
    expected = hidden_states(LlamaForCausalLM.from_pretrained(tiny_hf), tokens)[LAYER]
    np.testing.assert_allclose(states, expected, atol=1e-3, rtol=0)


def test_states_move_with_the_cache(engine: LlamaEngine, tokens: list[int]) -> None:
    engine.decode(tokens)
    states = cached_states(engine)
    assert states_in(engine, 0, len(tokens) + 1) is None
    assert states_in(engine, -1, 2) is None
    engine.truncate(300)
    engine.truncate(200)
    np.testing.assert_array_equal(cached_states(engine), states[:200])
    assert states_in(engine, 199, 201) is None
    engine.shift(keep=4, discard=90)
    kept = np.concatenate([states[:4], states[94:200]])
    np.testing.assert_array_equal(cached_states(engine), kept)
    engine.decode(tokens[:70])
    np.testing.assert_array_equal(cached_states(engine)[:110], kept)
    engine.shift(keep=0, discard=110)
    after = cached_states(engine)
    assert len(after) == 70
    assert np.abs(after - states[:70]).max() > 1e-2, "seen with nothing before: an empty test"
    engine.clear()
    assert states_in(engine, 0, 1) is None
    engine.decode(tokens)
    np.testing.assert_array_equal(cached_states(engine), states)


def test_states_of_groups(
    source: type, tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    """SelfExtend moves positions, not tokens; a shift drops whole groups."""
    short, key = tmp_path / "short.gguf", "llama.context_length"
    copy_gguf(tiny_gguf("f32"), short, lambda gguf: gguf.add_context_length(128), without=[key])
    options = replace(
        EXACT, n_ctx=400, n_batch=48, shift=True, capture_layer=LAYER,
        self_extend=SelfExtendOptions(4, 24),
    )  # fmt: skip
    with LlamaEngine(short, options) as engine:
        assert isinstance(source_of(engine), source)
        states = np.empty((0, 64), np.float32)
        for token in tokens[:220]:
            engine.decode([token])
            now = cached_states(engine)
            np.testing.assert_array_equal(now[:-1], states)
            states = now
        assert engine.context._positions.n_grouped > 60
        engine.shift(keep=6, discard=50)  # to whole groups: 8 and 60
        kept = np.concatenate([states[:8], states[60:]])
        np.testing.assert_array_equal(cached_states(engine), kept)
        engine.shift(keep=100, discard=30)  # from the middle of groups to single tokens
        begin = 100
        kept = np.concatenate([kept[:begin], kept[begin + len(kept) - engine.n_past :]])
        np.testing.assert_array_equal(cached_states(engine), kept)
        engine.decode(tokens[220:])
        np.testing.assert_array_equal(cached_states(engine)[: len(kept)], kept)
        engine.truncate(len(kept) - 1)
        np.testing.assert_array_equal(cached_states(engine), kept[:-1])


@pytest.mark.parametrize("layer", [None, 0, 3, 9])
def test_nothing_is_kept_without_a_layer(
    layer: int | None, tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    with LlamaEngine(tiny_gguf("f32"), replace(EXACT, capture_layer=layer)) as engine:
        engine.decode(tokens)
        assert states_in(engine, 0, 5) is None
        assert source_of(engine) is None
        assert engine.context._captures._rows.nbytes == 0


def test_a_build_without_layer_inputs(
    tiny_gguf: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "_GET", "_Z7missingv")
    with LlamaEngine(tiny_gguf("f32"), replace(EXACT, capture_layer=LAYER)) as engine:
        assert isinstance(source_of(engine), LayerOutputs)


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was raised where Python can only print it."""
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: seen.append(repr(args)))
    return seen


def functions(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        yield trace.tb_frame.f_code.co_name
        trace = trace.tb_next


def decode_until_a_signal(engine: LlamaEngine, tokens: list[int], delay: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, delay)
    while True:
        engine.clear()
        engine.decode(tokens)


def test_signals_at_any_moment(
    engine: LlamaEngine, tokens: list[int], unraisable: list[Any]
) -> None:
    """What a handler raises comes out of `decode`, and clearing the cache makes all well."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    engine.decode(tokens)
    states = cached_states(engine)
    engine.clear()
    begin = time.perf_counter()
    engine.decode(tokens)
    seconds = time.perf_counter() - begin
    raised_in: list[str] = []
    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay in np.random.default_rng(0).uniform(0.05, 0.95, 60) * seconds:
            with pytest.raises(KeyboardInterrupt) as raised:
                decode_until_a_signal(engine, tokens, delay)
            raised_in += functions(raised.tb)
            engine.clear()
            engine.decode(tokens)
            np.testing.assert_array_equal(cached_states(engine), states)
    finally:
        signal.signal(signal.SIGALRM, old)
    gc.collect()
    assert unraisable == []
    if isinstance(source_of(engine), LayerOutputs):
        assert raised_in.count("_answers") > 20, "few signals were handled in a callback"


@pytest.mark.parametrize("function", ["_get_name", "_n_bytes", "_read"])
@pytest.mark.parametrize("source", [LayerOutputs], indirect=True)
def test_a_failed_batch_leaves_the_states_before_it(
    function: str, engine: LlamaEngine, tokens: list[int], unraisable: list[Any]
) -> None:
    engine.decode(tokens[:40])
    before = cached_states(engine)
    source = source_of(engine)
    true_function = getattr(source, function)

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return true_function(*arguments)

    setattr(source, function, interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.decode(tokens[40:80])
    setattr(source, function, true_function)
    assert unraisable == []
    np.testing.assert_array_equal(states_in(engine, 0, 40), before)
    assert states_in(engine, 0, 41) is None
    n_past = engine.n_past
    engine.decode(tokens[:3])  # after tokens without states: none is kept
    assert states_in(engine, n_past, n_past + 3) is None
    engine.truncate(40)
    engine.decode(tokens[40:])
    np.testing.assert_array_equal(cached_states(engine)[:40], before)


@pytest.mark.parametrize("source", [LayerOutputs], indirect=True)
def test_states_that_llama_cpp_does_not_give(engine: LlamaEngine, tokens: list[int]) -> None:
    source = source_of(engine)
    source._name = b"l_out-7"
    with pytest.raises(EngineError, match="gave 0 states as l_out-7; expected 48"):
        engine.decode(tokens)
    engine.clear()
    source._name = b"ffn_gate-1"  # of another width
    with pytest.raises(EngineError, match="gave 0 states as ffn_gate-1; expected 4"):
        engine.decode(tokens[:4])


@pytest.mark.parametrize("source", [LayerOutputs], indirect=True)
def test_a_closed_engine_leaves_nothing(
    source: type, tiny_gguf: Callable[[str], Path], unraisable: list[Any]
) -> None:
    engine = LlamaEngine(tiny_gguf("f32"), replace(EXACT, capture_layer=LAYER))
    engine.decode([1, 2, 3])
    left = weakref.ref(source_of(engine))
    assert isinstance(left(), source)
    engine.close()
    del engine
    gc.collect()
    assert left() is None
    assert unraisable == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_pretrained_models(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quantized bases, past Gemma's sliding window: training's own states, up to llama.cpp's
    rounding of activations; and the same from both sources."""
    path: Path = request.getfixturevalue(name)
    base = GgufFile(path)
    layer = 2 * int(base.require("{arch}.block_count")) // 3
    found: list[Floats] = []
    for families in SOURCES.values():
        monkeypatch.setattr(capture, "NAMES_LAYER_INPUTS", families)
        options = EngineOptions(n_ctx=1024, n_threads=1, n_batch=256, capture_layer=layer)
        with LlamaEngine(path, options) as engine:
            vocab = engine.model.vocab
            tokens = [*vocab.head, *vocab.tokenize(PROSE.read_text())][:600]
            engine.decode(tokens[:-4])
            for token in tokens[-4:]:
                engine.decode([token])
            found.append(cached_states(engine))
    np.testing.assert_array_equal(found[0], found[1])
    trainer = LoraTrainer(base, TRAIN.changed(n_ctx=1024, rank=4, alpha=64))
    trainer.model.eval()
    expected = hidden_states(trainer.model, tokens)[layer]
    differences = np.linalg.norm(found[0] - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert np.median(differences) < 0.03
    assert differences.max() < 0.1


def test_candidates_of_every_prediction_that_llama_cpp_made(
    tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    options = replace(EXACT, n_batch=48, shift=True, candidates=True)
    with LlamaEngine(tiny_gguf("f32"), options) as engine:
        logits = engine_logits(engine, tokens[:100])
        captured = engine.captured(10, 100)
        assert captured is not None
        assert captured.states is None
        assert captured.candidates is not None
        rows = Candidates.join([Candidates.of(row) for row in logits])[10:100]
        for found, expected in zip(
            (captured.candidates.ids, captured.candidates.starts, captured.candidates.rest),
            (rows.ids, rows.starts, rows.rest),
            strict=True,
        ):
            np.testing.assert_array_equal(found, expected)
        engine.shift(keep=4, discard=20)
        moved = engine.captured(4, 80)
        assert moved is not None
        assert moved.candidates is not None
        np.testing.assert_array_equal(moved.candidates.rest, captured.candidates.rest[14:])
        engine.decode(tokens[100:103])  # only the last of them predicts
        unknown, known = engine.captured(81, 83), engine.captured(82, 83)
        assert unknown is not None
        assert unknown.candidates is None
        assert known is not None
        assert known.candidates is not None
