"""The recipe of the bundled base, at a size that trains in seconds."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import EXACT, engine_logits
from paths import ROOT
from texts import TEXT
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.train.corpus import SentencePair, read_pairs, segments, split_pairs
from scripts.train.data import IGNORED, Data, batches, encode_pairs, train_tokenizer
from scripts.train.muon import Muon, orthogonalized
from scripts.train.recipe import Recipe
from scripts.train.run import TrainingRun
from templora_edge.engine import LlamaEngine
from templora_edge.errors import OptionError
from templora_edge.models.gguf_file import TRANSLATION_TEMPLATE, GgufFile
from templora_edge.translation.prompt import Pair, Request, TemplatePrompt

SMALL = Recipe(
    warmup=2,
    vocab_size=320,
    layers=2,
    width=64,
    heads=2,
    kv_heads=1,
    ffn=96,
    context=128,
    short_context=32,
    tokens=20 * 256,
    batch=256,
)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn compilation off, which would take longer than the training."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.train.base", *map(str, arguments)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"TORCHDYNAMO_DISABLE": "1"},
    )


def flags(recipe: Recipe) -> list[object]:
    return [
        part
        for name, value in vars(recipe).items()
        for part in ("--" + name.replace("_", "-"), value)
    ]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(5)
    words = TEXT.split()
    for index in range(40):
        drawn = " ".join(rng.choice(words, 300))
        (folder / f"{index:02}.txt").write_text(drawn + "\nÆther, naïve – “quoted”\n\n  end.\n")
    return folder


@pytest.mark.slow
def test_from_texts_to_card(texts: Path, tmp_path: Path) -> None:
    arguments = [texts, tmp_path, "--name", "small", *flags(SMALL), "--evaluate", texts / "00.txt"]
    result = command(*arguments)
    assert result.returncode == 0, result.stderr[-2000:]

    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    text = (texts / "39.txt").read_text()
    with LlamaEngine(tmp_path / "small-f16.gguf", EXACT) as engine:
        tokens = [*engine.model.vocab.head, *engine.model.vocab.tokenize(text)]
        assert tokens == [0, *tokenizer(text, add_special_tokens=False).input_ids]
        logits = engine_logits(engine, tokens[:64])
        assert llama_cpp.llama_model_n_ctx_train(engine.model.pointer) == SMALL.context
    with torch.inference_mode():
        expected = reference(input_ids=torch.tensor([tokens[:64]])).logits[0].numpy()
    np.testing.assert_allclose(logits, expected, atol=2e-2)  # F16 weights

    card = (tmp_path / "small.md").read_text()
    assert "300 words after" in card
    assert "| 00.txt |" in card
    assert not re.search(r"\{\w+\}", card)  # every field was filled

    shipped = (tmp_path / "small-q8_0.gguf").read_bytes()
    again = command(*arguments)
    assert again.returncode == 0, again.stderr[-2000:]
    assert '"loss"' not in again.stderr  # nothing is trained twice
    assert (tmp_path / "small-q8_0.gguf").read_bytes() == shipped

    other = command(*arguments, "--seed", 2)
    assert other.returncode == 1
    assert "another recipe" in other.stderr


def test_too_little_text(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(TEXT)
    result = command(tmp_path, tmp_path / "out", "--name", "none")
    assert result.returncode == 1
    assert "1 .txt files; expected 40 or more" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("eager")
def test_resumed_run_is_the_same_run(tmp_path: Path) -> None:
    tokens = Data.of_text(np.random.default_rng(0).integers(0, 320, 4000).astype(np.uint16))

    def state(run: TrainingRun) -> list[torch.Tensor]:
        return [value.clone() for value in run.model.state_dict().values()]

    whole = TrainingRun(SMALL, tmp_path / "whole.pt")
    losses = [whole.learn(batch) for batch in batches(tokens, SMALL, 0)]
    assert whole.step == SMALL.steps

    first = TrainingRun(SMALL, tmp_path / "checkpoint.pt")
    before = []
    for batch in batches(tokens, SMALL, 0):
        before.append(first.learn(batch))
        if first.step == 13:
            break
    first.save()
    second = TrainingRun(SMALL, tmp_path / "checkpoint.pt")
    after = [second.learn(batch) for batch in batches(tokens, SMALL, second.step)]
    assert before + after == losses
    for one, other in zip(state(whole), state(second), strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("eager")
def test_learns(tmp_path: Path) -> None:
    tokens = Data.of_text(np.tile(np.arange(1, 101, dtype=np.uint16), 60))
    run = TrainingRun(SMALL, tmp_path / "checkpoint.pt")
    losses = [run.learn(batch) for batch in batches(tokens, SMALL, 0)]
    assert losses[-1] < losses[0] - 1


@given(n=st.integers(600, 3000), begin=st.integers(0, 19))
@settings(max_examples=25, deadline=None)
def test_batches(n: int, begin: int) -> None:
    data = Data.of_text(np.arange(n, dtype=np.uint16))
    every = list(batches(data, SMALL, 0))
    assert [b.shape[1] for b, _ in every] == [SMALL.window(s) for s in range(SMALL.steps)]
    assert all(inputs.numel() == SMALL.batch for inputs, _ in every)
    assert all((inputs.diff(dim=1) == 1).all() for inputs, _ in every)  # windows of the text
    assert all(torch.equal(inputs + 1, labels) for inputs, labels in every)
    rest = list(batches(data, SMALL, begin))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(every[begin:], rest, strict=True))


def test_windows_share_their_ends(tmp_path: Path) -> None:
    Data.of_text(np.arange(12, dtype=np.uint16)).save(tmp_path / "data.npz")
    data = Data.load(tmp_path / "data.npz")
    inputs, labels = data.rows(data.windows(5), 5)
    assert inputs.tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert labels.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]


PAIRS = [SentencePair(f"Il a {n} ans.", f"He is {n} years old.") for n in range(400)]


def write_pairs(path: Path) -> Path:
    lines = [
        {"doc": doc, "i": i, "src": pair.source, "en": pair.translation}
        for doc in ("novel/a", "bible/b", "bible/c")
        for i, pair in enumerate(PAIRS)
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    return path


def test_only_translations_are_learned(tmp_path: Path) -> None:
    texts = [text for pair in PAIRS for text in pair]
    train_tokenizer(texts, tmp_path / "tokenizer.json", 320, "<|fr|>", "<|en|>")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    data = encode_pairs(tokenizer, PAIRS)
    assert data.begins is not None
    starts = data.windows(32, 7)
    assert set(starts) <= set(data.begins)
    inputs, labels = data.rows(starts, 32)
    assert (inputs[:, :2] == torch.tensor([0, 1])).all()  # a window begins with a source
    for row, wanted in zip(inputs.tolist(), labels.tolist(), strict=True):
        text = tokenizer.decode(row, skip_special_tokens=False)
        assert text.startswith("<|endoftext|><|fr|>Il a ")
        kept = tokenizer.decode([t for t in wanted if t != IGNORED], skip_special_tokens=False)
        assert "Il a" not in kept
        assert kept.startswith("He is ")


@pytest.mark.usefixtures("eager")
def test_the_loss_is_that_of_what_is_learned(tmp_path: Path) -> None:
    run = TrainingRun(SMALL, tmp_path / "checkpoint.pt")
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randint(0, 320, (6, 32), generator=generator)
    labels = torch.randint(0, 320, (6, 32), generator=generator)
    labels[torch.rand(6, 32, generator=generator) < 0.5] = IGNORED
    labels[3] = IGNORED
    with torch.inference_mode():
        logits = run.model(input_ids=inputs).logits.double()
    at = labels != IGNORED
    nll = -torch.log_softmax(logits, -1)[at].gather(1, labels[at][:, None])
    assert run.loss((inputs, labels), learn=False) == pytest.approx(nll.mean().item(), rel=1e-5)


def test_segments_hold_every_sentence_once(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl")
    assert len(read_pairs(path, ("fr", "en"), [], 0)) == 3
    documents = read_pairs(path, ("fr", "en"), [("bible/*", 0.0)], 0)
    assert documents == [PAIRS]
    trained, heldout = split_pairs(documents)
    assert trained[0] + heldout[0] == PAIRS
    assert len(heldout[0]) == 10
    made = list(segments(trained, 3))
    assert made == list(segments(trained, 3))
    for side in (0, 1):
        joined = re.sub("</?1/?>", "", " ".join(pair[side] for pair in made).replace("\n", " "))
        assert joined == " ".join(pair[side] for pair in trained[0])
    marked = [pair for pair in made if "<" in pair.source]
    assert 0 < len(marked) < len(made) / 5
    for pair in marked:
        assert sorted(re.findall("</?1/?>", pair.source)) == sorted(
            re.findall("</?1/?>", pair.translation)
        )
        assert pair.source.count("\n") == pair.translation.count("\n")
    assert any("\n" in pair.source for pair in made)


@pytest.mark.slow
def test_from_pairs_to_a_translator(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl")
    result = command(
        path,
        tmp_path / "out",
        "--name",
        "tiny",
        *flags(SMALL),
        "--share",
        "bible/b=0",
        "--snapshots",
        2,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "out" / "tiny-10-q8_0.gguf").exists()
    card = (tmp_path / "out" / "tiny.md").read_text()
    assert "translates from French to English" in card
    assert not re.search(r"\{\w+\}", card)
    template = GgufFile(tmp_path / "out" / "tiny-q8_0.gguf").get(TRANSLATION_TEMPLATE)
    prompt = TemplatePrompt(template, "tiny", "fr", "en")
    before = (Pair("Oui.", "Yes."),)
    assert prompt(Request("Non.", before)) == "<|fr|>Oui.<|en|>Yes.<|endoftext|><|fr|>Non.<|en|>"
    with LlamaEngine(tmp_path / "out" / "tiny-f16.gguf", EXACT) as engine:
        vocab = engine.model.vocab
        tokens = [*vocab.head, *vocab.tokenize_prompt(prompt(Request("Non.")))]
    assert tokens[:2] == [0, 1]
    assert tokens[-1] == 2
    with pytest.raises(OptionError, match="translates from French to English only"):
        TemplatePrompt(template, "tiny", "de", "en")


@pytest.mark.parametrize("shape", [(3, 24, 64), (2, 64, 24)])
def test_orthogonalized(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalized(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_muon_is_torchs_muon() -> None:
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((32, 48), (32, 48), (48, 16))]
    ours = [torch.nn.Parameter(value.clone()) for value in start]
    theirs = [torch.nn.Parameter(value.clone()) for value in start]
    optimizers = [
        Muon(ours, 0.01, weight_decay=0.1, dtype=torch.bfloat16),
        torch.optim.Muon(theirs, 0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ]
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other, value in zip(ours, theirs, start, strict=True):
        moved = (other - value).norm()
        assert (one - other).norm() < 0.03 * moved  # both round to bf16, in another order
