"""Measurements of time, memory and operations, and generators of inputs for them."""
