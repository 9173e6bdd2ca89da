"""The sampler chain against slow references: what penalties and DRY do to logits."""

import math
from collections.abc import Iterator, Sequence
from ctypes import byref
from itertools import product
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt
import pytest
from paths import PROSE

from templora_edge import SamplingOptions, TempLora
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import Model
from templora_edge.engine.greedy import Greedy
from templora_edge.engine.sampler import Sampler
from templora_edge.engine.vocab import Vocab

Floats = npt.NDArray[np.float32]

N_CTX = 40
GREEDY = SamplingOptions(temperature=0, ignore_eos=True)
LAST_N = (0, 5, 64, -1)
RIVAL = 300
"""A token that is in no history, and nearly as likely as those that are."""


@pytest.fixture(scope="module")
def vocab() -> Iterator[Vocab]:
    with Model(BUNDLED_MODEL) as model:
        yield model.vocab


def histories(vocab: Vocab) -> list[list[int]]:
    """Random tokens of few kinds, so that they repeat, some with a sequence breaker among them."""
    random = np.random.default_rng(7)
    words = vocab.tokenize("the dark night was")
    breaks = vocab.tokenize('end:\n"*')
    return [
        [int(token) for token in random.choice([*words[:kinds], *breaks[:extra]], length)]
        for kinds, extra, length in [(2, 0, 9), (2, 0, 60), (3, 0, 100), (2, 6, 60), (3, 6, 100)]
    ]


def apply(
    vocab: Vocab, options: SamplingOptions, history: Sequence[int], logits: Floats
) -> tuple[Floats, int]:
    """The logits after a greedy chain's penalties, (n_vocab,), and the token it chooses."""
    data: Any = (llama_cpp.llama_token_data * len(logits))(
        *(llama_cpp.llama_token_data(token, logit, 0) for token, logit in enumerate(logits))
    )
    candidates = llama_cpp.llama_token_data_array(data, len(logits), -1, False)
    with Sampler(vocab, options, N_CTX) as sampler:
        sampler.accept(history)
        llama_cpp.llama_sampler_apply(sampler.pointer, byref(candidates))
    return np.array([one.logit for one in data], np.float32), data[candidates.selected].id


def recent(history: Sequence[int], last_n: int) -> list[int]:
    last_n = N_CTX if last_n == -1 else last_n
    return list(history[-last_n:]) if last_n else []


def penalized(options: SamplingOptions, history: Sequence[int], logits: Floats) -> Floats:
    result = logits.copy()
    tokens = recent(history, options.repeat_last_n)
    for token in set(tokens):
        if result[token] <= 0:
            result[token] *= options.repeat_penalty
        else:
            result[token] /= options.repeat_penalty
        result[token] -= options.presence_penalty
        result[token] -= options.frequency_penalty * tokens.count(token)
    return result


def dried(vocab: Vocab, options: SamplingOptions, history: Sequence[int], logits: Floats) -> Floats:
    """For each token, the longest end of the history that it followed before, by comparing all."""
    tokens = recent(history, options.dry_penalty_last_n)
    breakers = {one for one in tokens if set(b'\n:"*') & set(vocab.piece(one))}
    since_break = 0
    while since_break < len(tokens) and tokens[-1 - since_break] not in breakers:
        since_break += 1
    longest: dict[int, int] = {}
    for end in range(1, len(tokens)):
        length = 0
        while length < min(end, since_break) and tokens[end - 1 - length] == tokens[-1 - length]:
            length += 1
        if tokens[end] not in breakers and length >= options.dry_allowed_length:
            longest[tokens[end]] = max(length, longest.get(tokens[end], 0))
    result = logits.copy()
    if options.dry_multiplier and len(tokens) > options.dry_allowed_length:
        for token, length in longest.items():
            excess = length - options.dry_allowed_length
            result[token] -= options.dry_multiplier * options.dry_base**excess
    return result


@pytest.mark.parametrize(
    "values",
    [
        {"repeat_penalty": 1.3},
        {"presence_penalty": 0.7},
        {"frequency_penalty": 0.2},
        {"repeat_penalty": 0.9, "presence_penalty": -0.4, "frequency_penalty": 0.1},
        {"dry_multiplier": 0.8},
        {"dry_multiplier": 0.5, "dry_base": 1.2, "dry_allowed_length": 4},
        {"dry_multiplier": 2, "dry_base": 1, "dry_allowed_length": 0},
        {"dry_multiplier": 0.8, "repeat_penalty": 1.1, "presence_penalty": 0.5},
    ],
)
def test_penalties_are_the_reference(values: dict[str, float], vocab: Vocab) -> None:
    random = np.random.default_rng(5)
    logits = random.normal(0, 1, vocab.n_tokens).astype(np.float32)
    logits[vocab.end_tokens()] = -math.inf
    changed = 0
    for history, last_n in product(histories(vocab), LAST_N):
        options = GREEDY.changed(repeat_last_n=last_n, dry_penalty_last_n=last_n, **values)
        before = logits.copy()
        before[sorted(set(history))[1:]] = 4  # the first one's logit may be below 0
        before[RIVAL] = 3.9
        expected = dried(vocab, options, history, penalized(options, history, before))
        after, chosen = apply(vocab, options, history, before)
        np.testing.assert_allclose(after, expected, rtol=1e-4)
        assert chosen == int(expected.argmax())
        assert last_n != 0 or np.array_equal(after, before)
        changed += chosen == RIVAL
    assert changed


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"repeat_penalty": 1.1},
        {"presence_penalty": 0.3},
        {"repeat_penalty": 0.9, "presence_penalty": -0.4, "frequency_penalty": 0.1},
    ],
)
def test_greedy_chooses_what_the_chain_chooses(values: dict[str, float], vocab: Vocab) -> None:
    random = np.random.default_rng(6)
    changed = 0
    for history, last_n in product(histories(vocab), LAST_N):
        options = SamplingOptions(temperature=0, repeat_last_n=last_n, **values)  # type: ignore[arg-type]
        assert Greedy.can_replace(options)
        greedy = Greedy(options, N_CTX if last_n == -1 else last_n)
        greedy.accept(history)
        written = list(history)
        for _ in range(20):  # each choice is a part of the history of the next one
            logits = random.normal(0, 1, vocab.n_tokens).astype(np.float32)
            logits[sorted(set(history))] = random.normal(4, 0.2, len(set(history)))
            logits[RIVAL] = 4
            _, chosen = apply(vocab, options, written, logits)
            assert greedy.choose(logits) == chosen
            written.append(chosen)
            changed += chosen != int(logits.argmax())
    assert bool(changed) == bool(values)


def test_the_chain_has_the_order_of_llama_cpp(vocab: Vocab) -> None:
    on = SamplingOptions(presence_penalty=1, dry_multiplier=1)
    with Sampler(vocab, on, N_CTX) as sampler:
        chain = sampler.pointer
        names = [
            llama_cpp.llama_sampler_name(llama_cpp.llama_sampler_chain_get(chain, index)).decode()
            for index in range(llama_cpp.llama_sampler_chain_n(chain))
        ]
    assert [name.lstrip("+") for name in names] == [
        "penalties", "dry", "top-k", "top-p", "min-p", "temp", "dist",
    ]  # fmt: skip


@pytest.mark.parametrize(("last_n", "reaches_all"), [(-1, False), (4096, True)])
def test_the_history_goes_back_beyond_the_context(last_n: int, reaches_all: bool) -> None:
    """-1 forgets what is further back than the context; a larger number does not."""
    options = GREEDY.changed(presence_penalty=1e4, repeat_last_n=last_n)
    with TempLora(templora=False, n_ctx=128, n_threads=1) as text:
        prose = PROSE.read_text(encoding="utf-8")[:3000]
        text.absorb(prose)
        tokens = text.tokenize(prose)
        assert 512 < len(tokens) < 2000
        written = [piece.token for piece in text.generate(n_predict=40, sampling=options)]
    for index, token in enumerate(written):
        assert token not in [*tokens, *written[:index]][-128:]
    assert set(tokens).isdisjoint(written) == reaches_all
