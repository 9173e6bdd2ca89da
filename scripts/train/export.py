"""Export of a trained model: a Hugging Face checkpoint and GGUF files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from scripts.train.data import END
from templora_converters.hf_to_gguf import TEMPLATE_FILE, convert
from templora_edge.engine import Model
from templora_edge.errors import CheckpointError
from templora_edge.translation.prompt import language_name

TEMPLATE: Final = (
    "{{%- if (source_language, target_language) != ({source!r}, {target!r}) -%}}"
    "{{{{ raise_exception('this model translates from {source} to {target} only; "
    "give another with -m') }}}}"
    "{{%- endif -%}}"
    "{{%- for pair in pairs -%}}<|{codes[0]}|>{{{{ pair.source }}}}"
    "<|{codes[1]}|>{{{{ pair.translation }}}}<|endoftext|>{{%- endfor -%}}"
    "<|{codes[0]}|>{{{{ source }}}}<|{codes[1]}|>"
)
"""Prompt template of a translator, in the format of data.py."""


def save_hf(model: LlamaForCausalLM, out: Path) -> Path:
    """Write ``model`` and the tokenizer of ``out`` as a Hugging Face checkpoint, hf/."""
    hf_dir = out / "hf"
    model.save_pretrained(hf_dir)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(out / "tokenizer.json"), bos_token=END, eos_token=END
    )
    tokenizer.save_pretrained(hf_dir)
    config = json.loads((hf_dir / "tokenizer_config.json").read_text())
    (hf_dir / "tokenizer_config.json").write_text(json.dumps(config | {"add_bos_token": True}))
    return hf_dir


def export(
    model: LlamaForCausalLM, out: Path, name: str, languages: tuple[str, str] | None
) -> Path:
    """Write hf/, NAME-f16.gguf and NAME-q8_0.gguf to ``out``.

    Args:
        model: the model.
        out: folder to write to, which has the tokenizer.
        name: NAME.
        languages: language codes of source and target, for a translator.

    Returns:
        Path of NAME-q8_0.gguf.
    """
    hf_dir = save_hf(model, out)
    if languages is not None:
        source, target = map(language_name, languages)
        template = TEMPLATE.format(source=source, target=target, codes=languages)
        (hf_dir / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    for kind in ("f16", "q8_0"):
        convert(hf_dir, out / f"{name}-{kind}.gguf", kind)
    return out / f"{name}-q8_0.gguf"


def check_tokenizer(tokenizer: Tokenizer, model: Path, texts: Sequence[str]) -> None:
    """Check that llama.cpp and ``tokenizer`` produce the same tokens on all ``texts``.

    Raises:
        CheckpointError: the tokens differ.
    """
    with Model(model) as loaded:
        for text in texts:
            if loaded.vocab.tokenize(text) != tokenizer.encode(text).ids:
                raise CheckpointError(f"{model}: llama.cpp splits {text[:60]!r}… differently")
