"""What defaults depend on: a model, and an adapter to go on from."""

from typing import Final, Protocol

from templora_edge.options.rope import RopeOptions

DEFAULT_MAX_CTX: Final = 4096
"""Context chosen for models trained on more, in tokens: a short window is the point."""


class Base(Protocol):
    """What defaults depend on: `models.gguf_file.GgufFile`."""

    @property
    def n_params(self) -> int:
        """Weights."""
        ...

    @property
    def n_ctx_train(self) -> int:
        """Trained context in tokens."""
        ...

    def n_trained(self, rope: RopeOptions) -> int:
        """Positions that the model knows, scaled as ``rope`` says."""
        ...


class StartingAdapter(Protocol):
    """What defaults follow of an adapter to go on from: `models.kept_adapter.KeptAdapter`."""

    @property
    def rank(self) -> int:
        """The largest rank of a layer."""
        ...

    @property
    def alpha(self) -> float:
        """Its output is scaled by alpha / rank."""
        ...

    @property
    def modules(self) -> tuple[str, ...]:
        """Transformers' full names of the layers that carry it."""
        ...
