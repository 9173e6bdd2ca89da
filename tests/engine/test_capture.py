"""What llama.cpp computed: that of transformers, for exactly the last tokens that predicted."""

import gc
import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import pytest
import torch
from families import make_model, write_gguf
from gguf_files import copy_gguf
from parity import EXACT, TRAIN, Floats, engine_logits, trained
from paths import PROSE
from transformers import LlamaForCausalLM

from templora_edge.engine import LlamaEngine, graph_tensors
from templora_edge.engine.graph_tensors import GraphTensors
from templora_edge.errors import EngineError
from templora_edge.models.families import FAMILIES, family_of, rope_row_order, tensor_of
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import Capture, EngineOptions, SelfExtendOptions
from templora_edge.predictions import Predictions
from templora_edge.protocols import BFloat16s, Captured
from templora_edge.training.trainer import LoraTrainer

LAYER = 2
"""Captured layer of `tiny_gguf`, which has three."""
ALL = Capture(LAYER, 512, products=True)
"""Options that keep states and products of every token that a test decodes."""
BF16 = 2**-8
"""Largest relative error of rounding to bfloat16."""


@pytest.fixture
def engine(tiny_gguf: Callable[[str], Path]) -> Iterator[LlamaEngine]:
    options = replace(EXACT, n_batch=48, shift=True, capture=ALL)
    with LlamaEngine(tiny_gguf("f32"), options) as engine:
        yield engine


def tensors_of(engine: LlamaEngine) -> GraphTensors:
    tensors = engine.context._captures._tensors
    assert tensors is not None
    return tensors


def decode_all(engine: LlamaEngine, tokens: Sequence[int]) -> None:
    """Decode ``tokens`` so that each makes a prediction."""
    for _ in engine.context.decode_all(tokens):
        pass


def taken(engine: LlamaEngine, begin: int, end: int) -> Captured:
    """A copy of what is kept of tokens [begin, end), all of which must be."""
    captured = engine.captured(begin, end)
    assert captured is not None
    return deepcopy(captured)


def all_taken(engine: LlamaEngine) -> Captured:
    """What is kept of all cached tokens."""
    return taken(engine, 0, engine.n_past)


def assert_same(ours: Captured, theirs: Captured) -> None:
    """Bit by bit, predictions aside."""
    assert ours.states is not None
    assert theirs.states is not None
    np.testing.assert_array_equal(ours.states, theirs.states)
    assert ours.products is not None
    assert theirs.products is not None
    assert ours.products.keys() == theirs.products.keys()
    for name, product in ours.products.items():
        np.testing.assert_array_equal(product, theirs.products[name], err_msg=name)


def assert_close(ours: Captured, theirs: Captured) -> None:
    """Up to float32's rounding, which depends on the size of a batch."""
    assert ours.states is not None
    assert theirs.states is not None
    np.testing.assert_allclose(ours.states, theirs.states, rtol=1e-3, atol=1e-4)
    assert ours.products is not None
    assert theirs.products is not None
    for name, product in ours.products.items():
        expected = floats(theirs.products[name])
        np.testing.assert_allclose(floats(product), expected, rtol=2 * BF16, atol=1e-4)


def joined(parts: Sequence[Captured]) -> Captured:
    states = [part.states for part in parts if part.states is not None]
    products = [part.products for part in parts if part.products is not None]
    assert len(states) == len(products) == len(parts)
    names = products[0]
    return Captured(
        np.concatenate(states), {n: np.concatenate([one[n] for one in products]) for n in names}
    )


def hidden_states(model: Any, tokens: list[int]) -> list[Floats]:
    """The states that enter each layer of transformers' ``model``, (T, C)."""
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([tokens]), output_hidden_states=True)
    return [states[0].float().numpy() for states in output.hidden_states]


def linear_products(
    model: torch.nn.Module, gguf: GgufFile, tokens: list[int]
) -> dict[str, dict[str, tuple[slice, Floats]]]:
    """Products of all linear layers by name of their tensor in the file, without bias.

    Returns:
        Name of a weight -> name of a module -> its rows of the weight, and its products in the
        file's order, (T, rows).
    """
    family, found = family_of(gguf), dict[str, dict[str, tuple[slice, Floats]]]()

    def note(name: str) -> Callable[[torch.nn.Linear, object, torch.Tensor], None]:
        tensor, rows = tensor_of(gguf, name)
        heads_key = family.permuted.get(name.split(".", 3)[-1])

        def hook(module: torch.nn.Linear, _: object, output: torch.Tensor) -> None:
            product = output if module.bias is None else output - module.bias
            if heads_key is not None:
                order = rope_row_order(product.shape[-1], int(gguf.require(heads_key)))
                product = product[..., torch.from_numpy(order)]
            found.setdefault(f"{tensor}.weight", {})[name] = rows, product[0].float().numpy()

        return hook

    hooks = []
    for path, module in model.named_modules():
        name = path.removeprefix("base_model.model.").removesuffix(".base_layer")
        is_base = isinstance(module, torch.nn.Linear) and "lora_" not in name
        if is_base and name.startswith("model.layers."):
            hooks.append(module.register_forward_hook(note(name)))
    with torch.inference_mode():
        model(input_ids=torch.tensor([tokens]))
    for one in hooks:
        one.remove()
    return found


def floats(bits: BFloat16s) -> Floats:
    """bfloat16 as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def tail(names: Sequence[str], layer: int) -> set[str]:
    """Those of layers from ``layer`` on."""
    return {name for name in names if int(name.split(".")[1]) >= layer}


def write_and_score(engine: LlamaEngine, tokens: list[int]) -> None:
    """Decode 256 ``tokens`` in all the ways in which each makes a prediction."""
    engine.score(tokens[:1], tokens[1:240])
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
def test_states_and_products_are_those_of_transformers(
    name: str, tokens: list[int], llama_cpp_source: Path, tmp_path: Path
) -> None:
    """In every family, in batches smaller than the text."""
    n_layers = 7 if name == "gemma3" else 4
    model = make_model(name, num_hidden_layers=n_layers)
    rounds = use_table_gelu(model)
    path = write_gguf(name, model, tmp_path, llama_cpp_source)
    expected = hidden_states(model, tokens)
    products = linear_products(model, GgufFile(path), tokens)
    for layer in (0, 1, 2, n_layers - 1):
        options = replace(EXACT, n_batch=48, capture=Capture(layer, 256, products=True))
        with LlamaEngine(path, options) as engine:
            write_and_score(engine, tokens)
            found = all_taken(engine)
            part = taken(engine, 90, 130)
        if layer == 0:  # the embeddings are the sidecar's own
            assert found.states is part.states is None
        else:
            assert found.states is not None
            assert_same(part, found[90:130])
            # an input that differs in its last bit can be rounded to another entry of the table
            atol = 1e-3 * layer if rounds else 1e-3
            np.testing.assert_allclose(found.states, expected[layer], atol=atol, rtol=0)
        assert found.products is not None
        assert found.products.keys() == tail([*products], layer)
        for weight, product in found.products.items():
            n_rows = 0
            for rows, theirs in products[weight].values():
                atol = 1e-3 * n_layers if rounds else 1e-3
                np.testing.assert_allclose(
                    floats(product)[:, rows], theirs, rtol=BF16, atol=atol, err_msg=weight
                )
                n_rows += theirs.shape[1]
            assert n_rows == product.shape[1]


def test_a_batch_of_several_graphs(
    tiny_hf: Path, tiny_gguf: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp computes at most 512 tokens at once; without predictions, fewer products."""
    read, n_bytes = graph_tensors._read, graph_tensors._n_bytes

    def checked(tensor: int, target: int, offset: int, size: int) -> None:
        assert 0 <= offset < offset + size <= n_bytes(tensor)
        read(tensor, target, offset, size)

    monkeypatch.setattr(graph_tensors, "_read", checked)
    tokens = np.random.default_rng(0).integers(1, 300, 700).tolist()
    options = replace(EXACT, n_ctx=768, n_batch=768, capture=replace(ALL, n_tokens=700))
    with LlamaEngine(tiny_gguf("f32"), options) as engine:
        decode_all(engine, tokens)
        found = all_taken(engine)
        engine.clear()
        engine.decode(tokens)
        assert engine.captured(698, 700) is None
        assert_same(taken(engine, 699, 700), found[699:])
    expected = hidden_states(LlamaForCausalLM.from_pretrained(tiny_hf), tokens)[LAYER]
    assert found.states is not None
    np.testing.assert_allclose(found.states, expected, atol=1e-3, rtol=0)


def test_tokens_that_predict_nothing_are_not_kept(engine: LlamaEngine, tokens: list[int]) -> None:
    """Only the last token of each batch, unless all logits are computed."""
    decode_all(engine, tokens)
    expected = all_taken(engine)
    engine.clear()
    engine.decode(tokens[:100])  # in batches of 48
    engine.score(tokens[100:110], tokens[110:])
    kept = {47, 95, 99, *range(109, len(tokens) - 1)}
    assert engine.n_past == len(tokens) - 1
    for index in range(engine.n_past):
        captured = engine.captured(index, index + 1)
        assert (captured is not None) == (index in kept)
        if captured is not None:
            assert_close(captured, expected[index : index + 1])
    assert engine.captured(99, 112) is None
    assert_close(taken(engine, 109, 255), expected[109:255])


@pytest.mark.parametrize("n_kept", [1, 20, 48, 70])
@pytest.mark.parametrize("n_batch", [1, 48, 256])
def test_older_tokens_make_room(
    n_kept: int, n_batch: int, tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    """In batches that are larger and smaller than what is kept, wherever the rings wrap."""
    options = replace(EXACT, n_batch=n_batch, capture=replace(ALL, n_tokens=n_kept))
    with (
        LlamaEngine(tiny_gguf("f32"), replace(options, capture=ALL)) as plain,
        LlamaEngine(tiny_gguf("f32"), options) as engine,
    ):
        for n in (n_kept, 100, 3, 130):
            for one in (plain, engine):
                decode_all(one, tokens[:n])
            end = engine.n_past
            first = max(0, end - n_kept)
            assert_same(taken(engine, first, end), taken(plain, first, end))
            assert_same(taken(engine, end - 1, end), taken(plain, end - 1, end))
            if first:
                assert engine.captured(first - 1, end) is None
                assert engine.captured(first - 1, first) is None


def test_everything_moves_with_the_cache(engine: LlamaEngine, tokens: list[int]) -> None:
    decode_all(engine, tokens)
    whole = all_taken(engine)
    assert engine.captured(0, len(tokens) + 1) is None
    assert engine.captured(-1, 2) is None
    assert engine.captured(5, 5) is None
    engine.truncate(300)
    engine.truncate(200)
    assert_same(all_taken(engine), whole[:200])
    assert engine.captured(199, 201) is None
    engine.shift(keep=4, discard=90)
    kept = joined([whole[:4], whole[94:200]])
    assert_same(all_taken(engine), kept)
    decode_all(engine, tokens[:70])
    assert_same(taken(engine, 0, 110), kept)
    engine.shift(keep=0, discard=110)
    after = all_taken(engine)
    assert after.states is not None
    assert whole.states is not None
    assert len(after.states) == 70
    difference = np.abs(after.states - whole.states[:70]).max()
    assert difference > 1e-2, "seen with nothing before: an empty test"
    engine.clear()
    assert engine.captured(0, 1) is None
    decode_all(engine, tokens)
    assert_same(all_taken(engine), whole)


def test_what_is_kept_of_groups(
    tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    """SelfExtend moves positions, not tokens; a shift drops whole groups."""
    short, key = tmp_path / "short.gguf", "llama.context_length"
    copy_gguf(tiny_gguf("f32"), short, lambda gguf: gguf.add_context_length(128), without=[key])
    options = replace(
        EXACT, n_ctx=400, n_batch=48, shift=True, capture=ALL,
        self_extend=SelfExtendOptions(4, 24),
    )  # fmt: skip
    with LlamaEngine(short, options) as engine:
        engine.decode(tokens[:1])
        whole = all_taken(engine)
        for token in tokens[1:220]:
            engine.decode([token])
            now = all_taken(engine)
            assert_same(now[:-1], whole)
            whole = now
        assert engine.context._positions.n_grouped > 60
        engine.shift(keep=6, discard=50)  # to whole groups: 8 and 60
        kept = joined([whole[:8], whole[60:]])
        assert_same(all_taken(engine), kept)
        n_before = engine.n_past
        engine.shift(keep=100, discard=30)  # from the middle of groups to single tokens
        kept = joined([kept[:100], kept[100 + n_before - engine.n_past :]])
        assert_same(all_taken(engine), kept)
        n_kept = engine.n_past
        decode_all(engine, tokens[220:])
        assert_same(taken(engine, 0, n_kept), kept)
        engine.truncate(n_kept - 1)
        assert_same(all_taken(engine), kept[:-1])


def test_products_over_an_adapter_are_those_of_the_base(
    engine: LlamaEngine, tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    """Of its weights with what the adapter makes of the states."""
    decode_all(engine, tokens)
    before = all_taken(engine).products
    trainer = trained(tiny_gguf("f32"), tokens, layers=1)
    trainer.write(tmp_path / "adapter.gguf")
    engine.clear()
    engine.swap(tmp_path / "adapter.gguf")
    decode_all(engine, tokens)
    after = all_taken(engine).products
    assert before is not None
    assert after is not None
    trainer.model.eval()
    expected = linear_products(trainer.model, GgufFile(tiny_gguf("f32")), tokens)
    changed = {name for name in after if not np.array_equal(after[name], before[name])}
    inside = {"attn_output", "ffn_gate", "ffn_up", "ffn_down"}
    assert changed == {f"blk.{LAYER}.{part}.weight" for part in inside}, "what is after others"
    assert len(after) == 7
    for weight, product in after.items():
        ((_, theirs),) = expected[weight].values()
        np.testing.assert_allclose(floats(product), theirs, rtol=BF16, atol=1e-3, err_msg=weight)
    ((_, adapted),) = expected[f"blk.{LAYER}.ffn_down.weight"].values()
    base = floats(before[f"blk.{LAYER}.ffn_down.weight"])
    assert np.abs(adapted - base).max() > 0.1, "the adapter changed little: an empty test"


def test_nothing_is_kept_unless_it_is_wanted(
    tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    with LlamaEngine(tiny_gguf("f32"), EXACT) as engine:
        decode_all(engine, tokens)
        assert engine.captured(0, 5) is None
        assert engine.context._captures._tensors is None


@pytest.mark.parametrize("layer", [0, 3, 9])
def test_layers_without_states(
    layer: int, tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    with LlamaEngine(tiny_gguf("f32"), replace(EXACT, capture=Capture(layer, 512))) as engine:
        decode_all(engine, tokens)
        captured = all_taken(engine)
        assert captured.states is None
        assert captured.products is None
        assert captured.predictions is None
        assert engine.context._captures._tensors is None


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
        decode_all(engine, tokens)


def test_signals_at_any_moment(
    engine: LlamaEngine, tokens: list[int], unraisable: list[Any]
) -> None:
    """What a handler raises comes out of `decode`, and clearing the cache makes all well."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    decode_all(engine, tokens)
    whole = all_taken(engine)
    engine.clear()
    begin = time.perf_counter()
    decode_all(engine, tokens)
    seconds = time.perf_counter() - begin
    raised_in: list[str] = []
    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay in np.random.default_rng(0).uniform(0.05, 0.95, 60) * seconds:
            with pytest.raises(KeyboardInterrupt) as raised:
                decode_until_a_signal(engine, tokens, delay)
            raised_in += functions(raised.tb)
            engine.clear()
            decode_all(engine, tokens)
            assert_same(all_taken(engine), whole)
    finally:
        signal.signal(signal.SIGALRM, old)
    gc.collect()
    assert unraisable == []
    assert raised_in.count("_answers") > 20, "few signals were handled in a callback"


@pytest.mark.parametrize("function", ["_get_name", "_n_bytes", "_read", "_to_bf16"])
def test_a_failed_batch_leaves_what_was_before_it(
    function: str,
    engine: LlamaEngine,
    tokens: list[int],
    unraisable: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decode_all(engine, tokens[:40])
    before = all_taken(engine)
    true_function = getattr(graph_tensors, function)

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return true_function(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(graph_tensors, function, interrupted)
        with pytest.raises(KeyboardInterrupt):
            decode_all(engine, tokens[40:80])
    assert unraisable == []
    assert_same(taken(engine, 0, 40), before)
    assert engine.captured(0, 41) is None
    n_past = engine.n_past
    decode_all(engine, tokens[:3])  # after tokens that are not known: none is kept
    assert engine.captured(n_past, n_past + 3) is None
    engine.truncate(40)
    decode_all(engine, tokens[40:])
    assert_same(taken(engine, 0, 40), before)
    whole = all_taken(engine)
    engine.clear()
    decode_all(engine, tokens[:40])
    decode_all(engine, tokens[40:])
    assert_same(all_taken(engine), whole)


def test_states_that_llama_cpp_does_not_give(engine: LlamaEngine, tokens: list[int]) -> None:
    named = tensors_of(engine)._named
    ring = named.pop(b"l_out-1")
    with pytest.raises(EngineError, match="gave 0 states as l_out-1; expected 48"):
        decode_all(engine, tokens)
    engine.clear()
    named[b"ffn_gate-1"] = ring  # of another width: its values make 6 rows, or no whole ones
    for n, found in ((4, 6), (5, 0)):
        with pytest.raises(EngineError, match=f"gave {found} states as l_out-1; expected {n}"):
            decode_all(engine, tokens[:n])
        engine.clear()
    with pytest.raises(EngineError, match="gave 0 states as l_out-1; expected 1, one"):
        engine.decode(tokens[:5])


def test_products_that_llama_cpp_does_not_give(engine: LlamaEngine, tokens: list[int]) -> None:
    """Training computes them."""
    decode_all(engine, tokens[:10])
    tensors = tensors_of(engine)
    tensors._by_weight.clear()
    del tensors._products[f"blk.{LAYER}.ffn_up.weight".encode()]
    decode_all(engine, tokens[10:])
    assert taken(engine, 0, 10).products is not None
    for begin in (9, 10):
        captured = taken(engine, begin, 20)
        assert captured.products is None
        assert captured.states is not None


def test_a_closed_engine_leaves_nothing(
    tiny_gguf: Callable[[str], Path], unraisable: list[Any]
) -> None:
    engine = LlamaEngine(tiny_gguf("f32"), replace(EXACT, capture=ALL))
    engine.decode([1, 2, 3])
    left = weakref.ref(tensors_of(engine))
    assert isinstance(left(), GraphTensors)
    engine.close()
    del engine
    gc.collect()
    assert left() is None
    assert unraisable == []


def relative_errors(ours: Floats, theirs: Floats) -> Floats:
    """Distance of each row, relative to its norm."""
    return np.asarray(np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_pretrained_models(name: str, request: pytest.FixtureRequest) -> None:
    """Quantized bases, past Gemma's sliding window: training's own states and products, up to
    llama.cpp's rounding of activations."""
    path: Path = request.getfixturevalue(name)
    base = GgufFile(path)
    layer = 2 * int(base.require("{arch}.block_count")) // 3
    capture = Capture(layer, 600, products=True)
    options = EngineOptions(n_ctx=1024, n_threads=1, n_batch=256, capture=capture)
    with LlamaEngine(path, options) as engine:
        vocab = engine.model.vocab
        tokens = [*vocab.head, *vocab.tokenize(PROSE.read_text())][:600]
        decode_all(engine, tokens[:-4])
        for token in tokens[-4:]:
            engine.decode([token])
        found = all_taken(engine)
    trainer = LoraTrainer(base, TRAIN.changed(n_ctx=1024, rank=4, alpha=64))
    trainer.model.eval()
    expected = hidden_states(trainer.model, tokens)[layer]
    assert found.states is not None
    differences = relative_errors(found.states, expected)
    assert np.median(differences) < 0.03
    assert differences.max() < 0.1
    products = linear_products(trainer.model, base, tokens)
    assert found.products is not None
    assert found.products.keys() == tail([*products], layer)
    for weight, product in found.products.items():
        ((_, theirs),) = products[weight].values()
        assert np.median(relative_errors(floats(product), theirs)) < 0.1, weight


def test_every_prediction_that_llama_cpp_made(
    tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    options = replace(EXACT, n_batch=48, shift=True, capture=Capture(0, 512, predictions=True))
    with LlamaEngine(tiny_gguf("f32"), options) as engine:
        logits = engine_logits(engine, tokens[:100])
        captured = taken(engine, 10, 100)
        assert captured.states is None
        assert captured.products is None
        assert captured.predictions is not None
        rows = Predictions.join([Predictions.of(row) for row in logits])[10:100]
        for part in ("ids", "masses", "starts"):
            np.testing.assert_array_equal(getattr(captured.predictions, part), getattr(rows, part))
        engine.shift(keep=4, discard=20)
        moved = taken(engine, 4, 80)
        assert moved.predictions is not None
        np.testing.assert_array_equal(moved.predictions.ids, captured.predictions[14:].ids)
        engine.decode(tokens[100:103])  # only the last of them predicts
        assert engine.captured(81, 83) is None
        assert taken(engine, 82, 83).predictions is not None
