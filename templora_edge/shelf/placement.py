"""Which workers may take a book; which of them does is Dask's choice."""

from collections.abc import Collection, Mapping, Sequence

from templora_edge.shelf.book import Book
from templora_edge.shelf.desk import Offer


def takers(
    book: Book, offers: Mapping[str, Offer], need: int, *, busy: Collection[str]
) -> list[str]:
    """Addresses of the workers that are free and may take ``book``.

    The bytes of a text depend on the processor and the number of threads. So a book that was begun
    waits for a worker like the one that it had, if there is any; otherwise it moves.

    Args:
        book: the book.
        offers: what each worker has, by its address.
        need: memory of the book in bytes.
        busy: workers that are not free.
    """
    threads, processor = book.threads, book.processor
    able = {address: one for address, one in offers.items() if one.memory >= need}
    enough = {address: one for address, one in able.items() if one.cores >= threads}
    same = {address: one for address, one in enough.items() if one.processor == processor}
    return [address for address in same or enough or able if address not in busy]


def threads_of(book: Book, offers: Sequence[Offer]) -> int:
    """Threads for ``book`` on one of several workers: those it has, if all have the cores."""
    cores = max(1, min(int(one.cores) for one in offers))
    return book.n_threads or (book.threads if 0 < book.threads <= cores else cores)
