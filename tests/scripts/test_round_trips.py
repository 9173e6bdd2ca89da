"""The script of round trips: what is the same is said to be, and what is not is found."""

from pathlib import Path

import pytest
from paths import ROOT

from scripts.round_trips import plain
from scripts.round_trips.trip import tried


@pytest.mark.parametrize("name", ["phare.txt", "phare.epub"])
def test_the_sample_comes_back(name: str) -> None:
    trip = tried(ROOT / "examples" / name)
    assert trip.paragraphs > 30
    assert (trip.refused, trip.differ, trip.lost) == ("", (), ())


def test_what_differs_is_named(tmp_path: Path) -> None:
    one, other = tmp_path / "one.md", tmp_path / "other.md"
    one.write_text("Un  chat\n")
    other.write_text("Un chat\n")
    assert plain.differences(one, other) == []
    other.write_text("Un chien\n")
    assert plain.differences(one, other) == ["one.md"]


def test_a_refusal_is_a_result(tmp_path: Path) -> None:
    (tmp_path / "empty.srt").write_text("\n")
    assert "empty" in tried(tmp_path / "empty.srt").refused
