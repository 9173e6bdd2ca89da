"""The head's loss and gradient: slices against dense ones, candidates against a slow reference."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import pytest
import torch
from gguf_files import write_out

from templora_edge.candidates import SAMPLES, Candidates
from templora_edge.models.gguf_file import GgufFile
from templora_edge.training import head as head_module
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


def some_candidates(logits: npt.NDArray[np.float32], within: float) -> Candidates:
    """Rows like those of `Candidates.of`, one by one in float64; samples are any other ids."""
    ids, rest, samples = [], [], []
    random = np.random.default_rng(4)
    for row in logits.astype(np.float64):
        near = row >= row.max() - within
        ids.append(np.flatnonzero(near))
        rest.append(
            np.logaddexp.reduce(row[~near], initial=-np.inf) - np.logaddexp.reduce(row[near])
        )
        samples.append(random.choice(np.flatnonzero(~near) if not near.all() else ids[-1], SAMPLES))
    return Candidates(
        np.concatenate(ids).astype(np.int32),
        np.cumsum([0, *map(len, ids)]),
        np.array(rest, np.float32),
        np.array(samples, np.int32),
    )


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


def slow_loss(
    head: MappedHead, hidden: torch.Tensor, targets: torch.Tensor, candidates: Candidates
) -> torch.Tensor:
    """The loss over candidates, row by row in float64 on dense weights, for autograd."""
    weight = weight_of(head).double()
    used = sorted({*candidates.ids.tolist(), *targets.tolist()})
    n_outside = N_VOCAB - len(used)
    total_weight, mean = 0.0, torch.zeros(WIDTH, dtype=torch.float64)
    for i, row in enumerate(candidates.samples.tolist()):
        held = 1 / (1 + np.exp(-np.float64(candidates.rest[i])))  # share of all mass
        for sample in row:
            if sample not in used:
                total_weight, mean = total_weight + held, mean + held * weight[sample]
    mean = mean / total_weight if total_weight else mean
    losses = []
    for i, target in enumerate(targets.tolist()):
        x = hidden[i].double()
        logits = weight @ x if head.bias is None else weight @ x + head.bias
        if head.softcap is not None:
            logits = head.softcap * torch.tanh(logits / head.softcap)
        own = set(candidates[i : i + 1].ids.tolist())
        foreign = logits.detach()[[j for j in used if j not in own]].exp().sum()
        share = float(np.exp(np.float64(candidates.rest[i])))
        missing = max(0.0, share * logits.detach()[sorted(own)].exp().sum().item() - foreign.item())
        total = logits[used].exp().sum()
        if missing > 0:
            slope = 1.0
            if head.softcap is not None:
                typical = np.log(missing / n_outside) / head.softcap
                slope = 1 - min(1.0, max(-1.0, typical)) ** 2
            moved = (x - x.detach()) @ mean  # 0, but with a gradient
            total = total + missing * torch.exp(slope * moved)
        losses.append(total.log() - logits[target])
    return torch.stack(losses).mean()


@with_and_without
def test_slices_equal_the_whole(
    softcap: float | None,
    biased: bool,
    make_head: Callable[..., MappedHead],
    hidden: torch.Tensor,
) -> None:
    head = make_head(softcap, biased)
    assert len(list(head.slices())) == 4
    logits = logits_of(head, hidden)
    torch.testing.assert_close(head(hidden), logits, rtol=1e-5, atol=1e-5)
    assert_same(
        loss_and_gradient(lambda x: head.cross_entropy(x, TARGETS), hidden),
        loss_and_gradient(
            lambda x: torch.nn.functional.cross_entropy(logits_of(head, x), TARGETS), hidden
        ),
    )


@with_and_without
def test_candidates_that_are_the_whole_vocabulary_change_nothing(
    softcap: float | None,
    biased: bool,
    make_head: Callable[..., MappedHead],
    hidden: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head_module, "MOST", 1.0)
    head = make_head(softcap, biased)
    everything = some_candidates(head(hidden).numpy(), within=np.inf)
    assert np.isneginf(everything.rest).all()
    expected = loss_and_gradient(lambda x: head.cross_entropy(x, TARGETS), hidden)
    assert_same(
        loss_and_gradient(lambda x: head.cross_entropy(x, TARGETS, everything), hidden), expected
    )
    # each row finds a few, all rows together the whole vocabulary: nothing is left out either
    few = some_candidates(head(hidden).numpy(), within=1.5)
    rows = [few[i : i + 1] for i in range(N)]
    share = np.array_split(np.arange(N_VOCAB, dtype=np.int32), N)
    logits = head(hidden).double().numpy()
    for i, ids in enumerate(share):
        own = np.union1d(rows[i].ids, ids).astype(np.int32)
        rest = np.logaddexp.reduce(np.delete(logits[i], own)) - np.logaddexp.reduce(logits[i][own])
        rows[i] = replace(
            rows[i], ids=own, starts=np.array([0, len(own)]), rest=np.array([rest], np.float32)
        )
    joined = Candidates.join(rows)
    assert_same(
        loss_and_gradient(lambda x: head.cross_entropy(x, TARGETS, joined), hidden), expected
    )


@pytest.mark.parametrize("has_rest", [True, False])
@pytest.mark.parametrize("n_rows", [7, 320])
@with_and_without
def test_some_candidates_against_the_formula(
    softcap: float | None,
    biased: bool,
    n_rows: int,
    has_rest: bool,
    make_head: Callable[..., MappedHead],
    hidden: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """llama.cpp's logits are a little off, and some targets are no candidates of any row."""
    monkeypatch.setattr(head_module, "MOST", 0.9)
    head = make_head(softcap, biased, n_rows)
    theirs = head(hidden) + 0.1 * torch.randn(N, N_VOCAB)
    candidates = some_candidates(theirs.numpy(), within=1.0)
    assert not set(TARGETS.tolist()) <= set(candidates.ids.tolist())
    assert len(candidates.ids) < 0.5 * N * N_VOCAB
    if not has_rest:
        candidates = replace(candidates, rest=np.full(N, -np.inf, np.float32))
    assert_same(
        loss_and_gradient(lambda x: head.cross_entropy(x, TARGETS, candidates), hidden),
        loss_and_gradient(lambda x: slow_loss(head, x, TARGETS, candidates), hidden),
    )


def test_a_rest_that_candidates_of_other_rows_exceed_counts_as_nothing(
    make_head: Callable[..., MappedHead], hidden: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_module, "MOST", 0.9)
    head = make_head(None, True)
    candidates = some_candidates(head(hidden).numpy(), within=1.0)
    small = replace(candidates, rest=candidates.rest - 20)  # e^-20 of what was found
    none = replace(candidates, rest=np.full(N, -np.inf, np.float32))
    assert_same(
        loss_and_gradient(lambda x: head.cross_entropy(x, TARGETS, small), hidden),
        loss_and_gradient(lambda x: head.cross_entropy(x, TARGETS, none), hidden),
    )


def head_of(weight: torch.Tensor, path: Path) -> MappedHead:
    """A head over ``weight``, written to ``path``."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("output.weight", weight.numpy())
    write_out(writer)
    scratch = Scratch(1024 * weight.shape[1], torch.float32, 1)
    return MappedHead(MappedTensor(gguf.GGUFReader(path).tensors[0], scratch), None, None)


@pytest.mark.parametrize("seed", range(3))
def test_what_samples_stand_for_adds_up_over_a_block(seed: int, tmp_path: Path) -> None:
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
    sampled = Candidates.join([Candidates.of(row) for row in logits.numpy()])
    without = replace(sampled, rest=np.full(n, -np.inf, np.float32))
    assert len(np.unique(sampled.ids)) < head_module.MOST * n_vocab
    assert 0.1 < torch.from_numpy(sampled.rest).sigmoid().mean() < 0.2

    def results(candidates: Candidates | None) -> tuple[torch.Tensor, torch.Tensor]:
        return loss_and_gradient(lambda x: head.cross_entropy(x, targets, candidates), hidden)

    exact, ours, cut = results(None), results(sampled), results(without)
    torch.testing.assert_close(ours[0], exact[0], rtol=1e-4, atol=0)
    for inputs in (torch.ones(n, 1), hidden):  # of a bias, of a weight
        expected = exact[1].T @ inputs
        errors = [(one[1].T @ inputs - expected).norm() / expected.norm() for one in (ours, cut)]
        assert errors[0] < 0.05
        assert errors[1] > 5 * errors[0]


def test_too_many_candidates_use_all_logits(
    make_head: Callable[..., MappedHead], hidden: torch.Tensor
) -> None:
    head = make_head(3.0, True)
    candidates = some_candidates(head(hidden).numpy(), within=2.0)
    wrong = replace(candidates, rest=candidates.rest + 9)  # would show
    assert len(np.unique(candidates.ids)) > head_module.MOST * N_VOCAB
    assert torch.equal(
        head.cross_entropy(hidden, TARGETS), head.cross_entropy(hidden, TARGETS, wrong)
    )


def test_candidates_of_another_block_are_loaded_anew(
    make_head: Callable[..., MappedHead], hidden: torch.Tensor
) -> None:
    """Copies of rows come and go, often to the same address; what is dequantized must not stay."""
    head = make_head(None, False)
    for shift in range(0, N_VOCAB - 50, 10):
        part = head.only(np.arange(shift, shift + 50))
        expected = hidden @ weight_of(head)[shift : shift + 50].T
        torch.testing.assert_close(part(hidden), expected, rtol=1e-5, atol=1e-5)
        del part
