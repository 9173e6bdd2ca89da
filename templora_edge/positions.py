"""Positions of cached tokens, and how SelfExtend moves them."""

from dataclasses import dataclass
from typing import Final

from templora_edge.options import SelfExtendOptions

TILE: Final = 64
"""Tokens that llama.cpp's attention on CPUs takes at a time; what is left over is slow."""


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
