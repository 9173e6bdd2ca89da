"""`generate -o`: wherever it is stopped, the same command ends with the same bytes."""

import json
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from command import TEMPLORA, check_failure, run
from disks import disk
from paths import PROSE
from warm import Forked

from templora_edge.errors import JobError, SidecarKilledError
from templora_edge.events import BlockReport, Piece
from templora_edge.generation.generate_job import GenerateJob
from templora_edge.generation.generation import Generation
from templora_edge.generation.outputs import Outputs
from templora_edge.options import Options, SamplingOptions, SelfExtendOptions

KILLED = Forked(str(Path(__file__).parents[1] / "killed.py"))
PROMPT = "The captain saw the sea and the sailors. " * 12
"""Longer than the prefix, so that it is absorbed."""
LEARNS = ["--own-learning-rate", 1e-3, "--rank", 4]
SIZE = ["-c", 128, "--block", 16, "-s", 1, "--ignore-eos"]
SHORT = ["generate", "-p", "It was a dark night", *SIZE]
TIMES = {"generate_s", "train_s", "convert_s", "swap_s", "rss_bytes"}


def blocks_of(report: Path) -> list[dict[str, Any]]:
    """What a report says of each block, without times and memory."""
    found = json.loads(report.read_text())["blocks"]
    return [{name: block[name] for name in block.keys() - TIMES} for block in found]


def test_killed_wherever_it_works(tmp_path: Path) -> None:
    """In a block, in training, in a swap, in each kind of save."""
    out, whole = tmp_path / "text.txt", tmp_path / "whole.txt"
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(PROMPT)
    command = ["generate", "-f", prompt, *SIZE, *LEARNS, "-n", 72]
    report, expected = tmp_path / "report.json", tmp_path / "expected.json"
    result = run(*command, "-o", whole, "--report", expected)
    assert result.returncode == 0, result.stderr
    assert not result.stdout
    again = [*command, "-o", out, "--report", report]
    points = [
        ("training", 3), ("a save of training", 2), ("training", 4), ("a block", 5),
        ("taking up", 1), ("training", 1), ("a save of the cache", 1), ("a swap", 2),
        ("a save of the state", 1), ("the old state's removal", 1), ("a save of tokens", 1),
        ("writing", 1), ("a block", 25), ("the end", 1),
    ]  # fmt: skip
    for point, number in points:
        killed = subprocess.run(
            [*KILLED, point, str(number), *map(str, again)],
            check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert killed.returncode == -signal.SIGKILL, (point, killed.stderr)
        if out.exists():
            assert whole.read_bytes().startswith(out.read_bytes()), point
    result = run(*again)
    assert result.returncode == 0, result.stderr
    assert out.read_bytes() == whole.read_bytes()
    assert blocks_of(report) == blocks_of(expected)
    assert json.loads(report.read_text())["total"]["tokens"] == 72
    left = {path.name.partition("-")[0] for path in Path(f"{out}.job").iterdir()}
    assert left == {"cache", "job.sqlite", "lock", "training"}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a text in this process, stopping where it is told; the text, from its file."""

    def write(name: str, options: Options, n_predict: int, *stops: int, **job: Any) -> str:
        out = tmp_path / name
        wanted = GenerateJob(
            **{"prompt": "It was a dark night", "seed": 1} | job,
            n_predict=n_predict,
            options=options,
            sampling=SamplingOptions(ignore_eos=True),
            outputs=Outputs(out),
        )
        for stop in (*stops, n_predict + 1):
            with Generation(wanted) as generation:
                events = iter(generation)
                pieces = 0
                while pieces < stop and (event := next(events, None)) is not None:
                    pieces += isinstance(event, Piece)
                events.close()  # type: ignore[attr-defined]  # a generator
        return out.read_text(encoding="utf-8")

    return write


SMALL = Options().changed(n_ctx=64, block_len=8, n_threads=1, n_threads_train=1)
LEARNING = SMALL.changed(own_learning_rate=1e-3, rank=4)


@pytest.mark.parametrize(
    "options",
    [
        SMALL,
        SMALL.changed(templora=False, kv_policy="shift"),
        SMALL.changed(n_ctx=1024, self_extend=SelfExtendOptions(4, 64), templora=False),
        LEARNING,
        LEARNING.changed(kv_policy="recompute"),
        LEARNING.changed(kv_policy="shift", type_k="q8_0"),
        LEARNING.changed(overlap=True),
        LEARNING.changed(preset="paper", rank=4, own_learning_rate=1e-3),
    ],
    ids=["reuse", "shift", "self-extend", "learning", "recompute", "both", "overlap", "paper"],
)
def test_a_state_is_taken_up_exactly(options: Options, write: Callable[..., str]) -> None:
    n = 600 if options.engine.self_extend else 64
    whole = write("whole", options, n)
    assert len(whole) > n
    assert write("stopped", options, n, 3, n // 2, 1) == whole


def test_more_tokens_are_those_of_a_longer_run(write: Callable[..., str]) -> None:
    assert write("more", LEARNING, 20)
    assert write("more", LEARNING, 20), "nothing is left to do"
    assert write("more", LEARNING, 50) == write("whole", LEARNING, 50)


def test_sliding_windows(gemma3: Path, write: Callable[..., str]) -> None:
    """Their cells lie elsewhere once they are read from a file: the run that goes on does that."""
    options = Options().changed(n_ctx=2048, block_len=16, templora=False, n_threads=1)
    prompt = PROSE.read_text(encoding="utf-8")[:2600]
    whole = write("whole", options, 40, model=gemma3, prompt=prompt)
    assert write("stopped", options, 40, 18, 5, model=gemma3, prompt=prompt) == whole


def test_a_lost_cache_loses_no_text(
    write: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The cache's file is the only one that is not flushed to disk."""
    begun = write("text", SMALL, 40)
    [cache] = (tmp_path / "text.job").glob("cache-*.kv")
    cache.write_bytes(bytes(cache.stat().st_size))
    assert write("text", SMALL, 60).startswith(begun.removesuffix("\n"))
    assert "KV cache was lost" in caplog.text


def test_a_killed_training_process_is_started_again_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = GenerateJob(
        PROMPT, 40, options=LEARNING, seed=1, outputs=Outputs(tmp_path / "whole.txt"),
        sampling=SamplingOptions(ignore_eos=True),
    )  # fmt: skip
    with Generation(job) as generation:
        list(generation)
    whole = (tmp_path / "whole.txt").read_bytes()
    again = replace(job, outputs=Outputs(tmp_path / "again.txt"))
    with Generation(again) as generation:
        killed = 0
        for event in generation:
            if isinstance(event, BlockReport) and not killed:
                assert generation.text.trainer is not None
                os.kill(generation.text.trainer.pid, signal.SIGKILL)
                killed += 1
    assert killed
    assert (tmp_path / "again.txt").read_bytes() == whole
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 1
    assert "was killed (signal 9), perhaps because memory ran out; it is started" in caplog.text
    twice = replace(job, outputs=Outputs(tmp_path / "twice.txt"))
    with Generation(twice) as generation:
        events = filter(lambda event: isinstance(event, BlockReport), generation)
        for _ in range(2):
            next(events)
            assert generation.text.trainer is not None
            os.kill(generation.text.trainer.pid, signal.SIGKILL)
        with pytest.raises(SidecarKilledError, match="ran out; lower --block"):
            next(events)
    with Generation(twice) as generation:
        list(generation)
    assert (tmp_path / "twice.txt").read_bytes() == whole


def test_suspended_and_terminated(tmp_path: Path) -> None:
    out = tmp_path / "text.txt"
    command = [*map(str, SHORT), "-n", "1500", "-o", str(out)]
    process = subprocess.Popen([*TEMPLORA, *command], stderr=subprocess.DEVNULL)
    while not out.exists():
        assert process.poll() is None
    process.send_signal(signal.SIGSTOP)
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        pass
    second = run(*command)
    assert (second.returncode, second.stderr.count("\n")) == (1, 1)
    assert "another process is working on it" in second.stderr
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    state = run("status", out).stdout
    assert "of 1,500 tokens written in " in state
    assert "not finished\nnext: run the same command" in state
    result = run(*command)
    assert result.returncode == 0, result.stderr
    assert out.read_text() == run(*SHORT, "-n", 1500).stdout, "the same as without a job"
    found = json.loads(run("status", out, "--json").stdout)
    assert (found["tokens"], found["finished"], found["ended"]) == (1500, True, False)


def test_what_a_job_was_begun_with(tmp_path: Path) -> None:
    out = tmp_path / "text.txt"
    command = [*SHORT, "-n", 20, "-o", out]
    out.write_text("mine")
    check_failure(run(*command), "text.txt: exists", "--force")
    assert out.read_text() == "mine"
    assert run(*command, "--force").returncode == 0
    first = out.read_text()
    assert run(*command).returncode == 0, "what the job wrote may be written again"
    prompt = ["generate", "-p", "It was a bright night", *SIZE, "-n", 20, "-o", out]
    check_failure(run(*prompt), "begun with another prompt; ", "--restart")
    check_failure(run(*command, "--temp", 0.3), "another temperature; ", "--restart")
    check_failure(run(*command, "-c", 64, "--no-templora"), "n_ctx", "templora", "--restart")
    fewer = run(*command[:-3], 4, "-o", out, "-t", 1)
    assert fewer.returncode == 0
    assert "has 20 tokens already, more than -n 4" in fewer.stderr
    assert out.read_text() == first
    out.write_text(first.replace("\n", "") + "!")
    check_failure(run(*command), "was changed since it was written", "--force")
    assert run(*command, "--force").returncode == 0
    assert out.read_text() == first
    assert run(*prompt, "--restart").returncode == 0
    assert out.read_text() != first
    source = tmp_path / "roman.txt"
    source.write_text("Bonjour.\n")
    translation = ["translate", source, "-o", out, "-sl", "fr", "-tl", "en", "--force"]
    check_failure(run(*translation), "of a generation, not of a translation")
    check_failure(run(*command[:-1], "/dev/null"), "not a regular file")
    check_failure(run(*SHORT, "--restart"), "give -o")
    Path(f"{out}.job", "job.sqlite").write_bytes(b"not a database" * 100)
    check_failure(run(*command, "--force"), "damaged", "--restart")
    check_failure(run("status", tmp_path / "other.txt"), "no job was begun for it")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    with disk(tmp_path / "disk", "2m") as mounted:
        if not mounted:
            pytest.skip("needs the right to mount a file system")
        yield tmp_path / "disk"


def test_a_disk_that_fills_up(tmp_path: Path, small_disk: Path) -> None:
    """Wherever the space runs out, the work continues from there once there is some."""
    command = [*SHORT, *LEARNS, "-n", 64]
    assert run(*command, "-o", tmp_path / "text.txt").returncode == 0
    whole = (tmp_path / "text.txt").read_bytes()
    out, filler = small_disk / "text.txt", small_disk / "filler"
    for spare in (8_000, 60_000, 200_000):
        filler.write_bytes(b"")
        filler.write_bytes(bytes(max(0, shutil.disk_usage(small_disk).free - spare)))
        result = run(*command, "-o", out)
        assert result.returncode == 1, "the disk was large enough: an empty test"
        [line] = [line for line in result.stderr.splitlines() if not line.startswith("block ")]
        assert line.startswith("templora: ")
        assert any(words in line for words in ("cannot be written", "can be written there"))
        if out.exists():
            assert whole.startswith(out.read_bytes())
    filler.unlink()
    result = run(*command, "-o", out)
    assert result.returncode == 0, result.stderr
    assert out.read_bytes() == whole


def test_a_job_that_another_process_begins_meanwhile(tmp_path: Path) -> None:
    job = GenerateJob("It was", 4, options=SMALL, seed=1, outputs=Outputs(tmp_path / "text.txt"))
    with Generation(job), pytest.raises(JobError, match="another process is working on it"):
        Generation(job)
