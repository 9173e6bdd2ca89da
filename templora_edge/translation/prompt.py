"""Translation prompts, from the model's chat template or a template for translation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from langcodes import Language
from langcodes.tag_parser import LanguageTagError

from templora_edge.documents.markup import PLACEHOLDER
from templora_edge.errors import OptionError
from templora_edge.host.text_file import read_text
from templora_edge.models.gguf_file import TRANSLATION_TEMPLATE, GgufFile
from templora_edge.translation.example_pairs import example_pairs

INSTRUCTION: Final = "Translate this text from {source_language} into {target_language}."
TAGS: Final = " Keep tags like <1> and </1>."
TERMS: Final = " Use these terms: {terms}."
ONLY: Final = " Answer with the translation only.\n\n"

FEW_SHOT: Final = """\
{% for pair in pairs + terms %}{{ source_language }}: {{ pair.source }}
{{ target_language }}: {{ pair.translation }}

{% endfor %}{{ source_language }}: {{ source }}
{{ target_language }}:"""
"""What a base model goes on with: pairs, terms as pairs too, and an answer that a line ends."""

SEVERAL_SCRIPTS: Final = frozenset(
    ["az", "ff", "ks", "pa", "sd", "shi", "sr", "su", "uz", "vai", "yue", "zh"]
)
"""Languages whose script depends on the region, so that their names include the script."""

Message = dict[str, str]
"""A turn of a chat: role and content."""
Render = Callable[[Sequence[Message]], str]
"""Turns -> a prompt that ends where the model's next turn begins."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and its translation."""

    source: str
    translation: str


@dataclass(frozen=True, slots=True)
class Request:
    """A source to translate, with its context."""

    source: str
    pairs: tuple[Pair, ...] = ()
    """Preceding pairs, oldest first."""
    terms: tuple[Pair, ...] = ()
    """Glossary terms that occur in the source."""

    def changed(self, change: Callable[[str], str]) -> "Request":
        """A copy with ``change`` applied to every text in it."""

        def change_all(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
            return tuple(Pair(change(pair.source), change(pair.translation)) for pair in pairs)

        return Request(change(self.source), change_all(self.pairs), change_all(self.terms))


class ChatPrompt:
    """Prompts from the model's chat template: each pair is a turn, with the instruction."""

    in_turns: Final = True

    def __init__(self, render: Render, source_language: str, target_language: str) -> None:
        self._render = render
        self._instruction = INSTRUCTION.format(
            source_language=language_name(source_language),
            target_language=language_name(target_language),
        )

    def __call__(self, request: Request) -> str:
        """The prompt for ``request``."""
        messages: list[Message] = []
        for pair in request.pairs:
            messages.append({"role": "user", "content": self._ask(pair.source, ())})
            messages.append({"role": "assistant", "content": pair.translation})
        messages.append({"role": "user", "content": self._ask(request.source, request.terms)})
        return self._render(messages)

    def _ask(self, source: str, terms: Sequence[Pair]) -> str:
        question = self._instruction
        if PLACEHOLDER.search(source):
            question += TAGS
        if terms:
            listed = "; ".join(f"{term.source} = {term.translation}" for term in terms)
            question += TERMS.format(terms=listed)
        return question + ONLY + source


class TemplatePrompt:
    """Prompts from a Jinja template.

    Its variables are `source`, `pairs`, `terms`, `source_language` and `target_language`.

    Args:
        text: the template.
        name: its origin, for messages.
        source_language: BCP 47 tag of the sources.
        target_language: BCP 47 tag of the translations.
        examples: pairs that every prompt begins with.

    Raises:
        OptionError: the template does not work.
    """

    def __init__(
        self,
        text: str,
        name: str,
        source_language: str,
        target_language: str,
        examples: tuple[Pair, ...] = (),
    ) -> None:
        environment = ImmutableSandboxedEnvironment(
            undefined=jinja2.StrictUndefined, keep_trailing_newline=False
        )
        environment.globals["raise_exception"] = _refuse
        self._languages = {
            "source_language": language_name(source_language),
            "target_language": language_name(target_language),
        }
        self._name, self._examples = name, examples
        try:
            self._template = environment.from_string(text)
        except jinja2.TemplateError as error:
            raise self._failed(error) from error
        asked = self(Request("source"))
        if "source" not in asked:
            raise OptionError(f"{name}: does not use {{{{ source }}}}")
        answered = self(Request("next", (Pair("source", "translation"),)))
        self.in_turns = answered.startswith(asked.rstrip())
        """Whether the prompt shows each pair as it was asked and answered."""

    @classmethod
    def read(cls, path: Path, source_language: str, target_language: str) -> "TemplatePrompt":
        """Read the user's template from a file.

        Raises:
            OptionError: the file cannot be read, or the template does not work.
        """
        name = f"--prompt-template {path}"
        try:
            text = read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"{name}: cannot be read ({error})") from error
        return cls(text, name, source_language, target_language)

    def __call__(self, request: Request) -> str:
        """The prompt for ``request``.

        Raises:
            OptionError: the template fails.
        """
        try:
            return self._template.render(
                source=request.source,
                pairs=self._examples + request.pairs,
                terms=request.terms,
                **self._languages,
            )
        except jinja2.TemplateError as error:
            raise self._failed(error) from error

    def _failed(self, error: jinja2.TemplateError) -> OptionError:
        return OptionError(f"{self._name}: {error.message or type(error).__name__}")


def _refuse(message: str) -> NoReturn:
    """The function that chat templates call when they cannot go on."""
    raise jinja2.TemplateError(message)


Prompt = ChatPrompt | TemplatePrompt


def own_prompt(
    base: GgufFile, template: Path | None, source_language: str, target_language: str
) -> TemplatePrompt | None:
    """The user's template, or the model's, or examples; None if the model has a chat template.

    Raises:
        OptionError: the template does not work.
    """
    languages = source_language, target_language
    if template is not None:
        return TemplatePrompt.read(template, *languages)
    text = base.get(TRANSLATION_TEMPLATE)
    if text is not None:
        return TemplatePrompt(text, str(base.path), *languages)
    if base.get("tokenizer.chat_template") is None:
        examples = tuple(Pair(*both) for both in example_pairs(*languages))
        return TemplatePrompt(FEW_SHOT, "the built-in prompt", *languages, examples)
    return None


def language_name(code: str) -> str:
    """The English name of a language, for instructions.

    Args:
        code: BCP 47 tag, for example ``fr``, ``grc``, ``pt-BR`` or ``zh-Hant``.

    Raises:
        OptionError: there is no such language.
    """
    refused = OptionError(f"language {code!r}; expected a code such as fr, en, zh or pt-BR")
    try:
        language = Language.get(code)
    except LanguageTagError:
        raise refused from None
    if language.territory and not language.script and language.language in SEVERAL_SCRIPTS:
        language = language.maximize()  # zh-TW is in traditional characters
    name = language.display_name("en")
    # private-use codes and "und" are valid but name no language
    if "_" in code or not language.is_valid() or "Unknown " in name:
        raise refused
    return name


def labels(source: str, target: str) -> tuple[str, ...]:
    """Names of two languages in English and in both, which models write before translations."""
    languages = [Language.get(code) for code in (source, target)]
    english = Language.get("en")
    names = {one.display_name(other) for one in languages for other in (english, *languages)}
    return tuple(sorted({name.casefold() for name in names} | {"source", "target", "translation"}))
