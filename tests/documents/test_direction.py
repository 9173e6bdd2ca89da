"""Which languages are written from right to left."""

import pytest

from templora_edge.documents.direction import is_rtl


@pytest.mark.parametrize(
    "language", ["ar", "he", "fa", "ur", "yi", "ps", "ckb", "ar-EG", "az-Arab"]
)
def test_right_to_left(language: str) -> None:
    assert is_rtl(language)


@pytest.mark.parametrize(
    "language", ["fr", "en-US", "zh", "az", "ku", "ar-Latn", "mn-Mong", "", "C", "x y"]
)
def test_left_to_right(language: str) -> None:
    assert not is_rtl(language)
