"""SelfExtend: texts longer than the trained context, read with shared positions."""

from dataclasses import MISSING, dataclass

from templora_edge.options.field import Section, option, require


@dataclass(frozen=True, slots=True)
class SelfExtendOptions(Section):
    """Group size and window of SelfExtend (Jin et al., arXiv 2401.01325)."""

    group: int = option(
        "-gan",
        "--grp-attn-n",
        default=MISSING,
        metavar="G",
        min=1,
        help="SelfExtend: number of distant tokens that share a position (G); 1: off.",
    )
    window: int = option(
        "-gaw",
        "--grp-attn-w",
        default=512,  # llama.cpp's
        metavar="N",
        min=1,
        help="SelfExtend: number of latest tokens that keep a position each (w).",
    )

    def __post_init__(self) -> None:
        require(self.group >= 2, f"-gan is {self.group}; expected 2 or more tokens per group")
        require(self.window >= 1, f"-gaw is {self.window}; expected at least 1 token")

    def n_positions(self, n_tokens: int) -> int:
        """Fewest positions that a text of ``n_tokens`` takes."""
        far = max(0, n_tokens - self.window)
        return n_tokens - far + -(-far // self.group)

    @classmethod
    def for_length(cls, n_tokens: int, n_trained: int) -> "SelfExtendOptions | None":
        """Choose w and G by the authors' rule: w + (N - w) / G within two thirds of L.

        w is L / 4, G as small as the rule allows.

        Args:
            n_tokens: length of the text (N).
            n_trained: number of positions the model was trained on (L).

        Returns:
            None if the text fits the trained context as it is.
        """
        if n_tokens <= n_trained:
            return None
        window = max(1, n_trained // 4)
        room = max(1, 2 * n_trained // 3 - window)
        return cls(max(2, -(-(n_tokens - window) // room)), window)
