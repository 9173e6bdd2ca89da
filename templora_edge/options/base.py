"""What defaults depend on: a model, and an adapter to start from."""

from typing import Final, Protocol

from templora_edge.options.rope import RopeOptions

DEFAULT_MAX_CTX: Final = 4096
"""Default context, in tokens, of models trained on a longer one: a short window is the point."""


class Base(Protocol):
    """The model that defaults depend on; implemented by `models.base_gguf.BaseGguf`."""

    @property
    def n_ctx_train(self) -> int:
        """Trained context, in tokens."""
        ...

    @property
    def n_layers(self) -> int:
        """Number of decoder layers."""
        ...

    @property
    def repacking_pays(self) -> bool:
        """Whether llama.cpp computes faster with repacked weights here, and memory allows it."""
        ...

    def n_trained(self, rope: RopeOptions) -> int:
        """Number of positions the model was trained on, after the scaling in ``rope``."""
        ...


class StartingAdapter(Protocol):
    """The adapter that training starts from; implemented by `models.kept_adapter.KeptAdapter`."""

    @property
    def rank(self) -> int:
        """Largest rank of any layer."""
        ...

    @property
    def alpha(self) -> float:
        """The adapter's output is scaled by alpha / rank."""
        ...

    @property
    def modules(self) -> tuple[str, ...]:
        """Full transformers names of the layers that carry the adapter."""
        ...
