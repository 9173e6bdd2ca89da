"""The head's loss and gradient: slices against dense ones, predictions against a slow reference."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf_files import write_out

from templora_edge.models.gguf_file import GgufFile
from templora_edge.predictions import SAMPLES, Predictions
from templora_edge.training.gguf_layers import MappedTensor, Scratch
from templora_edge.training.head import MappedHead

N_VOCAB, WIDTH = 320, 64
TARGETS = torch.tensor([0, 99, 100, 101, 199, 200, 299, 300, 318, 319])
N = len(TARGETS)

with_and_without = pytest.mark.parametrize(
    ("softcap", "biased"), [(None, False), (None, True), (3.0, False), (3.0, True)]
)


@pytest.fixture
def make_head(tiny_gguf: Callable[[str], Path]) -> Callable[..., MappedHead]:
    """A head whose scratch buffer holds ``n_rows`` rows, so that slices are uneven."""

    def make(softcap: float | None, biased: bool, n_rows: int = 100) -> MappedHead:
        tensor = GgufFile(tiny_gguf("f32")).tensor("output.weight")
        bias = torch.linspace(-1, 1, N_VOCAB) if biased else None
        scratch = Scratch(n_rows * WIDTH, torch.float32, 1)
        return MappedHead(MappedTensor(tensor, scratch), bias, softcap)

    return make


@pytest.fixture
def hidden() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(N, WIDTH)


def weight_of(head: MappedHead) -> torch.Tensor:
    return head.source.gather(np.arange(N_VOCAB))


def logits_of(head: MappedHead, hidden: torch.Tensor) -> torch.Tensor:
    """Logits by autograd on dense weights, (n, n_vocab)."""
    logits = hidden @ weight_of(head).T
    if head.bias is not None:
        logits = logits + head.bias
    return logits if head.softcap is None else head.softcap * torch.tanh(logits / head.softcap)


def all_of(logits: torch.Tensor) -> Predictions:
    """Predictions with every id, (n, n_vocab)."""
    n, n_vocab = logits.shape
    return Predictions(
        np.tile(np.arange(n_vocab, dtype=np.int32), n),
        logits.softmax(-1).numpy().ravel(),
        np.arange(n + 1) * n_vocab,
    )


def some_of(logits: torch.Tensor, seed: int = 4) -> Predictions:
    """Predictions with some ids, some of them twice, and their probabilities, whatever they are."""
    random = np.random.default_rng(seed)
    rows = []
    for row in logits.softmax(-1).numpy():
        ids = np.append(random.integers(0, len(row), 20), row.argmax()).astype(np.int32)
        rows.append(Predictions(ids, row[ids], np.array([0, len(ids)])))
    return Predictions.join(rows)


def loss_and_gradient(
    loss_of: Callable[[torch.Tensor], torch.Tensor], hidden: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = hidden.clone().requires_grad_()
    loss = loss_of(leaf)
    loss.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


def assert_same(
    ours: tuple[torch.Tensor, torch.Tensor], theirs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    torch.testing.assert_close(ours[0], theirs[0].float(), rtol=1e-5, atol=1e-6)
    scale = theirs[1].abs().max().item()
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-5, atol=1e-5 * scale)


def slow_gradient(
    head: MappedHead, hidden: torch.Tensor, targets: torch.Tensor, predicted: Predictions
) -> torch.Tensor:
    """The gradient of the mean loss with respect to ``hidden``, id by id in float64."""
    weight = weight_of(head).double()
    logits = logits_of(head, hidden).double()
    gradient = torch.zeros(N, WIDTH, dtype=torch.float64)
    for i, target in enumerate(targets.tolist()):
        row = predicted[i : i + 1]
        likeliest = int(row.masses.argmax())
        log_total = logits[i, row.ids[likeliest]] - np.log(np.float64(row.masses[likeliest]))
        summed: dict[int, float] = {}
        for j, mass in zip(row.ids.tolist(), row.masses.tolist(), strict=True):
            summed[j] = summed.get(j, 0.0) + mass
        for j, mass in [*summed.items(), (target, -1.0)]:
            slope = 1.0
            if head.softcap is not None:
                logit = logits[i, target] if mass < 0 else log_total + np.log(mass)
                slope = 1 - float(logit / head.softcap) ** 2
            gradient[i] += mass * slope * weight[j] / N
    return gradient


@with_and_without
def test_slices_equal_the_whole(
    softcap: float | None,
    biased: bool,
    make_head: Callable[..., MappedHead],
    hidden: torch.Tensor,
) -> None:
    head = make_head(softcap, biased)
    assert len(list(head.slices(N_VOCAB))) == 4
    logits = logits_of(head, hidden)
    torch.testing.assert_close(head(hidden), logits, rtol=1e-5, atol=1e-5)
    assert_same(
        loss_and_gradient(lambda x: head.cross_entropy(x, TARGETS), hidden),
        loss_and_gradient(
            lambda x: torch.nn.functional.cross_entropy(logits_of(head, x), TARGETS), hidden
        ),
    )


@with_and_without
def test_whole_predictions_are_the_exact_loss(
    softcap: float | None,
    biased: bool,
    make_head: Callable[..., MappedHead],
    hidden: torch.Tensor,
) -> None:
    head = make_head(softcap, biased)
    predicted = all_of(head(hidden))
    assert_same(
        loss_and_gradient(lambda x: head.cross_entropy_of(x, TARGETS, predicted), hidden),
        loss_and_gradient(lambda x: head.cross_entropy(x, TARGETS), hidden),
    )


@pytest.mark.parametrize("n_rows", [7, 320])
@with_and_without
def test_some_predictions_against_the_formula(
    softcap: float | None,
    biased: bool,
    n_rows: int,
    make_head: Callable[..., MappedHead],
    hidden: torch.Tensor,
) -> None:
    head = make_head(softcap, biased, n_rows)
    predicted = some_of(head(hidden))
    loss, gradient = loss_and_gradient(
        lambda x: head.cross_entropy_of(x, TARGETS, predicted), hidden
    )
    expected = slow_gradient(head, hidden, TARGETS, predicted)
    scale = expected.abs().max().item()
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-4, atol=1e-5 * scale)
    # the likeliest id's probability tells the sum over all ids
    torch.testing.assert_close(loss, head.cross_entropy(hidden, TARGETS), rtol=1e-5, atol=1e-5)


def head_of(weight: torch.Tensor, path: Path) -> MappedHead:
    """A head over ``weight``, written to ``path``."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("output.weight", weight.numpy())
    write_out(writer)
    scratch = Scratch(1024 * weight.shape[1], torch.float32, 1)
    return MappedHead(MappedTensor(gguf.GGUFReader(path).tensors[0], scratch), None, None)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_drawn_adds_up_over_a_block(seed: int, tmp_path: Path) -> None:
    """In a text like any: a few likely ids, and a long tail of rare ones with much in common."""
    n_vocab, n = 16384, 128
    random = torch.Generator().manual_seed(seed)
    rare = torch.randn(WIDTH, generator=random)
    rare /= rare.norm()
    frequency = -torch.arange(1, n_vocab + 1).log()
    weight = torch.randn(n_vocab, WIDTH, generator=random) / 8 + frequency[:, None] * rare / 2
    hidden = 2.5 * torch.randn(n, WIDTH, generator=random)
    hidden += (2.4 - hidden @ rare)[:, None] * rare  # all know how frequent ids are
    head = head_of(weight, tmp_path / "head.gguf")
    logits = head(hidden)
    targets = torch.multinomial(logits.softmax(-1), 1, generator=random)[:, 0]
    drawn = Predictions.join([Predictions.of(row) for row in logits.numpy()])
    tail = np.concatenate([np.arange(end - SAMPLES, end) for end in drawn.starts[1:]])
    cut = replace(drawn, masses=drawn.masses.copy())
    cut.masses[tail] = 0
    assert 0.1 < drawn.masses[tail].sum() / n < 0.3
    exact = loss_and_gradient(lambda x: head.cross_entropy(x, targets), hidden)

    def results(predicted: Predictions) -> tuple[torch.Tensor, torch.Tensor]:
        return loss_and_gradient(lambda x: head.cross_entropy_of(x, targets, predicted), hidden)

    ours, without = results(drawn), results(cut)
    torch.testing.assert_close(ours[0], exact[0], rtol=1e-4, atol=0)
    for inputs in (torch.ones(n, 1), hidden):  # of a bias, of a weight
        expected = exact[1].T @ inputs
        errors = [(g.T @ inputs - expected).norm() / expected.norm() for _, g in (ours, without)]
        assert errors[0] < 0.05
        assert errors[1] > 5 * errors[0]


def test_rows_of_another_block_are_loaded_anew(
    make_head: Callable[..., MappedHead], hidden: torch.Tensor
) -> None:
    """Copies of rows come and go, often to the same address; what is dequantized must not stay."""
    head = make_head(None, False)
    for shift in range(0, N_VOCAB - 50, 10):
        part = head.source.only(np.arange(shift, shift + 50))
        expected = weight_of(head)[shift : shift + 50]
        torch.testing.assert_close(part.load(), expected, rtol=0, atol=0)
        del part
