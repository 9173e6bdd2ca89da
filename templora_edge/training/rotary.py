"""Rotary embedding with llama.cpp's frequencies (`templora_edge.models.rope`)."""

import torch

from templora_edge.models.rope import Frequencies


class Rope(torch.nn.Module):
    """Replaces transformers' rotary embeddings, with a set of frequencies per layer type."""

    def __init__(self, by_layer_type: dict[str, Frequencies]) -> None:
        super().__init__()
        self._tables = {
            name: (torch.from_numpy(values), factor)
            for name, (values, factor) in by_layer_type.items()
        }

    def forward(
        self,
        x: torch.Tensor,
        position_ids: torch.Tensor,
        layer_type: str = "full_attention",
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines, (B, T, n_rot) each; the second half repeats the first."""
        values, factor = self._tables[layer_type]
        angles = position_ids[..., None].cpu().double() * values  # mps has no float64
        doubled = torch.cat((angles, angles), dim=-1)
        cos, sin = (
            (table * factor).to(x.dtype).to(x.device) for table in (doubled.cos(), doubled.sin())
        )
        return cos, sin
