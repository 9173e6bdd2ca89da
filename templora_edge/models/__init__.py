"""What a GGUF is: metadata and tensors, families, positions, memory, adapters."""
