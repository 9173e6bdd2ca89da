"""Models in several files: the same numbers as in one, and errors that name the wrong part."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf_files import copy_gguf
from parity import EXACT, TRAIN, engine_logits, sidecar_logits, trained
from paths import PROSE

from templora_converters import hf_to_gguf, peft_to_gguf
from templora_edge import TempLora
from templora_edge.engine import LlamaEngine
from templora_edge.errors import ModelFileError
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.info import ModelInfo, info
from templora_edge.options import PAPER
from templora_edge.training.trainer import LoraTrainer


def split(source: Path, folder: Path, n_tensors: int) -> list[Path]:
    """Write ``source`` in parts of ``n_tensors`` tensors; return the parts in order."""
    copy_gguf(source, folder / "model.gguf", split_max_tensors=n_tensors)
    return sorted(folder.glob("model-*-of-*.gguf"))


@pytest.fixture
def parts(tiny_gguf: Callable[[str], Path], tmp_path: Path) -> list[Path]:
    paths = split(tiny_gguf("f32"), tmp_path, 12)
    assert [path.name for path in paths] == [f"model-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    return paths


@pytest.mark.slow
def test_a_real_model_in_parts_is_the_model_in_one(smollm2: Path, tmp_path: Path) -> None:
    paths = split(smollm2, tmp_path, 150)
    assert len(paths) == 2
    whole, base = GgufFile(smollm2), GgufFile(paths[0])
    assert base.tensors.keys() == whole.tensors.keys()
    assert (base.architecture, base.n_params) == (whole.architecture, whole.n_params)
    assert all(isinstance(tensor.data, np.memmap) for tensor in base.tensors.values())
    with LlamaEngine(smollm2, EXACT) as engine:
        tokens = engine.model.vocab.tokenize(PROSE.read_text()[:1000])[:96]
        served = engine_logits(engine, tokens)
    with LlamaEngine(paths[0], EXACT) as engine:
        np.testing.assert_array_equal(engine_logits(engine, tokens), served)
    lora = replace(PAPER, rank=4, dropout=0, epochs=1)
    ours, theirs = (LoraTrainer(side, replace(TRAIN, lora=lora)) for side in (base, whole))
    np.testing.assert_array_equal(sidecar_logits(ours, tokens), sidecar_logits(theirs, tokens))
    assert ours.train(tokens[:32], tokens[32:64]) == theirs.train(tokens[:32], tokens[32:64])


def test_any_part_stands_for_the_model(
    parts: list[Path], tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    links = tmp_path / "links"  # as a hub's cache has them: the names are the links' alone
    links.mkdir()
    for part in parts:
        target = part.rename(tmp_path / f"blob-{part.name[6:11]}")
        (links / part.name).symlink_to(target)
    whole = GgufFile(tiny_gguf("f32"))
    content = b"".join((links / part.name).read_bytes() for part in parts)
    for part in parts:
        base = GgufFile(links / part.name)
        assert base.path == links / parts[0].name
        assert base.n_params == whole.n_params
        assert base.file_bytes == len(content)
        assert base.sha256() == hashlib.sha256(content).hexdigest()
        described = info(links / part.name)
        assert isinstance(described, ModelInfo)
        assert (described.file_bytes, described.parameters) == (len(content), whole.n_params)
        assert described.templora
    with TempLora(links / parts[1].name, n_ctx=64, rank=4, n_threads=1) as text:
        assert [report.tokens for report in text.absorb("It was a dark and stormy night" * 3)]
        assert text.blocks[0].loss_before is not None
        text.save_adapter(tmp_path / "adapter.gguf")
    with LlamaEngine(tiny_gguf("f32"), EXACT) as engine:
        engine.swap(tmp_path / "adapter.gguf")  # made for the parts, it fits the whole


def test_an_adapter_is_converted_for_parts(
    parts: list[Path], tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path: Path
) -> None:
    trained(tiny_gguf("f32"), tokens).model.save_pretrained(str(tmp_path / "peft"))
    made = []
    for base in (tiny_gguf("f32"), parts[0]):
        made.append(tmp_path / f"{base.stem}-adapter.gguf")
        peft_to_gguf.convert(tmp_path / "peft", made[-1], base)
    assert made[0].read_bytes() == made[1].read_bytes()


def other_model(parts: list[Path], tiny_hf: Path, tiny_gguf: Callable[[str], Path]) -> None:
    """The second part of the same model, cut elsewhere."""
    folder = parts[0].parent / "other"
    folder.mkdir()
    shutil.copyfile(split(tiny_gguf("f32"), folder, 11)[1], parts[1])


def wider_model(parts: list[Path], tiny_hf: Path, tiny_gguf: Callable[[str], Path]) -> None:
    """The second part of a model with the same layers, but wider."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = parts[0].parent / "other"
    shutil.copytree(tiny_hf, folder)
    config = LlamaConfig.from_pretrained(tiny_hf)
    config.hidden_size = 128
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    hf_to_gguf.convert(folder, folder / "wide.gguf", "f32")
    shutil.copyfile(split(folder / "wide.gguf", folder, 12)[1], parts[1])


def missing(parts: list[Path], *_: object) -> None:
    parts[1].unlink()


def damaged(parts: list[Path], *_: object) -> None:
    parts[1].write_bytes(parts[1].read_bytes()[:-1000])


def empty(parts: list[Path], *_: object) -> None:
    parts[1].write_bytes(b"")


def swapped(parts: list[Path], *_: object) -> None:
    aside = parts[1].rename(parts[1].with_name("aside"))
    parts[2].rename(parts[1])
    aside.rename(parts[2])


def whole(parts: list[Path], _: Path, tiny_gguf: Callable[[str], Path]) -> None:
    shutil.copyfile(tiny_gguf("f32"), parts[1])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (missing, ("no such file", "one of 3 parts")),
        (damaged, ("damaged or truncated",)),
        (empty, ("not a GGUF",)),
        (swapped, ("part 3 of 3", "expected part 2 of 3")),
        (whole, ("a whole model", "expected part 2 of 3")),
        (other_model, ("another model", "before it")),
        (wider_model, ("another model", "128 values, not 64")),
    ],
)
def test_a_wrong_part_is_named(
    spoil: Callable[[list[Path], Path, Callable[[str], Path]], None],
    words: tuple[str, ...],
    parts: list[Path],
    tiny_hf: Path,
    tiny_gguf: Callable[[str], Path],
) -> None:
    spoil(parts, tiny_hf, tiny_gguf)
    with pytest.raises(ModelFileError) as caught:
        GgufFile(parts[0])
    message = str(caught.value)
    assert message.startswith(f"{parts[1]}: ")
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_part_under_another_name(parts: list[Path]) -> None:
    renamed = parts[0].rename(parts[0].with_name("renamed.gguf"))
    with pytest.raises(ModelFileError, match=r"renamed\.gguf: part 1 of 3.*renamed-00001-of-00003"):
        GgufFile(renamed)


def test_generation_without_templora(parts: list[Path], tiny_gguf: Callable[[str], Path]) -> None:
    texts = [
        subprocess.run(
            [sys.executable, "-m", "templora_edge.cli", "generate", "-m", path, "-p", "It was",
             "-n", "20", "-c", "64", "-t", "1", "-s", "1", "--no-templora", "--ignore-eos",
             "--report", path.with_suffix(".json")],
            check=True, capture_output=True,
        ).stdout
        for path in (tiny_gguf("f32"), parts[2])
    ]  # fmt: skip
    assert texts[0] == texts[1]
    report = json.loads(parts[2].with_suffix(".json").read_text())
    assert report["model"]["path"] == str(parts[0])
