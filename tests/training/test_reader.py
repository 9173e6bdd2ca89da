"""Blocks read in turn, with kept keys and values and given states, against one plain pass."""

import weakref
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf_files import copy_gguf
from parity import EXACT, TRAIN, assert_same_to_1e4
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM

from templora_edge.engine import LlamaEngine
from templora_edge.errors import SidecarError
from templora_edge.models.families import GATED_MLP
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import PAPER, Capture
from templora_edge.protocols import Captured
from templora_edge.training.messages import Train
from templora_edge.training.reader import SINKS, Reader
from templora_edge.training.trainer import LoraTrainer
from templora_edge.training.worker import handed_over

READS = replace(PAPER, rank=8, alpha=16, dropout=0.0, prefix_gradient=False, learning_rate=1e-3)


def dense_model(tiny_hf: Path) -> LlamaForCausalLM:
    model: LlamaForCausalLM = LlamaForCausalLM.from_pretrained(tiny_hf, attn_implementation="eager")
    return model


@pytest.fixture
def dense(tiny_hf: Path) -> LlamaForCausalLM:
    return dense_model(tiny_hf)


def states_of(model: torch.nn.Module, layer: int, tokens: list[int]) -> torch.Tensor:
    """States that enter ``layer``, (T, width)."""
    with torch.no_grad():
        output = model(input_ids=torch.tensor([tokens]), output_hidden_states=True)
    states: torch.Tensor = output.hidden_states[layer][0]
    return states


def make_reader(model: LlamaForCausalLM, *, n_kept: int = 512, n_ctx_train: int = 4096) -> Reader:
    first = model.config.num_hidden_layers - 2
    return Reader(model.model, first, n_kept=n_kept, n_ctx_train=n_ctx_train)


def normed(model: LlamaForCausalLM, tokens: list[int]) -> torch.Tensor:
    with torch.no_grad():
        hidden: torch.Tensor = model.model(input_ids=torch.tensor([tokens])).last_hidden_state[0]
    return hidden


@pytest.mark.parametrize("given", [False, True])
def test_blocks_in_turn_equal_one_pass(
    given: bool, dense: LlamaForCausalLM, tokens: list[int]
) -> None:
    reader = make_reader(dense)
    states = states_of(dense, dense.config.num_hidden_layers - 2, tokens[:192])
    expected = normed(dense, tokens[:192])
    for begin in range(0, 192, 48):
        end = begin + 48
        part = Captured(states[begin:end].numpy()) if given else None
        read = reader.read(tokens[:begin], tokens[begin:end], part)
        torch.testing.assert_close(read, expected[begin:end], rtol=1e-4, atol=1e-4)
        reader.keep()


def test_dropped_tokens_are_as_if_masked(tiny_hf: Path, tokens: list[int]) -> None:
    """First tokens and the last L_T are attended to, from the positions where they were read."""
    dense = dense_model(tiny_hf)
    reader = make_reader(dense, n_kept=32)
    reader.read([], tokens[:100])
    reader.keep()
    read = reader.read(tokens[68:100], tokens[100:132])
    sees = torch.ones(132, 132, dtype=torch.bool).tril()
    sees[100:, SINKS:68] = False
    mask = torch.zeros(132, 132).masked_fill(~sees, -torch.inf)[None, None]
    with torch.no_grad():
        output = dense.model(input_ids=torch.tensor([tokens[:132]]), attention_mask=mask)
    expected = output.last_hidden_state[0, 100:]
    torch.testing.assert_close(read, expected, rtol=1e-4, atol=1e-4)
    assert (expected - normed(dense, tokens[:132])[100:]).abs().max() > 1e-2, "an empty test"


def test_what_does_not_continue_is_read_anew(dense: LlamaForCausalLM, tokens: list[int]) -> None:
    expected = normed(dense, tokens[50:130])[48:]
    other = make_reader(dense)
    other.read([], tokens[:64])
    other.keep()
    read = other.read(tokens[50:98], tokens[98:130])
    torch.testing.assert_close(read, expected, rtol=1e-4, atol=1e-4)


def test_a_block_past_the_trained_context_is_read_from_the_start(
    dense: LlamaForCausalLM, tokens: list[int]
) -> None:
    reader = make_reader(dense, n_ctx_train=100)
    for begin in range(0, 192, 48):
        start = max(0, begin - 32)
        read = reader.read(tokens[start:begin], tokens[begin : begin + 48])
        if begin < 96:
            start = 0  # all that was read before is held
        expected = normed(dense, tokens[start : begin + 48])[begin - start :]
        torch.testing.assert_close(read, expected, rtol=1e-4, atol=1e-4)
        reader.keep()


def test_past_the_trained_context_measuring_changes_nothing(
    tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    """A prefix longer than the trained context is read anew for each block, and once."""
    path, key = tmp_path / "short.gguf", "llama.context_length"
    copy_gguf(tiny_gguf("f32"), path, lambda gguf: gguf.add_context_length(64), without=[key])
    random = np.random.default_rng(0)
    states = [random.standard_normal((48, 64)).astype(np.float32) for _ in range(8)]
    losses = []
    for measure_after in (False, True):
        options = replace(TRAIN, lora=replace(READS, layers=2)).changed(measure_after=measure_after)
        trainer = LoraTrainer(GgufFile(path), options)
        losses.append(
            [
                trainer.train(
                    tokens[max(0, begin - 200) : begin],
                    tokens[begin : begin + 48],
                    captured=Captured(states[begin // 48]) if begin else None,
                )
                for begin in range(0, 240, 48)
            ]
        )
    assert [one.loss_before for one in losses[0]] == [one.loss_before for one in losses[1]]
    assert all(one.loss_after is not None for one in losses[1])


def test_lower_layers_are_read_again_once_they_are_needed(
    dense: LlamaForCausalLM, tokens: list[int]
) -> None:
    first = dense.config.num_hidden_layers - 2
    reader = make_reader(dense)
    reader.read([], tokens[:48], Captured(states_of(dense, first, tokens[:48]).numpy()))
    reader.keep()
    read = reader.read(tokens[:48], tokens[48:96])
    expected = normed(dense, tokens[:96])[48:]
    torch.testing.assert_close(read, expected, rtol=1e-4, atol=1e-4)


def test_the_first_token_may_stand_before_any_part(
    dense: LlamaForCausalLM, tokens: list[int]
) -> None:
    """BOS heads every prefix; what is held began with it too, so nothing is read again."""
    reader = make_reader(dense)
    reader.read([], tokens[:64])
    reader.keep()
    read = reader.read([tokens[0], *tokens[40:64]], tokens[64:96])
    torch.testing.assert_close(read, normed(dense, tokens[:96])[64:], rtol=1e-4, atol=1e-4)


def test_states_that_are_not_of_these_tokens_are_refused(
    dense: LlamaForCausalLM, tokens: list[int]
) -> None:
    given = Captured(np.zeros((30, dense.config.hidden_size), np.float32))
    with pytest.raises(SidecarError, match="30 states for 32 tokens"):
        make_reader(dense).read([], tokens[:32], given)


def test_tail_gradients_equal_plain_pefts_on_the_same_states(
    tiny_hf: Path, tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    base = GgufFile(tiny_gguf("f32"))
    n_layers = int(base.require("{arch}.block_count"))
    first = n_layers - 2
    mapped = LoraTrainer(base, replace(TRAIN, lora=replace(READS, layers=2)))
    dense = get_peft_model(
        dense_model(tiny_hf),
        LoraConfig(
            r=8,
            lora_alpha=16,
            target_modules=[name.rpartition(".")[2] for name in GATED_MLP],
            layers_to_transform=list(range(first, n_layers)),
            task_type="CAUSAL_LM",
        ),
    )
    ours = {n: p for n, p in mapped.model.named_parameters() if p.requires_grad}
    theirs = {n: p for n, p in dense.named_parameters() if p.requires_grad}
    assert ours.keys() == theirs.keys()
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in theirs.items():
            parameter.normal_(std=0.05)
            ours[name].copy_(parameter)
    states = states_of(dense_model(tiny_hf), first, tokens[:95])
    noise = 0.1 * torch.randn(states.shape, generator=torch.Generator().manual_seed(3))

    def exchange(module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return ((states + noise)[None],)

    def detach_prefix(_: torch.nn.Module, __: object, out: torch.Tensor) -> torch.Tensor:
        return torch.cat((out[:, :31].detach(), out[:, 31:]), dim=1)

    layer = dense.get_submodule(f"base_model.model.model.layers.{first}")
    layer.register_forward_pre_hook(exchange)
    for name, module in dense.named_modules():
        if name.endswith(("k_proj", "v_proj")):
            module.register_forward_hook(detach_prefix)
    logits = dense(input_ids=torch.tensor([tokens[:95]])).logits[0, 31:]
    torch.nn.functional.cross_entropy(logits, torch.tensor(tokens[32:96])).backward()  # type: ignore[no-untyped-call]
    reader = mapped.reader
    with torch.no_grad():
        reader.read([], tokens[:31], Captured((states + noise)[:31].numpy()))
    reader.keep()
    given = Captured((states + noise)[31:].numpy())
    window, mask = torch.tensor([tokens[:96]]), torch.ones(64, dtype=torch.bool)
    mapped.loss(window, mask, given).backward()  # type: ignore[no-untyped-call]
    for name, parameter in theirs.items():
        assert_same_to_1e4(ours[name].grad, parameter.grad)


Given = tuple[LoraTrainer, Captured]


@pytest.fixture
def given(tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path) -> Given:
    """A trainer with a random adapter on two layers, and what llama.cpp computed with that."""
    return make_given(tiny_gguf("f32"), tokens, tmp_path)


def make_given(path: Path, tokens: list[int], folder: Path, layers: int | None = 2) -> Given:
    trainer = LoraTrainer(GgufFile(path), replace(TRAIN, lora=replace(READS, layers=layers)))
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in trained_in(trainer).values():
            parameter.normal_(std=0.05)
    adapter = folder / "adapter.gguf"
    trainer.write(adapter)
    capture = Capture(1 if layers else 0, 64, products=True)
    with LlamaEngine(path, replace(EXACT, capture=capture)) as engine:
        engine.swap(adapter)
        engine.score(tokens[:32], tokens[32:96])
        captured = engine.captured(31, 95)
    assert captured is not None
    assert captured.products is not None
    return trainer, captured


def trained_in(trainer: LoraTrainer) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}


def gradients(
    trainer: LoraTrainer, tokens: list[int], captured: Captured | None
) -> dict[str, torch.Tensor]:
    trainer.model.zero_grad()
    loss = trainer.loss(torch.tensor([tokens[:96]]), torch.ones(64, dtype=torch.bool), captured)
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in trained_in(trainer).items() if p.grad is not None}


@pytest.mark.parametrize("layers", [2, None])
def test_the_gradient_with_products_is_that_of_the_same_network(
    layers: int | None,
    tiny_gguf: Callable[[str], Path],
    tokens: list[int],
    tmp_path: Path,
) -> None:
    """Computed from tokens, up to the rounding of products to bfloat16."""
    trainer, captured = make_given(tiny_gguf("f32"), tokens, tmp_path, layers)
    assert (captured.states is None) == (layers is None)
    expected = gradients(trainer, tokens, None)
    assert len(expected) == 2 * 7 * (layers or 3)
    ours = gradients(trainer, tokens, captured)
    exact = replace(captured, products=None)
    for name, theirs in expected.items():
        cosine = torch.nn.functional.cosine_similarity
        assert cosine(ours[name].flatten(), theirs.flatten(), dim=0) > 0.999, name
        assert not torch.equal(ours[name], theirs), name
    for name, mine in gradients(trainer, tokens, exact).items():
        assert_same_to_1e4(mine, expected[name])


def test_products_are_those_of_one_pass(given: Given, tokens: list[int]) -> None:
    """What follows is computed with the weights again."""
    trainer, captured = given
    fresh = gradients(trainer, tokens, None)
    with_products = gradients(trainer, tokens, captured)
    again = gradients(trainer, tokens, None)
    assert all(torch.equal(again[name], one) for name, one in fresh.items())
    assert any(not torch.equal(with_products[name], one) for name, one in fresh.items())


def test_layers_that_are_recomputed_take_products_twice(
    given: Given, tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    trainer, captured = given
    saving, _ = make_given(tiny_gguf("f32"), tokens, tmp_path)
    saving.checkpoint()
    saving.model.train()
    expected = gradients(trainer, tokens, captured)
    for name, ours in gradients(saving, tokens, captured).items():
        assert_same_to_1e4(ours, expected[name])
    plain = gradients(trainer, tokens, None)
    for name, ours in gradients(saving, tokens, None).items():
        assert_same_to_1e4(ours, plain[name])


def test_products_are_let_go_of_in_forward(
    given: Given, tokens: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they were sent to the training process, which has no other use for them."""
    trainer, captured = given
    request = handed_over(Train((), (), None, False, deepcopy(captured)))
    products = request.captured.products
    arrays = [weakref.ref(one) for one in products.values()]
    assert arrays
    alive: list[int] = []
    true_loss = trainer._head.cross_entropy

    def loss(hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        alive.append(sum(one() is not None for one in arrays))
        return true_loss(hidden, targets)

    monkeypatch.setattr(trainer._head, "cross_entropy", loss)
    expected = gradients(trainer, tokens, captured)
    ours = gradients(trainer, tokens, request.captured)
    assert all(torch.equal(ours[name], one) for name, one in expected.items())
    assert alive == [len(arrays), 0]
    assert not products


def test_later_epochs_use_no_products(
    given: Given, tokens: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter is another one then: only what enters the layers is as it was."""
    trainer, captured = given
    reads: list[tuple[bool, bool]] = []
    true_read = trainer.reader.read

    def read(before: list[int], block: list[int], given: Captured | None = None) -> torch.Tensor:
        assert given is not None
        reads.append((given.states is not None, given.products is not None))
        return true_read(before, block, given)

    monkeypatch.setattr(trainer.reader, "read", read)
    assert READS.epochs == 2
    update = trainer.train(tokens[:32], tokens[32:96], captured=captured)
    measured = 1
    assert reads == [(True, True), *[(True, False)] * (READS.epochs - 1 + measured)]
    assert update.loss_after is not None
    assert update.loss_before is not None
    assert update.loss_after < update.loss_before


def test_training_goes_on_from_a_saved_state(
    tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    """With what was read before: the same updates as if nothing had stopped."""
    base, options = GgufFile(tiny_gguf("f32")), replace(TRAIN, lora=READS)
    first, second = LoraTrainer(base, options), LoraTrainer(base, options)
    for begin in range(0, 128, 32):
        first.train(tokens[:begin], tokens[begin : begin + 32])
    first.save(tmp_path / "state")
    second.load(tmp_path / "state")
    for begin in range(128, 224, 32):
        updates = [
            trainer.train(tokens[:begin], tokens[begin : begin + 32]) for trainer in (first, second)
        ]
        assert updates[0] == updates[1]
    fresh = LoraTrainer(base, options)
    fresh.load(tmp_path / "state")
    fresh.reader.forget()
    assert fresh.train(tokens[:128], tokens[128:160]) != updates[0]
