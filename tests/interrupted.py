"""Train while Ctrl-C comes at random moments, and compare with undisturbed training.

    python interrupted.py MODEL FOLDER

Prints what differs between the two, and how many interrupts there were.
"""

import json
import random
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from templora_edge.options import (
    PAPER,
    BlockOptions,
    EngineOptions,
    Options,
    TrainDtype,
    TrainingOptions,
)
from templora_edge.training.client import SidecarTrainer

LORA = replace(PAPER, rank=4, learning_rate=1e-3)
TRAIN = Options(
    engine=EngineOptions(n_ctx=512, n_threads=1),
    blocks=BlockOptions(512, 256, 256, 256, n_keep=4),
    lora=LORA,
    training=TrainingOptions(n_threads_train=1, train_dtype=TrainDtype.FP32),
)
SHORTEST_S, LONGEST_S = 1e-5, 0.03
"""A call takes about as long as the latter."""
Result = TypeVar("Result")


class Interrupts:
    """Real interrupts: a timer sends SIGINT, and Python's own handler raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.count = 0
        self._random = random.Random(1)  # noqa: S311
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))

    def once(self, call: Callable[[], Result], longest: float = LONGEST_S) -> list[Result]:
        """A list with the result, empty if an interrupt came before there was one."""
        results: list[Result] = []
        try:
            signal.setitimer(signal.ITIMER_REAL, self._random.uniform(SHORTEST_S, longest))
            results += [call()]
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            self.count += 1
        return results

    def until_done(self, call: Callable[[], Result]) -> Result:
        """Call again, with more time, whenever an interrupt came before there was a result."""
        longest = LONGEST_S
        while not (results := self.once(call, longest)):
            longest *= 1.2
        return results[0]


def blocks(rounds: int) -> Iterator[tuple[list[int], list[int]]]:
    """A prefix and a block for each round."""
    for index in range(rounds):
        tokens = [1 + (7 * n + index) % 250 for n in range(96)]
        yield tokens[:32], tokens[32:]


def differences(model: Path, folder: Path, rounds: int) -> tuple[list[str], int]:
    """Differences from training without interrupts, and the number of interrupts after loading."""
    found: list[str] = []
    interrupts = Interrupts()
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    with (
        SidecarTrainer(model, TRAIN, folder / "a") as trainer,
        SidecarTrainer(model, TRAIN, folder / "b") as reference,
    ):
        interrupts.until_done(trainer.wait_ready)
        interrupts.count = 0

        def compare(what: str) -> None:
            ours = interrupts.until_done(trainer.export)
            theirs = reference.export()
            if ours.read_bytes() != theirs.read_bytes():
                found.append(f"{what}: other adapters")
            ours.unlink()
            theirs.unlink()

        for index, (prefix, block) in enumerate(blocks(rounds)):
            expected = replace(reference.train(prefix, block), rss_bytes=0)
            update = interrupts.until_done(partial(trainer.train, prefix, block))
            if replace(update, rss_bytes=0) != expected:
                found.append(f"block {index}: {update}, expected {expected}")
            compare(f"block {index}")
        state = folder / "state"
        interrupts.until_done(partial(trainer.save, state))
        interrupts.until_done(partial(trainer.load, state))
        compare("after loading")
        found += [f"left: {path}" for path in (folder / "a").rglob("*") if path.is_file()]
    return found, interrupts.count


if __name__ == "__main__":
    result = differences(Path(sys.argv[1]), Path(sys.argv[2]), rounds=12)
    sys.stdout.write(json.dumps(result))
