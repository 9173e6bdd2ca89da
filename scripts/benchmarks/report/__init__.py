"""Markdown tables and pictures of benchmark results."""
