"""Checkpoints to GGUF: a PEFT adapter (at every swap) and an HF base."""
