"""Measurements of training that other processes make on this machine; imports no torch."""

import json
import subprocess
import sys
from importlib.metadata import version
from typing import Any

from templora_edge.errors import SidecarError
from templora_edge.options import TrainDevice, TrainingOptions
from templora_edge.training.client import child_environment


def chosen_device(training: TrainingOptions, n_weights: int) -> dict[str, Any]:
    """The fields of `device.Choice` for resolved options and a base of ``n_weights`` weights.

    Raises:
        SidecarError: the measuring process failed.
    """
    if training.train_device is TrainDevice.AUTO and version("torch").endswith("+cpu"):
        return {"device": TrainDevice.CPU, "dtype": None, "seconds": {}}
    found: dict[str, Any] = _ask(
        "device",
        training.train_device,
        training.train_dtype,
        str(n_weights),
        str(training.n_threads_train),
    )
    return found


def gemm_peak(training: TrainingOptions, device: TrainDevice) -> tuple[str, float]:
    """The precision of training on ``device``, and the speed of a large product in it.

    Returns:
        torch's name of the precision, and floating-point operations a second.

    Raises:
        SidecarError: the measuring process failed.
    """
    found = _ask("gemm_peak", device, training.train_dtype, str(training.n_threads_train))
    return found["dtype"], found["flop_per_s"]


def _ask(module: str, *arguments: str) -> Any:
    """The JSON that a module of training prints."""
    ended = subprocess.run(
        [sys.executable, "-P", "-m", f"templora_edge.training.{module}", *arguments],
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for this process, which then ends the other
        env=child_environment(),
        check=False,
    )
    if ended.returncode != 0:
        raise SidecarError(
            f"the process that measures training ended with exit status {ended.returncode}; see "
            "its messages above"
        )
    return json.loads(ended.stdout)
