"""The one update path: learn a block, swap the adapter in, save its state.

All learning goes through here, of texts and of translated pairs, given or generated; the time,
memory and losses of updates are measured here and nowhere else.
"""

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from templora_edge.errors import OptionError, SidecarKilledError
from templora_edge.host import memory
from templora_edge.host.files import whole
from templora_edge.protocols import Captured, Engine, Trainer, Update

Result = TypeVar("Result")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    """One update: seconds spent on its steps, and losses of its block in nats per token.

    Steps that did not happen have a time of 0 and a loss of None.
    """

    train_s: float = 0.0
    convert_s: float = 0.0
    swap_s: float = 0.0
    loss_before: float | None = None
    loss_after: float | None = None
    scale: float | None = None
    """Factor of the adapter's output in addition to alpha / rank, which `--learning-rate auto`
    finds; None without an update."""
    looped: bool = False
    """Whether the block was not learned because the model repeats itself in it."""
    rss_bytes: int = 0
    """Resident memory of both processes after the update; pages of the base, which both map, count
    twice."""


class Updates:
    """An adapter in training, and the engine that generates with it.

    Any step may be interrupted, by KeyboardInterrupt too, and repeated: `learn` with the same block
    learns it once, and `swap` does nothing if the engine has the newest adapter.

    With `restarts`, a training process that is killed is started again from the last state that was
    saved or loaded, and learns again what it has learned since.
    """

    def __init__(
        self,
        engine: Engine,
        start_trainer: Callable[[], Trainer] | None,
        *,
        learns_own: bool = True,
        learns_given: bool = True,
    ) -> None:
        """Begin with a fresh adapter.

        Args:
            engine: engine that generates with the adapter.
            start_trainer: starts the adapter's trainer, once there is something to learn; None:
                there is no adapter at all.
            learns_own: whether blocks that the model wrote are learned.
            learns_given: whether other blocks are.
        """
        self._start_trainer = start_trainer
        self._learns_own, self._learns_given = learns_own, learns_given
        self._engine = engine
        self._trainer: Trainer | None = None
        self.restarts = 0
        """How many times a killed training process is started again; set before it learns."""
        self._state: Path | None = None  # the last one that was saved or loaded
        self._since: list[Callable[[Trainer], Any]] = []  # what was learned since
        self._trained = 0  # number of the trainer's adapter: that of its updates
        self._report = UpdateReport()
        self._trainer_rss = 0
        self.served = 0
        """Number of the engine's adapter, which counts its updates."""

    @property
    def enabled(self) -> bool:
        """Whether there is an adapter to update."""
        return self._start_trainer is not None

    def learns(self, *, own: bool) -> bool:
        """Whether blocks that the model wrote, or others, are learned."""
        return self.enabled and (self._learns_own if own else self._learns_given)

    @property
    def trained(self) -> int:
        """Number of the trainer's adapter, which counts its updates."""
        return self._trained

    @property
    def learned(self) -> bool:
        """Whether anything was learned, so that there is a state to save."""
        return self._trained > 0

    @property
    def rss_bytes(self) -> int:
        """Resident memory of both processes; of the training process, after its last update."""
        return memory.resident() + self._trainer_rss

    def learn(
        self,
        prefix: Sequence[int],
        block: Sequence[int],
        loss_mask: Sequence[bool] | None = None,
        *,
        own: bool = False,
        captured: Captured | None = None,
    ) -> UpdateReport:
        """Train the adapter on ``block``, with ``prefix`` before it as context without loss.

        Args:
            prefix: tokens before the block.
            block: tokens to learn.
            loss_mask: whether each token of ``block`` has a loss, at least one; None is all.
            own: whether the model wrote the block, which then has a learning rate of its own.
            captured: what the engine computed of the tokens that predict the block, as
                `Trainer.train` takes it.
        """
        if not self.learns(own=own):
            return UpdateReport(rss_bytes=self.rss_bytes)
        begun = time.perf_counter()

        def train(trainer: Trainer) -> Update:
            return trainer.train(prefix, block, loss_mask, own=own, captured=captured)

        update = self._ask(train)
        self._trained += 1  # at once: an interrupt must not have the block learned again
        if self.restarts:
            self._since.append(train)
        self._trainer_rss = update.rss_bytes
        self._report = UpdateReport(
            train_s=time.perf_counter() - begun,
            loss_before=update.loss_before,
            loss_after=update.loss_after,
            scale=update.scale,
            rss_bytes=self.rss_bytes,
        )
        return self._report

    def begin(
        self,
        prefix: Sequence[int],
        block: Sequence[int],
        *,
        own: bool = False,
        captured: Captured | None = None,
    ) -> None:
        """Begin what `learn` does with the same arguments, which then waits for the rest."""
        if self.learns(own=own):
            self._started().begin(prefix, block, own=own, captured=captured)

    def swap(self) -> UpdateReport | None:
        """Export the newest adapter, load and set it, free the old one; keep the KV cache.

        Returns:
            The last update, with the times of its swap; None if the engine has its adapter already.
        """
        if self._trainer is None or self.served == self._trained:
            return None
        begun = time.perf_counter()
        adapter = self._ask(lambda trainer: trainer.export())
        converted = time.perf_counter()
        try:
            self._engine.swap(adapter)
        finally:
            adapter.unlink()
        self.served = self._trained
        swap_s = time.perf_counter() - converted
        self._report = replace(self._report, convert_s=converted - begun, swap_s=swap_s)
        return self._report

    def save(self, path: Path) -> None:
        """Write the current adapter to ``path`` as a GGUF.

        Raises:
            OptionError: there is no adapter.
            OutputError: temporary storage is full.
            OSError: ``path`` cannot be written.
        """
        adapter = self._ask(lambda trainer: trainer.export())
        try:
            shutil.copyfile(adapter, path)
        finally:
            adapter.unlink()

    def save_state(self, path: Path) -> None:
        """Write everything later updates depend on to ``path``: adapter, optimizer, random state.

        The file is complete and on disk when this returns, and must stay until the next one is.

        Raises:
            OptionError: there is no adapter.
            OutputError: ``path`` cannot be written.
        """
        with whole(path) as temporary:
            self._ask(lambda trainer: trainer.save(temporary))
        self._state = path
        self._since.clear()

    def load_state(self, path: Path) -> None:
        """Continue from the state that `save_state` wrote; `swap` then serves its adapter.

        Raises:
            OptionError: there is no adapter.
            JobError: the file is missing, damaged, or of other options.
        """
        self._ask(lambda trainer: trainer.load(path))
        self._trained += 1
        self._state = path
        self._since.clear()

    def _ask(self, call: Callable[[Trainer], Result]) -> Result:
        """The trainer's answer to ``call``; after a restart, if it is killed."""
        try:
            return call(self._started())
        except SidecarKilledError as error:
            if not self.restarts:
                raise
            self.restarts -= 1
            _logger.warning(
                "%s; it is started again from the last saved state, once",
                str(error).partition(";")[0],
            )
            self._trainer = None
            trainer = self._started()
            if self._state is not None:
                trainer.load(self._state)
            for learn in self._since:
                learn(trainer)
            return call(trainer)

    def _started(self) -> Trainer:
        if self._start_trainer is None:
            raise OptionError("there is no adapter to save without Temp-LoRA")
        if self._trainer is None:
            self._trainer = self._start_trainer()
        return self._trainer
