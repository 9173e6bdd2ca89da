"""The adapter and its update rule."""

from dataclasses import dataclass, fields, replace
from typing import Any

from templora_edge.options.base import StartingAdapter
from templora_edge.options.field import Section, option
from templora_edge.options.kinds import Targets


@dataclass(frozen=True, slots=True)
class LoraOptions(Section):
    """The adapter and its update rule; what is open is the preset's."""

    rank: int = option("--rank", paper=64, metavar="N", min=1, help="Rank of the adapter (preset).")
    alpha: float = option(
        "--alpha",
        paper=64.0,
        metavar="X",
        above=0,
        help="The adapter's output is scaled by alpha / rank; alpha follows --rank (preset).",
    )
    dropout: float = option(paper=0.05, min=0, below=1)
    learning_rate: float = option(
        "--learning-rate",
        paper=5e-5,
        metavar="X",
        above=0,
        label="learning rate",
        help="Learning rate; at too high a rate a text repeats itself (preset).",
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
    # Nothing else holds a model that learns what it writes itself (docs/log.md).
    decay: float = option(
        "--decay",
        paper=0.0,
        metavar="X",
        min=0,
        below=1,
        help="Share of the adapter's output that fades after each block (preset).",
    )
    targets: Targets = option(
        "--targets", paper=Targets.ALL, help="Linear layers that carry the adapter (preset)."
    )
    layers: int | None = option(
        "--layers",
        metavar="N",
        min=1,
        help="The last N decoder layers carry the adapter; default: all.",
    )
    modules: tuple[str, ...] | None = None
    """transformers' full names of the linear layers that carry the adapter, where an adapter that
    training goes on from has some that ``targets`` and ``layers`` do not describe."""
    prefix_gradient: bool = option(
        "--prefix-gradient/--no-prefix-gradient",
        paper=True,
        help="Train through the train prefix, or only read it: faster (preset).",
    )
    seed: int = 0
    """Seed of the adapter's initial weights and dropout."""

    def changed(self, **values: Any) -> "LoraOptions":
        """As `Section.changed`; alpha follows a new rank unless it is given too."""
        if "rank" in values and "alpha" not in values and None not in (self.rank, self.alpha):
            values["alpha"] = self.alpha / self.rank * values["rank"]
        return Section.changed(self, **values)

    def resolve(self, rule: "LoraOptions", adapter: StartingAdapter | None) -> "LoraOptions":
        """See `Options.resolve`; what is open is that of ``rule`` and of ``adapter``."""
        if adapter is not None:
            own = self.targets is None and self.layers is None
            modules = adapter.modules if own else None
            rule = replace(rule, rank=adapter.rank, alpha=adapter.alpha, modules=modules)
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return rule.changed(**{name: value for name, value in given.items() if value is not None})
