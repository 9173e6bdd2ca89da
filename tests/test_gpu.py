"""What a GPU computes is what the processor does, to rounding. Skipped where there is none.

Two halves, each with a GPU of its own: torch's (``--train-device``) and llama.cpp's (``-ngl``).
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import TEMPLORA
from families import make_model, write_gguf
from parity import EXACT, TRAIN, Floats, engine_logits, trained
from texts import TEXT

from templora_edge import TempLora
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import LlamaEngine
from templora_edge.engine.gpu import find_gpu
from templora_edge.models.families import FAMILIES
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import PAPER, Capture, Options, TrainDevice, TrainDtype
from templora_edge.protocols import Captured
from templora_edge.training import device
from templora_edge.training.trainer import LoraTrainer

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("fresh_trainers")]
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch finds")
offload = pytest.mark.skipif(find_gpu() is None, reason="needs a GPU that llama.cpp finds")

LAYER = 2
"""First layer with an adapter of `tiny_gguf`, which has three."""
LORA = replace(
    PAPER, rank=8, alpha=16, learning_rate=2e-3, dropout=0.0, layers=1, prefix_gradient=False
)
CPU, CUDA = TrainDevice.CPU, TrainDevice.CUDA


def trainer_on(
    path: Path, where: TrainDevice, options: Options = TRAIN, **lora: Any
) -> LoraTrainer:
    options = options.changed(train_device=where, train_dtype=TrainDtype.FP32)
    return LoraTrainer(GgufFile(path), replace(options, lora=replace(LORA, **lora)))


def weights(trainer: LoraTrainer) -> dict[str, torch.Tensor]:
    named = trainer.model.named_parameters()
    return {name: one.detach().cpu() for name, one in named if one.requires_grad}


def assert_close(ours: LoraTrainer, theirs: LoraTrainer) -> None:
    """To rounding, of weights that Adam moves by their gradient's sign where it is tiny."""
    expected, found = weights(theirs), weights(ours)
    assert found.keys() == expected.keys()
    for name, one in found.items():
        difference = (one - expected[name]).abs()
        assert difference.mean() < 2e-5, name
        assert difference.max() < 2e-3, name


def blocks(tokens: list[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Three blocks with all tokens before each."""
    for begin in (64, 128, 192):
        yield tokens[:begin], tokens[begin : begin + 64]


def learn_all(trainer: LoraTrainer, tokens: list[int]) -> list[float]:
    return [trainer.train(before, block).loss_before or 0.0 for before, block in blocks(tokens)]


def captured(path: Path, tokens: list[int], begin: int, end: int) -> Captured:
    """What the processor's llama.cpp computes of the tokens that predict [begin, end)."""
    capture = Capture(LAYER, 256, products=True, predictions=True)
    options = replace(EXACT, n_gpu_layers=0, capture=capture)
    with LlamaEngine(path, options) as engine:
        engine.score(tokens[:1], tokens[1:end])
        found = engine.captured(begin - 1, end - 1)
    assert found is not None
    assert found.products is not None
    return found


def run(*arguments: object, prompt: str = "") -> subprocess.CompletedProcess[str]:
    """Run `templora` in a fresh interpreter: a fork cannot use a GPU that its parent has used."""
    command = [*TEMPLORA, *map(str, arguments)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300, input=prompt
    )


@cuda
@pytest.mark.parametrize("prefix_gradient", [False, True])
@pytest.mark.parametrize("file_type", ["f32", "f16"])
def test_updates_are_those_of_the_processor(
    file_type: str, prefix_gradient: bool, tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    path, layers = tiny_gguf(file_type), None if prefix_gradient else 1
    ours = trainer_on(path, CUDA, layers=layers, prefix_gradient=prefix_gradient)
    theirs = trainer_on(path, CPU, layers=layers, prefix_gradient=prefix_gradient)
    assert {one.device.type for one in ours.model.parameters()} == {"cuda"}
    for name, fresh in weights(theirs).items():
        assert torch.equal(weights(ours)[name], fresh), "one seed, one beginning"
    np.testing.assert_allclose(learn_all(ours, tokens), learn_all(theirs, tokens), atol=1e-4)
    assert_close(ours, theirs)


@cuda
@pytest.mark.parametrize("name", FAMILIES)
def test_every_kind_of_network_computes_there(
    name: str, llama_cpp_source: Path, tokens: list[int], tmp_path: Path
) -> None:
    model = make_model(name, num_hidden_layers=7 if name == "gemma3" else 3)
    path = write_gguf(name, model, tmp_path, llama_cpp_source)
    ours, theirs = trainer_on(path, CUDA, layers=2), trainer_on(path, CPU, layers=2)
    np.testing.assert_allclose(learn_all(ours, tokens), learn_all(theirs, tokens), atol=1e-3)


@cuda
def test_recomputing_layers_changes_nothing(
    tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    path = tiny_gguf("f32")
    ours, theirs = trainer_on(path, CUDA), trainer_on(path, CUDA)
    ours.checkpoint()
    learn_all(ours, tokens)
    learn_all(theirs, tokens)
    assert_close(ours, theirs)


@cuda
@pytest.mark.parametrize("parts", ["states", "products", "predictions"])
def test_what_llama_cpp_computed_is_taken_over(
    parts: str, tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    path = tiny_gguf("f32")
    found = captured(path, tokens, 64, 128)
    if parts != "predictions":
        found = replace(found, predictions=None)
    if parts == "states":
        found = replace(found, products=None)
    both = [trainer_on(path, where) for where in (CUDA, CPU)]
    updates = [one.train(tokens[:64], tokens[64:128], captured=found) for one in both]
    losses = [update.loss_before or 0.0 for update in updates]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-4)
    assert_close(*both)


@cuda
@pytest.mark.parametrize(("first", "second"), [(CUDA, CPU), (CPU, CUDA), (CUDA, CUDA)])
def test_a_state_goes_on_on_every_device(
    first: TrainDevice,
    second: TrainDevice,
    tiny_gguf: Callable[[str], Path],
    tokens: list[int],
    tmp_path: Path,
) -> None:
    path, parts = tiny_gguf("f32"), list(blocks(tokens))
    begun, whole = trainer_on(path, first), trainer_on(path, CPU)
    for trainer in (begun, whole):
        for before, block in parts[:2]:
            trainer.train(before, block)
    begun.save(tmp_path / "state")
    state = torch.load(tmp_path / "state", weights_only=True)
    assert "device='cuda" not in repr(state)
    resumed = trainer_on(path, second)
    resumed.load(tmp_path / "state")
    for trainer in (resumed, whole):
        trainer.train(*parts[2])
    assert_close(resumed, whole)


@cuda
def test_an_interrupted_run_is_the_same_with_dropout(
    tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    path, parts = tiny_gguf("f32"), list(blocks(tokens))
    whole, begun = (trainer_on(path, CUDA, dropout=0.2) for _ in range(2))
    without = trainer_on(path, CUDA)
    for trainer, n in ((whole, 3), (without, 3)):
        torch.manual_seed(1)
        for part in parts[:n]:
            trainer.train(*part)
    torch.manual_seed(1)
    for part in parts[:2]:
        begun.train(*part)
    begun.save(tmp_path / "state")
    torch.manual_seed(2)
    torch.cuda.manual_seed(3)
    resumed = trainer_on(path, CUDA, dropout=0.2)
    resumed.load(tmp_path / "state")
    resumed.train(*parts[2])
    for name, one in weights(resumed).items():
        torch.testing.assert_close(one, weights(whole)[name], rtol=0, atol=1e-6, msg=name)
    dropped = [(weights(whole)[n] - one).abs().max() for n, one in weights(without).items()]
    assert max(dropped) > 1e-5, "nothing was dropped: an empty test"


@cuda
def test_half_precision_is_near(tiny_gguf: Callable[[str], Path], tokens: list[int]) -> None:
    path = tiny_gguf("f16")
    options = TRAIN.changed(train_device=CUDA, train_dtype=TrainDtype.BF16)
    ours = LoraTrainer(GgufFile(path), replace(options, lora=LORA))
    assert ours.dtype is torch.bfloat16
    theirs = trainer_on(path, CPU)
    np.testing.assert_allclose(learn_all(ours, tokens), learn_all(theirs, tokens), atol=0.2)


@cuda
def test_a_measurement_chooses(tiny_gguf: Callable[[str], Path]) -> None:
    choice = device.choose(TrainDevice.AUTO, TrainDtype.AUTO, GgufFile(tiny_gguf("f32")).n_params)
    assert choice.seconds.keys() == {CPU, CUDA}
    assert choice.device == min(choice.seconds, key=lambda one: choice.seconds[one])
    everything = device.choose(TrainDevice.AUTO, TrainDtype.AUTO, 10**15)
    assert everything == device.Choice(CPU, everything.dtype, {}), "its weights do not fit"


@cuda
def test_a_full_device_is_one_line(tiny_gguf: Callable[[str], Path]) -> None:
    """With nearly all of its memory taken by this process."""
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - (128 << 20), dtype=torch.uint8, device="cuda")
    try:
        result = run(
            "generate", "-m", tiny_gguf("f32"), "-p", "x", "-n", "4", "-c", "64",
            "--own-learning-rate", "1e-4", "-ngl", "0", "--train-device", "cuda",
        )  # fmt: skip
    finally:
        del taken
        torch.cuda.empty_cache()
    assert result.returncode == 1
    assert "--train-device cpu" in result.stderr
    assert result.stderr.count("\n") == 1


def near(ours: Floats, theirs: Floats) -> bool:
    """Up to the precision of a GPU's products, in which llama.cpp allows TF32 and F16."""
    return bool(np.abs(ours - theirs).max() <= 0.02 * np.abs(theirs).max())


@pytest.fixture
def pair(tiny_gguf: Callable[[str], Path]) -> Iterator[tuple[LlamaEngine, LlamaEngine]]:
    """An engine on the GPU, and one on the processor."""
    capture = Capture(LAYER, 512, products=True, predictions=True)
    options = replace(EXACT, n_batch=48, shift=True, capture=capture)
    path = tiny_gguf("f32")
    with (
        LlamaEngine(path, replace(options, n_gpu_layers="all")) as ours,
        LlamaEngine(path, replace(options, n_gpu_layers=0)) as theirs,
    ):
        assert ours.model.gpu == find_gpu()
        assert theirs.model.gpu is None
        yield ours, theirs


Pair = tuple[LlamaEngine, LlamaEngine]


@offload
def test_logits_are_those_of_the_processor(pair: Pair, tokens: list[int]) -> None:
    ours, theirs = (engine_logits(engine, tokens) for engine in pair)
    assert near(ours, theirs)
    for engine in pair:
        engine.decode(tokens[:1])
    assert near(*(engine.context.logits() for engine in pair))


@offload
def test_states_are_those_of_the_processor(pair: Pair, tokens: list[int]) -> None:
    """In batches, and token by token, more than once, so that graphs are used again."""
    kept = []
    for engine in pair:
        engine.score(tokens[:1], tokens[1:200])
        for token in tokens[199:]:
            engine.decode([token])
        found = engine.captured(0, len(tokens))
        assert found is not None
        assert found.states is not None
        kept.append(found)
    ours, theirs = kept
    assert ours.states is not None
    assert theirs.states is not None
    assert near(ours.states, theirs.states)
    rows = np.abs(ours.states - theirs.states).max(-1)
    assert (rows < 0.02 * np.abs(theirs.states).max()).all()
    assert ours.products is None
    assert ours.predictions is None
    assert theirs.products is not None


@offload
def test_swaps(pair: Pair, tokens: list[int], tmp_path: Path) -> None:
    """Each adapter is in force at once, also where it gets the place of the one before."""
    paths = []
    for seed in range(3):
        trainer = trained(pair[0].model.path, tokens, seed=seed)
        trainer.write(tmp_path / f"{seed}.gguf")
        paths.append(tmp_path / f"{seed}.gguf")
    before = engine_logits(pair[0], tokens)
    for path in (*paths, *paths):
        for engine in pair:
            engine.swap(path)
        ours, theirs = (engine_logits(engine, tokens) for engine in pair)
        assert near(ours, theirs)
        change, error = np.abs(ours - before).max(), np.abs(ours - theirs).max()
        assert change > 5 * error, "the adapter changed nothing: an empty test"
    pair[0].swap(None)
    np.testing.assert_array_equal(engine_logits(pair[0], tokens), before)


@offload
def test_shifts(pair: Pair, tokens: list[int]) -> None:
    found = []
    for engine in pair:
        engine.decode(tokens[:128])
        engine.shift(4, 60)
        assert engine.n_past == 68
        engine.decode(tokens[128:140])
        found.append(engine.context.logits())
    assert near(*found)


@offload
@pytest.mark.parametrize("n_layers", [1, 2, 3, 99])
def test_some_layers(n_layers: int, tiny_gguf: Callable[[str], Path], tokens: list[int]) -> None:
    options = replace(EXACT, capture=Capture(LAYER, 512))
    found = []
    for n in (n_layers, 0):
        with LlamaEngine(tiny_gguf("f32"), replace(options, n_gpu_layers=n)) as engine:
            logits = engine_logits(engine, tokens)
            states = engine.captured(0, len(tokens))
            assert states is not None
            assert states.states is not None
            found.append((logits, states.states.copy()))
    (ours, our_states), (theirs, their_states) = found
    assert near(ours, theirs)
    assert near(our_states, their_states)


@cuda
@offload
@pytest.mark.parametrize("own", [False, True])
def test_the_whole_loop(own: bool) -> None:
    """Both halves on the GPU: each block's losses are those on the processor."""
    losses, devices = list[list[float]](), list[dict[str, str | None]]()
    places: tuple[tuple[TrainDevice, Any], ...] = ((CUDA, "all"), (CPU, 0))
    for where, n_layers in places:
        with TempLora(
            n_ctx=256, block_len=64, n_gpu_layers=n_layers, train_device=where,
            train_dtype="fp32", own_learning_rate=1e-3 if own else 0.0,
        ) as text:  # fmt: skip
            text.score(TEXT * 8)
            losses.append([block.loss_before or 0.0 for block in text.blocks])
            devices.append(text.devices)
            assert "".join(piece.text for piece in text.generate(n_predict=70))
    assert devices == [
        {"gpu": find_gpu(), "train_device": "cuda"},
        {"gpu": None, "train_device": "cpu"},
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)
    assert losses[0][-1] < 0.8 * losses[0][0], "nothing was learned: an empty test"


@cuda
@offload
def test_reports_say_it(tmp_path: Path) -> None:
    report = tmp_path / "run.json"
    result = run(
        "generate", "-m", BUNDLED_MODEL, "-f", "-", "-n", "40", "-c", "128", "--block", "32",
        "--report", report, prompt=TEXT * 4,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    settings = json.loads(report.read_text())["settings"]
    assert settings["gpu"] == find_gpu()
    assert settings["train_device"] in device.present()
    measured = json.loads(run("info", "--json", BUNDLED_MODEL).stdout)["train_device"]
    assert measured["seconds"].keys() == set(device.present())
