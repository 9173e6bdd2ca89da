"""Training of the adapter on a block: the paper's update rule (arXiv 2401.11504, section 3)."""

import math
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import torch
from peft import (
    LoraConfig,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from peft.tuners.tuners_utils import BaseTunerLayer

from templora_edge.errors import JobError, SidecarError
from templora_edge.host import memory
from templora_edge.models.adapter_file import AdapterFile
from templora_edge.models.adapter_layout import AdapterTarget, write_adapter
from templora_edge.models.families import adapted_modules
from templora_edge.models.footprint import estimate, keeps_dense, must_checkpoint
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.kept_adapter import KeptAdapter
from templora_edge.options import Options
from templora_edge.protocols import Captured, Update
from templora_edge.training.device import choose, free_memory, moved, seed_device
from templora_edge.training.evidence import RATE, Evidence, output_matrices, set_scale, slope_of
from templora_edge.training.gguf_layers import CPU
from templora_edge.training.gguf_network import load_base
from templora_edge.training.head import MappedHead
from templora_edge.training.reader import Reader

LEAST_SCALE: Final = 0.01
"""Scale below which the steps on generated text are not enlarged any more."""
MOST_SKIPPED: Final = 3
"""Consecutive steps with numbers that are not finite that end training."""


class LoraTrainer:
    """An adapter on a frozen base, and its optimizer, which lives as long as the adapter.

    Raises:
        OptionError: torch does not have the device that is asked for.
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
        self.choice = choose(training.train_device, training.train_dtype, base.n_params)
        self.device = torch.device(self.choice.device)
        self.dtype: torch.dtype = getattr(torch, self.choice.dtype)
        fixed = (AdapterFile.read(one.path) for one in options.engine.lora)
        footprint = estimate(
            base,
            lora,
            n_tokens=options.update_len,
            value_bytes=self.dtype.itemsize,
            fixed_parameters=sum(adapter.n_params for adapter in fixed),
        )
        free = free_memory(self.device)
        if free is not None:  # all weights are kept there, dequantized
            free -= base.n_params * self.dtype.itemsize
        self.checkpointing = must_checkpoint(footprint, training.train_memory_gib, free)
        dense = keeps_dense(footprint, training.train_memory_gib)
        model = load_base(base, options, self.dtype, dense=dense, device=self.device)
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
        for module in self.model.modules():
            if isinstance(module, BaseTunerLayer):  # autocast does it, without a copy in fp32
                module.cast_input_dtype_enabled = False  # type: ignore[assignment]
        self._head: MappedHead = model.lm_head
        self.reader = Reader(
            model.model,
            lora.first_layer(model.config.num_hidden_layers),
            n_kept=options.blocks.train_prefix_len,
            n_ctx_train=int(base.require("{arch}.context_length")),
            device=self.device,
        )
        if training.adapter is not None:
            self._take(KeptAdapter.read(training.adapter, base))
        if self.checkpointing:
            memory.return_freed_blocks()
            self.checkpoint()
        self._trained = [p for p in self.model.parameters() if p.requires_grad]
        self._evidence: Evidence | None = None
        if lora.finds_rate:
            self._evidence = Evidence() if training.adapter is None else Evidence(scale=1.0)
            set_scale(self.model, self._scale)
        self._optimizer = torch.optim.AdamW(
            self._trained,
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
            {name: value.cpu().numpy() for name, value in fresh.items()},
            self._lora.alpha / self._lora.rank,
            self._target,
        )
        own = {name: torch.from_numpy(value).to(self.device) for name, value in weights.items()}
        set_peft_model_state_dict(self.model, fresh | own)

    def checkpoint(self) -> None:
        """Recompute layers in backward instead of keeping their activations."""
        self.reader.checkpoint()

    def train(
        self,
        prefix: Sequence[int],
        block: Sequence[int],
        loss_mask: Sequence[bool] | None = None,
        *,
        own: bool = False,
        captured: Captured | None = None,
    ) -> Update:
        """Train ``epochs`` steps on ``block``, with ``prefix`` before it as context without loss.

        Args:
            prefix: tokens before the block.
            block: tokens to learn.
            loss_mask: whether each token of ``block`` has a loss, at least one; None is all.
            own: whether the model wrote the block: it is learned at the own rate, and is no
                evidence of what helps.
            captured: what llama.cpp computed of the Δ tokens that predict those of ``block``;
                None: it is computed here.

        Raises:
            SidecarError: training diverged.
        """
        self._n_blocks += 1
        warm = min(1.0, self._n_blocks / (self._lora.warmup_blocks + 1))
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(own) * warm
        tokens = torch.tensor([[*prefix, *block]])  # (1, L_T + Δ)
        n_scored = min(len(block), tokens.shape[1] - 1)
        if n_scored == 0:  # the first token of a text: nothing precedes it
            return Update(0.0, 0.0)
        mask = torch.tensor([True] * len(block) if loss_mask is None else loss_mask)[-n_scored:]
        if captured is not None and n_scored < len(block):
            captured = captured[len(block) - n_scored :]
        losses, skipped, slope = [], 0, (0.0, 0.0)
        seed_device(self.device)
        evidence = None if own else self._evidence
        self.model.train()
        for epoch in range(self._lora.epochs):
            if epoch == 1 and captured is not None:  # the adapter is another one now
                captured = replace(captured, products=None, predictions=None)
            loss = self.loss(tokens, mask, captured)
            losses.append(loss.item())
            loss.backward()  # type: ignore[no-untyped-call]
            if epoch == 0 and evidence is not None:
                slope = slope_of(self.model)
            skipped += not self._step(loss)
        if skipped < self._lora.epochs:
            self._fade()
        if evidence is not None:
            evidence.add(*slope)
            set_scale(self.model, self._scale)
        if self._measure_after:
            self.model.eval()
            if captured is not None:
                captured = replace(captured, products=None, predictions=None)
            with torch.inference_mode():
                losses.append(self.loss(tokens, mask, captured).item())
        if skipped or self._lora.prefix_gradient:
            self.reader.forget()  # it may not be finite; or all of it is read again
        else:
            self.reader.keep()
        finite = [loss if math.isfinite(loss) else None for loss in losses]
        return Update(
            finite[0],
            finite[-1] if self._measure_after else None,
            skipped=skipped,
            scale=self._scale,
        )

    @property
    def _scale(self) -> float:
        """Factor of the adapter's output, in addition to alpha / rank."""
        return 1.0 if self._evidence is None else self._evidence.scale

    def _rate(self, own: bool) -> float:
        """Learning rate of a block after the warm-up."""
        if own:
            return self._lora.own_learning_rate / max(self._scale, LEAST_SCALE)
        return RATE if self._evidence is not None else float(self._lora.learning_rate)

    def _step(self, loss: torch.Tensor) -> bool:
        """Take a step by the gradient of ``loss``, unless one of them is not finite.

        Returns:
            Whether the step was taken.

        Raises:
            SidecarError: that happened `MOST_SKIPPED` times in a row, or the step made a weight not
                finite.
        """
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
            for parameter in output_matrices(self.model):
                parameter.mul_(1 - self._lora.decay)

    def loss(
        self,
        tokens: torch.Tensor,
        loss_mask: torch.Tensor,
        captured: Captured | None = None,
    ) -> torch.Tensor:
        """Mean cross-entropy in nats of the last n tokens, where ``loss_mask`` is true.

        Args:
            tokens: token ids, (1, T).
            loss_mask: mask of the last n tokens, (n,) bool, n < T.
            captured: what llama.cpp computed of the n tokens that predict them; None: it is
                computed.
        """
        n_scored = len(loss_mask)
        inputs = tokens[0, :-1].tolist()
        before, inputs = inputs[:-n_scored], inputs[-n_scored:]
        if self._lora.prefix_gradient:
            before, inputs, captured = [], before + inputs, None
        bf16 = self.dtype == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            hidden = self.reader.read(before, inputs, captured)
        targets = tokens[0, -n_scored:][loss_mask].to(self.device)
        hidden = hidden[-n_scored:][loss_mask.to(self.device)]
        if captured is None or captured.predictions is None or not loss_mask.all():
            return self._head.cross_entropy(hidden, targets)
        return self._head.cross_entropy_of(hidden, targets, captured.predictions)

    def save(self, path: Path) -> None:
        """Write the whole state of training to ``path``, for any device to go on from."""
        state = {
            "adapter": get_peft_model_state_dict(self.model),
            "optimizer": self._optimizer.state_dict(),
            "n_blocks": self._n_blocks,
            "evidence": None if self._evidence is None else asdict(self._evidence),
            "read": self.reader.state(),
            "random": torch.get_rng_state(),
        }
        torch.save(moved(state, CPU), path)

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
            if self._evidence is not None:
                self._evidence = Evidence(**state["evidence"])
                set_scale(self.model, self._scale)
            self.reader.load_state(state["read"])
            torch.set_rng_state(state["random"])
        except (
            OSError,
            RuntimeError,
            KeyError,
            TypeError,
            ValueError,
            pickle.UnpicklingError,
        ) as error:
            reason = " ".join(str(error).split())[:160]  # torch names every weight, one per line
            raise JobError(
                f"{path}: not the state of this training, or damaged ({reason}); "
                "start with --restart"
            ) from error

    def write(self, path: Path) -> None:
        """Write the current adapter to ``path`` as a GGUF."""
        weights = {
            name: value.detach().float().cpu().numpy()
            for name, value in get_peft_model_state_dict(self.model).items()
        }
        write_adapter(path, weights, self._lora.alpha * self._scale, self._target)


def _all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    return bool(torch.nn.utils.get_total_norm(tensors, torch.inf).isfinite())
