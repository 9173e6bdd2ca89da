"""Options: declared once, resolved in one place, against slow references."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parity import TRAIN
from typer import Typer
from typer.testing import CliRunner

from templora_edge.cli.app import app
from templora_edge.cli.command import Command
from templora_edge.cli.options import SessionFlags, takes_session_flags
from templora_edge.errors import OptionError
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import (
    PAPER,
    BlockOptions,
    Capture,
    EngineOptions,
    FixedAdapter,
    KvPolicy,
    LoraOptions,
    Options,
    Preset,
    RopeOptions,
    RopeScaling,
    SamplingOptions,
    SelfExtendOptions,
    Targets,
    TextKind,
    TrainDtype,
)
from templora_edge.options import options as options_module
from templora_edge.options.field import Section, options_in
from templora_edge.training.trainer import LoraTrainer

MAY_BE_NONE = {
    "flash_attn", "self_extend", "capture", "layers", "modules", "train_memory_gib",
    "adapter",
    *(one.name for one in fields(RopeOptions)),
}  # fmt: skip
"""Options that may be None even when resolved."""


@dataclass(frozen=True)
class Model:
    """A `Base` without a file."""

    n_ctx_train: int = 2048
    n_layers: int = 8
    repacking_pays: bool = False

    def n_trained(self, rope: RopeOptions) -> int:
        return round(self.n_ctx_train / (rope.freq_scale or 1))


@dataclass(frozen=True)
class Kept:
    """An adapter to start from."""

    rank: int = 8
    alpha: float = 24.0
    modules: tuple[str, ...] = ("model.layers.0.mlp.up_proj",)


def values_in(section: Any) -> Iterator[tuple[str, Any]]:
    """Every option by name, including those of nested sections."""
    for one in fields(section):
        value = getattr(section, one.name)
        if isinstance(value, Section):
            yield from values_in(value)
        else:
            yield one.name, value


wanted = st.fixed_dictionaries(
    {},
    optional={
        "n_ctx": st.integers(8, 10_000),
        "kv_policy": st.sampled_from(KvPolicy),
        "preset": st.sampled_from(Preset),
        "rank": st.integers(1, 256),
        "targets": st.sampled_from(Targets),
        "n_threads": st.integers(1, 64),
        "templora": st.booleans(),
    },
)
models = st.builds(Model, st.sampled_from([7_000_000, 7_000_000_000]), st.integers(8, 200_000))


@given(wanted, models, st.sampled_from(TextKind), st.booleans())
def test_resolving_fills_in_everything_once(
    values: dict[str, Any], base: Model, text: TextKind, goes_on: bool
) -> None:
    options = Options().changed(**values)
    kept = None
    if goes_on and options.templora:
        options, kept = options.changed(adapter="kept.gguf"), Kept()
    resolved = options.resolve(base, text=text, adapter=kept)
    found = dict(values_in(resolved))
    assert [
        name for name, value in found.items() if value is None and name not in MAY_BE_NONE
    ] == []
    assert min(found["n_ctx"], found["n_threads"], found["n_threads_train"]) > 0
    assert values.items() <= found.items()
    assert resolved.resolve(base, text=text, adapter=kept) == resolved
    assert json.loads(json.dumps(resolved.settings()))["block_len"] == resolved.blocks.block_len


@given(st.integers(2, 200_000), st.integers(1, 200_000), st.sampled_from(Preset))
def test_the_default_lengths(n_ctx: int, n_trained: int, preset: Preset) -> None:
    """Checks the help texts."""
    options = Options().changed(n_ctx=n_ctx, preset=preset)
    blocks = options.resolve(Model(n_ctx_train=n_trained)).blocks
    assert blocks.block_len == max(1, min(128, n_ctx // 4, n_trained // 4))
    assert blocks.prefix_len == min(max(1, n_ctx // 2), n_ctx - blocks.block_len)
    assert blocks.train_prefix_len == {Preset.PAPER: 256}.get(preset, 512)
    assert blocks.n_keep == min(4, blocks.prefix_len - 1)


@given(st.integers(8, 200_000), st.integers(1, 200_000))
def test_the_default_lengths_of_translations(n_ctx: int, n_trained: int) -> None:
    options = Options().changed(n_ctx=n_ctx)
    base = Model(n_ctx_train=n_trained)
    resolved = options.resolve(base, text=TextKind.TRANSLATION)
    assert resolved.blocks.block_len == max(1, min(256, n_ctx // 4, n_trained // 4))
    assert resolved.blocks.prefix_len == n_ctx // 4
    assert resolved.blocks.train_prefix_len == 2 * resolved.blocks.block_len
    assert resolved.engine.swa_full


@given(st.data(), st.integers(2, 5000), st.sampled_from(TextKind), st.sampled_from(Preset))
def test_default_lengths_fit_whatever_the_block(
    data: st.DataObject, n_ctx: int, text: TextKind, preset: Preset
) -> None:
    options = Options().changed(n_ctx=n_ctx, preset=preset)
    options = options.changed(block_len=data.draw(st.none() | st.integers(1, n_ctx - 1)))
    longest = 256 if text is TextKind.TRANSLATION else 128
    block_len = options.blocks.block_len or max(1, min(longest, n_ctx // 4))
    if text is TextKind.TRANSLATION and n_ctx // 4 > n_ctx - block_len:
        with pytest.raises(OptionError, match="prefix is"):  # prompts would not fit
            options.resolve(Model(), text=text)
        return
    blocks = options.resolve(Model(), text=text).blocks
    assert 1 <= blocks.prefix_len <= n_ctx - blocks.block_len
    assert 0 <= blocks.n_keep < blocks.prefix_len


@pytest.mark.parametrize(
    ("trained", "n_ctx"), [(100, 100), (2048, 2048), (4096, 4096), (131_072, 4096)]
)
def test_the_default_context(trained: int, n_ctx: int) -> None:
    resolved = Options().resolve(Model(n_ctx_train=trained))
    assert resolved.engine.n_ctx == resolved.blocks.n_ctx == n_ctx


@pytest.mark.parametrize("preset", Preset)
def test_the_rates_of_a_text_need_no_table_by_size(preset: Preset) -> None:
    options = Options().changed(preset=preset)
    lora = options.resolve(Model()).lora
    rates = (5e-5, 5e-5) if preset is Preset.PAPER else ("auto", 0.0)
    assert (lora.learning_rate, lora.own_learning_rate) == rates
    assert lora.finds_rate is (preset is not Preset.PAPER)
    told = options.changed(learning_rate=0.5, own_learning_rate=0.25).resolve(Model())
    assert (told.lora.learning_rate, told.lora.own_learning_rate) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("preset", "rate", "decay"),
    [(Preset.DEFAULT, 0, 0.02), (Preset.PAPER, 5e-5, 0), (Preset.BEST, 1e-5, 0.02)],
)
def test_translations_are_learned_on_request(preset: Preset, rate: float, decay: float) -> None:
    options = Options().changed(preset=preset)
    lora = options.resolve(Model(), text=TextKind.TRANSLATION).lora
    assert (lora.learning_rate, lora.own_learning_rate, lora.decay) == (rate, rate, decay)
    told = options.changed(own_learning_rate=2e-5).resolve(Model(), text=TextKind.TRANSLATION)
    assert (told.lora.learning_rate, told.lora.own_learning_rate) == (rate, 2e-5)


@pytest.mark.parametrize(("n_layers", "tail"), [(30, 20), (18, 12), (16, 11), (1, 1), (0, None)])
def test_the_default_adapter_is_on_the_last_two_thirds_of_the_layers(
    n_layers: int, tail: int | None
) -> None:
    base = Model(n_layers=n_layers)
    resolved = Options().resolve(base)
    assert resolved.lora.layers == tail
    assert resolved.engine.capture is not None
    assert resolved.engine.capture.layer == n_layers - (tail or 0)
    every = Options().changed(layers=100).resolve(base)
    assert every.engine.capture is not None
    assert (every.lora.layers, every.engine.capture.layer) == (100, 0)
    for options in (
        Options().changed(preset="paper").resolve(base),
        Options().resolve(base, text=TextKind.TRANSLATION),
    ):
        assert (options.lora.layers, options.engine.capture) == (None, None)


def test_what_is_captured_is_what_training_takes_over() -> None:
    def capture(scores: bool = True, **changes: Any) -> Capture | None:
        options = replace(Options(), scores=scores).changed(n_ctx=512, block_len=64, **changes)
        return options.resolve(Model(n_layers=6)).engine.capture

    assert capture(exact_loss=True) == Capture(2, 64, products=True)
    assert capture(exact_loss=False) == Capture(2, 64, products=True, predictions=True)
    # with overlap the adapter is a newer one, and the block before is learned
    assert capture(overlap=True) == Capture(2, 128)
    assert capture(prefix_gradient=True) is None
    assert capture(templora=False) is None
    assert capture(scores=False, own_learning_rate=1e-4) == capture(own_learning_rate=1e-4)
    assert capture(own_learning_rate=0) is not None, "what is scored is learned"
    assert capture(scores=False, own_learning_rate=0) is None, "what is written is not learned"
    kept = Capture(1, 7)
    assert Options().changed(capture=kept).resolve(Model()).engine.capture == kept


@pytest.mark.parametrize(
    ("given_threads", "cores", "threads"),
    [((0, 0), 4, (2, 2)), ((0, 0), 3, (2, 1)), ((0, 0), 1, (1, 1)), ((3, 0), 4, (3, 1)),
     ((0, 3), 8, (4, 3))],
)  # fmt: skip
def test_overlap_shares_the_cores(
    given_threads: tuple[int, int],
    cores: int,
    threads: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(options_module, "default_threads", lambda: cores)
    n_threads, n_threads_train = given_threads
    options = Options().changed(overlap=True, n_threads=n_threads, n_threads_train=n_threads_train)
    resolved = options.resolve(Model())
    assert (resolved.engine.n_threads, resolved.training.n_threads_train) == threads
    with pytest.raises(OptionError, match="--overlap: translations"):
        options.resolve(Model(), text=TextKind.TRANSLATION)


def test_the_papers_rule_by_its_letters() -> None:
    resolved = Options().changed(preset="paper").resolve(Model())
    assert resolved.lora == PAPER
    assert (
        LoraOptions(64, 64.0, 0.05, 5e-5, 5e-5, 2, 2, 1.0, 0.0, Targets.ALL, None, None, True, True)
        == PAPER
    )


@given(st.integers(1, 512), st.floats(1, 512), st.integers(1, 512))
def test_alpha_follows_a_new_rank(rank: int, alpha: float, new_rank: int) -> None:
    options = Options().changed(rank=rank, alpha=alpha)
    changed = options.changed(rank=new_rank).lora
    assert changed.alpha / changed.rank == pytest.approx(alpha / rank)
    assert options.changed(rank=new_rank, alpha=3.0).lora.alpha == 3.0
    assert options.changed() == options
    of_preset = Options().changed(rank=new_rank).resolve(Model()).lora
    assert of_preset.alpha / of_preset.rank == 128 / 16


def test_an_adapter_to_go_on_from_brings_rank_alpha_and_layers() -> None:
    options = Options().changed(adapter="kept.gguf")
    lora = options.resolve(Model(), adapter=Kept()).lora
    assert (lora.rank, lora.alpha, lora.modules) == (8, 24.0, Kept().modules)
    lora = options.changed(rank=16).resolve(Model(), adapter=Kept()).lora
    assert (lora.rank, lora.alpha, lora.modules) == (16, 48.0, Kept().modules)
    lora = options.changed(targets=Targets.MLP).resolve(Model(), adapter=Kept()).lora
    assert (lora.rank, lora.targets, lora.modules) == (8, Targets.MLP, None)


def test_changed_finds_the_section_and_reads_words() -> None:
    options = Options().changed(
        n_ctx=512, type_k="f32", freq_scale=0.5, scaling="yarn", kv_policy="shift", preset="best",
        train_dtype="bf16", adapter="a.gguf", lora=[FixedAdapter(Path("b.gguf"), 0.5)],
    )  # fmt: skip
    assert options.engine.n_ctx == 512
    assert options.engine.rope == RopeOptions(RopeScaling.YARN, freq_scale=0.5)
    assert options.blocks.kv_policy is KvPolicy.SHIFT
    assert options.preset is Preset.BEST
    assert options.training.train_dtype is TrainDtype.BF16
    assert options.training.adapter == Path("a.gguf")
    assert options.engine.lora == (FixedAdapter(Path("b.gguf"), 0.5),)
    assert options.resolve(Model(), adapter=Kept()).engine.shift
    assert options.changed(adapter=None, rope=RopeOptions()).engine.rope == RopeOptions()


@pytest.mark.parametrize("name", ["n_ctxt", "engine", "blocks", "training", "group"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match=f"unknown option: {name}"):
        Options().changed(n_ctx=64, **{name: 1})


def test_names_are_of_one_option_but_for_the_context() -> None:
    names = [name for name, _ in values_in(Options())]
    assert sorted(name for name in {*names} if names.count(name) > 1) == ["n_ctx"]


def test_every_flag_is_in_the_help() -> None:
    for command in ("generate", "translate", "perplexity", "passkey", "bench"):
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout
        sections = [Options, SamplingOptions] if command == "generate" else [Options]
        for one in options_in(*sections):
            for flag in "/".join(one.metadata["flags"]).split("/"):
                assert f" {flag}" in shown, (command, flag)
            assert one.metadata["help"].endswith("."), one.name


FLAGS: list[tuple[list[str], dict[str, Any]]] = [
    ([], {}),
    (["-c", "512", "-t", "3", "--block", "64"], {"n_ctx": 512, "n_threads": 3, "block_len": 64}),
    (["--max-grad-norm", "0.5"], {"max_grad_norm": 0.5}),
    (["--no-templora", "--preset", "paper"], {"templora": False, "preset": Preset.PAPER}),
    (["--learning-rate", "auto"], {"learning_rate": "auto"}),
    (["--learning-rate", "1e-4"], {"learning_rate": 1e-4}),
    (["--own-learning-rate", "0"], {"own_learning_rate": 0.0}),
    (["--rank", "4", "--no-prefix-gradient"], {"rank": 4, "prefix_gradient": False}),
    (["--train-memory", "1.5", "-ctk", "f32"], {"train_memory_gib": 1.5, "type_k": "f32"}),
    (["--self-extend", "auto"], {"self_extend": "auto"}),
    (["-gan", "4", "-gaw", "32"], {"self_extend": SelfExtendOptions(4, 32)}),
    (["-gan", "4"], {"self_extend": SelfExtendOptions(4, 512)}),
    (["--rope-scaling", "yarn", "--yarn-beta-fast", "9"], {"scaling": "yarn", "yarn_beta_fast": 9}),
    (
        ["--lora", "a.gguf:0.5", "--lora", "b.gguf"],
        {"lora": [FixedAdapter(Path("a.gguf"), 0.5), FixedAdapter(Path("b.gguf"))]},
    ),
]


@pytest.mark.parametrize(("arguments", "values"), FLAGS)
def test_flags_become_options(arguments: list[str], values: dict[str, Any]) -> None:
    found = []

    @takes_session_flags
    def command(flags: SessionFlags) -> None:
        found.append(flags.options)

    probe = Typer()
    probe.command(cls=Command)(command)
    result = CliRunner().invoke(probe, arguments)
    assert result.exit_code == 0, result.output
    assert found == [Options().changed(**values)]


def test_reports_name_all_that_decides_over_results() -> None:
    resolved = Options().resolve(Model())
    found = {name for name, _ in values_in(resolved)} - {one.name for one in fields(RopeOptions)}
    training = {one.name for one in fields(resolved.training)}
    assert resolved.settings().keys() == (found - training - {"preset", "scores"}) | {"rope"}
    without = resolved.changed(templora=False).settings()
    assert resolved.settings().keys() - without.keys() == {one.name for one in fields(LoraOptions)}


def test_a_step_is_scaled_down_to_the_gradient_norm(
    tiny_gguf: Callable[[str], Path], tokens: list[int]
) -> None:
    """A norm far below AdamW's eps leaves almost nothing of a step; a large one leaves it whole."""
    base, after = GgufFile(tiny_gguf("f32")), []
    for norm in (1e9, 1e8, 1e-13):
        options = TRAIN.changed(learning_rate=2e-3, dropout=0, max_grad_norm=norm)
        update = LoraTrainer(base, options).train(tokens[:32], tokens[32:96])
        assert update.loss_before is not None
        assert update.loss_after is not None
        after.append(update.loss_before - update.loss_after)
    assert after[0] == after[1] > 1e-3
    assert abs(after[2]) < 1e-2 * after[0]


def test_self_extend_chooses_for_the_context() -> None:
    options = Options().changed(n_ctx=8192, self_extend="auto")
    chosen = options.resolve(Model()).engine.self_extend
    assert chosen == SelfExtendOptions.for_length(8192, 2048)
    stretched = options.changed(freq_scale=0.5).resolve(Model()).engine.self_extend
    assert stretched == SelfExtendOptions.for_length(8192, 4096)
    with pytest.raises(OptionError, match="-c 512 is within the 2048 tokens"):
        options.changed(n_ctx=512).resolve(Model())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Options().changed(n_ctx=1).resolve(Model()), "block is 1 tokens, context is 1"),
        (lambda: BlockOptions(8, block_len=0), "block is 0"),
        (lambda: BlockOptions(8, 2, prefix_len=7), "prefix is 7"),
        (lambda: BlockOptions(8, prefix_len=0), "prefix is 0"),
        (lambda: BlockOptions(8, train_prefix_len=-1), "train prefix is -1"),
        (lambda: BlockOptions(8, 2, 4, 0, KvPolicy.SHIFT, 4), "n_keep is 4"),
        (lambda: LoraOptions(rank=0), "rank is 0; expected at least 1"),
        (lambda: LoraOptions(alpha=0), "alpha is 0; expected above 0, and finite"),
        (lambda: LoraOptions(dropout=1), "dropout is 1; expected 0 to below 1"),
        (lambda: LoraOptions(learning_rate=math.nan), "learning rate is nan"),
        (lambda: LoraOptions(decay=1), "decay is 1"),
        (lambda: LoraOptions(max_grad_norm=0), "max_grad_norm is 0; expected above 0, and finite"),
        (lambda: LoraOptions(epochs=0), "epochs is 0"),
        (lambda: LoraOptions(warmup_blocks=-1), "warm-up is -1 blocks; expected 0 or more"),
        (lambda: SamplingOptions(top_p=1.5), "top_p is 1.5; expected 0 to 1"),
        (lambda: SamplingOptions(min_p=math.nan), "min_p is nan"),
        (lambda: SamplingOptions(repeat_last_n=-2), "repeat_last_n is -2; expected -1 to 1048576"),
        (lambda: SamplingOptions(presence_penalty=math.inf), "presence_penalty is inf; expected a"),
        (lambda: SamplingOptions(frequency_penalty=math.nan), "frequency_penalty is nan"),
        (lambda: SamplingOptions(dry_multiplier=-1), "dry_multiplier is -1; expected 0 or more"),
        (lambda: SamplingOptions(dry_base=0.5), "dry_base is 0.5; expected at least 1"),
        (lambda: SamplingOptions(dry_allowed_length=-1), "dry_allowed_length is -1"),
        (lambda: SamplingOptions(dry_penalty_last_n=2**20 + 1), "dry_penalty_last_n is 1048577"),
        (lambda: SamplingOptions(seed=2**32), "seed is 4294967296"),
        (lambda: SamplingOptions(temperature=math.inf), "temperature is inf; expected a finite"),
        (lambda: EngineOptions(n_ctx=-1), "n_ctx is -1"),
        (lambda: EngineOptions(n_batch=0), "n_batch is 0"),
        (lambda: EngineOptions(n_threads=-1), "n_threads is -1"),
        (lambda: Options().changed(type_v="q8_0", flash_attn=False), "need flash attention"),
        (lambda: Options().changed(kv_policy="keep"), "'keep'; expected one of reuse, recompute"),
        (lambda: Options().changed(self_extend="yes"), "self_extend is 'yes'"),
        (lambda: Options().changed(train_memory_gib=-1), "train memory is -1 GiB"),
        (lambda: replace(Options(), engine=EngineOptions(8), blocks=BlockOptions(9)), "n_ctx is 8"),
        (
            lambda: Options().changed(adapter="a.gguf", templora=False).resolve(Model()),
            "without Temp-LoRA; drop one",
        ),
    ],
)
def test_contradictions_are_rejected_when_built(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(OptionError) as caught:
        make()
    assert words in str(caught.value)


def test_options_and_commands_load_nothing_heavy() -> None:
    script = (
        "import sys, templora_edge.cli.app, templora_edge.options\n"
        "heavy = {'torch', 'llama_cpp', 'gguf', 'numpy', 'lxml', 'templora_edge.documents'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert result.stdout.strip() == b"[]"


def build(section: Any, **values: Any) -> object:
    """A section of values whose types are not checked before."""
    return section(**values)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: build(BlockOptions, kv_policy="bogus"),
            "kv_policy is 'bogus'; expected one of",
        ),
        (lambda: build(EngineOptions, type_k="q9"), "type_k is 'q9'; expected one of f32"),
        (
            lambda: build(Options, preset="nope"),
            "preset is 'nope'; expected one of",
        ),
        (lambda: build(EngineOptions, n_ctx="64"), "n_ctx is '64'; expected int"),
        (lambda: build(LoraOptions, rank=8.5), "rank is 8.5; expected int"),
        (lambda: LoraOptions(seed=2**70), "seed is"),
        (lambda: Options().changed(templora="no"), "templora is 'no'; expected bool"),
        (lambda: Options().changed(lora="a.gguf"), "lora is 'a.gguf'; expected FixedAdapter"),
        (lambda: Options().changed(lora=["a.gguf"]), "lora is 'a.gguf'; expected FixedAdapter"),
        (lambda: Options().changed(self_extend="on"), "self_extend is 'on'; expected"),
    ],
)
def test_values_of_another_type_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(OptionError) as caught:
        make()
    assert words in str(caught.value)


def test_every_way_in_converts_alike() -> None:
    policy: Any = "shift"
    wanted = replace(Options(), blocks=BlockOptions(kv_policy=policy))
    assert wanted == Options().changed(kv_policy="shift")
    assert wanted.blocks.kv_policy is KvPolicy.SHIFT
    assert wanted.resolve(Model()).engine.shift
    nothing = Options().changed(kv_policy=None, preset=None, train_dtype=None, rope=None, lora=None)
    assert nothing == Options()
    resolved = Options().resolve(Model())
    assert resolved.changed(rank=None).resolve(Model()) == resolved
    assert FixedAdapter(Path("a.gguf")) == FixedAdapter.parse("a.gguf")
