"""Volumes of a series: what each starts with, and the errors."""

from dataclasses import asdict
from pathlib import Path

import pytest
from command import check_failure, run
from texts import FRENCH

from templora_edge.errors import DocumentError, OptionError
from templora_edge.job_store.folder import folder_of
from templora_edge.options import Options, Preset
from templora_edge.translation.job.series import Series, Start
from templora_edge.translation.job.translate_job import TranslateJob
from templora_edge.translation.prompt import Pair
from templora_edge.translation.store.store import Store

TOML = """
source_language = "fr"
target_language = "en"
glossary = "terms.csv"

[names]
"Kéradec" = "Keradec"

[[volume]]
source = "un.txt"
out = "one.txt"

[[volume]]
source = "deux.txt"
out = "two.txt"
"""
SHORT = ["-c", 256, "--block", 32, "--rank", 4]
OPEN = Start(None, None, None, None, Options(), None, None)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    path = tmp_path / "series.toml"
    path.write_text(TOML, encoding="utf-8")
    (tmp_path / "un.txt").write_text("\n\n".join(FRENCH[:3]) + "\n", encoding="utf-8")
    (tmp_path / "deux.txt").write_text("\n\n".join([FRENCH[0], *FRENCH[3:5]]) + "\n", "utf-8")
    (tmp_path / "terms.csv").write_text("marin,mariner\n", encoding="utf-8")
    return path


def test_a_second_volume_starts_with_what_the_first_left(series: Path) -> None:
    folder = series.parent
    result = run("translate", folder / "deux.txt", "--series", series, *SHORT)
    check_failure(result, f"--series {series}: volume 1 ({folder / 'one.txt'}) is not finished")
    learning = [*SHORT, "--own-learning-rate", 1e-5]
    result = run("translate", folder / "un.txt", "--series", series, *learning)
    assert result.returncode == 0, result.stderr
    adapter = folder / "one.txt.adapter.gguf"
    assert adapter.is_file()
    with Store(folder_of(folder / "one.txt"), read_only=True) as store:
        first = [Pair(row.source, str(row.translation)) for row in store.segments()]
        believed = [row for row in store.segments() if row.is_believed]
        assert store.settings is not None
        assert store.settings["names"] == [["Kéradec", "Keradec"]]
    start = Series.read(series).start(folder / "deux.txt", OPEN)
    assert start.options.training.adapter == adapter
    assert start.earlier == tuple(Pair(row.source, str(row.translation)) for row in believed)
    assert start.adapter_out is None, "nothing is learned by default"
    result = run("translate", folder / "deux.txt", "--series", series, *SHORT)
    assert result.returncode == 0, result.stderr
    with Store(folder_of(folder / "two.txt"), read_only=True) as store:
        assert store.settings is not None
        assert store.settings["adapter"] is not None
        assert store.settings["earlier"] is not None
        rows = store.segments()
    if first[0] in start.earlier:
        assert rows[0].origin == "memory", "the same sentence as in the first volume"
        assert rows[0].translation == first[0].translation


def test_flags_win_over_the_series(series: Path) -> None:
    folder = series.parent
    given = Start(
        folder / "mine.txt", "de", None, Path("m.gguf"), Options(), folder / "own.csv", None
    )
    job = Series.read(series).start(folder / "un.txt", given).job(folder / "un.txt")
    assert job.out == folder / "mine.txt"
    assert (job.languages.source, job.languages.target) == ("de", "en")
    assert (job.model, job.glossary) == (Path("m.gguf"), folder / "own.csv")
    filled = Series.read(series).start(folder / "un.txt", OPEN).job(folder / "un.txt")
    assert asdict(filled) == asdict(
        TranslateJob(
            folder / "un.txt",
            folder / "one.txt",
            filled.languages,
            glossary=folder / "terms.csv",
            names=(Pair("Kéradec", "Keradec"),),
        )
    )


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (Options(), False),
        (Options().changed(own_learning_rate=1e-5), True),
        (Options().changed(learning_rate="auto"), True),
        (Options().changed(learning_rate=0, own_learning_rate=0), False),
        (Options().changed(preset=Preset.BEST), True),
        (Options().changed(preset=Preset.BEST, templora=False), False),
    ],
)
def test_the_adapter_is_kept_where_translations_are_learned(
    series: Path, options: Options, kept: bool
) -> None:
    given = Start(None, None, None, None, options, None, None)
    start = Series.read(series).start(series.parent / "un.txt", given)
    assert (start.adapter_out == series.parent / "one.txt.adapter.gguf") is kept


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("volume = [", "cannot be read"),
        ("volumes = 1", "volumes: unknown key; expected source_language"),
        ("glossary = 3\n" + TOML.replace("glossary =", "#"), r"glossary: found 3; expected a text"),
        ('source_language = "fr"', r"volume: expected tables \[\[volume\]\]"),
        ('[[volume]]\nsource = "a.txt"', "volume 1: out: missing; expected a text"),
        ('[[volume]]\nsource = "a.txt"\nout = "b.txt"\nlang = 1', "volume 1: lang: unknown key"),
        ('names = ["a"]\n[[volume]]\nsource = "a.txt"\nout = "b.txt"', "names: expected a table"),
        (TOML.replace('"Keradec"', '""'), "names: Kéradec: found ''; expected a text"),
    ],
)
def test_errors_name_file_and_key(series: Path, text: str, message: str) -> None:
    series.write_text(text, encoding="utf-8")
    with pytest.raises(DocumentError, match=rf"^--series .*series\.toml: {message}") as caught:
        Series.read(series)
    assert "\n" not in str(caught.value)


def test_what_is_not_in_the_series(series: Path) -> None:
    folder = series.parent
    with pytest.raises(OptionError, match=r"trois\.txt is no volume of it; expected .*un\.txt"):
        Series.read(series).start(folder / "trois.txt", OPEN)
    series.write_text('[[volume]]\nsource = "un.txt"\nout = "one.txt"\n', encoding="utf-8")
    start = Series.read(series).start(folder / "un.txt", OPEN)
    with pytest.raises(OptionError, match="-sl, -tl: missing; give it, or a --series that has it"):
        start.job(folder / "un.txt")
    wrong = run("translate", folder / "un.txt")
    assert (wrong.returncode, "-o, -sl, -tl: missing" in wrong.stderr) == (2, True)
    with pytest.raises(DocumentError, match=r"--series .*none\.toml: cannot be read"):
        Series.read(folder / "none.toml")
