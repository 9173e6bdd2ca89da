"""Where llama.cpp's repacked weights pay off, measured in docs/results/speed.md."""

from typing import Final

from gguf import GGMLQuantizationType

from templora_edge.host import memory, processor
from templora_edge.models.gguf_file import GgufFile

MOST_MEMORY: Final = 1 / 4
"""Share of the memory that the weights may take once more."""


def repacking_pays(base: GgufFile) -> bool:
    """Whether llama.cpp reads and writes faster with the weights of ``base`` repacked.

    So it is for Q4_0 on x86 with AVX2. Repacked Q4_K writes faster, but reads slower; Q8_0 and
    others have no other layout there. With AMX, llama.cpp would use kernels that crash on some
    machines. The answer must not depend on what memory is free: results differ by rounding, and a
    job that is resumed writes what it would have written.
    """
    sizes = dict.fromkeys(GGMLQuantizationType, 0)
    for tensor in base.tensors.values():
        sizes[tensor.tensor_type] += int(tensor.n_bytes)
    features = processor.features()
    return (
        sizes[GGMLQuantizationType.Q4_0] > sum(sizes.values()) / 2
        and "avx2" in features
        and "amx_tile" not in features
        and base.file_bytes <= MOST_MEMORY * memory.total()
    )
