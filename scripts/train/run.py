"""A training run that can be saved and resumed."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from transformers import LlamaForCausalLM

from scripts.train.data import IGNORED, Batch
from scripts.train.muon import Muon
from scripts.train.recipe import Recipe, build_model
from templora_edge.host.files import replacing
from templora_edge.options import TrainDtype
from templora_edge.training.precision import choose_dtype

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Constants of glibc's malloc.h."""
PADDED: Final = 1024
"""The number of labels is padded to a multiple of this."""


def loss_sum(
    model: LlamaForCausalLM, inputs: torch.Tensor, places: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Sum of the NLL in nats of ``labels`` (N,), at the positions ``places`` (N,) of ``inputs``."""
    hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state  # (B, T, width)
    logits = model.lm_head(hidden.flatten(0, 1)[places]).float()  # (N, V)
    return torch.nn.functional.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORED)


def labelled(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions (N,) in the flattened ``labels`` (B, T) with a loss, and the labels (N,) there.

    Half of a pair has no loss, and computing its logits would be a third of the work. N is padded
    so that it takes few values, because each is compiled separately.
    """
    flat = labels.flatten()
    places = (flat != IGNORED).nonzero().flatten()
    padding = (0, max(1, -(-len(places) // PADDED)) * PADDED - len(places))
    pad = torch.nn.functional.pad
    return pad(places, padding), pad(flat[places], padding, value=IGNORED)


def keep_freed_memory() -> None:
    """Make glibc, if there is one, keep freed memory for the next large buffer.

    New memory from the system costs page faults: a tenth to a quarter of the time (docs/log.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


class TrainingRun:
    """A training run that can be saved to ``path`` and resumed from it."""

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
        self._loss: Callable[..., torch.Tensor]
        self._loss = torch.compile(loss_sum, dynamic=False)
        # Tokens in a pass: large for a GPU, small enough for a CPU's caches.
        self._micro_tokens = 65_536 if self.device == "cuda" else 4096
        if path.exists():
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.step, self.seconds = state["step"], state["seconds"]

    def save(self) -> None:
        """Write the state of the run to its checkpoint file."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
        }
        with replacing(self.path, "OUT_DIR") as temporary:
            torch.save(state, temporary)

    def loss(self, batch: Batch, *, learn: bool) -> float:
        """Mean NLL of ``batch`` in nats per label; with ``learn``, accumulates the gradient."""
        inputs, labels = batch
        total = 0.0
        n_scored = max(1, int((labels != IGNORED).sum()))
        rows = max(1, self._micro_tokens // inputs.shape[1])
        parts = zip(torch.split(inputs, rows), torch.split(labels, rows), strict=True)
        for some, wanted in parts:
            part = (some, *labelled(wanted))
            with (
                torch.set_grad_enabled(learn),
                torch.autocast(self.device, self.dtype, enabled=self.dtype == torch.bfloat16),
            ):
                loss = self._loss(self.model, *(t.to(self.device) for t in part)) / n_scored
            if learn:
                loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total

    def learn(self, batch: Batch) -> float:
        """Take a step on ``batch``; return its loss before the step, in nats per label."""
        loss = self.loss(batch, learn=True)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.learning_rate * self.recipe.rate(self.step)
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return loss
