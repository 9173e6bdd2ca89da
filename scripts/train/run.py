"""A model in training, which can be saved and taken up again."""

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
from templora_edge.training.trainer import choose_dtype

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""glibc, malloc.h."""
PADDED: Final = 1024
"""The number of labels is padded to a multiple of it."""


def loss_sum(
    model: LlamaForCausalLM, inputs: torch.Tensor, places: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Sum of the NLL in nats of ``labels`` (N,), each at one of ``places`` (N,) of ``inputs``."""
    hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state  # (B, T, width)
    logits = model.lm_head(hidden.flatten(0, 1)[places]).float()  # (N, V)
    return torch.nn.functional.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORED)


def labelled(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Places (N,) in the flattened ``labels`` (B, T) that have a loss, and the labels (N,) there.

    Half of a pair has none: its logits, a third of the work, are left out. N is padded to few
    sizes, as each is compiled anew.
    """
    flat = labels.flatten()
    places = (flat != IGNORED).nonzero().flatten()
    padding = (0, max(1, -(-len(places) // PADDED)) * PADDED - len(places))
    pad = torch.nn.functional.pad
    return pad(places, padding), pad(flat[places], padding, value=IGNORED)


def keep_freed_memory() -> None:
    """Have glibc, where it is used, keep what is freed for the next large buffer.

    New ones from the system cost page faults: a tenth to a quarter of the time (docs/log.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


class TrainingRun:
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
        self._loss: Callable[..., torch.Tensor]
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
        """Write the state of the run to its checkpoint."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
        }
        with replacing(self.path, "OUT_DIR") as temporary:
            torch.save(state, temporary)

    def loss(self, batch: Batch, *, learn: bool) -> float:
        """Mean NLL of ``batch`` in nats a label; adds its gradient if ``learn``."""
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
        """One step on ``batch``; its loss before the step, in nats a label."""
        loss = self.loss(batch, learn=True)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.learning_rate * self.recipe.rate(self.step)
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return loss
