"""Write the bundled model with all weights in float32.

With quantized weights llama.cpp rounds activations to 8 bits, and what differs in the last bit is
rounded to another value now and then; so logits agree across machines with float32 alone.

Usage: python -m scripts.aarch64.dequantized OUT.gguf
"""

import argparse
from pathlib import Path

import gguf

from templora_edge.assets import BUNDLED_MODEL


def main() -> None:
    """Copy the metadata, and the weights dequantized."""
    parser = argparse.ArgumentParser("python -m scripts.aarch64.dequantized")
    parser.add_argument("out", type=Path, metavar="OUT.gguf")
    reader = gguf.GGUFReader(BUNDLED_MODEL)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(parser.parse_args().out, architecture)
    for key, field in reader.fields.items():
        if not key.startswith(("GGUF.", "general.architecture")):
            kind, *_, last = field.types if len(field.types) > 1 else (field.types[0], None)
            writer.add_key_value(key, field.contents(), kind, last)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
