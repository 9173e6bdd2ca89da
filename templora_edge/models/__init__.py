"""GGUF files: metadata and tensors, model families, RoPE, memory estimates, adapters."""
