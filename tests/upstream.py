"""llama.cpp's own scripts, as references."""

import os
import subprocess
from pathlib import Path

from warm import Forked


def run_upstream(script: Path, *arguments: object) -> None:
    """Run one of llama.cpp's Python scripts."""
    result = subprocess.run(
        [*Forked(str(script)), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"},
    )
    assert result.returncode == 0, result.stderr[-2000:]
