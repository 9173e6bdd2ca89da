"""A series of volumes: what their translations have in common, and what each leaves to the next.

    source_language = "fr"
    target_language = "en"
    model = "model.gguf"
    glossary = "terms.csv"

    [names]
    "Phileas Fogg" = "Phileas Fogg"

    [[volume]]
    source = "tome1.epub"
    out = "volume1.epub"

Paths are relative to the file. A volume goes on from those before it, which must be finished: from
the adapter of the last one that kept one, where translations were learned, and from their segments.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from templora_edge.errors import DocumentError, OptionError, listed
from templora_edge.host.files import same_file
from templora_edge.host.text_file import read_text
from templora_edge.job_store.folder import folder_of, is_begun
from templora_edge.options import Options, Preset
from templora_edge.translation.answers import Languages
from templora_edge.translation.job.translate_job import TranslateJob
from templora_edge.translation.prompt import Pair
from templora_edge.translation.store.store import Store

KEYS: Final = ("source_language", "target_language", "model", "glossary", "names", "volume")
VOLUME_KEYS: Final = ("source", "out")


@dataclass(frozen=True, slots=True)
class Volume:
    """A document of a series and its translation."""

    source: Path
    out: Path

    @property
    def adapter(self) -> Path:
        """Where the adapter is kept for the next volume, if translations are learned."""
        return self.out.with_name(f"{self.out.name}.adapter.gguf")


@dataclass(frozen=True, slots=True)
class Start:
    """What a translation starts with: flags, filled from a series; None is left open."""

    out: Path | None
    source_language: str | None
    target_language: str | None
    model: Path | None
    options: Options
    glossary: Path | None
    adapter_out: Path | None
    names: tuple[Pair, ...] = ()
    earlier: tuple[Pair, ...] = ()
    """Segments of the volumes before and their translations, in order."""

    def job(self, source: Path) -> TranslateJob:
        """The job of ``source``.

        Raises:
            OptionError: a language or the output is open.
        """
        if self.out is None or self.source_language is None or self.target_language is None:
            named = {
                "-o": self.out, "-sl": self.source_language, "-tl": self.target_language
            }  # fmt: skip
            missing = listed(flag for flag, value in named.items() if value is None)
            raise OptionError(f"{missing}: missing; give it, or a --series that has it")
        return TranslateJob(
            source,
            self.out,
            Languages(self.source_language, self.target_language),
            self.model,
            self.options,
            glossary=self.glossary,
            adapter_out=self.adapter_out,
            names=self.names,
            earlier=self.earlier,
        )


@dataclass(frozen=True, slots=True)
class Series:
    """The volumes of a series, in order, and what they have in common."""

    path: Path
    volumes: tuple[Volume, ...]
    source_language: str | None = None
    target_language: str | None = None
    model: Path | None = None
    glossary: Path | None = None
    names: tuple[Pair, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Series":
        """Read a TOML file.

        Raises:
            DocumentError: it cannot be read, or a key is unknown, missing or of another type.
        """
        try:
            table = tomllib.loads(read_text(path))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise DocumentError(f"--series {path}: cannot be read ({error})") from error
        _check_keys(path, "", table, KEYS)
        texts = {key: _text(path, "", table, key) for key in KEYS[:4] if key in table}
        files = {key: path.parent / texts[key] for key in ("model", "glossary") if key in texts}
        return cls(
            path,
            _volumes(path, table.get("volume")),
            texts.get("source_language"),
            texts.get("target_language"),
            files.get("model"),
            files.get("glossary"),
            _names(path, table.get("names", {})),
        )

    def start(self, source: Path, given: Start) -> Start:
        """``given``, what flags say, filled for the translation of ``source``.

        Raises:
            OptionError: ``source`` is no volume, or one before it is not finished.
            JobError: the job of one before it is damaged.
        """
        number = self._number(source)
        volume, before = self.volumes[number], self.volumes[:number]
        earlier = [pair for n, one in enumerate(before, 1) for pair in self._segments(n, one)]
        options = given.options
        if options.templora and options.training.adapter is None:
            kept = [one.adapter for one in before if one.adapter.is_file()]
            options = options.changed(adapter=kept[-1] if kept else None)
        return Start(
            given.out or volume.out,
            given.source_language or self.source_language,
            given.target_language or self.target_language,
            given.model or self.model,
            options,
            given.glossary or self.glossary,
            given.adapter_out or (volume.adapter if _learns(options) else None),
            self.names,
            tuple(earlier),
        )

    def _number(self, source: Path) -> int:
        """Index of the volume whose source is ``source``."""
        for number, volume in enumerate(self.volumes):
            if same_file(volume.source, source):
                return number
        known = ", ".join(str(volume.source) for volume in self.volumes)
        raise OptionError(f"--series {self.path}: {source} is no volume of it; expected {known}")

    def _segments(self, number: int, volume: Volume) -> list[Pair]:
        """The segments of a finished volume that passed their checks, with their translations."""
        folder = folder_of(volume.out)
        if is_begun(folder):
            with Store(folder, read_only=True) as store:
                if store.finished:
                    return [
                        Pair(row.source, str(row.translation))
                        for row in store.segments()
                        if row.is_believed
                    ]
        raise OptionError(
            f"--series {self.path}: volume {number} ({volume.out}) is not finished; translate "
            f"{volume.source} first"
        )


def _learns(options: Options) -> bool:
    """Whether translations are learned at the rates of ``options``, resolved or not."""
    rates = [options.lora.learning_rate, options.lora.own_learning_rate]
    told = [rate for rate in rates if rate is not None]
    return options.templora and (any(told) if told else options.preset is not Preset.DEFAULT)


def _volumes(path: Path, tables: Any) -> tuple[Volume, ...]:
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise DocumentError(
            f"--series {path}: volume: expected tables [[volume]] with source and out, in order"
        )
    found = []
    for number, one in enumerate(tables, 1):
        where = f"volume {number}: "
        _check_keys(path, where, one, VOLUME_KEYS)
        source, out = (path.parent / _text(path, where, one, key) for key in VOLUME_KEYS)
        found.append(Volume(source, out))
    return tuple(found)


def _names(path: Path, table: Any) -> tuple[Pair, ...]:
    if not isinstance(table, dict):
        raise DocumentError(f'--series {path}: names: expected a table of "name" = "rendering"')
    return tuple(Pair(name, _text(path, "names: ", table, name)) for name in table)


def _check_keys(path: Path, where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise DocumentError(
                f"--series {path}: {where}{key}: unknown key; expected {', '.join(known)}"
            )


def _text(path: Path, where: str, table: Mapping[str, Any], key: str) -> str:
    """The text of ``key``, which must be there."""
    value = table.get(key)
    if isinstance(value, str) and value.strip():
        return value
    found = "missing" if key not in table else f"found {value!r}"
    raise DocumentError(f"--series {path}: {where}{key}: {found}; expected a text in quotes")
