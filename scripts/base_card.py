"""The model card that `train_base.py` writes beside a base."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bits_per_byte

from templora_edge import SamplingOptions, TempLora
from templora_edge.files import replacing

PROMPT = "It was"
SAMPLE_WORDS = 300
CARD = """# {name}

A Llama of {parameters:.1f}M parameters that writes English prose in the style of the texts it was
trained on. It is meant for trying Temp-LoRA, for demonstrations and tests. It does not know facts,
follow instructions or hold a story together.

## Data

{n_texts} texts, {megabytes:.0f} MB, {n_tokens:.1f}M tokens{data}. Every fortieth text
({n_heldout} in all) was held out.

## Recipe

`{command}`

| setting | value |
|---|---|
{recipe}

Trained on {tokens:.1f}M tokens ({epochs:.2f} epochs) in {hours:.1f} hours on {machine};
torch {torch}, transformers {transformers}. The loop is scripts/train_base.py.

## Figures

Held-out texts: {heldout_loss:.4f} nats a token, {heldout_bits:.4f} bits a byte (torch, windows of
{short_context} tokens).
{evaluation}
The tokenizer's and llama.cpp's tokens are the same on the whole of {n_checked} texts
({checked_megabytes:.1f} MB).

## Sample

{n_words} words after "{prompt}", as they came (seed 1, {sampling}):

> {sample}

## Limits

It babbles: sentences are mostly well formed, what they say is not meant. It carries the views of
its authors' time. Trained context: {context} tokens.

## Licence

The weights: MIT, as the project's. {licence}
"""


@dataclass(frozen=True)
class Facts:
    """What the training run knows of itself."""

    name: str
    parameters: int
    command: str
    recipe: Any
    """A frozen dataclass."""
    n_texts: int
    n_heldout: int
    n_bytes: int
    n_tokens: int
    machine: str
    hours: float
    heldout_loss: float
    heldout_bits: float
    checked: list[Path]
    data: str
    licence: str


def write_card(path: Path, model: Path, facts: Facts, on: list[Path], against: list[Path]) -> None:
    """Measure ``model`` with llama.cpp, let it write a sample, and write the card.

    Args:
        on: texts to give bits per byte on; none if empty.
        against: other models to measure on them.
    """
    evaluation = ""
    if on:
        texts = bits_per_byte.read(on)
        results = {file.name: bits_per_byte.measure(file, texts) for file in (model, *against)}
        evaluation = (
            "\nBits per byte (scripts/bits_per_byte.py: llama.cpp, windows of the trained context\n"
            f"that overlap by half) of the first {bits_per_byte.N_BYTES:,} bytes of each text:"
            f"\n\n{bits_per_byte.table(results)}\n"
        )
    sampling = SamplingOptions(seed=1, ignore_eos=True)
    with TempLora(model, templora=False) as session:
        sample = PROMPT
        for piece in session.generate(PROMPT, sampling=sampling):
            sample += piece.text
            if len(sample.split()) > SAMPLE_WORDS:
                break
    recipe = asdict(facts.recipe)
    text = CARD.format(
        name=facts.name,
        parameters=facts.parameters / 1e6,
        n_texts=facts.n_texts,
        n_heldout=facts.n_heldout,
        megabytes=facts.n_bytes / 1e6,
        n_tokens=facts.n_tokens / 1e6,
        data=f": {facts.data}" if facts.data else "",
        command=facts.command,
        recipe="\n".join(f"| {key} | {value} |" for key, value in recipe.items()),
        tokens=facts.recipe.tokens / 1e6,
        epochs=facts.recipe.tokens / facts.n_tokens,
        hours=facts.hours,
        machine=facts.machine,
        torch=version("torch").partition("+")[0],
        transformers=version("transformers"),
        heldout_loss=facts.heldout_loss,
        heldout_bits=facts.heldout_bits,
        short_context=facts.recipe.short_context,
        evaluation=evaluation,
        n_checked=len(facts.checked),
        checked_megabytes=sum(file.stat().st_size for file in facts.checked) / 1e6,
        n_words=SAMPLE_WORDS,
        prompt=PROMPT,
        sampling=f"temperature {sampling.temperature}, top-k {sampling.top_k}, "
        f"top-p {sampling.top_p}, min-p {sampling.min_p}",
        sample=" ".join(sample.split()[:SAMPLE_WORDS]),
        context=facts.recipe.context,
        licence=facts.licence,
    )
    with replacing(path, "OUT_DIR") as temporary:
        temporary.write_text(text, encoding="utf-8")
