"""Where flags get their values: command line, environment, file, defaults, in this order."""

import csv
import io
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import pytest
import typer
from command import check_failure, run
from typer.core import TyperArgument
from typer.testing import CliRunner

from templora_edge import TempLora
from templora_edge.cli.app import app
from templora_edge.cli.command import Command
from templora_edge.cli.configured import ConfiguredOption, commands_of, configured
from templora_edge.cli.environment import LLAMA_ARG, LLAMA_CPP_OPEN
from templora_edge.options import Options, SamplingOptions
from templora_edge.options.field import options_in

GROUP: Final = typer.main.get_command(app)
COMMANDS: Final = commands_of(GROUP)
FIELDS: Final = {one.name: one for one in options_in(Options, SamplingOptions)}
LEVELS: Final = ("file", "section", "llama.cpp", "templora", "flag")
"""Sources of a value besides its default, the weakest first."""
EXCLUDING: Final = (
    {"group", "file", "hf_repo", "hf_file", "templora", "partial", "absorb"},
    {"self_extend", "prompt", "model", "adapter", "adapter_out", "test", "retry_flagged",
     "restart", "perplexity"},
)  # fmt: skip
"""Parameters such that each of one set excludes one of the other."""


@pytest.fixture(scope="module", autouse=True)
def built_once() -> Iterator[None]:
    """Let typer's runner build the commands once; that takes longer than to run one."""
    with pytest.MonkeyPatch.context() as m:
        m.setattr("typer.testing._get_command", lambda _: GROUP)
        yield


KEYS: Final = {option.key for command in COMMANDS.values() for option in configured(command)}
PAIRS: Final = [
    pair
    for pair in (
        (("self-extend", "auto"), ("grp-attn-n", "4")),
        (("prompt", "a"), ("file", "/b")),
        (("model", "/m.gguf"), ("hf-repo", "user/repo")),
        (("no-templora", "on"), ("adapter-in", "/a.gguf")),
        (("no-templora", "on"), ("adapter-out", "/a.gguf")),
    )
    if {key for key, _ in pair} <= KEYS
]
"""Flags of `generate` that exclude one another, with a value of each."""

Values = dict[str, list[str]]
"""Text by parameter: one, or as many as a flag that may be repeated has."""


def parse(
    words: Sequence[str], arguments: Sequence[object] = (), env: dict[str, str] | None = None
) -> dict[str, Any]:
    """The parameters with which the real command line would run a command."""
    found = []
    with pytest.MonkeyPatch.context() as m:
        m.setattr(Command, "invoke", lambda self, ctx: found.append(dict(ctx.params)))
        line = [*words, *positional(words), *map(str, arguments)]
        result = CliRunner().invoke(app, line, env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return dict(found[0])


def positional(words: Sequence[str]) -> list[str]:
    return [
        "text"
        for one in COMMANDS[tuple(words)].params
        if isinstance(one, TyperArgument) and one.required
    ]


def in_force(words: Sequence[str], env: dict[str, str]) -> dict[str, Any]:
    """What `templora config` says of each flag of a command."""
    result = CliRunner().invoke(app, ["config", *words, "--json"], env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)["commands"][" ".join(words)]
    return found


def candidates(option: ConfiguredOption) -> list[str]:
    """Texts that a flag accepts, all of different values; as few as one."""
    field, kind = FIELDS.get(option.name), option.type_descriptor.annotation
    words = list(field.metadata["also"]) if field is not None else []
    if option.is_flag:
        return ["on", "off"]
    if choices := option.type_descriptor.choices:
        return list(map(str, choices))
    if kind is int or kind == list[int]:
        return [str(max(1, option.min or 0) + step) for step in range(5)]
    if kind is float:
        low = 0 if field is None else field.metadata["min"] or field.metadata["above"] or 0
        return [str(low + step / 8) for step in range(1, 6)] + words
    root = "/" if Path in (kind, *get_args(kind)) or option.key in ("file", "lora", "notes") else ""
    return [f"{root}some/text{step}" for step in range(5)]


def flag(option: ConfiguredOption, texts: list[str]) -> list[str]:
    name = f"--{option.key}"
    if option.is_flag:
        off = option.secondary_opts[0] if option.secondary_opts else option.opposite
        return [name if texts == ["on"] else off]
    return [word for text in texts for word in (name, text)]


def in_toml(option: ConfiguredOption, texts: list[str]) -> str:
    def one(text: str) -> str:
        numeric = option.type_descriptor.annotation in (int, float, list[int])
        return text if numeric and text[0].isdigit() else json.dumps(text)

    if option.is_flag:
        return "true" if texts == ["on"] else "false"
    return f"[{', '.join(map(one, texts))}]" if option.multiple else one(texts[0])


def in_variable(texts: list[str]) -> str:
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(texts)
    return row.getvalue()


class Sources:
    """Values for all levels, written where each level has them."""

    def __init__(self, folder: Path, words: tuple[str, ...]) -> None:
        self.words = words
        self.path = folder / "config.toml"
        self.by_level: dict[str, Values] = {level: {} for level in LEVELS}
        self.options = {one.name: one for one in configured(COMMANDS[words])}

    def put(self, level: str, name: str, texts: list[str]) -> None:
        self.by_level[level][name] = texts

    def strongest(self, name: str) -> str | None:
        return next((one for one in reversed(LEVELS) if name in self.by_level[one]), None)

    def arguments(self) -> list[str]:
        given = self.by_level["flag"]
        return [word for name, texts in given.items() for word in flag(self.options[name], texts)]

    def environment(self) -> dict[str, str]:
        lines = [""]
        for level, heading in (("file", ""), ("section", f"[{'.'.join(self.words)}]")):
            values = self.by_level[level].items()
            settings = [(self.options[name], texts) for name, texts in values]
            lines += [heading, *(f"{one.key} = {in_toml(one, texts)}" for one, texts in settings)]
        self.path.write_text("\n".join(lines), encoding="utf-8")
        env = {"TEMPLORA_CONFIG": str(self.path)}
        for name, texts in self.by_level["templora"].items():
            variable = f"TEMPLORA_{self.options[name].key.replace('-', '_').upper()}"
            env[variable] = in_variable(texts)
        for name, texts in self.by_level["llama.cpp"].items():
            env[LLAMA_ARG[self.options[name].key]] = in_variable(texts)
        return env

    def check(self) -> None:
        """Hold values and sources against what flags alone would give."""
        chosen = {name: self.strongest(name) for name in self.options}
        alone = [
            word
            for name, level in chosen.items()
            if level is not None
            for word in flag(self.options[name], self.by_level[level][name])
        ]
        env = self.environment()
        assert parse(self.words, self.arguments(), env) == parse(self.words, alone)
        self.by_level["flag"] = {}  # `templora config` takes none
        for key, found in in_force(self.words, env).items():
            option = next(one for one in self.options.values() if one.key == key)
            level = self.strongest(option.name)
            variable = f"TEMPLORA_{key.replace('-', '_').upper()}"
            expected = {
                None: ("default", None),
                "file": ("file", key),
                "section": ("file", ".".join((*self.words, key))),
                "llama.cpp": ("environment", LLAMA_ARG.get(key)),
                "templora": ("environment", variable),
            }[level]
            assert (found["source"], found.get("name")) == expected, key


@pytest.fixture(params=COMMANDS, ids=" ".join)
def words(request: pytest.FixtureRequest) -> tuple[str, ...]:
    found: tuple[str, ...] = request.param
    return found


def levels_of(option: ConfiguredOption) -> list[str]:
    return [level for level in LEVELS if level != "llama.cpp" or option.key in LLAMA_ARG]


def several(option: ConfiguredOption, texts: list[str], step: int) -> list[str]:
    """One of ``texts``, or two for a flag that may be repeated."""
    count = 2 if option.multiple else 1
    return [texts[(step + more) % len(texts)] for more in range(count)]


@pytest.mark.parametrize("excluded", EXCLUDING, ids=["one", "other"])
def test_each_source_wins_over_all_weaker_ones(
    words: tuple[str, ...], excluded: set[str], tmp_path: Path
) -> None:
    """All flags of a command at once, each source in turn being the strongest one that is used."""
    for n_levels in range(1, len(LEVELS) + 1):
        sources = Sources(tmp_path, words)
        for name, option in sources.options.items():
            if name not in excluded:
                for step, level in enumerate(LEVELS[:n_levels]):
                    if level in levels_of(option):
                        sources.put(level, name, several(option, candidates(option), step))
        if all(name not in excluded for name, one in sources.options.items() if one.required):
            sources.check()


@pytest.mark.parametrize("seed", range(3))
def test_any_mix_of_sources(words: tuple[str, ...], seed: int, tmp_path: Path) -> None:
    rng = random.Random(f"{words} {seed}")  # noqa: S311
    sources = Sources(tmp_path, words)
    for name, option in sources.options.items():
        if name in EXCLUDING[seed % 2]:
            continue
        some = [level for level in levels_of(option) if rng.random() < 0.4]
        for level in some or (["section"] if option.required else []):
            texts = candidates(option)
            sources.put(level, name, several(option, texts, rng.randrange(len(texts))))
    sources.check()


def test_defaults_are_those_without_any_source(words: tuple[str, ...]) -> None:
    assert {found["source"] for found in in_force(words, {}).values()} <= {"default"}


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_of_two_flags_that_exclude_one_another_the_stronger_source_counts(
    one: tuple[str, str], other: tuple[str, str], tmp_path: Path
) -> None:
    words = ("generate",)
    names = {option.key: option.name for option in configured(COMMANDS[words])}
    for (winner, text), (loser, old) in ((one, other), (other, one)):
        only = Sources(tmp_path, words)
        only.put("flag", names[winner], [text])
        expected = parse(words, only.arguments())
        for stronger in range(1, len(LEVELS)):
            for weaker in range(stronger):
                sources = Sources(tmp_path, words)
                if "llama.cpp" in (LEVELS[stronger], LEVELS[weaker]):
                    keys = {LEVELS[stronger]: winner, LEVELS[weaker]: loser}
                    if keys["llama.cpp"] not in LLAMA_ARG:
                        continue
                sources.put(LEVELS[stronger], names[winner], [text])
                sources.put(LEVELS[weaker], names[loser], [old])
                env = sources.environment()
                assert parse(words, sources.arguments(), env) == expected
                if stronger < LEVELS.index("flag"):
                    assert in_force(words, env)[loser]["source"] == "default"


def test_a_group_of_1_turns_self_extend_off_that_the_file_turned_on(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('self-extend = "auto"')
    found = parse(["bench"], ["-gan", 1], {"TEMPLORA_CONFIG": str(file)})
    assert (found["self_extend"], found["group"]) == (None, 1)


def test_two_of_one_source_are_still_refused() -> None:
    env = {"TEMPLORA_SELF_EXTEND": "auto", "TEMPLORA_GRP_ATTN_N": "4"}
    result = CliRunner().invoke(app, ["bench"], env=env)
    assert result.exit_code == 2
    assert "not both" in result.stderr


def test_variables_are_those_of_llama_cpp(llama_cpp_source: Path) -> None:
    """Names as in llama.cpp's source, for every flag of ours that it has a variable for."""
    theirs: dict[str, str] = {}
    source = (llama_cpp_source / "common" / "arg.cpp").read_text()
    for definition in source.split("add_opt(common_arg(")[1:]:
        names = definition.partition("[](")[0]
        if variable := re.search(r'\.set_env\("(LLAMA_ARG_\w+)"\)', definition):
            theirs |= dict.fromkeys(re.findall(r'"--([\w-]+)"', names), variable[1])
    assert len(theirs) > 100
    assert LLAMA_ARG.items() <= theirs.items()
    assert KEYS & theirs.keys() <= LLAMA_ARG.keys()


def test_numbers_that_leave_the_choice_open_are_those_of_llama_cpp(llama_cpp_source: Path) -> None:
    header = (llama_cpp_source / "common" / "common.h").read_text()
    for variable, value in LLAMA_CPP_OPEN.items():
        name = {"LLAMA_ARG_THREADS": "n_threads"}.get(variable)
        name = name or variable.removeprefix("LLAMA_ARG_").lower()
        default = re.search(rf"\b{name}\s+=\s+(-?[\d.]+)f?;", header)
        assert default is not None, variable
        assert float(default[1]) == value
        option = next(key for key, one in LLAMA_ARG.items() if one == variable)
        found = in_force(["bench"], {variable: str(value)})[option]
        assert found["source"] == "default"


@pytest.mark.parametrize(
    ("text", "value"),
    [("on", True), ("enabled", True), ("true", True), ("1", True),
     ("off", False), ("disabled", False), ("false", False), ("0", False)],
)  # fmt: skip
def test_switches_are_read_as_in_llama_cpp(text: str, value: bool) -> None:
    assert parse(["bench"], env={"TEMPLORA_OVERLAP": text})["overlap"] is value


def test_an_empty_variable_is_not_set() -> None:
    assert parse(["bench"], env={"TEMPLORA_RANK": "", "LLAMA_ARG_CTX_SIZE": ""}) == parse(["bench"])


@pytest.mark.parametrize(
    ("variable", "text", "word"),
    [
        ("TEMPLORA_CTX_SIZE", "many", "integer"),
        ("LLAMA_ARG_CTX_SIZE", "-3", "greater than or equal to 0"),
        ("TEMPLORA_LEARNING_RATE", "slow", "auto or a number"),
        ("TEMPLORA_LEARNING_RATE", "-1", "0 or more"),
        ("TEMPLORA_OVERLAP", "yes", "on, enabled"),
        ("TEMPLORA_PREFIX_GRADIENT", "2", "disabled"),
        ("TEMPLORA_LORA", "a.gguf:inf", "finite"),
        ("LLAMA_ARG_CACHE_TYPE_K", "q7_0", "q8_0"),
        ("LLAMA_ARG_YARN_BETA_FAST", "-2", "0 or more"),
        ("LLAMA_ARG_N_PREDICT", "-2", "-1"),
    ],
)
def test_a_bad_variable_is_named(variable: str, text: str, word: str) -> None:
    result = CliRunner().invoke(app, ["generate", "-p", "x"], env={variable: text})
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert f"{variable}={text}" in last
    assert word in last


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ctx_size = 1", "ctx_size: there is no such flag; did you mean ctx-size?"),
        ("[generate]\nbuckets = 4", "[generate] buckets: there is no such flag"),
        ("[genrate]\nctx-size = 4", "genrate: there is no such command; did you mean generate?"),
        ("[convert.bse]", "[convert] bse: there is no such command; did you mean base?"),
        ("templora = false", "templora: there is no such flag; did you mean no-templora?"),
        ("config = 'x'", "config: there is no such flag"),
        ("ctx-size = '512'", "ctx-size = '512': expected a number, without quotes"),
        ("ctx-size = 'many'", "ctx-size = 'many': Input should be a valid integer"),
        ("ctx-size = 2.5", "ctx-size = 2.5: Input should be a valid integer"),
        ("ctx-size = true", "ctx-size = true: expected a string or a number"),
        ("ctx-size = [1]", "ctx-size = [1]: expected a string or a number"),
        ("ctx-size = 2026-11-27", "expected a string or a number"),
        ("[generate]\nctx-size = -1", "[generate] ctx-size = -1: Input should be greater"),
        ("learning-rate = 'slow'", "learning-rate = 'slow': 'slow' is not auto or a number"),
        ("learning-rate = -1", "learning-rate = -1: learning rate is -1.0; expected 0 or more"),
        ("preset = 'own'", "preset = 'own': Value error, 'own' is not one of"),
        ("overlap = 1", "overlap = 1: expected true or false"),
        ("model = 5", "model = 5: expected a string, in quotes"),
        ("lora = 'a.gguf'", "lora = 'a.gguf': expected a list"),
        ("lora = [5]", "lora = [5]: expected a string, in quotes"),
        ("lora = ['a.gguf:inf']", "scale is inf; expected a finite number"),
        ("ctx-size = ", "not TOML: Invalid value (at "),
        ("temp = 1\ntemp = 2", "not TOML: Cannot overwrite a value (at "),
        ("prompt = '\udcff'", "not UTF-8 (byte 10)"),
    ],
)
def test_a_bad_file_is_one_line_that_says_where(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    result = CliRunner().invoke(app, ["generate", "-p", "x", "--config", str(file)])
    said = str(result.exception)
    assert str(file) in said
    assert message in said
    assert "\n" not in said


def test_errors_on_the_command_line(tmp_path: Path) -> None:
    """In processes of their own, as for users."""
    missing, file = tmp_path / "none.toml", tmp_path / "own.toml"
    file.write_text("ctxsize = 1")
    for arguments in (["--config", missing, "info"], ["info", "--config", missing]):
        check_failure(run(*arguments), f"--config {missing}: cannot be read (No such file")
    check_failure(run("info", "--config", tmp_path), "Is a directory")
    check_failure(run("--config", file, "status", "x"), f"{file}: ctxsize", "mean ctx-size?")
    assert run("--config", missing, "--version").returncode == 0
    assert run("--config", missing, "info", "--help").returncode == 0
    unknown = run("config", "convert", "all")
    assert unknown.returncode == 2
    assert "no command 'convert all'" in unknown.stderr


def test_an_error_on_flags_says_what_gave_them(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[generate]\nctx-size = 64\n")
    refused = ["block is 100 tokens, context is 64", "lower --block or raise -c"]
    arguments = ["generate", "-p", "x", "--config", file]
    check_failure(run(*arguments, "--block", 100), *refused, f"(-c: from {file} [generate])")
    given = run("generate", "-p", "x", "--block", 100, "-c", 64)
    check_failure(given, *refused)
    assert "from" not in given.stderr
    file.write_text('self-extend = "auto"\ngrp-attn-n = 4')
    result = CliRunner().invoke(app, ["bench", "--config", str(file)])
    assert f"-gan, not both (--self-extend: from {file}; -gan: from {file})" in result.stderr


def test_where_the_file_is_looked_for(tmp_path: Path) -> None:
    def size(*arguments: object, **env: str) -> int:
        result = CliRunner().invoke(
            app, [*map(str, arguments), "--json"], env={"TEMPLORA_CONFIG": "", **env}
        )
        found: int = json.loads(result.stdout)["commands"]["bench"]["ctx-size"]["value"]
        return found

    files = {}
    for value, place in enumerate(["one.toml", "two.toml", "var.toml", "xdg/templora/config.toml",
                                   "home/.config/templora/config.toml"], 1):  # fmt: skip
        files[place] = tmp_path / place
        files[place].parent.mkdir(parents=True, exist_ok=True)
        files[place].write_text(f"ctx-size = {value}")
    one, two, var, *_ = files.values()
    home, xdg, empty = (str(tmp_path / name) for name in ("home", "xdg", "empty"))
    everywhere = {"HOME": home, "XDG_CONFIG_HOME": xdg, "TEMPLORA_CONFIG": str(var)}
    assert size("config", "bench", "--config", one, **everywhere) == 1
    assert size("--config", one, "config", "bench", **everywhere) == 1
    assert size("--config", one, "config", "bench", "--config", two, **everywhere) == 2
    assert size("config", "bench", **everywhere) == 3
    assert size("config", "bench", HOME=home, XDG_CONFIG_HOME=xdg) == 4
    assert size("config", "bench", HOME=home, XDG_CONFIG_HOME="") == 5
    assert size("config", "bench", HOME=home, XDG_CONFIG_HOME="xdg") == 5  # not absolute
    assert size("config", "bench", HOME=empty, XDG_CONFIG_HOME=empty) == 0
    assert size("config", "bench", HOME=home, XDG_CONFIG_HOME=f"{var}/no/folder") == 0


def test_paths_are_relative_to_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, home = tmp_path / "folder", tmp_path / "home"
    folder.mkdir()
    (folder / "own.toml").write_text(
        'model = "m.gguf"\nlora = ["a.gguf:0.5", "/b.gguf"]\nadapter-in = "~/c.gguf"\n'
        '[generate]\nfile = "text.txt"\n[perplexity]\nplot = "../p.svg"\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(home))
    found = parse(["generate"], ["--config", "folder/own.toml"])
    assert found["model"] == folder / "m.gguf"
    assert [str(one) for one in found["lora"]] == [f"{folder}/a.gguf:0.5", "/b.gguf:1"]
    assert found["adapter"] == home / "c.gguf"
    assert found["file"] == f"{folder}/text.txt"
    plot = parse(["perplexity"], ["--config", "folder/own.toml"])["plot"]
    assert plot.resolve() == tmp_path / "p.svg"
    (folder / "own.toml").write_text('file = "-"')
    assert parse(["generate"], ["--config", "folder/own.toml"])["file"] == "-"


def test_a_list_on_the_command_line_replaces_that_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[passkey]\nlength = [64, 128]\nmode = ["base"]')
    found = parse(["passkey"], ["--config", file, "--length", 32])
    assert found["length"] == [32]
    assert found["mode"] == ["base"]
    env = {"TEMPLORA_LORA": '"a, b.gguf:0.5",c.gguf'}
    assert [one.path.name for one in parse(["bench"], env=env)["lora"]] == ["a, b.gguf", "c.gguf"]


def test_switches_have_opposites_on_the_command_line() -> None:
    env = {"TEMPLORA_OVERLAP": "on", "TEMPLORA_NO_TEMPLORA": "on", "TEMPLORA_FORCE": "on"}
    opposites = ["--no-overlap", "--templora", "--no-force"]
    assert parse(["passkey"], opposites, env) == parse(["passkey"])
    assert parse(["passkey"], [*opposites, "--overlap"], env)["overlap"]


def test_config_prints_what_is_set_and_all_of_a_command(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("threads = 3\n[bench]\nctx-size = 512\n")
    env = {"LLAMA_ARG_BATCH": "64", "TEMPLORA_TYPE": "q8_0"}
    runner = CliRunner()
    every = runner.invoke(app, ["config", "--config", str(file)], env=env).stdout.splitlines()
    assert every[0] == f"file  {file}"
    rows = [line.split(maxsplit=3) for line in every if line.startswith("bench ")]
    assert rows == [
        ["bench", "--ctx-size", "512", "file, [bench]"],
        ["bench", "--threads", "3", "file"],
        ["bench", "--batch-size", "64", "LLAMA_ARG_BATCH"],
    ]
    assert [line.split()[-1] for line in every if "--type" in line] == ["TEMPLORA_TYPE"]
    lines = runner.invoke(app, ["config", "bench"], env=env).stdout.splitlines()
    shown = {line.split()[0] for line in lines[1:]}
    assert shown == {f"--{option.key}" for option in configured(COMMANDS["bench",])}
    assert "all flags have their defaults" in runner.invoke(app, ["config"]).stdout


def test_what_is_set_reaches_the_run_and_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same text as with flags alone, although the training process has the variables too."""
    file, reports = tmp_path / "own.toml", [tmp_path / "a.json", tmp_path / "b.json"]
    arguments = ["generate", "-p", "It was", "-n", 40, "-s", 1, "--ignore-eos", "-t", 1]
    learning = ["--own-learning-rate", 1e-3, "--rank", 4]
    flags = ["-c", 128, "--block", 16, *learning, "--report", reports[0]]
    expected = run(*arguments, *flags)
    assert expected.returncode == 0, expected.stderr
    file.write_text("block = 16\nctx-size = 256\n[generate]\nown-learning-rate = 1e-3\nrank = 4\n")
    monkeypatch.setenv("LLAMA_ARG_CTX_SIZE", "128")
    monkeypatch.setenv("TEMPLORA_REPORT", str(reports[1]))
    monkeypatch.setenv("TEMPLORA_CONFIG", str(file))
    found = run(*arguments)
    assert found.stdout == expected.stdout != ""
    settings = [json.loads(report.read_text())["settings"] for report in reports]
    assert settings[0] == settings[1]
    assert settings[1]["rank"] == 4


def test_the_python_api_reads_neither_variables_nor_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPLORA_RANK", "4")
    monkeypatch.setenv("LLAMA_ARG_CTX_SIZE", "128")
    with TempLora(n_threads=1) as text:
        assert text.options.lora.rank != 4
        assert text.options.engine.n_ctx != 128
