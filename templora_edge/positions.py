"""Positions of tokens: RoPE scaling, SelfExtend, and where cached tokens stand."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from templora_edge.errors import OptionError

TILE: Final = 64
"""Tokens that llama.cpp's attention on CPUs takes at a time; what is left over is slow."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise OptionError(message)


class RopeScaling(StrEnum):
    """How rotary positions are scaled, by llama.cpp's names."""

    NONE = "none"
    LINEAR = "linear"
    YARN = "yarn"


@dataclass(frozen=True, slots=True)
class RopeOptions:
    """What differs from the model's own rotary embedding; None is as the model says.

    Names are llama.cpp's. They hold for the layers with full attention; sliding-window layers keep
    their own base and scale, as in llama.cpp.
    """

    scaling: RopeScaling | None = None
    freq_base: float | None = None
    freq_scale: float | None = None
    """Factor of positions: 1 / 4 fits four times the trained context."""
    yarn_orig_ctx: int | None = None
    """Context the model was trained on before any scaling, in tokens."""
    yarn_ext_factor: float | None = None
    """Share of extrapolation; 0 is interpolation alone, as linear scaling."""
    yarn_attn_factor: float | None = None
    """Scale of cosines and sines; llama.cpp reads it only if yarn_ext_factor is 0."""
    yarn_beta_slow: float | None = None
    yarn_beta_fast: float | None = None

    def __post_init__(self) -> None:
        for name in ("freq_base", "freq_scale", "yarn_orig_ctx"):
            value = getattr(self, name)
            _require(value is None or value > 0, f"{name} is {value}; expected above 0")
        for name in ("ext_factor", "attn_factor", "beta_slow", "beta_fast"):
            value = getattr(self, f"yarn_{name}")
            _require(value is None or value >= 0, f"yarn_{name} is {value}; expected 0 or more")


@dataclass(frozen=True, slots=True)
class SelfExtendOptions:
    """SelfExtend (Jin et al., arXiv 2401.01325)."""

    group: int
    """G: tokens that share a position, once they are far."""
    window: int
    """w: the last tokens, which keep positions of their own."""

    def __post_init__(self) -> None:
        _require(self.group >= 2, f"-gan is {self.group}; expected 2 or more tokens a group")
        _require(self.window >= 1, f"-gaw is {self.window}; expected at least 1 token")

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


@dataclass(frozen=True, slots=True)
class Move:
    """Cached positions ``begin`` to ``end`` change by ``delta``."""

    begin: int
    end: int
    delta: int


class Positions:
    """Where the cached tokens of one text stand, and how SelfExtend moves them.

    The first `n_grouped` tokens stand G at a position, from 0 on; the later ones have a position
    each. Tokens are grouped when ``limit`` positions are used up, all but the last w, so that a
    text that fits the trained context is not touched, and cached keys are rotated seldom; after the
    first time at a multiple of `TILE` tokens, so that batches are not cut in odd pieces. What is
    grouped depends on the number of tokens alone, not on how they were batched.

    Methods take ``n_positions``, the positions in use, which the cache itself knows.
    """

    def __init__(self, self_extend: SelfExtendOptions | None, limit: int) -> None:
        """``limit``: positions that the model was trained on; of no account without SelfExtend."""
        self.n_grouped = 0
        self._group = self_extend.group if self_extend else 1
        self._window = self_extend.window if self_extend else 0
        self._limit = limit
        self._until = limit
        """Positions that may be used before tokens are grouped."""

    def n_tokens(self, n_positions: int) -> int:
        """Cached tokens."""
        return n_positions + self.n_grouped - self.n_grouped // self._group

    def room(self, n_positions: int) -> int | None:
        """Tokens that can be appended before others must be grouped; None without SelfExtend."""
        return self._until - n_positions if self._group > 1 else None

    def regroup(self, n_positions: int) -> list[Move]:
        """Group all that is farther than w, in whole groups; the moves, to be made in this order.

        Positions are divided one by one, from low to high, so that none meets another's.
        """
        first = self.n_grouped // self._group
        n = (n_positions - first - self._window) // self._group * self._group
        self.n_grouped += n
        moves = [
            Move(first + index, first + index + 1, index // self._group - index)
            for index in range(1, n)
        ]
        moves.append(Move(first + n, n_positions, n // self._group - n))
        n_positions += moves[-1].delta
        room = self._limit - n_positions
        begun = (self.n_tokens(n_positions) + room) % TILE if room > TILE else 0
        self._until = self._limit - begun
        return moves

    def cut(self, keep: int, discard: int, n_positions: int) -> tuple[int, int]:
        """Forget ``discard`` tokens after the first ``keep``, or some more: groups stay whole.

        Returns:
            The range of positions to remove; later ones close the gap.
        """
        begin, end = self._whole(keep), self._whole(self._whole(keep) + discard)
        end = min(end, self.n_tokens(n_positions))
        range_of_positions = self._position(begin), self._position(end)
        self.n_grouped -= min(end, self.n_grouped) - min(begin, self.n_grouped)
        if self.n_grouped == 0:
            self._until = self._limit
        return range_of_positions

    def position_of(self, index: int) -> int | None:
        """Position of the token ``index``; None if it is grouped."""
        return self._position(index) if index >= self.n_grouped else None

    def clear(self) -> None:
        """Nothing is cached any more."""
        self.n_grouped = 0
        self._until = self._limit

    def _position(self, index: int) -> int:
        """Position of the token ``index``, which is the first of its group."""
        grouped = min(index, self.n_grouped)
        return grouped // self._group + index - grouped

    def _whole(self, index: int) -> int:
        """``index``, or the end of the group that it is inside of."""
        if index >= self.n_grouped:
            return index
        return -(-index // self._group) * self._group
