"""Benchmarks of what Temp-LoRA gains, and the reports in docs/results made from them."""
