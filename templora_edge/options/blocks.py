"""How a text is cut into blocks."""

from dataclasses import Field, dataclass
from typing import Any

from templora_edge.options.field import Section, option, require
from templora_edge.options.kinds import KvPolicy, TextKind


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
        help="Tokens between two updates (Δ); default: a quarter of the context, at most a quarter "
        "of the trained context.",
    )
    prefix_len: int = option(
        "--prefix",
        metavar="N",
        min=1,
        label="prefix",
        unit="tokens",
        help="Tokens kept when the context is full, including BOS (L_X); default: context - block, "
        "for translations a quarter of the context.",
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

    def resolve(
        self, n_ctx: int, *, n_trained: int, train_prefix_share: float, text: TextKind
    ) -> "BlockOptions":
        """Fill in the open lengths, for `Options.resolve`.

        Args:
            n_ctx: context, in tokens (W).
            n_trained: trained context, in tokens. The default block is at most a quarter of it:
                an update must fit the trained context even where the engine goes past it.
            train_prefix_share: default L_T as a share of Δ.
            text: the kind of text that is learned.
        """
        block_len, prefix_len = self.block_len, self.prefix_len
        if block_len is None:
            block_len = max(1, min(n_ctx, n_trained) // 4)
        room = n_ctx - block_len
        if text is TextKind.TRANSLATION:
            # leave room for the sources, about as long as the translations, and for earlier pairs
            room, train_prefix_share = n_ctx // 4, 2.0
        if prefix_len is None:
            prefix_len = max(1, room)
        train_prefix_len, n_keep = self.train_prefix_len, self.n_keep
        if train_prefix_len is None:
            train_prefix_len = round(train_prefix_share * block_len)
        if n_keep is None:
            n_keep = max(0, min(4, prefix_len - 1))
        return BlockOptions(n_ctx, block_len, prefix_len, train_prefix_len, self.kv_policy, n_keep)
