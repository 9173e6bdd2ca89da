"""Kill `templora generate -o` at random moments, go on each time, and compare the bytes.

Usage: python -m scripts.profiling.kills MODEL.gguf [--kills 20] [--tokens 192] [--seed 0]

The process is killed (SIGKILL) in turn at any moment, in training, while the state of training is
saved, and while an adapter is swapped in; what it wrote until then must be the beginning of what an
undisturbed run wrote. Then the training process alone is killed in a run of its own, which must go
on by itself. The last line is JSON; the exit status is 1 if anything differs.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

POLL_SECONDS = 0.001
TEXT = "The old captain looked at the sea, and the sea looked back. " * 14
"""A prompt that is absorbed."""


class Run:
    """A run of the command."""

    def __init__(self, command: Sequence[str], folder: Path, job: Path) -> None:
        self._folder, self._job = folder, job
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(folder)},
        )

    def until(self, moment: Callable[[], bool]) -> bool:
        """Wait for ``moment``; whether it came before the end."""
        while self.process.poll() is None:
            if moment():
                return True
            time.sleep(POLL_SECONDS)
        return False

    def trainer(self) -> psutil.Process | None:
        """The training process."""
        try:
            children = psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return None
        return children[0] if children else None

    def trains(self) -> bool:
        """Whether the training process computes, once a state was saved."""
        try:
            child = self.trainer()
            return (
                child is not None
                and any(self._job.glob("training-*.pt"))
                and child.status() == psutil.STATUS_RUNNING
            )
        except psutil.NoSuchProcess:
            return False

    def saves(self) -> bool:
        """Whether the state of training is being written."""
        return any(self._job.glob(".training-*"))

    def swaps(self) -> bool:
        """Whether an exported adapter is there."""
        try:
            return any(self._folder.glob("templora-*/adapter-*.gguf"))
        except FileNotFoundError:  # it was removed while it was looked for
            return False


def kill_at_random(
    command: Sequence[str], folder: Path, job: Path, n_kills: int, dice: random.Random, took: float
) -> list[str]:
    """Kill runs of ``command``; the kinds of moments, one for each kill."""
    done: list[str] = []
    while len(done) < n_kills:
        run = Run(command, folder, job)
        kind = ("any", "training", "saving", "swapping")[len(done) % 4]
        moments = {"training": run.trains, "saving": run.saves, "swapping": run.swaps}
        if kind == "any":
            at = time.monotonic() + dice.uniform(0, took / 2)
            came = run.until(lambda: time.monotonic() >= at)  # noqa: B023
        else:
            came = run.until(moments[kind])
            run.until(lambda: dice.random() < 0.2)
        if not came or run.process.poll() is not None:
            run.process.communicate()
            break  # it came to its end
        run.process.kill()
        run.process.communicate()
        done.append(kind)
        print(f"killed: {kind}", file=sys.stderr, flush=True)
    return done


def main() -> None:
    """Run the comparison and print what was found."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser("python -m scripts.profiling.kills", description=summary)
    parser.add_argument("model", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=192)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prompt = folder / "prompt.txt"
        prompt.write_text(TEXT)

        def command(out: str, n_tokens: int = arguments.tokens) -> list[str]:
            return [
                *(sys.executable, "-m", "templora_edge.cli", "generate"),
                *("-m", str(arguments.model), "-f", str(prompt), "-n", str(n_tokens)),
                *("-c", "256", "--block", "32", "-s", "1", "--ignore-eos", "--rank", "4"),
                *("--own-learning-rate", "1e-4", "-o", str(folder / out)),
            ]

        begun = time.monotonic()
        subprocess.run(command("whole"), check=True, stderr=subprocess.DEVNULL)
        took = time.monotonic() - begun
        whole = (folder / "whole").read_bytes()
        kinds: list[str] = []
        n_tokens, is_beginning = arguments.tokens, True
        while len(kinds) < arguments.kills:  # a text that is finished goes on with more tokens
            again = command("killed", n_tokens)
            left = arguments.kills - len(kinds)
            kinds += kill_at_random(again, folder, folder / "killed.job", left, dice, took)
            found = (folder / "killed").read_bytes() if (folder / "killed").exists() else b""
            is_beginning &= whole.removesuffix(b"\n").startswith(found[: len(whole) - 1])
            n_tokens += arguments.tokens // 2
        subprocess.run(again, check=True, stderr=subprocess.DEVNULL)
        n_tokens -= arguments.tokens // 2
        subprocess.run(command("longer", n_tokens), check=True, stderr=subprocess.DEVNULL)
        same = (folder / "killed").read_bytes() == (folder / "longer").read_bytes()

        run = Run(command("alone"), folder, folder / "alone.job")
        run.until(run.trains)
        if (trainer := run.trainer()) is not None:
            trainer.kill()
        _, said = run.process.communicate()
        alone = run.process.returncode == 0 and (folder / "alone").read_bytes() == whole
        result = {
            "kills": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
            "tokens": n_tokens,
            "beginnings": is_beginning,
            "same_bytes": same,
            "training_process_alone": alone and "it is started again" in said,
        }
    print(json.dumps(result))
    if not (is_beginning and same and result["training_process_alone"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
