"""Which settings of a job a later run may change."""

from typing import Any

import pytest

from templora_edge.options import Options
from templora_edge.translation.job.settings import MAY_CHANGE, changes
from templora_edge.translation.store.store import Learned

OF_THE_JOB = {
    *("source", "sampling", "glossary", "names", "memory", "earlier", "prompt_template"),
    *("review", "references"),
}
BEFORE: dict[str, Any] = {"model": "a", "glossary": "b", "rank": 4, "references": "c"}


def test_the_table_names_settings_that_there_are() -> None:
    assert set(MAY_CHANGE) - set(Options().settings()) == OF_THE_JOB


@pytest.mark.parametrize(
    ("learned", "taken_up"),
    [
        (Learned(), ["glossary", "rank", "references"]),
        (Learned(state="training-0-1.pt", blocks=1), ["glossary", "references"]),
        (Learned(state="training-1-0.pt", references=1), ["glossary"]),
    ],
)
def test_what_was_learned_decides_what_may_change(learned: Learned, taken_up: list[str]) -> None:
    now = dict.fromkeys(BEFORE, "another")
    refused = [name for name in BEFORE if name not in taken_up]
    assert changes(BEFORE, now, learned) == (taken_up, refused)
    assert changes(BEFORE, BEFORE, learned) == ([], [])


def test_a_setting_of_a_later_version_is_no_change() -> None:
    assert changes(BEFORE, BEFORE | {"new": 1}, Learned(blocks=1)) == ([], [])
