"""A scheduler and workers, started with Dask's own commands."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from paths import ROOT

from templora_edge.closing import Closing
from templora_edge.shelf import attempt

WARM = ROOT / "tests" / "shelf" / "warm_worker.py"
START_SECONDS = 60


class DaskProcesses(Closing):
    """Processes of a small cluster on this machine, each with a log in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        words = json.dumps([*attempt.LEASHED])
        path = os.pathsep.join([str(ROOT), str(ROOT / "converters")])
        self._environment = os.environ | {"WARM_WORDS": words, "PYTHONPATH": path}

    def scheduler(self) -> tuple[subprocess.Popen[bytes], str]:
        """Start a scheduler on a free port; its process and its address."""
        options = ["--host", "127.0.0.1", "--port", "0", "--no-show", "--dashboard-address", ":0"]
        process, log = self._start("scheduler", *options)
        return process, self._said(process, log, r"Scheduler at:\s+(tcp://\S+)")

    def worker(self, address: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker of one book at a time; return its process once it is registered."""
        alone = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--preload", str(WARM)]
        place = ["--local-directory", str(self._folder), "--resources", "CORES=1 MEMORY=8e9"]
        process, log = self._start("worker", address, *alone, *place, *options)
        self._said(process, log, r"Registered to:\s+(tcp://\S+)")
        return process

    def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def _start(self, *command: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = self._folder / f"{command[0]}-{len(self._processes)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *command],
                stdout=file,
                stderr=file,
                env=self._environment,
                start_new_session=True,
            )
        self._processes.append(process)
        return process, log

    def _said(self, process: subprocess.Popen[bytes], log: Path, pattern: str) -> str:
        """Wait until the log of ``process`` has ``pattern``; its first group."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and process.poll() is None:
            if match := re.search(pattern, log.read_text(errors="replace")):
                return match[1]
            time.sleep(0.05)
        raise ChildProcessError(log.read_text(errors="replace"))
