"""The command line: typer and rich, thin over tasks. Importing it loads no model."""

from typing import Final

EXIT_ERROR: Final = 1
EXIT_INTERRUPTED: Final = 130
"""128 + SIGINT, as of shells."""
