"""docs/cli.md says what --help says."""

from reference import PATH, reference


def test_the_reference_is_that_of_the_commands() -> None:
    assert PATH.read_text(encoding="utf-8") == reference(), "run python tests/cli/reference.py"
