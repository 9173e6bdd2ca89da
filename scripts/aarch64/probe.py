"""Generate, train on one block, and write the logits: what `smoke_test` compares across machines.

Usage: python -m scripts.aarch64.probe MODEL.gguf OUT.npz

MODEL is the bundled model in float32, which `dequantized` writes.
"""

import argparse
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

import templora_edge
from templora_edge import Options, SamplingOptions, TempLora
from templora_edge.engine.build import Build
from templora_edge.training.processor import TorchProcessor

TEXT: Final = (
    "The captain stood upon the deck and looked towards the land, which lay like a grey cloud "
    "under the morning sky. He had not slept. All night the wind had blown from the west, and the "
    "men had worked at the pumps without a word; but now it was calm, and he thought of the letter."
)
"""Text that the model reads, learns block by block, and reads again."""
BLOCK: Final = 32
"""Tokens of a block."""


def main() -> None:
    """Write the logits before and after an update."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.aarch64.probe", description=summary)
    parser.add_argument("model", type=Path, metavar="MODEL.gguf")
    parser.add_argument("out", type=Path, metavar="OUT.npz")
    arguments = parser.parse_args()
    build, processor = Build.here(), TorchProcessor.here()
    print(f"  {platform.machine()}, Python {platform.python_version()}")
    print(f"  templora-edge {templora_edge.__version__} in {templora_edge.__path__[0]}")
    print(f"  llama-cpp-python {build.version}: {', '.join(build.features)}")
    print(f"  torch {processor.version}: {', '.join(processor.instructions)}")
    print(f"  transformers {version('transformers')}, peft {version('peft')}")
    begun = time.perf_counter()
    options = Options().changed(
        n_ctx=256, n_threads=1, block_len=BLOCK, train_dtype="fp32", learning_rate=1e-3
    )
    with TempLora(arguments.model, options) as session:
        tokens = session.tokenize(TEXT)
        before = read(session, tokens)
        report = session.absorb(TEXT)[0]
        pieces = session.generate(n_predict=BLOCK, sampling=SamplingOptions(temperature=0.0))
        written = "".join(piece.text for piece in pieces)
        after = read(session, tokens)
    with TempLora(options=options.changed(templora=False)) as session:
        quantized = read(session, tokens)
    print(f"  loss of the first block {report.loss_before:.5f}, learned {report.loss_after:.5f}")
    print(f"  wrote {written!r}")
    print(f"  {time.perf_counter() - begun:.0f} s")
    np.savez(arguments.out, before=before, after=after, quantized=quantized)


def read(session: TempLora, tokens: list[int]) -> npt.NDArray[np.float32]:
    """Logits after every token from an empty cache, with the current adapter, (n, n_vocab)."""
    session.engine.clear()
    return np.concatenate([logits.copy() for logits in session.engine.context.decode_all(tokens)])


if __name__ == "__main__":
    main()
