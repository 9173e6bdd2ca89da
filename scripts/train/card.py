"""The model card that `scripts.train.base` writes beside a model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from scripts.benchmarks import bits_per_byte
from scripts.benchmarks.tables import table
from scripts.train.corpus import SentencePair
from templora_edge import SamplingOptions, TempLora
from templora_edge.engine import LlamaEngine
from templora_edge.host.files import replacing
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.models.gguf_file import TRANSLATION_TEMPLATE
from templora_edge.options import GREEDY, Options
from templora_edge.translation.answer_text import AnswerText
from templora_edge.translation.pair_loop import PairLoop
from templora_edge.translation.prompt import TemplatePrompt, language_name
from templora_edge.updates import Updates

PROMPT: Final = "It was"
SAMPLE_WORDS: Final = 300
SAMPLE_PAIRS: Final = 12
CARD: Final = """# {name}

A Llama of {parameters:.1f}M parameters that {purpose}

## Data

{corpus}; {n_tokens:.1f}M tokens{data}.

## Recipe

`{command}`

{recipe}

Trained on {tokens:.1f}M tokens ({epochs:.2f} epochs) in {hours:.1f} hours on {machine};
torch {torch}, transformers {transformers}. The training loop is in scripts/train/base.py.

## Figures

Held out: {heldout_loss:.4f} nats per token, {heldout_bits:.4f} bits per byte (torch, windows of
{short_context} tokens{scored}).
{evaluation}
The tokenizer and llama.cpp produce the same tokens on all of {n_checked} texts
({checked_megabytes:.1f} MB).

## Sample

{sample}

## Limits

{limits} Trained context: {context} tokens.

## Licence

The weights: MIT, like the project. {licence}
"""


@dataclass(frozen=True)
class Facts:
    """Facts about a training run, for the card."""

    name: str
    parameters: int
    command: str
    recipe: Any
    """The recipe, a frozen dataclass."""
    corpus: str
    n_tokens: int
    machine: str
    hours: float
    heldout_loss: float
    heldout_bits: float
    n_checked: int
    checked_bytes: int
    data: str
    licence: str


@dataclass(frozen=True)
class Parts:
    """The parts of a card that differ between models that write and models that translate."""

    purpose: str
    scored: str
    evaluation: str
    sample: str
    limits: str


def prose(model: Path, on: list[Path], against: list[Path]) -> Parts:
    """Measure ``model`` with llama.cpp, and let it write a sample.

    Args:
        model: GGUF of the model.
        on: texts on which to measure bits per byte.
        against: other models to measure on the same texts.
    """
    evaluation = ""
    if on:
        texts = bits_per_byte.read(on)
        results = {file.name: bits_per_byte.measure(file, texts) for file in (model, *against)}
        evaluation = (
            "\nBits per byte (python -m scripts.benchmarks.bits_per_byte: llama.cpp, windows of\n"
            "the trained context that overlap by half) of the first "
            f"{bits_per_byte.N_BYTES:,} bytes of each text:"
            f"\n\n{bits_per_byte.comparison(results)}\n"
        )
    sampling = SamplingOptions(seed=1, ignore_eos=True)
    with TempLora(model, templora=False) as session:
        sample = PROMPT
        for piece in session.generate(PROMPT, sampling=sampling):
            sample += piece.text
            if len(sample.split()) > SAMPLE_WORDS:
                break
    return Parts(
        purpose="writes English prose in the style of the texts it was\ntrained on. It is meant "
        "for trying Temp-LoRA, for demonstrations and tests. It does not know facts,\nfollow "
        "instructions or hold a story together.",
        scored="",
        evaluation=evaluation,
        sample=f'{SAMPLE_WORDS} words after "{PROMPT}", unedited (seed 1, temperature '
        f"{sampling.temperature}, top-k {sampling.top_k}, top-p {sampling.top_p}, min-p "
        f"{sampling.min_p}):\n\n> {' '.join(sample.split()[:SAMPLE_WORDS])}",
        limits="It babbles: sentences are mostly well formed but make no sense. It reflects the "
        "views of its\nauthors' time.",
    )


def translations(model: Path, languages: tuple[str, str], pairs: Sequence[SentencePair]) -> Parts:
    """Let ``model`` translate some of ``pairs`` as a sample, each without context."""
    names = [language_name(code) for code in languages]
    chosen = pairs[:: max(1, len(pairs) // SAMPLE_PAIRS)][:SAMPLE_PAIRS]
    base = BaseGguf(model)
    n_ctx = base.n_ctx_train
    options = Options().changed(n_ctx=n_ctx).resolve(base)
    with LlamaEngine(model, options.engine) as engine:
        template = base.require(TRANSLATION_TEMPLATE)
        prompt = TemplatePrompt(template, model.name, *languages)
        updates = Updates(engine, None)
        loop = PairLoop(engine, engine.model.vocab, updates, prompt, options.blocks)
        loop.begin_block(())
        rows = []
        for pair in chosen:
            source, reference = (" ".join(text.split()) for text in pair)
            loop.ask(source, ())
            reader = AnswerText(source)
            answer = loop.answer(GREEDY, n_ctx // 4, reader)
            rows.append([source, reader.translation(answer.text), reference])
    return Parts(
        purpose=f"translates from {names[0]} to {names[1]}. It is meant for\ntrying `templora "
        "translate` and for tests: it is far too small to translate well.",
        scored=", translations only",
        evaluation="\nWhole documents: docs/results/translation.md.\n",
        sample="Held-out segments, decoded greedily, unedited:\n\n"
        + table(["source", model.stem, "reference"], rows),
        limits="It omits and invents text, and knows few names. It reflects the views of its\n"
        "authors' time.",
    )


def write_card(path: Path, facts: Facts, parts: Parts) -> None:
    """Write the card of a model to ``path``."""
    recipe = asdict(facts.recipe)
    text = CARD.format(
        **asdict(parts),
        name=facts.name,
        parameters=facts.parameters / 1e6,
        corpus=facts.corpus,
        n_tokens=facts.n_tokens / 1e6,
        data=f": {facts.data}" if facts.data else "",
        command=facts.command,
        recipe=table(["setting", "value"], [[key, str(value)] for key, value in recipe.items()]),
        tokens=facts.recipe.tokens / 1e6,
        epochs=facts.recipe.tokens / facts.n_tokens,
        hours=facts.hours,
        machine=facts.machine,
        torch=version("torch").partition("+")[0],
        transformers=version("transformers"),
        heldout_loss=facts.heldout_loss,
        heldout_bits=facts.heldout_bits,
        short_context=facts.recipe.short_context,
        n_checked=facts.n_checked,
        checked_megabytes=facts.checked_bytes / 1e6,
        context=facts.recipe.context,
        licence=facts.licence,
    )
    with replacing(path, "OUT_DIR") as temporary:
        temporary.write_text(text, encoding="utf-8")
