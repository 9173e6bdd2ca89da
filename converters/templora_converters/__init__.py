"""Conversion to GGUF of Hugging Face checkpoints and PEFT adapters."""
