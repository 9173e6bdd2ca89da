"""The text of a job: what is finished is on disk, and the next run goes on with it.

Two things are saved. Tokens are, about every second and at the end of a block, first in the store
and then in the file of the text, which so holds nothing that the store does not know. And at the
edge of each block, after it is learned, everything that the text depends on from there on: the
state of training, llama.cpp's KV cache, where the loop is. The next run takes up that state,
decodes the tokens that were written after it one by one, as they were, and goes on; random choices
are counted. So each number is computed as it was, or would have been, and the text has the same
bytes as one of a run that nothing stopped.
"""

import logging
import time
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from templora_edge.errors import JobError, OutputError
from templora_edge.events import Absorbed, BlockReport, Piece, Token
from templora_edge.generation.generate_job import GenerateJob
from templora_edge.generation.text_file import TextFile
from templora_edge.generation.text_store import State, TextStore
from templora_edge.pieces import Pieces
from templora_edge.protocols import Captured, Floats
from templora_edge.session import TempLora

WRITE_SECONDS: Final = 1.0
"""Seconds for which tokens may be in memory alone."""
SAVING_SHARE: Final = 0.02
"""Largest share of the time of absorbing a prompt that saving its state takes: what is absorbed is
not the user's text, and can be absorbed again."""
_CRC_BYTES: Final = 2**20

_logger: Final = logging.getLogger(__name__)


class DurableText:
    """Iterate to write the text of ``job``, from where ``store`` is on.

    Args:
        text: a fresh session.
        store: the job's durable state, which has been begun.
        job: what is asked for.
        file: file of the text.
    """

    def __init__(self, text: TempLora, store: TextStore, job: GenerateJob, file: TextFile) -> None:
        self._text, self._store, self._job, self._file = text, store, job, file
        self._loop = text.loop
        self._n_prompt = store.n_prompt
        self._state: State | None = None
        self._trained = 0  # number of the adapter whose state is saved
        self._pieces = Pieces(text.engine.model.vocab.piece)
        self._n_kept = 0  # tokens in the store
        self._new: list[tuple[int, str]] = []  # those that are not there yet
        self._written_at = time.perf_counter()

    def __iter__(self) -> Iterator[Absorbed | Piece | BlockReport]:
        """Absorb the prompt, then write the text; yield what is new.

        Raises:
            JobError, OutputError: something cannot be saved; what was saved before is kept.
            TemploraError: generation failed; see `TempLora.stream`.
        """
        tokens = self._store.tokens()
        self._n_kept = len(tokens)
        prompt, written = tokens[: self._n_prompt], tokens[self._n_prompt :]
        if (state := self._store.state) is not None:
            self._restore(state, tokens[: state.n_tokens])
        yield from self._absorb(prompt)
        yield from self._write(written)

    def _absorb(self, prompt: Sequence[int]) -> Iterator[Absorbed]:
        if len(self._loop.text) >= len(prompt):
            return
        begun, took = time.perf_counter(), 0.0
        for event in self._text.append(prompt, len(self._loop.text)):
            now = time.perf_counter()
            if event.report is not None and took <= SAVING_SHARE * (now - begun):
                self._save()
                begun, took = now, time.perf_counter() - now
            yield event

    def _write(self, written: Sequence[int]) -> Iterator[Piece | BlockReport]:
        sampled = len(self._loop.text) - self._n_prompt
        self._text.use_sampling(self._job.sampling, sampled=sampled)
        for token in written:
            self._pieces.of(Token(token, 0))
        n_predict, goes_on = self._job.n_predict, True
        if self._store.ended:
            n_predict = len(written)
        while goes_on:
            begin = len(self._loop.text) - self._n_prompt
            left = None if n_predict is None else max(n_predict, len(written)) - begin
            if left == 0:
                break
            yield from self._loop.next_block()
            self._save()
            n_block = self._text.options.blocks.block_len
            n_tokens = n_block if left is None else min(n_block, left)
            goes_on = yield from self._block(n_tokens, written[begin : begin + n_tokens])
        yield from self._loop.unlearned
        rest = list(self._pieces.rest())
        yield from rest
        end = "".join(piece.text for piece in rest) + "\n"
        self._store.finish(end, ended=self._store.ended or not goes_on)
        self._file.end(end)

    def _block(self, n_tokens: int, given: Sequence[int]) -> Generator[Piece, None, bool]:
        """Write a block whose first tokens are ``given``; return whether the text goes on."""
        tokens = self._loop.write_block(n_tokens, given)
        try:
            for _ in given:
                next(tokens)
            while True:
                token = next(tokens)
                piece = self._pieces.of(token)
                self._new.append((token.id, piece.text))
                if time.perf_counter() - self._written_at >= WRITE_SECONDS:
                    self._flush()
                yield piece
        except StopIteration as end:
            self._flush()
            return bool(end.value)
        except BaseException:
            tokens.close()
            with suppress(JobError, OutputError):  # must not hide what stopped the run
                self._flush()
            raise

    def _flush(self) -> None:
        """Save the tokens that are in memory alone."""
        if self._new:
            self._store.add(self._n_kept, self._new)
            self._n_kept += len(self._new)
            new, self._new = self._new, []
            self._file.append("".join(text for _, text in new))
        self._written_at = time.perf_counter()

    def _save(self) -> None:
        """Save everything that the text depends on from here on, the edge of a block."""
        loop, folder, before = self._loop, self._store.folder, self._state
        number = len(loop.blocks)
        if before is not None and (before.n_tokens, before.n_blocks) == (len(loop.text), number):
            return  # it has just been taken up
        training = None if before is None else before.training
        if self._text.updates.trained != self._trained:
            training = f"training-{number}.pt"
            self._text.updates.save_state(folder / training)
            self._trained = self._text.updates.trained
        cache = captured = None
        if self._text.engine.n_past:
            cache = f"cache-{number}.kv"
            self._text.engine.save_cache(folder / cache)
        if states := {str(n): one.states for n, one in loop.captured().items()}:
            captured = f"states-{number}.npz"
            _write_arrays(folder / captured, states)
        checksums = {name: _crc_of(folder / name) for name in (cache, captured) if name}
        state = State(len(loop.text), number, loop.state(), training, cache, captured, checksums)
        first = 0 if before is None else min([before.n_blocks, *(n for n, *_ in before.loop.due)])
        self._store.save_state(state, dict(list(enumerate(loop.blocks))[first:]))
        self._state = state

    def _restore(self, state: State, tokens: Sequence[int]) -> None:
        """Take up ``state``, which follows ``tokens``."""
        folder, updates = self._store.folder, self._text.updates
        if state.training is not None:
            updates.load_state(folder / state.training)
            updates.swap()
        captured = {}
        if all(_holds(folder / name, crc) for name, crc in state.checksums.items()):
            if state.cache is not None:
                self._text.engine.load_cache(folder / state.cache)
            if state.captured is not None:
                with np.load(folder / state.captured) as arrays:
                    captured = {int(n): Captured(arrays[n]) for n in arrays.files}
        else:
            _logger.warning(
                "%s: the KV cache was lost, as in a power failure; it is computed anew, and the "
                "text goes on in other words than it would have",
                folder,
            )
        blocks = self._store.blocks(state.n_blocks)
        self._loop.restore(tokens, blocks, state.loop, captured)
        self._state, self._trained = state, updates.trained


def _write_arrays(path: Path, arrays: Mapping[str, Floats | None]) -> None:
    try:
        np.savez(path, **{name: one for name, one in arrays.items() if one is not None})  # type: ignore[arg-type]
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{path}: cannot be written ({reason}); free some storage") from error


def _holds(path: Path, crc: int) -> bool:
    return path.is_file() and _crc_of(path) == crc


def _crc_of(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while part := file.read(_CRC_BYTES):
            crc = zlib.crc32(part, crc)
    return crc
