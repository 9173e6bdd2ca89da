"""The device that training computes on: what is chosen, refused and said."""

import json
from dataclasses import asdict
from typing import Any

import pytest
import torch
from command import check_failure, run

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.errors import InsufficientMemoryError, OptionError
from templora_edge.models.footprint import Footprint, must_checkpoint
from templora_edge.options import Options, TrainDevice, TrainDtype, TrainingOptions
from templora_edge.training import device
from templora_edge.training.probe import chosen_device

without_gpu = pytest.mark.skipif(len(device.present()) > 1, reason="needs a machine without a GPU")


@without_gpu
def test_nothing_is_measured_without_a_choice() -> None:
    assert device.choose(TrainDevice.AUTO, TrainDtype.FP32, 10**15) == device.Choice(
        TrainDevice.CPU, "float32", {}
    )
    found = chosen_device(TrainingOptions(n_threads_train=1), 10**6)
    assert (found["device"], found["seconds"]) == ("cpu", {})


@without_gpu
def test_another_process_chooses_alike() -> None:
    asked = TrainingOptions(1, TrainDevice.CPU, TrainDtype.BF16)
    expected = device.choose(TrainDevice.CPU, TrainDtype.BF16, 10**6)
    assert chosen_device(asked, 10**6) == asdict(expected)


def test_the_step_that_is_measured_is_one() -> None:
    assert 0 < device._step_seconds(TrainDevice.CPU, torch.float32) < 60


@without_gpu
@pytest.mark.parametrize("name", [TrainDevice.CUDA, TrainDevice.MPS])
def test_a_device_that_is_not_there_is_refused(name: TrainDevice) -> None:
    with pytest.raises(OptionError, match=f"--train-device {name}: torch .* expected auto or cpu"):
        device.choose(name, TrainDtype.AUTO, 1)


@without_gpu
def test_a_run_is_refused() -> None:
    result = run("generate", "-m", BUNDLED_MODEL, "-p", "x", "-n", "1", "--train-device", "cuda")
    check_failure(result, "--train-device cuda: torch", "expected auto or cpu")


def test_info_says_it() -> None:
    described = json.loads(run("info", "--json", BUNDLED_MODEL).stdout)
    assert described["train_device"]["device"] in device.present()
    assert "trains on" in run("info").stdout


def test_all_tensors_of_a_state_are_moved() -> None:
    state: dict[str, Any] = {
        "a": [torch.ones(2), (torch.ones(1), None)],
        "b": {0: torch.ones(3)},
        "c": 4,
    }
    there = device.moved(state, torch.device("meta"))
    assert there["a"][0].is_meta
    assert there["a"][1][0].is_meta
    assert there["a"][1][1] is None
    assert there["b"][0].is_meta
    assert there["c"] == 4
    here = device.moved(state, torch.device("cpu"))
    assert here["a"][0] is state["a"][0], "nothing is copied where nothing moves"


def test_seeds_of_a_device_are_the_processors() -> None:
    """The processor's own numbers are as without; its state says what another device draws."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    device.seed_device(torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_errors_of_memory_are_known(error: RuntimeError, expected: bool) -> None:
    assert device.is_out_of_memory(error) is expected


def test_what_does_not_fit_a_device_says_what_to_do() -> None:
    footprint = Footprint(10**6, 10**8, 10**9, 10**8, 0)
    assert not must_checkpoint(footprint, None, 10**10)
    assert must_checkpoint(footprint, None, 10**9)
    with pytest.raises(InsufficientMemoryError, match=r"only 0\.0 GiB .*--train-device cpu"):
        must_checkpoint(footprint, None, -(10**9))


def test_every_way_in_takes_a_device() -> None:
    options = Options().changed(train_device="cpu", n_gpu_layers=0)
    assert options.training.train_device is TrainDevice.CPU
    assert Options().training.train_device is TrainDevice.AUTO
    with pytest.raises(OptionError, match="train_device is 'tpu'; expected one of auto, cpu"):
        options.changed(train_device="tpu")
