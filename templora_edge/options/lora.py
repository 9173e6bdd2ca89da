"""The adapter and its update rule."""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from templora_edge.options.base import StartingAdapter
from templora_edge.options.field import Section, option
from templora_edge.options.kinds import Targets
from templora_edge.options.sampling import MAX_SEED


@dataclass(frozen=True, slots=True)
class LoraOptions(Section):
    """The adapter and its update rule; the preset fills in open options."""

    rank: int = option("--rank", paper=64, metavar="N", min=1, help="Rank of the adapter (preset).")
    alpha: float = option(
        "--alpha",
        paper=64.0,
        metavar="X",
        above=0,
        help="Alpha: the adapter's output is scaled by alpha / rank; default: in proportion to "
        "--rank (preset).",
    )
    dropout: float = option(paper=0.05, min=0, below=1)
    learning_rate: float | Literal["auto"] = option(
        "--learning-rate",
        paper=5e-5,
        metavar="X",
        min=0,
        label="learning rate",
        also=("auto",),
        help="Learning rate of text that is given: a number, 0: it is not learned, or auto: each "
        "new block shows how much of what was learned helps (preset).",
    )
    own_learning_rate: float = option(
        "--own-learning-rate",
        paper=5e-5,
        metavar="X",
        min=0,
        label="own learning rate",
        help="Learning rate of text that the model wrote itself; 0: it is not learned, because a "
        "model that learns its own text repeats itself (preset).",
    )
    warmup_blocks: int = option(paper=2, min=0, label="warm-up", unit="blocks")
    """Blocks over which the learning rate rises to its full value."""
    epochs: int = option(
        "--epochs", paper=2, metavar="N", min=1, help="Training steps for each block (preset)."
    )
    max_grad_norm: float = option(
        "--max-grad-norm",
        paper=1.0,
        metavar="X",
        above=0,
        help="Gradient norm above which a step is scaled down (preset).",
    )
    # Nothing else keeps a model stable that learns what it generates (docs/log.md).
    decay: float = option(
        "--decay",
        paper=0.0,
        metavar="X",
        min=0,
        below=1,
        help="Share by which the adapter's output fades after each block (preset).",
    )
    targets: Targets = option(
        "--targets", paper=Targets.ALL, help="Linear layers that carry the adapter (preset)."
    )
    layers: int | None = option(
        "--layers",
        metavar="N",
        min=1,
        help="Put the adapter on the last N decoder layers (preset).",
    )
    modules: tuple[str, ...] | None = None
    """Full transformers names of the linear layers that carry the adapter, for a starting adapter
    whose layers ``targets`` and ``layers`` do not describe."""
    prefix_gradient: bool = option(
        "--prefix-gradient/--no-prefix-gradient",
        paper=True,
        help="Backpropagate through the train prefix, or only read it, which is faster (preset).",
    )
    exact_loss: bool = option(
        "--exact-loss/--no-exact-loss",
        paper=True,
        help="Compute the loss over the whole vocabulary again, or take over what llama.cpp "
        "predicted, which is faster (preset).",
    )
    seed: int = option(default=0, min=0, max=MAX_SEED)
    """Seed of the adapter's initial weights and dropout."""

    @property
    def finds_rate(self) -> bool:
        """Whether the learning rate of given text is found from evidence."""
        return self.learning_rate == "auto"

    def first_layer(self, n_layers: int) -> int:
        """First of ``n_layers`` decoder layers that carries the adapter."""
        if self.modules is not None:
            return min(int(name.split(".")[2]) for name in self.modules)
        return 0 if self.layers is None else max(0, n_layers - self.layers)

    def changed(self, **values: Any) -> "LoraOptions":
        """Like `Section.changed`; a new rank scales alpha in proportion unless alpha is given."""
        known = None not in (self.rank, self.alpha, values.get("rank"))
        if known and "alpha" not in values:
            values["alpha"] = self.alpha / self.rank * values["rank"]
        return Section.changed(self, **values)

    def resolve(self, rule: "LoraOptions", adapter: StartingAdapter | None) -> "LoraOptions":
        """Fill in open options from ``rule`` and ``adapter``, for `Options.resolve`."""
        if adapter is not None:
            own = self.targets is None and self.layers is None
            modules = adapter.modules if own else None
            rule = replace(rule, rank=adapter.rank, alpha=adapter.alpha, modules=modules)
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return rule.changed(**{name: value for name, value in given.items() if value is not None})
