"""Origin of a result: versions of packages, and the model."""

import platform
from importlib.metadata import version
from typing import Any, Final

from templora_edge.models.base_gguf import BaseGguf

_PACKAGES: Final = (
    "templora-edge", "llama-cpp-python", "gguf", "torch", "peft", "transformers", "numpy",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Name -> version of packages, Python and the system."""
    return {name: version(name) for name in _PACKAGES} | {
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def identity(base: BaseGguf) -> dict[str, Any]:
    """Path, digest and size of a model, ready for JSON."""
    return {"path": str(base.path), "sha256": base.sha256(), "parameters": base.n_params}
