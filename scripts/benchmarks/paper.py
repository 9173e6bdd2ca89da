"""The paper's algorithm in transformers and peft, on dense weights, to hold the product against.

As in the released scripts (arXiv 2401.11504): a block is written with a KV cache, the adapter is
trained on it, and the cache is computed anew from the end of the text before the next block.
"""

import os

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel

from templora_edge import windows
from templora_edge.models.families import adapted_modules
from templora_edge.models.gguf_file import GgufFile
from templora_edge.options import Options, SamplingOptions


class PaperLoop:
    """A text that a dense model writes block by block, learning each block.

    Args:
        base: the model, which transformers dequantizes.
        options: resolved options of the paper's preset.
        dtype: dtype of the base's weights; the adapter and its optimizer are float32.
        head: tokens that every context and training sequence begins with: BOS, or none.
        text: the text so far.
    """

    def __init__(
        self,
        base: GgufFile,
        options: Options,
        dtype: torch.dtype,
        head: tuple[int, ...],
        text: list[int],
    ) -> None:
        lora = options.lora
        torch.manual_seed(lora.seed)
        torch.set_num_threads(options.training.n_threads_train)
        self.text = text
        self._head, self._options, self._dtype = list(head), options, dtype
        self.model: PreTrainedModel = dense_model(base, dtype)
        self.model.requires_grad_(False)
        config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,  # type: ignore[arg-type]  # a float works, and is allowed
            lora_dropout=lora.dropout,
            target_modules=list(adapted_modules(base, lora)),
            task_type="CAUSAL_LM",
        )
        self._peft = get_peft_model(self.model, config)
        self._trained = [p for p in self._peft.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._trained, betas=(0.9, 0.999), eps=1e-7, weight_decay=0
        )
        self._n_blocks = 0

    @torch.inference_mode()
    def write(self, sampling: SamplingOptions) -> None:
        """Append a block, from a new cache of what fits the window before it."""
        blocks = self._options.blocks
        room = blocks.n_ctx - blocks.block_len - len(self._head)
        self._peft.eval()
        cache = DynamicCache(config=self.model.config)
        new = [*self._head, *self.text[-room:]]
        for _ in range(blocks.block_len):
            output = self._peft(
                input_ids=torch.tensor([new]),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            values, tokens = output.logits[0, -1].float().topk(sampling.top_k)
            chances = (values / sampling.temperature).softmax(-1)
            new = [int(tokens[chances.multinomial(1)])]
            self.text += new

    def learn(self) -> float:
        """Train on the last block; return its loss before that, in nats per token."""
        blocks, lora = self._options.blocks, self._options.lora
        block = range(len(self.text) - blocks.block_len, len(self.text))
        before = windows.train_prefix(block, blocks.train_prefix_len)
        prefix = [*self._head, *self.text[before.start : before.stop]]
        tokens = torch.tensor([[*prefix, *self.text[block.start :]]])
        labels = tokens.clone()
        labels[:, : len(prefix)] = -100  # transformers' mark of tokens without loss
        self._n_blocks += 1
        for group in self._optimizer.param_groups:
            warm = min(1.0, self._n_blocks / (lora.warmup_blocks + 1))
            group["lr"] = lora.own_learning_rate * warm
        self._peft.train()
        losses = []
        for _ in range(lora.epochs):
            with torch.autocast("cpu", torch.bfloat16, enabled=self._dtype == torch.bfloat16):
                loss = self._peft(input_ids=tokens, labels=labels, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._trained, lora.max_grad_norm)
            self._optimizer.step()
            self._optimizer.zero_grad()
            losses.append(loss.item())
        return float(losses[0])


def dense_model(base: GgufFile, dtype: torch.dtype) -> PreTrainedModel:
    """The model in a GGUF with all its weights in memory, by transformers' own loader.

    Raises:
        SystemExit: the loader keeps some of them quantized.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    path = base.path.absolute()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=dtype
    )
    weights = list(model.parameters())
    n_weights = sum(weight.numel() for weight in weights)
    if n_weights < 0.99 * base.n_params or any(weight.dtype != dtype for weight in weights):
        raise SystemExit(f"{path.name}: transformers does not dequantize it")
    return model
