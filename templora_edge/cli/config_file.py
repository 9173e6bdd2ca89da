"""The configuration file: defaults of flags in TOML.

    model = "models/model.gguf"     # for all commands that have the flag

    [generate]                      # for one command
    ctx-size = 2048
    lora = ["style.gguf:0.8"]       # a list where a flag may be repeated

    [convert.base]
    type = "q8_0"

Keys are the long names of flags. Relative paths are relative to the folder of the file.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from templora_edge.errors import ConfigError

VARIABLE: Final = "TEMPLORA_CONFIG"
STDIN: Final = "-"
"""Name of a file that is no path."""


@dataclass(frozen=True)
class Entry:
    """A value in a configuration file."""

    path: Path
    section: tuple[str, ...]
    """The command, as it is called; empty: for all."""
    key: str
    value: Any

    def __str__(self) -> str:
        return " ".join(filter(None, (str(self.path), self.heading)))

    @property
    def heading(self) -> str:
        """The line that begins the section; empty: there is none."""
        return _heading(self.section)

    def texts(self, *, switch: bool, several: bool, is_path: bool) -> bool | str | list[str]:
        """The value as a command line would give it: a switch as it is, all else as text.

        Args:
            switch: whether the flag is on or off.
            several: whether the flag may be repeated.
            is_path: whether the flag takes a path.

        Raises:
            ConfigError: the value is of another type.
        """
        if switch:
            return bool(self._checked(self.value, bool, "true or false"))
        if several:
            items = self._checked(self.value, list, "a list")
            return [self._text(item, is_path) for item in items]
        return self._text(self.value, is_path)

    def check(self, parsed: Any) -> None:
        """Check that numbers have no quotes, and that all else has.

        Args:
            parsed: what a command made of `texts`.

        Raises:
            ConfigError: they are the other way round.
        """
        several = isinstance(parsed, list | tuple)
        pairs = zip(self.value, parsed, strict=True) if several else [(self.value, parsed)]
        for value, one in pairs:
            if isinstance(one, int | float):
                self._checked(value, int | float, "a number, without quotes")
            else:
                self._checked(value, str, "a string, in quotes")

    def error(self, reason: object) -> ConfigError:
        """An error that says why the value cannot be used."""
        return ConfigError(
            f"{_place(self.path, self.section, self.key)} = {_toml(self.value)}: {reason}"
        )

    def _text(self, value: Any, is_path: bool) -> str:
        text = str(self._checked(value, str | int | float, "a string or a number"))
        if not is_path or text == STDIN or not isinstance(value, str):
            return text
        return os.path.join(self.path.parent, os.path.expanduser(text))  # noqa: PTH111, PTH118

    def _checked(self, value: Any, kind: Any, expected: str) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(f"expected {expected}")
        return value


@dataclass(frozen=True)
class ConfigFile:
    """A configuration file that was read."""

    path: Path
    """Where it is, or would be."""
    table: Mapping[str, Any]
    exists: bool = True

    @classmethod
    def find(cls, flag: Path | None) -> "ConfigFile":
        """Read the file of --config, of TEMPLORA_CONFIG, or, if it exists, the user's own.

        Raises:
            ConfigError: the file is missing or unreadable, or is not TOML.
        """
        if flag is not None:
            return cls._read(flag, f"--config {flag}")
        if variable := os.environ.get(VARIABLE):
            return cls._read(Path(variable), f"{VARIABLE}={variable}")
        path = default_path()
        if os.path.exists(path):  # noqa: PTH110 # False also where the folder cannot be entered
            return cls._read(path, str(path))
        return cls(path, {}, exists=False)

    @classmethod
    def _read(cls, path: Path, name: str) -> "ConfigFile":
        try:
            text = path.read_bytes().decode("utf-8-sig")
            return cls(path.absolute(), tomllib.loads(text))
        except OSError as error:
            raise ConfigError(f"{name}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{name}: not UTF-8 (byte {error.start})") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{name}: not TOML: {error}") from error

    def entries(self, command: Sequence[str]) -> Iterator[Entry]:
        """The values for a command; those of a section after those for all.

        Args:
            command: the words by which the command is called.
        """
        table: Any = self.table
        for depth in range(len(command) + 1):
            for key, value in table.items():
                if not isinstance(value, dict):
                    yield Entry(self.path, tuple(command[:depth]), key, value)
            table = table.get(command[depth], {}) if depth < len(command) else {}

    def check_names(self, commands: Mapping[tuple[str, ...], set[str]]) -> None:
        """Check that all sections are commands, and that all keys are flags there.

        Args:
            commands: the keys of each command, by the words by which it is called.

        Raises:
            ConfigError: there is another section or key.
        """
        self._check_names(self.table, (), commands)

    def _check_names(
        self,
        table: Mapping[str, Any],
        section: tuple[str, ...],
        commands: Mapping[tuple[str, ...], set[str]],
    ) -> None:
        depth = len(section)
        below = {words: keys for words, keys in commands.items() if words[:depth] == section}
        keys = set().union(*below.values())
        sections = {words[depth] for words in below if len(words) > depth}
        for name, value in table.items():
            known, kind = (sections, "command") if isinstance(value, dict) else (keys, "flag")
            if name not in known:
                close = get_close_matches(name, sorted(known), 1) or get_close_matches(
                    name.replace("_", "-"), sorted(known), 1
                )
                hint = f"; did you mean {close[0]}?" if close else ""
                raise ConfigError(
                    f"{_place(self.path, section, name)}: there is no such {kind}{hint}"
                )
            if isinstance(value, dict):
                self._check_names(value, (*section, name), commands)


def default_path() -> Path:
    """The user's own file: ~/.config/templora/config.toml, or in $XDG_CONFIG_HOME."""
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):  # noqa: PTH117 # the specification: others are to be ignored
        folder = os.path.expanduser("~/.config")  # noqa: PTH111 # does not raise without a home
    return Path(folder, "templora", "config.toml")


def _heading(section: tuple[str, ...]) -> str:
    return f"[{'.'.join(section)}]" if section else ""


def _place(path: Path, section: tuple[str, ...], name: str) -> str:
    return " ".join(filter(None, (f"{path}:", _heading(section), name)))


def _toml(value: Any) -> str:
    """``value`` as it stands in the file, for messages."""
    return str(value).lower() if isinstance(value, bool) else repr(value)
