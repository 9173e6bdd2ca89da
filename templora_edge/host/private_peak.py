"""The peak of processes' private memory, which the system does not keep."""

import threading
from typing import Final

from templora_edge.closing import Closing
from templora_edge.host import memory

SAMPLE_SECONDS: Final = 0.005


class PrivatePeak(Closing):
    """Samples the private memory of a process until it is closed, and once more then.

    The attribute ``n_bytes`` is the largest sample.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stopped = threading.Event()
        self.n_bytes = memory.private(pid)
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop sampling."""
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            ended = self._stopped.wait(SAMPLE_SECONDS)
            self.n_bytes = max(self.n_bytes, memory.private(self._pid))
            if ended:
                return
