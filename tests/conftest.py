"""Models made on the spot, and the engine and trainer on them."""

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from templora_converters import hf_to_gguf
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.engine import LlamaEngine
from templora_edge.host.workspace import default_root
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import EngineOptions, KvType, LoraOptions, TrainDtype, TrainerOptions
from templora_edge.training.trainer import LoraTrainer

ROOT = Path(__file__).parent.parent
EXACT = EngineOptions(
    n_ctx=512, type_k=KvType.F32, type_v=KvType.F32, flash_attn=False, n_threads=1
)
"""llama.cpp at its most exact, for parity."""

TRAIN = TrainerOptions(n_threads=2, n_ctx=512, n_tokens=512, dtype=TrainDtype.FP32)

Floats = npt.NDArray[np.float32]

TEXT = (
    "It was a dark and stormy night; the rain fell in torrents, except at occasional intervals, "
    "when it was checked by a violent gust of wind which swept up the streets. "
)


REAL_MODELS = {
    "smollm2": ROOT / "models" / "smollm2-135m-instruct-q4_1.gguf",
    "gemma3": ROOT / "models" / "gemma-3-270m-q4_k_m.gguf",
}
"""Pretrained models, as scripts/models fetches them: a llama without BOS, and a gemma3 with BOS and
sliding windows."""

PROSE = ROOT / "tests" / "prose.txt"
"""The beginning of H. G. Wells, Tono-Bungay (Project Gutenberg 718, public domain)."""


def real_model(name: str) -> Path:
    """A pretrained model; the test is skipped where scripts/models could not fetch it."""
    path = REAL_MODELS[name]
    if not path.is_file():
        pytest.skip(f"{path} is missing; scripts/models fetches it")
    return path


@pytest.fixture(scope="session")
def smollm2() -> Path:
    return real_model("smollm2")


@pytest.fixture(scope="session")
def gemma3() -> Path:
    return real_model("gemma3")


@pytest.fixture(scope="session", autouse=True)
def own_storage() -> Iterator[None]:
    """Temporary storage of these tests alone: they look for what runs leave there."""
    with (
        tempfile.TemporaryDirectory(dir=default_root()) as folder,
        pytest.MonkeyPatch.context() as m,
    ):
        m.setenv("TMPDIR", folder)
        m.setattr(tempfile, "tempdir", None)
        yield


def make_tokenizer(folder: Path) -> int:
    """Write a byte-level BPE tokenizer to ``folder``; return its size."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = '{"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "tokenizer_class": "%s"}'
    (folder / "tokenizer_config.json").write_text(config % "PreTrainedTokenizerFast")
    return tokenizer.get_vocab_size()


@pytest.fixture(scope="session")
def tiny_hf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with grouped queries and a head size that is not width / heads."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    n_vocab = make_tokenizer(folder)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=n_vocab,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_gguf(tiny_hf: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``tiny_hf`` as a GGUF of a given type."""
    folder = tmp_path_factory.mktemp("tiny-gguf")

    def make(file_type: str) -> Path:
        path = folder / f"{file_type}.gguf"
        if not path.exists():
            hf_to_gguf.convert(tiny_hf, path, file_type)
        return path

    return make


@pytest.fixture
def tiny_engine(tiny_gguf: Callable[[str], Path]) -> Iterator[LlamaEngine]:
    with LlamaEngine(tiny_gguf("f32"), EXACT) as engine:
        yield engine


@pytest.fixture(scope="session")
def tokens() -> list[int]:
    """256 token ids that any test model knows."""
    return [int(token) for token in np.random.default_rng(3).integers(1, 300, 256)]


@pytest.fixture(scope="session")
def llama_cpp_source(request: pytest.FixtureRequest) -> Path:
    """llama.cpp's sources, as in the source distribution of llama-cpp-python."""
    folder = ROOT / ".cache" / "llama_cpp_python-0.3.36"
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary=:all:"]
        result = subprocess.run(
            [*command, "-d", str(folder.parent), folder.name.replace("_python-", "_python==")],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if result.returncode != 0:
            pytest.skip(f"the source distribution cannot be had: {result.stderr[-300:]}")
        with tarfile.open(folder.parent / f"{folder.name}.tar.gz") as archive:
            archive.extractall(folder.parent, filter="data")
    return folder / "vendor" / "llama.cpp"


def run_upstream(script: Path, *arguments: object) -> None:
    """Run one of llama.cpp's Python scripts."""
    result = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"},
    )
    assert result.returncode == 0, result.stderr[-2000:]


def copy_gguf(
    source: Path,
    out: Path,
    add: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    *,
    without: Sequence[str] = (),
    split_max_tensors: int = 0,
) -> None:
    """Write ``source`` again, with what ``add`` adds to its metadata, without some keys."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(out, architecture, split_max_tensors=split_max_tensors)
    for key, field in reader.fields.items():
        if not key.startswith(("GGUF.", "general.architecture", *without)):
            kind = field.types[0]
            sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, field.contents(), kind, sub_type)
    add(writer)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def engine_logits(engine: LlamaEngine, tokens: Sequence[int]) -> Floats:
    """Logits after every token from an empty cache, (T, n_vocab)."""
    engine.clear()
    return np.concatenate([logits.copy() for logits in engine.context.decode_all(tokens)])


def sidecar_logits(trainer: LoraTrainer, tokens: Sequence[int]) -> Floats:
    """As `engine_logits`, from the torch side."""
    trainer.model.eval()
    with torch.inference_mode():
        logits = trainer.model(input_ids=torch.tensor([list(tokens)]), use_cache=False).logits
    return np.asarray(logits[0].float().numpy())


def trained(
    path: Path,
    tokens: Sequence[int],
    blocks: int = 2,
    seed: int = 0,
    options: TrainerOptions = TRAIN,
) -> LoraTrainer:
    """A trainer on ``path`` whose adapter has moved visibly."""
    lora = LoraOptions(rank=8, alpha=16, learning_rate=5e-3, seed=seed)
    trainer = LoraTrainer(GgufFile(path), lora, options)
    for index in range(blocks):
        begin = 64 * index
        trainer.train(tokens[max(0, begin - 32) : begin], tokens[begin : begin + 64])
    return trainer


def bundled_tokens(n: int) -> list[int]:
    """The first ``n`` tokens of a text, for the bundled model."""
    with LlamaEngine(BUNDLED_MODEL, EXACT) as engine:
        return [*engine.model.vocab.head, *engine.model.vocab.tokenize(TEXT * 20)][:n]


def assert_close_to_hf(model: torch.nn.Module, path: Path, tokens: Sequence[int]) -> None:
    """transformers' own model, the sidecar and llama.cpp agree on the F32 GGUF ``path``."""
    with torch.inference_mode():
        reference = model(input_ids=torch.tensor([list(tokens)])).logits[0].float().numpy()
    sidecar = sidecar_logits(LoraTrainer(GgufFile(path), LoraOptions(rank=4), TRAIN), tokens)
    with LlamaEngine(path, EXACT) as engine:
        served = engine_logits(engine, tokens)
    np.testing.assert_allclose(sidecar, reference, atol=1e-3)
    np.testing.assert_allclose(served, reference, atol=2e-3)


def assert_same_tensors(ours: Path, theirs: Path) -> None:
    a, b = ({t.name: t for t in gguf.GGUFReader(path).tensors} for path in (ours, theirs))
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert tensor.tensor_type == b[name].tensor_type, name
        np.testing.assert_array_equal(tensor.data, b[name].data, err_msg=name)


def mean_kl(reference: Floats, other: Floats) -> float:
    """Mean Kullback-Leibler divergence of rows of logits, in nats."""
    return float(np.mean([kl(p, q) for p, q in zip(reference, other, strict=True)]))


def kl(reference: Floats, other: Floats) -> float:
    """Kullback-Leibler divergence of two rows of logits, (n_vocab,), in nats."""
    p = torch.log_softmax(torch.from_numpy(reference).double(), -1)
    q = torch.log_softmax(torch.from_numpy(other).double(), -1)
    return float((p.exp() * (p - q)).sum())
