"""SelfExtend: a text longer than the trained context, by positions that tokens share."""

from dataclasses import MISSING, dataclass

from templora_edge.options.field import Section, option, require


@dataclass(frozen=True, slots=True)
class SelfExtendOptions(Section):
    """SelfExtend (Jin et al., arXiv 2401.01325)."""

    group: int = option(
        "-gan",
        "--grp-attn-n",
        default=MISSING,
        metavar="G",
        min=1,
        help="SelfExtend: far tokens that share a position (G); 1: off.",
    )
    window: int = option(
        "-gaw",
        "--grp-attn-w",
        default=512,  # llama.cpp's
        metavar="N",
        min=1,
        help="SelfExtend: last tokens that keep positions of their own (w).",
    )

    def __post_init__(self) -> None:
        require(self.group >= 2, f"-gan is {self.group}; expected 2 or more tokens a group")
        require(self.window >= 1, f"-gaw is {self.window}; expected at least 1 token")

    def n_positions(self, n_tokens: int) -> int:
        """Positions that a text takes at least."""
        far = max(0, n_tokens - self.window)
        return n_tokens - far + -(-far // self.group)

    @classmethod
    def for_length(cls, n_tokens: int, n_trained: int) -> "SelfExtendOptions | None":
        """The authors' rule: w + (N - w) / G within two thirds of the trained context.

        w is a third of them (L / 4 of L), G as small as the rule allows; None if the text fits the
        trained context as it is.

        Args:
            n_tokens: N, of the text.
            n_trained: L, positions the model was trained on.
        """
        if n_tokens <= n_trained:
            return None
        window = max(1, n_trained // 4)
        room = max(1, 2 * n_trained // 3 - window)
        return cls(max(2, -(-(n_tokens - window) // room)), window)
