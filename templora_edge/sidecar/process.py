"""The parent's half of the sidecar. Imports no torch."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from templora_edge.closing import Closing
from templora_edge.config import LoraOptions, TrainerOptions
from templora_edge.errors import SidecarError
from templora_edge.protocols import Update
from templora_edge.sidecar.messages import (
    Export,
    Failed,
    Load,
    Ready,
    Save,
    Start,
    Train,
    receive,
    send,
)

_EXIT_SECONDS = 5.0

CHILD_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    # Idle threads of torch must not spin for long on the cores that dequantization needs; but if
    # they slept at once, waking them would take half of a small base's time (docs/log.md).
    "GOMP_SPINCOUNT": "20000",
    "KMP_BLOCKTIME": "1",
}

Answer = TypeVar("Answer")


class SidecarTrainer(Closing):
    """`templora_edge.protocols.Trainer` in a process of its own, which ends when this one does.

    llama.cpp's and torch's thread pools never share a process, and a training process killed for
    memory is an error message here. The child starts at once and loads torch in the background;
    `wait_ready` waits for it.
    """

    def __init__(
        self, base: Path, lora: LoraOptions, options: TrainerOptions, workspace: Path
    ) -> None:
        self._workspace = workspace
        self._numbers = itertools.count()
        self.peak_rss_bytes = 0
        # -P: the working directory must not shadow modules. A session of its own: Ctrl-C reaches
        # the parent alone, which then ends the child in its own time.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "templora_edge.sidecar"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=os.environ | CHILD_ENVIRONMENT,
        )
        self._started = False
        self._send(Start(base.resolve(), lora, options))

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until the child has loaded the base.

        Raises:
            SidecarError: the child died.
            TemploraError: whatever of ours it raised.
        """
        if not self._started:
            self._note(self._receive(Ready))
            self._started = True

    def train(
        self, prefix: Sequence[int], block: Sequence[int], learned: Sequence[bool] | None = None
    ) -> Update:
        """Train on ``block``, or what is ``learned`` of it, ``prefix`` before it as context.

        Raises:
            SidecarError: the child died, by being killed for memory perhaps.
        """
        self.wait_ready()
        self._send(Train(tuple(prefix), tuple(block), None if learned is None else tuple(learned)))
        return self._receive(Update)

    def export(self) -> Path:
        """Write the adapter as it is now to a new GGUF file in the workspace.

        Raises:
            SidecarError: the child died.
        """
        self.wait_ready()
        path = self._workspace / f"adapter-{next(self._numbers)}.gguf"
        self._send(Export(path))
        self._note(self._receive(Ready))
        return path

    def save(self, path: Path) -> None:
        """Write adapter, optimizer and random numbers to ``path``.

        Raises:
            OutputError: there is no room.
            SidecarError: the child died.
        """
        self.wait_ready()
        self._send(Save(path))
        self._note(self._receive(Ready))

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote, as if training had never stopped.

        Raises:
            JobError: the file is missing, damaged, or of other options.
            SidecarError: the child died.
        """
        self.wait_ready()
        self._send(Load(path))
        self._note(self._receive(Ready))

    def close(self) -> None:
        """End the child, in the middle of training if need be."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _send(self, message: Any) -> None:
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            raise SidecarError("the training process is closed")
        try:
            send(stdin, message)
        except BrokenPipeError:
            raise self._death() from None

    def _receive(self, kind: type[Answer]) -> Answer:
        stdout = self._process.stdout
        if stdout is None or stdout.closed:
            raise SidecarError("the training process is closed")
        try:
            answer = receive(stdout)
        except EOFError:
            raise self._death() from None
        if isinstance(answer, Failed):
            raise answer.error
        if not isinstance(answer, kind):
            raise SidecarError(f"the training process answered {answer!r}; expected {kind}")
        return answer

    def _note(self, ready: Ready) -> None:
        self.peak_rss_bytes = max(self.peak_rss_bytes, ready.peak_rss_bytes)

    def _death(self) -> SidecarError:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return SidecarError(
                "the training process was killed (signal 9), by the system for want of memory "
                "perhaps; lower --block, --train-prefix or --rank"
            )
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return SidecarError(
            f"the training process ended unexpectedly ({how}); see its messages above"
        )
