"""What a translation is opened with: a session, a prompt, the loop over both."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from templora_edge.errors import OptionError
from templora_edge.models.gguf_file import TRANSLATION_TEMPLATE, GgufFile
from templora_edge.options import DEFAULT_MAX_CTX, BlockOptions
from templora_edge.presets import for_own_translations
from templora_edge.session import TempLora
from templora_edge.translation.pair_loop import PairLoop
from templora_edge.translation.prompt import ChatPrompt, TemplatePrompt


def open_session(base: GgufFile, settings: Mapping[str, Any], *, templora: bool = True) -> TempLora:
    """A session with what suits translation, unless ``settings`` say otherwise.

    Raises:
        TemploraError: see `TempLora`.
    """
    chosen = dict(settings)
    trained = int(base.get("{arch}.context_length", DEFAULT_MAX_CTX))
    n_ctx = chosen.get("n_ctx") or min(trained, DEFAULT_MAX_CTX)
    block = chosen.get("block_len")
    block = block or BlockOptions.for_context(n_ctx, n_trained=trained).block_len
    # sources take about as much room as translations, and some pairs before them
    suits: dict[str, float] = {"prefix_len": n_ctx // 4, "train_prefix_len": 2 * block}
    if not chosen.get("given"):
        suits |= for_own_translations(base.n_params)
    for name, value in suits.items():
        if chosen.get(name) is None:
            chosen[name] = value
    # prompts are cut and gone on with at every segment
    return TempLora(base.path, templora=templora, swa_full=True, **chosen)


def own_prompt(
    base: GgufFile, template: Path | None, source_language: str, target_language: str
) -> TemplatePrompt | None:
    """The user's template, or the one that came with the model; None if it has a chat template.

    Raises:
        OptionError: there is none, or it does not work.
    """
    languages = source_language, target_language
    if template is not None:
        return TemplatePrompt.read(template, *languages)
    text = base.get(TRANSLATION_TEMPLATE)
    if text is not None:
        return TemplatePrompt(text, str(base.path), *languages)
    if base.get("tokenizer.chat_template") is None:
        raise OptionError(
            f"--prompt-template: {base.path} has no chat template (tokenizer.chat_template); "
            "expected a file with the prompt that the model was trained on"
        )
    return None


def pair_loop(
    session: TempLora, prompt: TemplatePrompt | None, source_language: str, target_language: str
) -> PairLoop:
    """The loop on the engine and the trainer of ``session``; None is the chat template."""
    model = session.engine.model
    chosen = prompt or ChatPrompt(model.chat_prompt, source_language, target_language)
    return PairLoop(session.engine, model.vocab, session.updates, chosen, session.block_options)
