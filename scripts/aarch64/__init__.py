"""A smoke test on aarch64, in emulation."""
