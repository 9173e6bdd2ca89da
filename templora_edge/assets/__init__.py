"""The bundled base model."""

from pathlib import Path
from typing import Final

BUNDLED_MODEL: Final = Path(__file__).with_name("novels-6m-q8_0.gguf")
"""A 6M-parameter Llama that writes period prose: enough to see the mechanism, and for tests."""
