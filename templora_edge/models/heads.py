"""Attention heads of a model, from its metadata, and the KV cache that they need."""

from dataclasses import dataclass

from templora_edge.models.gguf_file import GgufFile


@dataclass(frozen=True, slots=True)
class Heads:
    """Key-value heads of a model and their sizes; zeros where it has none."""

    n_kv: tuple[int, ...]
    """Key-value heads of each layer."""
    key_length: int
    """Numbers in a key; also the size of a query head."""
    value_length: int

    @classmethod
    def of(cls, gguf: GgufFile) -> "Heads":
        """Heads of the model in ``gguf``."""
        n_layers = int(gguf.get("{arch}.block_count", 0))
        heads = gguf.get("{arch}.attention.head_count", 0)
        heads_kv = gguf.get("{arch}.attention.head_count_kv", heads)
        n_heads = max(heads) if isinstance(heads, list) else int(heads)
        size = int(gguf.get("{arch}.embedding_length", 0)) // max(1, n_heads)
        return cls(
            n_kv=tuple(heads_kv if isinstance(heads_kv, list) else [int(heads_kv)] * n_layers),
            key_length=int(gguf.get("{arch}.attention.key_length", size)),
            value_length=int(gguf.get("{arch}.attention.value_length", size)),
        )

    def kv_bytes(self, n_ctx: int, key_bytes: float, value_bytes: float) -> int:
        """Size of a KV cache of ``n_ctx`` tokens.

        Args:
            key_bytes, value_bytes: bytes per number in keys and in values.
        """
        token = self.key_length * key_bytes + self.value_length * value_bytes
        return int(n_ctx * sum(self.n_kv) * token)
