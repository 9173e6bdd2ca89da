"""Training of the adapter on a block: the paper's update rule (arXiv 2401.11504, section 3)."""

import math
import pickle
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import torch
from peft import (
    LoraConfig,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from transformers import PreTrainedModel

from templora_edge.errors import (
    AdapterError,
    InsufficientMemoryError,
    JobError,
    SidecarError,
)
from templora_edge.host import memory
from templora_edge.models.adapter_file import AdapterFile
from templora_edge.models.adapter_layout import AdapterTarget, write_adapter
from templora_edge.models.families import adapted_modules
from templora_edge.models.footprint import Footprint, estimate
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.kept_adapter import KeptAdapter
from templora_edge.options import Options, TrainDtype
from templora_edge.protocols import Update
from templora_edge.training.gguf_network import load_base
from templora_edge.training.prefix_cache import allow_prefix, read_prefix

ROUNDS: Final = 20
"""Products in each precision that `choose_dtype` times: enough for a resumed job, which chooses
again, to choose the same."""
MOST_SKIPPED: Final = 3
"""Consecutive steps with numbers that are not finite that end training."""


class LoraTrainer:
    """An adapter on a frozen base, and its optimizer, which lives as long as the adapter.

    Raises:
        UnsupportedModelError: the base is not of a known family.
        InsufficientMemoryError: updates do not fit the memory they may use.
    """

    def __init__(self, base: GgufFile, options: Options) -> None:
        """Load the base and begin with a fresh or given adapter; ``options`` must be resolved."""
        lora, training = options.lora, options.training
        torch.manual_seed(lora.seed)
        self._lora = lora
        self._measure_after = training.measure_after
        self._target = AdapterTarget.from_gguf(base)
        self.dtype = choose_dtype(training.train_dtype)
        fixed = (AdapterFile.read(one.path) for one in options.engine.lora)
        footprint = estimate(
            base,
            lora,
            n_tokens=options.update_len,
            value_bytes=self.dtype.itemsize,
            fixed_parameters=sum(adapter.n_params for adapter in fixed),
        )
        self.checkpointing = _must_checkpoint(footprint, training.train_memory_gib)
        model = load_base(base, options, self.dtype)
        self.model = get_peft_model(
            model,
            LoraConfig(
                r=lora.rank,
                lora_alpha=lora.alpha,  # type: ignore[arg-type]  # a float works, and is allowed
                lora_dropout=lora.dropout,
                target_modules=list(adapted_modules(base, lora)),
                task_type="CAUSAL_LM",
            ),
        )
        self._network: PreTrainedModel = model
        if training.adapter is not None:
            self._take(KeptAdapter.read(training.adapter, base))
            if not _all_finite(get_peft_model_state_dict(self.model).values()):
                raise AdapterError(
                    f"{training.adapter}: holds weights that are not finite numbers; "
                    "expected an adapter from --adapter-out"
                )
        if self.checkpointing:
            memory.return_freed_blocks()
            self.checkpoint()
        self._trained = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._trained,
            lr=lora.learning_rate,
            betas=(0.9, 0.999),
            eps=1e-7,
            weight_decay=0,
            fused=True,
        )
        self._n_blocks = 0
        self._n_skipped = 0  # consecutive steps

    def _take(self, adapter: KeptAdapter) -> None:
        """Start from the weights of ``adapter``, with a new optimizer."""
        fresh = get_peft_model_state_dict(self.model)
        weights = adapter.weights(
            {name: value.numpy() for name, value in fresh.items()},
            self._lora.alpha / self._lora.rank,
            self._target,
        )
        own = {name: torch.from_numpy(value) for name, value in weights.items()}
        set_peft_model_state_dict(self.model, fresh | own)

    def checkpoint(self) -> None:
        """Recompute layers in backward instead of keeping their activations."""
        self._network.activation_checkpointing_enable({"use_reentrant": False})
        allow_prefix(self._network.model)

    def train(
        self, prefix: Sequence[int], block: Sequence[int], loss_mask: Sequence[bool] | None = None
    ) -> Update:
        """Train ``epochs`` steps on ``block``, with ``prefix`` before it as context without loss.

        Args:
            prefix: tokens before the block.
            block: tokens to learn.
            loss_mask: whether each token of ``block`` has a loss, at least one; None is all.

        Raises:
            SidecarError: training diverged.
        """
        self._n_blocks += 1
        rate = min(1.0, self._n_blocks / (self._lora.warmup_blocks + 1))
        for group in self._optimizer.param_groups:
            group["lr"] = self._lora.learning_rate * rate
        tokens = torch.tensor([[*prefix, *block]])  # (1, L_T + Δ)
        n_scored = min(len(block), tokens.shape[1] - 1)
        if n_scored == 0:  # the first token of a text: nothing precedes it
            return Update(0.0, 0.0)
        mask = torch.tensor([True] * len(block) if loss_mask is None else loss_mask)[-n_scored:]
        losses, skipped = [], 0
        self.model.train()
        for _ in range(self._lora.epochs):
            loss = self.loss(tokens, mask)
            losses.append(loss.item())
            skipped += not self._step(loss)
        if skipped < self._lora.epochs:
            self._fade()
        if self._measure_after:
            self.model.eval()
            with torch.inference_mode():
                losses.append(self.loss(tokens, mask).item())
        finite = [loss if math.isfinite(loss) else None for loss in losses]
        return Update(finite[0], finite[-1] if self._measure_after else None, skipped=skipped)

    def _step(self, loss: torch.Tensor) -> bool:
        """Take a step on ``loss``, unless it or its gradient is not finite.

        Returns:
            Whether the step was taken.

        Raises:
            SidecarError: that happened `MOST_SKIPPED` times in a row, or the step made a weight not
                finite.
        """
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self._trained, self._lora.max_grad_norm)
        finite = bool(loss.isfinite() and norm.isfinite())
        if finite:
            self._optimizer.step()
        self._optimizer.zero_grad()
        self._n_skipped = 0 if finite else self._n_skipped + 1
        if self._n_skipped == MOST_SKIPPED or (finite and not _all_finite(self._trained)):
            what = "the weights" if finite else f"{MOST_SKIPPED} steps' loss or gradient in a row"
            raise SidecarError(
                f"training diverged: {what} are not finite; lower --learning-rate"
                + (" or use --train-dtype fp32" if self.dtype == torch.bfloat16 else "")
            )
        return finite

    def _fade(self) -> None:
        """Shrink the adapter's output, which is linear in B, by the share ``decay``."""
        if self._lora.decay == 0:
            return
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if "lora_B" in name:
                    parameter.mul_(1 - self._lora.decay)

    def loss(self, tokens: torch.Tensor, loss_mask: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy in nats of the last n tokens, where ``loss_mask`` is true.

        Args:
            tokens: token ids, (1, T).
            loss_mask: mask of the last n tokens, (n,) bool, n < T.
        """
        n_scored = len(loss_mask)
        bf16 = self.dtype == torch.bfloat16
        inputs = tokens[:, :-1]
        n_read = 0 if self._lora.prefix_gradient else inputs.shape[1] - n_scored
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            network = self._network.model
            past = read_prefix(network, inputs[:, :n_read]) if n_read else None
            output = network(input_ids=inputs[:, n_read:], past_key_values=past, use_cache=False)
        hidden = output.last_hidden_state[0, -n_scored:][loss_mask]
        targets = tokens[0, -n_scored:][loss_mask]
        loss: torch.Tensor = self._network.lm_head.cross_entropy(hidden, targets)
        return loss

    def save(self, path: Path) -> None:
        """Write the whole state of training to ``path``."""
        state = {
            "adapter": get_peft_model_state_dict(self.model),
            "optimizer": self._optimizer.state_dict(),
            "n_blocks": self._n_blocks,
            "random": torch.get_rng_state(),
        }
        torch.save(state, path)

    def load(self, path: Path) -> None:
        """Continue from the state that `save` wrote.

        Raises:
            JobError: the file is missing, damaged, or of other options.
        """
        try:
            state = torch.load(path, weights_only=True)
            moments = (t for kept in state["optimizer"]["state"].values() for t in kept.values())
            if not _all_finite([*state["adapter"].values(), *moments]):
                raise ValueError("it holds numbers that are not finite")
            set_peft_model_state_dict(self.model, state["adapter"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._n_blocks = state["n_blocks"]
            torch.set_rng_state(state["random"])
        except (OSError, RuntimeError, KeyError, ValueError, pickle.UnpicklingError) as error:
            reason = " ".join(str(error).split())[:160]  # torch names every weight, one per line
            raise JobError(
                f"{path}: not the state of this training, or damaged ({reason}); "
                "start with --restart"
            ) from error

    def write(self, path: Path) -> None:
        """Write the current adapter to ``path`` as a GGUF."""
        weights = {
            name: value.detach().float().numpy()
            for name, value in get_peft_model_state_dict(self.model).items()
        }
        write_adapter(path, weights, self._lora.alpha, self._target)


def _all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    return bool(torch.nn.utils.get_total_norm(tensors, torch.inf).isfinite())


def _must_checkpoint(footprint: Footprint, allowed_gib: float | None) -> bool:
    """Whether layers must be recomputed in backward for training to fit in memory.

    Raises:
        InsufficientMemoryError: training does not fit even then.
    """
    budget = memory.available() if allowed_gib is None else int(allowed_gib * 2**30)
    if footprint.total(checkpointing=False) <= budget:
        return False
    least = footprint.total(checkpointing=True)
    if least <= budget:
        return True
    raise InsufficientMemoryError(
        f"training needs about {least / 2**30:.1f} GiB in addition to the model, but only "
        f"{budget / 2**30:.1f} GiB may be used; lower --rank, --block or --train-prefix"
        + (", or raise --train-memory" if allowed_gib else "")
    )


def choose_dtype(wanted: TrainDtype) -> torch.dtype:
    """The dtype of matrix products; `auto` is bf16 if it measures more than 1.5 times as fast."""
    if wanted is not TrainDtype.AUTO:
        return {TrainDtype.FP32: torch.float32, TrainDtype.BF16: torch.bfloat16}[wanted]
    seconds = dict.fromkeys((torch.float32, torch.bfloat16), math.inf)
    factors = {
        dtype: (torch.ones(256, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype))
        for dtype in seconds
    }
    for _ in range(ROUNDS):
        for dtype, (a, b) in factors.items():  # in turn, so that other load slows both alike
            begun = time.perf_counter()
            torch.mm(a, b)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - begun)
    faster = seconds[torch.float32] > 1.5 * seconds[torch.bfloat16]
    return torch.bfloat16 if faster else torch.float32
