"""Training the adapter on one block: the paper's update rule (arXiv 2401.11504, section 3)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

from converters.families import family_of
from converters.peft_to_gguf import AdapterTarget, write_adapter
from templora_edge.config import LoraOptions
from templora_edge.gguf_base import GgufBase
from templora_edge.protocols import Update
from templora_edge.sidecar.base import load_base


class LoraTrainer:
    """A fresh adapter on a frozen base, and its optimizer, which lives as long as it does."""

    def __init__(self, base: GgufBase, options: LoraOptions) -> None:
        torch.manual_seed(options.seed)
        self._options = options
        self._target = AdapterTarget.from_gguf(base)
        self.model = get_peft_model(
            load_base(base),
            LoraConfig(
                r=options.rank,
                lora_alpha=options.alpha,  # type: ignore[arg-type]  # a float works, and is allowed
                lora_dropout=options.dropout,
                target_modules=[
                    name.rpartition(".")[2]
                    for name in family_of(base.architecture, base.path).linear
                ],
                task_type="CAUSAL_LM",
            ),
        )
        self._trained = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._trained, lr=options.learning_rate, betas=(0.9, 0.999), eps=1e-7, weight_decay=0
        )
        self._n_blocks = 0

    def train(self, prefix: Sequence[int], block: Sequence[int]) -> Update:
        """Train ``epochs`` steps on ``block``, ``prefix`` before it as context, without loss."""
        self._n_blocks += 1
        rate = min(1.0, self._n_blocks / (self._options.warmup_blocks + 1))
        for group in self._optimizer.param_groups:
            group["lr"] = self._options.learning_rate * rate
        tokens = torch.tensor([[*prefix, *block]])  # (1, L_T + Δ)
        n_scored = min(len(block), tokens.shape[1] - 1)
        if n_scored == 0:  # the first token of a text: nothing precedes it
            return Update(0.0, 0.0)
        losses = []
        self.model.train()
        for _ in range(self._options.epochs):
            loss = self.loss(tokens, n_scored)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._trained, self._options.max_grad_norm)
            self._optimizer.step()
            self._optimizer.zero_grad()
            losses.append(loss.item())
        self.model.eval()
        with torch.inference_mode():
            after = self.loss(tokens, n_scored).item()
        return Update(loss_before=losses[0], loss_after=after)

    def loss(self, tokens: torch.Tensor, n_scored: int) -> torch.Tensor:
        """Mean cross-entropy of the last ``n_scored`` of ``tokens`` (1, T), in nats."""
        logits = self.model(
            input_ids=tokens[:, :-1], logits_to_keep=n_scored, use_cache=False
        ).logits  # (1, n_scored, n_vocab)
        return torch.nn.functional.cross_entropy(logits[0].float(), tokens[0, -n_scored:])

    def write(self, path: Path) -> None:
        """Write the adapter as it is now as the GGUF ``path``."""
        weights = {
            name: value.detach().float().numpy()
            for name, value in get_peft_model_state_dict(self.model).items()
        }
        write_adapter(path, weights, self._options.alpha, self._target)
