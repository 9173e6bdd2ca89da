"""The bundled models."""

from pathlib import Path
from typing import Final

BUNDLED_MODEL: Final = Path(__file__).with_name("novels-6m-q8_0.gguf")
"""A 6M-parameter Llama that writes period prose: enough to see the mechanism, and for tests."""
BUNDLED_TRANSLATOR: Final = Path(__file__).with_name("fr-en-7m-q8_0.gguf")
"""A 7M-parameter Llama that translates French into English, roughly."""
