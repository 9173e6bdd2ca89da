"""How a text is cut into blocks."""

from dataclasses import Field, dataclass
from types import MappingProxyType
from typing import Any, Final

from templora_edge.options.field import Section, option, require
from templora_edge.options.kinds import KvPolicy, TextKind

BLOCK_LEN: Final = MappingProxyType({TextKind.TEXT: 128, TextKind.TRANSLATION: 256})
"""Default Δ by kind of text, in tokens, of contexts that hold four blocks."""


@dataclass(frozen=True, slots=True)
class BlockOptions(Section):
    """How a text is cut into blocks and what each block sees, in tokens."""

    n_ctx: int = 0
    """Context (W); 0 until it is resolved, then `EngineOptions.n_ctx`."""
    block_len: int = option(
        "--block",
        metavar="N",
        min=1,
        label="block",
        unit="tokens",
        help=f"Tokens between two updates (Δ); default: {BLOCK_LEN[TextKind.TEXT]}, for "
        f"translations {BLOCK_LEN[TextKind.TRANSLATION]}, at most a quarter of the context and of "
        "the trained context.",
    )
    prefix_len: int = option(
        "--prefix",
        metavar="N",
        min=1,
        label="prefix",
        unit="tokens",
        help="Tokens kept when the context is full, including BOS (L_X); default: half the "
        "context, for translations a quarter.",
    )
    train_prefix_len: int = option(
        "--train-prefix",
        metavar="N",
        min=0,
        label="train prefix",
        unit="tokens",
        help="Tokens before a block that its update sees without loss (L_T) (preset).",
    )
    kv_policy: KvPolicy = option(
        "--kv-policy",
        default=KvPolicy.REUSE,
        help="KV cache policy: what to do with the cache at a swap and when it is full.",
    )
    n_keep: int = option(
        "--keep",
        metavar="N",
        min=0,
        unit="tokens",
        help="Tokens that --kv-policy shift never drops, including BOS: attention sinks (arXiv "
        "2309.17453); default: 4.",
    )

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if not self.n_ctx or self.block_len is None:
            return
        require(
            self.block_len < self.n_ctx,
            f"block is {self.block_len} tokens, context is {self.n_ctx}: a block must be smaller "
            "than the context; lower --block or raise -c",
        )
        require(
            self.prefix_len is None or self.prefix_len <= self.n_ctx - self.block_len,
            f"prefix is {self.prefix_len} tokens; expected 1 to context - block = "
            f"{self.n_ctx - self.block_len}",
        )
        require(
            self.prefix_len is None or self.n_keep is None or self.n_keep < self.prefix_len,
            f"n_keep is {self.n_keep} tokens; expected 0 to below the prefix, {self.prefix_len}",
        )

    @classmethod
    def _is_option(cls, one: Field[Any]) -> bool:
        return one.name != "n_ctx"  # the engine's

    def block_len_of(self, n_ctx: int, n_trained: int, text: TextKind) -> int:
        """Δ for a context of ``n_ctx`` tokens (W) and a kind of text.

        The default is at most a quarter of the trained context ``n_trained``: an update must fit
        that even where the engine goes past it.
        """
        if self.block_len is not None:
            return self.block_len
        return max(1, min(BLOCK_LEN[text], n_ctx // 4, n_trained // 4))

    def resolve(
        self, n_ctx: int, *, block_len: int, train_prefix_len: int, text: TextKind
    ) -> "BlockOptions":
        """Fill in the open lengths, for `Options.resolve`.

        Args:
            n_ctx: context, in tokens (W).
            block_len: tokens between two updates (Δ), see `block_len_of`.
            train_prefix_len: default L_T.
            text: the kind of text that is learned.
        """
        prefix_len, n_keep = self.prefix_len, self.n_keep
        if prefix_len is None:
            # translations leave room for the sources, about as long, and for earlier pairs
            translates = text is TextKind.TRANSLATION
            prefix_len = n_ctx // 4 if translates else min(n_ctx // 2, n_ctx - block_len)
            prefix_len = max(1, prefix_len)
        if self.train_prefix_len is not None:
            train_prefix_len = self.train_prefix_len
        if n_keep is None:
            n_keep = max(0, min(4, prefix_len - 1))
        return BlockOptions(n_ctx, block_len, prefix_len, train_prefix_len, self.kv_policy, n_keep)
