"""Train a small model from text, up to GGUF files and a model card.

Usage: python scripts/train_base.py TEXTS OUT_DIR --name NAME [--evaluate FILE...]

TEXTS is a folder of .txt files, of which a base is made that writes like them, or a .jsonl (.xz)
file of sentences with their translations (doc, src, and the code of the other language), of which a
translator is made (--languages).

OUT_DIR gets the tokenizer, the checkpoint of the run, a Hugging Face checkpoint (hf/), the model as
NAME-f16.gguf and NAME-q8_0.gguf, and its card NAME.md. The same command goes on where an
interrupted one stopped; finished steps are not repeated. A CUDA GPU is used if there is one.
Progress goes to stderr and, a JSON line an entry, to OUT_DIR/log.jsonl.

The recipe: byte-level BPE; a Llama with tied embeddings, its output projections started at zero;
Muon on the matrices of the layers, AdamW on embeddings and norms; a short warm-up, then a constant
learning rate that falls linearly to zero over the last half; short windows first, the whole context
at the end.
"""

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from base_card import Facts, prose, translations, write_card
from recipe import Recipe
from tokenizers import Tokenizer
from training_data import (
    END,
    HELDOUT_EVERY,
    Data,
    Pair,
    batches,
    encode_pairs,
    encode_texts,
    read_pairs,
    segments,
    split_pairs,
    train_tokenizer,
)
from training_run import Run
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from templora_converters.hf_to_gguf import TEMPLATE_FILE, convert
from templora_edge.engine import Model
from templora_edge.errors import CheckpointError
from templora_edge.translation.prompt import language_name

N_CHECKED: Final = 131_072
"""Held-out tokens that are scored now and then."""
SAVE_SECONDS: Final = 180
TEMPLATE: Final = (
    "{{%- if (source_language, target_language) != ({source!r}, {target!r}) -%}}"
    "{{{{ raise_exception('this model translates from {source} to {target} only; "
    "give another with -m') }}}}"
    "{{%- endif -%}}"
    "{{%- for pair in pairs -%}}<|{codes[0]}|>{{{{ pair.source }}}}"
    "<|{codes[1]}|>{{{{ pair.translation }}}}<|endoftext|>{{%- endfor -%}}"
    "<|{codes[0]}|>{{{{ source }}}}<|{codes[1]}|>"
)
"""A translator's own prompt, as training_data.py writes it."""


@dataclass(frozen=True)
class Corpus:
    """What there is to learn from, and what is held out; a text is a pair without a source."""

    trained: list[Pair]
    heldout: list[Pair]
    languages: tuple[str, str] | None
    """Languages of the pairs."""
    description: str

    @property
    def special(self) -> tuple[str, ...]:
        """Tokens besides END."""
        return tuple(f"<|{code}|>" for code in self.languages or ())

    def encode(self, tokenizer: Tokenizer, pairs: list[Pair]) -> Data:
        """Tokens of ``pairs``."""
        if self.languages is None:
            return encode_texts(tokenizer, (pair.translation for pair in pairs))
        return encode_pairs(tokenizer, pairs)


def read_corpus(path: Path, arguments: argparse.Namespace, seed: int) -> Corpus:
    """Texts of a folder, or pairs of a file."""
    if path.is_file():
        languages = (arguments.languages[0], arguments.languages[1])
        documents = read_pairs(path, languages, arguments.share, seed)
        trained, heldout = split_pairs(documents)
        return Corpus(
            list(segments(trained, seed)),
            list(segments(heldout, seed)),
            languages,
            f"{len(documents)} documents, {sum(map(len, documents))} pairs of sentences; the last "
            "fortieth of each was held out",
        )
    files = sorted(path.glob("*.txt"))
    heldout_files = files[HELDOUT_EVERY - 1 :: HELDOUT_EVERY]
    trained_files = [file for file in files if file not in heldout_files]
    if not trained_files or not heldout_files:
        raise SystemExit(f"{path}: {len(files)} .txt files; expected {HELDOUT_EVERY} or more")
    return Corpus(
        [Pair("", file.read_text(encoding="utf-8")) for file in trained_files],
        [Pair("", file.read_text(encoding="utf-8")) for file in heldout_files],
        None,
        f"{len(files)} texts, of which every fortieth ({len(heldout_files)}) was held out",
    )


def strings(pairs: list[Pair]) -> list[str]:
    """All that is to be tokenized."""
    return [text for pair in pairs for text in pair if text]


def train(
    run: Run,
    data: Data,
    heldout: Data,
    bytes_per_label: float,
    log: Path,
    snapshots: Mapping[int, Callable[[], object]],
) -> None:
    """Train to the end of the recipe, logging, and saving every few minutes.

    Args:
        snapshots: what is done after some of the steps.
    """
    recipe = run.recipe
    window = recipe.short_context
    check = heldout.rows(heldout.windows(window)[: N_CHECKED // window], window)
    begun, first, saved = time.monotonic(), run.step, time.monotonic()
    losses: list[float] = []

    def note(**entry: Any) -> None:
        line = json.dumps({"step": run.step, **entry})
        with log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, file=sys.stderr, flush=True)

    for batch in batches(data, recipe, run.step):
        losses.append(run.learn(batch))
        last = run.step == recipe.steps
        seconds = time.monotonic() - begun
        rate = (run.step - first) / seconds
        if run.step % 20 == 0 or last:
            note(
                loss=round(float(np.mean(losses)), 4),
                tokens_per_s=round(rate * recipe.batch),
                eta_s=round((recipe.steps - run.step) / rate),
            )
            losses.clear()
        if run.step % 200 == 0 or last:
            loss = run.loss(check, learn=False)
            bits = loss / np.log(2) / bytes_per_label
            note(heldout_loss=round(loss, 4), heldout_bits=round(float(bits), 4))
        if run.step in snapshots:
            snapshots[run.step]()
        if time.monotonic() - saved > SAVE_SECONDS or last:
            run.seconds += time.monotonic() - saved
            run.save()
            saved = time.monotonic()


def save_hf(model: LlamaForCausalLM, out: Path) -> Path:
    """Write ``model`` and the tokenizer in ``out`` as a Hugging Face checkpoint, hf/."""
    hf_dir = out / "hf"
    model.save_pretrained(hf_dir)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(out / "tokenizer.json"), bos_token=END, eos_token=END
    )
    tokenizer.save_pretrained(hf_dir)
    config = json.loads((hf_dir / "tokenizer_config.json").read_text())
    (hf_dir / "tokenizer_config.json").write_text(json.dumps(config | {"add_bos_token": True}))
    return hf_dir


def export(run: Run, out: Path, name: str, languages: tuple[str, str] | None) -> Path:
    """Write hf/ and both GGUF files; the Q8_0 one's path."""
    hf_dir = save_hf(run.model, out)
    if languages is not None:
        source, target = map(language_name, languages)
        template = TEMPLATE.format(source=source, target=target, codes=languages)
        (hf_dir / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    for kind in ("f16", "q8_0"):
        convert(hf_dir, out / f"{name}-{kind}.gguf", kind)
    return out / f"{name}-q8_0.gguf"


def check_tokenizer(tokenizer: Tokenizer, model: Path, texts: Sequence[str]) -> None:
    """Compare the tokenizer with llama.cpp's on the whole of ``texts``.

    Raises:
        CheckpointError: they differ.
    """
    with Model(model) as loaded:
        for text in texts:
            if loaded.vocab.tokenize(text) != tokenizer.encode(text).ids:
                raise CheckpointError(f"{model}: llama.cpp splits {text[:60]!r}… differently")


def machine() -> str:
    """What the run was trained on, for the card."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} threads of a {platform.machine()} CPU"


def parse() -> tuple[argparse.Namespace, Recipe]:
    """The command line; every field of the recipe is a flag."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("texts", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--name", required=True, help="name of the model's files")
    parser.add_argument("--languages", nargs=2, metavar=("FROM", "TO"), default=("fr", "en"))
    parser.add_argument(
        "--share", action="append", type=share, default=[], metavar="PATTERN=SHARE",
        help="keep that share of the documents of pairs whose name matches",
    )  # fmt: skip
    parser.add_argument("--snapshots", type=int, default=1, help="GGUFs along the way, evenly")
    parser.add_argument("--evaluate", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--against", type=Path, nargs="+", default=[], metavar="MODEL.gguf")
    parser.add_argument("--data", default="", help="what the texts are, for the card")
    parser.add_argument("--licence", default="", help="licence of the texts, for the card")
    for field in fields(Recipe):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=type(field.default), default=field.default)
    arguments = parser.parse_args()
    recipe = Recipe(**{field.name: getattr(arguments, field.name) for field in fields(Recipe)})
    return arguments, recipe


def share(text: str) -> tuple[str, float]:
    """The parts of PATTERN=SHARE."""
    pattern, _, value = text.rpartition("=")
    return pattern, float(value)


def main() -> None:
    """Do each step that is not done yet."""
    arguments, recipe = parse()
    out: Path = arguments.out_dir
    corpus = read_corpus(arguments.texts, arguments, recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "recipe.json"
    wanted = asdict(recipe) | {"share": [list(pair) for pair in arguments.share]}
    if kept.exists() and json.loads(kept.read_text()) != wanted:
        raise SystemExit(f"{kept}: another recipe was begun here; choose another OUT_DIR")
    kept.write_text(json.dumps(wanted, indent=1))

    tokenizer_path = out / "tokenizer.json"
    if not tokenizer_path.exists():
        texts = strings(corpus.trained)
        train_tokenizer(texts, tokenizer_path, recipe.vocab_size, *corpus.special)
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    for path, pairs in (("train.npz", corpus.trained), ("heldout.npz", corpus.heldout)):
        if not (out / path).exists():
            corpus.encode(tokenizer, pairs).save(out / path)
    data, heldout = (Data.load(out / path) for path in ("train.npz", "heldout.npz"))
    n_tokens = len(data.tokens)
    if n_tokens < 2 * max(recipe.batch, recipe.context) or len(heldout.tokens) <= recipe.context:
        raise SystemExit(f"{arguments.texts}: {n_tokens} tokens; too few for this recipe")
    n_bytes = sum(len(pair.translation.encode()) for pair in corpus.heldout)
    bytes_per_label = n_bytes / int(heldout.scored.sum())

    run = Run(recipe, out / "checkpoint.pt")
    steps = [recipe.steps * k // arguments.snapshots for k in range(1, arguments.snapshots)]
    snapshots = {
        step: partial(export, run, out, f"{arguments.name}-{step}", corpus.languages)
        for step in steps
    }
    train(run, data, heldout, bytes_per_label, out / "log.jsonl", snapshots)
    window = recipe.short_context
    loss = run.loss(heldout.rows(heldout.windows(window), window), learn=False)
    model = export(run, out, arguments.name, corpus.languages)
    evaluated = [file.read_text(encoding="utf-8") for file in arguments.evaluate]
    checked = [*strings(corpus.heldout), *evaluated]
    check_tokenizer(tokenizer, model, checked)
    facts = Facts(
        name=arguments.name,
        parameters=sum(parameter.numel() for parameter in run.model.parameters()),
        command=" ".join(
            ["python scripts/train_base.py TEXTS OUT_DIR --name", arguments.name]
            + [f"--share '{pattern}={share}'" for pattern, share in arguments.share]
        ),
        recipe=recipe,
        corpus=corpus.description,
        n_tokens=n_tokens,
        machine=machine(),
        hours=run.seconds / 3600,
        heldout_loss=loss,
        heldout_bits=loss / math.log(2) / bytes_per_label,
        n_checked=len(checked),
        checked_bytes=sum(len(text.encode()) for text in checked),
        data=arguments.data,
        licence=arguments.licence,
    )
    if corpus.languages is None:
        parts = prose(model, arguments.evaluate, arguments.against)
    else:
        parts = translations(model, corpus.languages, corpus.heldout)
    write_card(out / f"{arguments.name}.md", facts, parts)


if __name__ == "__main__":
    main()
