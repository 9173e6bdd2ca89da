"""SelfExtend's arithmetic: positions of cached tokens, and how they move."""

from dataclasses import dataclass
from typing import Final

from templora_edge.options import SelfExtendOptions

TILE: Final = 64
"""Tokens in a tile of llama.cpp's CPU attention; a remainder is slow."""


@dataclass(frozen=True, slots=True)
class Move:
    """Move the cached positions in ``[begin, end)`` by ``delta``."""

    begin: int
    end: int
    delta: int


class Positions:
    """Positions of the cached tokens of one text, and how SelfExtend moves them.

    The first `n_grouped` tokens share positions, G at each, from 0 on; every later token has its
    own. When ``limit`` positions are used up, all but the last w tokens are grouped, so that a text
    that fits the trained context is not touched and cached keys are rotated rarely. After the first
    time, this happens at a multiple of `TILE` tokens, so that batches are not cut into odd pieces.
    Grouping depends only on the number of tokens, not on how they were batched.

    Methods take ``n_positions``, the number of positions in use, which the cache itself knows.
    """

    def __init__(self, self_extend: SelfExtendOptions | None, limit: int) -> None:
        """Begin with an empty cache.

        Args:
            self_extend: group size and window; None leaves every token its own position.
            limit: number of positions the model was trained on; unused without SelfExtend.
        """
        self.n_grouped = 0
        self._group = self_extend.group if self_extend else 1
        self._window = self_extend.window if self_extend else 0
        self._limit = limit
        self._until = limit
        """Number of positions that may be used before tokens are grouped."""

    @property
    def state(self) -> tuple[int, int]:
        """All that later methods depend on, for `restore`."""
        return self.n_grouped, self._until

    def restore(self, state: tuple[int, int]) -> None:
        """Go on from what `state` was."""
        self.n_grouped, self._until = state

    def n_tokens(self, n_positions: int) -> int:
        """Number of cached tokens at the first ``n_positions`` positions."""
        grouped = min(n_positions * self._group, self.n_grouped)
        return n_positions + grouped - grouped // self._group

    def room(self, n_positions: int) -> int | None:
        """Number of tokens that fit before others must be grouped; None without SelfExtend."""
        return self._until - n_positions if self._group > 1 else None

    def regroup(self, n_positions: int) -> list[Move]:
        """Group all tokens outside the last w, in whole groups.

        Returns:
            The moves to make, in this order: one position at a time, from low to high, so that no
            token moves onto the position of another group.
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
        """Forget ``discard`` tokens after the first ``keep``, or a few more to keep groups whole.

        Returns:
            Begin and end of the positions to remove; later ones must close the gap.
        """
        begin, end = self._whole(keep), self._whole(self._whole(keep) + discard)
        end = min(end, self.n_tokens(n_positions))
        range_of_positions = self._position(begin), self._position(end)
        self.n_grouped -= min(end, self.n_grouped) - min(begin, self.n_grouped)
        if self.n_grouped == 0:
            self._until = self._limit
        return range_of_positions

    def position_of(self, index: int) -> int | None:
        """Position of token ``index``; None if it is in a group."""
        return self._position(index) if index >= self.n_grouped else None

    def clear(self) -> None:
        """Start over with an empty cache."""
        self.n_grouped = 0
        self._until = self._limit

    def _position(self, index: int) -> int:
        """Position of token ``index``, which must be the first of its group."""
        grouped = min(index, self.n_grouped)
        return grouped // self._group + index - grouped

    def _whole(self, index: int) -> int:
        """``index``, or the end of the group that contains it."""
        if index >= self.n_grouped:
            return index
        return -(-index // self._group) * self._group
