"""The books that wait, and which of them is next."""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Waiting(Generic[Item]):
    """Chains of books; a book may begin when the one before it in its chain is done.

    The next one is of the chain with most left to do: a long book that begins last ends long after
    all others. Where every chain is one book, no order ends more than a quarter earlier (Graham
    1969: 4/3 - 1/3m of the best with m workers).

    Args:
        chains: the books.
        size: how much work a book is, in any unit.
    """

    def __init__(self, chains: Iterable[Sequence[Item]], size: Callable[[Item], float]) -> None:
        self._size = size
        self._chains: list[tuple[float, Sequence[Item]]] = []
        for chain in chains:
            self.add(chain)

    def __len__(self) -> int:
        """Number of books that wait."""
        return sum(len(chain) for _, chain in self._chains)

    def add(self, chain: Sequence[Item]) -> None:
        """Let ``chain``, which may be empty, wait."""
        if chain:
            self._chains.append((sum(map(self._size, chain)), chain))

    def take(self, fits: Callable[[Item], bool] = lambda _: True) -> Sequence[Item]:
        """A chain whose first book is to begin now; empty if ``fits`` allows none.

        It waits no longer: when the book is done, `add` the rest.
        """
        ready = [one for one in self._chains if fits(one[1][0])]
        if not ready:
            return ()
        chosen = max(ready, key=lambda one: one[0])
        self._chains.remove(chosen)
        return chosen[1]
