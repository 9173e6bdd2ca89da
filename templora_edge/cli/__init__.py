"""The command line, a thin layer of typer and rich. Importing it loads no model."""

from typing import Final

EXIT_ERROR: Final = 1
EXIT_INTERRUPTED: Final = 130
"""128 + SIGINT, as in shells."""
