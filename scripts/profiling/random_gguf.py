"""Make Llama-shaped GGUF files with random weights, to measure costs with.

Usage: python -m scripts.profiling.random_gguf {1b,7b} OUT.gguf [--type Q4_K_M]
"""

import argparse
from pathlib import Path
from typing import Final

import gguf
import numpy as np
import numpy.typing as npt

from templora_edge.models.published import USUAL, has_more_bits

MODELS: Final = {"1b": "meta-llama/Llama-3.2-1B", "7b": "mistralai/Mistral-7B-v0.3"}
SHAPES: Final = {
    name: next(one for one in USUAL if one.repo == repo) for name, repo in MODELS.items()
}
"""Name of a shape -> the dimensions of the model that has it."""

KIND: Final = gguf.GGMLQuantizationType
FILE_TYPES: Final = {
    "Q4_K_M": (KIND.Q4_K, KIND.Q6_K, KIND.Q6_K),
    "Q4_0": (KIND.Q4_0, KIND.Q4_0, KIND.Q6_K),
    "Q4_1": (KIND.Q4_1, KIND.Q4_1, KIND.Q6_K),
    "Q8_0": (KIND.Q8_0, KIND.Q8_0, KIND.Q8_0),
}
"""Types of most matrices, of those that llama.cpp's rule gives more bits, and of the output."""
SCALES: Final = {
    KIND.Q4_0: (0, [4e-3]),
    KIND.Q4_1: (0, [4e-3, -3e-2]),
    KIND.Q8_0: (0, [2.5e-4]),
    KIND.Q4_K: (0, [1e-4, 7.5e-4]),
    KIND.Q6_K: (208, [1.5e-5]),
}
"""Where in a block its scales stand, in bytes, and what makes weights of about 0.02."""
SHARPNESS: Final = 3.0
"""Weight of the last norm: predictions are about as sharp as those of a model that was trained."""
N_RANDOM: Final = 8192
"""Number of random blocks, which are repeated to fill a matrix."""


def blocks(kind: gguf.GGMLQuantizationType) -> npt.NDArray[np.uint8]:
    """Random blocks of weights of about 0.02, (N_RANDOM, bytes per block)."""
    rng = np.random.default_rng(int(kind))
    size = gguf.GGML_QUANT_SIZES[kind][1]
    data = rng.integers(0, 256, (N_RANDOM, size), dtype=np.uint8)
    begin, scales = SCALES[kind]
    data[:, begin : begin + 2 * len(scales)] = np.array(scales, np.float16).view(np.uint8)
    return data


def matrix(kind: gguf.GGMLQuantizationType, n_out: int, n_in: int) -> npt.NDArray[np.uint8]:
    """A random matrix as stored in the file, (n_out, bytes per row)."""
    n_weights, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    return np.resize(blocks(kind), n_out * n_in // n_weights * n_bytes).reshape(n_out, -1)


def write(path: Path, shape: str, file_type: str) -> None:
    """Write the file; matrices have more bits where llama.cpp's rule for ``file_type`` says so."""
    usual, finer, output = FILE_TYPES[file_type]
    own = SHAPES[shape]
    layers, width = own.layers, own.width
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(own.vocabulary)
    writer.add_context_length(32768)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(own.feed_forward)
    writer.add_head_count(own.heads)
    writer.add_head_count_kv(own.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(own.head_size)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{file_type}"])

    def add(name: str, n_out: int, n_in: int, kind: gguf.GGMLQuantizationType) -> None:
        writer.add_tensor(f"{name}.weight", matrix(kind, n_out, n_in), raw_dtype=kind)

    def add_norm(name: str, value: float = 1) -> None:
        writer.add_tensor(f"{name}.weight", np.full(width, value, np.float32))

    add("token_embd", own.vocabulary, width, output if own.tied else usual)
    if not own.tied:
        add("output", own.vocabulary, width, output)
    add_norm("output_norm", SHARPNESS)
    for i in range(layers):
        more = has_more_bits(i, layers)
        kv = own.kv_heads * own.head_size
        add_norm(f"blk.{i}.attn_norm")
        add(f"blk.{i}.attn_q", width, width, usual)
        add(f"blk.{i}.attn_k", kv, width, usual)
        add(f"blk.{i}.attn_v", kv, width, finer if more else usual)
        add(f"blk.{i}.attn_output", width, width, usual)
        add_norm(f"blk.{i}.ffn_norm")
        add(f"blk.{i}.ffn_gate", own.feed_forward, width, usual)
        add(f"blk.{i}.ffn_up", own.feed_forward, width, usual)
        add(f"blk.{i}.ffn_down", width, own.feed_forward, finer if more else usual)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Parse the command line and write."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.profiling.random_gguf", description=summary)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=Path, metavar="OUT.gguf")
    parser.add_argument("--type", choices=FILE_TYPES, default="Q4_K_M")
    arguments = parser.parse_args()
    write(arguments.out, arguments.shape, arguments.type)


if __name__ == "__main__":
    main()
