"""Pretrained models, with and without BOS and sliding windows, on prose."""

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import real_model
from llama_cpp import Llama
from parity import EXACT, TRAIN, Floats, engine_logits, kl, mean_kl, sidecar_logits
from paths import PROSE

from templora_edge import KvPolicy, TempLora
from templora_edge.engine import LlamaEngine
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import EngineOptions
from templora_edge.training.trainer import LoraTrainer

pytestmark = [pytest.mark.slow, pytest.mark.models]

WINDOW = 512
"""Gemma's sliding window, and the tokens of the bar."""
N_TOKENS = 800


@pytest.fixture(params=["smollm2", "gemma3"])
def model(request: pytest.FixtureRequest) -> Path:
    return real_model(request.param)


def prose(engine: LlamaEngine, n: int) -> list[int]:
    """The first ``n`` tokens of a novel, BOS before them where the model adds it."""
    vocab = engine.model.vocab
    return [*vocab.head, *vocab.tokenize(PROSE.read_text())][:n]


def perplexity(logits: Floats, tokens: Sequence[int]) -> float:
    """Perplexity of all ``tokens`` but the first; logits (T, n_vocab)."""
    nll = [
        np.logaddexp.reduce(row.astype(np.float64)) - row[token]
        for row, token in zip(logits, tokens[1:], strict=False)
    ]
    return math.exp(np.mean(nll))


def test_the_sidecar_reads_as_llama_cpp_does(model: Path) -> None:
    """Over 512 tokens and past the sliding window, training differs from llama.cpp no more than
    llama.cpp from itself: it rounds activations, and the smallest change flips roundings."""
    with LlamaEngine(model, EngineOptions(n_ctx=1024, n_threads=2)) as engine:
        tokens = prose(engine, N_TOKENS)
        served = engine_logits(engine, tokens)
    with LlamaEngine(model, EngineOptions(n_ctx=1024, n_threads=2, flash_attn=False)) as engine:
        served_otherwise = engine_logits(engine, tokens)
    trainer = LoraTrainer(GgufFile(model), TRAIN.changed(n_ctx=1024, rank=4, alpha=64))
    trained_on = sidecar_logits(trainer, tokens)
    by_token = [kl(p, q) for p, q in zip(served, trained_on, strict=True)]
    assert np.mean(by_token[:WINDOW]) <= 5e-3
    assert np.mean(by_token) <= 1.1 * mean_kl(served, served_otherwise)
    assert np.mean(by_token[WINDOW:]) <= 1.5 * np.mean(by_token[:WINDOW])
    ours, theirs = perplexity(trained_on, tokens), perplexity(served, tokens)
    assert ours == pytest.approx(theirs, rel=0.01)


def test_the_base_is_llama_cpp_pythons_own(model: Path) -> None:
    llama = Llama(str(model), n_ctx=1024, n_batch=512, logits_all=True, verbose=False)
    tokens = llama.tokenize(PROSE.read_text().encode(), special=False)[:1000]
    llama.eval(tokens)
    theirs = perplexity(llama.scores, tokens)
    llama.close()
    with TempLora(model, templora=False, n_ctx=2048, block_len=512) as text:
        head = text.engine.model.vocab.head
        assert tokens[: len(head)] == list(head)
        ours = text.score(text.engine.model.vocab.detokenize(tokens[len(head) :]))
    assert sum(ours.tokens) == 999
    assert ours.ppl == pytest.approx(theirs, rel=5e-3)


def test_bos_stays_whichever_policy(gemma3: Path) -> None:
    """A window without BOS reads a fifth worse."""
    text = PROSE.read_text()[:4500]
    ppl = {}
    for policy in KvPolicy:
        with TempLora(
            gemma3, templora=False, n_ctx=384, block_len=96, prefix_len=192, kv_policy=policy
        ) as session:
            ppl[policy] = session.score(text).ppl
            assert session.n_tokens > 2 * 384, "no window was left behind: an empty test"
    assert max(ppl.values()) <= 1.03 * min(ppl.values())


def test_scoring_holds_one_copy_of_the_logits(gemma3: Path) -> None:
    """Logits are llama.cpp's memory: half a gigabyte for 512 tokens and Gemma's vocabulary."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from templora_edge.host import memory\n"
        "from templora_edge.options import EngineOptions\n"
        "from templora_edge.engine import LlamaEngine\n"
        "with LlamaEngine(Path(sys.argv[1]), EngineOptions(n_ctx=1024, n_threads=2)) as engine:\n"
        "    tokens = list(range(1000, 1513))\n"
        "    for _ in engine.context.decode_all(tokens[:-1]):\n"
        "        before = memory.peak_resident()\n"
        "    engine.clear()\n"
        "    engine.score(tokens[:1], tokens[1:])\n"
        "    print(memory.peak_resident() - before, 512 * engine.model.vocab.n_tokens * 4)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, gemma3], capture_output=True, text=True, check=True
    )
    more, copy = map(int, result.stdout.split())
    assert more < copy / 4


@pytest.mark.parametrize("swa_full", [False, True])
def test_a_cut_cache_is_a_fresh_one(swa_full: bool, gemma3: Path) -> None:
    """Tokens are decoded in the same batches: the smallest change flips llama.cpp's roundings."""
    step = 20
    options = replace(EXACT, n_ctx=1280, n_batch=step, swa_full=swa_full)
    with LlamaEngine(gemma3, options) as engine:
        tokens = prose(engine, 1120)

        def decode_to(end: int) -> Floats:
            for begin in range(engine.n_past, end, step):
                engine.decode(tokens[begin : begin + step])
            return engine.context.logits()

        cuts = (1060, 700, 660, 40)  # each from the end before it
        ends = (1100, 1100, 720, 680)
        fresh = {cut: decode_to(cut + step) for cut in sorted(cuts)}
        kept = []
        for cut, end in zip(cuts, ends, strict=True):
            decode_to(end)
            engine.truncate(cut)
            assert engine.n_past in (0, cut)
            kept.append(engine.n_past == cut)
            np.testing.assert_allclose(decode_to(cut + step), fresh[cut], atol=1e-3)
    assert kept == [True, swa_full, True, True]
