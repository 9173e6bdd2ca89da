"""The base model for training: transformers' network over the GGUF that llama.cpp serves.

The skeleton is built on the meta device from the GGUF's metadata. Linear layers, embedding and head
are replaced with mapped ones, the few vectors are loaded, and rotary frequencies are llama.cpp's.
"""

import numpy as np
import torch
import transformers
from gguf import ReaderTensor
from transformers import PreTrainedModel

from templora_edge.errors import UnsupportedModelError, listed
from templora_edge.models.adapter_file import AdapterFile
from templora_edge.models.families import (
    Family,
    common_config,
    family_of,
    rope_row_order,
    tensor_of,
)
from templora_edge.models.footprint import largest_layer
from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.rope import frequencies
from templora_edge.options import Options
from templora_edge.training import attention
from templora_edge.training.gguf_layers import (
    CPU,
    MappedEmbedding,
    MappedLinear,
    MappedTensor,
    Scratch,
)
from templora_edge.training.head import MappedHead
from templora_edge.training.rotary import Rope

_NOT_WEIGHTS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")


def load_base(
    gguf: GgufFile,
    options: Options,
    dtype: torch.dtype,
    *,
    dense: bool = False,
    device: torch.device = CPU,
) -> PreTrainedModel:
    """Build a frozen model whose matrices stay in ``gguf``.

    Args:
        gguf: file of the base.
        options: resolved options; the context chooses phi3's rotary factors, and fixed adapters are
            added in the compute dtype.
        dtype: dtype of matrix products, float32 or bfloat16.
        dense: whether layers from the first that carries the adapter keep their dequantized
            weights, once they are used.
        device: device that computes; on any but the processor, all dequantized weights are kept.

    Raises:
        AdapterError: a fixed adapter does not fit the base.
        UnsupportedModelError: the architecture is not in the table of families, or the file has
            tensors that the architecture does not have.
        ModelFileError: metadata or tensors are missing.
    """
    return _Builder(gguf, options, dtype, device, dense=dense).build()


class _Builder:
    def __init__(
        self,
        gguf: GgufFile,
        options: Options,
        dtype: torch.dtype,
        device: torch.device,
        *,
        dense: bool,
    ) -> None:
        self.gguf = gguf
        self.device = device
        self.family: Family = family_of(gguf)
        self.settings = common_config(gguf) | self.family.config(gguf)
        n_layers = self.settings["num_hidden_layers"]
        self.first_dense = options.lora.first_layer(n_layers) if dense else n_layers
        self.engine = options.engine
        self.lora = [(AdapterFile.read(fixed.path), fixed.scale) for fixed in options.engine.lora]
        for adapter, _ in self.lora:
            adapter.check_fits(gguf)
        self.scratch = Scratch(largest_layer(gguf), dtype, options.training.n_threads_train, device)
        self.used: set[str] = set()

    def build(self) -> PreTrainedModel:
        model_class = getattr(transformers, self.family.model_class)
        config = model_class.config_class(**self.settings)
        with torch.device("meta"):
            model: PreTrainedModel = model_class._from_config(
                config, attn_implementation=attention.NAME
            )
        inner = model.model
        for name, module in list(inner.named_modules()):
            if isinstance(module, torch.nn.Linear):
                inner.set_submodule(name, self.linear(f"model.{name}"))
        inner.embed_tokens = self.embedding(inner.embed_tokens)
        model.lm_head = self.head()
        inner.rotary_emb = self.rope()
        for name, parameter in list(inner.named_parameters()):
            if parameter.is_meta:
                module_name, _, kind = name.rpartition(".")
                value = self.vector(f"model.{module_name}", kind, tuple(parameter.shape))
                parent = inner.get_submodule(module_name)
                setattr(parent, kind, torch.nn.Parameter(value, requires_grad=False))
        self.check_all_used()
        model.requires_grad_(False)
        return model

    def linear(self, module: str) -> MappedLinear:
        suffix = module.split(".", 3)[-1]
        name, rows = tensor_of(self.gguf, module)
        heads_key = self.family.permuted.get(suffix)
        dense = int(module.split(".")[2]) >= self.first_dense
        source = MappedTensor(self.take(f"{name}.weight"), self.scratch, rows, dense=dense)
        order = None
        if heads_key is not None:
            order = rope_row_order(source.shape[0], int(self.gguf.require(heads_key)))
        bias = None
        if f"{name}.bias" in self.gguf.tensors:
            values = self.values(f"{name}.bias")[rows]
            bias = values if order is None else values[torch.from_numpy(np.argsort(order))]
        return MappedLinear(source, bias, order, self.fixed(f"{name}.weight", rows))

    def fixed(self, tensor: str, rows: slice) -> tuple[torch.Tensor, torch.Tensor] | None:
        """A (r, in) and B (rows, r) of all fixed adapters of a tensor, joined, with scales in B."""
        pairs = []
        for adapter, scale in self.lora:
            if tensor in adapter.ranks:
                a, b = (torch.tensor(half) for half in adapter.matrices(tensor))
                pairs.append((a, b[rows] * (scale * adapter.scale(tensor))))
        if not pairs:
            return None
        dtype = self.scratch.dtype
        joint_a = torch.cat([a for a, _ in pairs])
        joint_b = torch.cat([b for _, b in pairs], dim=1)
        return joint_a.to(dtype), joint_b.to(dtype)

    def embedding(self, original: torch.nn.Module) -> MappedEmbedding:
        source = MappedTensor(self.take("token_embd.weight"), self.scratch)
        scale = float(getattr(original, "scalar_embed_scale", 1.0))  # gemma's
        return MappedEmbedding(source, scale)

    def head(self) -> MappedHead:
        tied = "output.weight" not in self.gguf.tensors
        source = MappedTensor(
            self.take("token_embd.weight" if tied else "output.weight"), self.scratch
        )
        bias = None
        if "output.bias" in self.gguf.tensors:
            bias = self.values("output.bias").to(self.device)
        return MappedHead(source, bias, self.gguf.get("{arch}.final_logit_softcapping"))

    def rope(self) -> Rope:
        given = self.gguf, self.engine.n_ctx, self.engine.rope
        tables = {"full_attention": frequencies(*given)}
        if self.family.sliding_window_pattern > 1:
            tables["sliding_attention"] = frequencies(*given, sliding=True)
        return Rope(tables)

    def vector(self, module: str, kind: str, shape: tuple[int, ...]) -> torch.Tensor:
        """Weight or bias of a norm, in ``shape``."""
        value = self.values(f"{self.family.gguf_name(module)}.{kind}").reshape(shape)
        value = value.to(self.device)
        return value - self.family.norm_offset if kind == "weight" else value

    def values(self, name: str) -> torch.Tensor:
        self.take(name)
        return torch.tensor(self.gguf.dequantize(name))

    def take(self, name: str) -> ReaderTensor:
        """A tensor of the file, marked as used."""
        self.used.add(name)
        return self.gguf.tensor(name)

    def check_all_used(self) -> None:
        unknown = self.gguf.tensors.keys() - self.used - set(_NOT_WEIGHTS)
        if unknown:
            raise UnsupportedModelError(
                f"{self.gguf.path}: tensors that are not in a {self.gguf.architecture} model as "
                f"Temp-LoRA knows it: {listed(sorted(unknown))}; --no-templora generates "
                "without it"
            )
