"""The command line: results on stdout, one line and an exit code on errors."""

import json
import os
import pty
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import pytest
from command import SMALL, TEMPLORA, check_failure, run
from gguf_files import copy_gguf, write_out
from parity import EXACT, trained
from paths import ROOT

from templora_edge import SamplingOptions, TempLora, __version__
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.cli.prompt import read_prompt
from templora_edge.engine import LlamaEngine
from templora_edge.host.workspace import default_root
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import EngineOptions


def test_generate_writes_text_lines_and_report(tmp_path: Path) -> None:
    report_path, adapter = tmp_path / "report.json", tmp_path / "adapter.gguf"
    outputs = ["--report", report_path, "--adapter-out", adapter]
    learning = ["--rank", 4, "--own-learning-rate", 1e-3, "--train-dtype", "fp32"]
    result = run("generate", "-p", "It was a dark night", *SMALL, *learning, *outputs)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split()) > 10
    lines = result.stderr.splitlines()
    assert [line.split(",")[0] for line in lines[:3]] == [f"block {k} of 3" for k in (1, 2, 3)]
    assert all(word in lines[1] for word in ("tok/s", "loss", "generate", "train", "swap", "ETA"))
    assert "40 tokens in" in lines[-1]
    report = json.loads(report_path.read_text())
    assert report.keys() == {"settings", "versions", "model", "before", "blocks", "total"}
    base = GgufFile(BUNDLED_MODEL)
    assert report["model"] == {
        "path": str(BUNDLED_MODEL),
        "sha256": base.sha256(),
        "parameters": base.n_params,
    }
    assert report["settings"]["rank"] == 4
    assert report["settings"]["block_len"] == 16
    assert [block["tokens"] for block in report["blocks"]] == [16, 16, 8]
    assert report["total"]["tokens"] == 40
    assert report["total"]["finished"] is True
    for block in report["blocks"]:  # the last one too: the adapter is kept
        assert block["loss_after"] < block["loss_before"]
    with LlamaEngine(BUNDLED_MODEL, EXACT) as engine:
        engine.swap(adapter)


def test_the_same_seed_the_same_text() -> None:
    arguments = ["generate", "-p", "It was", *SMALL, "-t", 1, "--preset", "paper"]
    first, second = (run(*arguments) for _ in range(2))
    assert first.stdout == second.stdout != ""


@pytest.mark.parametrize("source", ["-f", "-", "pipe"])
def test_prompt_sources_agree(source: str, tmp_path: Path) -> None:
    prompt = "The captain saw the sea\n"  # the final newline of a file is dropped
    file = tmp_path / "prompt.txt"
    file.write_text(prompt)
    plain = [*SMALL, "--no-templora", "-t", "1"]
    expected = run("generate", "-p", prompt.removesuffix("\n"), *plain)
    arguments = {"-f": ["-f", str(file)], "-": ["-f", "-"], "pipe": []}[source]
    result = run("generate", *arguments, *plain, prompt=prompt)
    assert result.returncode == 0
    assert result.stdout == expected.stdout


@pytest.mark.parametrize("arguments", [["-f", "prompt.txt"], ["-f", "-"], []])
@pytest.mark.parametrize("form", ["CRLF", "BOM", "UTF-16"])
def test_a_prompt_is_the_same_text_in_every_form(
    form: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "The captain\n\nsaw the sea\n"
    data = {
        "CRLF": text.replace("\n", "\r\n").encode(),
        "BOM": text.encode("utf-8-sig"),
        "UTF-16": text.replace("\n", "\r\n").encode("utf-16"),
    }[form]
    (tmp_path / "prompt.txt").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "prompt.txt").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        read = read_prompt(None, arguments[1] if arguments else None)
    assert read == "The captain\n\nsaw the sea"


def test_a_prompt_on_the_command_line_stays_as_it_is() -> None:
    assert read_prompt("\ufeffone\r\ntwo\r\n", None) == "\ufeffone\r\ntwo\r\n"


def test_a_prompt_in_utf_8_and_in_utf_16_is_continued_alike(tmp_path: Path) -> None:
    plain = [*SMALL, "--no-templora", "-t", "1"]
    texts = []
    for encoding, newline in (("utf-8", "\n"), ("utf-16", "\r\n")):
        file = tmp_path / f"{encoding}.txt"
        file.write_text("The captain\nsaw the sea\n", encoding=encoding, newline=newline)
        texts.append(run("generate", "-f", file, *plain).stdout)
    assert texts[0] == texts[1] != ""


def test_a_long_prompt_has_its_own_progress(tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_text("The captain saw the sea and the sailors. " * 40)
    result = run("generate", "-f", file, *SMALL, "--rank", 4)
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()
    absorbed = [line for line in lines if line.startswith("prompt: ")]
    assert len(absorbed) > 10
    assert "loss" in absorbed[-1]
    assert "block 1 of 3" in lines[len(absorbed)]


@pytest.mark.parametrize("own_rate", [0, 5e-5])
def test_blocks_that_loop_are_counted(own_rate: float, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    greedy = ["--temp", 0, "--repeat-penalty", 1, "--own-learning-rate", own_rate]
    size = ["-n", 128, "-c", 128, "--block", 32, "-s", 1, "--ignore-eos", "--report", report]
    result = run("generate", "-p", "It was a dark night", *greedy, *size)
    assert result.returncode == 0, result.stderr
    blocks = json.loads(report.read_text())["blocks"]
    looped = [block["looped"] for block in blocks]
    assert looped == [False, True, True, False], "the last block is not judged, as nothing follows"
    for block in blocks[:-1]:
        assert (block["loss_after"] is None) == (block["looped"] or own_rate == 0)
    assert "; blocks that repeat earlier text: 2; try --repeat-penalty" in result.stderr
    once = run("generate", "-p", "It was a dark night", *greedy, *size, "-n", 32, "--force")
    assert "repeat" not in once.stderr


def test_chat_uses_the_models_own_template(tmp_path: Path) -> None:
    template = "{{ bos_token }}{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}"
    chatty = tmp_path / "chatty.gguf"
    copy_gguf(BUNDLED_MODEL, chatty, lambda writer: writer.add_chat_template(template))
    plain = [*SMALL, "--no-templora", "-t", "1"]
    chat = run("generate", "-m", chatty, "-p", "Hello", "--chat", *plain)
    by_hand = run("generate", "-m", chatty, "-p", "[user: Hello]", *plain)
    assert chat.returncode == 0, chat.stderr
    assert chat.stdout == by_hand.stdout
    check_failure(run("generate", "-p", "Hello", "--chat", *SMALL), "no chat template")


def other_architecture(folder: Path) -> Path:
    path = folder / "mamba.gguf"
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_ssm_state_size(16)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    write_out(writer)
    return path


def cut(folder: Path, size: int) -> Path:
    path = folder / f"cut-{size}.gguf"
    path.write_bytes(BUNDLED_MODEL.read_bytes()[:size])
    return path


MODELS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "missing": (lambda folder: folder / "missing.gguf", ("missing.gguf", "no such file")),
    "directory": (lambda folder: folder, ("directory",)),
    "not a gguf": (lambda _: ROOT / "pyproject.toml", ("not a GGUF", "pyproject.toml")),
    "empty": (lambda folder: cut(folder, 0), ("not a GGUF",)),
    "cut in the header": (lambda folder: cut(folder, 20), ("truncated", "cut-20.gguf")),
    "cut in the vocabulary": (lambda folder: cut(folder, 5000), ("truncated",)),
    "cut in the tensors": (lambda folder: cut(folder, 3_000_000), ("truncated",)),
    "architecture": (other_architecture, ("'mamba'", "supported: llama")),
}


@pytest.mark.parametrize("case", MODELS)
def test_bad_models(case: str, tmp_path: Path) -> None:
    make, words = MODELS[case]
    check_failure(run("generate", "-m", make(tmp_path), "-p", "x", *SMALL), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "x", "-c", "128", "--block", "128"], ["block is 128", "context is 128"]),
        (["-p", "x", "-c", "128", "--block", "64", "--prefix", "65"], ["prefix is 65"]),
        (["-p", "x", "-c", "1000000000"], ["-c 1000000000", "available"]),
        (["-p", "x", "-c", "99999999999999"], ["largest context"]),
        (["-p", ""], ["-p", "empty"]),
        (["-f", "no-such-file"], ["no-such-file", "No such file"]),
        (["-f", "."], ["-f .", "directory"]),
        (["-p", "x", "--repeat-penalty", "0"], ["repeat_penalty"]),
        (["-p", "x", "--frequency-penalty", "nan"], ["frequency_penalty", "finite number"]),
        (["-p", "x", "--dry-multiplier", "-1"], ["dry_multiplier", "0 or more"]),
        (["-p", "x", "--learning-rate", "-1"], ["learning rate"]),
        (["-p", "x", "--preset", "paper", "--train-memory", "0.01"], ["--train-memory", "GiB"]),
        (["-p", "x", "--train-memory", "-1"], ["train memory"]),
        (["-p", "x", "--no-templora", "--adapter-out", "a.gguf"], ["--adapter-out"]),
        (["-p", "x", "--report", "no/such/folder.json"], ["--report", "no/such"]),
        (["-p", "x", "--report", "/proc/report.json"], ["--report", "/proc/report.json"]),
        (["-p", "x", "--adapter-out", "/"], ["--adapter-out", "directory"]),
    ],
)
def test_bad_values(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    check_failure(run("generate", *arguments, cwd=tmp_path), *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["empty"]),
        (b"noir\0", ["not text", "0x00 at offset 4"]),
    ],
)
def test_bad_prompts_in_a_pipe(data: bytes, words: list[str]) -> None:
    result = subprocess.run([*TEMPLORA, "generate"], input=data, capture_output=True, check=False)
    assert result.returncode == 1
    message = result.stderr.decode()
    assert message.count("\n") == 1
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    "arguments",
    [["generate", "--no-such-flag"], ["generate", "-n", "-2"], ["generate", "-p", "x", "-f", "y"],
     ["generate", "--kv-policy", "other"], ["generate", "--repeat-last-n", "-2"],
     ["no-such-command"], []],
)  # fmt: skip
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "Usage:" in result.stderr + result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-fa", "on"], ["-fa", "flash attention"]),
        (["-fx", "on"], ["No such option: -fx", "-f x"]),
        (["-np", "4"], ["No such option: -np"]),
        (["-sys", "You"], ["No such option: -sys"]),
        (["-no-cnv"], ["No such option: -no-cnv"]),
        (["-hft=token"], ["No such option: -hft"]),
    ],
)
def test_short_options_of_several_letters_are_named(arguments: list[str], words: list[str]) -> None:
    result = run("generate", "-p", "-x", *arguments)  # the value of -p is no option
    assert result.returncode == 2
    assert all(word in result.stderr for word in words)
    assert "Invalid value" not in result.stderr


def test_short_options_with_their_values_attached() -> None:
    attached = ["-n4", "-c128", "-t1", "-s1", f"-m{BUNDLED_MODEL}", "-ctk", "q8_0"]
    apart = ["-n", "4", "-c", "128", "-t", "1", "-s", "1", "-ctk", "q8_0"]
    results = [run("generate", "-p", "-abc", "--no-templora", *a) for a in (attached, apart)]
    assert results[0].stdout == results[1].stdout != ""


@pytest.mark.parametrize(
    ("flags", "values"),
    [
        (
            ["--presence-penalty", 2, "--repeat-last-n", -1],
            {"presence_penalty": 2, "repeat_last_n": -1},
        ),
        (["--frequency-penalty", 2], {"frequency_penalty": 2}),
        (
            ["--dry-multiplier", 9, "--dry-base", 3, "--dry-allowed-length", 1,
             "--dry-penalty-last-n", -1],
            {"dry_multiplier": 9, "dry_base": 3, "dry_allowed_length": 1, "dry_penalty_last_n": -1},
        ),
    ],
)  # fmt: skip
def test_flags_against_loops_reach_the_sampler(
    flags: list[object], values: dict[str, float]
) -> None:
    prompt = "The rain and the rain and the rain and the"
    plain = SamplingOptions(seed=1, ignore_eos=True, temperature=0)
    arguments = ["generate", "-p", prompt, *SMALL, "--no-templora", "--temp", "0"]
    expected = []
    for sampling in (plain.changed(**values), plain):
        with TempLora(templora=False, n_ctx=128, block_len=16) as text:
            pieces = text.generate(prompt, n_predict=40, sampling=sampling)
            expected.append("".join(piece.text for piece in pieces))
    result = run(*arguments, *flags)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{expected[0]}\n" != f"{expected[1]}\n"


def test_version() -> None:
    result = run("--version")
    assert result.returncode == 0
    llama = version("llama-cpp-python")
    assert result.stdout == f"templora {__version__} (llama-cpp-python {llama})\n"


@pytest.mark.parametrize(
    "command",
    [
        "generate",
        "translate",
        "evaluate",
        "perplexity",
        "passkey",
        "bench",
        "status",
        "info",
        "models",
        "config",
        "convert lora",
        "convert base",
    ],
)
def test_help_has_examples_a_line_each(command: str) -> None:
    text = run(*command.split(), "--help").stdout
    examples = text.partition("Examples:\n\n")[2].partition("\n\n")[0].splitlines()
    assert examples
    assert all(line.startswith(f"      templora {command}") for line in examples)


def test_a_broken_pipe_ends_the_run() -> None:
    process = subprocess.Popen(
        [
            *TEMPLORA,
            "generate",
            "-p",
            "It was",
            "-n",
            "100000",
            "-c",
            "128",
            "--ignore-eos",
            "--preset",
            "paper",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.read(20)
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    last = errors.decode().splitlines()[-1]
    assert last == "templora: stdout: its reader is gone; stopped"
    assert not list(default_root().glob("templora-*"))


@pytest.mark.parametrize("arguments", [["generate", "-p", "It was", *SMALL], ["info"]])
def test_a_full_disk_behind_stdout(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [*TEMPLORA, *arguments],
            stdout=full, stderr=subprocess.PIPE, check=False, text=True,
        )  # fmt: skip
    assert result.returncode == 1
    assert "No space left" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_standard_stream_that_is_closed(closed: str) -> None:
    """It is as if it were /dev/null."""
    command = f"{shlex.join([*TEMPLORA, 'info', '--json'])} {closed}"
    result = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False, text=True)
    assert result.returncode == 0
    assert not result.stderr
    assert (result.stdout == "") == (closed == ">&-")


def test_a_failed_run_keeps_the_old_report(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text("precious")
    arguments = ["generate", "-p", "x", "--report", report]
    check_failure(run(*arguments), f"--report {report}: exists", "--force")
    check_failure(run(*arguments, "--block", 999999, "--force"), "block is 999999")
    assert report.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_outputs_through_links(tmp_path: Path) -> None:
    """A link stays a link; its target is written."""
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    link.symlink_to(target)
    assert run("generate", "-p", "x", *SMALL, "--no-templora", "--report", link).returncode == 0
    assert link.is_symlink()
    assert json.loads(target.read_text())["total"]["tokens"] == 40


def test_info(tmp_path: Path) -> None:
    table = run("info")
    assert table.returncode == 0
    for words in ("llama", "Q8_0", "2,048 tokens", "Temp-LoRA", "rank"):
        assert words in table.stdout
    described = json.loads(run("info", "--json", BUNDLED_MODEL).stdout)
    base = GgufFile(BUNDLED_MODEL)
    assert described["parameters"] == base.n_params
    assert described["architecture"] == "llama"
    assert sum(described["quantization"].values()) == pytest.approx(1)
    assert described["templora"] is described["k_shift"] is described["self_extend"] is True
    assert described["repack"] is False
    assert described["kv_cache_bytes"] == 2048 * 5 * 2 * (64 + 64) * 2
    with LlamaEngine(BUNDLED_MODEL, EXACT) as engine:
        trained = llama_cpp.llama_model_n_ctx_train(engine.model.pointer)
        assert described["trained_context"] == trained
    ranks = [row["rank"] for row in described["training"]]
    assert ranks == sorted(ranks)
    for row in described["training"]:
        assert 0 < row["bytes_checkpointed"] <= row["bytes"]


def test_info_on_what_cannot_be_trained(tmp_path: Path) -> None:
    described = json.loads(run("info", "--json", other_architecture(tmp_path)).stdout)
    assert described["templora"] is False
    assert "mamba" in described["templora_reason"]
    assert "--no-templora" in described["templora_reason"]
    assert described["training"] == []
    assert described["k_shift"] is False
    check_failure(run("info", tmp_path / "none.gguf"), "none.gguf", "no such file")


def test_on_a_terminal_there_is_a_live_line() -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*TEMPLORA, "generate", "-p", "It was", *SMALL, "--preset", "paper"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=child,
        env=os.environ | {"TERM": "xterm", "LINES": "24", "COLUMNS": "120"},
    )
    os.close(child)
    screen = b""
    while True:
        try:
            chunk = os.read(parent, 4096)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        screen += chunk
    product, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"block 3 of 3" in screen
    assert b"ETA" in screen
    assert b"\x1b[" not in product
    assert b"block" not in product


def test_convert_lora_and_base(
    tiny_hf: Path, tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    base = tmp_path / "base.gguf"
    assert run("convert", "base", tiny_hf, base, "--type", "f32").returncode == 0
    assert base.read_bytes()[24:] == tiny_gguf("f32").read_bytes()[24:]
    trained(base, tokens).model.save_pretrained(str(tmp_path / "peft"))
    adapter = tmp_path / "adapter.gguf"
    check_failure(run("convert", "lora", tmp_path / "peft", adapter), "-m")
    assert run("convert", "lora", tmp_path / "peft", adapter, "-m", base).returncode == 0
    with LlamaEngine(base, EngineOptions(n_ctx=64, n_threads=1)) as engine:
        engine.swap(adapter)
    again = [adapter, "--force"]
    check_failure(run("convert", "lora", tmp_path, *again, "-m", base), "adapter_config.json")
    check_failure(run("convert", "lora", tmp_path / "peft", *again, "-m", BUNDLED_MODEL), "shape")
    check_failure(run("convert", "base", tmp_path, base, "--force"), "config.json")
    check_failure(run("convert", "base", tiny_hf, tmp_path), "directory")
    before = adapter.read_bytes()
    assert run("convert", "lora", tmp_path / "peft", *again, "-m", base).returncode == 0
    assert adapter.read_bytes() == before
