"""The view of a base GGUF against gguf's own reader."""

import gguf
import numpy as np
import pytest

from templora_edge.assets import BUNDLED_MODEL
from templora_edge.errors import ModelFileError
from templora_edge.models.gguf_file import MAX_ARRAY, GgufFile


def test_it_reads_what_gguf_reads_but_for_the_vocabulary() -> None:
    base, reference = GgufFile(BUNDLED_MODEL), gguf.GGUFReader(BUNDLED_MODEL)
    skipped = set()
    for key, field in reference.fields.items():
        expected = field.contents()
        if isinstance(expected, list) and len(expected) > MAX_ARRAY:
            skipped.add(key)
            assert base.get(key) is None
        else:
            assert base.get(key) == expected
    assert skipped == {f"tokenizer.ggml.{name}" for name in ("tokens", "token_type", "merges")}
    assert list(base.tensors) == [tensor.name for tensor in reference.tensors]
    for tensor in reference.tensors:
        np.testing.assert_array_equal(base.tensors[tensor.name].data, tensor.data)
    assert base.n_params == sum(int(tensor.n_elements) for tensor in reference.tensors)


def test_missing_things_are_named() -> None:
    base = GgufFile(BUNDLED_MODEL)
    assert base.require("{arch}.block_count") == 5
    assert base.get("{arch}.nothing", 5) == 5
    with pytest.raises(ModelFileError, match=r"llama\.nothing"):
        base.require("{arch}.nothing")
    with pytest.raises(ModelFileError, match=r"blk\.9\.attn_q\.weight"):
        base.dequantize("blk.9.attn_q.weight")
