"""The command line, a thin layer of typer and rich. Importing it loads no model."""

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as in shells."""
