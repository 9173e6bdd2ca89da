"""Reports of benchmark results: Markdown tables and plots."""
