"""The parent's half of the training process. Imports no torch."""

import itertools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from templora_edge.closing import Closing
from templora_edge.errors import SidecarError, SidecarKilledError
from templora_edge.host.cores import limit_spinning
from templora_edge.options import Options, TrainDevice
from templora_edge.protocols import Captured, Update
from templora_edge.training.channel import Call, Channel
from templora_edge.training.messages import (
    Export,
    Failed,
    Load,
    Ready,
    Save,
    Start,
    Train,
)

COMMAND = [sys.executable, "-P", "-m", "templora_edge.training"]
"""-P: the working directory must not shadow modules."""

CHILD_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "KMP_BLOCKTIME": "1",  # milliseconds that threads of other OpenMPs than libgomp wait awake
    "PYTORCH_ENABLE_MPS_FALLBACK": "1",  # the processor does what torch lacks for Apple's GPUs
}


def child_environment() -> dict[str, str]:
    """The variables of a process that loads torch."""
    environment = os.environ | CHILD_ENVIRONMENT
    limit_spinning(environment)
    return environment


def _caches(workspace: Path) -> dict[str, str]:
    """Folders for torch's compiled code; by default torch makes one in $TMPDIR on import."""
    return {
        "TORCHINDUCTOR_CACHE_DIR": str(workspace / "torchinductor"),
        "TRITON_CACHE_DIR": str(workspace / "triton"),
    }


Answer = TypeVar("Answer")

_log = logging.getLogger("templora_edge")


class SidecarTrainer(Closing):
    """`templora_edge.protocols.Trainer` in a child process, which ends when this process does.

    So llama.cpp's and torch's thread pools do not share a process, and when training is killed for
    memory, this process reports an error. The child starts at once and loads torch in the
    background; `wait_ready` waits for it.

    If a signal handler raises while a method waits, KeyboardInterrupt for example, only the waiting
    stops: the child finishes the request, and the next call waits for that.
    """

    def __init__(self, base: Path, options: Options, workspace: Path) -> None:
        """Start the child.

        Args:
            base: path of the base GGUF.
            options: resolved options.
            workspace: folder for exported adapters and torch's caches.
        """
        self._workspace = workspace
        self._numbers = itertools.count()
        self.peak_rss_bytes = 0
        self.device: TrainDevice | None = None
        """Device that training computes on; None until `wait_ready`."""
        self._closed = False
        # a new session: Ctrl-C reaches only the parent, which then ends the child in its own time
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=child_environment() | _caches(workspace),
        )
        self._channel = Channel(self._process)
        # links stay links: the parts of a split GGUF are found by the name of the link
        self._start = Call(Start(base.absolute(), options))
        self._channel.post(self._start)
        self._training: Call | None = None  # a call whose answer was not handed out yet

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Wait until the child has loaded the base.

        Raises:
            SidecarError: the child died.
            TemploraError: the child raised it while loading.
        """
        ready = self._answer(self._start, Ready)
        self._note(ready)
        self.device = ready.device

    def train(
        self,
        prefix: Sequence[int],
        block: Sequence[int],
        loss_mask: Sequence[bool] | None = None,
        *,
        own: bool = False,
        captured: Captured | None = None,
    ) -> Update:
        """Train on ``block``, with ``prefix`` before it as context; see `protocols.Trainer.train`.

        A block whose call was interrupted is still learned. Calling again with the same arguments,
        and no other call in between, waits for that and returns its update: nothing is learned
        twice.

        Logs a warning if steps were skipped because their numbers were not finite.

        Raises:
            SidecarError: the child died, perhaps killed for memory, or training diverged.
        """
        call = self._post_training(prefix, block, loss_mask, own=own, captured=captured)
        update = self._answer(call, Update)
        if update.skipped:
            _log.warning(
                "steps skipped in the update on a block of %d tokens: %d (loss or gradient not "
                "finite)",
                len(block),
                update.skipped,
            )
        self._training = None  # no call may follow: only during calls does Python handle signals
        return update

    def begin(
        self,
        prefix: Sequence[int],
        block: Sequence[int],
        *,
        own: bool = False,
        captured: Captured | None = None,
    ) -> None:
        """Begin to train; `train` with the same arguments waits for the rest."""
        self._post_training(prefix, block, None, own=own, captured=captured)

    def export(self) -> Path:
        """Write the current adapter to a new GGUF file in the workspace.

        Raises:
            SidecarError: the child died.
        """
        path = self._workspace / f"adapter-{next(self._numbers)}.gguf"
        self._write(Export(path))
        return path

    def save(self, path: Path) -> None:
        """Write adapter, optimizer and random state to ``path``.

        Raises:
            OutputError: ``path`` cannot be written.
            SidecarError: the child died.
        """
        self._write(Save(path))

    def load(self, path: Path) -> None:
        """Continue from the state that `save` wrote, as if training had never stopped.

        Raises:
            JobError: the file is missing, damaged, or of other options.
            SidecarError: the child died.
        """
        self._training = None
        self._note(self._ask(Call(Load(path)), Ready))

    def close(self) -> None:
        """End the child, even in the middle of training."""
        self._closed = True
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def __del__(self) -> None:
        # after an interrupt nobody may have it; Python itself keeps the pipes of a living child
        with suppress(AttributeError):  # there is no child yet
            self._process.kill()
            self._process.wait()

    def _write(self, request: Export | Save) -> None:
        """Ask for a file; if the call fails or is interrupted, remove it once it is written."""
        self._training = None
        try:
            self._note(self._ask(Call(request), Ready))
        except BaseException:
            self._channel.remove(request.path)
            raise

    def _post_training(
        self,
        prefix: Sequence[int],
        block: Sequence[int],
        loss_mask: Sequence[bool] | None,
        *,
        own: bool,
        captured: Captured | None,
    ) -> Call:
        """Post a request to train, unless it is what an earlier call posted."""
        mask = None if loss_mask is None else tuple(loss_mask)
        if captured is not None and self.device not in (None, TrainDevice.CPU):
            # a GPU computes them in less time than they take to get there
            captured = replace(captured, products=None, predictions=None)
        request = Train(tuple(prefix), tuple(block), mask, own, captured)
        if self._training is None or self._training.request != request:
            self._training = Call(request)
        self._channel.post(self._training)
        return self._training

    def _ask(self, call: Call, kind: type[Answer]) -> Answer:
        self._channel.post(call)
        return self._answer(call, kind)

    def _answer(self, call: Call, kind: type[Answer]) -> Answer:
        if self._closed:
            raise SidecarError("the training process is closed")
        match call.wait():
            case Failed(error):
                raise error
            case EOFError() | BrokenPipeError():
                raise self._death()
            case Exception() as error:
                raise error
            case answer if isinstance(answer, kind):
                return answer
            case answer:
                raise SidecarError(f"the training process answered {answer!r}; expected {kind}")

    def _note(self, ready: Ready) -> None:
        self.peak_rss_bytes = max(self.peak_rss_bytes, ready.peak_rss_bytes)

    def _death(self) -> SidecarError:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return SidecarKilledError(
                "the training process was killed (signal 9), perhaps because memory ran out; lower "
                "--block, --train-prefix or --rank"
            )
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return SidecarError(
            f"the training process ended unexpectedly ({how}); see its messages above"
        )
