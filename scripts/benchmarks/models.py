"""Models that benchmarks are run on, by path or by the name of one in models/."""

import argparse
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[2] / "models"
"""Where scripts/models puts the pretrained models."""
METAVAR: Final = "MODEL"


def model(name: str) -> Path:
    """The path that ``name`` is, or the model of that name in models/; a type for argparse.

    Raises:
        ArgumentTypeError: there is neither.
    """
    for path in (Path(name), FOLDER / f"{name}.gguf", FOLDER / name):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.gguf"))) or "nothing"
    raise argparse.ArgumentTypeError(
        f"{name}: no such file, and models/ has {known}; scripts/models fetches what is missing"
    )


def add_model(parser: argparse.ArgumentParser, default: Path) -> None:
    """Add the flag -m to ``parser``."""
    told = "path of a GGUF, or a name in models/, for example smollm2-135m-instruct-q4_1"
    parser.add_argument("-m", dest="model", type=model, default=default, metavar=METAVAR, help=told)
