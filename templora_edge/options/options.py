"""All options of a session."""

from dataclasses import Field, asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any

from templora_edge.host.cores import default_threads
from templora_edge.options.base import DEFAULT_MAX_CTX, Base, StartingAdapter
from templora_edge.options.blocks import BlockOptions
from templora_edge.options.engine import Capture, EngineOptions
from templora_edge.options.field import Section, option, require
from templora_edge.options.kinds import KvPolicy, Preset, TextKind
from templora_edge.options.lora import LoraOptions
from templora_edge.options.presets import rule_of
from templora_edge.options.training import TrainingOptions


@dataclass(frozen=True, slots=True)
class Options(Section):
    """Everything that describes a session, except the model.

    `changed` replaces options of any section by name, `dataclasses.replace` whole sections.
    """

    engine: EngineOptions = field(default_factory=EngineOptions)
    blocks: BlockOptions = field(default_factory=BlockOptions)
    templora: bool = option(
        "--no-templora",
        default=True,
        help="Train no temporary adapter; works with any model that llama.cpp loads.",
    )
    preset: Preset = option(
        "--preset",
        default=Preset.DEFAULT,
        help="Update rule; flags marked (preset) change parts of it.",
    )
    scores: bool = True
    """Whether text may be scored: training takes over what llama.cpp computed of that too."""
    lora: LoraOptions = field(default_factory=LoraOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        ours, theirs = self.engine.n_ctx, self.blocks.n_ctx
        require(
            not (ours and theirs) or ours == theirs,
            f"n_ctx is {ours} for the engine, {theirs} for the blocks; expected the same",
        )

    def changed(self, **values: Any) -> "Options":
        """Replace ``values``, as `Section.changed` does; another context is resolved again."""
        blocks = replace(self.blocks, n_ctx=0) if "n_ctx" in values else self.blocks
        return Section.changed(replace(self, blocks=blocks), **values)

    @classmethod
    def _is_option(cls, one: Field[Any]) -> bool:
        return not is_dataclass(one.type)  # the option ``lora`` is the engine's

    def resolve(
        self,
        base: Base,
        *,
        text: TextKind = TextKind.TEXT,
        adapter: StartingAdapter | None = None,
    ) -> "Options":
        """Fill in all open options. Those already resolved do not change.

        Args:
            base: the model.
            text: the kind of text that is learned.
            adapter: the adapter in ``training.adapter``, whose rank, alpha and layers are kept.

        Raises:
            OptionError: the options contradict each other or the model.
            UnsupportedModelError: SelfExtend on a model of unknown RoPE scaling.
        """
        require(
            self.templora or self.training.adapter is None,
            "an adapter to start from, without Temp-LoRA; drop one of the two",
        )
        require(
            not (self.training.overlap and text is TextKind.TRANSLATION),
            "--overlap: translations learn each block before the next one",
        )
        n_ctx = self.engine.n_ctx or self.blocks.n_ctx or min(base.n_ctx_train, DEFAULT_MAX_CTX)
        block_len = self.blocks.block_len_of(n_ctx, base.n_ctx_train, text)
        rule = rule_of(self.preset, base, text, block_len)
        blocks = self.blocks.resolve(
            n_ctx, block_len=block_len, train_prefix_len=rule.train_prefix_len, text=text
        )
        lora = self.lora.resolve(rule.lora, adapter)
        n_cores = default_threads()
        n_threads = self.engine.n_threads or n_cores
        n_threads_train = self.training.n_threads_train or n_threads
        if self.training.overlap:  # each side has cores of its own
            n_threads = self.engine.n_threads or max(1, n_cores - n_cores // 2)
            n_threads_train = self.training.n_threads_train or max(1, n_cores - n_threads)
        engine = replace(self.engine, n_threads=n_threads).resolve(
            base,
            n_ctx,
            shift=blocks.kv_policy is KvPolicy.SHIFT,
            # translation cuts the cache back to a shared prompt at every segment
            swa_full=text is TextKind.TRANSLATION,
            capture=self._capture(base, lora, block_len, text),
        )
        training = replace(self.training, n_threads_train=n_threads_train)
        return replace(self, engine=engine, blocks=blocks, lora=lora, training=training)

    def _capture(
        self, base: Base, lora: LoraOptions, block_len: int, text: TextKind
    ) -> Capture | None:
        """What training takes over from llama.cpp, where a block follows on what that has read."""
        learns = self.templora and (self.scores or lora.own_learning_rate != 0)
        if not learns or lora.prefix_gradient or text is TextKind.TRANSLATION:
            return None
        overlap = self.training.overlap
        return Capture(
            lora.first_layer(base.n_layers),
            # with overlap, a block is learned while the next one is written
            block_len * (2 if overlap else 1),
            # and with an adapter that is newer than the one it was written with
            products=not overlap,
            predictions=not (overlap or lora.exact_loss),
        )

    @property
    def inputs(self) -> list[tuple[str, Path | None]]:
        """Files that a session reads besides its model, with their flags."""
        lora = [("--lora", fixed.path) for fixed in self.engine.lora]
        return [("--adapter-in", self.training.adapter), *lora]

    @property
    def update_len(self) -> int:
        """Most tokens whose activations an update keeps for backward; of resolved options."""
        prefix, block = self.blocks.train_prefix_len, self.blocks.block_len
        return prefix + block if self.lora.prefix_gradient else block

    def settings(self) -> dict[str, Any]:
        """The settings that affect results, by name, ready for JSON; of resolved options."""
        settings = asdict(self.engine) | asdict(self.blocks)
        settings["lora"] = [[str(one.path), one.scale] for one in self.engine.lora]
        return settings | {"templora": self.templora} | (asdict(self.lora) if self.templora else {})
