"""The one way in which the adapter changes: learn a block, swap the adapter in, keep its state.

Whatever is learned goes through here, a text or pairs of a translation, given or generated; time,
memory and losses of updates are measured here and nowhere else.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from templora_edge.errors import OptionError
from templora_edge.host import memory
from templora_edge.protocols import Engine, Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    """One update: seconds of its steps, and the losses of its block in nats a token.

    Losses are None, and times 0, for what did not happen.
    """

    train_s: float = 0.0
    convert_s: float = 0.0
    swap_s: float = 0.0
    loss_before: float | None = None
    loss_after: float | None = None
    rss_bytes: int = 0
    """Resident memory of the generating and the training process after the update; pages of the
    base that both map count twice."""


class Updates:
    """An adapter in training, and the engine that generates with it.

    Any step may be interrupted, by KeyboardInterrupt for one, and made again: `learn` with the same
    block teaches it once, and `swap` serves what was learned if that is still to be done.
    """

    def __init__(self, engine: Engine, trainer: Trainer | None) -> None:
        """``trainer``: None is no Temp-LoRA; there is nothing to learn or to swap then."""
        self._engine = engine
        self._trainer = trainer
        self._trained = 0  # the trainer's adapter, by the number of its updates
        self._report = UpdateReport()
        self._trainer_rss = 0
        self.served = 0
        """The engine's adapter, by the number of its updates."""

    @property
    def enabled(self) -> bool:
        """Whether there is an adapter to update."""
        return self._trainer is not None

    @property
    def rss_bytes(self) -> int:
        """Resident memory of both processes; the training one's after its last update."""
        return memory.resident() + self._trainer_rss

    def learn(
        self, prefix: Sequence[int], block: Sequence[int], loss_mask: Sequence[bool] | None = None
    ) -> UpdateReport:
        """Train the adapter on ``block``, ``prefix`` before it as context without loss.

        Args:
            loss_mask: which tokens of ``block`` have a loss, at least one; None is all.
        """
        begun = time.perf_counter()
        if self._trainer is None:
            return UpdateReport(rss_bytes=self.rss_bytes)
        update = self._trainer.train(prefix, block, loss_mask)
        self._trained += 1
        self._trainer_rss = update.rss_bytes
        self._report = UpdateReport(
            train_s=time.perf_counter() - begun,
            loss_before=update.loss_before,
            loss_after=update.loss_after,
            rss_bytes=self.rss_bytes,
        )
        return self._report

    def swap(self) -> UpdateReport | None:
        """Export the newest adapter, load it, set it, free the one before; the KV cache stays.

        Returns:
            The last update, with the times of its swap; None if its adapter is served already.
        """
        if self._trainer is None or self.served == self._trained:
            return None
        begun = time.perf_counter()
        adapter = self._trainer.export()
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
        """Write the adapter as it is now to ``path``, as a GGUF.

        Raises:
            OptionError: there is no adapter.
            OutputError: temporary storage is full.
            OSError: ``path`` cannot be written.
        """
        adapter = self._existing().export()
        try:
            shutil.copyfile(adapter, path)
        finally:
            adapter.unlink()

    def save_state(self, path: Path) -> None:
        """Write to ``path`` all that later updates depend on: adapter, optimizer, random numbers.

        Raises:
            OptionError: there is no adapter.
            OutputError: ``path`` cannot be written.
        """
        self._existing().save(path)

    def load_state(self, path: Path) -> None:
        """Go on from what `save_state` wrote; `swap` then serves its adapter.

        Raises:
            OptionError: there is no adapter.
            JobError: the file is missing, damaged, or of other options.
        """
        self._existing().load(path)
        self._trained += 1

    def _existing(self) -> Trainer:
        if self._trainer is None:
            raise OptionError("there is no adapter to save without Temp-LoRA")
        return self._trainer
