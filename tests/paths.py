"""Paths of the project's files, for tests."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PROSE = ROOT / "tests" / "prose.txt"
"""The beginning of H. G. Wells, Tono-Bungay (Project Gutenberg 718, public domain)."""

REAL_MODELS = {
    "smollm2": ROOT / "models" / "smollm2-135m-instruct-q4_1.gguf",
    "gemma3": ROOT / "models" / "gemma-3-270m-q4_k_m.gguf",
}
"""Pretrained models that scripts/models fetches: a llama without BOS, and a gemma3 with BOS and
sliding windows."""
