"""Train a small base model from a folder of .txt files, up to GGUF files and a model card.

Usage: python scripts/train_base.py TEXT_DIR OUT_DIR --name NAME [--evaluate FILE...]

OUT_DIR gets the tokenizer, the checkpoint of the run, a Hugging Face checkpoint (hf/), the model as
NAME-f16.gguf and NAME-q8_0.gguf, and its card NAME.md. The same command goes on where an
interrupted one stopped; finished steps are not repeated. A CUDA GPU is used if there is one.
Progress goes to stderr and, a JSON line an entry, to OUT_DIR/log.jsonl.

The recipe: byte-level BPE; a Llama with tied embeddings, its output projections started at zero;
Muon on the matrices of the layers, AdamW on embeddings and norms; a short warm-up, then a constant
learning rate that falls linearly to zero over the last half; short windows first, the whole context
at the end.
"""

import argparse
import ctypes
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from base_card import Facts, write_card
from muon import Muon
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from converters.hf_to_gguf import convert
from templora_edge.config import TrainDtype
from templora_edge.engine import Model
from templora_edge.errors import CheckpointError
from templora_edge.files import replacing
from templora_edge.sidecar.trainer import choose_dtype

END: Final = "<|endoftext|>"
"""Token 0: before every text, and the end of generation."""

N_CHECKED: Final = 131_072
"""Held-out tokens that are scored now and then."""
SAVE_SECONDS: Final = 180
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""glibc, malloc.h."""
HELDOUT_EVERY: Final = 40
"""One text in so many is held out."""

Tokens = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Recipe:
    """What is trained, and how. Lengths are in tokens."""

    vocab_size: int = 8192
    layers: int = 5
    width: int = 256
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 768
    context: int = 2048
    short_context: int = 512
    tokens: int = 16_384_000
    batch: int = 8192
    learning_rate: float = 5e-3
    warmup: int = 48
    """Steps over which the learning rate rises."""
    weight_decay: float = 0.1
    seed: int = 1

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.tokens // self.batch

    def window(self, step: int) -> int:
        """Tokens that are attended to in ``step``: the whole context in the last fifth."""
        return self.context if step >= 0.8 * self.steps else self.short_context

    def rate(self, step: int) -> float:
        """Learning rate of ``step``, as a share of the highest."""
        return min(1.0, (step + 1) / self.warmup) * min(1.0, 2 * (self.steps - step) / self.steps)


def train_tokenizer(files: list[Path], path: Path, vocab_size: int) -> None:
    """Write a byte-level BPE tokenizer with GPT-2's word pattern, which llama.cpp knows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train(
        [str(file) for file in files],
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    with replacing(path, "OUT_DIR") as temporary:
        tokenizer.save(str(temporary))


def encode(tokenizer: Tokenizer, files: list[Path], path: Path) -> None:
    """Write the tokens of all ``files``, END before each."""
    parts = []
    for file in files:
        ids = tokenizer.encode(file.read_text(encoding="utf-8")).ids
        parts.append(np.array([0, *ids], dtype=np.uint16))
    with replacing(path, "OUT_DIR") as temporary, temporary.open("wb") as out:
        np.save(out, np.concatenate(parts))


def batches(tokens: Tokens, recipe: Recipe, begin: int) -> Iterator[torch.Tensor]:
    """Batches (rows, window + 1) from step ``begin`` on: each epoch's windows in a new order."""
    step = done = 0
    while step < recipe.steps:
        window = recipe.window(step)
        rows = recipe.batch // window
        rng = np.random.default_rng((recipe.seed, done))
        starts = np.arange(rng.integers(window), len(tokens) - window - 1, window)
        rng.shuffle(starts)
        for first in range(0, len(starts) - rows + 1, rows):
            if step == recipe.steps or recipe.window(step) != window:
                break
            if step >= begin:
                picked = [tokens[s : s + window + 1] for s in starts[first : first + rows]]
                yield torch.from_numpy(np.stack(picked).astype(np.int64))
            step += 1
        done += 1


def windows(tokens: Tokens, window: int) -> torch.Tensor:
    """``tokens`` as consecutive windows that share their ends, (n, window + 1)."""
    n = (len(tokens) - 1) // window
    view = np.lib.stride_tricks.sliding_window_view(tokens[: n * window + 1], window + 1)
    return torch.from_numpy(view[::window].astype(np.int64))


def build_model(recipe: Recipe) -> LlamaForCausalLM:
    """A fresh model; the projections back into the residual stream start at zero."""
    config = LlamaConfig(
        vocab_size=recipe.vocab_size,
        hidden_size=recipe.width,
        intermediate_size=recipe.ffn,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        head_dim=recipe.width // recipe.heads,
        max_position_embeddings=recipe.context,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(config)
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    return model


def loss_sum(model: LlamaForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    """Sum of the NLL in nats of all but the first token of each row of ``batch`` (B, T + 1)."""
    hidden = model.model(input_ids=batch[:, :-1], use_cache=False).last_hidden_state
    logits = model.lm_head(hidden).float()  # (B, T, V)
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum"
    )


def keep_freed_memory() -> None:
    """Have glibc, where there is glibc, keep what is freed for the next large buffer.

    New ones from the system cost page faults: a tenth to a quarter of the time (docs/log.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


class Run:
    """A model in training, which can be saved and taken up again."""

    def __init__(self, recipe: Recipe, path: Path) -> None:
        self.recipe, self.path, self.step, self.seconds = recipe, path, 0, 0.0
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        bf16 = self.device == "cuda" or choose_dtype(TrainDtype.AUTO) == torch.bfloat16
        self.dtype = torch.bfloat16 if bf16 else torch.float32
        torch.set_float32_matmul_precision("high")
        keep_freed_memory()
        self.model = build_model(recipe)
        self.model.to(self.device)  # type: ignore[arg-type]  # its stub takes a model only
        matrices = [p for p in self.model.model.layers.parameters() if p.ndim == 2]
        known = {id(p) for p in matrices}
        others = [p for p in self.model.parameters() if id(p) not in known]
        rate = recipe.learning_rate
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, rate, weight_decay=recipe.weight_decay, dtype=self.dtype),
            torch.optim.AdamW(others, rate, betas=(0.9, 0.95), weight_decay=0, fused=True),
        ]
        self._loss: Callable[[LlamaForCausalLM, torch.Tensor], torch.Tensor]
        self._loss = torch.compile(loss_sum, dynamic=False)
        # Rows at once: as large as a GPU likes, small enough for a CPU's caches.
        self._micro_tokens = 65_536 if self.device == "cuda" else 4096
        if path.exists():
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.step, self.seconds = state["step"], state["seconds"]

    def save(self) -> None:
        """Replace the run's checkpoint by the state it is in."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
        }
        with replacing(self.path, "OUT_DIR") as temporary:
            torch.save(state, temporary)

    def loss(self, batch: torch.Tensor, *, learn: bool) -> float:
        """Mean NLL of ``batch`` in nats a token; adds its gradient if ``learn``."""
        total = 0.0
        n_scored = batch.shape[0] * (batch.shape[1] - 1)
        rows = max(1, self._micro_tokens // (batch.shape[1] - 1))
        for part in torch.split(batch, rows):
            with (
                torch.set_grad_enabled(learn),
                torch.autocast(self.device, self.dtype, enabled=self.dtype == torch.bfloat16),
            ):
                loss = self._loss(self.model, part.to(self.device)) / n_scored
            if learn:
                loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total

    def learn(self, batch: torch.Tensor) -> float:
        """One step on ``batch``; its loss before the step, in nats a token."""
        loss = self.loss(batch, learn=True)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.learning_rate * self.recipe.rate(self.step)
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return loss


def train(run: Run, tokens: Tokens, heldout: Tokens, bytes_per_token: float, log: Path) -> None:
    """Train to the end of the recipe, logging, and saving every few minutes."""
    recipe = run.recipe
    check = windows(heldout[:N_CHECKED], recipe.short_context)
    begun, first, saved = time.monotonic(), run.step, time.monotonic()
    losses: list[float] = []

    def note(**entry: Any) -> None:
        line = json.dumps({"step": run.step, **entry})
        with log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, file=sys.stderr, flush=True)

    for batch in batches(tokens, recipe, run.step):
        losses.append(run.learn(batch))
        last = run.step == recipe.steps
        seconds = time.monotonic() - begun
        rate = (run.step - first) / seconds
        if run.step % 20 == 0 or last:
            note(
                loss=round(float(np.mean(losses)), 4),
                tokens_per_s=round(rate * recipe.batch),
                eta_s=round((recipe.steps - run.step) / rate),
            )
            losses.clear()
        if run.step % 200 == 0 or last:
            loss = run.loss(check, learn=False)
            bits = loss / np.log(2) / bytes_per_token
            note(heldout_loss=round(loss, 4), heldout_bits=round(float(bits), 4))
        if time.monotonic() - saved > SAVE_SECONDS or last:
            run.seconds += time.monotonic() - saved
            run.save()
            saved = time.monotonic()


def save_hf(model: LlamaForCausalLM, out: Path) -> Path:
    """Write ``model`` and the tokenizer in ``out`` as a Hugging Face checkpoint, hf/."""
    hf_dir = out / "hf"
    model.save_pretrained(hf_dir)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(out / "tokenizer.json"), bos_token=END, eos_token=END
    )
    tokenizer.save_pretrained(hf_dir)
    config = json.loads((hf_dir / "tokenizer_config.json").read_text())
    (hf_dir / "tokenizer_config.json").write_text(json.dumps(config | {"add_bos_token": True}))
    return hf_dir


def export(run: Run, out: Path, name: str) -> Path:
    """Write hf/ and both GGUF files; the Q8_0 one's path."""
    hf_dir = save_hf(run.model, out)
    for kind in ("f16", "q8_0"):
        convert(hf_dir, out / f"{name}-{kind}.gguf", kind)
    return out / f"{name}-q8_0.gguf"


def check_tokenizer(tokenizer: Tokenizer, model: Path, files: list[Path]) -> None:
    """Compare the tokenizer with llama.cpp's on the whole of ``files``.

    Raises:
        CheckpointError: they differ.
    """
    with Model(model) as loaded:
        for file in files:
            text = file.read_text(encoding="utf-8")
            if loaded.vocab.tokenize(text) != [0, *tokenizer.encode(text).ids]:
                raise CheckpointError(f"{model}: llama.cpp splits {file} differently")


def machine() -> str:
    """What the run was trained on, for the card."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} threads of a {platform.machine()} CPU"


def parse() -> tuple[argparse.Namespace, Recipe]:
    """The command line; every field of the recipe is a flag."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("text_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--name", required=True, help="of the model's files")
    parser.add_argument("--evaluate", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--against", type=Path, nargs="+", default=[], metavar="MODEL.gguf")
    parser.add_argument("--data", default="", help="what the texts are, for the card")
    parser.add_argument("--licence", default="", help="of the texts, for the card")
    for field in fields(Recipe):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=type(field.default), default=field.default)
    arguments = parser.parse_args()
    recipe = Recipe(**{field.name: getattr(arguments, field.name) for field in fields(Recipe)})
    return arguments, recipe


def main() -> None:
    """Do each step that is not done yet."""
    arguments, recipe = parse()
    out: Path = arguments.out_dir
    files = sorted(arguments.text_dir.glob("*.txt"))
    heldout_files = files[HELDOUT_EVERY - 1 :: HELDOUT_EVERY]
    train_files = [file for file in files if file not in heldout_files]
    if not train_files or not heldout_files:
        raise SystemExit(
            f"{arguments.text_dir}: {len(files)} .txt files; expected {HELDOUT_EVERY} or more"
        )
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "recipe.json"
    if kept.exists() and json.loads(kept.read_text()) != asdict(recipe):
        raise SystemExit(f"{kept}: another recipe was begun here; choose another OUT_DIR")
    kept.write_text(json.dumps(asdict(recipe), indent=1))

    tokenizer_path, token_paths = out / "tokenizer.json", (out / "train.npy", out / "heldout.npy")
    if not tokenizer_path.exists():
        train_tokenizer(train_files, tokenizer_path, recipe.vocab_size)
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    for path, texts in zip(token_paths, (train_files, heldout_files), strict=True):
        if not path.exists():
            encode(tokenizer, texts, path)
    tokens, heldout = (np.load(path) for path in token_paths)
    if len(tokens) < 2 * max(recipe.batch, recipe.context) or len(heldout) <= recipe.context:
        raise SystemExit(f"{arguments.text_dir}: {len(tokens)} tokens; too few for this recipe")
    bytes_per_token = sum(file.stat().st_size for file in heldout_files) / len(heldout)

    run = Run(recipe, out / "checkpoint.pt")
    train(run, tokens, heldout, bytes_per_token, out / "log.jsonl")
    loss = run.loss(windows(heldout, recipe.short_context), learn=False)
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    model = export(run, out, arguments.name)
    checked = [*heldout_files, *arguments.evaluate]
    check_tokenizer(tokenizer, model, checked)
    facts = Facts(
        name=arguments.name,
        parameters=parameters,
        command=f"python scripts/train_base.py TEXT_DIR OUT_DIR --name {arguments.name}",
        recipe=recipe,
        n_texts=len(files),
        n_heldout=len(heldout_files),
        n_bytes=sum(file.stat().st_size for file in files),
        n_tokens=len(tokens),
        machine=machine(),
        hours=run.seconds / 3600,
        heldout_loss=loss,
        heldout_bits=loss / math.log(2) / bytes_per_token,
        checked=checked,
        data=arguments.data,
        licence=arguments.licence,
    )
    write_card(out / f"{arguments.name}.md", model, facts, arguments.evaluate, arguments.against)


if __name__ == "__main__":
    main()
