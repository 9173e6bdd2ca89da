"""The Python API on the bundled model."""

import hashlib
import threading
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest
from gguf_files import write_out
from parity import EXACT

import templora_edge
from templora_edge import Absorbed, BlockReport, Piece, SamplingOptions, TempLora
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import LlamaEngine
from templora_edge.errors import (
    EngineError,
    OptionError,
    OutputError,
    PromptError,
    UnsupportedModelError,
)
from templora_edge.host.workspace import default_root

SAMPLING = SamplingOptions(seed=3, ignore_eos=True)
PROMPT = "The old captain looked at the sea, and"


def long_text(n_words: int) -> str:
    return " ".join(f"the captain said {i % 7} words to the sailor" for i in range(n_words // 8))


def write(seed: int) -> str:
    with TempLora(n_ctx=256, block_len=64, seed=seed, n_threads=1, preset="paper") as text:
        sampling = SamplingOptions(seed=seed, ignore_eos=True)
        return "".join(p.text for p in text.generate(PROMPT, n_predict=200, sampling=sampling))


def test_a_seed_fixes_the_text() -> None:
    first = write(seed=1)
    assert first == write(seed=1)
    assert first != write(seed=2)
    assert len(first) > 200


def test_a_preset_and_what_differs_from_it() -> None:
    with TempLora(n_ctx=256, rank=8) as text:
        settings = text.options.settings()
    assert (settings["rank"], settings["alpha"], settings["epochs"]) == (8, 64, 1)
    assert (settings["targets"], settings["dropout"]) == ("up-down", 0)
    assert (settings["block_len"], settings["train_prefix_len"]) == (64, 512)
    assert (settings["learning_rate"], settings["own_learning_rate"]) == ("auto", 0)


def test_generation_swaps_and_learns() -> None:
    digest = hashlib.sha256(BUNDLED_MODEL.read_bytes()).hexdigest()
    with TempLora(n_ctx=256, block_len=64, own_learning_rate=1e-3, train_dtype="fp32") as text:
        events = list(text.stream(PROMPT, n_predict=256, sampling=SAMPLING))
        reports = [event for event in events if isinstance(event, BlockReport)]
        assert [report.tokens for report in reports] == [64] * 4
        for report in reports[:-1]:
            assert report.loss_before is not None
            assert report.loss_after is not None
            assert report.loss_after < report.loss_before
            assert min(report.generate_s, report.train_s, report.convert_s, report.swap_s) > 0
        assert reports[-1].loss_after is None
        assert text.peak_rss_bytes >= max(report.rss_bytes for report in reports) > 2**20
        assert text.blocks == tuple(reports)
    assert hashlib.sha256(BUNDLED_MODEL.read_bytes()).hexdigest() == digest
    assert not list(default_root().glob("templora-*"))


def written_with_overlap(*, disturbed: bool) -> tuple[str, list[float | None]]:
    """A text that is learned while it is written; disturbed, training stops again and again."""
    text = TempLora(
        n_ctx=256, block_len=32, own_learning_rate=1e-3, overlap=True, n_threads=1, rank=8
    )
    parts, timers = [], list[threading.Timer]()
    with text:
        for n, event in enumerate(text.stream(PROMPT, n_predict=200, sampling=SAMPLING)):
            if isinstance(event, Piece):
                parts.append(event.text)
            if disturbed and n % 5 == 0 and text.trainer is not None:
                child = psutil.Process(text.trainer.pid)
                child.suspend()
                timers.append(threading.Timer(0.02, child.resume))
                timers[-1].start()
        for timer in timers:
            timer.join()
        return "".join(parts), [block.loss_before for block in text.blocks]


def test_overlap_gives_the_same_text_whichever_side_is_slow() -> None:
    first, losses = written_with_overlap(disturbed=False)
    assert (first, losses) == written_with_overlap(disturbed=True)
    assert [loss is None for loss in losses] == [False] * 5 + [True] * 2
    with TempLora(n_ctx=256, block_len=32, own_learning_rate=1e-3, n_threads=1, rank=8) as text:
        one_by_one = "".join(
            piece.text for piece in text.generate(PROMPT, n_predict=200, sampling=SAMPLING)
        )
    assert first != one_by_one, "the adapter is served one block later: an empty test"


def test_a_long_prompt_is_absorbed_first() -> None:
    with TempLora(n_ctx=128, block_len=32, learning_rate=7e-4) as text:
        events = list(text.stream(long_text(300), n_predict=8, sampling=SAMPLING))
        kinds = [type(event) for event in events]
        n_absorbed = kinds.count(Absorbed)
        assert kinds == [Absorbed] * n_absorbed + [Piece] * 8 + [BlockReport]
        absorbed = [event for event in events if isinstance(event, Absorbed)]
        assert absorbed[0].done == 0
        assert absorbed[-1].done == absorbed[-1].total == text.n_tokens - 8
        losses = [block.loss_before for block in text.blocks if block.loss_before is not None]
        assert losses[-1] < losses[0], "a repetitive prompt was not learned"


def test_absorbing_a_text_lowers_its_perplexity() -> None:
    story = long_text(400)
    with TempLora(n_ctx=128, block_len=32, templora=False) as text:
        base = text.score(story)
    with TempLora(n_ctx=128, block_len=32, learning_rate=7e-4) as text:
        streamed = text.score(story)
        again = text.score(story)
    assert base.tokens == streamed.tokens
    assert streamed.ppl < base.ppl
    assert again.ppl < streamed.ppl


def test_from_a_short_prompt_the_default_writes_what_the_base_writes() -> None:
    def written(*, templora: bool) -> str:
        with TempLora(n_ctx=128, block_len=32, n_threads=1, templora=templora) as text:
            return "".join(p.text for p in text.generate(PROMPT, n_predict=200, sampling=SAMPLING))

    assert written(templora=True) == written(templora=False) != ""


def test_training_starts_with_the_first_text_that_is_learned() -> None:
    children = len(psutil.Process().children())
    with TempLora(n_ctx=256, block_len=64) as text:
        list(text.generate(PROMPT, n_predict=150, sampling=SAMPLING))
        assert text.trainer is None
        assert len(psutil.Process().children()) == children
        assert [(block.train_s, block.loss_before, block.scale) for block in text.blocks] == [
            (0, None, None)
        ] * 3
        assert text.peak_rss_bytes >= max(block.rss_bytes for block in text.blocks) > 2**20
        alone = text.peak_rss_bytes
        absorbed = [e for e in text.stream(long_text(300), n_predict=0) if isinstance(e, Absorbed)]
        trainer = text.trainer
        assert trainer is not None
        assert text.peak_rss_bytes > alone
        losses = [event.report.loss_before for event in absorbed if event.report is not None]
        assert len(losses) > 3
        assert None not in losses
        list(text.generate(n_predict=70, sampling=SAMPLING))
        assert text.trainer is trainer
        assert text.blocks[-1].loss_before is None
    assert len(psutil.Process().children()) == children


def test_given_and_own_text_have_rates_of_their_own(tmp_path: Path) -> None:
    """An adapter that learns at a rate of 0 does not move, whoever wrote the text."""
    adapters = {}
    for own in (0.0, 1e-3):
        with TempLora(n_ctx=128, block_len=32, rank=4, own_learning_rate=own, n_threads=1) as text:
            text.absorb(long_text(100))
            text.save_adapter(tmp_path / "given.gguf")
            list(text.generate(n_predict=64, sampling=SAMPLING))
            text.save_adapter(tmp_path / "both.gguf")
            given, both = ((tmp_path / name).read_bytes() for name in ("given.gguf", "both.gguf"))
            adapters[own] = given
            assert (given == both) == (own == 0)
            written = [block for block in text.blocks if not block.given]
            assert [block.looped for block in written] == [False] * 2
            for block in written:
                assert (block.loss_before is None) == (own == 0)
                # what the model wrote is no evidence of what helps
                assert block.scale == (last_scale(text) if own else None)
    assert adapters[0.0] == adapters[1e-3]


def last_scale(text: TempLora) -> float | None:
    """The scale after the last block that was given."""
    return [block.scale for block in text.blocks if block.given][-1]


def test_own_blocks_that_loop_are_reported_and_not_learned(tmp_path: Path) -> None:
    """The adapter of a text that falls into a loop is that of the text before the loop."""
    greedy = SamplingOptions(temperature=0, repeat_penalty=1, ignore_eos=True)
    for n_predict, kept in ((224, "all.gguf"), (32, "first.gguf")):
        with TempLora(n_ctx=128, block_len=32, rank=4, own_learning_rate=1e-4, n_threads=1) as text:
            list(text.generate("It was a dark night", n_predict=n_predict, sampling=greedy))
            text.save_adapter(tmp_path / kept)
            blocks = text.blocks
        assert [block.looped for block in blocks] == [False, *[True] * (n_predict // 32 - 1)]
        for block in blocks:
            assert (block.loss_before is None) == (block.train_s == 0) == block.looped
    assert (tmp_path / "all.gguf").read_bytes() == (tmp_path / "first.gguf").read_bytes()


def test_an_adapter_of_no_effect_is_said_to_be_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TempLora(n_ctx=128, block_len=32) as text:
        list(text.generate(PROMPT, n_predict=40, sampling=SAMPLING))
        text.save_adapter(tmp_path / "nothing.gguf")
        assert "nothing was learned" in caplog.text
        caplog.clear()
        text.absorb(PROMPT)
        text.save_adapter(tmp_path / "prompt.gguf")
        assert not caplog.text


def test_a_session_that_is_closed_starts_no_training(tmp_path: Path) -> None:
    children = len(psutil.Process().children())
    with TempLora(n_ctx=128, block_len=32) as text:
        list(text.generate(PROMPT, n_predict=8, sampling=SAMPLING))
    with pytest.raises(EngineError, match="closed"):
        text.save_adapter(tmp_path / "late.gguf")
    assert not list(tmp_path.iterdir())
    assert len(psutil.Process().children()) == children


def test_the_text_goes_on_over_calls() -> None:
    with TempLora(n_ctx=256, block_len=64, own_learning_rate=1e-4) as text:
        first = len(list(text.generate(PROMPT, n_predict=70, sampling=SAMPLING)))
        n_prompt = text.n_tokens - first
        list(text.generate(n_predict=70, sampling=SAMPLING))
        list(text.generate(" and then", n_predict=10, sampling=SAMPLING))
        assert text.n_tokens > n_prompt + 150
        assert sum(block.tokens for block in text.blocks) == 150


def test_saved_adapter(tmp_path: Path) -> None:
    with TempLora(n_ctx=256, block_len=64, rank=4, preset="paper") as text:
        list(text.generate(PROMPT, n_predict=80, sampling=SAMPLING))
        text.save_adapter(tmp_path / "kept.gguf")
        assert text.blocks[-1].loss_after is not None, "the last block is not in it"
        with pytest.raises(OutputError, match="nowhere"):
            text.save_adapter(tmp_path / "nowhere" / "kept.gguf")
    assert not list(default_root().glob("templora-*"))
    reader = gguf.GGUFReader(tmp_path / "kept.gguf")
    assert len(reader.tensors) == 5 * 7 * 2
    with LlamaEngine(BUNDLED_MODEL, EXACT) as engine:
        engine.swap(tmp_path / "kept.gguf")
    with TempLora(templora=False) as text, pytest.raises(OptionError):
        text.save_adapter(tmp_path / "none.gguf")


def test_pieces_are_whole_characters() -> None:
    """Random weights write random bytes: invalid UTF-8 is replaced, and nothing is cut."""
    prompt = "日本語の文章と絵文字🙂🙂" * 4
    with TempLora(n_ctx=256, block_len=64, templora=False) as text:
        sampling = SamplingOptions(
            temperature=50, top_k=0, top_p=1, min_p=0, seed=1, ignore_eos=True
        )
        pieces = list(text.generate(prompt, n_predict=200, sampling=sampling))
        tokens = [piece.token for piece in pieces if piece.token is not None]
        whole = text.engine.model.vocab.detokenize(tokens)
    assert "".join(piece.text for piece in pieces) == whole
    assert "\N{REPLACEMENT CHARACTER}" in whole, "no broken character occurred: an empty test"


def test_a_closed_session_says_so() -> None:
    text = TempLora(n_ctx=128, templora=False)
    pieces = text.generate(PROMPT, n_predict=20, sampling=SAMPLING)
    next(pieces)
    text.close()
    text.close()
    calls = (
        lambda: next(pieces),
        lambda: next(text.generate("more")),
        lambda: text.absorb("more"),
        lambda: text.score("more"),
        lambda: text.tokenize("more"),
    )
    for call in calls:
        with pytest.raises(EngineError, match="this model was closed; open it again"):
            call()


def test_bad_requests() -> None:
    with TempLora(n_ctx=128, templora=False) as text:
        with pytest.raises(PromptError, match="empty"):
            list(text.generate(""))
        assert text.absorb("") == []
        with pytest.raises(OptionError, match="n_predict is -1"):
            list(text.generate(PROMPT, n_predict=-1))
    with pytest.raises(OptionError, match="smaller than the context"):
        TempLora(n_ctx=128, block_len=128)
    for rate in (-1e-4, float("inf"), float("nan")):
        with pytest.raises(OptionError, match="learning rate"):
            TempLora(n_ctx=128, learning_rate=rate)


def test_unsupported_architecture_names_the_supported_ones(tmp_path: Path) -> None:
    path = tmp_path / "rwkv.gguf"
    writer = gguf.GGUFWriter(path, "rwkv6")
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    write_out(writer)
    with pytest.raises(UnsupportedModelError, match=r"'rwkv6'.*supported: .*llama.*--no-templora"):
        TempLora(path)


def test_public_names() -> None:
    for name in templora_edge.__all__:
        assert getattr(templora_edge, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = templora_edge.nothing
